"""What a run of the ClickHouse driver must remember between two steps.

The controller keeps it in an annotation of the job, which a tenant can write. So it is a hint, never an authority
(I12): every archive's name is computed anew from the job's UID and compared, and what would end a job is looked up
again.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, ValidationError

from chbackup import ArchiveName, parse_archive_name
from cozydrivers.api.base import Model
from cozydrivers.drivers.base import Checkpoint, RestoreRun, Run
from cozydrivers.drivers.clickhouse.following import Submission
from cozydrivers.drivers.owned import hex_of
from cozydrivers.errors import InvalidInput, NewerVersion

_STAGES = {
    "backup": ("making", "proven", "done"),
    "restore": ("downloading", "downloaded", "saving", "saved", "restoring", "restored", "done"),
}
Part = Literal["whole", "schema", "own"]
"""What of an archive a replica restores: all, what is replicated of another's as its bare schema, or the rest."""


class Evidence(Model):
    """What a proof found (I2): kept because the local copy, which is part of it, is deleted afterwards."""

    data_size: int
    size: int
    required: str = ""


class Member(Model):
    """One archive of the set, on the replica that makes it or that restores it.

    `begun` says that the sidecar has taken up the submission at its present stage, once at least. `doubted` is when the
    archive's tables were first read as less than the archive, or what was restored as less. As it was chosen, its
    replica held `source_bytes`; it is `apart` if some of its rows are on no other. `base` is what the archive is an
    increment on. `away_since` is when its sidecar was first missed.

    In a restore `source` is the recorded archive and `part` what is restored of it; `found` stands by Pod for its
    tables that existed when they were checked, `safety` is the copy of those that are replaced here.
    """

    shard: int = Field(ge=0, le=9999)
    replica: int = Field(ge=0, le=999)
    pod: str
    pod_uid: str
    submission: Submission
    stage: str
    begun: bool = False
    evidence: Evidence | None = None
    doubted: datetime | None = None
    source_bytes: int = 0
    apart: bool = False
    base: str = ""
    away_since: AwareDatetime | None = None
    source: str = ""
    part: Part = "whole"
    found: dict[str, str] = Field(default_factory=dict)
    safety: str = ""

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"shard {self.shard} replica {self.replica}"

    @property
    def archive(self) -> str:
        """The archive that it is about, whatever is being submitted."""
        return self.source or self.submission.archive

    def submitted(self, **changes: Any) -> Self:
        """The same with changes in its submission."""
        return self.model_copy(update={"submission": self.submission.model_copy(update=changes)})


class Debris(Model):
    """An archive that was given up, until neither a local nor a remote copy of it is left."""

    shard: int
    replica: int
    archive: str


VERSION: Literal[1] = 1


class State(Model):
    """The checkpoint.

    By Pod, as they were when the run began: in `marks` the last row of each sidecar's history, in `live` its number of
    tables.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    version: Literal[1] = VERSION
    kind: Literal["backup", "restore"]
    shards: int = Field(ge=1, le=9999)
    members: tuple[Member, ...]
    debris: tuple[Debris, ...] = ()
    marks: dict[str, str] = Field(default_factory=dict)
    live: dict[str, int] = Field(default_factory=dict)
    storage: str = ""

    @classmethod
    def read(cls, checkpoint: Checkpoint, run: Run) -> Self:
        """Decode and check it; InvalidInput when it is not one that this run can have made.

        Raises NewerVersion.
        """
        try:
            state = cls.model_validate(checkpoint)
        except ValidationError as error:
            if _version(checkpoint) > VERSION:
                raise NewerVersion(f"the checkpoint of {run.name} is of version {_version(checkpoint)}") from None
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            raise InvalidInput(f"the checkpoint of {run.name} is damaged at {field}: {problem['msg']}") from None
        _check_kind(state, run)
        if state.kind == "backup":
            _check_names(state, run)
        return state

    def save(self) -> Checkpoint:
        """As JSON."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"version": self.version}

    def replace(self, members: Iterable[Member]) -> Self:
        """The same with other members."""
        return self.model_copy(update={"members": tuple(members)})


def _version(checkpoint: Checkpoint) -> int:
    version = checkpoint.get("version") if isinstance(checkpoint, Mapping) else 0
    return version if isinstance(version, int) else 0


def archive_name(run: Run, *, attempt: int, shard: int, shards: int, replica: int) -> str:
    """The name of one archive of a run: of what can't change, plus the intent."""
    name = ArchiveName(
        app=run.application.metadata.name,
        namespace_hash=hex_of(run.namespace_uid, 6),
        taken=run.created,
        uid=hex_of(run.uid, 12),
        attempt=attempt,
        shard=shard,
        shards=shards,
        replica=replica,
    )
    return str(name)


def _check_kind(state: State, run: Run) -> None:
    stage = next((member.stage for member in state.members if member.stage not in _STAGES[state.kind]), "")
    if (state.kind == "restore") != isinstance(run, RestoreRun) or stage:
        raise InvalidInput(f"the checkpoint of {run.name} is not of this kind of run: {stage or state.kind}")


def _check_names(state: State, run: Run) -> None:
    for member in state.members:
        expected = archive_name(
            run,
            attempt=member.submission.attempt,
            shard=member.shard,
            shards=state.shards,
            replica=member.replica,
        )
        if member.submission.archive != expected:
            raise InvalidInput(
                f"the checkpoint of {run.name} names {member.submission.archive} where the run's is {expected}"
            )
        if member.base and not _is_base(member, state, run):
            raise InvalidInput(f"the checkpoint of {run.name} names {member.base}, which can't be a base of its own")
    for debris in state.debris:
        if not debris.archive.startswith(_stem(run)):
            raise InvalidInput(f"the checkpoint of {run.name} names {debris.archive}, which is not of this run")


def _is_base(member: Member, state: State, run: Run) -> bool:
    """Whether it is an earlier archive of the same application, shard and replica."""
    name = parse_archive_name(member.base)
    if name is None or name.uid == hex_of(run.uid, 12):
        return False
    own = ArchiveName(
        app=run.application.metadata.name,
        namespace_hash=hex_of(run.namespace_uid, 6),
        taken=name.taken,
        uid=name.uid,
        attempt=name.attempt,
        shard=member.shard,
        shards=state.shards,
        replica=member.replica,
    )
    return member.base == str(own)


def _stem(run: Run) -> str:
    return archive_name(run, attempt=1, shard=0, shards=1, replica=0).rsplit("-a1-", 1)[0] + "-a"
