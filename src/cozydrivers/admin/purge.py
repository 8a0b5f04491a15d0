"""Retention over the archives of applications: look, plan, and delete under the locks of their storage paths.

The plan is chbackup's, and so is its execution: one archive after the other in each storage, each after a fresh look at
all sidecars of the path. What is added here is the cluster: Backups, jobs, pauses, locks and the audit log.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

import anyio

from chbackup import Archive, Client, Retention
from chbackup._journal import Journal
from chbackup._purge_results import PurgeResult
from chbackup._purge_run import PurgeRun, Report
from chbackup._purging import Means, carry_out, result_of
from chbackup._sidecars import Sidecar
from chbackup.retention import Decision, PurgePlan
from cozydrivers.admin import purge_facts, purge_sidecars
from cozydrivers.admin.purge_facts import Scope
from cozydrivers.admin.purge_lock import Hold
from cozydrivers.admin.purge_plan import App, Claim, Known, Row, Rules, applications, plan, rows
from cozydrivers.admin.purge_sidecars import Seen
from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup
from cozydrivers.controllers.lock import locks_of
from cozydrivers.drivers.clickhouse.access import Access, Connect, still_there
from cozydrivers.errors import ApiError, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.audit import AuditRecord, audit
from cozydrivers.runtime.cache import Caches
from cozydrivers.runtime.locks import Holder, Lock, storage_lock, target_lock

TIMEOUT = 300.0
"""Seconds to wait in vain, for an answer or for what is in the way, until an archive is reported and stays."""
HOLDER = "Purge"
"""The kind of the holder that its locks name."""
_AT_ONCE = 64
_KIND = ClickHouse.resource.kind


@dataclass(frozen=True)
class Request:
    """What is asked for. `actor` is who asks, `uid` tells this run from all others; `now` is the wall clock."""

    scope: Scope
    rules: Rules
    actor: str
    uid: str
    now: Callable[[], datetime]


class Purge:
    """A purge that has been planned. Iterating over `run` DELETES.

    `refused` are applications that nothing is decided about, with the reason.
    """

    def __init__(self, kube: KubeClient, request: Request, known: Known, seen: Seen, plan: PurgePlan) -> None:
        self.rows: Sequence[Row] = rows(plan, known)
        self.refused: Sequence[tuple[App, str]] = [
            (app, why) for app in known.apps if (why := _refusal(app, plan)) is not None
        ]
        self.plan: PurgePlan = plan
        self.run: PurgeRun = PurgeRun(plan, (), self._carry)
        self._kube = kube
        self._request = request
        self._known = known
        self._seen = seen
        self._planned_at = request.now()
        self._locks = locks_of(kube, Caches(kube))
        self._holder = Holder(HOLDER, request.uid, "", request.actor.replace("/", "-"))
        self._turn = anyio.Semaphore(_AT_ONCE)
        self._left = Counter(decision.set_name for decision in plan.delete)
        self._gone: set[tuple[str, str]] = set()
        self._objects_gone: set[str] = set()
        self._claims = {name: claims[0] for name, claims in known.holders().items()}
        self._vetoes: dict[str, str] = {}
        self._unsettled: dict[str, dict[str, Any]] = {}

    # Carrying out

    async def _carry(self, part: Sequence[Decision], report: Report) -> None:
        """Delete what hangs together, under the locks of all that it touches."""
        hold = Hold(self._locks, self._holder, self._wanted(part), self._request.now)
        failure: OSError | None = None
        try:
            if why := await self._take(hold):
                for decision in part:
                    await report(result_of("kept", decision, why))
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hold.keep)
                try:
                    await carry_out(self._means(hold), part, lambda result: self._took(result, report))
                except OSError as error:  # the audit log's: nothing may be deleted that it does not have
                    failure = error
                tasks.cancel_scope.cancel()
        finally:
            await hold.release()
        if failure:
            raise failure

    def _wanted(self, part: Sequence[Decision]) -> list[Lock]:
        apps = applications(self._known, (decision.archive.name for decision in part))
        targets = sorted(target_lock(_KIND, app.namespace, app.name) for app in apps)
        return [*targets, *map(storage_lock, sorted({decision.storage for decision in part}))]

    async def _take(self, hold: Hold) -> str:
        try:
            return "" if await hold.take() else "a job works on the application or its storage path"
        except ApiError as error:
            return f"the storage path could not be locked: {error}"

    def _means(self, hold: Hold) -> Means:
        async def veto(decision: Decision, sidecar: Sidecar) -> str:
            try:
                return await self._veto(decision, sidecar) or await hold.renew()
            except ApiError as error:
                return f"the cluster can't be asked: {error}"

        return Means(self._seen.survey.sidecars, _AuditLog(self._line), TIMEOUT, self._turn, veto=veto)

    async def _veto(self, decision: Decision, sidecar: Sidecar) -> str:
        """Why an archive stays after all, by the cluster as it is now (I4)."""
        name = decision.set_name
        if name not in self._vetoes:
            self._vetoes[name] = await self._changed(decision)
        if self._vetoes[name]:
            return self._vetoes[name]
        run, place = self._seen.places[sidecar.url]
        return "" if await still_there(run, place) else f"Pod {place.pod} was replaced meanwhile"

    async def _changed(self, decision: Decision) -> str:
        """Whether the plan stands that a set goes, before the first of its archives does."""
        facts = await purge_facts.read(self._kube, self._request.scope)
        known = purge_facts.known(facts).without(self._objects_gone)
        if known == self._known.without(self._objects_gone):
            return ""
        lists = {storage: self._listed(storage, archives) for storage, archives in self._seen.survey.lists.items()}
        again = _plan(lists, known, self._seen, self._request.rules, self._planned_at)
        now = {(each.storage, each.archive.name): each for each in again.decisions}
        same = now.get((decision.storage, decision.archive.name))
        if same is None or not same.delete:
            return f"the cluster has changed since the plan was made: {same.reason if same else 'it is refused'}"
        self._claims |= {name: claims[0] for name, claims in known.holders().items()}
        return ""

    def _listed(self, storage: str, archives: Sequence[Archive]) -> list[Archive]:
        return [archive for archive in archives if (storage, archive.name) not in self._gone]

    async def _took(self, result: PurgeResult, report: Report) -> None:
        """Note what became of an archive; with the last one of its set goes the Backup that has recorded it."""
        await report(result)
        if not result.ok:
            return
        if told := self._unsettled.get(result.archive):
            self._line("done", {**told, "error": "its delete had no answer; now the store says that it is gone"})
        self._gone.add((result.storage, result.archive))
        self._left[result.set_name] -= 1
        claim = self._claims.get(result.set_name)
        if claim is not None and not self._left[result.set_name]:
            await self._delete_backup(claim, result, report)

    async def _delete_backup(self, claim: Claim, last: PurgeResult, report: Report) -> None:
        self._object_line(claim, "about to", last.reason)
        try:
            await self._kube.delete(Backup, claim.name, claim.namespace, uid=claim.uid)
        except NotFound:
            pass
        except ApiError as error:
            self._object_line(claim, "failed", str(error))
            why = f"its archives are gone, it could not be deleted: {error}"
            await report(PurgeResult("failed", last.storage, str(claim), reason=why, set_name=last.set_name))
            return
        self._objects_gone.add(claim.uid)
        self._object_line(claim, "done", "its archives are gone")

    # The audit log

    def _object_line(self, claim: Claim, outcome: Literal["about to", "done", "failed"], evidence: str) -> None:
        self._write(claim, outcome, evidence=evidence, rule="goes with its archives")

    def _line(self, outcome: Literal["about to", "done", "failed"], told: dict[str, Any]) -> None:
        """Write what happens to an archive, for its Backup, else for its application."""
        if outcome == "done":
            self._unsettled.pop(told["archive"], None)
        else:
            self._unsettled[told["archive"]] = told
        about: Claim | App | None = self._claims.get(told["set"])
        if about is None:
            about = next(iter(applications(self._known, [told["archive"]])), None)
        evidence = told.get("error") or f"the {told['place']} copy, through {told['url']}, after a look at all sidecars"
        self._write(
            about,
            outcome,
            archive=told["archive"],
            bytes=told["bytes"],
            rule=f"{told['reason']} ({spelled(self._request.rules.retention)})",
            evidence=evidence,
        )

    def _write(self, about: Claim | App | None, outcome: Literal["about to", "done", "failed"], **told: Any) -> None:
        audit(
            AuditRecord(
                time=self._request.now(),
                actor=self._request.actor,
                action="delete",
                outcome=outcome,
                kind=Backup.resource.kind if isinstance(about, Claim) else _KIND,
                namespace=about.namespace if about else "",
                name=about.name if about else "",
                uid=about.uid if about else "",
                **told,
            )
        )


@asynccontextmanager
async def open_purge(kube: KubeClient, request: Request, *, connect: Connect = Client) -> AsyncGenerator[Purge, None]:
    """Read the cluster and all sidecars, and plan; nothing is deleted before `run` is iterated over.

    Raises NotFound for an application that is not there, ApiError, and OSError where the audit log can't be written.
    """
    access = Access(connect)
    try:
        facts = await purge_facts.read(kube, request.scope)
        known = purge_facts.known(facts)
        seen = await purge_sidecars.look(facts, known, access, request.now())
        made = _plan(seen.survey.lists, known, seen, request.rules, request.now())
        purge = Purge(kube, request, known, seen, made)
        async with purge.run.opened():
            yield purge
    finally:
        with anyio.CancelScope(shield=True):
            await access.close()


def _plan(lists: Any, known: Known, seen: Seen, rules: Rules, now: datetime) -> PurgePlan:
    return plan(lists, known, rules, now, refused=seen.refused, needed=seen.survey.needed)


def _refusal(app: App, plan: PurgePlan) -> str | None:
    refused = next((plan.refused[storage] for storage in app.storages if storage in plan.refused), None)
    return app.trouble or refused


def spelled(retention: Retention) -> str:
    """The rules as options of the command."""
    given = {each.name: getattr(retention, each.name) for each in fields(retention) if each.name.startswith("keep_")}
    words = [f"--{name.replace('_', '-')} {number}" for name, number in given.items() if number]
    if retention.older_than is not None:
        words.append(f"--older-than {retention.older_than.total_seconds():.0f}s")
    return " ".join(words)


class _AuditLog(Journal):
    """A purge's journal that is kept in the audit log; each line is on the disk when `write` returns."""

    def __init__(self, line: Callable[[Literal["about to", "done", "failed"], dict[str, Any]], None]) -> None:
        super().__init__(None)
        self._line = line

    def write(self, event: str, **told: Any) -> None:
        """Write a line for what is or was sent."""
        outcomes: dict[str, Literal["about to", "done", "failed"]] = {
            "deleting": "about to",
            "deleted": "done",
            "failed": "failed",
        }
        if event in outcomes:
            self._line(outcomes[event], told)
