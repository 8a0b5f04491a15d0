"""What a run of the MariaDB driver must remember between two steps.

A tenant can write it: it is a hint, never an authority (I12). Names are computed anew, and what a dump is said to be is
looked up in the store once more before anything is built on it.
"""

from typing import Any, ClassVar, Literal, TypeVar

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from cozydrivers.api.base import Condition, Model
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.mariadb.settings import Compression
from cozydrivers.drivers.mariadb.work import Task
from cozydrivers.errors import InvalidInput, NewerVersion

VERSION = 1

EvidenceReason = Literal["DumpComplete", "DumpListed", "StoreNotReadable", "VolumeEvidence"]


class Evidence(Model):
    """What shows that a dump is good (I2): `reason` is that of the condition Verified.

    DumpComplete: read to its last line. DumpListed: there, not empty, and begins as a dump. The other two: nobody could
    look, and `taken_at` is when its Pod began. In a bucket it is `file`; else on `claim`, if that is the run's own.
    `storage` is the identity of the place; `compression` and `databases` are those that were asked for.
    """

    reason: EvidenceReason
    message: str = ""
    taken_at: AwareDatetime
    storage: str = ""
    file: str = ""
    size: int = Field(default=0, ge=0)
    claim: str = ""
    claim_uid: str = ""
    compression: Compression = "none"
    databases: tuple[str, ...] = ()

    @property
    def condition(self) -> Condition:
        """As the condition Verified."""
        status = str(self.reason in ("DumpComplete", "DumpListed"))
        return Condition(type="Verified", status=status, reason=self.reason, message=self.message)


class BackupState(Model):
    """A backup's: its object, and once that has succeeded what shows it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    kind: Literal["mariadb-backup"] = "mariadb-backup"
    task: Task = Field(default_factory=lambda: Task(purpose="dump"))
    evidence: Evidence | None = None


class Chosen(Model):
    """The dump that is restored, as it was found: `label` names it in sentences, `size` is in bytes, 0 for unknown.

    `database` is the only one that is restored, empty for all of the dump.
    """

    label: str
    taken_at: AwareDatetime
    size: int = Field(default=0, ge=0)
    database: str = ""


class RestoreState(Model):
    """A restore's: the safety dump first, with `safety` once that is proven, then the restore itself.

    `over` says that the restore has succeeded, and only its object is left to be taken away.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    kind: Literal["mariadb-restore"] = "mariadb-restore"
    task: Task
    chosen: Chosen
    safety: Evidence | None = None
    over: bool = False


State = TypeVar("State", BackupState, RestoreState)


def read(kind: type[State], run: Run) -> State | None:
    """Decode a run's checkpoint, None where there is none yet; InvalidInput when it can't be this run's."""
    if run.checkpoint is None:
        return None
    version = run.checkpoint.get("version")
    if isinstance(version, int) and version > VERSION:
        raise NewerVersion(f"the checkpoint of {run.name} is of version {version}")
    try:
        return kind.model_validate(run.checkpoint)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise InvalidInput(f"the checkpoint of {run.name} is damaged at {field}: {problem['msg']}") from None


def save(state: BackupState | RestoreState) -> dict[str, Any]:
    """As JSON."""
    return state.model_dump(mode="json", by_alias=True)
