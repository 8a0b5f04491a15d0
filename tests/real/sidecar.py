"""clickhouse-backup in server mode beside a real ClickHouse and a real object store."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from tests.real.clickhouse import RealClickHouse
from tests.real.processes import Server, answers, http
from tests.real.s3 import RealS3

ABSENT = "no clickhouse-backup on PATH or in $CLICKHOUSE_BACKUP_BIN"

# 300 kB/s, one part after the other: 120 000 rows of RealClickHouse.insert take 13 s.
SLOW_UPLOADS = {
    "UPLOAD_MAX_BYTES_PER_SECOND": "300000",
    "UPLOAD_CONCURRENCY": "1",
    "DOWNLOAD_CONCURRENCY": "1",
    "S3_CONCURRENCY": "1",
}

# Without these a request to the store is tried for a minute.
IMPATIENT = {"RETRIES_ON_FAILURE": "1", "RETRIES_PAUSE": "100ms", "S3_MAX_RETRIES": "1"}


@dataclass(frozen=True)
class Binary:
    """A clickhouse-backup executable and the version that it gives itself."""

    path: Path
    version: str


def find_binaries() -> list[Binary]:
    """Return the binaries of $CLICKHOUSE_BACKUP_BIN (colon-separated), else the one on PATH, else nothing.

    Raises OSError or CalledProcessError when a binary that was named can't be run.
    """
    named = os.environ.get("CLICKHOUSE_BACKUP_BIN", "").split(":")
    paths = [path for path in named if path] or [path for path in [shutil.which("clickhouse-backup")] if path]
    return [Binary(Path(path).absolute(), _version(path)) for path in paths]


def _version(path: str) -> str:
    output = subprocess.run([path, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"^Version:\s*(\S+)", output, re.MULTILINE)
    if found is None:
        raise ValueError(f"{path} --version names no version: {output!r}")
    return found[1]


class RealSidecar(Server):
    """A sidecar at its ClickHouse's address; `path` is its prefix in the bucket, `env` overrides its settings."""

    name = "clickhouse-backup"

    def __init__(
        self,
        binary: Binary,
        clickhouse: RealClickHouse,
        s3: RealS3,
        *,
        path: str = "run1/{shard}",
        address: str | None = None,
        port: int = 7171,
        username: str = "backup",
        password: str = "secret",
        env: Mapping[str, str] = {},
    ) -> None:
        super().__init__()
        self.binary = binary
        self.clickhouse = clickhouse
        self.s3 = s3
        self.path = path
        self.address = address or clickhouse.address
        self.port = port
        self.username = username
        self.password = password
        self.env = dict(env)

    @property
    def url(self) -> str:
        """The address of the API, without credentials."""
        return f"http://{self.address}:{self.port}"

    def command(self) -> Sequence[str]:
        """Run the API server; everything else is in the environment."""
        return [str(self.binary.path), "server"]

    def environment(self) -> Mapping[str, str]:
        """Return the whole configuration, `env` last."""
        return {
            "CLICKHOUSE_HOST": self.clickhouse.address,
            "CLICKHOUSE_PORT": str(self.clickhouse.tcp_port),
            "CLICKHOUSE_USERNAME": "default",
            "CLICKHOUSE_DATA_PATH": self.clickhouse.data,
            "CLICKHOUSE_RESTART_COMMAND": "exec:true",  # the default restarts the machine's own ClickHouse
            "REMOTE_STORAGE": "s3",
            "S3_ENDPOINT": self.s3.url,
            "S3_BUCKET": self.s3.bucket,
            "S3_PATH": self.path,
            "S3_OBJECT_DISK_PATH": "object-disks",
            "S3_ACCESS_KEY": "any",
            "S3_SECRET_KEY": "any",
            "S3_REGION": "us-east-1",
            "S3_FORCE_PATH_STYLE": "true",
            "S3_DISABLE_SSL": "true",
            "API_LISTEN": f"{self.address}:{self.port}",
            "API_USERNAME": self.username,
            "API_PASSWORD": self.password,
            "API_CREATE_INTEGRATION_TABLES": "false",
            "LOG_LEVEL": "info",
            **self.env,
        }

    async def start(self) -> None:
        """Start the server; raises OSError when the port is taken, by another session's sidecar for example."""
        socket.create_server((self.address, self.port)).close()
        await super().start()

    async def is_ready(self) -> bool:
        """Tell whether the version is answered: the one request that leaves no row and disturbs no resume."""
        async with self.client() as client:
            return await answers(client, "/backup/version")

    def client(self) -> httpx.AsyncClient:
        """Return a plain HTTP client with this sidecar's address and credentials."""
        return http(self.url, auth=(self.username, self.password))
