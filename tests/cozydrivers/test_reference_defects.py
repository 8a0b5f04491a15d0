"""What Cozystack's own strategy for ClickHouse gets wrong (seen at 3c780acd), and which test shows that we do not.

| what it does | what shows that we do not |
|---|---|
| backs up the first Pod only, and says success | here: every shard |
| goes on when a sidecar does not answer in 5 minutes | `test_bad_input.py`: absent sidecar, readiness |
| fails at a 423 | here: a 423; `test_patience.py`: a busy sidecar |
| polls for ever after a kill or `/restart` | `test_at_most_once.py`: by hand, restarts of the server |
| polls for ever after a sidecar's restart | `test_at_most_once.py`, `test_crashes.py`; `test_patience.py`: stays away |
| takes any row that ends with its text for its own | here: a row that ends so |
| restores the newest of a prefix, broken or another's | here: the archive that its Backup names |
| restores a local copy that is left from before | here: a stale local copy |
| never deletes an archive | `test_backup_deletion.py` |
| has the password in a process's arguments | `test_secrets.py` |
"""

import json

import pytest
from tests.cozydrivers.checks import TABLE, drop, rows, staged, submitted
from tests.cozydrivers.stage import APP, recorded

from chbackup import parse_archive_name

pytestmark = pytest.mark.anyio


async def test_every_shard_is_backed_up_and_named():
    stage = await staged(shards=3, replicas=2)
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    made = [parse_archive_name(archive) for archive in recorded(await stage.made("nightly"))]
    assert sorted((name.shard, name.shards) for name in made if name) == [(0, 3), (1, 3), (2, 3)]
    assert len(stage.archives()) == 3


async def test_a_423_is_waited_out():
    stage = await staged()
    busy = json.dumps({"status": "error", "operation": "create_remote", "error": "another operation is in progress"})
    stage.app.sidecar(1).faults.replace_reply(423, busy, path="/backup/create_remote", times=3)
    async with stage.managed():
        job = await stage.end_of(await stage.backup("nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    assert recorded(await stage.made("nightly")) == stage.archives()


async def test_a_row_that_ends_with_the_archive_s_name_is_not_its_own():
    """Not even where a lost reply leaves nothing but the name to go by."""
    stage = await staged()
    stage.app.sidecar(1).faults.lose_reply(after_work=False, path="/backup/create_remote")
    async with stage.managed():
        job = await stage.stands(await stage.backup("nightly"), "LookingForSubmission")
        (name,) = [name for name in submitted([stage.app]) if "-s1of2" in name]
        stage.app.sidecar(1).occupy(f"create_remote older-{name}", seconds=1)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert recorded(await stage.made("nightly")) == stage.archives()
    assert set(submitted([stage.app]).values()) == {1}


async def test_a_restore_takes_the_archive_that_its_backup_names():
    """Neither the newest, nor one that is broken, nor another application's whose name begins the same."""
    stage = await staged()
    async with stage.managed():
        await stage.end_of(await stage.backup("first"))
        for shard in (0, 1):
            tables = stage.app.sidecar(shard).tables
            tables.drop(TABLE)
            tables.add_table(TABLE, 7)
        await stage.end_of(await stage.backup("second"))
        stage.app.sidecar(0).add_remote(f"clickhouse-{APP}-20991231T000000")
        stage.app.sidecar(0).add_remote(f"clickhouse-{APP}-other-20991231T000000", broken=True)
        drop(stage)
        job = await stage.end_of(await stage.restore("undo", "first"))
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]


async def test_a_stale_local_copy_is_not_restored():
    stage = await staged()
    async with stage.managed():
        await stage.end_of(await stage.backup("nightly"))
        drop(stage)
        for name in recorded(await stage.made("nightly")):
            for shard in (0, 1):
                stage.app.sidecar(shard).add_local(name)
        job = await stage.end_of(await stage.restore("undo", "nightly"))
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [100, 101]
