"""What the job controller and a kubelet do: the Pods of Jobs run and end, and the Jobs say so."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio

from cozydrivers.api.base import Resource
from cozydrivers.testing._status import Failure
from cozydrivers.testing._store import Object
from cozydrivers.testing.cluster import FakeCluster

NODE = "node-1"
"""The node that all Pods of Jobs run on."""

TRACKED = "batch.kubernetes.io/job-tracking"
"""The finalizer that holds a Pod until its Job has counted it."""

_FIRST_RETRY = 10.0
_LONGEST_RETRY = 600.0
_KILLED = 137
_JOBS = Resource("batch", "v1", "Job", "jobs", namespaced=True)
_PODS = Resource("", "v1", "Pod", "pods", namespaced=True)
_MET = ("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
_TOO_OFTEN = ("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
_TOO_LONG = ("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")


@dataclass(frozen=True)
class PodRun:
    """How a Pod goes: its containers print `log`, run for `seconds` and end with `exit_code`.

    With `waiting`, such as ImagePullBackOff, they never start, for that reason.
    """

    seconds: float = 1.0
    exit_code: int = 0
    log: str = ""
    waiting: str = ""


class JobRunner:
    """Runs the Jobs of a fake cluster, each as one Pod at a time; completions, parallelism and TTLs are not looked at.

    It does something only in `step`, and time is the event loop's. `play` says of each Pod that starts how it goes.
    A container that fails fails its Pod, whatever its restartPolicy.
    """

    def __init__(self, cluster: FakeCluster, play: Callable[[Object], PodRun] = lambda pod: PodRun()) -> None:
        self._cluster = cluster
        self._play = play
        self._runs: dict[str, tuple[float, PodRun]] = {}
        self._retry_at: dict[str, float] = {}

    def step(self) -> None:
        """Let each Job and each of its Pods take one step.

        From the end of a Pod to that of its Job it takes two more, as the real controller writes it: first
        SuccessCriteriaMet or FailureTarget, then Complete or Failed.
        """
        owned: dict[str, list[Object]] = {}
        for pod in self._pods():
            owned.setdefault(_owner(pod), []).append(pod)
        owned.pop("", None)
        for job in self._cluster.act("GET", _JOBS.path())["items"]:
            self._sync(job, owned.pop(_uid(job), []))
        for pods in owned.values():
            self._let_go(pods)
        for pod in self._pods():
            if pod["spec"].get("nodeName") == NODE:
                self._run(pod)

    def _pods(self) -> list[Object]:
        found: list[Object] = self._cluster.act("GET", _PODS.path())["items"]
        return found

    # The job controller

    def _sync(self, job: Object, pods: list[Object]) -> None:
        true = {item["type"] for item in _conditions(job) if item["status"] == "True"}
        if "deletionTimestamp" in job["metadata"] or true & {"Complete", "Failed"}:
            self._let_go(pods)
            return
        if job["spec"]["suspend"]:
            return
        if true & {"SuccessCriteriaMet", "FailureTarget"}:
            self._end(job, pods)
            return
        counted = self._counted(job, pods)
        target = self._target(job, counted)
        if target == _TOO_LONG:
            self._delete([pod for pod in pods if not _ended(pod)])
        if target is None and not counted["active"] and anyio.current_time() >= self._retry_at.get(_uid(job), 0):
            with suppress(Failure):  # in a namespace that is being deleted
                self._create(job)
                counted["active"] = 1
        self._report(job, pods, counted, *([target] if target else []))

    def _counted(self, job: Object, pods: list[Object]) -> Object:
        """Count its Pods; those that have ended are counted once, and then let go."""
        status, new = job["status"], [pod for pod in pods if _ended(pod) and _tracked(pod)]
        failed = status.get("failed", 0) + sum(pod["status"]["phase"] == "Failed" for pod in new)
        succeeded = status.get("succeeded", 0) + sum(pod["status"]["phase"] == "Succeeded" for pod in new)
        if failed > status.get("failed", 0):
            pause = min(_FIRST_RETRY * 2.0 ** (failed - 1), _LONGEST_RETRY)
            self._retry_at[_uid(job)] = anyio.current_time() + pause
        living = [pod for pod in pods if not _ended(pod)]
        leaving = [pod for pod in living if "deletionTimestamp" in pod["metadata"]]
        running = [pod for pod in living if pod["status"]["phase"] == "Running" and pod not in leaving]
        return {
            "active": len(living) - len(leaving),
            "ready": len(running),
            "terminating": len(leaving),
            "failed": failed,
            "succeeded": succeeded,
        }

    def _target(self, job: Object, counted: Object) -> tuple[str, str, str] | None:
        """Find what has decided how the Job ends."""
        spec, started = job["spec"], job["status"].get("startTime")
        if counted["failed"] > spec["backoffLimit"]:
            return _TOO_OFTEN
        if started and "activeDeadlineSeconds" in spec:
            active = self._cluster.now() - datetime.fromisoformat(started)
            if active.total_seconds() >= spec["activeDeadlineSeconds"]:
                return _TOO_LONG
        return _MET if counted["succeeded"] else None

    def _end(self, job: Object, pods: list[Object]) -> None:
        """Write the end that was decided once no Pod is left that runs."""
        counted = self._counted(job, pods)
        decided = next(item for item in _conditions(job) if item["type"] in ("SuccessCriteriaMet", "FailureTarget"))
        if counted["active"] or counted["terminating"]:
            self._delete([pod for pod in pods if not _ended(pod)])
            self._report(job, pods, counted)
        elif decided["type"] == "SuccessCriteriaMet":
            end = ("Complete", decided["reason"], decided["message"])
            self._report(job, pods, {**counted, "completionTime": self._time()}, end)
        else:
            self._report(job, pods, counted, ("Failed", decided["reason"], decided["message"]))

    def _report(self, job: Object, pods: list[Object], values: Object, *conditions: tuple[str, str, str]) -> None:
        known, now = job["status"], self._time()
        added = [
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastProbeTime": now,
                "lastTransitionTime": now,
            }
            for kind, reason, message in conditions
        ]
        status = {**values, "startTime": known.get("startTime") or now, "conditions": [*_conditions(job), *added]}
        self._cluster.act("PATCH", f"{_path(_JOBS, job)}/status", {"status": status})
        self._let_go([pod for pod in pods if _ended(pod)])

    def _create(self, job: Object) -> None:
        template = job["spec"]["template"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": _uid(job)}
        metadata = {
            "generateName": f"{job['metadata']['name']}-",
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"].get("annotations", {}),
            "finalizers": [TRACKED],
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        }
        body = {"metadata": metadata, "spec": {**template["spec"], "nodeName": NODE}}
        self._cluster.act("POST", _PODS.path(job["metadata"]["namespace"]), body)

    def _delete(self, pods: list[Object]) -> None:
        for pod in pods:
            self._cluster.act("DELETE", _path(_PODS, pod))

    def _let_go(self, pods: list[Object]) -> None:
        """Let go of Pods that are counted, or that nobody counts any more."""
        for pod in pods:
            if _tracked(pod):
                kept = [name for name in pod["metadata"]["finalizers"] if name != TRACKED]
                self._cluster.act("PATCH", _path(_PODS, pod), {"metadata": {"finalizers": kept}})

    # The kubelet

    def _run(self, pod: Object) -> None:
        leaving = "deletionTimestamp" in pod["metadata"]
        if _ended(pod):
            if leaving:
                self._cluster.act("DELETE", _path(_PODS, pod), gracePeriodSeconds="0")
        elif leaving:
            self._stop(pod, _KILLED)
        elif _uid(pod) not in self._runs:
            self._start(pod)
        else:
            end, run = self._runs[_uid(pod)]
            if anyio.current_time() >= end:
                self._stop(pod, run.exit_code)

    def _start(self, pod: Object) -> None:
        run = self._play(pod)
        if run.waiting:
            self._runs[_uid(pod)] = (math.inf, run)
            self._show(pod, "Pending", {"waiting": {"reason": run.waiting}}, ready=False)
            return
        self._runs[_uid(pod)] = (anyio.current_time() + run.seconds, run)
        for container in pod["spec"]["containers"]:
            self._cluster.logs[_uid(pod), container["name"]] = run.log
        self._show(pod, "Running", {"running": {"startedAt": self._time()}}, ready=True)

    def _stop(self, pod: Object, exit_code: int) -> None:
        began = pod["status"].get("startTime") or self._time()
        reason = "Error" if exit_code else "Completed"
        times = {"startedAt": began, "finishedAt": self._time()}
        phase = "Failed" if exit_code else "Succeeded"
        self._show(pod, phase, {"terminated": {"exitCode": exit_code, "reason": reason, **times}}, ready=False)

    def _show(self, pod: Object, phase: str, state: dict[str, Any], *, ready: bool) -> None:
        statuses = [
            {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0}
            | {"ready": ready, "state": state}
            for container in pod["spec"]["containers"]
        ]
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": self._time()}
        status = {"phase": phase, "conditions": [condition], "containerStatuses": statuses}
        began = pod["status"].get("startTime") or self._time()
        self._cluster.act("PATCH", f"{_path(_PODS, pod)}/status", {"status": {**status, "startTime": began}})

    def _time(self) -> str:
        return f"{self._cluster.now():%Y-%m-%dT%H:%M:%SZ}"


def _path(resource: Resource, obj: Object) -> str:
    return resource.path(obj["metadata"]["namespace"], obj["metadata"]["name"])


def _uid(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def _owner(pod: Object) -> str:
    owners = pod["metadata"].get("ownerReferences", ())
    return next((owner["uid"] for owner in owners if owner["kind"] == "Job" and owner.get("controller")), "")


def _conditions(job: Object) -> list[Object]:
    return list(job["status"].get("conditions", ()))


def _ended(pod: Object) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def _tracked(pod: Object) -> bool:
    return TRACKED in pod["metadata"].get("finalizers", ())
