"""A job's status: what to write, computed from what is there. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cozydrivers.api.backups import BackupJob, JobStatus, RestoreJob
from cozydrivers.api.base import Condition, KubeObject
from cozydrivers.drivers.base import Patience
from cozydrivers.runtime.conditions import as_written, set_condition


@dataclass(frozen=True)
class Standing:
    """Where a job stands; `patience` is None at its end. `extra` goes into the status as it is."""

    phase: str
    reason: str
    message: str
    patience: Patience | None
    conditions: Sequence[Condition] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def ended(status: JobStatus) -> bool:
    """Whether a job is at its end."""
    return status.phase in ("Succeeded", "Failed")


def created(job: KubeObject) -> datetime:
    """When a job was created."""
    return job.metadata.creation_timestamp or datetime.min.replace(tzinfo=UTC)


def status_patch(job: BackupJob | RestoreJob, standing: Standing, now: datetime) -> dict[str, Any]:
    """The merge patch for the status; empty when it says all that already."""
    status = job.status
    conditions = with_conditions(
        status.conditions, [*_usual(standing), *standing.conditions], now, job.metadata.generation
    )
    patch: dict[str, Any] = {"conditions": conditions} if conditions != as_written(status.conditions) else {}
    patch |= {
        key: value
        for key, old, value in (
            ("phase", status.phase, standing.phase),
            ("message", status.message, standing.message),
        )
        if old != value
    }
    if standing.phase in ("Running", "Succeeded") and status.started_at is None:
        patch["startedAt"] = _time(now)
    if standing.phase in ("Succeeded", "Failed") and status.completed_at is None:
        patch["completedAt"] = _time(now)
    return patch | (dict(standing.extra) if patch else {})


def progress_patch(
    job: BackupJob | RestoreJob, status: str, reason: str, message: str, now: datetime
) -> dict[str, Any]:
    """The merge patch that says whether anything is still done, beside what the job has come to; empty as above."""
    progressing = Condition(type="Progressing", status=status, reason=reason, message=message)
    conditions = with_conditions(job.status.conditions, [progressing], now, job.metadata.generation)
    return {} if conditions == as_written(job.status.conditions) else {"conditions": conditions}


def with_conditions(
    existing: Sequence[Condition], new: Sequence[Condition], now: datetime, generation: int
) -> list[dict[str, Any]]:
    """All conditions as a patch holds them, the new ones stamped with the time and the generation."""
    written: list[dict[str, Any]] = []
    for condition in new:
        stamped = condition.model_copy(update={"last_transition_time": now, "observed_generation": generation})
        written = set_condition(existing, stamped)
        existing = [Condition.model_validate(item) for item in written]
    return written


def _usual(standing: Standing) -> list[Condition]:
    ready = "True" if standing.phase == "Succeeded" else "False"
    progressing = "True" if standing.patience is Patience.ENGINE else "False"
    return [
        Condition(type=kind, status=status, reason=standing.reason, message=standing.message)
        for kind, status in (("Ready", ready), ("Progressing", progressing))
    ]


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
