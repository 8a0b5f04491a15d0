"""Finding sidecars: which Pods count, where they listen, and what is said when some are absent or too many."""

from typing import Any

import anyio
import pytest
from tests.cozydrivers.checks import (
    Change,
    assert_one_sentence,
    drop,
    patched,
    pod_name,
    rows,
    slow,
    staged,
    without_pod,
)
from tests.cozydrivers.stage import APP, TENANT, Stage, recorded
from tests.whole import whole

from chbackup.testing import FakeSidecar
from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.core import Pod
from cozydrivers.drivers.clickhouse.places import Place, layout_problem, places
from cozydrivers.testing.operators import PASSWORD, USERNAME

pytestmark = pytest.mark.anyio

LABEL = "clickhouse.altinity.com"
SIDECAR: dict[str, Any] = {
    "name": "clickhouse-backup",
    "image": "altinity/clickhouse-backup:2.7.4",
    "ports": [{"name": "ch-backup-api", "containerPort": 7272}],
}
SERVER: dict[str, Any] = {
    "name": "clickhouse",
    "image": "clickhouse",
    "ports": [{"name": "http", "containerPort": 8123}],
}
SHOP = ClickHouse.decode({"metadata": {"name": "shop", "namespace": "tenant"}, "spec": {"shards": 1}})


def pod(
    *, cluster: str | None = "clickhouse", shard: int = 0, status: Any = (), metadata: Any = (), **spec: Any
) -> Pod:
    """A Pod of the application `shop`."""
    labels = {f"{LABEL}/chi": "clickhouse-shop", f"{LABEL}/shard": str(shard), f"{LABEL}/replica": "0"}
    labels |= {f"{LABEL}/cluster": cluster} if cluster else {}
    return Pod.decode(
        {
            "metadata": {"name": f"{cluster}-{shard}", "uid": "1", "labels": labels, **dict(metadata)},
            "spec": {"containers": [SERVER, SIDECAR], **spec},
            "status": {"podIP": "10.0.3.7", "conditions": [{"type": "Ready", "status": "True"}], **dict(status)},
        }
    )


def found(*pods: Pod) -> list[Place]:
    return places(SHOP, pods)


def urls(*pods: Pod) -> list[str]:
    return [place.url for place in found(*pods)]


# What counts as a sidecar


def test_the_address_is_the_pod_s_and_the_port_the_one_of_that_name_on_any_container():
    assert urls(pod()) == ["http://10.0.3.7:7272"]
    assert urls(pod(status={"podIP": "fd00::7"})) == ["http://[fd00::7]:7272"]
    (place,) = found(pod())
    assert (place.image, place.ready, place.pod_uid) == ("altinity/clickhouse-backup:2.7.4", True, "1")


def test_a_native_sidecar_counts_and_an_init_container_that_ends_does_not():
    native = {**SIDECAR, "restartPolicy": "Always"}
    statuses = {"initContainerStatuses": [{"name": "clickhouse-backup", "restartCount": 3}]}
    (place,) = found(pod(containers=[SERVER], initContainers=[native], status=statuses))
    assert (place.url, place.restarts) == ("http://10.0.3.7:7272", 3)
    assert found(pod(containers=[SERVER], initContainers=[SIDECAR])) == []


@pytest.mark.parametrize(
    ("value", "scheme"), [("true", "https"), ("1", "https"), ("T", "https"), ("false", "http"), ("yes", "http")]
)
def test_tls_where_the_container_says_so(value: str, scheme: str):
    secure = {**SIDECAR, "env": [{"name": "API_SECURE", "value": value}]}
    assert urls(pod(containers=[SERVER, secure])) == [f"{scheme}://10.0.3.7:7272"]


def test_dns_names_are_tried_only_where_no_pod_is_seen():
    assert urls() == [f"http://chi-clickhouse-shop-clickhouse-0-{replica}.tenant.svc:7171" for replica in (0, 1)]
    assert found(pod(containers=[SERVER])) == []
    assert found(pod(metadata={"deletionTimestamp": "2026-11-23T12:00:00Z"})) == []


def test_a_pod_without_an_address_has_no_url_and_is_not_ready():
    (place,) = found(pod(status={"podIP": ""}))
    assert (place.url, place.ready) == ("", False)


# Several clusters in one installation


def test_another_cluster_is_no_shard_and_is_said():
    both = found(pod(cluster="reports", shard=1), pod(cluster="reports"), pod())
    assert [(place.shard, place.cluster) for place in both] == [(0, "clickhouse"), (0, "reports"), (1, "reports")]
    said = layout_problem(SHOP, both)
    assert_one_sentence(said, "ClickHouse shop", "cluster reports", "only cluster clickhouse")
    assert layout_problem(SHOP, found(pod())) == layout_problem(SHOP, found(pod(cluster=None))) == ""


async def foreign_pod(stage: Stage) -> FakeSidecar:
    """A Pod of another cluster of the installation, as shard 1 of it."""
    sidecar = FakeSidecar(username=USERNAME, password=PASSWORD, storage=stage.app.sidecar(0).storage, path=APP)
    labels = {f"{LABEL}/chi": f"clickhouse-{APP}", f"{LABEL}/cluster": "reports"}
    labels |= {f"{LABEL}/shard": "1", f"{LABEL}/replica": "0"}
    body = {"metadata": {"name": "reports-1-0-0", "labels": labels}, "spec": {"containers": [SERVER, SIDECAR]}}
    await stage.kube.create(Pod, body, TENANT)
    status = {"podIP": stage.network.attach(sidecar), "conditions": [{"type": "Ready", "status": "True"}]}
    await stage.kube.merge_patch(Pod, "reports-1-0-0", {"status": status}, TENANT, status=True)
    return sidecar


async def without_foreign_pod(stage: Stage) -> None:
    other = await stage.kube.get(Pod, "reports-1-0-0", TENANT)
    await stage.kube.delete(Pod, "reports-1-0-0", TENANT, uid=other.metadata.uid)


async def test_a_job_waits_while_there_is_another_cluster_and_touches_neither():
    stage = await staged()
    await foreign_pod(stage)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "ShardsMissing")
        assert_one_sentence(job.status.message, "cluster reports")
        assert stage.touched() == []
        await without_foreign_pod(stage)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_job_that_is_deleted_cleans_up_in_its_own_cluster_alone():
    stage = await staged()
    slow(stage, 60)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        foreign = await foreign_pod(stage)
        await without_pod(stage)
        await stage.kube.delete(type(job), "nightly", TENANT, uid=job.metadata.uid)
        await anyio.sleep(30)
        assert foreign.requests == []
        await stage.app.start_pod(stage.kube, 1)
        await anyio.sleep(60)
    assert (stage.archives(), stage.local_copies()) == (set(), set())


# Whole runs


async def test_without_pods_a_backup_and_a_restore_go_by_dns_names():
    stage = await staged(pods=False, replicas=2)
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
        assert job.status.phase == "Succeeded", job.status.message
        assert recorded(await stage.made("nightly")) == stage.archives()
        assert len(stage.archives()) == 2
        drop(stage)
        undo = await stage.end_of(await stage.restore("undo", "nightly"))
    assert undo.status.phase == "Succeeded", undo.status.message
    assert rows(stage) == [100, 101]
    assert stage.local_copies() == set()


async def without_the_port(stage: Stage, shard: int = 1) -> None:
    """The Pod of a shard, created anew without the sidecar."""
    made = await stage.kube.get(whole(Pod), pod_name(shard), TENANT)
    await stage.kube.delete(Pod, pod_name(shard), TENANT, uid=made.metadata.uid)
    metadata = {"name": pod_name(shard), "labels": made.metadata.labels}
    await stage.kube.create(Pod, {"metadata": metadata, "spec": {"containers": [SERVER]}}, TENANT)
    await stage.app.report(stage.kube, shard, 0, address=made.raw["status"]["podIP"])


async def test_pods_without_the_port_are_named_with_what_switches_it_on():
    stage = await staged()
    for shard in (0, 1):
        await without_the_port(stage, shard)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "ShardsMissing")
    assert_one_sentence(job.status.message, f"ClickHouse {APP}", "port ch-backup-api", "spec.backup.enabled")


async def no_address(stage: Stage) -> None:
    await stage.app.report(stage.kube, 1, 0, address="")


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (no_address, "SidecarUnreachable", ("Pod", pod_name(1), "no address yet")),
        (without_the_port, "ShardsMissing", ("2 shards", "port ch-backup-api", "shard 1")),
    ],
    ids=["without an address", "without the port"],
)
async def test_a_shard_that_is_not_served_is_waited_for_and_named(change: Change, reason: str, words: tuple[str, ...]):
    stage = await staged()
    await change(stage)
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), reason)
        assert_one_sentence(job.status.message, *words)
    assert stage.touched() == []


# Versions


def asked_for_version(stage: Stage) -> list[int]:
    paths = [[request.path for request in stage.app.sidecar(shard).requests] for shard in (0, 1)]
    return [asked.count("/backup/version") for asked in paths]


async def test_a_version_is_asked_once_for_a_pod_an_image_and_a_restart():
    stage = await staged()

    async def backed_up(name: str) -> list[int]:
        job = await stage.end_of(await stage.backup(name))
        assert job.status.phase == "Succeeded", job.status.message
        return asked_for_version(stage)

    async with stage.managed():
        assert await backed_up("first") == [1, 1]
        assert await backed_up("second") == [1, 1]
        await stage.app.restart(stage.kube, 1)
        await anyio.sleep(10)
        assert await backed_up("restarted") == [1, 2]
        spec = (await stage.kube.get(whole(Pod), pod_name(1), TENANT)).raw["spec"]
        newer = [{**each, "image": f"{each['image']}.1"} for each in spec["containers"]]
        await patched(Pod, pod_name(1), {"spec": {"containers": newer}}, TENANT)(stage)
        assert await backed_up("upgraded") == [1, 3]
        await stage.app.replace_pod(stage.kube, 1)
        assert await backed_up("replaced") == [1, 4]
