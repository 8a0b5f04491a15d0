"""Both stories: side by side on one embedded cluster, with one controller, and told one after the other."""

import logging
import time

import anyio
from rich.console import Console

from cozydrivers.demo.acts import fixtures
from cozydrivers.demo.clickhouse import ClickHouseStory
from cozydrivers.demo.mariadb import MariaDBStory
from cozydrivers.demo.screen import Screen
from cozydrivers.manager import Manager
from cozydrivers.testing import FakeCluster

LIMIT = 25.0
"""Seconds until the demo gives up."""
_CRDS = ("crds", "crds/mariadb-operator/25.10.2")


def main() -> int:
    """Run the demo; 0 when everything was as it should be."""
    logging.disable(logging.WARNING)
    console, started = Console(), time.monotonic()
    failures = anyio.run(play, console)
    said = "everything as it should be" if not failures else f"{failures} claims did not hold"
    Screen(console).act(f"Done in {time.monotonic() - started:.1f} s: {said}.")
    return 1 if failures else 0


async def play(console: Console) -> int:
    """Play both stories; gives how many claims did not hold."""
    first, second = Screen(console), Screen(console, held=True)
    with anyio.move_on_after(LIMIT) as limit:
        await _side_by_side(first, second)
    if limit.cancelled_caught:
        second.show()
        second.check(False, f"the demo ends within {LIMIT:.0f} s")
    return first.failures + second.failures


async def _side_by_side(first: Screen, second: Screen) -> None:
    cluster = FakeCluster(crds=[fixtures() / folder for folder in _CRDS])
    clickhouse, mariadb = ClickHouseStory(first, cluster), MariaDBStory(second, cluster)
    await clickhouse.set_up()
    await mariadb.set_up()
    manager = Manager(cluster.kube(), drivers=[clickhouse.driver(), mariadb.driver()], now=cluster.now)
    async with anyio.create_task_group() as work:
        work.start_soon(manager.run)
        work.start_soon(mariadb.work)
        async with anyio.create_task_group() as telling:
            telling.start_soon(mariadb.tell)
            await clickhouse.tell()
            second.show()
        work.cancel_scope.cancel()
