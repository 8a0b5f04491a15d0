"""The command `cozydrivers purge`: its plan, its question, what it prints and how it ends."""

import json
import logging
from contextlib import AsyncExitStack

import anyio
import pytest
from tests.cozydrivers.backups import deletions, with_backups
from tests.cozydrivers.stage import APP, TENANT
from tests.cozydrivers.test_purge import daily, request
from typer.testing import CliRunner

from cozydrivers._cli_common import Output, exit_code, says_yes
from cozydrivers._cli_purge import Manner, run_purge
from cozydrivers.cli import app
from cozydrivers.errors import Forbidden, InvalidInput, NotFound
from cozydrivers.runtime.audit import LOGGER
from cozydrivers.testing.operators import PORT

pytestmark = pytest.mark.anyio


async def run(stage, *, delete_backups=True, **manner):
    asked = request(stage, orphans=delete_backups, delete_backups=delete_backups)
    return await run_purge(stage.kube, request=asked, manner=Manner(**manner), connect=stage.network.connect)


def said(answer, questions):
    def ask(question):
        questions.append(question)
        return answer

    return ask


async def test_a_dry_run_shows_the_plan_and_ends(capsys):
    stage = await daily("one", "two")
    assert await run(stage, dry_run=True) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["NAMESPACE", "APPLICATION", "SET", "TAKEN", "SIZE", "DECISION", "REASON"]
    assert [line.split()[:2] for line in out[1:3]] == [[TENANT, APP]] * 2
    assert "delete    no rule keeps it" in out[1]
    assert "keep      last 1 of 1" in out[2]
    assert out[3] == "1 to delete, 1 to keep; 16.2 kB to be freed"
    assert deletions(stage) == []


async def test_it_asks_and_a_no_is_no(capsys):
    questions: list[str] = []
    stage = await daily("one", "two")
    with pytest.raises(InvalidInput, match="nothing was deleted"):
        await run(stage, ask=said(False, questions))
    assert questions == ["Delete 1 sets (16.2 kB)?"]
    assert deletions(stage) == []
    assert await run(stage, ask=said(True, questions)) == 0
    assert len(deletions(stage)) == 2
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "2 archives deleted, 16.2 kB freed"
    assert told.err.count("deleted cozy-") == 2


async def test_without_a_terminal_it_says_so():
    stage = await daily("one", "two")
    with pytest.raises(InvalidInput, match="there is no terminal to ask on; --yes goes on") as refused:
        await run(stage, ask=says_yes)
    assert exit_code(refused.value) == 2
    assert deletions(stage) == []


async def test_as_json_it_is_one_document(capsys):
    stage = await daily("one", "two")
    assert await run(stage, yes=True, output=Output.JSON) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["backup"], row["delete"]) for row in told["plan"]["sets"]] == [
        (f"{TENANT}/one", True),
        (f"{TENANT}/two", False),
    ]
    assert [result["outcome"] for result in told["results"]] == ["deleted", "deleted"]
    assert told["plan"]["refused"] == told["problems"] == []


async def test_what_was_refused_is_shown_and_is_a_failure(capsys):
    stage = await daily("one", "two")
    stage.app.sidecar(0).faults.refuse = True
    assert await run(stage, yes=True) == 1
    assert await run(stage, dry_run=True) == 0
    assert "connection refused" in capsys.readouterr().out


async def test_it_says_when_nothing_can_go(capsys):
    stage = await daily("one", "two")
    assert await run(stage, delete_backups=False) == 0
    assert "nothing is deleted without --orphans or --delete-backups" in capsys.readouterr().err


def test_of_several_errors_the_first_tells_the_exit_code():
    assert exit_code(BaseExceptionGroup("", [Forbidden("no"), NotFound("no")])) == 3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-n", "tenant"], "no rule"),
        (["--keep-last", "1"], "--all-namespaces"),
        (["-A", "-n", "tenant", "--keep-last", "1"], "--all-namespaces"),
        (["-A", "--older-than", "soon"], "--older-than"),
        (["-A", "--keep-last", "1", "--kubeconfig", "/nowhere"], "no kubeconfig at /nowhere"),
    ],
)
def test_wrong_usage_is_told(arguments, word):
    result = CliRunner().invoke(app, ["purge", *arguments])
    assert result.exit_code == 2
    assert word in result.output


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_over_http_and_in_real_time(anyio_backend, tmp_path):
    stage = await with_backups("one", policy=None)
    path = tmp_path / "kubeconfig"
    async with AsyncExitStack() as stack:
        stage.cluster.kubeconfig(await stack.enter_async_context(stage.cluster.serve()), path)
        for address, sidecar in stage.network._sidecars.items():
            await stack.enter_async_context(sidecar.serve(address, PORT))
        options = ["-A", "--keep-last", "1", "--dry-run", "-o", "json", "--kubeconfig", str(path)]
        result = await anyio.to_thread.run_sync(CliRunner().invoke, app, ["purge", *options])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["plan"]["sets"]
    assert (row["namespace"], row["delete"], row["reason"]) == (TENANT, False, "last 1 of 1")


@pytest.fixture(autouse=True)
def audit_log_as_it_was():
    log = logging.getLogger(LOGGER)
    handlers, propagate = list(log.handlers), log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
