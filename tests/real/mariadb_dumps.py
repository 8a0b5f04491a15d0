"""Makes fixtures/mariadb-dumps with the real server, `mariadb-dump` and the operator's own compressor.

Run by `python -m tests.real.mariadb_dumps`, with $MARIADB_OPERATOR_BIN.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import anyio
from tests.real.mariadb_operator import ABSENT, Operator, find_operators
from tests.real.mariadb_server import RealMariaDB

FOLDER = Path(__file__).parents[2] / "fixtures" / "mariadb-dumps"
OPTIONS = ("--single-transaction", "--events", "--routines")  # what the operator gives, before the databases
NO_ACCOUNTS = "--ignore-table=mysql.global_priv"  # what `ignoreGlobalPriv: true` adds
ENDING = {"gzip": "gz", "bzip2": "bz2"}

SHOP = """
CREATE DATABASE shop; USE shop;
CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(60), photo BLOB) DEFAULT CHARSET utf8mb4;
INSERT INTO customers SELECT seq, CONCAT('customer ', seq, ' Zoë 🚲'), UNHEX(MD5(seq)) FROM seq_1_to_60;
INSERT INTO customers VALUES (0, 'two\\nlines\\n-- Dump completed on 2026-01-01  0:00:00\\n', NULL);
CREATE VIEW names AS SELECT name FROM customers;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM customers WHERE id > 1000;
CREATE PROCEDURE tell() SELECT '
-- Dump completed on 2026-01-01  0:00:00
';
CREATE DATABASE empty;
"""

# mariadb-dump can't read a view whose table is gone, and ends there.
BROKEN = """
CREATE DATABASE broken; USE broken;
CREATE TABLE first (id INT PRIMARY KEY); INSERT INTO first VALUES (1);
CREATE TABLE second (id INT PRIMARY KEY); CREATE VIEW third AS SELECT id FROM second; DROP TABLE second;
"""


def dump(server: RealMariaDB, *args: str) -> bytes:
    """Return what `mariadb-dump` writes, whether it ends well or not."""
    command = [*server.client("mariadb-dump"), *OPTIONS, *args]
    return subprocess.run(command, check=False, capture_output=True, env=dict(server.variables())).stdout


def compressed(operator: Operator, content: bytes, algorithm: str, times: int = 1) -> bytes:
    """Have the operator's sub-command `backup` compress a file as often as its container is started."""
    with tempfile.TemporaryDirectory() as folder:
        name = "backup.2026-01-01T00:00:00Z.sql"
        file, target = Path(folder) / name, Path(folder) / "0-backup-target.txt"
        file.write_bytes(content)
        target.write_text(str(file))
        retention = ["--max-retention", "876000h", "--compression", algorithm]
        for _ in range(times):
            operator.run(["backup", "--path", folder, "--target-file-path", str(target), *retention])
        return file.read_bytes()


def ends(content: bytes) -> dict[str, list[str]]:
    """Return the first and last lines of a dump, without its body."""
    lines = content.decode(errors="replace").split("\n")
    return {"head": lines[:8], "tail": lines[-4:]}


def write_dumps(server: RealMariaDB, operator: Operator) -> None:
    """Write the dumps, whole and not."""
    whole, failed = (dump(server, "--databases", name, NO_ACCOUNTS) for name in ("shop", "broken"))
    put("empty-database.sql", dump(server, "--databases", "empty", NO_ACCOUNTS))
    for name, content in {"shop": whole, "failed": failed, "empty": b""}.items():
        put(f"{name}.sql", content)
        for algorithm, ending in ENDING.items():
            put(f"{name}.sql.{ending}", compressed(operator, content, algorithm))
    put("cut-short.sql", cut(whole))
    for algorithm, ending in ENDING.items():
        put(f"cut-short.sql.{ending}", cut(compressed(operator, whole, algorithm)))
        put(f"twice.sql.{ending}", compressed(operator, whole, algorithm, times=2))


def write_ends(server: RealMariaDB) -> None:
    """Write how dumps begin and end, for each selection that a Backup can ask for."""
    selections = {
        "databases": ["--databases", "shop"],
        "databases without accounts": ["--databases", "shop", "empty", NO_ACCOUNTS],
        "a database without tables": ["--databases", "empty"],
        "all databases": ["--all-databases"],
        "all databases without accounts": ["--all-databases", NO_ACCOUNTS],
    }
    found = {name: {"args": [*OPTIONS, *args], **ends(dump(server, *args))} for name, args in selections.items()}
    put("ends.json", (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())


def cut(content: bytes) -> bytes:
    """Return three quarters."""
    return content[: len(content) * 3 // 4]


def put(name: str, content: bytes) -> None:
    """Write one file."""
    (FOLDER / name).write_bytes(content)


async def main() -> None:
    """Start the server, fill it, and write all files."""
    operators = find_operators()
    if not operators:
        raise SystemExit(ABSENT)
    FOLDER.mkdir(exist_ok=True)
    async with RealMariaDB() as server:
        await server.query(SHOP)
        await anyio.to_thread.run_sync(write_ends, server)
        await server.query(BROKEN)
        print(f"MariaDB {await server.version()}, mariadb-operator {operators[-1].version}")
        await anyio.to_thread.run_sync(write_dumps, server, operators[-1])


if __name__ == "__main__":
    anyio.run(main)
