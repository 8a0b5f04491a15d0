"""What shows that a dump is good (I2), once the operator and the Job say that it has succeeded: the dump itself.

A run's folder in the bucket is its own, so what lies there is of its own Pods. The one that succeeded is told by the
second in its name, which is that of its Pod's start; what Pods before it have left is removed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cozydrivers.api.core import PersistentVolumeClaim, Pod
from cozydrivers.api.mariadb import Backup, BackupSpec
from cozydrivers.clients.objects import ObjectStore
from cozydrivers.drivers.base import EndReason, Patience, Run
from cozydrivers.drivers.mariadb import stream
from cozydrivers.drivers.mariadb.checkpoint import Evidence, EvidenceReason
from cozydrivers.drivers.mariadb.dumps import DumpFile, dumps_under
from cozydrivers.drivers.mariadb.settings import COMPRESSIONS, Compression, Settings
from cozydrivers.drivers.mariadb.storage import Place
from cozydrivers.drivers.mariadb.store import Access, Unread, asked, listed
from cozydrivers.drivers.mariadb.verify import HEAD, head_problem
from cozydrivers.drivers.mariadb.work import Sight
from cozydrivers.errors import NotFound

GRACE = timedelta(minutes=5)
"""For which a bucket may fail to answer, or to list the dump, after its Job has ended."""
CONTAINER = "mariadb"
"""The init container that dumps; the dump's name has the second in which it began."""
_SLACK = timedelta(seconds=5)
"""Between what the kubelet says and what `date` said in the container; a Pod after a failed one comes 10 s later."""
_MOVED = "the strategy's storage was changed while Backup {} was at work"
_UNSEEN = "only the exit codes of its Pods say that the dump is whole"


@dataclass(frozen=True)
class Awaited:
    """Nothing can be told yet: look again in `retry_after` seconds."""

    message: str
    retry_after: float
    patience: Patience = Patience.ENGINE


@dataclass(frozen=True)
class Problem:
    """There is no good dump, whatever the Job says."""

    message: str
    reason: EndReason = "EngineFailed"


@dataclass(frozen=True)
class Span:
    """When the dump was made, as the Pod tells that succeeded."""

    began: datetime
    ended: datetime

    def has(self, dump: DumpFile) -> bool:
        """Whether a dump is from then."""
        return self.began - _SLACK <= dump.taken_at <= self.ended + _SLACK


async def evidence_of(
    run: Run, access: Access, place: Place, settings: Settings, sight: Sight
) -> Evidence | Awaited | Problem:
    """What shows that the dump of an object whose Job has succeeded is good. Reads on over several calls."""
    moved = _moved(place, sight)
    if moved:
        return Problem(moved, "Refused")
    found = await _evidence_in(run, access, place, settings, sight)
    return found.model_copy(update={"storage": place.identity}) if isinstance(found, Evidence) else found


async def _evidence_in(
    run: Run, access: Access, place: Place, settings: Settings, sight: Sight
) -> Evidence | Awaited | Problem:
    if place.s3 is None:
        return await _on_volume(run, place, sight)
    if place.closed:
        return _unseen(run, sight, place.closed)
    folder = place.folder(sight.name)
    found = await listed(run, access, place, folder)
    if isinstance(found, Unread):
        return _unread(run, settings, sight, found)
    return await _in_bucket(run, access, place, settings, sight, dumps_under(folder, found))


# Decide. Pure


def span_of(pods: Sequence[Pod]) -> Span | None:
    """When the Pod that succeeded has dumped, None where none tells it."""
    for pod in reversed(pods):
        for status in pod.status.init_container_statuses if pod.status.phase == "Succeeded" else ():
            ended = status.state.terminated
            if status.name == CONTAINER and ended and ended.started_at and ended.finished_at:
                return Span(ended.started_at, ended.finished_at)
    return None


def dump_of(dumps: Sequence[DumpFile], span: Span | None) -> DumpFile | None:
    """The dump of the Pod that succeeded: the newest of its time, or of all where the Pod is gone."""
    own = [dump for dump in dumps if span is None or span.has(dump)]
    return max(own, key=lambda dump: (dump.taken_at, dump.key), default=None)


def _moved(place: Place, sight: Sight) -> str:
    """Why the dump is not where the strategy says; a strategy can be changed while its dump is being made."""
    storage = sight.thing.spec.storage if isinstance(sight.thing, Backup) else None
    if storage is None:
        return ""
    kind = "s3" if storage.s3 else "persistentVolumeClaim" if storage.persistent_volume_claim is not None else "volume"
    same = kind == place.kind
    if storage.s3 and place.s3:
        to = (place.s3.endpoint, place.s3.bucket, place.folder(sight.name))
        same = (storage.s3.endpoint, storage.s3.bucket, f"{storage.s3.prefix.rstrip('/')}/") == to
    return "" if same else _MOVED.format(sight.name)


def is_read_whole(settings: Settings, dump: DumpFile) -> bool:
    """Whether a dump is read to its last line: where that is asked for, or what is looked at anyway is all of it.

    A compressed one can be cut short though its Job has succeeded: the operator's compressors do not look at the error
    of a full disk at their end (25.10.2 and 26.6.0).
    """
    return settings.verify == "stream" or dump.size <= HEAD


def _absent(run: Run, sight: Sight, folder: str, others: int) -> Awaited | Problem:
    """A list can lag behind; then there is none."""
    if run.now - _ended_at(run, sight) < GRACE:
        return Awaited(f"waiting until the dump is listed under {folder}", 5.0)
    left = f", but {others} of Pods before it" if others else ""
    return Problem(f"the Job of Backup {sight.name} has succeeded, but its dump is not under {folder}{left}")


def _unread(run: Run, settings: Settings, sight: Sight, unread: Unread) -> Evidence | Awaited:
    """An outage passes; where the whole dump was to be read, nothing less will do."""
    waiting = f"the dump can't be looked at: {unread.why}"
    if run.now - _ended_at(run, sight) < GRACE:
        return Awaited(waiting, 10.0)
    if settings.verify == "stream":
        return Awaited(waiting, 10.0, Patience.ABSENT)
    return _unseen(run, sight, unread.why)


def _unseen(run: Run, sight: Sight, why: str) -> Evidence:
    message = f"the dump can't be looked at, and {_UNSEEN}: {why}"
    return _evidence(sight, "StoreNotReadable", message, _began_at(run, sight))


def _began_at(run: Run, sight: Sight) -> datetime:
    """When the Pod began whose dump nobody has seen; where it is gone, the end of its Job."""
    span = span_of(sight.pods)
    return span.began if span else _ended_at(run, sight)


def _ended_at(run: Run, sight: Sight) -> datetime:
    complete = sight.job.condition("Complete") if sight.job else None
    return complete.last_transition_time or run.now if complete else run.now


def _evidence(sight: Sight, reason: EvidenceReason, message: str, taken_at: datetime, **more: Any) -> Evidence:
    """With what was asked for, as the object itself says: the strategy may have been changed since."""
    spec = sight.thing.spec if isinstance(sight.thing, Backup) else BackupSpec()
    return Evidence(
        reason=reason,
        message=message,
        taken_at=taken_at,
        compression=_asked_for(sight),
        databases=tuple(spec.databases),
        **more,
    )


def _asked_for(sight: Sight) -> Compression:
    spec = sight.thing.spec if isinstance(sight.thing, Backup) else BackupSpec()
    return next((each for each in COMPRESSIONS if each == spec.compression), "none")


def _by_name(dump: DumpFile, sight: Sight) -> str:
    """What name and size say against a dump."""
    if dump.compression != _asked_for(sight):
        return f"its name says {dump.compression}, and {_asked_for(sight)} was asked for"
    return "" if dump.size else "it is empty"


def _seen(settings: Settings, sight: Sight, dump: DumpFile) -> Evidence:
    reason: EvidenceReason = "DumpComplete" if is_read_whole(settings, dump) else "DumpListed"
    shown = "was read to its last line" if reason == "DumpComplete" else "is in the bucket and begins as a dump"
    message = f"{dump.name} {shown}, {dump.size} bytes"
    return _evidence(sight, reason, message, dump.taken_at, file=dump.name, size=dump.size)


# Observe and act


async def _on_volume(run: Run, place: Place, sight: Sight) -> Evidence | Problem:
    """The operator names the claim as the object, so it is the run's own; a volume is shared."""
    began, message = _began_at(run, sight), f"the dump is on a volume, and {_UNSEEN}"
    if place.kind == "volume":
        return _evidence(sight, "VolumeEvidence", message, began)
    try:
        claim = await run.kube.get(PersistentVolumeClaim, sight.name, run.namespace)
    except NotFound:
        return Problem(f"PersistentVolumeClaim {sight.name}, which the dump was written to, does not exist", "Lost")
    return _evidence(sight, "VolumeEvidence", message, began, claim=claim.metadata.name, claim_uid=claim.metadata.uid)


async def _in_bucket(
    run: Run, access: Access, place: Place, settings: Settings, sight: Sight, dumps: Sequence[DumpFile]
) -> Evidence | Awaited | Problem:
    """What the content of the dump shows; then what other Pods have left is removed."""
    dump = dump_of(dumps, span_of(sight.pods))
    if dump is None:
        return _absent(run, sight, place.folder(sight.name), len(dumps))
    problem = _by_name(dump, sight)
    if problem:
        return Problem(f"{dump.key}: {problem}")
    verdict = await asked(run, access, place, lambda store: _read(run, access, store, settings, dump))
    if isinstance(verdict, stream.Proven):
        others = [other for other in dumps if other != dump]
        verdict = await asked(run, access, place, lambda store: remove_dumps(run, store, others)) or verdict
    match verdict:
        case Unread():
            return _unread(run, settings, sight, verdict)
        case stream.Problem(sentence):
            return Problem(f"{dump.key}: {sentence}")
        case stream.Progress(read, size):
            return Awaited(f"reading the dump of {size} bytes to its last line, {10 * read // size}0 % are read", 0.1)
    return _seen(settings, sight, dump)


async def _read(run: Run, access: Access, store: ObjectStore, settings: Settings, dump: DumpFile) -> stream.Verdict:
    if is_read_whole(settings, dump):
        return await access.streams.advance(store, run.uid, dump)
    problem = head_problem(await store.part(dump.key, 0, HEAD) or b"", dump.compression)
    return stream.Problem(problem) if problem else stream.Proven()


async def remove_dumps(run: Run, store: ObjectStore, dumps: Iterable[DumpFile]) -> None:
    """Delete dumps that lie in a run's own folder, with a line of the audit log before and after each."""
    for dump in dumps:
        run.audit("about to", dump.key, dump.size)
        await store.delete(dump.key)
        run.audit("done", dump.key, dump.size)


async def still_there(
    run: Run, access: Access, place: Place, name: str, evidence: Evidence
) -> Awaited | Problem | None:
    """Look once more, after the operator's object is gone: None where all is as it was seen.

    Nothing makes a dump any more. One that was made meanwhile, by a Job that was started again, is removed.
    """
    if evidence.storage != place.identity:
        return Problem(_MOVED.format(name), "Refused")
    if place.kind == "persistentVolumeClaim":
        return await _claim_is_there(run, name, evidence)
    if place.s3 is None or evidence.reason == "StoreNotReadable":
        return None
    folder = place.folder(name)
    found = await asked(run, access, place, lambda store: _again(run, store, folder, evidence))
    if isinstance(found, Unread):
        return Awaited(f"the dump can't be looked at once more: {found.why}", 5.0, Patience.ABSENT)
    return found


async def _again(run: Run, store: ObjectStore, folder: str, evidence: Evidence) -> Awaited | Problem | None:
    dumps = {dump.name: dump for dump in dumps_under(folder, await store.list(folder))}
    dump, key = dumps.pop(evidence.file, None), folder + evidence.file
    if dump is None and await store.part(key, 0, 1) is None:
        return Problem(f"{key} is not there any more", "Lost")
    if dump is None:
        return Awaited(f"waiting until {key} is listed once more", 5.0, Patience.ABSENT)
    if dump.size != evidence.size:
        return Problem(f"{key} had {evidence.size} bytes, and has {dump.size} now", "Lost")
    await remove_dumps(run, store, dumps.values())
    return None


async def _claim_is_there(run: Run, name: str, evidence: Evidence) -> Problem | None:
    try:
        claim = await run.kube.get(PersistentVolumeClaim, name, run.namespace)
    except NotFound:
        return Problem(f"PersistentVolumeClaim {name} is gone", "Lost")
    if (claim.metadata.name, claim.metadata.uid) != (evidence.claim, evidence.claim_uid):
        return Problem(f"PersistentVolumeClaim {name} is another one than the dump was written to", "Lost")
    return None
