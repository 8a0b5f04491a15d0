"""Conditions of an object."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cozydrivers.api.base import Condition

LONGEST_MESSAGE = 32768
"""Characters, as in the schema of `metav1.Condition`."""

_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_LONGEST_REASON = 1024


def set_condition(conditions: Sequence[Condition], new: Condition) -> list[dict[str, Any]]:
    """Return all conditions, as a status patch holds them, with `new` in the place of the one of its type.

    `new.last_transition_time` is the time now; it is kept only if the status is another one than before. Raises
    ValueError without it, or for a reason that the API server would refuse.
    """
    if not _REASON.fullmatch(new.reason) or len(new.reason) > _LONGEST_REASON:
        raise ValueError(f"condition {new.type}: {new.reason!r} is no reason, it must be CamelCase")
    if new.last_transition_time is None:
        raise ValueError(f"condition {new.type}: without a time")
    old = next((condition for condition in conditions if condition.type == new.type), None)
    changed = new.model_copy(update={"message": new.message[:LONGEST_MESSAGE]})
    if old is None:
        return [_json(condition) for condition in (*conditions, changed)]
    if old.status == new.status:
        changed = changed.model_copy(
            update={"last_transition_time": old.last_transition_time or new.last_transition_time}
        )
    return [_json(changed if condition is old else condition) for condition in conditions]


def as_written(conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """Conditions as a status patch holds them."""
    return [_json(condition) for condition in conditions]


def _json(condition: Condition) -> dict[str, Any]:
    written = {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": _time(condition.last_transition_time),
        "observedGeneration": condition.observed_generation or None,
    }
    return {field: value for field, value in written.items() if value is not None}


def _time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
