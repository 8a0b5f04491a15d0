"""The simulator writes what mariadb-operator wrote: the recorded sessions are played and compared."""

import asyncio
import re
from functools import partial
from pathlib import Path
from typing import Any

import looptime
import pytest
import yaml
from tests.recordings.counts import record
from tests.recordings.mariadb_operator_story import Story

from cozydrivers.testing.mariadb import Version

SAMPLES = Path(__file__).parents[2] / "fixtures" / "mariadb-operator"
NOT_REPRODUCED = Path(__file__).with_name("mariadb-operator-not-reproduced.txt")
VERSIONS: tuple[Version, ...] = ("25.10.2", "26.6.0")

# What differs from run to run: times, UIDs and versions, and the stamp in the names of physical backups.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STAMP = re.compile(r"20261123\d{6}")


def _listed() -> dict[str, str]:
    lines = NOT_REPRODUCED.read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def _names() -> list[tuple[Version, str]]:
    recorded = [(version, path.stem) for version in VERSIONS for path in sorted((SAMPLES / version).glob("*.yaml"))]
    return [pair for pair in recorded if "/".join(pair) not in _listed()]


def _normal(value: Any) -> Any:
    if isinstance(value, dict):
        left_out = ("resourceVersion", "managedFields")
        return {key: _normal(item) for key, item in value.items() if key not in left_out}
    if isinstance(value, list):
        return [_normal(item) for item in value]
    if not isinstance(value, str):
        return value
    return STAMP.sub("<stamp>", UID.sub("<uid>", TIME.sub("<time>", value)))


def _compared(obj: dict[str, Any]) -> Any:
    """An object without the status of what no operator writes: it was set by hand."""
    kept = {key: value for key, value in obj.items() if key != "status" or obj["kind"] not in ("Job", "CronJob")}
    return _normal(kept)


@pytest.fixture(scope="module")
def taken() -> dict[Version, dict[str, Any]]:
    async def run(version: Version) -> dict[str, Any]:
        story = Story(version)
        await story.run()
        return story.taken

    with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, noop_cycles=0)) as runner:
        return {version: runner.run(run(version)) for version in VERSIONS}


@pytest.mark.parametrize(("version", "name"), _names())
def test_the_simulator_writes_as_the_operator_did(
    taken: dict[Version, dict[str, Any]], version: Version, name: str
) -> None:
    recorded = yaml.safe_load((SAMPLES / version / f"{name}.yaml").read_text(encoding="utf-8"))
    assert _compared(taken[version][name]) == _compared(recorded)


def test_every_recording_is_reproduced_or_listed() -> None:
    recorded = {f"{version}/{path.stem}" for version in VERSIONS for path in (SAMPLES / version).glob("*.yaml")}
    listed = set(_listed())
    record("mariadb-operator", len(recorded - listed), len(listed))
    assert listed <= recorded
