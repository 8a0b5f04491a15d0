"""`python -m tests.mutants [NAME ...]`: break the code that keeps an invariant, and see a test turn red.

Each `*.toml` beside this file is one mutant: the invariant, what breaks, the file, a text that stands in it exactly
once, the text that takes its place, and the tests that must notice. They run on a copy of `src`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALL_PASSED, SOME_FAILED = 0, 1


@dataclass(frozen=True)
class Mutant:
    """One way to break an invariant."""

    name: str
    invariant: str
    breaks: str
    file: str
    find: str
    replace: str
    tests: list[str]


def mutants(names: list[str]) -> list[Mutant]:
    """All mutants, or the named ones."""
    files = sorted(Path(__file__).parent.glob("*.toml"))
    return [
        Mutant(name=file.stem, **tomllib.loads(file.read_text())) for file in files if not names or file.stem in names
    ]


def mutate(mutant: Mutant, source: Path) -> None:
    """Apply it to a copy of the sources."""
    file = source / Path(mutant.file).relative_to("src")
    text = file.read_text()
    if text.count(mutant.find) != 1:
        raise SystemExit(f"{mutant.name}: its text stands {text.count(mutant.find)} times in {mutant.file}, not once")
    file.write_text(text.replace(mutant.find, mutant.replace))


def run_tests(tests: list[str], source: Path) -> int:
    """Exit code of the tests over the given sources."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False).returncode


def is_noticed(mutant: Mutant) -> bool:
    """Whether a test turns red; a mutant that only keeps the tests from running is an error."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        mutate(mutant, source)
        code = run_tests(mutant.tests, source)
    if code not in (ALL_PASSED, SOME_FAILED):
        raise SystemExit(f"{mutant.name}: its tests could not run (pytest's exit code {code})")
    return code == SOME_FAILED


def main(names: list[str]) -> int:
    """Try them all; 0 when each is noticed."""
    chosen = mutants(names)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        noticed = sum(pool.map(try_out, chosen))
    print(f"{noticed} of {len(chosen)} mutants were noticed")
    return 0 if chosen and noticed == len(chosen) else 1


def try_out(mutant: Mutant) -> bool:
    """Whether a mutant is noticed; says so."""
    began = time.monotonic()
    noticed = is_noticed(mutant)
    said, took = "noticed " if noticed else "SURVIVED", time.monotonic() - began
    print(f"{mutant.invariant:4} {said} {took:5.1f} s  {mutant.name}: {mutant.breaks}", flush=True)
    return noticed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
