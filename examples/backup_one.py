"""Back up one sidecar and prove it.

Without arguments a fake sidecar is served here. With CHBACKUP_URL (and CHBACKUP_USERNAME, CHBACKUP_PASSWORD) in the
environment it is a real one, and the archive is named by the first argument.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import chbackup
from chbackup.testing import FakeSidecar


@asynccontextmanager
async def a_sidecar() -> AsyncGenerator[chbackup.Client, None]:
    if "CHBACKUP_URL" in os.environ:
        async with chbackup.Client.from_env() as client:
            yield client
        return
    fake = FakeSidecar()
    fake.tables.add_table("shop.orders", rows=1000)
    async with fake.serve() as url, chbackup.Client(url) as client:
        yield client


def say(progress: chbackup.Progress) -> None:
    print(f"  {progress.step}" + (f": {progress.action.status}" if progress.action else ""))


async def main(name: str) -> None:
    async with a_sidecar() as sidecar:
        print(f"clickhouse-backup {await sidecar.version()}: backing up {name}")
        archive = await chbackup.verified_backup(sidecar, name, timeout=3600, on_progress=say)
        print(f"proven: {archive.name}, {archive.data_size} bytes of data, {archive.size} in the store")
        print(f"local archives: {[local.name for local in await sidecar.list_local()]}")


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "example-full"))
    except chbackup.ChbackupError as error:
        sys.exit(f"{type(error).__name__}: {error}")
