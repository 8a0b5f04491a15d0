"""The Jobs and CronJobs that mariadb-operator makes of its objects, as 25.10.2 and 26.6.0 were recorded to make them.

Of a Pod's template nothing but its metadata and its service account is taken over, and the volume with the database's
own certificates is left out.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cozydrivers.testing._store import Object

TARGET = "/backup/0-backup-target.txt"
OLDEST_STANDARD = "26"
"""The major version from which files are named by the extensions of gzip and bzip2."""

_UNIT = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_EXTENSIONS = {"gzip": "gz", "bzip2": "bz2"}
_TLS = "--ssl --ssl-ca /etc/pki/ca.crt --ssl-cert /etc/pki/client.crt --ssl-key /etc/pki/client.key"
_SECURITY = {"fsGroup": 999, "runAsGroup": 999, "runAsNonRoot": True, "runAsUser": 999}


@dataclass(frozen=True)
class Release:
    """A release of the operator."""

    version: str

    @property
    def standard_names(self) -> bool:
        """Whether compressed dumps are named `.sql.gz`; before they were `.gzip.sql`."""
        return self.version.partition(".")[0] >= OLDEST_STANDARD

    @property
    def image(self) -> str:
        """The image of its containers."""
        return f"docker-registry3.mariadb.com/mariadb-operator/mariadb-operator:{self.version}"

    def ending(self, compression: str) -> str:
        """What follows the time in a dump's name."""
        if compression == "none":
            return ".sql"
        return f".sql.{_EXTENSIONS[compression]}" if self.standard_names else f".{compression}.sql"


def duration(text: str) -> timedelta:
    """Read a Go duration. Raises ValueError for what is none."""
    found = re.fullmatch(r"([-+]?)((?:\d+(?:\.\d*)?(?:h|ms|us|µs|ns|m|s))+|0)", text)
    if found is None:
        raise ValueError(f"time: invalid duration {text!r}")
    parts = re.findall(r"([\d.]+)(h|ms|us|µs|ns|m|s)", found[2])
    seconds = sum(float(value) * _UNIT[unit] for value, unit in parts)
    return timedelta(seconds=-seconds if found[1] == "-" else seconds)


def go_duration(span: timedelta) -> str:
    """Write a duration of whole seconds as Go does: `720h0m0s`."""
    seconds = int(abs(span.total_seconds()))
    sign, hours, minutes = "-" if span < timedelta() else "", seconds // 3600, seconds % 3600 // 60
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds % 60}s"
    return f"{sign}{minutes}m{seconds % 60}s" if minutes else f"{sign}{seconds}s"


def written(at: datetime) -> str:
    """Write a time as metadata has it: UTC, whole seconds."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def owner_of(obj: Object) -> Object:
    """The ownerReference to an object, as its controller."""
    reference = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "blockOwnerDeletion": True, "controller": True}
    return {**reference, "name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}


def backup_job(backup: Object, mariadb: Object, release: Release) -> Object:
    """The Job of a Backup."""
    spec = backup["spec"]
    ending = release.ending(spec["compression"])
    dump = [
        "set -euo pipefail",
        "echo 💾 Exporting env",
        f"export BACKUP_FILE=/backup/backup.$(date -u +'%Y-%m-%dT%H:%M:%SZ'){ending}",
        f"echo 💾 Writing target file: {TARGET}",
        f'printf "${{BACKUP_FILE}}" > {TARGET}',
        f"echo 💾 Taking backup: $(cat '{TARGET}')",
        f"mariadb-dump {_connection(mariadb)} {' '.join(_dump_options(spec, mariadb))} > $(cat '{TARGET}')",
    ]
    push = [
        *("backup", "--path", "/backup", "--target-file-path", TARGET, "--backup-content-type", "Logical"),
        *("--max-retention", go_duration(duration(spec["maxRetention"])), "--compression", spec["compression"]),
        *("--log-level", spec["logLevel"], *_s3_options(spec["storage"].get("s3"))),
        *(["--cleanup-target-file"] if "s3" in spec["storage"] and "stagingStorage" in spec else []),
    ]
    volume, s3 = backup_volume(backup), spec["storage"].get("s3")
    init = _mariadb(mariadb, dump, s3)
    return _job(backup, backup["metadata"]["name"], volume, s3, [init], [_operator(release, push, s3)])


def backup_volume(backup: Object) -> Object:
    """Where a Backup's Job keeps its file: the storage itself, or with S3 what it is staged on."""
    spec, name = backup["spec"], backup["metadata"]["name"]
    if "s3" in spec["storage"]:
        return staging_volume(spec.get("stagingStorage"), f"{name}-staging")
    if "persistentVolumeClaim" in spec["storage"]:
        return {"persistentVolumeClaim": {"claimName": name}}
    return dict(spec["storage"]["volume"])


def staging_volume(staging: Object | None, claim: str) -> Object:
    """The volume for a file on its way to S3, or from there."""
    if staging and "persistentVolumeClaim" in staging:
        return {"persistentVolumeClaim": {"claimName": claim}}
    return dict((staging or {}).get("volume") or {"emptyDir": {}})


def cron_job(backup: Object, mariadb: Object, release: Release) -> Object:
    """The CronJob of a Backup with a schedule."""
    spec, job = backup["spec"], backup_job(backup, mariadb, release)
    kept = ("failedJobsHistoryLimit", "successfulJobsHistoryLimit", "timeZone")
    return {
        "metadata": job["metadata"],
        "spec": {
            "concurrencyPolicy": "Forbid",
            "jobTemplate": job,
            "schedule": spec["schedule"]["cron"],
            "suspend": spec["schedule"].get("suspend", False),
            **{key: spec[key] for key in kept if key in spec},
        },
    }


def restore_job(restore: Object, mariadb: Object, release: Release, now: datetime) -> Object:
    """The Job of a Restore; without a target time it is now."""
    spec = restore["spec"]
    target = datetime.fromisoformat(spec["targetRecoveryTime"]) if "targetRecoveryTime" in spec else now
    pull = [
        *("backup", "restore", "--path", "/backup", "--target-time", written(target)),
        *("--target-file-path", TARGET, "--backup-content-type", "Logical"),
        *("--log-level", spec["logLevel"], *_s3_options(spec.get("s3"))),
    ]
    options = [*spec.get("args", ()), *([f"--one-database {spec['database']}"] if spec.get("database") else [])]
    load = [
        "set -euo pipefail",
        f"echo 💾 Restoring backup: $(cat '{TARGET}')",
        f"mariadb {_connection(mariadb)} {' '.join([*options, *_tls_options(mariadb)])} < $(cat '{TARGET}')",
    ]
    name, s3, volume = restore["metadata"]["name"], spec.get("s3"), spec["volume"]
    return _job(restore, name, volume, s3, [_operator(release, pull, s3)], [_mariadb(mariadb, load, s3)])


def physical_job(backup: Object, mariadb: Object, release: Release, stamp: str, node: str) -> Object:
    """The Job of a PhysicalBackup that was started at a time, such as 20261123003719."""
    spec, s3, name = backup["spec"], backup["spec"]["storage"].get("s3"), mariadb["metadata"]["name"]
    host = f"{name}-0.{name}-internal.{mariadb['metadata']['namespace']}.svc.cluster.local"
    extension = "" if spec["compression"] == "none" else "." + _EXTENSIONS[spec["compression"]]
    copy = f"mariadb-backup {_connection(mariadb, host)} --backup --stream=xbstream --databases-exclude='lost+found'"
    dump = [
        "set -euo pipefail",
        f"echo 💾 Writing target file: {TARGET}",
        f'printf "/backup/physicalbackup-{stamp}.xb{extension}" > {TARGET}',
        f"echo 💾 Taking backup: $(cat '{TARGET}')",
        f"{copy} > $(cat '{TARGET}')",
    ]
    push = [
        *("backup", "--path", "/backup", "--target-file-path", TARGET, "--backup-content-type", "Physical"),
        *("--max-retention", go_duration(duration(spec["maxRetention"])), "--compression", spec["compression"]),
        *(("--log-level", spec["logLevel"]) if release.standard_names else ()),
        *_s3_options(s3),
        *(("--physical-backup-dir-path", "/backup/full") if release.standard_names else ()),
    ]
    init, container = _mariadb(mariadb, dump, s3), _operator(release, push, s3)
    job = _job(backup, f"{backup['metadata']['name']}-{stamp}", backup_volume(backup), s3, [init], [container])
    pod = job["spec"]["template"]["spec"]
    pod["volumes"].append({"name": "storage", "persistentVolumeClaim": {"claimName": f"storage-{name}-0"}})
    for each in (init, container):
        each["volumeMounts"].append({"mountPath": "/var/lib/mysql", "name": "storage"})
    if release.standard_names:
        pod["affinity"] = _beside(name)
    else:
        del pod["affinity"]
        pod["nodeSelector"] = {"kubernetes.io/hostname": node}
    return job


def _beside(mariadb: str) -> Object:
    labels = {"app.kubernetes.io/instance": mariadb, "statefulset.kubernetes.io/pod-name": f"{mariadb}-0"}
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _job(
    owner: Object, name: str, volume: Object, s3: Object | None, inits: list[Object], containers: list[Object]
) -> Object:
    spec, space = owner["spec"], owner["metadata"]["namespace"]
    volumes: list[Object] = [{"name": "backup", **volume}]
    if (secret := _ca(s3)) is not None:
        volumes.append({"name": "s3-pki", "secret": {"secretName": secret["name"]}})
    pod = {
        "affinity": {},
        "containers": containers,
        "initContainers": inits,
        "restartPolicy": spec["restartPolicy"],
        "securityContext": _SECURITY,
        "serviceAccountName": spec["serviceAccountName"],
        "volumes": volumes,
    }
    inherited = _metadata(spec.get("inheritMetadata"))
    metadata = {"name": name, "namespace": space, **inherited, "ownerReferences": [owner_of(owner)]}
    shown = {"name": name, "namespace": space, **_metadata(spec.get("inheritMetadata"), spec.get("podMetadata"))}
    return {
        "metadata": metadata,
        "spec": {"backoffLimit": spec["backoffLimit"], "template": {"metadata": shown, "spec": pod}},
    }


def _metadata(*sources: Object | None) -> Object:
    """Labels and annotations of all the sources, the last one's where several have them."""
    merged: Object = {}
    for source in sources:
        for kind in ("labels", "annotations"):
            if (source or {}).get(kind):
                merged[kind] = {**merged.get(kind, {}), **source[kind]}  # type: ignore[index]
    return merged


def _operator(release: Release, args: Iterable[str], s3: Object | None) -> Object:
    container = {"name": "mariadb-operator", "image": release.image, "args": list(args), "volumeMounts": _mounts(s3)}
    names = {
        "AWS_ACCESS_KEY_ID": "accessKeyIdSecretKeyRef",
        "AWS_SECRET_ACCESS_KEY": "secretAccessKeySecretKeyRef",
        "AWS_SESSION_TOKEN": "sessionTokenSecretKeyRef",
    }
    env = [_from_secret(name, s3[field]) for name, field in names.items() if field in s3] if s3 else []
    return {**container, "env": env} if env else container


def _mariadb(mariadb: Object, commands: Iterable[str], s3: Object | None) -> Object:
    password = _from_secret("MARIADB_OPERATOR_PASSWORD", mariadb["spec"]["rootPasswordSecretKeyRef"])
    return {
        "name": "mariadb",
        "image": mariadb["spec"]["image"],
        "command": ["bash", "-c"],
        "args": [";".join(commands)],
        "env": [{"name": "MARIADB_OPERATOR_USER", "value": "root"}, password],
        "volumeMounts": _mounts(s3),
    }


def _from_secret(name: str, reference: Mapping[str, Any]) -> Object:
    key = {"key": reference.get("key", ""), "name": reference.get("name", "")}
    return {"name": name, "valueFrom": {"secretKeyRef": key}}


def _mounts(s3: Object | None) -> list[Object]:
    backup = {"mountPath": "/backup", "name": "backup"}
    return [backup] if _ca(s3) is None else [backup, {"mountPath": "/s3/pki", "name": "s3-pki"}]


def _ca(s3: Object | None) -> Object | None:
    tls = (s3 or {}).get("tls") or {}
    return tls.get("caSecretKeyRef") if tls.get("enabled") else None


def _connection(mariadb: Object, host: str = "") -> str:
    metadata, port = mariadb["metadata"], mariadb["spec"].get("port", 3306)
    host = host or f"{metadata['name']}.{metadata['namespace']}.svc.cluster.local"
    return f"--user=${{MARIADB_OPERATOR_USER}} --password=${{MARIADB_OPERATOR_PASSWORD}} --host={host} --port={port}"


def _dump_options(spec: Object, mariadb: Object) -> list[str]:
    which = f"--databases {' '.join(spec['databases'])}" if spec.get("databases") else "--all-databases"
    galera = (mariadb["spec"].get("galera") or {}).get("enabled")
    return [
        *("--single-transaction", "--events", "--routines", which),
        *(["--skip-add-locks"] if galera else []),
        *(["--ignore-table=mysql.global_priv"] if spec.get("ignoreGlobalPriv") else []),
        *_tls_options(mariadb),
        *spec.get("args", ()),
    ]


def _tls_options(mariadb: Object) -> list[str]:
    return [_TLS, "--ssl-verify-server-cert"] if (mariadb["spec"].get("tls") or {}).get("enabled") else []


def _s3_options(s3: Object | None) -> list[str]:
    if s3 is None:
        return []
    ca = _ca(s3)
    return [
        *("--s3", "--s3-bucket", s3["bucket"], "--s3-endpoint", s3["endpoint"]),
        *(("--s3-region", s3["region"]) if s3.get("region") else ()),
        *(("--s3-tls",) if (s3.get("tls") or {}).get("enabled") else ()),
        *(("--s3-ca-cert-path", f"/s3/pki/{ca['key']}") if ca else ()),
        *(("--s3-prefix", s3["prefix"]) if s3.get("prefix") else ()),
    ]
