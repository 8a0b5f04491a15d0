"""A backup, step by step: the operator dumps, the dump is proven, the operator's object goes, a last look is taken."""

from collections.abc import Sequence

from cozydrivers.drivers.base import (
    Artifact,
    BackupRun,
    Intent,
    Note,
    Outcome,
    Patience,
    Run,
    Running,
    Succeeded,
)
from cozydrivers.drivers.mariadb import checkpoint, dumping, evidence, record, target
from cozydrivers.drivers.mariadb.checkpoint import BackupState, Evidence
from cozydrivers.drivers.mariadb.naming import Name
from cozydrivers.drivers.mariadb.record import Recorded
from cozydrivers.drivers.mariadb.settings import Settings, settings_of
from cozydrivers.drivers.mariadb.storage import Place, place_of
from cozydrivers.drivers.mariadb.store import Access
from cozydrivers.drivers.mariadb.work import Announce, Task, remove
from cozydrivers.errors import InvalidInput


async def step(run: BackupRun, access: Access) -> Outcome:
    """One step of a backup."""
    refuse_pods(run)
    place, settings = place_of(run.strategy), settings_of(run.strategy, run.parameters)
    state = checkpoint.read(BackupState, run)
    if state is None:
        return await _begin(run, place, settings)
    if state.evidence is not None:
        return await _finish(run, access, place, state.evidence)
    match await dumping.follow(run, access, place, settings, state.task):
        case Announce():
            return await _begin(run, place, settings)
        case Task() as task:
            saved = checkpoint.save(state.model_copy(update={"task": task}))
            return Running("InProgress", f"the operator's Backup {_name(run)} is at work", 0.5, saved)
        case Evidence() as shown:
            saved = checkpoint.save(state.model_copy(update={"evidence": shown}))
            return Running("Proven", shown.message, 0.1, saved)
        case outcome:
            return outcome


def refuse_pods(run: Run) -> None:
    """Refuse a strategy that wants to be executed as Pods: it has no template of one."""
    if run.execution != "sidecar":
        raise InvalidInput(f"a strategy of kind MariaDB is executed by mariadb-operator, not as a {run.execution}")


async def _begin(run: BackupRun, place: Place, settings: Settings) -> Outcome:
    """Nothing is intended before all is there that the operator's Pods need, and the server is at peace."""
    dumping.check_readable(place, settings)
    server = (await target.server(run, place)).metadata.name
    others = await target.others_at_work(run, server)
    if others:
        return Running("MariaDBBusy", f"at work on MariaDB {server}: {', '.join(others)}", 5.0, patience=Patience.BUSY)
    return Intent(checkpoint.save(BackupState()), f"the operator's Backup {_name(run)} dumps MariaDB {server}")


async def _finish(run: BackupRun, access: Access, place: Place, shown: Evidence) -> Outcome:
    """Left behind, the object would dump again as soon as somebody deletes its Job."""
    access.streams.forget(run.uid)
    left = await remove(run, "dump")
    if left:
        return Running("Removing", left, 0.5)
    lacking = await evidence.still_there(run, access, place, _name(run), shown)
    if lacking:
        return dumping.unproven(lacking)
    artifact = _artifact(run, place, shown)
    return Succeeded(shown.message, artifact, conditions=artifact.conditions, events=_unproven(shown))


def _name(run: Run) -> str:
    return str(Name.of(run, "dump"))


def _unproven(shown: Evidence) -> Sequence[Note]:
    return [] if shown.condition.status == "True" else [Note(shown.reason, shown.message, warning=True)]


def _artifact(run: BackupRun, place: Place, shown: Evidence) -> Artifact:
    recorded = Recorded(
        name=_name(run),
        storage=place.identity,
        taken_at=shown.taken_at,
        cluster=run.cluster_uid,
        prefix=place.folder(_name(run)) if place.s3 else "",
        file=shown.file,
        size=shown.size,
        compression=shown.compression,
        databases=shown.databases,
        claim=shown.claim,
        claim_uid=shown.claim_uid,
    )
    return Artifact(
        uri=_uri(run, place, recorded),
        size_bytes=shown.size,
        taken_at=shown.taken_at,
        driver_metadata=record.write(recorded, run.namespace),
        conditions=[shown.condition],
    )


def _uri(run: Run, place: Place, recorded: Recorded) -> str:
    """Where the dump is; of one on a shared volume nobody knows more than who has made it."""
    if place.s3 is not None:
        return place.s3.uri(recorded.key or recorded.prefix)
    if recorded.claim:
        return f"pvc://{run.namespace}/{recorded.claim}"
    return f"mariadb://{run.namespace}/{recorded.name}"
