"""Delete old archives, and none that a kept one needs.

`verified_delete` refuses a base while increments need it, on every version of the server. So the newest go first: an
increment makes way for its base. What is left because it is needed is said.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import chbackup
from chbackup.testing import FakeSidecar

KEEP = 3


def too_many(archives: Sequence[chbackup.Archive]) -> list[chbackup.Archive]:
    """All but the newest, newest first. One that is broken or has no time is left for people to decide on."""
    sound = [archive for archive in archives if archive.created and not archive.broken]
    return sorted(sound, key=lambda archive: str(archive.created), reverse=True)[KEEP:]


async def purge(sidecar: chbackup.Client) -> None:
    for archive in too_many(await sidecar.list_remote()):
        try:
            await chbackup.verified_delete(sidecar, archive.name, timeout=600)
        except chbackup.RequiredByOthers as error:
            print(f"kept {archive.name}: {', '.join(error.dependents)} need it")
        else:
            print(f"deleted {archive.name}")


def a_week() -> FakeSidecar:
    """A bucket with two chains and an archive of its own."""
    fake = FakeSidecar()
    week = [
        ("sat-full", ""),
        ("sun-full", ""),
        ("mon", "sun-full"),
        ("tue", "mon"),
        ("wed-full", ""),
        ("thu", "wed-full"),
    ]
    for day, (name, base) in enumerate(week, start=3):
        fake.add_remote(name, created=datetime(2026, 1, day), required=base)
    return fake


async def main() -> None:
    async with a_week().client() as sidecar:
        await purge(sidecar)
        print("left:")
        for archive in await sidecar.list_remote():
            print(f"  {archive.name}" + (f" on {archive.required}" if archive.required else ""))


if __name__ == "__main__":
    asyncio.run(main())
