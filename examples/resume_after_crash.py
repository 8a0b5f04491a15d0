"""Go on after a crash: an operation's token is all that has to be kept.

The token holds neither the sidecar's address nor a secret. The first program here is cut off in the middle of a backup;
the second takes the same backup up again, and proves it.
"""

import asyncio
import tempfile

import anyio

import chbackup
from chbackup.testing import FakeSidecar

NAME = "nightly"


class PowerCut(Exception):
    """Ends the first program while the sidecar is at work."""


async def first_program(sidecar: chbackup.Client, note: anyio.Path) -> None:
    operation = await sidecar.create_remote(NAME)
    await note.write_text(operation.token)
    print(f"submitted {NAME}, noted {operation.token}")
    async for _ in operation.watch():
        raise PowerCut


async def second_program(sidecar: chbackup.Client, note: anyio.Path) -> None:
    operation = sidecar.operation(await note.read_text())
    print(f"took up {operation.verb} of {operation.name}")
    async for row in operation.watch(timeout=3600):
        print(f"  {row.status}")
    archive = await chbackup.verified_backup(sidecar, operation.name, adopt=True)
    print(f"proven: {archive.name}, {archive.data_size} bytes of data")


async def main() -> None:
    fake = FakeSidecar()
    fake.tables.add_table("shop.orders", rows=1000)
    with tempfile.TemporaryDirectory() as folder:
        note = anyio.Path(folder) / "token"
        try:
            async with fake.client() as sidecar:
                await first_program(sidecar, note)
        except PowerCut:
            print("power cut")
        async with fake.client() as sidecar:
            await second_program(sidecar, note)
    submissions = [request for request in fake.requests if request.path == "/backup/create_remote"]
    print(f"submitted {len(submissions)} time")


if __name__ == "__main__":
    asyncio.run(main())
