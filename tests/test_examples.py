"""Each example runs as it is, and does what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SAYS = {
    "backup_one.py": "local archives: []",
    "embed_controller.py": "rows by shard: [1000, 1000]",
    "embed_in_kopf.py": "kopf's on the BackupJob: []",
    "fourth_driver.py": "BackupJob Succeeded: ",
    "mariadb_backup.py": "left of the operator's: []",
    "plan_a_purge.py": "keep    shop-20261122        last 1 of 3",
    "purge_fleet.py": "freed ",
    "resume_after_crash.py": "submitted 1 time",
}


@pytest.fixture(scope="module")
def started():
    """All of them side by side, none of them with a server of the caller's environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHBACKUP_")}
    run = {
        path.name: subprocess.Popen(
            [sys.executable, "-W", "error", path], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for path in EXAMPLES.glob("*.py")
    }
    yield run
    for process in run.values():
        process.kill()
        process.communicate()


def test_none_is_forgotten(started):
    assert set(started) == set(SAYS)


@pytest.mark.parametrize(("name", "line"), SAYS.items())
def test_it_runs_and_says_so(started, name, line):
    out, err = started[name].communicate(timeout=50)
    assert (started[name].returncode, err.decode()) == (0, "")
    assert any(said.startswith(line) for said in out.decode().splitlines()), out.decode()


def test_none_is_long():
    assert max(len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")) < 140
