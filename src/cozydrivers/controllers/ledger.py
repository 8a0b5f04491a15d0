"""What a controller keeps on a job between two passes, and how long a job may stay where it is. Pure."""

import json
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar

from pydantic import AwareDatetime, ConfigDict, ValidationError

from cozydrivers.api.base import KubeObject, Model, TypedReference
from cozydrivers.drivers.base import Patience

PREFIX = "cozydrivers.cozystack.io/"
FINALIZER = PREFIX + "cleanup"
CHECKPOINT = PREFIX + "checkpoint"
JOB_UID = PREFIX + "job-uid"
CLASS = PREFIX + "backup-class"
EXECUTION = PREFIX + "execution"
TIMEOUT = PREFIX + "timeout"
PAUSE = PREFIX + "pause"
FORMER = PREFIX + "former-namespaces"
"""On a Namespace, which no tenant may change: of which namespaces that are gone it may restore archives."""

ABSENT_LIMIT = timedelta(minutes=30)
BUSY_LIMIT = timedelta(hours=24)
CLEANUP_LIMIT = timedelta(minutes=30)
LEAVING_LIMIT = timedelta(minutes=2)
"""How long a clean-up may hold up a namespace that is deleted: no Pod that is gone comes back there."""
BACKUP_LIMIT = timedelta(seconds=30)
"""How long a RestoreJob waits for the Backup that it names."""


VERSION = 1
"""Of the ledger; a later one belongs to a newer version of this program."""


class NewerLedger(Exception):
    """What stands on a job was written by a newer version of this program: it is left untouched."""


class Ledger(Model):
    """The annotation `cozydrivers.cozystack.io/checkpoint`: the driver's, and since when something is absent.

    It carries the job's UID, so that a copy of it on another job counts for nothing (I11). `application` is the one
    whose lock the job holds.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    version: int = VERSION
    uid: str
    application: TypedReference = TypedReference()
    absent_since: AwareDatetime | None = None
    driver: dict[str, Any] | None = None

    def annotation(self) -> str:
        """Its text."""
        return json.dumps(self.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=True)


def ledger_of(job: KubeObject) -> Ledger:
    """What is kept on a job; empty where there is nothing, or what there is was not written for it.

    Raises NewerLedger.
    """
    uid, text = job.metadata.uid, job.metadata.annotations.get(CHECKPOINT, "")
    ledger = _read(text) if text else None
    return ledger if ledger is not None and ledger.uid == uid else Ledger(uid=uid)


@lru_cache(maxsize=4096)
def _read(text: str) -> Ledger | None:
    """Read an annotation; a pass and the indexes of the caches look at one several times."""
    try:
        ledger = Ledger.model_validate_json(text)
    except ValidationError:
        if _version(text) > VERSION:
            raise NewerLedger from None
        return None
    if ledger.version > VERSION:
        raise NewerLedger
    return ledger


class _Versioned(Model):
    version: int = 0


def _version(text: str) -> int:
    try:
        return _Versioned.model_validate_json(text).version
    except ValidationError:
        return 0


def deadline(
    patience: Patience, ledger: Ledger, *, created: datetime, started: datetime | None, timeout: float
) -> tuple[datetime | None, timedelta]:
    """When a job has stood where it is for too long, and the limit that it has; None where nothing counts yet."""
    since, limit = {
        Patience.ABSENT: (ledger.absent_since, ABSENT_LIMIT),
        Patience.BUSY: (created, BUSY_LIMIT),
        Patience.ENGINE: (started, timedelta(seconds=timeout)),
    }[patience]
    return since + limit if since is not None else None, limit
