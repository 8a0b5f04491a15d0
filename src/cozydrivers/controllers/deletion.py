"""Whether the archives of a Backup go with it. Pure.

A BackupClass says so with the parameter `deletionPolicy` of a binding. What it says when a Backup is made is latched on
the Backup, and a tenant can change that. So the latch is a hint, never an authority (I12): archives go only while the
class says so too, and a changed latch can only keep them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cozydrivers.api.backups import ClassStrategy
from cozydrivers.controllers.ledger import PREFIX
from cozydrivers.drivers.base import Record
from cozydrivers.errors import InvalidInput

ARCHIVE_FINALIZER = PREFIX + "archive"
"""On a Backup whose archives are to go with it."""
DELETION_POLICY = PREFIX + "deletion-policy"
PARAMETER = "deletionPolicy"
DELETE, RETAIN = "Delete", "Retain"

REFERENCE_FINALIZERS = ("backups.cozystack.io/cleanup", "backups.cozystack.io/cleanup-velero")
"""Those of Cozystack's own controller, the second from an older version of it."""

LIMIT = timedelta(hours=24)
"""How long the deletion of archives is tried, from the deletion of their Backup or the end of a pause."""


def policy_of(bound: ClassStrategy) -> str:
    """The deletion policy of a binding; InvalidInput names the parameter and what is accepted."""
    policy = bound.parameters.get(PARAMETER, RETAIN)
    if policy not in (DELETE, RETAIN):
        kind = bound.application.kind
        raise InvalidInput(
            f"parameters.{PARAMETER} of its strategy for {kind} is {policy!r}; accepted: {DELETE}, {RETAIN}"
        )
    return policy


def latched(policy: str, annotations: Mapping[str, str]) -> dict[str, Any]:
    """Metadata of a new Backup: the policy, and our finalizer only where there is something to clean."""
    finalizers = {"finalizers": [ARCHIVE_FINALIZER]} if policy == DELETE else {}
    return {"annotations": {**annotations, DELETION_POLICY: policy}, **finalizers}


@dataclass(frozen=True)
class Circumstances:
    """What decides over the archives of a Backup that is deleted, read from the server.

    `latch` is the Backup's annotation, `class_policy` what its class says now, `class_problem` why that says nothing.
    `record` is None where the Backup records nothing of ours, `record_problem` says why it can't be read.
    """

    latch: str = ""
    class_policy: str = ""
    class_problem: str = ""
    record: Record | None = None
    record_problem: str = ""
    application: bool = False
    cluster: str = ""


@dataclass(frozen=True)
class Retained:
    """Why archives stay, as the end of a sentence; `surprise` where no policy says so."""

    why: str
    surprise: bool = True


LEAVING = Retained("the namespace is being deleted", surprise=False)
"""Whatever else is found: a namespace that goes takes its Backups with it, and no archive."""


def why_retained(found: Circumstances) -> Retained | None:
    """Why the archives stay; None only when all speaks for deleting them."""
    if found.latch != DELETE:
        return Retained(f"its annotation {DELETION_POLICY} does not say {DELETE}", surprise=False)
    if found.class_problem or found.class_policy != DELETE:
        why = found.class_problem or f"its BackupClass says {found.class_policy or RETAIN} now"
        return Retained(why, surprise=bool(found.class_problem))
    if found.record is None:
        return Retained(found.record_problem or "it records no archives of ours")
    if not found.application:
        return Retained("its application does not exist")
    if not found.cluster or found.record.cluster != found.cluster:
        return Retained(f"it was made in another cluster, {found.record.cluster}")
    return None
