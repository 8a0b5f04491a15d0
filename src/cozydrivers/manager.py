"""Puts the runtime, the controllers and the drivers together."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

import anyio

from cozydrivers.controllers.backupjob import BackupJobController
from cozydrivers.controllers.job import JobController, utc_now
from cozydrivers.controllers.restorejob import RestoreJobController
from cozydrivers.drivers.base import Driver
from cozydrivers.kube import KubeClient


class Manager:
    """Runs all controllers over the named namespaces; over all of them where none is named. `now` is the wall clock."""

    def __init__(
        self,
        kube: KubeClient,
        *,
        drivers: Sequence[Driver],
        namespaces: Sequence[str] = (),
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._controllers: list[JobController[Any]] = [
            kind(kube, drivers=drivers, namespace=namespace, now=now)
            for namespace in (*namespaces,) or (None,)
            for kind in (BackupJobController, RestoreJobController)
        ]

    async def run(self) -> None:
        """Work until cancelled."""
        async with AsyncExitStack() as stack:
            for controller in self._controllers:
                await stack.enter_async_context(controller)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            for controller in self._controllers:
                tasks.start_soon(controller.run)
