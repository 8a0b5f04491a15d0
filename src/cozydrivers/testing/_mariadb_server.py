"""What mariadb-operator does with a MariaDB: its defaults, its conditions, and how it starts from a dump."""

from cozydrivers.api.mariadb import MariaDB, Restore
from cozydrivers.errors import AlreadyExists, NotFound
from cozydrivers.testing._mariadb_hand import Hand, Key, Seen, condition, condition_of, is_true
from cozydrivers.testing._mariadb_jobs import owner_of
from cozydrivers.testing._store import Object

IMAGE = "docker-registry1.mariadb.com/library/mariadb:11.8.2"

_READY = condition("Ready", True, "StatefulSetReady", "Running")
_NOT_READY = condition("Ready", False, "StatefulSetNotReady", "Not ready")
_SUSPENDED = condition("Ready", False, "Suspended", "Suspended")
_UPDATED = condition("Updated", True, "Updated", "Updated")
_RESTORED = condition("BackupRestored", True, "RestoreBackup", "Restored backup")
_RESTORING = ("RestoreBackup", "Restoring backup")


class Servers:
    """The MariaDBs of a cluster. Whether their Pods are ready is played, or is what their status says."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._ready: set[Key] = set()

    async def play_ready(self, namespace: str, name: str, *, ready: bool) -> None:
        """Note whether the Pods are ready, and say it at once."""
        mariadb = (await self._hand.all(MariaDB)).get((namespace, name))
        if mariadb is None:
            raise NotFound(f"MariaDB {namespace}/{name} is not there")
        if ready:
            self._ready.add((namespace, name))
        else:
            self._ready.discard((namespace, name))
            await self._hand.tell(MariaDB, mariadb, _NOT_READY)
        await self.reconcile(mariadb, Seen(restores=await self._hand.all(Restore)))

    async def reconcile(self, mariadb: Object, seen: Seen) -> None:
        """Do for one MariaDB what the operator does."""
        key = (mariadb["metadata"]["namespace"], mariadb["metadata"]["name"])
        mariadb = await self._hand.change(MariaDB, mariadb, _defaults(mariadb))
        if mariadb["spec"].get("suspend"):
            if is_true(mariadb, "Ready"):
                self._ready.add(key)
            told = await self._hand.tell(MariaDB, mariadb, _SUSPENDED)
        else:
            told = await self._run(mariadb, key, seen)
        seen.mariadbs[key] = told

    async def _run(self, mariadb: Object, key: Key, seen: Seen) -> Object:
        known, primary = condition_of(mariadb, "Ready"), _primary(mariadb)
        if key not in self._ready:
            if known is None or known["reason"] == "Suspended":
                return await self._hand.tell(MariaDB, mariadb, _NOT_READY, **primary)
            return mariadb
        if "bootstrapFrom" in mariadb["spec"] and not is_true(mariadb, "BackupRestored"):
            return await self._bootstrap(mariadb, key, seen)
        return await self._hand.tell(MariaDB, mariadb, _READY, _UPDATED, **primary, replicas=1)

    async def _bootstrap(self, mariadb: Object, key: Key, seen: Seen) -> Object:
        """Restore the dump to start from; a Restore that has failed counts as done, and is deleted."""
        name = f"{key[1]}-restore"
        restore = seen.restores.get((key[0], name))
        if restore is not None and is_true(restore, "Complete"):
            await self._hand.kube.delete(Restore, name, key[0], uid=restore["metadata"]["uid"])
            return await self._hand.tell(MariaDB, mariadb, _READY, _UPDATED, _RESTORED, replicas=1)
        if restore is None:
            try:
                await self._hand.kube.create(Restore, _bootstrap_restore(mariadb, name), key[0])
            except AlreadyExists:
                return mariadb
        restoring = (condition(kind, False, *_RESTORING) for kind in ("Ready", "BackupRestored"))
        ready, restored = restoring
        return await self._hand.tell(MariaDB, mariadb, ready, _UPDATED, restored, **_primary(mariadb), replicas=1)


def _primary(mariadb: Object) -> Object:
    return {
        "currentPrimary": f"{mariadb['metadata']['name']}-0",
        "currentPrimaryPodIndex": 0,
        "defaultVersion": "11.8",
    }


def _bootstrap_restore(mariadb: Object, name: str) -> Object:
    source = mariadb["spec"]["bootstrapFrom"]
    kept = {key: source[key] for key in ("volume", "targetRecoveryTime", "stagingStorage") if key in source}
    if "s3" in source:
        kept["s3"] = {"region": "", **source["s3"]}
    if "backupRef" in source:
        kept["backupRef"] = {"name": source["backupRef"]["name"]}
    own = mariadb["metadata"]["name"]
    spec = {**kept, "mariaDbRef": {"name": own, "waitForIt": True}, "serviceAccountName": own, "podMetadata": {}}
    return {"metadata": {"name": name, "ownerReferences": [owner_of(mariadb)]}, "spec": spec}


def _defaults(mariadb: Object) -> Object:
    """What a MariaDB's spec lacks, as the operator writes it."""
    name, spec = mariadb["metadata"]["name"], mariadb["spec"]
    defaults: Object = {
        "image": IMAGE,
        "rootEmptyPassword": False,
        "rootPasswordSecretKeyRef": {"name": f"{name}-root", "key": "password", "generate": True},
        "serviceAccountName": name,
        "tls": {"enabled": False},
        "updateStrategy": {"autoUpdateDataPlane": False, "type": "ReplicasFirstPrimaryLast"},
    }
    lacking = {key: value for key, value in defaults.items() if key not in spec}
    storage, source = spec.get("storage") or {}, spec.get("bootstrapFrom")
    if "size" in storage and "volumeClaimTemplate" not in storage:
        template = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage["size"]}}}
        flags = {"ephemeral": False, "resizeInUseVolumes": True, "waitForVolumeResize": True}
        lacking["storage"] = {**flags, "volumeClaimTemplate": template, **storage}
    if source is not None and "backupContentType" not in source:
        lacking["bootstrapFrom"] = {"backupContentType": "Logical"}
    return lacking
