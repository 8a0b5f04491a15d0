"""The Driver protocol: what a controller hands to a driver, and what it gets back.

A driver is level-triggered. It is called with the whole situation, does one step and says where things stand. What it
must remember is in the checkpoint, which the controller keeps on the job; what it keeps in memory is a cache.

Submitting takes two steps. The first returns an `Intent`; the controller saves its checkpoint together with our
finalizer in one conditional patch, and calls again with what that patch answered and `fresh=True`. Only such a call
sends. A call without `fresh` never sends what its checkpoint says is being sent: it looks for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Literal, Protocol, Self

from cozydrivers.api.backups import Backup
from cozydrivers.api.base import Condition, KubeObject
from cozydrivers.kube import KubeClient

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
    """Save this, then call again with `fresh=True`: what the checkpoint names is sent then."""

    checkpoint: Checkpoint
    message: str = ""
    conditions: Sequence[Condition] = ()
    events: Sequence[Note] = ()


@dataclass(frozen=True)
class Running:
    """Not at its end; look again in `retry_after` seconds, or when something watched changes.

    Without a message there is nothing new to say, and the status stays as it is.
    """

    reason: str
    message: str
    retry_after: float
    checkpoint: Checkpoint | None = None
    patience: Patience = Patience.ENGINE
    conditions: Sequence[Condition] = ()
    events: Sequence[Note] = ()


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


@dataclass(frozen=True)
class Run:
    """One job's situation. `now` is the wall clock; `fresh` says that the checkpoint was saved as an intent just now.

    `strategy` is the strategy's spec, rendered. `cluster_uid` is the UID of the namespace kube-system.
    """

    kube: KubeClient = field(repr=False)
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


@dataclass(frozen=True)
class BackupRun(Run):
    """The situation of a BackupJob."""


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
class Watch:
    """Engine objects whose change wakes jobs: `application(object)` names the application that it belongs to."""

    kind: type[KubeObject]
    label_selector: str
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
