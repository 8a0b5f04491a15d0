"""What every simulated world has, whatever the engine: a cluster, a story, and controllers that can die."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn, Protocol

import anyio
from tests.cozydrivers.stage import TENANT
from tests.simulation.process import Meet, Point, Process, changes
from tests.simulation.story import Story

from cozydrivers.api.backups import Backup
from cozydrivers.api.base import KubeObject
from cozydrivers.drivers.base import Driver
from cozydrivers.testing import FakeCluster


class Violation(AssertionError):
    """What must never be was seen; the message is the whole story."""


class Observing(Protocol):
    """What watches a world; `violation` is the first thing seen that must never be."""

    violation: Violation | None

    def look(self) -> None:
        """Look at everything once; raises Violation."""

    def fail(self, what: str) -> NoReturn:
        """Something is as it must never be."""

    def unfinished(self) -> str:
        """What is still to be waited for; empty where there is nothing."""

    def at_end(self) -> None:
        """Look at what must hold when nothing is to be done any more."""


class Ground:
    """What a world of any engine is built upon; what it does itself goes past all faults of the API server.

    A world sets `story`, `observer`, `elected`, and has its `drivers`.
    """

    cluster: FakeCluster
    story: Story
    observer: Observing
    elected: bool
    processes: list[Process]

    def begin(self, story: Story, *, elected: bool) -> None:
        """Set what a world begins with."""
        self.story = story
        self.elected = elected
        self.processes = []
        self._numbers = 0

    def drivers(self, meet: Meet) -> Sequence[Driver]:
        """The drivers of a controller, whose requests to engines pass through `meet`."""
        raise NotImplementedError

    def now(self) -> datetime:
        """The wall clock of all controllers, which is the cluster's."""
        return self.cluster.now()

    # Controllers

    def process(self, fate: Point | None = None) -> Process:
        """A controller that does not run yet."""
        self._numbers += 1
        process = Process(self, fate, name=f"controller-{self._numbers}", elected=self.elected, seen=self._told)
        self.processes.append(process)
        return process

    def _told(self, who: str, request: str, answer: object) -> None:
        if not changes(request):
            return
        if "/events" not in request and not request.endswith("/leases/cozydrivers"):
            self.story.tell(f"{who}: {request} -> {answer[0] if isinstance(answer, tuple) else repr(answer)}")
        self.observer.look()

    async def supervise(self) -> None:
        """Run a controller, and another one a second after each that ends."""
        while True:
            process = self.process()
            self.story.tell(f"{process.name} starts")
            await process.run()
            self.story.tell(f"{process.name} has ended")
            await anyio.sleep(1.0)

    async def beside(self) -> None:
        """What works beside the controllers, as long as it is awaited."""

    # What users do

    def create(self, kind: type[KubeObject], name: str, spec: Mapping[str, Any]) -> None:
        """Create an object."""
        resource = kind.resource
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
        self.story.tell(f"user: creates {resource.kind} {name}")
        self.cluster.act("POST", resource.path(TENANT), body)

    def deletes(self, kind: type[KubeObject], name: str) -> None:
        """Delete an object that exists."""
        self.story.tell(f"user: deletes {kind.resource.kind} {name}")
        self.cluster.act("DELETE", kind.resource.path(TENANT, name))

    def patch(self, kind: type[KubeObject], name: str, patch: Mapping[str, Any], namespace: str = TENANT) -> None:
        """Merge-patch an object."""
        self.cluster.act("PATCH", kind.resource.path(namespace or None, name), dict(patch))

    # What is so

    def find(self, kind: type[KubeObject], name: str) -> Any:
        """An object as it is now, raw; None where there is none."""
        found = (obj for obj in self.cluster.stored(kind.resource) if obj["metadata"]["name"] == name)
        return next((obj for obj in found if obj["metadata"].get("namespace") == TENANT), None)

    def succeeded(self, kind: type[KubeObject], name: str) -> bool:
        """Whether a job has succeeded."""
        return bool((self.find(kind, name) or {}).get("status", {}).get("phase") == "Succeeded")

    def backups_of(self, application: str) -> list[str]:
        """The names of an application's Backups that are not being deleted."""
        found = self.cluster.stored(Backup.resource)
        return [
            backup["metadata"]["name"]
            for backup in found
            if backup["spec"]["applicationRef"]["name"] == application and "deletionTimestamp" not in backup["metadata"]
        ]

    async def calm(self, within: float = 4 * 3600.0) -> None:
        """Wait until nothing is left to do; then what must hold at the end is checked."""
        pause, deadline = 0.25, anyio.current_time() + within
        while waiting := self.observer.unfinished():
            if anyio.current_time() > deadline:
                self.observer.fail(f"wait: after {within:g} s without accidents there is still {waiting}")
            await anyio.sleep(pause)
            self.observer.look()
            pause = min(pause * 1.2, 30.0)
        self.observer.at_end()
