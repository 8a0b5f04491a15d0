"""The Driver protocol: what a controller hands to a driver, and what it gets back.

A driver is level-triggered. It is called with the whole situation, does one step and says where things stand. What it
must remember is in the checkpoint, which the controller keeps on the job; what it keeps in memory is a cache.

Submitting takes two steps. The first returns an `Intent`; the controller saves its checkpoint together with our
finalizer in one conditional patch, and calls again with what that patch answered and `fresh=True`. Only such a call
sends. A call without `fresh` never sends what its checkpoint says is being sent: it looks for it.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal, Protocol, Self, TypeVar

from cozydrivers.api.backups import Backup
from cozydrivers.api.base import Condition, KubeObject
from cozydrivers.kube import KubeClient

T = TypeVar("T", bound=KubeObject)

SUBMISSION_TIMEOUT = 5.0
"""Seconds for what has side effects to be sent: the lease duration of the leader election less its renew deadline.

So what a former leader still sends ends before another one acts, and can only collide with it on a name.
"""

Checkpoint = Mapping[str, Any]
EndReason = Literal["EngineFailed", "Refused", "Cancelled", "Lost", "TimedOut"]


class Patience(Enum):
    """How long a job may stay where it is."""

    ABSENT = "absent"
    """Something is missing or can't be reached: 30 minutes since it was first missed."""
    BUSY = "busy"
    """Somebody else is at work, or there is no slot: 24 hours since the job was created."""
    ENGINE = "engine"
    """The engine works: the strategy's timeout, else the driver's `timeout`."""


@dataclass(frozen=True)
class Note:
    """An event on the job."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Artifact:
    """What a backup left: the fields of the Backup that is written for it."""

    uri: str
    size_bytes: int
    taken_at: datetime
    driver_metadata: Mapping[str, str]
    conditions: Sequence[Condition] = ()


@dataclass(frozen=True)
class Intent:
    """Save this, then call again with `fresh=True`: what the checkpoint names is sent then.

    `storages` are the identities of the storage paths that will be written to: their locks are taken before.
    """

    checkpoint: Checkpoint
    message: str = ""
    storages: Sequence[str] = ()
    conditions: Sequence[Condition] = ()
    events: Sequence[Note] = ()


@dataclass(frozen=True)
class Running:
    """Not at its end; look again in `retry_after` seconds, or when something watched changes.

    Without a message there is nothing new to say, and the status stays as it is. A checkpoint that `is_cache` only
    spares look-ups: it is kept in memory, and saved with the next one that is not.
    """

    reason: str
    message: str
    retry_after: float
    checkpoint: Checkpoint | None = None
    patience: Patience = Patience.ENGINE
    conditions: Sequence[Condition] = ()
    events: Sequence[Note] = ()
    is_cache: bool = False


@dataclass(frozen=True)
class Succeeded:
    """Done and proven; `artifact` is what a backup left."""

    message: str
    artifact: Artifact | None = None
    conditions: Sequence[Condition] = ()
    events: Sequence[Note] = ()


@dataclass(frozen=True)
class Failed:
    """At its end without success; the controller calls `abort` until nothing of the run is left."""

    reason: EndReason
    message: str
    conditions: Sequence[Condition] = ()
    events: Sequence[Note] = ()


Outcome = Intent | Running | Succeeded | Failed


class Reader(Protocol):
    """Reads what is watched without asking the API server: it may be a moment old.

    What it does not know of, it asks the server for.
    """

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T:
        """Read an object; raises ApiError, NotFound among it."""

    async def labelled(self, kind: type[T], namespace: str, label: str, value: str) -> Sequence[T]:
        """The objects of a namespace whose label has a value."""

    def serves(self, kind: type[KubeObject]) -> bool:
        """Whether the API server serves a kind, as far as is known."""


AuditOutcome = Literal["about to", "done"]


class Audit(Protocol):
    """Writes a line of the audit log. What is deleted for another reason than that of all runs has a `rule`."""

    def __call__(self, outcome: AuditOutcome, archive: str, size: int, /, *, rule: str = "") -> None:
        """Write it; what this raises keeps the archive."""


def no_audit(outcome: AuditOutcome, archive: str, size: int, /, *, rule: str = "") -> None:
    """Write no line: nobody keeps an audit log."""


@dataclass(frozen=True)
class Run:
    """One job's situation. `now` is the wall clock; `fresh` says that the checkpoint was saved as an intent just now.

    `strategy` is the strategy's spec, rendered; `parameters` are the class's for it. `cluster_uid` is the UID of the
    namespace kube-system. `former_namespaces` are the first 6 hex digits of the UIDs of namespaces that are gone, whose
    archives may be restored in this one. `execution` is `sidecar` or `pod`; in the latter case the driver renders, with
    more in reach of the templates, by `render`, which raises InvalidInput. `timeout` is the patience with the engine,
    in seconds. `audit` writes a line of the audit log, before an archive of so many bytes is deleted and after; what it
    raises keeps the archive.
    """

    kube: KubeClient = field(repr=False)
    reader: Reader = field(repr=False)
    namespace: str
    namespace_uid: str
    cluster_uid: str
    application: KubeObject = field(repr=False)
    strategy: Mapping[str, Any] = field(repr=False)
    name: str
    uid: str
    created: datetime
    now: datetime
    checkpoint: Checkpoint | None = None
    fresh: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    former_namespaces: Collection[str] = ()
    audit: Audit = field(default=no_audit, repr=False)
    execution: str = "sidecar"
    timeout: float = 3600.0
    render: Callable[[Mapping[str, Any]], Mapping[str, Any]] = field(default=lambda more: {}, repr=False)


async def never() -> datetime | None:
    """No restore is known."""
    return None


@dataclass(frozen=True)
class BackupRun(Run):
    """The situation of a BackupJob.

    `earlier` are the Backups of its application, as far as is known; `restored_at` tells when that was last restored.
    """

    earlier: Sequence[Backup] = ()
    restored_at: Callable[[], Awaitable[datetime | None]] = field(default=never, repr=False)


@dataclass(frozen=True)
class RestoreRun(Run):
    """The situation of a RestoreJob: `backup` is the Backup that it names, `application` its target."""

    backup: Backup | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> Backup:
        """The Backup; a run that cleans up after its Backup is gone has none."""
        if self.backup is None:
            raise LookupError("the Backup is gone")
        return self.backup


@dataclass(frozen=True)
class DeleteRun(Run):
    """The deletion of what a Backup stands for: `name`, `uid` and `created` are the Backup's.

    `kept` are the other Backups of its application, which must stay whole (I8). The locks on the storages of its
    record are held.
    """

    backup: Backup = field(default_factory=Backup, repr=False)
    kept: Sequence[Backup] = ()


@dataclass(frozen=True)
class AuditRun(Run):
    """A look in the engine for what the Backups of an application stand for."""

    backups: Sequence[Backup] = ()


@dataclass(frozen=True)
class Finding:
    """What a look in the engine found of a Backup: `reason` is empty where all is there and whole."""

    reason: Literal["", "ArchiveMissing", "ArchiveBroken", "ChainBroken"] = ""
    message: str = ""


@dataclass(frozen=True)
class Inspection(Run):
    """A look at what an application can be restored from: `name`, `uid` and `created` are the application's.

    `backups` are its Backups, `busy` the UIDs of its jobs that are not over: what those make is nobody's leftover.
    """

    backups: Sequence[Backup] = ()
    busy: Collection[str] = ()


@dataclass(frozen=True)
class GoodSet:
    """A backup that a RestoreJob can name and that is in the store, whole; `size` is in bytes.

    `chain` is how many sets must be there for it, itself included: 1 for a full one. `verified` is whether it was
    proven when it was made.
    """

    backup: str
    name: str
    taken_at: datetime
    size: int = 0
    chain: int = 1
    verified: bool = True


@dataclass(frozen=True)
class Leftover:
    """Something in the engine that can't be restored from as it is, or that nobody asks for; `size` is in bytes."""

    name: str
    reason: str = ""
    size: int = 0


@dataclass(frozen=True)
class Recoverability:
    """What an application can be restored from, as far as the engine shows it. What could not be read is in `problems`.

    `good` are the newest first. `broken` and `suspicious` are Backups that are not among them, `orphans` sets that no
    Backup names, `safety_copies` what a restore has kept of the data that it replaced, `debris` what is left of runs.
    `replays` are the operator's objects that run once more if somebody deletes their Jobs. `lost_now` says in sentences
    what would be lost if the data went this moment.
    """

    good: Sequence[GoodSet] = ()
    broken: Sequence[Leftover] = ()
    suspicious: Sequence[Leftover] = ()
    orphans: Sequence[Leftover] = ()
    safety_copies: Sequence[Leftover] = ()
    debris: Sequence[Leftover] = ()
    replays: Sequence[Leftover] = ()
    problems: Sequence[str] = ()
    lost_now: Sequence[str] = ()

    @property
    def last(self) -> GoodSet | None:
        """The newest good set, None where there is none."""
        return self.good[0] if self.good else None

    @property
    def window(self) -> tuple[datetime, datetime] | None:
        """When the oldest and the newest good set were taken."""
        return (self.good[-1].taken_at, self.good[0].taken_at) if self.good else None

    @property
    def is_sound(self) -> bool:
        """Whether there is a good set, nothing is broken, and all could be read."""
        return bool(self.good) and not self.broken and not self.problems


@dataclass(frozen=True)
class Candidate:
    """A set in the store: `artifact` is what a Backup of it would say, None where `reason` says why there can be none.

    With an artifact `reason` is what to look at before it is imported, empty where there is nothing. `origin` is what
    the engine's names say of the namespace that it was made in, empty where that is this one.
    """

    name: str
    artifact: Artifact | None = None
    reason: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Importable:
    """What is in the store of an application, newest first; `problems` are what could not be read."""

    sets: Sequence[Candidate] = ()
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class Record:
    """What a Backup's driverMetadata says, as far as a controller needs it; `cluster` is the UID of its kube-system."""

    cluster: str
    storages: Sequence[str]
    archives: Sequence[str]


@dataclass(frozen=True)
class Watch:
    """Engine objects whose change wakes jobs: those that have `label`.

    `application(object)` names the application that it belongs to.
    """

    kind: type[KubeObject]
    label: str
    application: Callable[[KubeObject], str | None]


class Driver(Protocol):
    """What drives one kind of application. `async with` opens and closes its clients.

    `timeout` is the patience with the engine in seconds, where the strategy sets none.
    """

    @property
    def application(self) -> type[KubeObject]:
        """The kind of application that it backs up."""

    @property
    def strategy(self) -> type[KubeObject]:
        """The kind of strategy that it executes."""

    @property
    def watches(self) -> Sequence[Watch]:
        """What wakes its jobs, beside their own changes."""

    @property
    def timeout(self) -> float:
        """Patience with the engine, in seconds."""

    async def __aenter__(self) -> Self:
        """Open its clients."""

    async def __aexit__(self, *exc_info: object) -> None:
        """Close its clients."""

    async def backup(self, run: BackupRun) -> Outcome:
        """One step of a backup."""

    async def restore(self, run: RestoreRun) -> Outcome:
        """One step of a restore."""

    async def abort(self, run: Run) -> Outcome:
        """One step of ending a run and removing what is its own: `Succeeded` when nothing of it is left."""

    def record(self, backup: Backup) -> Record | None:
        """What a Backup records, None where this driver did not write it. Raises InvalidInput for what is damaged."""

    def retention(self, strategy: Mapping[str, Any]) -> timedelta | None:
        """How long a strategy, rendered, keeps the Backups of an application: None for ever.

        Raises InvalidInput, and then none goes because of its age.
        """

    async def delete(self, run: DeleteRun) -> Outcome:
        """One step of deleting what a Backup stands for: `Succeeded` when nothing of it is left.

        Nothing is deleted but in a call with `fresh`, right after an `Intent` whose checkpoint is
        `{"archives": {name: bytes}}`, what is about to be deleted. `Failed` means that it stays. A call without `fresh`
        may be a mere look, also at a Backup that is not being deleted.
        """

    async def audit(self, run: AuditRun) -> Mapping[str, Finding]:
        """Look each Backup up in the engine, by its UID. One that can't be looked up now is left out."""

    async def recoverability(self, run: Inspection) -> Recoverability:
        """Look what the application can be restored from. Reads only; what can't be read is among the problems."""

    async def importable(self, run: Inspection) -> Importable:
        """Look in the store for sets of which Backups can be rebuilt, from what it shows alone. Reads only."""
