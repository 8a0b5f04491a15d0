"""A simulator of mariadb-operator: what it makes of its objects, with all that it gets wrong.

As 25.10.2 and 26.6.0 do, watched on a real API server. It makes Jobs; what their Pods do is in
`cozydrivers.testing.dumps`.
"""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

from cozydrivers.api.batch import Job
from cozydrivers.api.mariadb import Backup, MariaDB, PhysicalBackup, Restore
from cozydrivers.errors import ApiError
from cozydrivers.kube import KubeClient
from cozydrivers.testing._mariadb_admission import admission
from cozydrivers.testing._mariadb_hand import (
    CronJob,
    Hand,
    Key,
    PersistentVolumeClaim,
    Seen,
    by_cron_job,
    by_job,
    failed,
    is_true,
)
from cozydrivers.testing._mariadb_jobs import (
    Release,
    backup_job,
    backup_volume,
    cron_job,
    owner_of,
    restore_job,
    staging_volume,
)
from cozydrivers.testing._mariadb_physical import reconcile_physical
from cozydrivers.testing._mariadb_server import Servers
from cozydrivers.testing._store import Object

__all__ = ["CronJob", "MariaDBOperator", "PersistentVolumeClaim", "Version", "admission"]

Version = Literal["25.10.2", "26.6.0"]
"""The releases that were watched."""


class MariaDBOperator:
    """Looks after all MariaDBs, Backups, Restores and PhysicalBackups of a cluster, and does something only in `step`.

    The cluster may be any: it is reached by `kube` alone. `now` is the operator's own clock.
    """

    def __init__(self, kube: KubeClient, *, version: Version = "25.10.2", now: Callable[[], datetime]) -> None:
        self._hand = Hand(kube, Release(version), now)
        self._servers = Servers(self._hand)

    async def play_ready(self, namespace: str, name: str, *, ready: bool = True) -> None:
        """Have the Pods of a MariaDB be ready from now on, or not be."""
        await self._servers.play_ready(namespace, name, ready=ready)

    async def step(self) -> None:
        """Reconcile each object once; what an API server refuses is tried again in the next step."""
        with suppress(ApiError):
            seen = await self._look()
            for mariadb in seen.mariadbs.values():
                await _tried(self._servers.reconcile(mariadb, seen))
            for backup in seen.backups.values():
                await _tried(self._backup(backup, seen))
            for restore in seen.restores.values():
                await _tried(self._restore(restore, seen))
            for physical in seen.physical.values():
                await _tried(reconcile_physical(self._hand, physical, seen))

    async def _look(self) -> Seen:
        hand = self._hand
        seen = Seen(
            await hand.all(MariaDB), await hand.all(Backup), await hand.all(Restore), await hand.all(PhysicalBackup)
        )
        if seen.backups or seen.restores or seen.physical:
            seen.jobs = await hand.all(Job)
        if any("schedule" in backup["spec"] for backup in seen.backups.values()):
            seen.cron_jobs = await hand.all(CronJob)
        return seen

    async def _backup(self, backup: Object, seen: Seen) -> None:
        mariadb, spec = seen.mariadb(backup), backup["spec"]
        kind = spec["mariaDbRef"].get("kind") or "MariaDB"
        if mariadb is None or kind != "MariaDB":  # a server outside of the cluster is not simulated
            await self._hand.tell(Backup, backup, failed(f"{kind} not found"))
            return
        if spec["mariaDbRef"].get("waitForIt", True) and not is_true(mariadb, "Ready"):
            await self._hand.tell(Backup, backup, failed("MariaDB not ready"))
            return
        backup = await self._hand.change(Backup, backup, _backup_defaults(backup, mariadb))
        seen.backups[_key(backup)] = backup
        await self._claims(backup)
        if "schedule" in backup["spec"]:
            await self._scheduled(backup, mariadb, seen)
            return
        try:
            job = await self._job(backup, backup_job(backup, mariadb, self._hand.release), seen)
        except ApiError:
            told = failed("Error creating Job")
        else:
            told = by_job(job)
        seen.backups[_key(backup)] = await self._hand.tell(Backup, backup, told)

    async def _claims(self, backup: Object) -> None:
        """Create the claims of a Backup: that of its storage has its name, and no owner."""
        namespace, name = _key(backup)
        claim = backup["spec"]["storage"].get("persistentVolumeClaim")
        if claim is not None:
            await self._hand.claim(namespace, name, claim)
        staging = (backup["spec"].get("stagingStorage") or {}).get("persistentVolumeClaim")
        if staging is not None:
            await self._hand.claim(namespace, f"{name}-staging", staging, owner_of(backup))

    async def _scheduled(self, backup: Object, mariadb: Object, seen: Seen) -> None:
        key, body = _key(backup), cron_job(backup, mariadb, self._hand.release)
        known = seen.cron_jobs.get(key)
        if known is None:
            made = await self._hand.kube.create(CronJob, body, key[0])
            known = made.raw
        elif known["spec"].get("suspend") != body["spec"]["suspend"]:
            await self._hand.change(CronJob, known, {"suspend": body["spec"]["suspend"]})
        await self._hand.tell(Backup, backup, by_cron_job(known))

    async def _job(self, owner: Object, wanted: Object, seen: Seen) -> Object:
        """The Job of that name, whoever owns it; one that is gone is made again, and runs again."""
        known = seen.jobs.get(_key(owner))
        if known is None:
            known = seen.jobs[_key(owner)] = await self._hand.job(wanted)
        elif known["spec"].get("backoffLimit") != wanted["spec"]["backoffLimit"]:
            known = await self._hand.change(Job, known, {"backoffLimit": wanted["spec"]["backoffLimit"]})
        return known

    async def _restore(self, restore: Object, seen: Seen) -> None:
        """A Restore does not wait for its MariaDB; where its Job can't be made it says nothing."""
        mariadb = seen.mariadb(restore)
        if mariadb is None:
            await self._hand.tell(Restore, restore, failed("MariaDB not found"))
            return
        restore = await self._hand.change(Restore, restore, _restore_defaults(restore))
        if "volume" not in restore["spec"]:
            found = await self._source(restore, seen)
            if found is None:
                return
            restore = found
        wanted = restore_job(restore, mariadb, self._hand.release, self._hand.now())
        await self._hand.tell(Restore, restore, by_job(await self._job(restore, wanted, seen)))

    async def _source(self, restore: Object, seen: Seen) -> Object | None:
        """Copy where the Backup keeps its dumps; one that has failed will do.

        What stands in the way is said twice with two messages, so each pass makes the next one necessary.
        """
        name = (restore["spec"].get("backupRef") or {}).get("name", "")
        backup = seen.backups.get((restore["metadata"]["namespace"], name))
        if backup is None:
            error = f'error getting Backup: 1 error occurred:\n\t* Backup.k8s.mariadb.com "{name}" not found\n\n'
            await self._flip(restore, "Backup not found", error)
            return None
        if not is_true(backup, "Complete"):
            await self._flip(restore, "Backup not complete", "1 error occurred:\n\t* Backup not complete\n\n")
            return None
        s3 = backup["spec"]["storage"].get("s3")
        copied = {"volume": backup_volume(backup), **({"s3": {"region": "", **s3}} if s3 else {})}
        return await self._hand.change(Restore, restore, copied)

    async def _flip(self, restore: Object, first: str, second: str) -> None:
        told = await self._hand.tell(Restore, restore, failed(first))
        await self._hand.tell(Restore, told, failed(f"error initializing source: {second}"))


async def _tried(work: Coroutine[Any, Any, None]) -> None:
    """Leave what fails for the next pass; so is an object with a value that the operator can't decode."""
    with suppress(ApiError, ValueError):
        await work


def _backup_defaults(backup: Object, mariadb: Object) -> Object:
    """What the operator writes into a Backup's spec."""
    spec = backup["spec"]
    galera = bool((mariadb["spec"].get("galera") or {}).get("enabled"))
    defaults: Object = {
        "compression": "none",
        "maxRetention": "720h0m0s",
        "ignoreGlobalPriv": galera,
        "serviceAccountName": backup["metadata"]["name"],
    }
    lacking = {key: value for key, value in defaults.items() if key not in spec}
    return lacking if spec.get("backoffLimit") else {"backoffLimit": 5, **lacking}


def _restore_defaults(restore: Object) -> Object:
    """What the operator writes into a Restore's spec: with `s3` given, that is where it restores from."""
    spec, name = restore["spec"], restore["metadata"]["name"]
    lacking: Object = {} if spec.get("backoffLimit") else {"backoffLimit": 5}
    if "serviceAccountName" not in spec:
        lacking["serviceAccountName"] = name
    volume = staging_volume(spec.get("stagingStorage"), f"{name}-staging")
    if "s3" in spec and spec.get("volume") != volume:
        lacking["volume"] = volume
    return lacking


def _key(obj: Object) -> Key:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]
