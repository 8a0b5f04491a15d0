"""The examples for tests of users run as they are, in a project of their own."""

import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples" / "testing"


def test_they_run_in_a_project_of_their_own(tmp_path):
    shutil.copytree(EXAMPLES, tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["-q", "-W", "error", "-p", "pytest_chbackup", "-p", "no:looptime_plugin", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "skipped" not in found.stdout
