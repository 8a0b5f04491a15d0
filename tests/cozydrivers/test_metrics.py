"""Metrics: controller-runtime's names and labels, and our own."""

import gc
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import get_args

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, BackupJob, RestoreJob
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.controllers.ledger import FINALIZER
from cozydrivers.controllers.observed import (
    failed_audits,
    jobs_running,
    jobs_waiting,
    last_successes,
    suspicious_sets,
    unfinished_cleanups,
)
from cozydrivers.errors import ClusterUnreachable, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.kube.client import _counting
from cozydrivers.kube.transport import RestTransport
from cozydrivers.metrics import MOST_VALUES, Metrics, Observed
from cozydrivers.runtime import Controller, Key, WorkQueue
from cozydrivers.testing import FakeCluster

pytestmark = pytest.mark.anyio
A, B = Key("one", "a"), Key("one", "b")

FOREIGN = {
    "controller_runtime_reconcile_total": {"controller", "result"},
    "controller_runtime_reconcile_errors_total": {"controller"},
    "controller_runtime_reconcile_time_seconds_bucket": {"controller", "le"},
    "controller_runtime_active_workers": {"controller"},
    "controller_runtime_max_concurrent_reconciles": {"controller"},
    "workqueue_depth": {"name", "controller"},
    "workqueue_adds_total": {"name", "controller"},
    "workqueue_queue_duration_seconds_count": {"name", "controller"},
    "workqueue_work_duration_seconds_sum": {"name", "controller"},
    "workqueue_retries_total": {"name", "controller"},
    "workqueue_unfinished_work_seconds": {"name", "controller"},
    "workqueue_longest_running_processor_seconds": {"name", "controller"},
    "rest_client_requests_total": {"code", "method", "host"},
    "leader_election_master_status": {"name"},
}
OWN = {
    "cozydrivers_last_success_timestamp_seconds": {"namespace", "kind", "application"},
    "cozydrivers_suspicious_sets": {"namespace", "kind", "application"},
    "cozydrivers_failed_audits": {"namespace", "kind", "application"},
    "cozydrivers_unfinished_cleanups": {"namespace", "kind"},
    "cozydrivers_jobs_running": {"namespace", "kind"},
    "cozydrivers_jobs_waiting": {"namespace", "kind"},
    "cozydrivers_job_duration_seconds_bucket": {"kind", "application_kind", "phase", "le"},
    "cozydrivers_job_size_bytes_bucket": {"kind", "application_kind", "le"},
    "cozydrivers_job_failures_total": {"kind", "application_kind", "reason"},
    "cozydrivers_sidecar_requests_total": {"code", "method"},
    "cozydrivers_paused": {"reason"},
}


def shown(metrics: Metrics) -> dict[str, list[Mapping[str, str]]]:
    """The labels of all samples, by the sample's name."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for family in text_string_to_metric_families(metrics.exposition()[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def used() -> Metrics:
    """Metrics of which each has a value."""
    metrics = Metrics()
    with metrics.workers("BackupJob", 4), metrics.working("BackupJob"):
        metrics.reconciled("BackupJob", "error", 0.2)
    metrics.requested("GET", "200", "10.0.0.1:443")
    metrics.leads("cozydrivers", lambda: True)
    metrics.job_ended("BackupJob", "ClickHouse", "Succeeded", "BackupCompleted", 63.0, 5 * 2**30)
    metrics.job_ended("BackupJob", "ClickHouse", "Failed", "EngineFailed", 63.0)
    metrics.sidecar_asked("POST", "200")
    metrics.paused("clock", False)
    for name in get_args(Observed):
        values = ("tenant-a", "ClickHouse", "shop")[: len(OWN[f"cozydrivers_{name}"])]
        metrics.observe(name, {values: 0.0}.items)
    return metrics


async def test_names_and_labels():
    metrics = used()
    queue = WorkQueue(name="BackupJob", metrics=metrics)
    queue.add(A)
    found = shown(metrics)
    for name, labels in (FOREIGN | OWN).items():
        assert {frozenset(each) for each in found[name]} == {frozenset(labels)}, name
    own = {name for name in found if name.startswith("cozydrivers_")}
    suffixes = ("_bucket", "_count", "_sum")
    assert {name for name in own if not name.endswith(suffixes)} == {n for n in OWN if not n.endswith(suffixes)}
    assert "process_resident_memory_bytes" in found
    assert [name for name in found if name.endswith("_created")] == []


async def test_what_is_observed_is_computed_when_it_is_asked_for():
    metrics = Metrics()
    last = {("tenant-a", "ClickHouse", "shop"): 0.0}
    metrics.observe("last_success_timestamp_seconds", last.items)
    metrics.observe("last_success_timestamp_seconds", lambda: [(("tenant-b", "Postgres", "crm"), 17.0)])
    name = "cozydrivers_last_success_timestamp_seconds"
    shop = {"namespace": "tenant-a", "kind": "ClickHouse", "application": "shop"}
    assert metrics.value(name, **shop) == 0.0
    assert metrics.value(name, namespace="tenant-b", kind="Postgres", application="crm") == 17.0
    last[("tenant-a", "ClickHouse", "shop")] = 42.0
    assert metrics.value(name, **shop) == 42.0
    last.clear()
    assert metrics.value(name, **shop) is None


async def test_the_end_of_jobs():
    metrics = Metrics()
    metrics.job_ended("BackupJob", "ClickHouse", "Succeeded", "BackupCompleted", 63.0, 5 * 2**30)
    metrics.job_ended("BackupJob", "ClickHouse", "Failed", "TimedOut", 7200.0)
    job = {"kind": "BackupJob", "application_kind": "ClickHouse"}
    assert metrics.value("cozydrivers_job_duration_seconds_sum", **job, phase="Succeeded") == 63.0
    assert metrics.value("cozydrivers_job_size_bytes_count", **job) == 1
    assert metrics.value("cozydrivers_job_failures_total", **job, reason="TimedOut") == 1
    assert metrics.value("cozydrivers_job_failures_total", **job, reason="BackupCompleted") is None


async def test_what_others_can_name_makes_no_end_of_series():
    metrics = Metrics()
    for number in range(1000):
        metrics.job_ended("BackupJob", f"Kind{number}", "Failed", f"Reason{number}", 1.0)
    counted = shown(metrics)["cozydrivers_job_failures_total"]
    assert len({labels["application_kind"] for labels in counted}) == MOST_VALUES + 1
    assert len(counted) <= MOST_VALUES + 1
    other = {"kind": "BackupJob", "application_kind": "other", "reason": "other"}
    assert metrics.value("cozydrivers_job_failures_total", **other) == 1000 - MOST_VALUES


# The queue


def queue_value(metrics: Metrics, what: str) -> float | None:
    return metrics.value(f"workqueue_{what}", name="jobs", controller="jobs")


async def test_a_queue_tells_how_long_keys_wait_and_are_worked_on():
    metrics = Metrics()
    queue = WorkQueue(name="jobs", metrics=metrics)
    queue.add(A)
    queue.add(A)
    queue.add(B)
    assert queue_value(metrics, "depth") == 2
    assert queue_value(metrics, "adds_total") == 2
    await anyio.sleep(5)
    async with queue.take():
        await anyio.sleep(10)
        queue.add(A)
        await anyio.sleep(1)
        assert queue_value(metrics, "depth") == 2
        assert queue_value(metrics, "unfinished_work_seconds") == pytest.approx(11)
        async with queue.take():
            await anyio.sleep(3)
            assert queue_value(metrics, "unfinished_work_seconds") == pytest.approx(17)
            assert queue_value(metrics, "longest_running_processor_seconds") == pytest.approx(14)
    async with queue.take() as key:
        assert key == A
    assert queue_value(metrics, "depth") == 0
    assert queue_value(metrics, "unfinished_work_seconds") == 0
    assert queue_value(metrics, "adds_total") == 3
    assert queue_value(metrics, "work_duration_seconds_sum") == pytest.approx(14 + 3)
    assert queue_value(metrics, "queue_duration_seconds_sum") == pytest.approx(5 + 16 + 4)
    assert queue_value(metrics, "queue_duration_seconds_count") == 3


async def test_what_is_added_for_later_counts_as_a_retry_and_does_not_wait_yet():
    metrics = Metrics()
    queue = WorkQueue(name="jobs", metrics=metrics)
    queue.add_after(A, 60)
    queue.retry(B)
    assert queue_value(metrics, "retries_total") == 2
    assert queue_value(metrics, "depth") == 0
    await anyio.sleep(100)
    async with queue.take():
        assert queue_value(metrics, "depth") == 1
    assert queue_value(metrics, "queue_duration_seconds_sum") == pytest.approx(0)


async def test_queues_of_one_name_add_up_and_one_that_is_gone_is_not_counted():
    metrics = Metrics()
    first, second = (WorkQueue(name="jobs", metrics=metrics) for _ in range(2))
    first.add(A)
    second.add(A)
    second.add(B)
    assert queue_value(metrics, "depth") == 3
    del second
    gc.collect()
    assert queue_value(metrics, "depth") == 1


# The controller


async def test_a_controller_counts_how_its_passes_end():
    metrics = Metrics()
    answers: list[float | Exception | None] = [10.0, 0, ValueError(), None]

    async def reconcile(key: Key) -> float | None:
        await anyio.sleep(2)
        answer = answers.pop(0)
        assert metrics.value("controller_runtime_active_workers", controller="jobs") == 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    queue = WorkQueue(name="jobs", metrics=metrics)
    queue.add(A)
    with anyio.move_on_after(100):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Controller("jobs", reconcile, queue, workers=3, metrics=metrics).run)
            await anyio.sleep(1)
            assert metrics.value("controller_runtime_max_concurrent_reconciles", controller="jobs") == 3
            assert metrics.value("controller_runtime_reconcile_errors_total", controller="jobs") == 0
    for result in ("requeue_after", "requeue", "error", "success"):
        assert metrics.value("controller_runtime_reconcile_total", controller="jobs", result=result) == 1
    assert metrics.value("controller_runtime_reconcile_errors_total", controller="jobs") == 1
    assert metrics.value("controller_runtime_reconcile_time_seconds_sum", controller="jobs") == pytest.approx(8)
    assert metrics.value("controller_runtime_active_workers", controller="jobs") == 0
    assert metrics.value("controller_runtime_max_concurrent_reconciles", controller="jobs") == 0


# What the stores hold


def backup(name: str, taken: str, application: str = "shop", phase: str = "Ready", **conditions: str) -> Backup:
    return Backup.decode(
        {
            "metadata": {"name": name, "namespace": "tenant-a"},
            "spec": {"applicationRef": {"kind": "ClickHouse", "name": application}, "takenAt": taken},
            "status": {
                "phase": phase,
                "conditions": [{"type": kind, "status": status} for kind, status in conditions.items()],
            },
        }
    )


def application(name: str) -> ClickHouse:
    return ClickHouse.decode({"metadata": {"name": name, "namespace": "tenant-a"}})


def of(name: str) -> tuple[str, str, str]:
    return "tenant-a", "ClickHouse", name


def test_the_last_success_of_each_application_there_is():
    backups = [
        backup("a", "2026-11-23T00:00:00Z"),
        backup("b", "2026-11-22T00:00:00Z", Ready="True"),
        backup("c", "2026-11-24T00:00:00Z", Ready="False"),
        backup("d", "2026-11-25T00:00:00Z", phase="Pending"),
        backup("e", "2026-11-23T00:00:00Z", "dropped"),
        backup("f", "2026-11-23T00:00:00Z", "empty", Ready="False"),
    ]
    found = dict(last_successes([application("shop"), application("empty"), application("new")], backups))
    at = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
    assert found == {of("shop"): at, of("empty"): 0.0, of("new"): 0.0}


def test_backups_that_need_a_look():
    backups = [
        backup("a", "2026-11-23T00:00:00Z", Suspicious="True"),
        backup("b", "2026-11-23T00:00:00Z", Ready="False", Suspicious="False"),
        backup("c", "2026-11-23T00:00:00Z", "other", Ready="True"),
    ]
    assert dict(suspicious_sets(backups)) == {of("shop"): 1, of("other"): 0}
    assert dict(failed_audits(backups)) == {of("shop"): 1, of("other"): 0}


def job(phase: str, *, left: bool = False, deleted: bool = False, kind: type[BackupJob | RestoreJob] = BackupJob):
    metadata = {"namespace": "tenant-a", "finalizers": [FINALIZER] if left else []}
    deletion = {"deletionTimestamp": "2026-11-23T00:00:00Z"} if deleted else {}
    return kind.decode({"metadata": metadata | deletion, "status": {"phase": phase}})


def test_jobs_by_where_they_stand():
    jobs = [
        *(job(""), job("Pending"), job("Running", left=True), job("Running", left=True, deleted=True)),
        *(job("Failed", left=True), job("Failed"), job("Succeeded"), job("Pending", deleted=True)),
    ]
    restores = [job("Succeeded", kind=RestoreJob)]
    ours, theirs = ("tenant-a", "BackupJob"), ("tenant-a", "RestoreJob")
    assert dict(jobs_waiting([*jobs, *restores])) == {ours: 3, theirs: 0}
    assert dict(jobs_running(jobs)) == {ours: 2}
    assert dict(unfinished_cleanups(jobs)) == {ours: 2}


# Requests to the API server


async def test_requests_are_counted_by_code():
    cluster, metrics = FakeCluster(), Metrics()
    kube = cluster.kube()
    kube.observers.append(_counting(metrics, "10.0.0.1:443"))
    await kube.get(Namespace, "default")
    with pytest.raises(NotFound):
        await kube.get(ConfigMap, "absent", "default")
    cluster.faults.refuse()
    with pytest.raises(ClusterUnreachable):
        await kube.get(Namespace, "default")
    async for _ in kube.watch(Namespace, resource_version="0", timeout=1):
        pass
    cluster.faults.refuse()
    with pytest.raises(ClusterUnreachable):
        async for _ in kube.watch(Namespace, resource_version="0", timeout=1):
            pass
    counted = {
        code: metrics.value("rest_client_requests_total", code=code, method="GET", host="10.0.0.1:443")
        for code in ("200", "404", "<error>")
    }
    assert counted == {"200": 2, "404": 1, "<error>": 2}


async def test_the_host_has_no_credentials(tmp_path):
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        """
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://admin:hunter2@127.0.0.1/k8s"}}]
users: [{name: u, user: {token: t}}]
"""
    )
    async with KubeClient.connect(kubeconfig=str(kubeconfig), metrics=Metrics()) as kube:
        inner = kube._transport._inner
        assert isinstance(inner, RestTransport)
        assert inner.host == "127.0.0.1:443"
