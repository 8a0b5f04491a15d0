"""The Indexed Job of the examples, as so many processes as it has, on real ports."""

import json
import os
import sys
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import pytest
import yaml

from chbackup import Fleet
from chbackup.testing import FakeSidecar, FakeStorage

EXAMPLE = Path(__file__).parents[1] / "examples" / "indexed_job"
STORAGES = 4
KEPT = 7


@pytest.fixture(scope="module")
def job():
    return yaml.safe_load((EXAMPLE / "job.yaml").read_text())["spec"]


@pytest.fixture
def fakes():
    """Two sidecars for each storage, and more archives than are to be kept."""
    found = {}
    for number in range(STORAGES):
        storage = FakeStorage()
        for replica in range(2):
            found[number, replica] = FakeSidecar(username="backup", password="secret-of-tests", storage=storage)
        for day in range(1, 13):
            found[number, 0].add_remote(f"app{number}-202601{day:02d}", created=datetime(2026, 1, day))
    return found


def command(job, index, folder):
    """Return the container's command as the kubelet would fill it in, with files of this machine."""
    (container,) = job["template"]["spec"]["containers"]
    assert container["command"][0] == "chbackup"
    words = [*container["command"][1:], *container["args"]]
    for old, new in {
        "$(JOB_COMPLETION_INDEX)": str(index),
        "/etc/chbackup": str(folder),
        "/var/lib/chbackup": str(folder),
        "--keep-weekly=4": "--keep-weekly=1",
    }.items():
        words = [word.replace(old, new) for word in words]
    return [str(Path(sys.executable).with_name("chbackup")), *words]


def deletes(fake):
    return [request.path for request in fake.requests if "/backup/delete/remote/" in request.path]


async def run_job(job, fakes, folder):
    """Serve the fakes, and run the job's processes side by side; return what each has printed."""
    (folder / "password").write_text("secret-of-tests\n")
    done = {}

    async def run(index):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CHBACKUP_")}
        done[index] = await anyio.run_process(command(job, index, folder), check=False, env=environment)

    async with AsyncExitStack() as stack:
        targets = []
        for (number, replica), fake in fakes.items():
            url = await stack.enter_async_context(fake.serve(f"127.0.0.{10 + 2 * number + replica}"))
            targets.append(
                {
                    "url": url,
                    "username": "backup",
                    "password_file": str(folder / "password"),
                    "storage": f"storage-{number}",
                }
            )
        (folder / "targets.yaml").write_text(yaml.safe_dump(targets))
        async with anyio.create_task_group() as tasks:
            for index in range(job["completions"]):
                tasks.start_soon(run, index)
    return done


def test_every_storage_is_purged_by_exactly_one_process_and_a_second_job_has_nothing_to_do(job, fakes, tmp_path):
    for _ in range(2):
        done = anyio.run(partial(run_job, job, fakes, tmp_path))
        for index, process in done.items():
            assert process.returncode == 0, (index, process.stderr.decode())
            assert b"secret-of-tests" not in process.stdout + process.stderr
        for number in range(STORAGES):
            names = [path for replica in range(2) for path in deletes(fakes[number, replica])]
            assert len(names) == len(set(names)) == 12 - KEPT
            assert len(fakes[number, 0].remote) == KEPT
    lines = [json.loads(line) for path in tmp_path.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert len([line for line in lines if line["event"] == "deleted"]) == STORAGES * (12 - KEPT)


def test_the_job_counts_its_shards_right(job):
    (argument,) = [word for word in job["template"]["spec"]["containers"][0]["args"] if word.startswith("--shard")]
    assert argument == f"--shard=$(JOB_COMPLETION_INDEX)/{job['completions']}"
    assert job["completionMode"] == "Indexed"


def test_the_targets_of_the_example_are_good(tmp_path):
    text = (EXAMPLE / "targets.yaml").read_text().replace("/etc/chbackup", str(tmp_path))
    (tmp_path / "targets.yaml").write_text(text)
    for name in ("shop-password", "stats-password"):
        (tmp_path / name).write_text("secret-of-tests")
    fleet = Fleet.from_file(tmp_path / "targets.yaml")
    assert len({target.storage for target in fleet.targets}) == 2
