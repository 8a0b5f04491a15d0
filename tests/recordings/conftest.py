"""Says at the end how many recordings the fakes reproduce."""

import pytest
from tests.recordings.counts import summary


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in summary():
        terminalreporter.write_line(line)
