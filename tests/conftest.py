"""Says at the end how many recordings of the real servers the fakes reproduce, also where workers ran the tests."""

import gc
import os
from typing import Any

import pytest
from tests.recordings import counts

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process of a test compiles the packages for itself
gc.set_threshold(50_000, 20, 100)  # a fifth of the time of the tests, which keep little


def pytest_sessionfinish(session: pytest.Session) -> None:
    worker: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if worker is not None:
        worker["recordings"] = {server: [count.reproduced, count.listed] for server, count in counts.COUNTS.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for server, numbers in getattr(node, "workeroutput", {}).get("recordings", {}).items():
        counts.record(server, *numbers)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in counts.summary():
        terminalreporter.write_line(line)
