"""What the webhooks of mariadb-operator refuse."""

import json
from collections.abc import Iterator
from typing import Any

from cozydrivers.api.base import Resource
from cozydrivers.api.mariadb import Backup
from cozydrivers.testing._mariadb_jobs import duration
from cozydrivers.testing._status import Failure, FieldError, invalid
from cozydrivers.testing._store import Object

_STORAGES = ("s3", "persistentVolumeClaim", "volume", "azureBlob", "volumeSnapshot")
_ALWAYS = {
    "Backup": ("mariaDbRef", "storage", "stagingStorage", "restartPolicy"),
    "Restore": ("mariaDbRef", "targetRecoveryTime", "stagingStorage", "restartPolicy"),
    "PhysicalBackup": ("mariaDbRef", "storage", "stagingStorage", "restartPolicy"),
}
_ONCE_SET = {"Backup": ("maxRetention",), "Restore": ("backupRef", "s3"), "PhysicalBackup": ()}
_CRON_FIELDS = 5


def admission(resource: Resource, new: Object, old: Object | None, *, version: str = "25.10.2") -> Failure | None:
    """What refuses a Backup, Restore or PhysicalBackup that is created or changed; None where nothing does.

    It fits `FakeCluster.webhooks`.
    """
    kind = resource.kind
    if resource.group != Backup.resource.group or kind not in _ALWAYS:
        return None
    try:
        duration(new["spec"].get("maxRetention", "0"))
    except ValueError as error:
        return _denied(kind, str(error), 400, "BadRequest")
    changed = list(_changed(kind, new["spec"], old["spec"], version)) if old else []
    if changed:
        refused = invalid(resource, new["metadata"]["name"], changed).body
        return _denied(kind, refused["message"], 422, "Invalid", refused["details"])
    wrong = next(_wrong(kind, new["spec"]), "")
    if not wrong:
        return None
    if kind == "Restore":
        return _denied(kind, f"invalid restore: {wrong}")
    spec = json.dumps(new["spec"], separators=(",", ":"))
    return _denied(kind, f"spec: Invalid value: {spec}: invalid {kind}: {wrong}")


def _denied(kind: str, why: str, code: int = 403, reason: str = "Forbidden", details: Object | None = None) -> Failure:
    name = f"v{kind.lower()}-v1alpha1.kb.io"
    return Failure(code, reason, f'admission webhook "{name}" denied the request: {why}', details)


def _changed(kind: str, new: Object, old: Object, version: str) -> Iterator[FieldError]:
    word = "inmutable" if version.startswith("25") else "immutable"
    for field in (*_ALWAYS[kind], *_ONCE_SET[kind]):
        once = field in _ONCE_SET[kind]
        if new.get(field) != old.get(field) and not (once and not old.get(field)):
            shown = json.dumps(new.get(field), separators=(",", ":"))
            yield FieldError("Invalid", f"spec.{field}", f"Invalid value: {shown}: 'spec.{field}' field is {word}")


def _wrong(kind: str, spec: Object) -> Iterator[str]:
    if kind == "Restore":
        if not any(spec.get(source) for source in ("backupRef", "s3", "volume")):
            yield "unable to determine restore source"
        if "stagingStorage" in spec and "s3" not in spec:
            yield "'spec.stagingStorage' may only be specified when 'spec.s3' is set"
        return
    fields = (spec.get("schedule") or {}).get("cron", "").split()
    if "schedule" in spec and len(fields) != _CRON_FIELDS and (fields or kind == "Backup"):
        yield f"invalid Schedule: expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    storage: dict[str, Any] = spec.get("storage") or {}
    if sum(key in storage for key in _STORAGES) != 1:
        yield "invalid Storage: exactly one storage type should be provided"
    if "stagingStorage" in spec and "s3" not in storage:
        yield "'spec.stagingStorage' may only be specified when 'spec.storage.s3' is set"
