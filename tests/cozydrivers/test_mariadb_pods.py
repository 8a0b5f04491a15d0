"""What the Pods of mariadb-operator's Jobs do, and what goes wrong in them."""

import bz2
import gzip
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.mariadbs import FAILED, RUNNING, S3, SPACE, SUCCEEDED, Scene

from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.api.core import Secret
from cozydrivers.api.mariadb import Backup, Restore
from cozydrivers.testing.buckets import FORBIDDEN
from cozydrivers.testing.dumps import FakeDatabase, Fault, SqlError
from cozydrivers.testing.mariadb import Version

pytestmark = pytest.mark.anyio

NEVER: dict[str, Any] = {"restartPolicy": "Never", "backoffLimit": 2}
ROWS = [(1, "a"), (2, "it's b")]
AT = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


class Pod(KubeObject):
    resource = Resource("", "v1", "Pod", "pods", namespaced=True)


async def _scene(version: Version = "25.10.2") -> Scene:
    scene = Scene(version)
    await scene.set_up()
    return scene


async def _pods(scene: Scene) -> list[dict[str, Any]]:
    return [pod.raw for pod in (await scene.kube.list(Pod, SPACE)).items]


async def _waiting(scene: Scene) -> set[str]:
    """Why containers don't start."""
    kinds = ("initContainerStatuses", "containerStatuses")
    found = [item for pod in await _pods(scene) for kind in kinds for item in pod["status"].get(kind, ())]
    return {item["state"]["waiting"]["reason"] for item in found if "waiting" in item["state"]} - {"PodInitializing"}


def _stored(scene: Scene, name: str, text: str = "") -> None:
    """Put a dump that sets one row into the bucket."""
    line = f"CREATE TABLE `orders` (`c0` text);\nINSERT INTO `orders` VALUES ('{text}');\n"
    content = f"USE `shop`;\nDROP TABLE IF EXISTS `orders`;\n{line}".encode()
    scene.bucket.put(f"t1/mdb/{name}", gzip.compress(content) if "gz" in name else content, AT)


def _second(key: str) -> str:
    return key.partition("backup.")[2][:20]


# Names


@pytest.mark.parametrize(
    ("version", "compression", "ending"),
    [
        ("25.10.2", "none", ".sql"),
        ("25.10.2", "gzip", ".gzip.sql"),
        ("25.10.2", "bzip2", ".bzip2.sql"),
        ("26.6.0", "none", ".sql"),
        ("26.6.0", "gzip", ".sql.gz"),
        ("26.6.0", "bzip2", ".sql.bz2"),
    ],
)
async def test_a_dump_is_named_by_the_second_its_init_container_started_in(version, compression, ending):
    scene = await _scene(version)
    await scene.backup(compression=compression)
    await scene.run()
    (key,) = scene.bucket.keys
    (pod,) = await _pods(scene)
    (init,) = pod["status"]["initContainerStatuses"]
    assert key == f"t1/mdb/backup.{init['state']['terminated']['startedAt']}{ending}"
    content = scene.bucket.content(key)
    layer = {"gzip": gzip.decompress, "bzip2": bz2.decompress}.get(compression)
    opened = (layer(content) if layer else content).decode()
    assert opened.startswith("/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19-11.8.2-MariaDB")
    assert opened.splitlines()[-1].startswith("-- Dump completed on 2026-11-23")


async def test_a_name_can_be_later_than_its_container():
    scene = await _scene()
    scene.pods.late = timedelta(seconds=1)
    await scene.backup()
    await scene.run()
    (pod,) = await _pods(scene)
    assert _second(scene.bucket.keys[0]) > pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["startedAt"]


# Which dump a restore takes


CHOICES: list[tuple[Version, str, list[str], str]] = [
    ("25.10.2", "2026-11-20T10:00:00Z", ["2026-11-20T09:00:00Z.sql", "2026-11-20T10:00:30Z.sql"], "10:00:30"),
    ("26.6.0", "2026-11-20T10:00:00Z", ["2026-11-20T09:00:00Z.sql", "2026-11-20T10:00:30Z.sql"], "09:00:00"),
    ("25.10.2", "2026-11-20T09:00:00Z", ["2026-11-20T09:00:00Z.sql", "2026-11-20T09:00:01Z.sql"], "09:00:00"),
    ("25.10.2", "2026-11-20T10:00:00Z", ["2026-11-20T10:00:00Z.sql.gz", "2026-11-19T09:00:00Z.sql"], "09:00:00"),
    ("26.6.0", "2026-11-20T10:00:00Z", ["2026-11-20T10:00:00Z.gzip.sql", "2026-11-19T09:00:00Z.sql"], "10:00:00"),
    ("25.10.2", "2026-11-20T10:00:00Z", ["2026-11-20T10:00:00.5Z.sql", "2026-11-19T09:00:00Z.sql"], "09:00:00"),
    ("25.10.2", "2026-11-20T10:00:00Z", ["2026-11-20T12:00:00+02:00.sql", "2026-11-20T10:00:01Z.sql"], "12:00:00"),
    ("26.6.0", "2026-11-20T10:00:00Z", ["2026-11-20T10:00:01Z.sql"], ""),
    ("25.10.2", "2026-11-20T10:00:00Z", ["2026-11-20T10:00:01Z.sql"], "10:00:01"),
    ("25.10.2", "2026-11-20T10:00:00Z", ["2026-11-20T10:00:00Z.sql.gz"], ""),
    ("25.10.2", "2026-11-20T10:00:00Z", ["sub/backup.2026-11-20T10:00:00Z.sql"], ""),
]


@pytest.mark.parametrize(("version", "target", "names", "chosen"), CHOICES)
async def test_which_dump_a_restore_takes(version: Version, target: str, names: list[str], chosen: str):
    scene = await _scene(version)
    for name in names:
        _stored(scene, name if "/" in name else f"backup.{name}", text=name[11:19])
    await scene.restore(s3=S3, targetRecoveryTime=target, **NEVER)
    if chosen:
        await scene.run(7)
        assert scene.server.rows("shop", "orders") == [(chosen,)]
    else:
        await scene.run(7)
        assert "no valid backup files were found" in "".join(scene.cluster.logs.values())
        assert scene.server.rows("shop", "orders") == ROWS


# Retention


async def test_at_its_end_a_backup_deletes_what_is_too_old_of_its_own_prefix_alone():
    scene = await _scene()
    kept = ["backup.2026-11-22T12:00:00Z.sql", "backup.2026-11-01T00:00:00Z.sql.gz", "notes.sql"]
    for name in ("backup.2026-11-01T00:00:00Z.sql", *kept):
        _stored(scene, name)
    scene.bucket.put("t1/mdb2/backup.2026-11-01T00:00:00Z.sql", b"", AT)
    await scene.backup(maxRetention="24h")
    await scene.run()
    assert {key for key in scene.bucket.keys if "2026-11-23" not in key} == {
        "t1/mdb2/backup.2026-11-01T00:00:00Z.sql",
        *(f"t1/mdb/{name}" for name in kept),
    }


# Faults


async def test_after_a_push_that_failed_the_container_compresses_again():
    scene = await _scene()
    scene.pods.fail("push_fails")
    await scene.backup()
    await scene.run()
    assert await scene.told(Backup, "b1") == SUCCEEDED
    (key,) = scene.bucket.keys
    assert gzip.decompress(gzip.decompress(scene.bucket.content(key))).startswith(b"/*M!")
    (pod,) = await _pods(scene)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1
    await scene.restore(**NEVER)
    await scene.run(60)
    assert await scene.told(Restore, "r1") == FAILED
    assert scene.server.rows("shop", "orders") == ROWS


async def test_with_restart_policy_never_another_pod_makes_another_dump():
    scene = await _scene()
    scene.pods.fail("push_fails")
    await scene.backup(**NEVER)
    await scene.run(25)
    assert await scene.told(Backup, "b1") == SUCCEEDED
    (key,) = scene.bucket.keys
    assert gzip.decompress(scene.bucket.content(key)).startswith(b"/*M!")
    failed, good = sorted(await _pods(scene), key=lambda pod: str(pod["status"]["startTime"]))
    assert [failed["status"]["phase"], good["status"]["phase"]] == ["Failed", "Succeeded"]
    assert _second(key) == good["status"]["initContainerStatuses"][0]["state"]["terminated"]["startedAt"]


async def test_restarts_count_as_retries():
    scene = await _scene()
    scene.pods.fail("push_fails", times=99)
    await scene.backup(backoffLimit=2)
    await scene.run(15)
    assert await scene.told(Backup, "b1") == FAILED


@pytest.mark.parametrize(("fault", "dumps"), [("killed_in_upload", 1), ("killed_after_upload", 2)])
async def test_a_pod_that_is_killed_leaves_its_dump_or_none(fault: Fault, dumps: int):
    scene = await _scene()
    scene.pods.fail(fault)
    await scene.backup(**NEVER)
    await scene.run(25)
    assert await scene.told(Backup, "b1") == SUCCEEDED
    assert len(scene.bucket.keys) == dumps


@pytest.mark.parametrize("fault", ["dump_fails", "disk_full"])
async def test_a_dump_that_fails_leaves_nothing_in_the_bucket(fault: Fault):
    scene = await _scene()
    scene.pods.fail(fault, times=9)
    await scene.backup(**{**NEVER, "backoffLimit": 1})
    await scene.run(25)
    assert await scene.told(Backup, "b1") == FAILED
    assert scene.bucket.keys == []


async def test_a_dump_that_ends_early_counts_as_one():
    scene = await _scene()
    scene.pods.fail("truncated_dump", job="short")
    scene.pods.fail("empty_dump", job="empty")
    await scene.backup("short")
    await scene.backup("empty", storage={"s3": {**S3, "prefix": "e"}})
    await scene.run()
    assert [await scene.told(Backup, name) for name in ("short", "empty")] == [SUCCEEDED, SUCCEEDED]
    empty, short = (gzip.decompress(scene.bucket.content(key)) for key in scene.bucket.keys)
    assert empty == b""
    assert b"-- Dump completed" not in short


async def test_a_restore_that_fails_midway_leaves_a_half():
    scene = await _scene()
    for table in ("a", "b", "c", "d"):
        scene.server.add("shop", table, (1,))
    await scene.backup()
    await scene.run()
    scene.server.databases["shop"] = {}
    scene.pods.fail("restore_fails_midway", times=9)
    await scene.restore(**NEVER)
    await scene.run(60)
    assert await scene.told(Restore, "r1") == FAILED
    assert 0 < len(scene.server.databases["shop"]) < 5


async def test_a_pod_that_is_killed_while_it_loads_leaves_a_half():
    scene = await _scene()
    await scene.backup()
    await scene.run()
    scene.server.add("shop", "orders", (3, "new"))
    scene.pods.load_seconds = 20
    await scene.restore(**NEVER)
    await scene.until(lambda: any(done.what == "loading" for done in scene.pods.done))
    await scene.run(12)
    await scene.delete(Restore, "r1")
    await scene.run(20)
    assert {pod["metadata"]["labels"]["job-name"] for pod in await _pods(scene)} == {"b1"}
    assert not any(done.what == "loaded" for done in scene.pods.done)


async def test_a_slow_pod_runs_for_hours():
    scene = await _scene()
    scene.pods.fail("slow")
    await scene.backup()
    await scene.run(60)
    assert await scene.told(Backup, "b1") == RUNNING


@pytest.mark.parametrize("secret", ["s3creds", "root"])
async def test_a_secret_that_is_missing_fails_nothing_and_is_waited_for(secret: str):
    scene = await _scene()
    known = (await scene.get(Secret, secret)).metadata
    data = scene.cluster.act("GET", f"/api/v1/namespaces/{SPACE}/secrets/{secret}")["data"]
    await scene.kube.delete(Secret, secret, SPACE, uid=known.uid)
    await scene.backup()
    await scene.run(10)
    assert await scene.told(Backup, "b1") == RUNNING
    assert await _waiting(scene) == {"CreateContainerConfigError"}
    await scene.kube.create(Secret, {"metadata": {"name": secret}, "data": data}, SPACE)
    await scene.run(12)
    assert await scene.told(Backup, "b1") == SUCCEEDED


async def test_certificates_that_are_missing_are_waited_for():
    scene = await _scene()
    tls = {"enabled": True, "caSecretKeyRef": {"name": "ca", "key": "ca.crt"}}
    await scene.backup(storage={"s3": {**S3, "tls": tls}})
    await scene.run()
    assert await _waiting(scene) == {"ContainerCreating"}


async def test_an_image_that_can_not_be_pulled_fails_nothing():
    scene = await _scene()
    scene.pods.fail("image_pull")
    await scene.backup()
    await scene.run(20)
    assert await _waiting(scene) == {"ImagePullBackOff"}
    assert await scene.told(Backup, "b1") == RUNNING


@pytest.mark.parametrize("place", [{"bucket": "xx"}, {"endpoint": "http://minio:9000"}, {"endpoint": "other:9000"}])
async def test_a_place_that_is_not_there_is_found_out_by_the_job_alone(place: dict[str, str]):
    scene = await _scene()
    await scene.backup(storage={"s3": {**S3, **place}}, **{**NEVER, "backoffLimit": 0})
    await scene.run(3)
    assert await scene.told(Backup, "b1") == RUNNING
    assert scene.bucket.keys == []


async def test_a_bucket_that_refuses_fails_the_push():
    scene = await _scene()
    scene.bucket.fault = FORBIDDEN
    await scene.backup(**{**NEVER, "backoffLimit": 1})
    await scene.run(25)
    assert await scene.told(Backup, "b1") == FAILED
    assert FORBIDDEN in "".join(scene.cluster.logs.values())


# What a dump holds


async def test_one_database_of_a_dump_and_tables_that_came_later():
    scene = await _scene()
    scene.server.add("other", "t", (1,))
    await scene.backup()
    await scene.run()
    scene.server.add("shop", "orders", (3, "new"))
    scene.server.add("other", "t", (2,))
    scene.server.add("shop", "later", (9,))
    await scene.restore(database="shop")
    await scene.run()
    assert scene.server.rows("shop", "orders") == ROWS
    assert scene.server.rows("other", "t") == [(1,), (2,)]
    assert scene.server.rows("shop", "later") == [(9,)]


async def test_a_database_that_is_not_there_fails_its_restore_and_its_dump():
    scene = await _scene()
    await scene.backup()
    await scene.run()
    await scene.restore(database="nope", **{**NEVER, "backoffLimit": 1})
    await scene.backup("b2", databases=["nope"], **{**NEVER, "backoffLimit": 1})
    await scene.run(30)
    assert await scene.told(Restore, "r1") == FAILED
    assert await scene.told(Backup, "b2") == FAILED


@pytest.mark.parametrize(("ignored", "password"), [(True, "new"), (False, "old")])
async def test_a_restore_rolls_passwords_back_unless_the_dump_left_them_out(ignored: bool, password: str):
    scene = await _scene()
    scene.server.users["app"] = "old"
    await scene.backup(ignoreGlobalPriv=ignored)
    await scene.run()
    scene.server.users["app"] = "new"
    await scene.restore()
    await scene.run()
    assert scene.server.users["app"] == password


async def test_with_another_root_password_nothing_is_dumped():
    scene = await _scene()
    scene.server.users["root"] = "changed"
    await scene.backup(**{**NEVER, "backoffLimit": 1})
    await scene.run(25)
    assert await scene.told(Backup, "b1") == FAILED
    assert "Access denied" in "".join(scene.cluster.logs.values())


VALUES = st.one_of(st.none(), st.integers(-9, 9), st.text(max_size=9))


@settings(max_examples=30)
@given(st.lists(st.tuples(VALUES, VALUES), max_size=4))
def test_what_is_dumped_is_what_is_loaded(rows: list[tuple[Any, ...]]):
    server, copy = FakeDatabase({"d": {"t": rows}}), FakeDatabase()
    server.users["app"] = "pass'word"
    copy.load(server.dump(AT, host="h").encode())
    assert (copy.databases, copy.users) == (server.databases, server.users)


def test_what_is_compressed_is_no_dump():
    with pytest.raises(SqlError, match="ASCII"):
        FakeDatabase().load(gzip.compress(b"USE `d`;"))
