"""A restore, step by step: check dump and target, dump what is about to be replaced, then restore just that dump.

Each of the operator's objects is gone before the next one is created, and before the job ends: one that stays is run
again when somebody deletes its Job.
"""

from contextlib import suppress
from dataclasses import replace

from cozydrivers.api import apps
from cozydrivers.api.base import KubeObject
from cozydrivers.api.core import PersistentVolumeClaim
from cozydrivers.drivers.base import (
    EndReason,
    Failed,
    Intent,
    Note,
    Outcome,
    Patience,
    RestoreRun,
    Run,
    Running,
    Succeeded,
)
from cozydrivers.drivers.mariadb import (
    checkpoint,
    deleting,
    dumping,
    record,
    reference,
    reporting,
    restore,
    target,
    work,
)
from cozydrivers.drivers.mariadb import options as asking
from cozydrivers.drivers.mariadb.auditing import is_absent
from cozydrivers.drivers.mariadb.backing_up import refuse_pods
from cozydrivers.drivers.mariadb.checkpoint import Evidence, RestoreState
from cozydrivers.drivers.mariadb.dumps import DumpFile, dumps_under
from cozydrivers.drivers.mariadb.evidence import Awaited, Problem, still_there
from cozydrivers.drivers.mariadb.naming import Name, server_of
from cozydrivers.drivers.mariadb.options import Options
from cozydrivers.drivers.mariadb.record import Recorded
from cozydrivers.drivers.mariadb.restore import Source
from cozydrivers.drivers.mariadb.settings import settings_of
from cozydrivers.drivers.mariadb.storage import Place, place_of
from cozydrivers.drivers.mariadb.store import Access, Unread, asked, listed
from cozydrivers.drivers.mariadb.work import Announce, Create, End, Finished, Remember, Sight, Task, Wait
from cozydrivers.drivers.options import check_time
from cozydrivers.drivers.pod_log import last_words
from cozydrivers.drivers.step import Missing
from cozydrivers.errors import InvalidInput, NotFound

_SAVING, _RESTORING = "SafetyCopy", "Restoring"


async def step(run: RestoreRun, access: Access) -> Outcome:
    """One step of a restore."""
    state = checkpoint.read(RestoreState, run)
    options = _options(run, state)
    if state is None:
        return await _begin(run, access, options)
    match restore.stage(state, options):
        case "saving":
            return await _save(run, access, options, state)
        case "saved":
            return await _saved(run, access, options, state)
        case "restoring":
            return await _restore(run, access, options, state)
        case "restored":
            return await _finish(run, access, state)


def _options(run: RestoreRun, state: RestoreState | None) -> Options:
    """Those of the job; once anything may have been replaced nonsense ends nothing, because it would leave a half."""
    try:
        return asking.parse(run.options)
    except InvalidInput:
        if state is None or not restore.may_have_begun(state):
            raise
        return Options()


# Look


async def _begin(run: RestoreRun, access: Access, options: Options) -> Outcome:
    """Check the dump and the target; nothing is touched before that."""
    check_time(options.not_after, run.now)
    refuse_pods(run)
    here = place_of(run.strategy)
    dumping.check_readable(here, settings_of(run.strategy, run.parameters))
    source = await _source(run, access, options)
    if busy := await _busy(run, options, here, source.place):
        return busy
    found = reporting.target_checked(run, source, options)
    notes = [*_about(run, source), *reporting.assumed(source)]
    if options.dry_run:
        return Succeeded(reporting.plan_message(run, source, options), conditions=[found], events=notes)
    conditions = [found]
    if options.skip_safety_copy:
        conditions.append(reporting.SKIPPED)
        notes.append(reporting.restoring(run, source, options))
    first = Task(purpose="restore" if options.skip_safety_copy else "safety")
    return Intent(
        checkpoint.save(RestoreState(task=first, chosen=source.chosen(options))),
        f"{source.label} is about to be restored",
        storages=[source.place.identity],
        conditions=conditions,
        events=notes,
    )


def _about(run: RestoreRun, source: Source) -> list[Note]:
    if not reference.is_reference(run.source.spec.driver_metadata):
        return []
    return [Note("NearestAssumed", reference.note(run.source, source.recorded), warning=True)]


async def _source(run: RestoreRun, access: Access, options: Options) -> Source:
    """The dump that the Backup stands for, looked for where it must be; InvalidInput where it can't be restored."""
    backup, place = run.source, place_of(await _strategy(run))
    if reference.is_reference(backup.spec.driver_metadata):
        return await _nearest(run, access, place, options)
    if not record.is_ours(backup.spec.driver_metadata):
        raise InvalidInput(f"Backup {backup.metadata.name} records no dump of MariaDB")
    recorded = record.checked(backup.spec.driver_metadata, run, place)
    restore.check_backup(backup, recorded, options)
    source = Source(place, recorded)
    if place.s3 is None:
        await _check_claim(run, recorded)
        return replace(source, unread=place.closed)
    files = await _files(run, access, place, recorded.prefix)
    if isinstance(files, Unread):
        return replace(source, unread=files.why)
    if recorded.file and recorded.file not in {each.name for each in files}:
        await _check_absent(run, access, source)
    return restore.located(source, files)


async def _check_absent(run: RestoreRun, access: Access, source: Source) -> None:
    """A list can be partial: what it leaves out is only gone where the store, asked for it, says so as well."""
    absent = await asked(run, access, source.place, lambda store: is_absent(store, source.recorded.key))
    if absent is not True:
        why = absent.why if isinstance(absent, Unread) else "the store has it"
        raise Missing("DumpNotListed", f"the dump {source.label} is not listed, and may still be there: {why}")


async def _strategy(run: RestoreRun) -> dict[str, object]:
    """The strategy as it is for the application that the Backup is of: its credentials and its folder."""
    name = run.source.spec.application_ref.name
    if name == run.application.metadata.name:
        return dict(run.strategy)
    try:
        application: KubeObject = await run.reader.get(apps.MariaDB, name, run.namespace)
    except NotFound:
        application = apps.MariaDB.decode({"metadata": {"name": name, "namespace": run.namespace}})
    more = {"Application": application.raw, "Release": {"Name": name, "Namespace": run.namespace}}
    return dict(run.render(more))


async def _nearest(run: RestoreRun, access: Access, place: Place, options: Options) -> Source:
    taken_at = reference.check(run.source, run.namespace, place)
    if place.closed:
        raise InvalidInput(f"Backup {run.source.metadata.name} records no dump, and nobody can look: {place.closed}")
    files = await _files(run, access, place, place.prefix)
    if isinstance(files, Unread):
        raise Missing("StoreNotReadable", f"the Backup records no dump, and nobody can look for it: {files.why}")
    return Source(place, reference.nearest(run.source, taken_at, place, files, options))


async def _files(run: Run, access: Access, place: Place, prefix: str) -> list[DumpFile] | Unread:
    found = await listed(run, access, place, prefix)
    return found if isinstance(found, Unread) else dumps_under(prefix, found)


async def _check_claim(run: Run, recorded: Recorded) -> None:
    """A claim of the run's own must be the very one that the dump was written to."""
    if not recorded.claim:
        return
    try:
        claim = await run.kube.get(PersistentVolumeClaim, recorded.claim, run.namespace)
    except NotFound:
        raise InvalidInput(f"PersistentVolumeClaim {recorded.claim}, which the dump is on, is gone") from None
    if claim.metadata.uid != recorded.claim_uid or claim.metadata.deletion_timestamp is not None:
        raise InvalidInput(f"PersistentVolumeClaim {recorded.claim} is not the one any more that the dump is on")


async def _busy(run: Run, options: Options, *places: Place) -> Running | None:
    """The target is there, Ready, with what its Pods need, and nobody else is at work on it; else what is waited for.

    Raises Missing, and InvalidInput where an idle target was required.
    """
    server = server_of(run.application.metadata.name)
    await target.server(run, *places)
    others = await target.others_at_work(run, server)
    if not others:
        return None
    said = f"{', '.join(others)} of k8s.mariadb.com is at work on MariaDB {server}"
    if options.require_idle:
        raise InvalidInput(f"{said} (spec.options.requireIdle)")
    return Running("TargetBusy", said, 5.0, patience=Patience.BUSY)


async def _once_more(run: RestoreRun, access: Access, options: Options, state: RestoreState) -> Source | Running:
    """The last look before anything is replaced (I4)."""
    source = await _source(run, access, options)
    restore.check_unchanged(state, source, options)
    return await _busy(run, options, source.place) or source


# Save


async def _save(run: RestoreRun, access: Access, options: Options, state: RestoreState) -> Outcome:
    """The safety dump: made and proven as that of a backup is."""
    settings = restore.covering(settings_of(run.strategy, run.parameters), _databases(run), options)
    match await dumping.follow(run, access, place_of(run.strategy), settings, state.task):
        case Announce():
            return Intent(checkpoint.save(state), "about to make the safety dump")
        case Task() as task:
            return _remembered(state, task, _SAVING)
        case Evidence() as found:
            return _remembered(state.model_copy(update={"safety": found}), state.task, _SAVING)
        case Running() as waiting:
            return replace(waiting, reason=_SAVING, message=f"the safety dump: {waiting.message}")
        case Failed(reason, message):
            return _unsaved(reason, message)


def _databases(run: RestoreRun) -> tuple[str, ...]:
    """The databases that the Backup records, none where its dump may be of all."""
    metadata = run.source.spec.driver_metadata
    return record.read(metadata).databases if record.is_ours(metadata) else ()


def _unsaved(reason: EndReason, message: str) -> Failed:
    return Failed(reason, f"nothing was replaced, because there is no good safety dump: {message}")


async def _saved(run: RestoreRun, access: Access, options: Options, state: RestoreState) -> Outcome:
    """The safety dump is proven: once its object is gone, what it is for begins."""
    waiting = await work.remove(run, "safety")
    if waiting:
        return Running(_SAVING, waiting, 1.0, patience=Patience.ABSENT)
    access.streams.forget(run.uid)
    if lacking := await _not_kept(run, access, state):
        return lacking
    seen = await _once_more(run, access, options, state)
    if isinstance(seen, Running):
        return seen
    kept = reporting.safety_copy(run, place_of(run.strategy), state.safety)
    return Intent(
        checkpoint.save(state.model_copy(update={"task": Task(purpose="restore")})),
        "about to restore",
        conditions=[kept],
        events=[Note(_SAVING, kept.message), reporting.restoring(run, seen, options)],
    )


async def _not_kept(run: RestoreRun, access: Access, state: RestoreState) -> Outcome | None:
    """The safety dump must still be there when what it is for begins."""
    name = str(Name.of(run, "safety"))
    here = place_of(run.strategy)
    match await still_there(run, access, here, name, state.safety) if state.safety else None:
        case Awaited(message, retry_after, patience):
            return Running(_SAVING, f"the safety dump: {message}", retry_after, patience=patience)
        case Problem(message, reason):
            return _unsaved(reason, message)
    return None


# Restore


async def _restore(run: RestoreRun, access: Access, options: Options, state: RestoreState) -> Outcome:
    sight = await work.look(run, state.task)
    match work.decide(state.task, sight, run):
        case Announce():
            seen = await _once_more(run, access, options, state)
            return seen if isinstance(seen, Running) else Intent(checkpoint.save(state), "about to restore")
        case Create():
            return await _create(run, access, options, state)
        case Remember(task):
            return _remembered(state, task, _RESTORING)
        case Wait():
            return _waiting(run, sight)
        case Finished() if other := restore.difference(sight.thing, state):
            said = f"Restore {sight.name} of k8s.mariadb.com is not what this job asks for: {other}"
            return await _failed(run, state, End("Refused", said))
        case Finished():
            return _remembered(state.model_copy(update={"over": True}), state.task, _RESTORING)
        case End() as end:
            return await _failed(run, state, end)


async def _create(run: RestoreRun, access: Access, options: Options, state: RestoreState) -> Outcome:
    seen = await _once_more(run, access, options, state)
    if isinstance(seen, Running):
        return seen
    run.audit("about to", seen.label, seen.recorded.size)
    settings = settings_of(run.strategy, run.parameters)
    task = await work.create(run, state.task, restore.spec(run, seen, options, settings))
    return _remembered(state, task, _RESTORING)


async def _finish(run: RestoreRun, access: Access, state: RestoreState) -> Outcome:
    """It has succeeded, if the operator has not begun it once more since; it is over when its object is gone."""
    sight = await work.look(run, state.task)
    if sight.thing is not None:
        decision = work.decide(state.task, sight, run)
        if isinstance(decision, End):
            return await _failed(run, state, decision)
        if not isinstance(decision, Finished):
            return _waiting(run, sight)
    waiting = await work.remove(run, "restore")
    if waiting:
        return Running(_RESTORING, waiting, 1.0, patience=Patience.ABSENT)
    with suppress(InvalidInput):  # the strategy may have become nonsense since
        await deleting.expire(run, access, place_of(run.strategy))
    run.audit("done", state.chosen.label, state.chosen.size)
    message = reporting.success_message(run, state)
    return Succeeded(message, conditions=[reporting.restored(message)])


async def _failed(run: RestoreRun, state: RestoreState, end: End) -> Failed:
    words = await last_words(run, end.failed.job, end.failed.pods) if end.failed else ""
    half = reporting.half_restored(run, state.model_copy(update={"over": False}))
    message = f"{end.message}{words}" + (f"; {half}" if half else "")
    return Failed(end.reason, message, conditions=reporting.half(half))


def _remembered(state: RestoreState, task: Task, reason: str) -> Running:
    return Running(reason, "", 0.1, checkpoint.save(state.model_copy(update={"task": task})))


def _waiting(run: Run, sight: Sight) -> Running:
    return replace(dumping.waiting(run, sight), reason=_RESTORING)


def left(run: Run) -> list[Note]:
    """What a restore that is given up leaves, for its clean-up to say: read tolerantly."""
    with suppress(InvalidInput):
        state = checkpoint.read(RestoreState, run)
        half = reporting.half_restored(run, state) if state else ""
        return [Note("HalfRestored", half, warning=True)] if half else []
    return []
