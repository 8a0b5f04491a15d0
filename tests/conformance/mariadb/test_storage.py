"""What the operator's own container does with files: how it packs one, which one it takes, and which it deletes."""

import bz2
import gzip
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.conformance.mariadb.conftest import REAL
from tests.real import find_operators, mariadb_storage

from cozydrivers.drivers.mariadb import dumps

SubCommand = Callable[[Sequence[str]], int]
DAY = "backup.2026-08-21T"


@pytest.fixture
def run(version: str) -> SubCommand:
    """Runs a sub-command and returns its exit code."""
    if not REAL:
        return lambda args: mariadb_storage.run(args, version)
    path = next(each.path for each in find_operators() if each.version == version)
    return lambda args: subprocess.run([path, *args], check=False, capture_output=True).returncode


def restore(run: SubCommand, folder: Path, target: str) -> str | None:
    """Have it choose of the dumps in a folder; returns the name of the plain file, or None."""
    told = folder / "0-backup-target.txt"
    code = run(["backup", "restore", "--path", str(folder), "--target-time", target, "--target-file-path", str(told)])
    return None if code else Path(told.read_text()).name


def back_up(run: SubCommand, folder: Path, compression: str, retention: str = "876000h") -> int:
    file, told = folder / f"{DAY}10:00:00Z.sql", folder / "0-backup-target.txt"
    if not told.exists():
        file.write_text("-- MariaDB dump\n")
        told.write_text(str(file))
    paths = ["--path", str(folder), "--target-file-path", str(told)]
    return run(["backup", *paths, "--max-retention", retention, "--compression", compression])


def put(folder: Path, *names: str) -> None:
    for name in names:
        content = name.encode()
        if {"gz", "gzip"}.intersection(name.split(".")):
            content = gzip.compress(content)
        if {"bz2", "bzip2"}.intersection(name.split(".")):
            content = bz2.compress(content)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("names", "target", "old", "new"),
    [
        (["09:00:00Z.sql", "10:00:30Z.sql"], "10:00:00Z", "10:00:30Z.sql", "09:00:00Z.sql"),
        (["10:00:30Z.sql"], "10:00:00Z", "10:00:30Z.sql", None),
        (["09:59:59Z.sql", "10:00:00Z.sql", "10:00:01Z.sql"], "10:00:00Z", "10:00:00Z.sql", "10:00:00Z.sql"),
        (["09:00:00Z.sql.gz", "08:00:00Z.gzip.sql"], "10:00:00Z", "08:00:00Z.gzip.sql", "09:00:00Z.sql.gz"),
        (["09:00:00Z.sql.bz2", "08:00:00Z.bzip2.sql"], "10:00:00Z", "08:00:00Z.bzip2.sql", "09:00:00Z.sql.bz2"),
        (["09:00:00Z.sql", "09:59:59.5Z.sql"], "10:00:00Z", "09:00:00Z.sql", "09:00:00Z.sql"),
        (["11:30:00+02:00.sql", "09:00:00Z.sql"], "10:00:00Z", "11:30:00+02:00.sql", "11:30:00+02:00.sql"),
        (["09:00:00Z.sql"], "12:00:00+02:00", "09:00:00Z.sql", "09:00:00Z.sql"),
        ([], "10:00:00Z", None, None),
    ],
)
def test_which_dump_it_takes(
    run: SubCommand, version: str, tmp_path: Path, names: list[str], target: str, old: str | None, new: str | None
):
    """The driver's own rule says the same."""
    files, time = [DAY + name for name in names], f"2026-08-21T{target}"
    put(tmp_path, *files, "backup.sql", "other.2026-08-21T10:00:00Z.txt")
    right = old if version.startswith("25.") else new
    found = [dump for name in files if (dump := dumps.parse(name))]
    ours = dumps.chosen(found, datetime.fromisoformat(time), "25.10" if version.startswith("25.") else "26.3")
    assert (ours.name if ours else None) == (right and DAY + right)
    plain = right and ".".join([*(DAY + right).split(".")[:2], "sql"])
    assert restore(run, tmp_path, time) == plain
    if right and plain:
        assert (tmp_path / plain).read_text() == DAY + right


@pytest.mark.parametrize(("compression", "unpack"), [("gzip", gzip.decompress), ("bzip2", bz2.decompress)])
def test_a_restarted_container_packs_again(
    run: SubCommand, tmp_path: Path, compression: str, unpack: Callable[[bytes], bytes]
):
    assert back_up(run, tmp_path, compression) == 0
    once = (tmp_path / f"{DAY}10:00:00Z.sql").read_bytes()
    assert unpack(once) == b"-- MariaDB dump\n"
    assert back_up(run, tmp_path, compression) == 0
    assert unpack((tmp_path / f"{DAY}10:00:00Z.sql").read_bytes()) == once


def test_no_compression_leaves_it_as_it_is(run: SubCommand, tmp_path: Path):
    assert back_up(run, tmp_path, "none") == 0
    assert (tmp_path / f"{DAY}10:00:00Z.sql").read_text() == "-- MariaDB dump\n"


@pytest.mark.parametrize("name", ["09:00:00Z.gzip.sql", "09:00:00Z.bzip2.sql"])
def test_what_is_not_packed_as_its_name_says_is_not_restored(run: SubCommand, tmp_path: Path, name: str):
    (tmp_path / f"{DAY}{name}").write_text("-- MariaDB dump\n")
    assert restore(run, tmp_path, "2026-08-21T10:00:00Z") is None


@pytest.mark.parametrize("cut", [5, 40])
def test_what_is_cut_short_is_not_restored(run: SubCommand, tmp_path: Path, cut: int):
    (tmp_path / f"{DAY}09:00:00Z.gzip.sql").write_bytes(gzip.compress(bytes(range(256)))[:cut])
    assert restore(run, tmp_path, "2026-08-21T10:00:00Z") is None


def test_an_empty_dump_is_restored(run: SubCommand, tmp_path: Path):
    (tmp_path / f"{DAY}09:00:00Z.sql").write_bytes(b"")
    assert restore(run, tmp_path, "2026-08-21T10:00:00Z") == f"{DAY}09:00:00Z.sql"


@pytest.mark.parametrize(
    ("retention", "deleted"),
    [
        ("876000h", set()),
        ("1h", {"backup.2020-01-01T00:00:00Z.sql"}),
        ("-1h", {"backup.2020-01-01T00:00:00Z.sql", "own"}),
    ],
)
def test_a_backup_deletes_what_is_too_old_whosever_it_is(
    run: SubCommand, tmp_path: Path, retention: str, deleted: set[str]
):
    """With a negative age its own dump, too, and it ends well."""
    own = f"backup.{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}.sql"
    files = {own, "backup.2020-01-01T00:00:00Z.sql", "backup.2999-01-01T00:00:00Z.sql", "backup.notes.sql"}
    put(tmp_path, *files)
    (tmp_path / "0-backup-target.txt").write_text(str(tmp_path / own))
    assert back_up(run, tmp_path, "none", retention) == 0
    gone = {own if name == "own" else name for name in deleted}
    assert {each.name for each in tmp_path.iterdir()} == {"0-backup-target.txt", *files} - gone
