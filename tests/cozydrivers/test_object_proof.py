"""I2, by the object store: a part that is missing shows in no list, and the store itself is asked where it can be."""

import base64
import dataclasses
from datetime import timedelta

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.backups import archive_of, followed, with_backups
from tests.cozydrivers.checks import assert_one_sentence, assert_refused, backed_up, patched, reason_of, staged
from tests.cozydrivers.stage import CLASS, TENANT, condition

from chbackup import Archive
from cozydrivers.api.backups import BackupClass
from cozydrivers.api.core import Pod, Secret
from cozydrivers.controllers.audits import FIRST, SPREAD
from cozydrivers.drivers.clickhouse.coordinates import Storage, Unknown, secrets_of, storage_of
from cozydrivers.drivers.clickhouse.stored import Found, judge, read_table
from cozydrivers.testing.objects import ACCESS_KEY, SECRET_KEY

S3_SECRET = "clickhouse-my-clickhouse-backup-s3"


async def by(stage, verify):
    """Set the class's parameter."""
    strategy = stage.seed[1]["spec"]["strategies"][0]
    await patched(BackupClass, CLASS, {"spec": {"strategies": [{**strategy, "parameters": {"verify": verify}}]}})(stage)


def verified(thing):
    found = condition(thing, "Verified")
    return found.status, found.reason


async def damaged(stage, name, damage):
    """Do damage to shard 1's archive at the moment when its upload has ended, before anybody has looked."""
    job = await stage.backup(name)
    sidecar = stage.app.sidecar(1)
    while not (made := [archive for name, archive in sidecar.remote.items() if "s1of2" in name]):  # noqa: ASYNC110
        await anyio.sleep(0.001)
    while not sidecar.remote[made[0].name].good:  # noqa: ASYNC110
        await anyio.sleep(0.001)
    damage(made[0])
    return await stage.end_of(job)


def lose_a_part(archive):
    archive.remove_object(next(iter(archive.parts)))


def become_hollow(archive):
    """As an upload leaves it whose state file says that all of it is done (2.7.4)."""
    archive.parts.clear()
    archive.tables.clear()


class TestBackup:
    pytestmark = pytest.mark.anyio

    async def test_what_the_store_holds_in_full_is_proven(self):
        stage = await staged()
        async with stage.managed():
            job = await stage.end_of(await stage.backup("nightly"))
        assert verified(job) == verified(await stage.made_by(job)) == ("True", "ObjectsProven")
        assert {each.secret_key for each in stage.network.objects.opened} == {SECRET_KEY}
        assert SECRET_KEY not in repr(stage.network.objects.opened)

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lose_a_part, ("under shadow/", "shadow/shop/orders/default_all_1_1_0.tar is lost")),
            (become_hollow, ("under shadow/ have 0 bytes", "under metadata/ have 0 bytes")),
        ],
    )
    async def test_a_hollow_archive_is_no_backup(self, damage, words):
        stage = await staged()
        async with stage.managed():
            job = await damaged(stage, "nightly", damage)
        assert reason_of(job) == ("Failed", "EngineFailed")
        assert_one_sentence(job.status.message, "shard 1 replica 0", "is not proven", *words)
        assert (stage.archives(), stage.local_copies()) == (set(), set())

    async def test_nor_is_one_that_becomes_hollow_before_the_end(self):
        stage = await staged()
        stage.app.sidecar(0).duration.upload = 60
        async with stage.managed():
            job = await stage.backup("nightly")
            while not (archives := [name for name in stage.app.sidecar(1).remote if "s1of2" in name]):  # noqa: ASYNC110
                await anyio.sleep(1)
            await anyio.sleep(20)
            lose_a_part(stage.app.sidecar(1).remote[archives[0]])
            job = await stage.end_of(job)
        assert reason_of(job) == ("Failed", "EngineFailed")
        assert_one_sentence(job.status.message, "is no longer what was proven")

    async def test_a_store_that_cannot_be_asked_leaves_the_list_s_evidence_and_says_so(self):
        stage = await staged()
        stage.network.objects.fault = "the store is out of reach"
        async with stage.managed():
            job = await stage.end_of(await stage.backup("nightly"))
        assert job.status.phase == "Succeeded"
        assert verified(job) == verified(await stage.made_by(job)) == ("False", "ListEvidence")
        assert_one_sentence(condition(job, "Verified").message, "the store is out of reach")

    async def test_a_proof_that_is_asked_for_is_waited_for(self):
        stage = await staged()
        await by(stage, "objects")
        stage.network.objects.fault = "the store is out of reach"
        async with stage.managed():
            job = await stage.stands(await stage.backup("nightly"), "ObjectsNotReadable")
            assert_one_sentence(job.status.message, "the store is out of reach")
            stage.network.objects.fault = ""
            job = await stage.end_of(job)
        assert verified(job) == ("True", "ObjectsProven")

    async def test_but_not_for_ever(self):
        stage = await staged()
        await by(stage, "objects")
        stage.network.objects.fault = "the store is out of reach"
        async with stage.managed():
            job = await stage.stands(await stage.backup("nightly"), "ObjectsNotReadable")
            stage.later = timedelta(minutes=31)
            job = await stage.end_of(job)
        assert reason_of(job) == ("Failed", "TimedOut")
        assert (stage.archives(), stage.local_copies()) == (set(), set())

    async def test_a_list_that_is_asked_for_is_enough(self):
        stage = await staged()
        await by(stage, "list")
        async with stage.managed():
            job = await stage.end_of(await stage.backup("nightly"))
        assert verified(job) == ("False", "ListEvidence")
        assert stage.network.objects.opened == []

    async def test_anything_else_is_refused(self):
        stage = await staged()
        await by(stage, "Objects")
        async with stage.managed():
            job = await stage.end_of(await stage.backup("nightly"))
        assert_refused(stage, job, "parameters.verify", "'Objects'", "objects, list")

    async def test_another_bucket_than_the_sidecar_s_tells_nothing(self):
        stage = await staged()
        stage.network.objects.storages.clear()
        async with stage.managed():
            job = await stage.end_of(await stage.backup("nightly"))
        assert verified(job) == ("False", "ListEvidence")
        assert_one_sentence(condition(job, "Verified").message, "metadata.json, which the sidecar lists")

    async def test_keys_that_cannot_be_read_are_named_by_their_variable(self):
        stage = await staged()
        await stage.kube.merge_patch(Secret, S3_SECRET, {"data": {"secretKey": None}}, TENANT)
        async with stage.managed():
            job = await stage.end_of(await stage.backup("nightly"))
        assert verified(job) == ("False", "ListEvidence")
        assert_one_sentence(condition(job, "Verified").message, "S3_SECRET_KEY")

    async def test_what_has_lost_a_part_is_not_restored(self):
        stage = await backed_up()
        lose_a_part(next(archive for name, archive in stage.app.sidecar(1).remote.items() if "s1of2" in name))
        async with stage.managed():
            job = await stage.end_of(await stage.restore("undo", "nightly"))
        assert_refused(stage, job, "shard 1", "is not whole in the object store", "under shadow/")

    async def test_the_daily_look_finds_what_has_become_hollow(self):
        stage = await with_backups("older", "nightly")
        lose_a_part(stage.app.sidecar(1).remote[await archive_of(stage, "nightly", 1)])
        async with followed(stage) as controller:
            await anyio.sleep(FIRST + SPREAD + 60)
            assert not controller.audits_failed
        told = condition(await stage.made("nightly"), "Ready")
        assert (told.status, told.reason) == ("False", "ArchiveBroken")
        assert_one_sentence(told.message, "under shadow/")
        lists = [what for verb, what in stage.network.objects.requests[-4:] if verb == "list"]
        assert len(set(lists)) == 4
        assert "Ready" not in {told.type for told in (await stage.made("older")).status.conditions}


# What the objects of an archive say, without anything around them

JSON = b"""{"files": {"default": ["default_1.tar", "default_2.tar"]}, "table": "t", "database": "d",
"parts": {"default": [{"name": "0_1_1_0", "required": true}, {"name": "1_2_2_0"}]}, "total_bytes": 9}"""
UNPACKED = b'{"parts": {"default": [{"name": "0_1_1_0", "required": true}, {"name": "1_2_2_0"}]}}'
PACKED = {"shadow/d/t/default_1.tar": 1024, "shadow/d/t/default_2.tar": 512}
FILES = {"shadow/d/t/default/1_2_2_0/checksums.txt": 300, "shadow/d/t/default/1_2_2_0/id.bin": 30}
UNCOUNTED = {"metadata.json": 600, "configs.tar": 1, "access/x.jsonl": 1, "manifest.bolt.gz": 502}


def archive(content, objects):
    return Archive(
        name="a",
        location="remote",
        desc="tar, regular",
        compressed_size=sum(objects.values()),
        metadata_size=len(content),
    )


def found(content, objects):
    sizes = {**UNCOUNTED, "metadata/d/t.json": len(content), **objects}
    return Found(sizes, {"metadata/d/t.json": read_table(content)})


@pytest.mark.parametrize(("content", "objects"), [(JSON, PACKED), (UNPACKED, FILES), (b'{"table": "t"}', {})])
def test_a_whole_archive_has_no_problems(content, objects):
    assert judge(archive(content, objects), found(content, objects)) == []


@settings(max_examples=40)
@given(content_and_objects=st.sampled_from([(JSON, PACKED), (UNPACKED, FILES)]), data=st.data())
def test_each_object_that_is_lost_or_cut_shows(content_and_objects, data):
    content, objects = content_and_objects
    whole = found(content, objects)
    key = data.draw(st.sampled_from([key for key in whole.sizes if key not in UNCOUNTED]))
    size = data.draw(st.none() | st.integers(0, whole.sizes[key] - 1))
    sizes = {**whole.sizes, key: size} if size is not None else {k: v for k, v in whole.sizes.items() if k != key}
    assert judge(archive(content, objects), dataclasses.replace(whole, sizes=sizes))


def test_files_that_are_named_and_not_there_are_named():
    sizes = {"shadow/d/t/default_1.tar": 1024, "shadow/d/t/other.tar": 512}
    assert judge(archive(JSON, PACKED), found(JSON, sizes)) == ["shadow/d/t/default_2.tar is lost"]
    sizes = {"shadow/d/t/default/9_9_9_0/checksums.txt": 330}
    assert judge(archive(UNPACKED, FILES), found(UNPACKED, sizes)) == ["shadow/d/t/default/1_2_2_0 is lost"]


def test_a_table_that_cannot_be_read_is_named():
    assert judge(archive(b"no", {}), found(b"no", {})) == ["metadata/d/t.json is unreadable"]


# Where a sidecar keeps its archives

PLAIN = {"S3_BUCKET": "b", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s"}


def pod(environment, **spec):
    variables = [
        {"name": name, **({"value": value} if isinstance(value, str) else {"valueFrom": {"secretKeyRef": value}})}
        for name, value in environment.items()
    ]
    sidecar = {"name": "x", "ports": [{"name": "ch-backup-api", "containerPort": 7171}], "env": variables}
    mounts = {"volumeMounts": spec.pop("mounts", [])}
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{**sidecar, **mounts}], **spec}}
    return Pod.model_validate(body)


def secret(name, **values):
    data = {key.replace("_", "."): value for key, value in values.items()}
    return Secret.model_validate({"metadata": {"name": name}, "data": {k: _b64(v) for k, v in data.items()}})


def _b64(text):
    return base64.b64encode(text.encode()).decode()


def test_what_the_environment_does_not_say_is_the_server_s_default():
    storage = storage_of(pod(PLAIN), {})
    assert isinstance(storage, Storage)
    there = storage.coordinates
    assert (there.region, there.path_style, there.verify, there.ca) == ("us-east-1", False, True, "")
    assert (there.url, storage.prefix("a")) == ("https://b.s3.us-east-1.amazonaws.com", "a/")


def test_cozystack_s_pods_are_understood():
    """As its chart writes them: a Secret's keys, a host that becomes a URL, an authority that is mounted."""
    environment = {
        "REMOTE_STORAGE": "s3",
        "S3_FORCE_PATH_STYLE": {"name": "creds", "key": "forcePathStyle"},
        "S3_PATH": "tenant/clickhouse-shop",
        "S3_BUCKET": {"name": "creds", "key": "bucketName"},
        "S3_ENDPOINT_HOST": {"name": "creds", "key": "endpoint"},
        "S3_ENDPOINT": "https://$(S3_ENDPOINT_HOST)",
        "S3_REGION": {"name": "creds", "key": "region"},
        "S3_ACCESS_KEY": {"name": "creds", "key": "accessKey"},
        "S3_SECRET_KEY": {"name": "creds", "key": "secretKey"},
        "SSL_CERT_DIR": "/etc/ssl/cozy-s3-ca:/etc/ssl/certs",
    }
    volume = {"name": "ca", "secret": {"secretName": "authority", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    mounts = [{"name": "ca", "mountPath": "/etc/ssl/cozy-s3-ca", "readOnly": True}]
    it = pod(environment, volumes=[volume], mounts=mounts)
    assert secrets_of(it) == ["authority", "creds"]
    certificate = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
    creds = secret(
        "creds",
        forcePathStyle="true",
        bucketName="b",
        endpoint="s3.local:8333",
        region="",
        accessKey=ACCESS_KEY,
        secretKey=SECRET_KEY,
    )
    storage = storage_of(it, {"creds": creds, "authority": secret("authority", ca_crt=certificate, tls_key="x")})
    assert isinstance(storage, Storage)
    assert storage.coordinates.url == "https://s3.local:8333/b"
    assert (storage.coordinates.secret_key, storage.coordinates.ca) == (SECRET_KEY, certificate)
    assert storage.prefix("a") == "tenant/clickhouse-shop/a/"
    assert SECRET_KEY not in repr(storage)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"REMOTE_STORAGE": "gcs"}, "REMOTE_STORAGE"),
        ({"S3_PATH": "backups/{shard}"}, "macro"),
        ({"S3_ENDPOINT": "https://$(ABSENT)"}, "macro"),
        ({"S3_ASSUME_ROLE_ARN": "arn:x"}, "S3_ASSUME_ROLE_ARN"),
        ({"S3_ACCESS_KEY": "", "S3_SECRET_KEY": {"name": "absent", "key": "k"}}, "S3_ACCESS_KEY, S3_SECRET_KEY"),
        ({"S3_BUCKET": ""}, "S3_BUCKET"),
    ],
)
def test_what_cannot_be_told_is_said(change, word):
    unknown = storage_of(pod({**PLAIN, **change}), {})
    assert isinstance(unknown, Unknown)
    assert word in unknown.why
