"""Which restores an application has seen, so that a RestoreJob that is applied again is recognised.

They stand in an annotation of the Lease that locks the application: GitOps does not write there, and a rebuilt
application (another UID) has seen none.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from cozydrivers.api.backups import Backup, RestoreJob
from cozydrivers.api.base import KubeObject, Model
from cozydrivers.api.coordination import Lease
from cozydrivers.controllers.ledger import PREFIX
from cozydrivers.errors import NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.locks import Lock

RESTORED = PREFIX + "restored"
REPEAT = "repeat"
"""Option of a RestoreJob: any new word makes it another one than before."""
DRY_RUN = "dryRun"
TIMEOUT = "timeoutSeconds"

_MOST = 100
_LONGEST = 366 * 24 * 3600


class Restored(Model):
    """One restore that has succeeded: of which Backup, with which options (a hash), by which RestoreJob."""

    application: str
    backup: str
    options: str
    job: str
    name: str
    at: AwareDatetime


_LIST: TypeAdapter[list[Restored]] = TypeAdapter(list[Restored])


def is_dry_run(job: RestoreJob) -> bool:
    """Whether it only says what it would do: then nothing is restored, and it may be applied as often as one likes."""
    return job.spec.options.get(DRY_RUN) is True


def timeout(job: RestoreJob, default: float) -> float:
    """The patience with the engine that it asks for, in seconds; the driver refuses what is none."""
    value = job.spec.options.get(TIMEOUT)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LONGEST:
        return default
    return float(value)


def seen(lease: Lease | None) -> list[Restored]:
    """What a Lease tells; nothing where it can't be read."""
    try:
        return _LIST.validate_json(lease.metadata.annotations.get(RESTORED, "[]")) if lease else []
    except ValidationError:
        return []


def entry(job: RestoreJob, application: KubeObject, backup: Backup, now: datetime) -> Restored:
    """What is recorded of a restore."""
    return Restored(
        application=application.metadata.uid,
        backup=backup.metadata.uid,
        options=_hash(job.spec.options),
        job=job.metadata.uid,
        name=job.metadata.name,
        at=now.replace(microsecond=0),
    )


def refusal(new: Restored, before: Sequence[Restored]) -> str:
    """Why a restore is not done again, as a sentence; empty where it is another one."""
    for old in before:
        alike = (old.application, old.backup, old.options) == (new.application, new.backup, new.options)
        if alike and old.job != new.job:
            by = f"RestoreJob {old.name} at {old.at:%FT%TZ}"
            again = f"to do it again set spec.options.{REPEAT} to a new word"
            return f"this Backup was restored already, with the same options, by {by}; {again}"
    return ""


def annotation(before: Sequence[Restored], new: Restored) -> str:
    """The annotation with a restore added, and the oldest beyond a hundred left out."""
    kept = [old for old in before if old.job != new.job][1 - _MOST :]
    return _LIST.dump_json([*kept, new], by_alias=True).decode()


async def look(kube: KubeClient, lock: Lock) -> list[Restored]:
    """Read what the Lease of an application tells."""
    try:
        return seen(await kube.get(Lease, lock.name, lock.namespace))
    except NotFound:
        return []


async def record(kube: KubeClient, lock: Lock, new: Restored) -> None:
    """Add a restore. Raises Conflict where the Lease changes meanwhile; nothing happens where it is gone."""
    try:
        lease = await kube.get(Lease, lock.name, lock.namespace)
    except NotFound:
        return
    version = {"resourceVersion": lease.metadata.resource_version}
    patch = {"metadata": {**version, "annotations": {RESTORED: annotation(seen(lease), new)}}}
    await kube.merge_patch(Lease, lock.name, patch, lock.namespace)


def _hash(options: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]
