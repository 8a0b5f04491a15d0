"""What stands in for the job controller, a kubelet, the garbage collector and the namespace controller."""

import math
from typing import Any

import anyio
import pytest
from tests.cozydrivers.stage import FIXTURES
from tests.whole import whole

from cozydrivers.api.backups import Backup, BackupJob, Plan
from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.api.core import ConfigMap, Namespace, Pod
from cozydrivers.errors import Forbidden, Invalid, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.operators import JobRunner, PodRun, collect_garbage, empty_namespace

pytestmark = pytest.mark.anyio

SPACE = "tenant"


class Job(KubeObject):
    resource = Resource("batch", "v1", "Job", "jobs", namespaced=True)


async def _cluster() -> FakeCluster:
    cluster = FakeCluster([FIXTURES / "crds"])
    await cluster.kube().create(Namespace, {"metadata": {"name": SPACE}})
    return cluster


async def _job(kube: KubeClient, name: str = "dump", **spec: Any) -> Job:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "alpine:3"}]}
    body = {"metadata": {"name": name}, "spec": {"template": {"spec": pod}, **spec}}
    return await kube.create(Job, body, SPACE)


async def _status(kube: KubeClient, name: str = "dump") -> dict[str, Any]:
    status: dict[str, Any] = (await kube.get(Job, name, SPACE)).raw["status"]
    return status


async def _conditions(kube: KubeClient, name: str = "dump") -> list[tuple[str, str]]:
    found = (await _status(kube, name)).get("conditions", ())
    return [(item["type"], item["reason"]) for item in found if item["status"] == "True"]


async def _pods(kube: KubeClient) -> list[Pod]:
    return (await kube.list(whole(Pod), SPACE)).items


async def _run(runner: JobRunner, seconds: float) -> None:
    """Step each second."""
    for _ in range(int(seconds)):
        runner.step()
        await anyio.sleep(1)


async def test_nothing_happens_by_itself():
    cluster = await _cluster()
    JobRunner(cluster)
    await _job(cluster.kube())
    await anyio.sleep(3600)
    assert await _pods(cluster.kube()) == []


async def test_a_job_runs_as_a_pod_that_it_owns():
    cluster = await _cluster()
    kube = cluster.kube()
    job = await _job(kube)
    JobRunner(cluster).step()
    (pod,) = await _pods(kube)
    assert pod.metadata.name.startswith("dump-")
    assert {pod.metadata.labels[key] for key in ("job-name", "batch.kubernetes.io/job-name")} == {"dump"}
    (owner,) = pod.raw["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Job", job.metadata.uid, True)
    assert pod.metadata.finalizers == ["batch.kubernetes.io/job-tracking"]
    assert (pod.status.phase, pod.ready) == ("Running", True)
    status = await _status(kube)
    assert (status["active"], "startTime" in status, "conditions" in status) == (1, True, False)


async def test_a_job_says_that_it_has_succeeded_in_two_steps():
    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster, lambda pod: PodRun(seconds=60))
    await _job(kube)
    await _run(runner, 60)
    assert await _conditions(kube) == []
    runner.step()
    assert (await _pods(kube))[0].status.phase == "Succeeded"
    runner.step()
    assert await _conditions(kube) == [("SuccessCriteriaMet", "CompletionsReached")]
    assert "completionTime" not in await _status(kube)
    runner.step()
    assert await _conditions(kube) == [
        ("SuccessCriteriaMet", "CompletionsReached"),
        ("Complete", "CompletionsReached"),
    ]
    status = await _status(kube)
    assert (status["succeeded"], status.get("active", 0), "completionTime" in status) == (1, 0, True)
    assert (await _pods(kube))[0].metadata.finalizers == []


async def test_a_job_that_has_ended_changes_no_more():
    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster)
    await _job(kube)
    await _run(runner, 10)
    version = (await kube.get(Job, "dump", SPACE)).metadata.resource_version
    await _run(runner, 10)
    assert (await kube.get(Job, "dump", SPACE)).metadata.resource_version == version


async def test_init_containers_run_before_the_containers_and_tell_their_times():
    cluster = await _cluster()
    kube, ran = cluster.kube(), PodRun(seconds=2)
    runner = JobRunner(cluster, lambda pod: PodRun(seconds=3, init=True, after=lambda code: None if code else ran))
    pod = {"containers": [{"name": "c", "image": "alpine:3"}], "initContainers": [{"name": "i", "image": "alpine:3"}]}
    await _job(kube, template={"spec": {"restartPolicy": "Never", **pod}})
    await _run(runner, 2)
    status = (await _pods(kube))[0].raw["status"]
    began = status["initContainerStatuses"][0]["state"]["running"]["startedAt"]
    assert (status["phase"], status["containerStatuses"][0]["state"]) == (
        "Pending",
        {"waiting": {"reason": "PodInitializing"}},
    )
    await _run(runner, 7)
    status = (await _pods(kube))[0].raw["status"]
    (init,) = status["initContainerStatuses"]
    assert status["phase"] == "Succeeded"
    assert init["state"]["terminated"]["startedAt"] == began
    assert init["state"]["terminated"]["finishedAt"] > began
    assert (
        status["containerStatuses"][0]["state"]["terminated"]["startedAt"] == init["state"]["terminated"]["finishedAt"]
    )


async def test_a_container_that_is_started_again_counts_as_a_retry_of_its_job():
    cluster = await _cluster()
    kube = cluster.kube()
    again = PodRun(exit_code=1, after=lambda code: again)
    runner = JobRunner(cluster, lambda pod: again)
    await _job(kube, backoffLimit=2)
    await _run(runner, 9)
    assert ("Failed", "BackoffLimitExceeded") in await _conditions(kube)
    assert len(await _pods(kube)) <= 1


async def test_a_job_that_is_suspended_stops_its_pods_and_goes_on_when_it_is_resumed():
    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster, lambda pod: PodRun(seconds=20))
    await _job(kube)
    await _run(runner, 2)
    await kube.merge_patch(Job, "dump", {"spec": {"suspend": True}}, SPACE)
    await _run(runner, 5)
    assert await _pods(kube) == []
    assert await _conditions(kube) == [("Suspended", "JobSuspended")]
    version = (await kube.get(Job, "dump", SPACE)).metadata.resource_version
    await _run(runner, 5)
    assert (await kube.get(Job, "dump", SPACE)).metadata.resource_version == version
    await kube.merge_patch(Job, "dump", {"spec": {"suspend": False}}, SPACE)
    await _run(runner, 30)
    assert ("Complete", "CompletionsReached") in await _conditions(kube)
    assert ("Suspended", "JobSuspended") not in await _conditions(kube)


async def test_a_pod_fails_with_the_code_of_its_container_and_its_log_can_be_read():
    cluster = await _cluster()
    log = "".join(f"line {number}\n" for number in range(100)) + "no such table\n"
    kube, runner = cluster.kube(), JobRunner(cluster, lambda pod: PodRun(exit_code=3, log=log))
    await _job(kube, backoffLimit=0)
    await _run(runner, 10)
    (pod,) = await _pods(kube)
    (container,) = pod.raw["status"]["containerStatuses"]
    assert (pod.status.phase, container["state"]["terminated"]["exitCode"]) == ("Failed", 3)
    assert await _conditions(kube) == [("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")]
    status = await _status(kube)
    assert (status["failed"], "completionTime" in status) == (1, False)
    name = pod.metadata.name
    assert await kube.pod_log(name, SPACE, tail_lines=2, limit_bytes=1000) == "line 99\nno such table\n"
    assert await kube.pod_log(name, SPACE, tail_lines=2, limit_bytes=4) == "line"
    assert await kube.pod_log(name, SPACE, tail_lines=0, limit_bytes=4) == ""


async def test_a_failed_pod_is_followed_by_another_later_each_time_until_the_limit():
    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster, lambda pod: PodRun(exit_code=1))
    await _job(kube, backoffLimit=2)
    counts = []
    for _ in range(45):
        runner.step()
        counts.append(len(await _pods(kube)))
        await anyio.sleep(1)
    first, second = counts.index(2), counts.index(3)
    assert first >= 10
    assert second - first >= 20
    assert max(counts) == 3
    assert await _conditions(kube) == [("FailureTarget", "BackoffLimitExceeded"), ("Failed", "BackoffLimitExceeded")]


async def test_a_pod_that_fails_once_does_not_fail_its_job():
    codes = iter((1, 0))
    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster, lambda pod: PodRun(exit_code=next(codes)))
    await _job(kube)
    await _run(runner, 20)
    status = await _status(kube)
    assert (status["failed"], status["succeeded"]) == (1, 1)
    assert ("Complete", "CompletionsReached") in await _conditions(kube)


async def test_a_job_past_its_deadline_fails_and_its_pod_is_stopped():
    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster, lambda pod: PodRun(seconds=math.inf))
    await _job(kube, activeDeadlineSeconds=30)
    await _run(runner, 29)
    assert await _conditions(kube) == []
    await _run(runner, 10)
    assert await _conditions(kube) == [("FailureTarget", "DeadlineExceeded"), ("Failed", "DeadlineExceeded")]
    assert await _pods(kube) == []
    assert (await _status(kube))["failed"] == 1


async def test_a_pod_that_can_not_start_waits_until_the_deadline():
    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster, lambda pod: PodRun(waiting="ImagePullBackOff"))
    await _job(kube, activeDeadlineSeconds=30)
    await _run(runner, 20)
    (pod,) = await _pods(kube)
    state = pod.raw["status"]["containerStatuses"][0]["state"]
    assert (pod.status.phase, state) == ("Pending", {"waiting": {"reason": "ImagePullBackOff"}})
    with pytest.raises(Invalid, match="is waiting to start: ImagePullBackOff"):
        await kube.pod_log(pod.metadata.name, SPACE, tail_lines=1, limit_bytes=1)
    await _run(runner, 20)
    assert ("Failed", "DeadlineExceeded") in await _conditions(kube)


async def test_each_pod_goes_as_it_is_told():
    def play(pod: dict[str, Any]) -> PodRun:
        return PodRun(exit_code=int(pod["metadata"]["labels"]["job-name"] == "bad"))

    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster, play)
    for name in ("good", "bad"):
        await _job(kube, name, backoffLimit=0)
    await _run(runner, 10)
    assert [(await _conditions(kube, name))[-1][0] for name in ("good", "bad")] == ["Complete", "Failed"]


async def test_a_suspended_job_has_no_pods():
    cluster = await _cluster()
    await _job(cluster.kube(), suspend=True)
    await _run(JobRunner(cluster), 10)
    assert await _pods(cluster.kube()) == []


async def test_with_its_job_goes_a_pod_that_runs():
    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster, lambda pod: PodRun(seconds=math.inf))
    job = await _job(kube)
    runner.step()
    await kube.delete(Job, "dump", SPACE, uid=job.metadata.uid)
    assert [name.partition("-")[0] for name in collect_garbage(cluster)] == ["Pod/dump"]
    await _run(runner, 3)
    assert await _pods(kube) == []


async def test_a_job_that_is_deleted_without_a_policy_leaves_its_pod():
    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster)
    await _job(kube)
    runner.step()
    cluster.act("DELETE", Job.resource.path(SPACE, "dump"))
    assert collect_garbage(cluster) == ["Job/dump"]
    (pod,) = await _pods(kube)
    assert "ownerReferences" not in pod.raw["metadata"]


async def test_simulators_work_behind_faults_and_are_not_recorded():
    cluster = await _cluster()
    await _job(cluster.kube())
    cluster.requests.clear()
    cluster.faults.outage(3600)
    cluster.faults.break_webhook("jobs", "pods")
    cluster.faults.rival(1)
    await _run(JobRunner(cluster), 10)
    assert cluster.requests == []
    cluster.faults.clear()
    assert ("Complete", "CompletionsReached") in await _conditions(cluster.kube())


# The garbage collector


def _owned(name: str, *owners: KubeObject, **metadata: Any) -> dict[str, Any]:
    references = [
        {
            "apiVersion": owner.resource.api_version,
            "kind": owner.resource.kind,
            "name": owner.metadata.name,
            "uid": owner.metadata.uid,
        }
        for owner in owners
    ]
    return {"metadata": {"name": name, "ownerReferences": references, **metadata}}


async def _plan(kube: KubeClient) -> Plan:
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "ch"}
    spec = {"applicationRef": reference, "backupClassName": "c", "schedule": {"type": "cron", "cron": "@daily"}}
    return await kube.create(Plan, {"metadata": {"name": "daily"}, "spec": spec}, SPACE)


async def test_a_plan_takes_its_jobs_along_and_never_their_backups():
    cluster = await _cluster()
    kube = cluster.kube()
    plan = await _plan(kube)
    reference = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "ch"}
    spec = {"applicationRef": reference, "backupClassName": "c"}
    job = await kube.create(BackupJob, {**_owned("daily-1", plan), "spec": spec}, SPACE)
    made = {"applicationRef": reference, "strategyRef": reference, "takenAt": "2026-01-01T00:00:00Z"}
    await kube.create(Backup, {"metadata": {"name": "daily-1"}, "spec": made}, SPACE)
    assert collect_garbage(cluster) == []
    await kube.delete(Plan, "daily", SPACE, uid=plan.metadata.uid)
    assert collect_garbage(cluster) == ["BackupJob/daily-1"]
    with pytest.raises(NotFound):
        await kube.get(BackupJob, job.metadata.name, SPACE)
    await kube.get(Backup, "daily-1", SPACE)


async def test_an_owner_is_known_by_its_uid():
    cluster = await _cluster()
    kube = cluster.kube()
    owner = await kube.create(ConfigMap, {"metadata": {"name": "owner"}}, SPACE)
    await kube.create(ConfigMap, _owned("child", owner), SPACE)
    await kube.delete(ConfigMap, "owner", SPACE, uid=owner.metadata.uid)
    await kube.create(ConfigMap, {"metadata": {"name": "owner"}}, SPACE)
    assert collect_garbage(cluster) == ["ConfigMap/child"]


async def test_an_owner_in_another_namespace_is_none():
    cluster = await _cluster()
    kube = cluster.kube()
    owner = await kube.create(ConfigMap, {"metadata": {"name": "owner"}}, "default")
    await kube.create(ConfigMap, _owned("child", owner), SPACE)
    assert collect_garbage(cluster) == ["ConfigMap/child"]


async def test_one_of_two_owners_is_enough():
    cluster = await _cluster()
    kube = cluster.kube()
    first, second = [await kube.create(ConfigMap, {"metadata": {"name": name}}, SPACE) for name in ("first", "second")]
    await kube.create(ConfigMap, _owned("child", first, second), SPACE)
    await kube.delete(ConfigMap, "first", SPACE, uid=first.metadata.uid)
    assert collect_garbage(cluster) == []
    child = await kube.get(whole(ConfigMap), "child", SPACE)
    assert [owner["name"] for owner in child.raw["metadata"]["ownerReferences"]] == ["second"]


async def test_what_is_owned_by_what_is_owned_goes_too():
    cluster = await _cluster()
    kube = cluster.kube()
    first = await kube.create(ConfigMap, {"metadata": {"name": "first"}}, SPACE)
    second = await kube.create(ConfigMap, _owned("second", first), SPACE)
    await kube.create(ConfigMap, _owned("third", second), SPACE)
    await kube.delete(ConfigMap, "first", SPACE, uid=first.metadata.uid)
    assert collect_garbage(cluster) == ["ConfigMap/second", "ConfigMap/third"]


async def test_a_finalizer_holds_what_has_lost_its_owner():
    cluster = await _cluster()
    kube = cluster.kube()
    owner = await kube.create(ConfigMap, {"metadata": {"name": "owner"}}, SPACE)
    await kube.create(ConfigMap, _owned("child", owner, finalizers=["example.com/held"]), SPACE)
    await kube.delete(ConfigMap, "owner", SPACE, uid=owner.metadata.uid)
    assert collect_garbage(cluster) == ["ConfigMap/child"]
    assert collect_garbage(cluster) == []
    assert (await kube.get(ConfigMap, "child", SPACE)).metadata.deletion_timestamp is not None


async def test_in_the_foreground_the_owner_goes_last():
    cluster = await _cluster()
    kube = cluster.kube()
    owner = await kube.create(ConfigMap, {"metadata": {"name": "owner"}}, SPACE)
    await kube.create(ConfigMap, _owned("child", owner, finalizers=["example.com/held"]), SPACE)
    await kube.delete(ConfigMap, "owner", SPACE, uid=owner.metadata.uid, propagation="Foreground")
    assert collect_garbage(cluster) == ["ConfigMap/child"]
    await kube.get(ConfigMap, "owner", SPACE)
    await kube.merge_patch(ConfigMap, "child", {"metadata": {"finalizers": None}}, SPACE)
    assert collect_garbage(cluster) == ["ConfigMap/owner"]


# The namespace controller


async def _leave(kube: KubeClient) -> None:
    space = await kube.get(Namespace, SPACE)
    await kube.delete(Namespace, SPACE, uid=space.metadata.uid)


async def test_a_namespace_goes_with_all_that_is_in_it():
    cluster = await _cluster()
    kube = cluster.kube()
    await _job(kube)
    await kube.create(ConfigMap, {"metadata": {"name": "c"}}, SPACE)
    await kube.create(ConfigMap, {"metadata": {"name": "c"}}, "default")
    await _leave(kube)
    with pytest.raises(Forbidden):
        await _job(kube, "new")
    assert empty_namespace(cluster, SPACE)
    with pytest.raises(NotFound):
        await kube.get(Namespace, SPACE)
    assert len((await kube.list(ConfigMap)).items) == 1


async def test_a_finalizer_holds_a_namespace_which_says_so():
    cluster = await _cluster()
    kube = cluster.kube()
    await kube.create(ConfigMap, {"metadata": {"name": "c", "finalizers": ["example.com/held"]}}, SPACE)
    await _leave(kube)
    assert not empty_namespace(cluster, SPACE)
    told = (await kube.get(whole(Namespace), SPACE)).raw["status"]["conditions"]
    assert [condition["message"] for condition in told] == [
        "Some resources are remaining: configmaps has 1 resource instances",
        "Some content in the namespace has finalizers remaining: example.com/held in 1 resource instances",
    ]
    await kube.merge_patch(ConfigMap, "c", {"metadata": {"finalizers": None}}, SPACE)
    assert empty_namespace(cluster, SPACE)


async def test_a_pod_that_runs_holds_a_namespace_until_its_kubelet_has_stopped_it():
    cluster = await _cluster()
    kube, runner = cluster.kube(), JobRunner(cluster, lambda pod: PodRun(seconds=math.inf))
    await _job(kube)
    runner.step()
    await _leave(kube)
    assert not empty_namespace(cluster, SPACE)
    await _run(runner, 3)
    assert empty_namespace(cluster, SPACE)


async def test_a_namespace_that_nobody_deleted_is_not_emptied():
    cluster = await _cluster()
    with pytest.raises(ValueError, match="is not being deleted"):
        empty_namespace(cluster, SPACE)
