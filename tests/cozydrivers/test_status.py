"""`cozydrivers status` and `cozydrivers import`, as they are typed: what they print, and how they end."""

import json
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import pytest
from tests.cozydrivers.checks import TABLE, without
from tests.cozydrivers.stage import APP, TENANT, Stage

from chbackup import ArchiveName
from cozydrivers._cli_common import Output
from cozydrivers._cli_status import age, show
from cozydrivers.admin.recoverability import ApplicationStatus, recoverability
from cozydrivers.api.backups import Backup
from cozydrivers.api.core import Pod
from cozydrivers.cli import app
from cozydrivers.drivers.base import GoodSet, Leftover, Recoverability
from cozydrivers.errors import InvalidInput
from cozydrivers.testing.operators import PORT, Installation

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
GOOD = GoodSet("nightly", "cozy-shop", NOW - timedelta(hours=26), 2_000_000, 3)
BAD = Leftover("older", "its archive is not in the store")


def told(capsys, found, *, in_full=False):
    """The lines that are printed of an application."""
    status = ApplicationStatus("tenant", "ClickHouse", "shop", found, NOW)
    show([status], Output.TABLE, in_full=in_full)
    return capsys.readouterr().out.splitlines()


def test_a_line_shows_the_last_good_backup_and_what_is_wrong(capsys):
    found = Recoverability(good=[GOOD], broken=[BAD], problems=["shard 1 is away", "shard 2 is away"])
    _, line = told(capsys, found)
    shown = ["nightly", "1d2h", "2.0 MB", "1", "3", "1 broken; shard 1 is away and 1 more"]
    assert re.split(" {2,}", line) == ["tenant", "ClickHouse", "shop", *shown]
    _, line = told(capsys, Recoverability())
    assert line.split() == ["tenant", "ClickHouse", "shop", "none", "0"]


def test_everything_is_told_of_what_was_asked_for_by_name(capsys):
    found = Recoverability(
        good=[GOOD, replace(GOOD, backup="first", chain=1, verified=False)],
        broken=[BAD],
        orphans=[Leftover("cozy-other", "whole", 1000)],
        replays=[Leftover("Restore undo", "runs again if its Job is deleted")],
        problems=["shard 1 is away"],
        lost_now=["everything"],
    )
    assert told(capsys, found, in_full=True)[3:] == [
        "ClickHouse tenant/shop",
        "  good: nightly, 1d2h ago, 2.0 MB, a chain of 3",
        "  good: first, 1d2h ago, 2.0 MB, never verified",
        "  broken: older: its archive is not in the store",
        "  orphan: cozy-other (1.0 kB): whole",
        "  replay in waiting: Restore undo: runs again if its Job is deleted",
        "  problem: shard 1 is away",
        "  would be lost now: everything",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0s"), (-5, "0s"), (59.9, "59s"), (3600, "1h"), (90061, "1d1h"), (86460, "1d")]
)
def test_an_age_has_its_two_greatest_units(seconds, words):
    assert age(seconds) == words


@pytest.mark.anyio
async def test_all_namespaces_are_looked_at_and_one_that_fails_hides_no_other():
    stage = Stage()
    await stage.set_up()
    other = Installation(stage.network, namespace="tenant-other", name="shop", shards=1)
    await other.deploy(stage.kube)
    await without(Pod, other.pod_name(0), "tenant-other")(stage)
    found = await recoverability(stage.kube, [stage.driver()], now=stage.now())
    assert [(each.namespace, each.name) for each in found] == [("tenant-other", "shop"), (TENANT, APP)]
    assert [bool(each.found.problems) for each in found] == [True, False]
    assert found[0].document()["lastGood"] is None
    with pytest.raises(InvalidInput, match=f"no application nothing in namespace {TENANT}"):
        await recoverability(stage.kube, [stage.driver()], namespace=TENANT, names=["nothing"], now=stage.now())


# As typed


@asynccontextmanager
async def typed(stage, tmp_path, capsys):
    """Yield what runs a command against the stage, on real ports; it returns exit code, stdout and stderr."""

    async def run(*arguments):
        given = [*arguments, "-n", TENANT, "--kubeconfig", str(tmp_path / "kubeconfig")]
        code = await anyio.to_thread.run_sync(lambda: app(given, standalone_mode=False))
        return code, *capsys.readouterr()

    async with AsyncExitStack() as stack:
        stage.cluster.kubeconfig(await stack.enter_async_context(stage.cluster.serve()), tmp_path / "kubeconfig")
        for pod in (await stage.kube.list(Pod, TENANT)).items:
            shard = int(pod.metadata.labels["clickhouse.altinity.com/shard"])
            await stack.enter_async_context(stage.app.sidecar(shard).serve(pod.status.pod_ip, PORT))
        yield run


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_sets_of_a_cluster_that_is_gone_are_imported_and_shown(anyio_backend, tmp_path, capsys):
    stage = Stage(shards=1)
    await stage.set_up()
    stage.app.sidecar(0).tables.add_table(TABLE, 100)
    taken = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    archive = ArchiveName(APP, "abcdef", taken, "0" * 12, attempt=1, shard=0, shards=1, replica=0)
    stage.app.sidecar(0).duration.create = stage.app.sidecar(0).duration.upload = 0.01
    async with stage.app.sidecar(0).client() as client:
        await (await client.create_remote(str(archive))).wait()
        await client.delete_local(str(archive))
    async with typed(stage, tmp_path, capsys) as run:
        code, out, _ = await run("status")
        assert code == 1
        assert "none" in out
        assert "1 sets of another namespace are listed" in out
        code, out, err = await run("import", APP)
        assert (code, "abcdef" in out, "--yes" in err) == (2, True, True)
        assert (await stage.kube.list(Backup, TENANT)).items == []
        code, out, _ = await run("import", APP, "--yes", "-o", "json")
        assert (code, json.loads(out)[0]["action"]) == (0, "imported")
        code, out, _ = await run("status", "-o", "json")
    (found,) = json.loads(out)
    assert (code, found["sound"], found["lastGood"]["backup"]) == (0, True, archive.set_name.lower())
    assert 7190 < found["lastGood"]["ageSeconds"] < 7300
