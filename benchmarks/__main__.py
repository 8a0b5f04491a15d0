"""Run the benchmarks and print their tables; those of the controller, in `controller`, go by the name `controller`.

The others are CPU time of the client's process, medians of 5 interleaved rounds. Each measurement is a process of its
own; what answers it is another one. Ratios are of medians from one run.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tests.real.processes import free_ports

from benchmarks import cases, controller
from benchmarks.processes import pin

ROUNDS = 5


class Measured(NamedTuple):
    """What one process reports: CPU seconds for one unit of work, and its peak memory in MB."""

    cpu: float
    memory: float


def main(names: Sequence[str]) -> None:
    """Run the named benchmarks, all without a name."""
    chosen = [name for name in names if not name.startswith("-")]
    if set(chosen) != {"controller"}:
        measure_cases(chosen)
    if not chosen or "controller" in chosen:
        controller.main(names)


def measure_cases(names: Sequence[str]) -> None:
    """Run what stands in `cases`."""
    print("| benchmark | CPU | over | CPU | ratio | aim | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for case in cases.CASES:
        if not names or case.name in names:
            found = measure(case)
            base = found[case.baseline]
            for variant, aim in case.aims.items():
                mine = found[variant]
                ratio = f"{mine.cpu / base.cpu:.2f}"
                cells = (
                    f"{case.what}: {variant}",
                    show(mine.cpu, case.unit),
                    case.baseline,
                    show(base.cpu, case.unit),
                    ratio,
                    f"<= {aim:g}",
                    f"{mine.memory:.0f}",
                )
                print(f"| {' | '.join(cells)} |", flush=True)


def measure(case: cases.Case) -> dict[str, Measured]:
    """Return the medians of each variant."""
    found: dict[str, list[Measured]] = {variant: [] for variant in case.variants}
    for _ in range(ROUNDS):
        for variant, results in found.items():
            with served(case) as port:
                results.append(run(case, variant, port))
    return {
        variant: Measured(*map(statistics.median, zip(*results, strict=True))) for variant, results in found.items()
    }


def run(case: cases.Case, variant: str, port: int) -> Measured:
    """Measure one variant in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.cases", case.name, variant, str(port)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, preexec_fn=lambda: pin(0))
    return Measured(**json.loads(done.stdout))


@contextmanager
def served(case: cases.Case) -> Iterator[int]:
    """Let the servers of a benchmark run while the block lasts; yields their port."""
    if not case.sidecars:
        yield 0
        return
    (port,) = free_ports("127.0.0.1", 1)
    command = [sys.executable, "-m", "benchmarks.server", *map(str, (case.sidecars, port, case.archives))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=lambda: pin(1)) as server:
        assert server.stdin
        assert server.stdout
        server.stdout.readline()
        try:
            yield port
        finally:
            server.stdin.close()


def show(seconds: float, unit: str) -> str:
    """Print CPU seconds in the unit that reads best."""
    factor = {"s": 1, "ms": 1e3, "µs": 1e6}[unit]
    return f"{seconds * factor:.3g} {unit}"


if __name__ == "__main__":
    main(sys.argv[1:])
