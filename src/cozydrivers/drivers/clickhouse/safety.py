"""The safety copy: what a restore is about to replace, kept on the same server by hard links. Not uploaded.

Its name tells of which run it is and when it was made, so its age needs no server's clock. The next job on the
application deletes those older than a day.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import anyio

from chbackup import Archive
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.clickhouse import act
from cozydrivers.drivers.clickhouse.look import Eyes, Sight
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.owned import hex_of

KEPT = timedelta(hours=24)
_NAME = re.compile(r"before-(?P<uid>[0-9a-f]{12})-(?P<at>[0-9]{8}T[0-9]{6}Z)")


def name_of(run: Run, at: datetime) -> str:
    """The name of a run's safety copy that is begun now."""
    return f"before-{hex_of(run.uid, 12)}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def made_at(name: str) -> datetime | None:
    """When a safety copy was begun; None for what is none."""
    found = _NAME.fullmatch(name)
    try:
        return datetime.fromisoformat(found["at"]) if found else None
    except ValueError:
        return None


def is_of(run: Run, name: str) -> bool:
    """Whether it is a safety copy of this run."""
    found = _NAME.fullmatch(name)
    return found is not None and found["uid"] == hex_of(run.uid, 12)


def copies(archives: Iterable[Archive]) -> list[str]:
    """The safety copies among local archives."""
    return [archive.name for archive in archives if made_at(archive.name)]


def expired(seen: Mapping[str, Sight], now: datetime) -> list[tuple[Place, str]]:
    """Safety copies that have been kept for long enough, and where they are."""
    return [
        (sight.place, name)
        for sight in seen.values()
        if sight.place is not None
        for name in copies(sight.local or ())
        if (at := made_at(name)) is not None and now - at > KEPT
    ]


async def expire(eyes: Eyes, seen: Mapping[str, Sight]) -> None:
    """Delete the expired ones, as well as it can be done: what is left is tried again by the next job."""

    async def one(found: tuple[Place, str]) -> None:
        await act.drop_local(eyes, *found)

    await anyio.amap(one, expired(seen, eyes.run.now))
