"""Plays Job controller, kubelet and garbage collector for the Jobs of mariadb-operator on a real API server."""

import contextlib
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.abc
from tests.real.mariadb_containers import Containers, NotStarted, Servers
from tests.real.mariadb_operator import Operator

from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.errors import ApiError, NotFound
from cozydrivers.kube import KubeClient

GROUP = "k8s.mariadb.com/"
Raw = dict[str, Any]
Fault = Literal["fail", "end-badly", "hang", "image"]
"""What goes wrong with a container: it ends with 1, at once or after its work; it hangs; it has no image."""

_MET = ("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
_COMPLETE = ("Complete", *_MET[1:])
_TOO_OFTEN = ("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
_FAILED = ("Failed", *_TOO_OFTEN[1:])
_KILLED = 137


class Job(KubeObject):
    resource = Resource("batch", "v1", "Job", "jobs", namespaced=True)


class Pod(KubeObject):
    resource = Resource("", "v1", "Pod", "pods", namespaced=True)


class _Backup(KubeObject):
    resource = Resource("k8s.mariadb.com", "v1alpha1", "Backup", "backups", namespaced=True)


class _Restore(KubeObject):
    resource = Resource("k8s.mariadb.com", "v1alpha1", "Restore", "restores", namespaced=True)


_OWNERS = {"Backup": _Backup, "Restore": _Restore}


@dataclass(frozen=True)
class Ran:
    """A container that has ended, and the Job whose it was."""

    job: str
    container: str
    code: int


class MariaDBPods:
    """Runs the Jobs of all Backups and Restores of a namespace, whether the operator is real or simulated.

    `servers` are the real servers by namespace and name of their MariaDB object. What the operator's image does is
    done by the binary `operator`, or without one in Python, as that `version` does it. `pause` is in seconds, between
    two Pods of a Job. `fault` says of each container that is to start, by the names of its Job and of itself, what goes
    wrong. `ran` are the containers that have ended, in order.
    """

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        servers: Servers,
        *,
        operator: Operator | None = None,
        version: str = "26.6.0",
        pause: float = 0.5,
    ) -> None:
        self.namespace = namespace
        self.fault: Callable[[str, str], Fault | None] = lambda job, container: None
        self.ran: list[Ran] = []
        self.pause = pause
        self._kube = kube
        self._containers = Containers(kube, servers, operator, operator.version if operator else version)
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._retry_at: dict[str, float] = {}

    @property
    def volumes(self) -> Path:
        """Where the volumes are that outlive Pods: each a folder."""
        return self._containers.folder

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Work as long as the block."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._work, tasks)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._containers.close()

    async def _work(self, tasks: anyio.abc.TaskGroup) -> None:
        while True:
            with contextlib.suppress(ApiError):  # the next pass looks again
                await self.step(tasks)
            await anyio.sleep(0.1)

    async def step(self, tasks: anyio.abc.TaskGroup) -> None:
        """Let each Job, and each of its Pods, take one step."""
        jobs = [each.raw for each in (await self._kube.list(Job, self.namespace)).items if _operators(each.raw)]
        pods = [each.raw for each in (await self._kube.list(Pod, self.namespace)).items]
        for job in jobs:
            own = [pod for pod in pods if _owner(pod)["uid"] == job["metadata"]["uid"]]
            if not await self._collected(job):
                await self._sync(job, own)
        known = {job["metadata"]["uid"] for job in jobs}
        for pod in pods:
            owner = _owner(pod)
            if owner["kind"] == "Job" and owner["uid"] not in known and not await self._exists(owner):
                await self._remove(pod)
            elif owner["uid"] in known:
                await self._run(pod, tasks)

    # The garbage collector

    async def _collected(self, job: Raw) -> bool:
        """Delete a Job whose owner is gone; tells whether it is gone."""
        owner, metadata = _owner(job), job["metadata"]
        try:
            found = await self._kube.get(_OWNERS[owner["kind"]], owner["name"], self.namespace)
        except NotFound:
            found = None
        if found is not None and found.metadata.uid == owner["uid"]:
            return False
        with contextlib.suppress(NotFound):
            await self._kube.delete(Job, metadata["name"], self.namespace, uid=metadata["uid"])
        return True

    async def _exists(self, owner: Mapping[str, str]) -> bool:
        try:
            return (await self._kube.get(Job, owner["name"], self.namespace)).metadata.uid == owner["uid"]
        except NotFound:
            return False

    # The Job controller

    async def _sync(self, job: Raw, pods: Sequence[Raw]) -> None:
        true = {each["type"] for each in _conditions(job) if each["status"] == "True"}
        if true & {"Complete", "Failed"}:
            return
        if job["spec"]["suspend"]:
            await self._suspend(job, pods, told="Suspended" in true)
            return
        succeeded = sum(_phase(pod) == "Succeeded" for pod in pods)
        failed = sum(_phase(pod) == "Failed" for pod in pods)
        active = len(pods) - succeeded - failed
        limit = job["spec"]["backoffLimit"]
        numbers: Raw = {"active": active, "succeeded": succeeded, "failed": failed, "ready": 0}
        if "Suspended" in true:
            await self._report(job, ("Suspended", "JobResumed", "Job resumed"), "False", startTime=_now())
        elif succeeded or failed > limit:
            await self._end(job, true, pods, numbers)
        elif not active and anyio.current_time() >= self._retry_at.get(job["metadata"]["uid"], 0):
            self._retry_at[job["metadata"]["uid"]] = anyio.current_time() + self.pause
            await self._create(job)
            await self._report(job, None, **{**numbers, "active": 1})

    async def _suspend(self, job: Raw, pods: Sequence[Raw], *, told: bool) -> None:
        for pod in pods:
            await self._remove(pod)
        if not told:
            await self._report(job, ("Suspended", "JobSuspended", "Job suspended"), active=0, startTime=None)

    async def _end(self, job: Raw, true: set[str], pods: Sequence[Raw], numbers: Raw) -> None:
        """Write first what decides the end, and in a later step the end."""
        good = bool(numbers["succeeded"])
        decided, end = (_MET, _COMPLETE) if good else (_TOO_OFTEN, _FAILED)
        if decided[0] not in true:
            await self._report(job, decided, **numbers)
            return
        for pod in pods:
            if _phase(pod) in ("Pending", "Running"):
                await self._remove(pod)
        times = {"completionTime": _now()} if good else {}
        await self._report(job, end, **{**numbers, **times, "active": 0})

    async def _create(self, job: Raw) -> None:
        template, metadata = job["spec"]["template"], job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
        body = {
            "metadata": {
                "generateName": f"{metadata['name']}-",
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"].get("annotations", {}),
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            },
            "spec": template["spec"],
        }
        await self._kube.create(Pod, body, self.namespace)

    async def _report(
        self, job: Raw, condition: tuple[str, str, str] | None, value: str = "True", /, **values: Any
    ) -> None:
        conditions = _conditions(job)
        if condition is not None:
            kind, reason, message = condition
            told = {"type": kind, "status": value, "reason": reason, "message": message}
            kept = [each for each in conditions if each["type"] != kind]
            conditions = [*kept, {**told, "lastProbeTime": _now(), "lastTransitionTime": _now()}]
        started = {"startTime": job.get("status", {}).get("startTime") or _now()}
        status = {**started, **values, "conditions": conditions}
        version = {"resourceVersion": job["metadata"]["resourceVersion"]}
        patch = {"metadata": version, "status": status}
        await self._kube.merge_patch(Job, job["metadata"]["name"], patch, self.namespace, status=True)

    # The kubelet

    async def _remove(self, pod: Raw) -> None:
        """Kill what runs of a Pod, and delete it."""
        metadata = pod["metadata"]
        scope = self._scopes.pop(metadata["uid"], None)
        if scope is not None:
            scope.cancel()
        with contextlib.suppress(NotFound):
            await self._kube.delete(Pod, metadata["name"], self.namespace, uid=metadata["uid"])

    async def _run(self, pod: Raw, tasks: anyio.abc.TaskGroup) -> None:
        if pod["metadata"]["uid"] not in self._scopes and _phase(pod) == "Pending":
            self._scopes[pod["metadata"]["uid"]] = anyio.CancelScope()
            tasks.start_soon(self._live, pod)

    async def _live(self, pod: Raw) -> None:
        """Run the containers of a Pod, one after the other."""
        scope, folder = self._scopes[pod["metadata"]["uid"]], tempfile.TemporaryDirectory(prefix="pod-")
        with scope, contextlib.suppress(NotFound), folder as path:
            await _Life(self, pod, Path(path)).run()


class _Life:
    """One Pod from its start to its end."""

    def __init__(self, pods: MariaDBPods, pod: Raw, folder: Path) -> None:
        self._pods = pods
        self._pod = pod
        self._folder = folder
        self._states: dict[str, Raw] = {}
        self._restarts: dict[str, int] = {}
        self._job = str(_owner(pod)["name"])

    async def run(self) -> None:
        spec = self._pod["spec"]
        phase = "Succeeded"
        try:
            volumes = await self._pods._containers.mount(self._pod, self._folder)
            for container in [*spec.get("initContainers", ()), *spec["containers"]]:
                if not await self._contain(container, volumes):
                    phase = "Failed"
                    break
        except NotStarted as error:
            await self._show("Pending", waiting=str(error))
            await anyio.sleep_forever()
        await self._show(phase)

    async def _contain(self, container: Raw, volumes: Mapping[str, Path]) -> bool:
        """Run a container to its end, again and again where the Pod says so; tells whether it ended well."""
        code = await self._once(container, volumes)
        while code and self._pod["spec"]["restartPolicy"] != "Never":
            self._restarts[container["name"]] = self._restarts.get(container["name"], 0) + 1
            await anyio.sleep(self._pods.pause)
            code = await self._once(container, volumes)
        return not code

    async def _once(self, container: Raw, volumes: Mapping[str, Path]) -> int:
        name = container["name"]
        fault = self._pods.fault(self._job, name)
        if fault == "image":
            raise NotStarted("ImagePullBackOff")
        began = _now()
        self._states[name] = {"running": {"startedAt": began}}
        await self._show("Running" if name in _names(self._pod["spec"]["containers"]) else "Pending")
        code = await self._work(container, volumes, fault)
        reason = "Error" if code else "Completed"
        ended = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": _now()}
        self._states[name] = {"terminated": ended}
        self._pods.ran.append(Ran(self._job, name, code))
        return code

    async def _work(self, container: Raw, volumes: Mapping[str, Path], fault: Fault | None) -> int:
        if fault == "hang":
            await anyio.sleep_forever()
        if fault == "fail":
            return 1
        code = await self._pods._containers.run(self._pod, container, volumes)
        return 1 if fault == "end-badly" else code

    async def _show(self, phase: str, waiting: str = "") -> None:
        spec, metadata = self._pod["spec"], self._pod["metadata"]
        status = {
            "phase": phase,
            "startTime": metadata["creationTimestamp"],
            "initContainerStatuses": [self._status(each, waiting) for each in spec.get("initContainers", ())],
            "containerStatuses": [self._status(each, waiting) for each in spec["containers"]],
        }
        kube = self._pods._kube
        await kube.merge_patch(Pod, metadata["name"], {"status": status}, metadata["namespace"], status=True)

    def _status(self, container: Raw, waiting: str) -> Raw:
        name, image = container["name"], container["image"]
        state = self._states.get(name) or {"waiting": {"reason": waiting or "PodInitializing"}}
        code = state.get("terminated", {}).get("exitCode")
        count = self._restarts.get(name, 0)
        return {"name": name, "image": image, "imageID": "", "ready": code == 0, "restartCount": count, "state": state}


def _names(containers: Sequence[Raw]) -> set[str]:
    return {each["name"] for each in containers}


def _owner(obj: Raw) -> Mapping[str, str]:
    owners: Sequence[Raw] = obj["metadata"].get("ownerReferences", ())
    nobody = {"kind": "", "uid": "", "name": "", "apiVersion": ""}
    return next((each for each in owners if each.get("controller")), nobody)


def _operators(job: Raw) -> bool:
    owner = _owner(job)
    return owner["apiVersion"].startswith(GROUP) and owner["kind"] in _OWNERS


def _conditions(job: Raw) -> list[Raw]:
    return list(job.get("status", {}).get("conditions", ()))


def _phase(pod: Raw) -> str:
    return str(pod.get("status", {}).get("phase") or "Pending")


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
