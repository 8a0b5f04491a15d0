"""How many recordings of each server the fakes reproduce; the summary after the tests prints it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Count:
    """Of one server: recordings that were reproduced, and those listed as not reproduced."""

    reproduced: int
    listed: int


COUNTS: dict[str, Count] = {}


def record(server: str, reproduced: int, listed: int) -> None:
    """Note the counts of a server."""
    COUNTS[server] = Count(reproduced, listed)


def summary() -> list[str]:
    """Say the counts, one line for each server."""
    return [
        f"recordings: {server} {count.reproduced} reproduced, {count.listed} listed"
        for server, count in sorted(COUNTS.items())
    ]
