"""What stands in the tenant's namespace, as manifests. Pure."""

from typing import Any

APPLICATION = "my-clickhouse"
INSTALLATION = f"clickhouse-{APPLICATION}"

Manifest = dict[str, Any]


def secret(username: str, password: str) -> Manifest:
    """The sidecars' credentials, as Cozystack's chart makes them."""
    name = f"{INSTALLATION}-backup-api-auth"
    data = {"username": username, "password": password}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def application(shards: int, replicas: int) -> Manifest:
    """The tenant's ClickHouse, with so many replicas of each shard."""
    spec = {"shards": shards, "replicas": replicas, "backup": {"enabled": True}}
    return {
        "apiVersion": "apps.cozystack.io/v1alpha1",
        "kind": "ClickHouse",
        "metadata": {"name": APPLICATION},
        "spec": spec,
    }


def pod(shard: str, replica: str, storage: dict[str, str]) -> Manifest:
    """The Pod of one replica; `storage` is what its sidecar's environment tells of the object store."""
    labels = {"chi": INSTALLATION, "shard": shard, "replica": replica}
    container = {
        "name": "clickhouse-backup",
        "image": "clickhouse-backup",
        "ports": [{"name": "ch-backup-api", "containerPort": 7171}],
        "env": [{"name": name, "value": value} for name, value in storage.items()],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"chi-{INSTALLATION}-clickhouse-{shard}-{replica}-0",
            "labels": {f"clickhouse.altinity.com/{key}": value for key, value in labels.items()},
        },
        "spec": {"containers": [container]},
    }


def running_at(address: str) -> Manifest:
    """The status that a kubelet would give a Pod."""
    ready = {"type": "Ready", "status": "True"}
    return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}


def reference_lease(holder: str, renewed: str) -> Manifest:
    """The Lease of Cozystack's own controller, which counts for 5 s after each renewal."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 5, "renewTime": renewed}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "strategy.backups.cozystack.io"},
        "spec": spec,
    }


def backup_class(name: str, **parameters: str) -> Manifest:
    """A class with the guide's strategy, and parameters of the driver."""
    strategy = {
        "application": {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse"},
        "strategyRef": {
            "apiGroup": "strategy.backups.cozystack.io",
            "kind": "Altinity",
            "name": "clickhouse-data-altinity-strategy",
        },
        "parameters": parameters,
    }
    metadata = {"name": name}
    kind = {"apiVersion": "backups.cozystack.io/v1alpha1", "kind": "BackupClass"}
    return {**kind, "metadata": metadata, "spec": {"strategies": [strategy]}}


def backup_job(name: str, backup_class: str = "clickhouse-data-backup") -> Manifest:
    """A tenant's BackupJob."""
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": APPLICATION}
    spec = {"applicationRef": reference, "backupClassName": backup_class}
    return _job("BackupJob", name, spec)


def restore_job(name: str, backup: str, **options: Any) -> Manifest:
    """A tenant's RestoreJob, in place."""
    return _job("RestoreJob", name, {"backupRef": {"name": backup}, "options": options})


def _job(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": "backups.cozystack.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def archives(*backups: Manifest) -> list[str]:
    """The archives that Backups name in their driverMetadata, by Backup and shard."""
    prefix = "clickhouse.backup/archive."
    recorded = [backup["spec"]["driverMetadata"] for backup in backups]
    return [metadata[key] for metadata in recorded for key in sorted(metadata) if key.startswith(prefix)]


def conditions(job: Manifest) -> dict[str, str]:
    """Type and status of each condition, `False` ones with their reason: `False:Refused`."""
    found = job["status"].get("conditions", [])
    return {each["type"]: _state(each) for each in found}


def _state(condition: Manifest) -> str:
    status = str(condition["status"])
    return f"{status}:{condition['reason']}" if status == "False" else status
