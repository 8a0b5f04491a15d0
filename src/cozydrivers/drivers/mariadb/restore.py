"""What is restored, whether it may be, and as which Restore of the operator's. Pure.

mariadb-operator finds a dump by time alone, so it is given what leaves it no choice: the folder of the one run that
made the dump, and the dump's own second. It never gets `backupRef`, by which it would take a failed dump as well.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from cozydrivers.api.backups import Backup
from cozydrivers.api.mariadb import Restore, RestoreSpec
from cozydrivers.clients.mariadb import Thing
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.mariadb import dumps
from cozydrivers.drivers.mariadb.checkpoint import Chosen, RestoreState
from cozydrivers.drivers.mariadb.dumps import DumpFile
from cozydrivers.drivers.mariadb.naming import Name, server_of
from cozydrivers.drivers.mariadb.options import Options
from cozydrivers.drivers.mariadb.record import Recorded, written
from cozydrivers.drivers.mariadb.settings import Settings
from cozydrivers.drivers.mariadb.storage import SHARED, Place
from cozydrivers.errors import InvalidInput

UNSEEN = timedelta(seconds=5)
"""A dump that nobody has seen is named after a second that is at most so much later than the start of its container.

A Pod after one that has failed comes 10 s later.
"""


@dataclass(frozen=True)
class Source:
    """The dump that is restored, and where it is.

    `unread` says why nobody could look whether it is still there: the end of a sentence, empty where it was seen.
    """

    place: Place
    recorded: Recorded
    unread: str = ""

    @property
    def second(self) -> datetime:
        """The `targetRecoveryTime` of its Restore: its own second, as far as that is known."""
        return self.recorded.taken_at + (timedelta() if self.recorded.file else UNSEEN)

    @property
    def label(self) -> str:
        """How sentences name it."""
        recorded = self.recorded
        if self.place.s3 is not None:
            return self.place.s3.uri(recorded.key or recorded.prefix)
        return f"PersistentVolumeClaim {recorded.claim}" if recorded.claim else SHARED

    def chosen(self, options: Options) -> Chosen:
        """What a checkpoint keeps of it."""
        recorded = self.recorded
        return Chosen(label=self.label, taken_at=recorded.taken_at, size=recorded.size, database=options.database)


# Check


def check_backup(backup: Backup, recorded: Recorded, options: Options) -> None:
    """Refuse what the last look at the store has not found, and a database that the dump is not of."""
    alarm = next((each for each in backup.status.conditions if (each.type, each.status) == ("Ready", "False")), None)
    if alarm is not None:
        raise InvalidInput(f"Backup {backup.metadata.name} is not good any more: {alarm.reason}: {alarm.message}")
    if options.assume_nearest:
        raise InvalidInput("spec.options.assumeNearest is only for a Backup that records no dump; this one does")
    if options.database and recorded.databases and options.database not in recorded.databases:
        named = ", ".join(recorded.databases)
        raise InvalidInput(f"spec.options.database is {options.database}, and the dump is of {named}")


def located(source: Source, files: Sequence[DumpFile]) -> Source:
    """The dump among those under its prefix; InvalidInput where a Restore would not take just this one (I1)."""
    recorded = source.recorded
    named = {each.name: each for each in files}
    if not files or (recorded.file and recorded.file not in named):
        raise InvalidInput(f"the dump {source.label} is not in the store any more")
    dump = dumps.safe_choice(files, source.second)
    if recorded.file and dump.name != recorded.file:
        raise InvalidInput(f"the dump {source.label} has another second than is recorded; {dump.name} would be taken")
    if recorded.size and dump.size != recorded.size:
        raise InvalidInput(f"the dump {source.label} has {dump.size} bytes now; {recorded.size} are recorded")
    if not dump.size:
        raise InvalidInput(f"the dump {source.label} is empty")
    return replace(source, recorded=replace(recorded, file=dump.name, size=dump.size, taken_at=dump.taken_at))


# What is created


def spec(run: Run, source: Source, options: Options, settings: Settings) -> dict[str, Any]:
    """The spec of the Restore."""
    optional = {"database": options.database, "logLevel": settings.log_level}
    return {
        "mariaDbRef": {"name": server_of(run.application.metadata.name)},
        **_from(source),
        "targetRecoveryTime": written(source.second),
        "restartPolicy": "Never",
        "backoffLimit": 1,
        **{key: value for key, value in optional.items() if value},
    }


def _from(source: Source) -> Mapping[str, Any]:
    if source.place.s3 is not None:
        return {"s3": source.place.source(source.recorded.prefix)}
    if source.recorded.claim:
        return {"volume": {"persistentVolumeClaim": {"claimName": source.recorded.claim}}}
    return {"volume": dict(source.place.template)}


def covering(settings: Settings, databases: Collection[str], options: Options) -> Settings:
    """How the safety dump is made: as the strategy says, and of all that is about to be replaced.

    `databases` are those that the restored dump is of, none where it is of all.
    """
    replaced = (options.database,) if options.database else databases
    if replaced and set(replaced) <= set(settings.databases):
        return settings
    return replace(settings, databases=())


# How far a restore is

Stage = Literal["saving", "saved", "restoring", "restored"]


def stage(state: RestoreState, options: Options) -> Stage:
    """How far a restore is by its checkpoint; InvalidInput for one that can't be of this restore (I12).

    Once it may have replaced something, it is followed to its end, whatever has become of the options.
    """
    match state.task.purpose:
        case "safety" if not options.skip_safety_copy and not state.over:
            return "saved" if state.safety else "saving"
        case "restore" if may_have_begun(state) or options.skip_safety_copy == (state.safety is None):
            return "restored" if state.over else "restoring"
        case _:
            raise InvalidInput("the checkpoint is not one of this restore")


def may_have_begun(state: RestoreState) -> bool:
    """Whether anything may have been replaced: the Restore exists, or existed."""
    return state.task.purpose == "restore" and bool(state.task.uid)


def check_unchanged(state: RestoreState, source: Source, options: Options) -> None:
    """Refuse another dump, or another part of it, than was checked before the safety dump (I4).

    Where nobody could look, one of the labels is that of the folder alone.
    """
    first, now = state.chosen.label, source.label
    if not (now.startswith(first) or first.startswith(now)):
        raise InvalidInput(f"{now} would be restored now, and {first} was found at first")
    if options.database != state.chosen.database:
        asked = options.database or "none"
        raise InvalidInput(f"spec.options.database is {asked} now, and was {state.chosen.database or 'none'} at first")


# What was created


def difference(thing: Thing | None, state: RestoreState) -> str:
    """What a Restore does that was not asked for, as one does that others created in its name; empty for nothing."""
    if not isinstance(thing, Restore):
        return "it is no Restore"
    spec, label = thing.spec, state.chosen.label
    source, place = _source_of(spec), label[: label.rfind("/") + 1] or label
    if source != place:
        return f"it is from {source}, not from {place}"
    second = state.chosen.taken_at + (UNSEEN if label == SHARED else timedelta())
    is_alone = label == place != SHARED
    if not is_alone and spec.target_recovery_time != second:
        told = written(spec.target_recovery_time) if spec.target_recovery_time else "no time"
        return f"it is of {told}, not of {written(second)}"
    if spec.database != state.chosen.database:
        return f"its database is {spec.database or 'any'}, not {state.chosen.database or 'any'}"
    return ""


def _source_of(spec: RestoreSpec) -> str:
    """As the label of a Source has it, without the file."""
    if spec.s3 is not None:
        return spec.s3.uri(spec.s3.prefix)
    claim = str(((spec.volume or {}).get("persistentVolumeClaim") or {}).get("claimName"))
    return f"PersistentVolumeClaim {claim}" if Name.parse(claim) else SHARED
