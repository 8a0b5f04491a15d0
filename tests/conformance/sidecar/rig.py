"""One interface for the fake sidecar and the real one, so that a case is written once."""

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
import httpx

from cozydrivers.clients.objects import ObjectStore

IN_PROGRESS = "in progress"


def documents(response: httpx.Response) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in response.text.splitlines()]


class Receiver(ABC):
    """Takes callbacks at an address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.taken: list[tuple[str, dict[str, Any]]] = []

    @abstractmethod
    async def received(self) -> list[tuple[str, dict[str, Any]]]:
        """Return path with query, and content, of what came, after a moment in which more may come."""


class Rig(ABC):
    """A sidecar, its ClickHouse and its object store. `http` has the credentials, `anonymous` has none."""

    number: tuple[int, ...]
    path: str
    http: httpx.AsyncClient
    anonymous: httpx.AsyncClient

    @abstractmethod
    async def create_table(self, table: str, rows: int, *, engine: str = "MergeTree", partitions: int = 0) -> None:
        """Make `database.name` with rows whose ids count from 0, in partitions by `id % partitions` (0: in one)."""

    @abstractmethod
    async def insert(self, table: str, rows: int) -> None:
        """Add rows; ids go on."""

    @abstractmethod
    async def drop_table(self, table: str) -> None:
        """Drop a table."""

    @abstractmethod
    async def counts(self, table: str, modulus: int) -> dict[int, int]:
        """Return the number of rows by `id % modulus`."""

    @abstractmethod
    async def kill(self) -> None:
        """End the sidecar as `kill -9` does."""

    @abstractmethod
    async def start(self) -> None:
        """Start the sidecar again."""

    @abstractmethod
    async def alive(self) -> bool:
        """Tell whether the sidecar's process lives."""

    @abstractmethod
    async def slow(self, seconds: float) -> None:
        """Make an upload of all present tables take about that long (0: no limit); the sidecar is restarted for it."""

    @abstractmethod
    async def slow_create(self) -> None:
        """Make a create take long enough to be met in the middle."""

    @abstractmethod
    async def configure(self, **env: str) -> None:
        """Restart the sidecar with settings changed."""

    @abstractmethod
    def s3_refused(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Let connections to the object store be refused while the block lasts; its content may be gone after it."""

    @abstractmethod
    def s3_hanging(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Let the object store not answer while the block lasts."""

    @abstractmethod
    def no_bucket(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Let the sidecar look for a bucket that is not there while the block lasts; it may be restarted for it."""

    @abstractmethod
    async def objects(self, name: str) -> dict[str, int]:
        """Return the objects of a remote archive: keys below its name, and sizes."""

    @abstractmethod
    def store(self) -> contextlib.AbstractAsyncContextManager[ObjectStore]:
        """Open the object store with the coordinates that the sidecar's environment holds, as a driver does."""

    @abstractmethod
    async def remove_object(self, name: str, key: str) -> None:
        """Remove one object of a remote archive, behind the sidecar's back."""

    @abstractmethod
    async def write_metadata(self, name: str, content: str) -> None:
        """Replace a remote archive's `metadata.json` by `garbage` or `null`."""

    @abstractmethod
    async def put_stray(self, name: str) -> None:
        """Put an object beside the archives; without a name its key is the path itself."""

    @abstractmethod
    async def forget_cache(self) -> None:
        """Remove the file in which the sidecar remembers remote archives."""

    @abstractmethod
    async def break_local(self, name: str) -> None:
        """Remove a local archive's `metadata.json`."""

    @abstractmethod
    async def write_local_metadata(self, name: str, content: str) -> None:
        """Replace a local archive's `metadata.json` by `garbage` or `null`."""

    @abstractmethod
    def receiver(self) -> contextlib.AbstractAsyncContextManager["Receiver"]:
        """Take callbacks while the block lasts."""

    @abstractmethod
    def sibling(self) -> contextlib.AbstractAsyncContextManager["Rig"]:
        """Start another sidecar, with a ClickHouse of its own, on the same path of the same store."""

    def since(self, *number: int) -> bool:
        """Tell whether the server is of that version or newer; a build after a release counts as the next one."""
        return self.number >= number

    async def count(self, table: str) -> int:
        """Return the number of rows."""
        return sum((await self.counts(table, 1)).values())

    async def send(self, method: str, path: str, status: int, **options: Any) -> list[dict[str, Any]]:
        """Send a request, require its status, and read the answer's lines."""
        response = await self.http.request(method, path, **options)
        assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text}"
        return documents(response)

    async def get(self, path: str) -> list[dict[str, Any]]:
        """GET with an answer of 200."""
        return await self.send("GET", path, 200)

    async def settle(self, operation_id: str, *, timeout: float = 60) -> dict[str, Any]:
        """Follow an operation to its end and return its row."""
        with anyio.fail_after(timeout):
            while True:
                [row] = await self.get(f"/backup/status?operationid={operation_id}")
                if row["status"] != IN_PROGRESS:
                    return row
                await anyio.sleep(0.05)

    async def run(self, path: str, *, status: str = "success", timeout: float = 60) -> dict[str, Any]:
        """Start an operation, follow it, and require how it ends."""
        response = await self.http.post(path)
        assert response.status_code in {200, 201}, response.text
        row = await self.settle(response.json()["operation_id"], timeout=timeout)
        assert row["status"] == status, row
        return row

    async def idle(self, *, timeout: float = 60) -> None:
        """Wait until no row is in progress."""
        with anyio.fail_after(timeout):
            while await self.get("/backup/actions?filter=in+progress"):  # noqa: ASYNC110
                await anyio.sleep(0.05)

    async def find(self, where: str, name: str) -> dict[str, Any] | None:
        """Return an archive's row of a list, or None."""
        rows = await self.get(f"/backup/list/{where}")
        return next((row for row in rows if row["name"] == name), None)

    async def must_find(self, where: str, name: str) -> dict[str, Any]:
        """Return an archive's row of a list, which must be there."""
        row = await self.find(where, name)
        assert row, f"{name} is not in the {where} list"
        return row

    async def desc(self, where: str, name: str) -> str | None:
        """Return the description that a list gives an archive, or None when it is absent."""
        row = await self.find(where, name)
        return str(row["desc"]) if row else None

    async def total_bytes(self, name: str) -> int:
        """Return the sum over the tables of a remote archive."""
        return sum(row["total_bytes"] for row in await self.get(f"/backup/tables?remote_backup={name}"))

    async def until(self, path: str, **fields: str) -> dict[str, Any]:
        """Poll until a row of an answer has values that begin so, and return it; lost connections are no answer."""
        with anyio.fail_after(60):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    for row in await self.get(path):
                        if all(str(row.get(key, "")).startswith(value) for key, value in fields.items()):
                            return row
                await anyio.sleep(0.02)


def credentials(base_url: str, transport: httpx.AsyncBaseTransport | None = None) -> Mapping[str, httpx.AsyncClient]:
    """Return the two clients of a rig."""
    options: dict[str, Any] = {"base_url": base_url, "transport": transport, "trust_env": False, "timeout": 60}
    return {"http": httpx.AsyncClient(**options, auth=("backup", "secret")), "anonymous": httpx.AsyncClient(**options)}


@contextlib.asynccontextmanager
async def clients(rig: Rig, base_url: str, transport: httpx.AsyncBaseTransport | None = None) -> AsyncIterator[None]:
    """Give a rig its clients while the block lasts."""
    found = credentials(base_url, transport)
    rig.http, rig.anonymous = found["http"], found["anonymous"]
    async with rig.http, rig.anonymous:
        yield
