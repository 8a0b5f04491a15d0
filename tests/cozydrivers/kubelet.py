"""Plays the job controller and the kubelet: runs the Jobs of a stage in virtual time, by patches of status."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from tests.cozydrivers.stage import TENANT, Stage

from cozydrivers.api.batch import Job
from cozydrivers.api.core import Pod
from cozydrivers.errors import ApiError, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.testing import ADMIN_TOKEN
from cozydrivers.testing._serve import InProcess


class Kubelet:
    """Runs Jobs that are not suspended, each for `seconds`; those whose name ends as a key of `fails` exit with 1.

    `log` is every Pod's log, None where it can't be read. `waiting` is why no container starts. `ran` are the Jobs
    that were ever started, by name, once for each time.
    """

    def __init__(self, stage: Stage, *, seconds: float = 5.0, grace: float = 0.0) -> None:
        self.seconds = seconds
        self.grace = grace
        self.fails: set[str] = set()
        self.log: str | None = ""
        self.asked: list[Mapping[str, str]] = []
        self.waiting: tuple[str, str] | None = None
        self.ran: list[str] = []
        self._kube = stage.cluster.kube()
        self._now = stage.cluster.now
        self._serve_logs(stage)

    def _serve_logs(self, stage: Stage) -> None:
        serve = stage.cluster.handle

        async def handle(method: str, path: str, query: Any, headers: Any, body: bytes) -> Any:
            if not path.endswith("/log"):
                return await serve(method, path, query, headers, body)
            self.asked.append(query)
            return (500, [], b"") if self.log is None else (200, [], self.log.encode())

        stage.cluster.handle = handle  # type: ignore[method-assign]
        stage.kube = KubeClient(InProcess(handle, ADMIN_TOKEN))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Work as long as the block."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run)
            yield
            tasks.cancel_scope.cancel()

    async def _run(self) -> None:
        while True:
            for job in (await self._kube.list(Job, TENANT)).items:
                await self._look(job)
            await self._collect()
            await anyio.sleep(0.25)

    async def _look(self, job: Job) -> None:
        if job.spec.suspend or job.finished:
            return
        if job.status.start_time is None:
            await self._start(job)
        elif self.waiting is None and (self._now() - job.status.start_time).total_seconds() >= self.seconds:
            await self._end(job, failed=any(job.metadata.name.endswith(end) for end in self.fails))

    async def _start(self, job: Job) -> None:
        self.ran.append(job.metadata.name)
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job.metadata.name, "uid": job.metadata.uid}
        template = job.raw["spec"]["template"]
        metadata = {
            "name": f"{job.metadata.name}-x",
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        }
        await self._kube.create(Pod, {"metadata": metadata, "spec": template["spec"]}, TENANT)
        container = template["spec"]["containers"][0]["name"]
        if self.waiting is None:
            await self._pod(job, "Running", {"name": container, "state": {"running": {}}})
        else:
            waiting = dict(zip(("reason", "message"), self.waiting, strict=True))
            await self._pod(job, "Pending", {"name": container, "state": {"waiting": waiting}})
        await self._status(job, {"startTime": self._time(), "active": 1, "ready": int(self.waiting is None)})

    async def _end(self, job: Job, *, failed: bool) -> None:
        container = job.raw["spec"]["template"]["spec"]["containers"][0]["name"]
        terminated = {"exitCode": int(failed), "reason": "Error" if failed else "Completed"}
        state = {"name": container, "state": {"running": None, "terminated": terminated}}
        await self._pod(job, "Failed" if failed else "Succeeded", state)
        if failed:
            await self._fail(job, "BackoffLimitExceeded")
        else:
            conditions = [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
            counts = {"active": 0, "ready": 0, "succeeded": 1}
            await self._status(job, {**counts, "completionTime": self._time(), "conditions": conditions})

    async def pass_deadline(self, job: Job) -> None:
        """Have a Job's deadline pass: its Pods are deleted."""
        pod = await self._kube.get(Pod, f"{job.metadata.name}-x", TENANT)
        await self._kube.delete(Pod, pod.metadata.name, TENANT, uid=pod.metadata.uid)
        await self._fail(job, "DeadlineExceeded")

    async def _fail(self, job: Job, reason: str) -> None:
        conditions = [{"type": kind, "status": "True", "reason": reason} for kind in ("FailureTarget", "Failed")]
        await self._status(job, {"active": 0, "ready": 0, "failed": 1, "conditions": conditions})

    async def _collect(self) -> None:
        """Delete the Pods of Jobs that are gone; a Pod ends `grace` seconds after that."""
        jobs = {job.metadata.uid for job in (await self._kube.list(Job, TENANT)).items}
        for pod in (await self._kube.list(Pod, TENANT)).items:
            owner = next(iter(pod.metadata.owner_references), None)
            if owner is None or owner.kind != "Job" or owner.uid in jobs:
                continue
            await anyio.sleep(self.grace)
            await self._kube.delete(Pod, pod.metadata.name, TENANT, uid=pod.metadata.uid)

    async def _pod(self, job: Job, phase: str, container: Mapping[str, Any]) -> None:
        status = {"phase": phase, "containerStatuses": [container]}
        try:
            await self._kube.merge_patch(Pod, f"{job.metadata.name}-x", {"status": status}, TENANT, status=True)
        except NotFound:
            return

    async def _status(self, job: Job, status: Mapping[str, Any]) -> None:
        try:
            await self._kube.merge_patch(Job, job.metadata.name, {"status": status}, TENANT, status=True)
        except ApiError:
            return

    def _time(self) -> str:
        return f"{self._now():%Y-%m-%dT%H:%M:%SZ}"
