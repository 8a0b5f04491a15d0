"""Once a day each Ready Backup is looked up in the engine, and says so when it is not there any more."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.backups import archive_of, change, events, followed, increment_on, says, with_backups
from tests.cozydrivers.checks import forget, without
from tests.cozydrivers.stage import APP, TENANT, condition
from tests.cozydrivers.test_backup_deletion import ENTRY, POOL

from cozydrivers.api.apps import ClickHouse
from cozydrivers.controllers.audits import DAY, FIRST, RETRY, SPREAD
from cozydrivers.drivers.clickhouse.auditing import Listing, judge
from cozydrivers.runtime import Key

pytestmark = pytest.mark.anyio

FIRST_LOOKS = FIRST + SPREAD + 60


async def ready(stage, name="nightly"):
    """Status and reason of its condition Ready, None where there is none."""
    told = {told.type: (told.status, told.reason) for told in (await stage.made(name)).status.conditions}
    return told.get("Ready")


def lose(stage, archive):
    """Have an archive vanish from the store."""
    del stage.app.sidecar(0).remote[archive]


def lists(stage):
    return [
        request.path
        for sidecar in stage.app.sidecars.values()
        for request in sidecar.requests
        if request.path == "/backup/list/remote"
    ]


async def test_what_is_there_is_not_written_about():
    stage = await with_backups("older", "nightly")
    before = await stage.made("nightly")
    async with followed(stage) as controller:
        await anyio.sleep(FIRST_LOOKS)
        assert len(lists(stage)) == 1  # one for both Backups of both shards, on one storage path
        await anyio.sleep(DAY)
        assert not controller.audits_failed
    assert len(lists(stage)) == 2
    assert await stage.made("nightly") == before
    assert stage.touched() == []


async def test_a_missing_archive_is_said_until_it_is_found_again():
    stage = await with_backups("older", "nightly")
    archive = await archive_of(stage, "nightly", 1)
    kept = stage.app.sidecar(0).remote[archive]
    lose(stage, archive)
    async with followed(stage) as controller:
        await anyio.sleep(FIRST_LOOKS)
        assert await ready(stage) == ("False", "ArchiveMissing")
        assert await ready(stage, "older") is None
        assert (await stage.made("nightly")).status.phase == "Ready"
        assert archive in condition(await stage.made("nightly"), "Ready").message
        version = (await stage.made("nightly")).metadata.resource_version
        await anyio.sleep(DAY)
        assert (await stage.made("nightly")).metadata.resource_version == version
        stage.app.sidecar(0).remote[archive] = kept
        await anyio.sleep(DAY)
        assert await ready(stage) == ("True", "ArchiveFound")
        assert not controller.audits_failed
    (event,) = await events(stage, "ArchiveMissing")
    assert event.type == "Warning"
    assert await events(stage, "ArchiveFound")


async def test_a_broken_archive_is_said():
    stage = await with_backups("nightly")
    stage.app.sidecar(0).break_remote(await archive_of(stage, "nightly"))
    async with followed(stage):
        await anyio.sleep(FIRST_LOOKS)
    assert await ready(stage) == ("False", "ArchiveBroken")


async def test_an_archive_that_was_made_anew_is_broken():
    stage = await with_backups("nightly")
    await change(stage, "nightly", recorded={"clickhouse.backup/data-size.0": "1"})
    async with followed(stage):
        await anyio.sleep(FIRST_LOOKS)
    assert await ready(stage) == ("False", "ArchiveBroken")


async def as_increment(stage):
    """Have the archive of shard 0 be an increment on one that was made by hand; its name stays."""
    archive = await archive_of(stage, "nightly")
    lose(stage, archive)
    async with stage.app.sidecar(0).client() as client:
        await (await client.create_remote("base")).wait()
        await client.delete_local("base")
        await client.list_remote()
    await increment_on(stage, "base", archive)
    listed = stage.app.sidecar(0).remote[archive].metadata
    recorded = {"data-size.0": str(listed.data_size), "required.0": "base"}
    await change(stage, "nightly", recorded={f"clickhouse.backup/{key}": value for key, value in recorded.items()})


async def test_a_chain_that_lacks_its_base_is_said():
    stage = await with_backups("nightly")
    await as_increment(stage)
    async with followed(stage):
        await anyio.sleep(FIRST_LOOKS)
        assert await ready(stage) is None
        lose(stage, "base")
        await anyio.sleep(DAY)
        assert await ready(stage) == ("False", "ChainBroken")


async def test_a_list_that_leaves_out_the_base_proves_nothing():
    stage = await with_backups("nightly")
    await as_increment(stage)
    for sidecar in stage.app.sidecars.values():
        sidecar.faults.unlisted = ["base", await archive_of(stage, "nightly", 1)]
    async with followed(stage) as controller:
        await anyio.sleep(FIRST_LOOKS)
        assert await ready(stage) is None
        assert controller.audits_failed == {Key(TENANT, "nightly")}


@pytest.mark.parametrize("outage", ["refused", "denied"])
async def test_an_outage_changes_nothing_and_counts(outage):
    stage = await with_backups("nightly")
    for sidecar in stage.app.sidecars.values():
        sidecar.faults.s3 = outage
    async with followed(stage) as controller:
        await anyio.sleep(FIRST_LOOKS)
        assert await ready(stage) is None
        assert controller.audits_failed == {Key(TENANT, "nightly")}
        for sidecar in stage.app.sidecars.values():
            sidecar.faults.heal()
        await anyio.sleep(RETRY + 60)
        assert not controller.audits_failed


async def test_a_sidecar_that_is_away_counts_for_what_it_alone_can_tell():
    stage = await with_backups("nightly")
    for sidecar in stage.app.sidecars.values():
        sidecar.faults.refuse = True
    async with followed(stage) as controller:
        await anyio.sleep(FIRST_LOOKS)
        assert controller.audits_failed == {Key(TENANT, "nightly")}
    assert await ready(stage) is None


async def test_a_bucket_that_is_gone_is_told_from_one_that_is_down():
    stage = await with_backups("nightly")
    for sidecar in stage.app.sidecars.values():
        sidecar.faults.s3 = "no_bucket"
    async with followed(stage):
        await anyio.sleep(FIRST_LOOKS)
    assert await ready(stage) == ("False", "ArchiveMissing")


async def test_the_backups_of_an_application_that_is_gone_are_not_looked_up():
    stage = await with_backups("nightly")
    await without(ClickHouse, APP, TENANT)(stage)
    async with followed(stage) as controller:
        await anyio.sleep(FIRST_LOOKS)
        assert not controller.audits_failed
    assert lists(stage) == []


async def test_a_record_of_a_newer_version_is_left_untouched_and_counts():
    stage = await with_backups("nightly")
    await change(stage, "nightly", recorded={"clickhouse.backup/schema": "2"})
    before = await stage.made("nightly")
    async with followed(stage) as controller:
        await anyio.sleep(FIRST_LOOKS)
        assert controller.audits_failed == {Key(TENANT, "nightly")}
    assert await stage.made("nightly") == before


async def test_an_api_server_that_is_away_counts_too():
    stage = await with_backups("nightly")
    async with followed(stage) as controller:
        await anyio.sleep(1)
        stage.cluster.faults.fail(1000, status=500, method="GET", path="clickhouses/")
        await anyio.sleep(FIRST_LOOKS)
        assert controller.audits_failed == {Key(TENANT, "nightly")}
        stage.cluster.faults.clear()
        await anyio.sleep(RETRY + 60)
        assert not controller.audits_failed


async def test_a_conflict_is_made_good():
    stage = await with_backups("nightly")
    lose(stage, await archive_of(stage, "nightly"))
    stage.cluster.faults.fail(1, status=409, method="PATCH", path="backups/nightly")
    async with followed(stage):
        await anyio.sleep(FIRST_LOOKS + RETRY)
    assert await ready(stage) == ("False", "ArchiveMissing")


async def test_each_application_is_looked_up_by_itself():
    stage = await with_backups("nightly")
    await says(stage, "Retain")
    forget(stage)
    async with followed(stage):
        await anyio.sleep(FIRST - 1)
        assert lists(stage) == []


listings = st.none() | st.builds(
    Listing,
    st.lists(st.sampled_from(POOL["remote"]), max_size=3, unique_by=lambda archive: archive.name),
    st.sets(st.sampled_from([ENTRY.archive, "by-hand"])).map(tuple),
)


@given(listings)
@settings(max_examples=300, deadline=None)
def test_nothing_is_said_to_be_gone_that_the_store_does_not_deny(listing: Listing | None):
    finding = judge([ENTRY], {} if listing is None else {0: listing})
    if finding is None:
        return
    assert listing is not None
    listed = [archive for archive in listing.remote if archive.name == ENTRY.archive]
    assert all(archive.name for archive in listing.remote)
    if finding.reason == "ArchiveMissing":
        assert not listed
        assert ENTRY.archive in listing.denied
    else:
        assert listed
    if not finding.reason:
        assert not listed[0].broken
        assert listed[0].required in {"", *(archive.name for archive in listing.remote)}
    else:
        assert finding.message
