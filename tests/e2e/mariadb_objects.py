"""What stands in the namespace of a tenant with MariaDB, as manifests. Pure, but for the seed's file."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.e2e.objects import Manifest

APPLICATION, COPY = "shop", "copy"
ROOT = "root"
OPERATORS = "k8s.mariadb.com/v1alpha1"
RECORD = "k8s.mariadb.com/"
_COZYSTACK = "backups.cozystack.io/v1alpha1"
_SEED = Path(__file__).parents[2] / "fixtures" / "seed" / "mariadb.yaml"


def server_of(application: str) -> str:
    """The name of an application's MariaDB object."""
    return f"mariadb-{application}"


def secret(name: str, **data: str) -> Manifest:
    """A Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def credentials(application: str) -> Manifest:
    """What the seed's strategy reads to get into the bucket."""
    return secret(_credentials_of(application), AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any")


def _credentials_of(application: str) -> str:
    return f"{application}-mariadb-backup-creds"


def application(name: str) -> Manifest:
    """The tenant's MariaDB."""
    return {"apiVersion": "apps.cozystack.io/v1alpha1", "kind": "MariaDB", "metadata": {"name": name}, "spec": {}}


def server(name: str) -> Manifest:
    """What Cozystack's chart makes of an application for mariadb-operator, as far as it matters here."""
    password = {"name": ROOT, "key": "password"}
    spec = {"rootPasswordSecretKeyRef": password, "storage": {"size": "1Gi"}, "tls": {"enabled": False}}
    return {"apiVersion": OPERATORS, "kind": "MariaDB", "metadata": {"name": server_of(name)}, "spec": spec}


@cache
def _seed() -> tuple[Manifest, Manifest]:
    strategy, backup_class = yaml.safe_load_all(_SEED.read_bytes())
    return strategy, backup_class


def seeded(name: str, s3: Manifest, template: Manifest, parameters: dict[str, str]) -> tuple[Manifest, Manifest]:
    """The seed's strategy and class under a name, with changes to the storage, the template and the parameters.

    A field that is changed to None goes.
    """
    strategy, backup_class = deepcopy(_seed())
    strategy["metadata"]["name"] = backup_class["metadata"]["name"] = name
    given = strategy["spec"]["template"]
    given["storage"]["s3"] = _merged(given["storage"]["s3"], s3)
    strategy["spec"]["template"] = _merged(given, template)
    (binding,) = backup_class["spec"]["strategies"]
    binding["strategyRef"]["name"] = name
    binding["parameters"] = parameters
    return strategy, backup_class


def _merged(given: Manifest, changes: Manifest) -> Manifest:
    return {key: value for key, value in {**given, **changes}.items() if value is not None}


def backup_job(name: str, backup_class: str) -> Manifest:
    """A tenant's BackupJob."""
    return _job("BackupJob", name, {"applicationRef": _reference(APPLICATION), "backupClassName": backup_class})


def restore_job(name: str, backup: str, target: str = "", **options: Any) -> Manifest:
    """A tenant's RestoreJob, in place where no target is named."""
    to = {"targetApplicationRef": _reference(target)} if target else {}
    return _job("RestoreJob", name, {"backupRef": {"name": backup}, "options": options, **to})


def _reference(name: str) -> Manifest:
    return {"apiGroup": "apps.cozystack.io", "kind": "MariaDB", "name": name}


def _job(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": _COZYSTACK, "kind": kind, "metadata": {"name": name}, "spec": spec}


def s3(where: Manifest) -> Manifest:
    """A place in a bucket with the application's credentials, as the operator's objects have it."""
    keys = {"accessKeyIdSecretKeyRef": "AWS_ACCESS_KEY_ID", "secretAccessKeySecretKeyRef": "AWS_SECRET_ACCESS_KEY"}
    return {**where, **{key: {"name": _credentials_of(APPLICATION), "key": held} for key, held in keys.items()}}


def operators(kind: str, name: str, **spec: Any) -> Manifest:
    """An object of mariadb-operator that somebody makes by hand, for the application's server."""
    spec = {"mariaDbRef": {"name": server_of(APPLICATION)}, **spec}
    return {"apiVersion": OPERATORS, "kind": kind, "metadata": {"name": name}, "spec": spec}


def reference_backup(name: str, of: str, taken_at: str, strategy: str, uri: str) -> Manifest:
    """A Backup as Cozystack's own controller writes it, of the operator's Backup `of`."""
    metadata = {"backup-name": of, "storage-uri": f"{uri}{of}"}
    spec = {
        "applicationRef": _reference(APPLICATION),
        "strategyRef": {"apiGroup": "strategy.backups.cozystack.io", "kind": "MariaDB", "name": strategy},
        "takenAt": taken_at,
        "driverMetadata": {RECORD + key: value for key, value in metadata.items()},
    }
    return {**_job("Backup", name, spec), "status": {"phase": "Ready"}}


def recorded(backup: Manifest, key: str) -> str:
    """What a Backup records, empty where it does not."""
    return str(backup["spec"]["driverMetadata"].get(RECORD + key, ""))


def dump_of(backup: Manifest) -> str:
    """The key of the dump that a Backup names."""
    return recorded(backup, "prefix") + recorded(backup, "file")


def told(obj: Manifest, kind: str) -> Manifest:
    """A condition; empty where it has none of the kind."""
    found = obj.get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == kind), {})
