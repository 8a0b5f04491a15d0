"""`make simulate [SEEDS=300] [JOBS=2] [ENGINE=clickhouse]`: tell many stories, and say which show what must never be.

SEEDS is a number, for the seeds from 0 on, or a range such as 500-600, or one seed as 42-42. Before the seeds every
point of every flow is visited, those included that the test suite leaves out because the fakes are in the same state.
ENGINE is clickhouse or mariadb.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import NoReturn

import anyio
from tests.simulation.clock import new_event_loop
from tests.simulation.enumeration import points
from tests.simulation.process import Asked, Point

PACKAGES = {"clickhouse": "tests.simulation", "mariadb": "tests.simulation.mariadb"}
"""Where the flows and the schedule of an engine are."""
CHUNK = 10
"""Stories that a process tells before it says how it went."""
PROGRESS = 30.0
STUCK = 120
"""Seconds of CPU after which a story has no end: something goes round without waiting."""
LONGEST = 40_000
"""Characters of a story that are shown."""


def seeds(text: str) -> range:
    """Read a number of seeds or a range of them."""
    first, dash, last = text.partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(text))


def tell(story: Callable[[], object]) -> str:
    """Tell one story; answers what it showed, empty where all was well."""
    signal.signal(signal.SIGPROF, _is_stuck)
    signal.setitimer(signal.ITIMER_PROF, STUCK)
    try:
        story()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        return _bounded(str(error) or repr(error))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


def _bounded(text: str) -> str:
    """Beginning and end of a story that goes round and round."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}\n…\n{text[-LONGEST // 2 :]}"


def _is_stuck(number: int, frame: object) -> NoReturn:
    raise TimeoutError(f"no end in {STUCK} s of CPU")


def part(name: str) -> ModuleType:
    """A module of the engine that is simulated."""
    return import_module(f"{PACKAGES[os.environ.get('ENGINE', 'clickhouse')]}.{name}")


def visit(flow: str, point: Point | None) -> list[Asked]:
    """One point of a flow, or with none a clean run."""
    run: Callable[[str, Point | None], Awaitable[list[Asked]]] = part("flows").run
    return anyio.run(run, flow, point, backend_options={"loop_factory": new_event_loop})


def simulate(seed: int) -> None:
    """The story of a seed."""
    part("schedule").simulate(seed)


def crashes() -> Iterator[Callable[[], object]]:
    """All points of all flows."""
    for flow in part("flows").FLOWS:
        yield from (partial(visit, flow, point) for point in points(visit(flow, None), each=True))


def tell_all(stories: Iterable[Callable[[], object]], what: str) -> int:
    """Tell them side by side; shows those that went wrong, and answers how many."""
    todo, wrong, said, began = list(stories), 0, time.monotonic(), time.monotonic()
    with ProcessPoolExecutor(int(os.environ.get("JOBS", os.cpu_count() or 1))) as pool:
        for number, shown in enumerate(pool.map(tell, todo, chunksize=CHUNK), 1):
            if shown:
                wrong += 1
                print(f"\n{shown}\n", flush=True)
            if number == len(todo) or time.monotonic() - said > PROGRESS:
                said = time.monotonic()
                print(f"{number} of {len(todo)} {what}, {wrong} wrong, {said - began:.0f} s", flush=True)
    return wrong


def main(text: str) -> int:
    """Tell them all; 0 when nothing was wrong."""
    logging.disable(logging.CRITICAL)
    chosen = seeds(text)
    wrong = tell_all(crashes(), "crashes") if chosen.start == 0 else 0
    return 1 if wrong + tell_all((partial(simulate, seed) for seed in chosen), "seeds") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "300"))
