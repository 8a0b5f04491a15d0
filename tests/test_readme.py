"""What the README and the pages in docs/ say is so."""

import ast
import importlib
import io
import re
from pathlib import Path

import anyio
import looptime
import pytest
import typer.main
from rich.console import Console
from tests.cozydrivers.stage import TENANT, Stage

import chbackup.cli
import cozydrivers.cli
from cozydrivers import Manager
from cozydrivers.api.events import Event
from cozydrivers.demo import story
from cozydrivers.demo.screen import Screen

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = PAGES["README.md"]
VIRTUAL = {"loop_factory": looptime.new_event_loop}


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
        accepted = {option for parameter in commands[name].params for option in parameter.opts}
        assert accepted >= set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest)), name


def test_make_targets_exist():
    named = re.findall(r"^make (\w+)", "\n".join(blocks("")), re.MULTILINE) + re.findall(r"`make (\w+)`", README)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= set(named) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    folder = ROOT if page == "README.md" else ROOT / "docs"
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PAGES[page]) if "://" not in link]
    assert [link for link in links if not (folder / link).exists()] == []


def test_the_demo_prints_what_the_readme_shows():
    output = io.StringIO()
    screen = Screen(Console(file=output, width=120))
    anyio.run(story._play, screen, backend_options=VIRTUAL)
    printed = iter([line.rstrip() for line in output.getvalue().splitlines()])
    shown = [line for line in blocks("text")[0].splitlines() if line != "…"]
    assert [line for line in shown if line not in printed] == []  # in this order: `in` uses up the iterator
    assert not screen.failures


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


async def play_with_rights():
    stage = Stage()
    await stage.set_up()
    stage.cluster.add_user("controller", "token", rights())
    limited = stage.cluster.kube("token")
    for shard in (0, 1):
        stage.app.sidecar(shard).tables.add_table("shop.orders", 100)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Manager(limited, drivers=[stage.driver()], now=stage.cluster.now).run)
        backup = await stage.end_of(await stage.backup("nightly"))
        for shard in (0, 1):
            stage.app.sidecar(shard).tables.drop("shop.orders")
        restore = await stage.end_of(await stage.restore("back", "nightly"))
        await stage.end_of(await stage.backup("refused", applicationRef={"kind": "ClickHouse", "name": "absent"}))
        events = await stage.kube.list(Event, TENANT)
        tasks.cancel_scope.cancel()
    return backup.status.phase, restore.status.phase, {event.reason for event in events.items}


def test_the_rights_in_the_docs_suffice():
    backup, restore, events = anyio.run(play_with_rights, backend_options=VIRTUAL)
    assert (backup, restore) == ("Succeeded", "Succeeded")
    assert events == {"Refused"}
