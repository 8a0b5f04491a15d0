"""What mariadb-operator does with a PhysicalBackup whose storage is no volume snapshot; its cron is not followed."""

from datetime import UTC, datetime
from typing import ClassVar

from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.api.batch import Job
from cozydrivers.api.mariadb import PhysicalBackup
from cozydrivers.errors import NotFound
from cozydrivers.testing._mariadb_hand import Hand, Seen, condition, failed, is_true
from cozydrivers.testing._mariadb_jobs import duration, owner_of, physical_job, written
from cozydrivers.testing._store import Object

_SUSPENDED = condition("Complete", False, "JobSuspended", "Suspended")


class _Pod(KubeObject):
    """A server's Pod, kept whole for its node."""

    resource: ClassVar[Resource] = Resource("", "v1", "Pod", "pods", namespaced=True)


async def reconcile_physical(hand: Hand, backup: Object, seen: Seen) -> None:
    """Do for one PhysicalBackup what the operator does."""
    mariadb, spec = seen.mariadb(backup), backup["spec"]
    if mariadb is None:
        await hand.tell(PhysicalBackup, backup, failed("MariaDB not found"))
        return
    if spec["mariaDbRef"].get("waitForIt", True) and not is_true(mariadb, "Ready"):
        await hand.tell(PhysicalBackup, backup, failed("MariaDB not ready"))
        return
    backup = await hand.change(PhysicalBackup, backup, _defaults(hand, backup))
    schedule, jobs = backup["spec"].get("schedule") or {}, _jobs(backup, seen)
    if schedule.get("suspend"):
        await hand.tell(PhysicalBackup, backup, _SUSPENDED)
        return
    running = [job for job in jobs if not _ends(job)]
    if await _too_long(hand, backup, running):
        return
    due = _is_due(backup, jobs) and not running
    if due:
        jobs = [*jobs, await _start(hand, backup, mariadb)]
    fields = _scheduled(hand, backup) if due else {}
    await hand.tell(PhysicalBackup, backup, _by_jobs(backup, jobs), **fields)


def _defaults(hand: Hand, backup: Object) -> Object:
    spec = backup["spec"]
    defaults = {
        "maxRetention": "720h0m0s",
        "timeout": "1h0m0s",
        "compression": "none",
        "successfulJobsHistoryLimit": 5,
        "serviceAccountName": backup["metadata"]["name"],
        **({"failedJobsHistoryLimit": 5, "target": "Replica"} if hand.release.standard_names else {}),
    }
    lacking = {key: value for key, value in defaults.items() if key not in spec}
    return lacking if spec.get("backoffLimit") else {"backoffLimit": 5, **lacking}


def _jobs(backup: Object, seen: Seen) -> list[Object]:
    """Its Jobs, known by the name of their owner."""
    mine, namespace = owner_of(backup), backup["metadata"]["namespace"]
    return [
        job
        for (space, _), job in seen.jobs.items()
        if space == namespace
        and any(
            (owner["kind"], owner["name"]) == (mine["kind"], mine["name"])
            for owner in job["metadata"].get("ownerReferences", ())
        )
    ]


def _is_due(backup: Object, jobs: list[Object]) -> bool:
    schedule, status = backup["spec"].get("schedule"), backup.get("status") or {}
    if schedule is None:
        return not jobs
    if schedule.get("onDemand") and schedule["onDemand"] != status.get("lastScheduleOnDemand"):
        return True
    return bool(schedule.get("immediate", True)) and "lastScheduleCheckTime" not in status


async def _start(hand: Hand, backup: Object, mariadb: Object) -> Object:
    name = f"{mariadb['metadata']['name']}-0"
    try:
        pod = await hand.kube.get(_Pod, name, mariadb["metadata"]["namespace"])
        node = str(pod.raw["spec"].get("nodeName", ""))
    except NotFound:
        node = "node1"
    stamp = f"{hand.now().astimezone(UTC):%Y%m%d%H%M%S}"
    return await hand.job(physical_job(backup, mariadb, hand.release, stamp, node))


def _scheduled(hand: Hand, backup: Object) -> Object:
    now, schedule = written(hand.now()), backup["spec"].get("schedule") or {}
    times = {"lastScheduleCheckTime": now, "lastScheduleTime": now}
    return {**times, **({"lastScheduleOnDemand": schedule["onDemand"]} if schedule.get("onDemand") else {})}


async def _too_long(hand: Hand, backup: Object, running: list[Object]) -> bool:
    """Delete a Job that has taken longer than the timeout: the next pass makes a new one."""
    limit = duration(backup["spec"]["timeout"])
    for job in running:
        metadata = job["metadata"]
        if hand.now() - datetime.fromisoformat(metadata["creationTimestamp"]) > limit:
            await hand.kube.delete(Job, metadata["name"], metadata["namespace"], uid=metadata["uid"])
            return True
    return False


def _ends(job: Object) -> str:
    """How a Job has ended, or that it is suspended; empty while it runs."""
    told = (job.get("status") or {}).get("conditions", ())
    true = {item["type"] for item in told if item["status"] == "True"}
    return next((kind for kind in ("Failed", "Suspended", "Complete") if kind in true), "")


def _by_jobs(backup: Object, jobs: list[Object]) -> Object:
    ends = [_ends(job) for job in jobs]
    if "Failed" in ends:
        return condition("Complete", True, "JobFailed", "Failed")
    if ends and all(end == "Complete" for end in ends):
        return condition("Complete", True, "JobComplete", "Success")
    if "" in ends:
        return condition("Complete", False, "JobRunning", "Running")
    message = "Scheduled" if "schedule" in backup["spec"] else "Not complete"
    return condition("Complete", False, "JobNotComplete", message)
