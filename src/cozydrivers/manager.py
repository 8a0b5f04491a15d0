"""Puts the runtime, the controllers and the drivers together."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, NoReturn, Protocol

import anyio

from cozydrivers.api.base import TypedReference
from cozydrivers.controllers.backup import BackupController
from cozydrivers.controllers.backupjob import BackupJobController
from cozydrivers.controllers.job import JobController
from cozydrivers.controllers.observed import observe
from cozydrivers.controllers.plan import PlanController
from cozydrivers.controllers.restorejob import RestoreJobController
from cozydrivers.controllers.services import Services, is_paused, open_all, utc_now
from cozydrivers.drivers.base import Driver
from cozydrivers.drivers.callbacks import Callbacks
from cozydrivers.kube import KubeClient
from cozydrivers.metrics import Metrics
from cozydrivers.runtime.admission import Admission, Limits
from cozydrivers.runtime.cache import Caches
from cozydrivers.runtime.clock import Skew
from cozydrivers.runtime.elector import Elector
from cozydrivers.runtime.guard import Guard

LOOK = 15.0
"""Seconds between two looks at what pauses the controller by itself."""


_PAUSED = "paused by an annotation of this installation's Lease"
_log = logging.getLogger(__name__)


class _Runs(Protocol):
    async def run(self) -> None: ...


class Manager:
    """Runs all controllers over the named namespaces; over all of them where none is named.

    `selector` is a label selector for the jobs, Plans and Backups that it works on. With an `elector` it works only
    while that leads. A call of one of the `callbacks` that its drivers gave away has the jobs looked at. `now` is the
    wall clock.
    """

    def __init__(
        self,
        kube: KubeClient,
        *,
        drivers: Sequence[Driver],
        namespaces: Sequence[str] = (),
        selector: str = "",
        limits: Limits | None = None,
        elector: Elector | None = None,
        metrics: Metrics | None = None,
        callbacks: Callbacks | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._kube = kube
        self._drivers = drivers
        self._elector = elector
        self._now = now
        self._skew = Skew(now)
        self._caches = Caches(kube, namespaces, selector)
        self._admission = Admission(limits or Limits(), self._running)
        self._services = Services(
            kube,
            self._caches,
            now,
            metrics=metrics or Metrics(),
            guard=Guard(self._skew.problem),
            admission=self._admission,
            leading=self._is_leading,
            on_hold=self._on_hold,
        )
        jobs: list[JobController[Any]] = [
            kind(kube, drivers=drivers, services=self._services) for kind in (BackupJobController, RestoreJobController)
        ]
        self._jobs = jobs
        backups = BackupController(
            kube, drivers=drivers, services=self._services, reference_is_gone=self._reference_is_gone
        )
        plans = PlanController(kube, caches=self._caches, now=now, paused=self._paused, metrics=self._services.metrics)
        self._controllers: list[_Runs] = [*jobs, backups, plans]
        if callbacks is not None:
            callbacks.subscribe(self._wake)
        if elector is not None:
            self._services.metrics.leads(elector.name, lambda: elector.leading)
        kinds = [driver.application for driver in drivers]
        observe(self._services.metrics, self._caches, kinds, lambda: backups.audits_failed)

    @property
    def problem(self) -> str:
        """Why it is not at work, as a sentence; empty where it is, or stands by for another replica."""
        if self._elector is not None and not self._elector.leading:
            return "" if self._elector.knows else self._elector.state
        unknown = next((kind for kind in self._caches.unsynced()), "")
        return f"{unknown} are not known yet" if unknown else ""

    async def run(self) -> None:
        """Work until cancelled. Raises LeadershipLost when the elector no longer leads: start anew then."""
        self._kube.observers.append(self._skew.observe)
        try:
            await (self._elector.run(self._work) if self._elector else self._work())
        finally:
            self._kube.observers.remove(self._skew.observe)

    async def _work(self) -> None:
        async with AsyncExitStack() as stack:
            await open_all(stack, self._drivers, self._caches)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            tasks.start_soon(self._admission.run)
            tasks.start_soon(self._watch_over)
            for controller in self._controllers:
                tasks.start_soon(controller.run)

    async def _watch_over(self) -> NoReturn:
        """Tell the metrics and the log what pauses the controller as a whole, and when that is over."""
        said: Mapping[str, str] = {}
        while True:
            problems = self._pauses()
            for reason, problem in problems.items():
                self._services.metrics.paused(reason, bool(problem))
                if bool(problem) != bool(said.get(reason)):
                    _log.warning("%s: %s", reason, f"paused: {problem}" if problem else "no longer paused")
            said = problems
            await anyio.sleep(LOOK)

    def _pauses(self) -> Mapping[str, str]:
        clock = self._skew.problem()
        late = "" if clock else self._services.guard.problem(self._now())
        return {"clock": clock, "deadlines": late, "annotation": _PAUSED if self._is_paused() else ""}

    def _running(self) -> Mapping[str, str]:
        return {
            job.metadata.uid: job.metadata.namespace
            for controller in self._jobs
            for job in controller.in_phase("Running")
        }

    def _is_leading(self) -> bool:
        return self._elector is None or self._elector.leading

    def _paused(self, namespace: str, application: TypedReference) -> str:
        kinds = (driver.application for driver in self._drivers)
        kind = next((kind for kind in kinds if kind.resource.kind == application.kind), None)
        return self._services.paused(namespace, kind, application.name)

    def _wake(self, namespace: str, application: str) -> None:
        for controller in self._jobs:
            controller.wake(namespace, application)

    def _reference_is_gone(self) -> bool:
        """Who leads holds the Leases of Cozystack's own controllers, too."""
        return self._elector is not None and self._elector.leading

    def _is_paused(self) -> bool:
        return self._elector is not None and is_paused(self._elector.annotations)

    def _on_hold(self) -> str:
        if self._is_paused():
            return _PAUSED
        return self._skew.problem()
