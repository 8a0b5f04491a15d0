"""What the tests of the flows on servers share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from tests.conformance.sidecar.rig import Rig

import chbackup


def client_of(rig: Rig) -> chbackup.Client:
    """Return a client over the rig's connections and credentials."""
    return chbackup.Client(str(rig.http.base_url), http_client=rig.http)


async def archived(rig: Rig, name: str, diff_from_remote: str | None = None) -> None:
    """Make an archive that only the object store holds."""
    await chbackup.verified_backup(client_of(rig), name, diff_from_remote=diff_from_remote)


@asynccontextmanager
async def half_uploaded(rig: Rig, name: str) -> AsyncIterator[dict[str, object]]:
    """Back up slowly; the block runs when a part is in the store. Afterwards `result` is what came of it."""
    outcome: dict[str, object] = {}

    async def run() -> None:
        try:
            outcome["result"] = await chbackup.verified_backup(client_of(rig), name)
        except chbackup.ChbackupError as error:
            outcome["result"] = error

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await rig.until("/backup/list/remote", name=name)
        yield outcome
