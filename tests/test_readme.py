"""What the README and the pages in docs/ say is so."""

import ast
import importlib
import io
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
import looptime
import pytest
import typer.main
import yaml
from rich.console import Console
from tests.cozydrivers import mariadb_stage
from tests.cozydrivers.backups import delete, says
from tests.cozydrivers.checks import STRATEGY, drop, gone, staged
from tests.cozydrivers.stage import APP, CLASS, TENANT

import chbackup.cli
import cozydrivers.cli
from cozydrivers import Manager
from cozydrivers.api.backups import Backup, BackupClass, BackupJob, Plan, RestoreJob
from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import Namespace
from cozydrivers.api.events import Event
from cozydrivers.api.strategy import Altinity, MariaDB
from cozydrivers.demo.play import play
from cozydrivers.drivers.mariadb import record
from cozydrivers.drivers.mariadb.options import _OPTIONS as OPTIONS
from cozydrivers.runtime.elector import REFERENCE_LEASES, Elector
from cozydrivers.testing import FakeCluster
from cozydrivers.testing.operators import JobRunner, PodRun, collect_garbage

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = PAGES["README.md"]
VIRTUAL = {"loop_factory": partial(looptime.new_event_loop, noop_cycles=0)}


def blocks(language, pages=PAGES):
    return [block for text in pages.values() for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("snippet", blocks("python"))
def test_a_snippet_compiles_and_its_names_exist(snippet):
    tree = ast.parse(snippet)
    compile(tree, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "chbackup":
            assert hasattr(chbackup, node.attr)


@pytest.mark.parametrize(("program", "app"), [("chbackup", chbackup.cli.app), ("cozydrivers", cozydrivers.cli.app)])
def test_commands_and_their_options_exist(program, app):
    shown = [*blocks("console"), *re.findall(rf"`({program} [^`]+)`", "\n".join(PAGES.values()))]
    found = re.findall(rf"\b{program} ([a-z]+)([^\n|)]*)", "\n".join(shown))
    commands = typer.main.get_group(app).commands
    assert found
    for name, rest in found:
        parameters = commands[name].params
        accepted = {option for each in parameters for option in (*each.opts, *each.secondary_opts)}
        assert accepted >= set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest)), name


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_can_be_read_and_the_manifests_in_it_are_accepted(block):
    manifests = [found for found in yaml.safe_load_all(block) if "apiVersion" in found]
    anyio.run(apply, manifests, backend_options=VIRTUAL)


async def apply(objects):
    kube = FakeCluster(crds=[ROOT / "fixtures/crds"]).kube()
    await kube.create(Namespace, {"metadata": {"name": TENANT}})
    kinds = {kind.resource.kind: kind for kind in (BackupJob, RestoreJob, Plan, BackupClass, Altinity, MariaDB)}
    for found in objects:
        kind = kinds[found["kind"]]
        await kube.create(kind, found, TENANT if kind.resource.namespaced else None)


def test_make_targets_exist():
    named = re.findall(r"^make (\w+)", "\n".join(blocks("")), re.MULTILINE) + re.findall(r"`make (\w+)`", README)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= set(named) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    folder = ROOT if page == "README.md" else ROOT / "docs"
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PAGES[page]) if "://" not in link]
    assert [link for link in links if not (folder / link).exists()] == []


def sections(text):
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_sections_that_exist(page):
    links = re.findall(r"\]\((?:docs/)?([\w.-]*)#([^)]+)\)", PAGES[page])
    assert [link for link in links if link[1] not in sections(PAGES[link[0] or page])] == []


def test_the_table_of_options_is_complete():
    table = PAGES["cozydrivers.md"].partition("## The command")[2]
    (run,) = (command for name, command in typer.main.get_group(cozydrivers.cli.app).commands.items() if name == "run")
    options = {option for each in run.params for option in (*each.opts, *each.secondary_opts)}
    assert set(re.findall(r"`(--?[a-z-]+)`", table)) == options


def prefixed():
    """What stands behind a prefix in the source: the prefix and the name."""
    for path in (ROOT / "src/cozydrivers").rglob("*.py"):
        for recorded, name in re.findall(r'(\brecord\.|\b)PREFIX \+ "([a-z-]+)"', path.read_text()):
            module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
            yield (module.record if recorded else module).PREFIX, name


def test_annotations_and_finalizers_are_described():
    prefix, page = "cozydrivers.cozystack.io/", PAGES["cozydrivers.md"]
    source = "".join(path.read_text() for path in (ROOT / "src/cozydrivers").rglob("*.py"))
    names = {name for found, name in prefixed() if found == prefix} | set(re.findall(rf'"{prefix}([a-z-]+)"', source))
    assert {"pause", "checkpoint", "cleanup", "witness", "run"} <= names
    assert {name for name in names if f"`{name}`" not in page and f"`{prefix}{name}`" not in page} == set()


def test_what_a_backup_of_mariadb_records_is_described():
    texts = dict.fromkeys(("name", "storage", "cluster", "prefix", "file", "claim", "claim_uid"), "x")
    written = record.write(record.Recorded(taken_at=datetime.now(UTC), size=1, databases=("x",), **texts), "x")
    names = {name for found, name in prefixed() if found == record.PREFIX}
    names |= {key.removeprefix(record.PREFIX) for key in written}
    page = PAGES["mariadb.md"].partition("## What a Backup records")[2]
    assert {"schema", "claim-uid", "imported", "storage-uri"} <= names
    assert {name for name in names if f"`{name}`" not in page} == set()


NO_REASONS = "Application Backup Complete Failed False Name Namespace Never Ready Release State Succeeded True Unknown"
"""Words in quotes that the driver of MariaDB does not say of its jobs."""


def test_what_mariadb_says_is_described():
    """The reasons that its jobs wait for and end by, its events and conditions, and the options of its restores."""
    code = "".join(path.read_text() for path in (ROOT / "src/cozydrivers/drivers/mariadb").glob("*.py"))
    said = set(re.findall(r'"([A-Z][A-Za-z]+)"', code)) - set(NO_REASONS.split()) - {"Suspicious", "Waiting", "Word"}
    page = PAGES["mariadb.md"]
    assert {"MariaDBMissing", "TargetBusy", "Restoring", "DumpNotDeleted", "HalfRestored", "DumpFound"} <= said
    assert {reason for reason in said if f"`{reason}`" not in page} == set()
    assert {option for option in OPTIONS if f"| `{option}` |" not in page} == set()


def test_the_demo_prints_what_the_readme_shows():
    output = io.StringIO()
    failures = anyio.run(play, Console(file=output, width=120), backend_options=VIRTUAL)
    printed = iter([line.rstrip() for line in output.getvalue().splitlines()])
    shown = [line for line in blocks("text")[0].splitlines() if line != "…"]
    assert [line for line in shown if line not in printed] == []  # in this order: `in` uses up the iterator
    assert failures == 0


def rights():
    """The pairs of the table of rights."""
    table = PAGES["cozydrivers.md"].partition("## Rights")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    return {
        (verb, resource + ("" if group == "core" else f".{group}"))
        for group, resources, verbs in (row for row in rows if len(row) == 3)
        for resource in resources.split(", ")
        for verb in verbs.split(", ")
    }


@asynccontextmanager
async def at_work_with_these_rights(stage):
    """A controller that leads, beside the Leases of Cozystack's own, and may do what the table says and no more."""
    for name in ("cozydrivers", "cozy-backup-controller"):
        await stage.kube.create(Namespace, {"metadata": {"name": name}})
    for name in REFERENCE_LEASES:
        await stage.kube.create(Lease, {"metadata": {"name": name}, "spec": {}}, "cozy-backup-controller")
    stage.cluster.add_user("controller", "token", rights())
    limited = stage.cluster.kube("token")
    elector = Elector(limited, "cozydrivers", "cozydrivers", "one", now=stage.now)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Manager(limited, drivers=[stage.driver()], elector=elector, now=stage.now).run)
        yield
        tasks.cancel_scope.cancel()


async def reasons(stage):
    return {event.reason for event in (await stage.kube.list(Event, TENANT)).items}


async def play_by_sidecars():
    """A backup, a restore, a refusal, and a deletion with archives."""
    stage = await staged()
    await says(stage, "Delete")
    async with at_work_with_these_rights(stage):
        backup = await stage.end_of(await stage.backup("nightly"))
        drop(stage)
        restore = await stage.end_of(await stage.restore("back", "nightly"))
        await stage.end_of(await stage.backup("refused", applicationRef={"kind": "ClickHouse", "name": "absent"}))
        await delete(stage, "nightly")
        await gone(stage, Backup, "nightly")
        leases = (await stage.kube.list(Lease)).items
        leading = {lease.metadata.name for lease in leases if lease.spec.holder_identity in ("one", "cozydrivers")}
        return (backup.status.phase, restore.status.phase), leading, await reasons(stage), stage.archives()


async def play_by_the_operator():
    """Of MariaDB a backup, a restore, a dump that fails, and a deletion with its dump."""
    stage = await mariadb_stage.staged()
    await stage.parameters(deletionPolicy="Delete")
    async with anyio.create_task_group() as tasks, at_work_with_these_rights(stage):
        tasks.start_soon(stage._world)
        backup = await stage.end_of(await stage.backup("nightly"))
        restore = await stage.end_of(await stage.restore("back", "nightly"))
        stage.pods.fail("dump_fails", times=3)
        bad = await stage.end_of(await stage.backup("bad"))
        await delete(stage, "nightly")
        await gone(stage, Backup, "nightly")
        tasks.cancel_scope.cancel()
    phases = [job.status.phase for job in (backup, restore, bad)]
    return phases, bad.status.message, await reasons(stage), stage.bucket.keys


async def play_a_plan():
    """A Plan that starts jobs, and deletes one whose Backup is gone."""
    stage = await staged()
    limit = {"cozydrivers.cozystack.io/successful-jobs-history-limit": "0"}
    spec = {"applicationRef": {"kind": "ClickHouse", "name": APP}, "backupClassName": CLASS}
    schedule = {"type": "cron", "cron": "* * * * *"}
    body = {"metadata": {"name": "often", "annotations": limit}, "spec": {**spec, "schedule": schedule}}
    async with at_work_with_these_rights(stage):
        await stage.kube.create(Plan, body, TENANT)
        await anyio.sleep(150)
        first = (await stage.kube.list(BackupJob, TENANT)).items[0]
        await stage.end_of(first)
        await delete(stage, first.metadata.name)
        await gone(stage, BackupJob, first.metadata.name)
        plan = await stage.kube.get(Plan, "often", TENANT)
        return {told.type: told.status for told in plan.status.conditions}, await reasons(stage)


async def play_in_pods():
    """In pod mode a backup, one whose script fails, and one that is deleted while it runs."""
    stage = await staged()
    script = "run {{ .Mode }} {{ .Archive }} on {{ .Host }}"
    container = {"name": "client", "image": "alpine:3.19", "args": [script]}
    metadata = {"annotations": {"cozydrivers.cozystack.io/execution": "pod"}}
    spec = {"template": {"spec": {"containers": [container]}}}
    await stage.kube.merge_patch(Altinity, STRATEGY, {"metadata": metadata, "spec": spec})
    run = PodRun(seconds=5)
    runner = JobRunner(stage.cluster, lambda pod: run)

    async def steps():
        while True:
            runner.step()
            collect_garbage(stage.cluster)
            await anyio.sleep(1)

    async with anyio.create_task_group() as tasks, at_work_with_these_rights(stage):
        tasks.start_soon(steps)
        good = await stage.end_of(await stage.backup("good"))
        run = PodRun(seconds=5, exit_code=1, log="no such table\n")
        bad = await stage.end_of(await stage.backup("bad"))
        run = PodRun(seconds=3600)
        cut = await stage.backup("cut")
        await anyio.sleep(30)
        await stage.kube.delete(BackupJob, "cut", TENANT, uid=cut.metadata.uid)
        await gone(stage, BackupJob, "cut")
        tasks.cancel_scope.cancel()
    return good.status.phase, bad.status.message


def test_the_rights_in_the_docs_suffice():
    ends, leading, said, archives = anyio.run(play_by_sidecars, backend_options=VIRTUAL)
    assert ends == ("Succeeded", "Succeeded")
    assert leading == {"cozydrivers", *REFERENCE_LEASES}
    assert said == {"Refused", "ArchiveDeleted"}
    assert archives == set()


def test_they_suffice_for_mariadb():
    phases, message, said, keys = anyio.run(play_by_the_operator, backend_options=VIRTUAL)
    assert phases == ["Succeeded", "Succeeded", "Failed"]
    assert "Lost connection" in message  # the Pod's log
    assert said == {"SafetyCopy", "Restoring", "EngineFailed", "ArchiveDeleted"}
    assert [key.partition("/")[2][:5] for key in keys] == ["back-"]  # the safety dump


def test_they_suffice_for_a_plan():
    conditions, said = anyio.run(play_a_plan, backend_options=VIRTUAL)
    assert conditions == {"Error": "False", "Ready": "True"}
    assert said == set()


def test_they_suffice_for_pod_mode():
    good, message = anyio.run(play_in_pods, backend_options=VIRTUAL)
    assert good == "Succeeded"
    assert "no such table" in message
