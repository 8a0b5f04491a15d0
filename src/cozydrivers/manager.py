"""Puts the runtime, the controllers and the drivers together."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import anyio

from cozydrivers.controllers.backupjob import BackupJobController
from cozydrivers.controllers.job import JobController
from cozydrivers.controllers.restorejob import RestoreJobController
from cozydrivers.controllers.services import Services, utc_now
from cozydrivers.drivers.base import Driver
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.admission import Admission, Limits
from cozydrivers.runtime.cache import Caches


class Manager:
    """Runs all controllers over the named namespaces; over all of them where none is named.

    `selector` is a label selector for the jobs, Plans and Backups that it works on. `now` is the wall clock.
    """

    def __init__(
        self,
        kube: KubeClient,
        *,
        drivers: Sequence[Driver],
        namespaces: Sequence[str] = (),
        selector: str = "",
        limits: Limits | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._drivers = drivers
        self._caches = Caches(kube, namespaces, selector)
        self._admission = Admission(limits or Limits(), self._running)
        self._services = Services(kube, self._caches, now, self._admission)
        self._controllers: list[JobController[Any]] = [
            kind(kube, drivers=drivers, services=self._services) for kind in (BackupJobController, RestoreJobController)
        ]

    def _running(self) -> Mapping[str, str]:
        return {
            job.metadata.uid: job.metadata.namespace
            for controller in self._controllers
            for job in controller.in_phase("Running")
        }

    async def run(self) -> None:
        """Work until cancelled."""
        async with AsyncExitStack() as stack:
            for driver in self._drivers:
                await stack.enter_async_context(driver)
            await stack.enter_async_context(self._caches)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            tasks.start_soon(self._admission.run)
            for controller in self._controllers:
                tasks.start_soon(controller.run)
