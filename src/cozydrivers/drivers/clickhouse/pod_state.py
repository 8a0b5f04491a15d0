"""What a run in pod mode must remember, and the names that it computes anew each time (I12).

A Job is created suspended, which has no effect, and started only after its UID was saved. So a Job that is not known
yet may be created again under its name, and one that is known and gone may not (I3).
"""

import hashlib
import re
from typing import ClassVar, Literal, Self

from pydantic import ConfigDict, Field, ValidationError

from cozydrivers.api.base import Model
from cozydrivers.drivers.base import BackupRun, Checkpoint, Run
from cozydrivers.drivers.owned import PREFIX
from cozydrivers.errors import InvalidInput

STARTED = PREFIX + "started"
"""Annotation of a Job that was started: if it is suspended again, somebody else did that."""
_LONGEST = 63


class Part(Model):
    """One shard's part: the replica that its template is given, and the UID of its Job, once that is known."""

    replica: int = Field(default=0, ge=0, le=999)
    job_uid: str = ""


class PodState(Model):
    """The checkpoint; `parts` by shard. `named` says that the template takes the names of the archives."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    kind: Literal["pod-backup", "pod-restore"]
    parts: tuple[Part, ...]
    named: bool = False
    storage: str = ""

    @classmethod
    def read(cls, checkpoint: Checkpoint, run: Run) -> Self:
        """Decode and check it; InvalidInput when it is not one that this run can have made."""
        try:
            state = cls.model_validate(checkpoint)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            raise InvalidInput(f"the checkpoint of {run.name} is damaged at {field}: {problem['msg']}") from None
        if state.kind != kind_of(run):
            raise InvalidInput(f"the checkpoint of {run.name} is not of this kind of run: {state.kind}")
        return state

    def save(self) -> Checkpoint:
        """As JSON."""
        return self.model_dump(mode="json", by_alias=True)


def kind_of(run: Run) -> Literal["pod-backup", "pod-restore"]:
    """The kind of checkpoint that a run in pod mode has."""
    return "pod-backup" if isinstance(run, BackupRun) else "pod-restore"


def in_pods(run: Run) -> bool:
    """Whether a run is executed by Pods: it goes on as it has begun, whatever the strategy says now."""
    if run.checkpoint is None:
        return run.execution == "pod"
    return str(run.checkpoint.get("kind", "")).startswith("pod-")


def job_name(run: Run, shard: int) -> str:
    """The name of a shard's Job: a DNS label, of the run's UID, so that no second one can be created."""
    end = f"-{hashlib.sha256(run.uid.encode()).hexdigest()[:12]}-s{shard}"
    return re.sub("[^a-z0-9]+", "-", run.name.lower())[: _LONGEST - len(end)].strip("-") + end
