"""Purge many sidecars by one rule: read the plan first, then delete, and tell what was left and why.

    purge_fleet.py sidecars.yaml

Killed and started again with the same journal, it goes on where it was. Without a file it shows itself on fakes.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import chbackup
from chbackup.testing import FakeSidecar, FakeStorage

RETENTION = chbackup.Retention(keep_last=2, keep_weekly=4, protect=["*-before-upgrade"])


async def purge(fleet: chbackup.Fleet, journal: Path) -> None:
    async with fleet, fleet.purge(RETENTION, journal=journal) as run:
        for decision in run.plan.decisions:
            print("delete" if decision.delete else "keep  ", decision.archive.name, f"({decision.reason})")
        print(f"{len(run.plan.delete)} archives, {run.plan.bytes_freed} bytes to free")
        async for result in run:
            print(result.outcome, result.archive or result.storage, "" if result.ok else result.reason)
        print(f"freed {run.summary.bytes_freed} bytes, {len(run.summary.problems)} problems")


async def on_fakes() -> None:
    shared = FakeStorage()
    fleet = [FakeSidecar(storage=shared), FakeSidecar(storage=shared), FakeSidecar()]
    for day in (1, 2, 3, 4):
        base = "shop-20260101" if day == 2 else ""
        fleet[0].add_remote(f"shop-2026010{day}", created=datetime(2026, 1, day), required=base)
        fleet[2].add_remote(f"stats-2026010{day}", created=datetime(2026, 1, day))
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(sidecar.serve("127.0.0.1")) for sidecar in fleet]
        targets = [chbackup.Target(url) for url in urls]
        with TemporaryDirectory() as folder:
            await purge(chbackup.Fleet(targets), Path(folder, "purge.jsonl"))


if __name__ == "__main__":
    fleet = chbackup.Fleet.from_file(sys.argv[1], limit=64) if sys.argv[1:] else None
    asyncio.run(purge(fleet, Path("purge.jsonl")) if fleet else on_fakes())
