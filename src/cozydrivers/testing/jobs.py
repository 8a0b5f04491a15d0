"""What the job controller and a kubelet do: the Pods of Jobs run and end, and the Jobs say so."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
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

_LONGEST_RETRY = 600.0
_KILLED = 137
_JOBS = Resource("batch", "v1", "Job", "jobs", namespaced=True)
_PODS = Resource("", "v1", "Pod", "pods", namespaced=True)
_MET = ("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
_TOO_OFTEN = ("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
_SUSPENDED = ("JobSuspended", "Job suspended")
_RESUMED = ("JobResumed", "Job resumed")
_TOO_LONG = ("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline")


@dataclass(frozen=True)
class PodRun:
    """How a Pod goes: its containers print `log`, run for `seconds` and end with `exit_code`.

    With `waiting`, such as ImagePullBackOff, they don't start, for that reason. With `init` it is the init containers
    that run. When it is over, `after` is given the exit code and says what comes next in the Pod: the containers after
    their init containers, or what is started once more, or `goes_on` with the same containers; without an answer the
    Pod ends, or waits on.
    """

    seconds: float = 1.0
    exit_code: int | Callable[[], int] = 0
    log: str = ""
    waiting: str = ""
    init: bool = False
    goes_on: bool = False
    after: "Callable[[int], PodRun | None] | None" = None


@dataclass
class _Life:
    """A Pod that a kubelet runs: what it does now, since and until when.

    Of its init containers, and of its containers: the state, as Pods show it, and how often they were started again.
    """

    run: PodRun
    end: float
    began: str
    states: dict[bool, dict[str, Any]] = field(default_factory=dict)
    restarts: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})


class JobRunner:
    """Runs the Jobs of a fake cluster, each as one Pod at a time; completions, parallelism and TTLs are not looked at.

    It does something only in `step`, and time is the event loop's. `play` says of each Pod that starts how it goes.
    A container that fails fails its Pod, whatever its restartPolicy, unless the play says what comes after.
    `first_retry` are the seconds before a Job's second Pod; before each further one it is twice as long.
    """

    def __init__(self, cluster: FakeCluster, play: Callable[[Object], PodRun] = lambda pod: PodRun()) -> None:
        self.first_retry: float = 10.0
        self._cluster = cluster
        self._play = play
        self._lives: dict[str, _Life] = {}
        self._retry_at: dict[str, float] = {}

    def step(self) -> None:
        """Let each Job and each of its Pods take one step.

        From the end of a Pod to that of its Job it takes two more, as the real controller writes it: first
        SuccessCriteriaMet or FailureTarget, then Complete or Failed.
        """
        owned: dict[str, list[Object]] = {}
        for pod in self._cluster.stored(_PODS):
            owned.setdefault(_owner(pod), []).append(pod)
        owned.pop("", None)
        for job in self._cluster.stored(_JOBS):
            self._sync(job, owned.pop(_uid(job), []))
        for pods in owned.values():
            self._let_go(pods)
        for pod in self._cluster.stored(_PODS):
            if pod["spec"].get("nodeName") == NODE:
                self._run(pod)

    # The job controller

    def _sync(self, job: Object, pods: list[Object]) -> None:
        true = {item["type"] for item in _conditions(job) if item["status"] == "True"}
        if "deletionTimestamp" in job["metadata"] or true & {"Complete", "Failed"}:
            self._let_go(pods)
            return
        if job["spec"]["suspend"]:
            self._suspend(job, pods)
            return
        if true & {"SuccessCriteriaMet", "FailureTarget"}:
            self._end(job, pods)
            return
        counted = self._counted(job, pods)
        target = self._target(job, pods, counted)
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
            pause = min(self.first_retry * 2.0 ** (failed - 1), _LONGEST_RETRY)
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

    def _suspend(self, job: Object, pods: list[Object]) -> None:
        """Delete the Pods of a Job that is suspended, and say so."""
        counted = {**self._counted(job, pods), "active": 0, "ready": 0}
        self._delete([pod for pod in pods if not _ended(pod) and "deletionTimestamp" not in pod["metadata"]])
        if not _is_suspended(job) or counted["terminating"] != job["status"].get("terminating", 0):
            others = [item for item in _conditions(job) if item["type"] != "Suspended"]
            said = {"status": "True", "reason": _SUSPENDED[0], "message": _SUSPENDED[1]}
            times = {"lastProbeTime": self._time(), "lastTransitionTime": self._time()}
            status = {**counted, "conditions": [*others, {"type": "Suspended", **said, **times}]}
            self._cluster.act("PATCH", f"{_path(_JOBS, job)}/status", {"status": status})
        self._let_go([pod for pod in pods if _ended(pod)])

    def _target(self, job: Object, pods: list[Object], counted: Object) -> tuple[str, str, str] | None:
        """Find what has decided how the Job ends."""
        spec, started = job["spec"], job["status"].get("startTime")
        restarts = sum(_restarts(pod) for pod in pods)  # only under OnFailure there are any
        if counted["failed"] > spec["backoffLimit"] or restarts >= max(spec["backoffLimit"], 1):
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
        status = {**values, "startTime": known.get("startTime") or now, "conditions": [*_resumed(job, now), *added]}
        if any(known.get(key) != value for key, value in status.items()):
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
        elif _uid(pod) not in self._lives:
            self._begin(pod, self._play(pod))
        elif anyio.current_time() >= self._lives[_uid(pod)].end:
            self._go_on(pod)

    def _begin(self, pod: Object, run: PodRun) -> None:
        """Start a Pod, or something more in one that is running."""
        life = self._lives.setdefault(_uid(pod), _Life(run, math.inf, self._time()))
        if run.goes_on:
            life.run, life.end = run, anyio.current_time() + run.seconds
            return
        if "waiting" not in life.states.get(run.init, {"waiting": ""}):
            life.restarts[run.init] += 1
        life.run, life.began, life.end = run, self._time(), anyio.current_time() + run.seconds
        if run.waiting and not run.after:
            life.end = math.inf
        if run.waiting:
            life.states[run.init] = {"waiting": {"reason": run.waiting}}
            self._show(pod, "Pending")
            return
        if not run.init:
            life.states.setdefault(True, _terminated(0, life.began, life.began))
        life.states[run.init] = {"running": {"startedAt": life.began}}
        for container in pod["spec"].get("initContainers" if run.init else "containers", ()):
            self._cluster.logs[_uid(pod), container["name"]] = run.log
        self._show(pod, "Pending" if run.init else "Running")

    def _go_on(self, pod: Object) -> None:
        life = self._lives[_uid(pod)]
        code = life.run.exit_code() if callable(life.run.exit_code) else life.run.exit_code
        following = life.run.after(code) if life.run.after else None
        if following is None:
            self._stop(pod, code)
            return
        if not life.run.waiting:
            life.states[life.run.init] = _terminated(code, life.began, self._time())
        self._begin(pod, following)

    def _stop(self, pod: Object, exit_code: int) -> None:
        life = self._lives.get(_uid(pod))
        now = self._time()
        if life is None:  # deleted before it was started
            life = self._lives[_uid(pod)] = _Life(PodRun(), math.inf, pod["status"].get("startTime") or now)
        life.states[life.run.init] = _terminated(exit_code, life.began, now)
        self._show(pod, "Failed" if exit_code else "Succeeded")

    def _show(self, pod: Object, phase: str) -> None:
        life, running = self._lives[_uid(pod)], phase == "Running"
        condition = {"type": "Ready", "status": str(running), "lastTransitionTime": self._time()}
        began = pod["status"].get("startTime") or life.began
        status = {"phase": phase, "conditions": [condition], "startTime": began}
        status["containerStatuses"] = _statuses(pod["spec"]["containers"], life, init=False, ready=running)
        if inits := pod["spec"].get("initContainers"):
            done = "terminated" in life.states.get(True, {}) and not life.run.init
            status["initContainerStatuses"] = _statuses(inits, life, init=True, ready=done)
        self._cluster.act("PATCH", f"{_path(_PODS, pod)}/status", {"status": status})

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


def _is_suspended(job: Object) -> bool:
    return any(item["type"] == "Suspended" and item["status"] == "True" for item in _conditions(job))


def _resumed(job: Object, now: str) -> list[Object]:
    """The conditions of a Job that is not suspended, or not any more."""
    if not _is_suspended(job):
        return _conditions(job)
    told = {"status": "False", "reason": _RESUMED[0], "message": _RESUMED[1], "lastTransitionTime": now}
    return [{**item, **told} if item["type"] == "Suspended" else item for item in _conditions(job)]


def _restarts(pod: Object) -> int:
    kinds = ("initContainerStatuses", "containerStatuses")
    return sum(item["restartCount"] for kind in kinds for item in pod["status"].get(kind, ()))


def _terminated(exit_code: int, began: str, now: str) -> Object:
    reason = "Error" if exit_code else "Completed"
    return {"terminated": {"exitCode": exit_code, "reason": reason, "startedAt": began, "finishedAt": now}}


def _statuses(containers: list[Object], life: _Life, *, init: bool, ready: bool) -> list[Object]:
    state = life.states.get(init, {"waiting": {"reason": "PodInitializing"}})
    return [
        {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": life.restarts[init]}
        | {"ready": ready, "state": state}
        for container in containers
    ]


def _ended(pod: Object) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def _tracked(pod: Object) -> bool:
    return TRACKED in pod["metadata"].get("finalizers", ())
