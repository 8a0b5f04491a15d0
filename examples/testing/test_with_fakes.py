"""Whole stories: fakes remember what they were told, and go wrong when a test says so."""

from collections.abc import Callable

import anyio
import pytest

import chbackup
from chbackup.testing import FakeSidecar

pytestmark = pytest.mark.anyio


async def nightly(sidecar: chbackup.Client, name: str) -> int:
    """Stands for your code: wait for a free sidecar, back up, return the bytes."""
    while True:
        try:
            operation = await sidecar.create_remote(name)
        except chbackup.Busy:
            await anyio.sleep(60)
            continue
        await operation.wait(timeout=7200)
        [archive] = [archive for archive in await sidecar.list_remote() if archive.name == name]
        return archive.data_size


@pytest.fixture
def shop(fake_sidecar: FakeSidecar) -> FakeSidecar:
    fake_sidecar.tables.add_table("shop.orders", rows=1000, partitions=4)
    fake_sidecar.duration.upload = 1800
    return fake_sidecar


async def test_it_backs_up(shop: FakeSidecar) -> None:
    async with shop.client() as sidecar:
        assert await nightly(sidecar, "monday") > 0
    assert shop.remote["monday"].good


async def test_it_waits_for_somebody_elses_backup(shop: FakeSidecar) -> None:
    shop.occupy("create_remote theirs", seconds=3600)
    async with shop.client() as sidecar:
        await nightly(sidecar, "monday")
    assert anyio.current_time() > 3600


async def test_the_store_is_down(shop: FakeSidecar) -> None:
    shop.faults.s3 = "denied"
    async with shop.client() as sidecar:
        with pytest.raises(chbackup.OperationFailed, match="AccessDenied"):
            await nightly(sidecar, "monday")


async def test_the_process_dies_and_goes_on_by_itself(shop: FakeSidecar) -> None:
    async with shop.client() as sidecar:
        operation = await sidecar.create_remote("monday")
        await anyio.sleep(600)
        shop.kill_process()
        shop.start_process()
        assert (await operation.wait()).command == "upload --resumable=1 monday"
    assert shop.remote["monday"].good


async def test_the_process_dies_and_forgets(shop: FakeSidecar) -> None:
    shop.configure(API_COMPLETE_RESUMABLE_AFTER_RESTART="false")
    async with shop.client() as sidecar:
        operation = await sidecar.create_remote("monday")
        await anyio.sleep(600)
        shop.kill_process()
        shop.start_process()
        with pytest.raises(chbackup.OperationLost):
            await operation.wait()


async def test_a_shard_cannot_be_asked(fake_fleet: Callable[..., list[FakeSidecar]]) -> None:
    reachable, gone = fake_fleet(2)
    gone.faults.replace_reply(502, "<html>Bad Gateway</html>")
    async with reachable.client() as one, gone.client() as other:
        assert await one.list_remote() == []
        with pytest.raises(chbackup.ServerError):
            await other.list_remote()
