"""MariaDB as Debian packages it (10.11), one server with a data folder of its own, and its two clients."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
from tests.real.processes import Server, free_ports, which

PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump")

# One statement per line is what --init-file reads. The operator logs in as root from anywhere.
_ACCOUNTS = """ALTER USER root@localhost IDENTIFIED BY '{password}';
DROP USER IF EXISTS root@'127.0.0.1', root@'::1';
CREATE OR REPLACE USER root@'%' IDENTIFIED BY '{password}';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
"""

VARIABLES = ("MARIADB_OPERATOR_USER", "MARIADB_OPERATOR_PASSWORD")


class RealMariaDB(Server):
    """One MariaDB server on a loopback address of its own, with the account `root` that the operator uses."""

    name = "mariadbd"

    def __init__(self, address: str = "127.0.0.2", *, password: str = "secret") -> None:
        super().__init__()
        self.address = address
        self.password = password
        (self.port,) = free_ports(address, 1)

    async def start(self) -> None:
        """Make the data folder where absent, start the server and wait until it answers."""
        if not self._data.exists():
            # A server that starts deletes all temporary tables of its folder for these, also those of others.
            env = {**os.environ, "TMPDIR": str(self.folder)}
            await anyio.run_process([*_program("mariadb-install-db"), *self._options(), *_QUICK], env=env)
        await super().start()

    def command(self) -> Sequence[str]:
        """Return the command; a file of statements sets the password."""
        accounts = self.folder / "accounts.sql"
        accounts.write_text(_ACCOUNTS.format(password=self.password))
        return [
            *_program(self.name),
            *self._options(),
            f"--init-file={accounts}",
            f"--bind-address={self.address}",
            f"--port={self.port}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            "--skip-name-resolve",
            "--event-scheduler=OFF",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-log-file-size=8M",
        ]

    async def is_ready(self) -> bool:
        """Tell whether the account of the operator may log in."""
        try:
            await self.query("SELECT 1")
        except RuntimeError:
            return False
        return True

    async def version(self) -> str:
        """Return what the server says of itself, such as 10.11.19-MariaDB-0+deb12u1."""
        return await self.query("SELECT version()")

    async def query(self, sql: str, database: str = "") -> str:
        """Run statements and return rows as tab-separated text; raises RuntimeError with the server's words."""
        options = ["--batch", "--skip-column-names", f"--execute={sql}", f"--database={database}"]
        done = await anyio.run_process([*self.client("mariadb"), *options], check=False, env=self.variables())
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace").strip())
        return done.stdout.decode().rstrip("\n")

    def client(self, program: str) -> list[str]:
        """Return the start of a command of `mariadb` or `mariadb-dump` that reaches this server as root."""
        account = ["--user=root", f"--password={self.password}"]
        return [*_program(program), "--no-defaults", *account, f"--host={self.address}", f"--port={self.port}"]

    def variables(self) -> Mapping[str, str]:
        """Return the environment of the operator's containers, with PATH."""
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
        return {"PATH": path, "HOME": str(self.folder), **dict(zip(VARIABLES, ("root", self.password), strict=True))}

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _options(self) -> list[str]:
        # `--user` is what it runs as: the tests run as one user, be it root.
        return ["--no-defaults", f"--datadir={self._data}", f"--user={_me()}"]


_QUICK = ("--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M")


def _program(name: str) -> list[str]:
    return [which(name) or name]


def _me() -> str:
    return subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
