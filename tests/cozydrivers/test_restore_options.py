"""The options of a RestoreJob: read strictly, each does what it says."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cozydrivers.checks import TABLE, assert_refused, backed_up, drop, forget, reason_of, rows, slow
from tests.cozydrivers.restores import back_up, in_use, notes, restored
from tests.cozydrivers.stage import APP, TENANT, condition

from cozydrivers.api.backups import Backup
from cozydrivers.drivers.clickhouse.options import Options, parse
from cozydrivers.errors import InvalidInput

GOOD: dict[str, list[Any]] = {
    "archive": ["clickhouse-shop-20261123T100000Z", {"0": "a", "1": "b"}],
    "dryRun": [True, False],
    "notAfter": ["2026-11-23T12:00:00Z", "2026-11-23T12:00:00.5+01:00"],
    "overwrite": [True, False],
    "repeat": ["again"],
    "schemaOnly": [True, False],
    "skipSafetyCopy": [True, False],
    "tables": [["shop.*"], ["shop.orders", "*.items"]],
    "timeoutSeconds": [1, 0.5, 86400],
}
BAD: dict[str, list[Any]] = {
    "archive": ["", {}, {"x": "a"}, {"0": 1}, 1, ["a"], None],
    "dryRun": ["true", 1, None],
    "notAfter": ["2026-11-23", "tomorrow", "2026-11-23T12:00:00", 1, ""],
    "overwrite": ["yes", 0, None],
    "repeat": ["", 1],
    "schemaOnly": ["no"],
    "skipSafetyCopy": [1],
    "tables": ["shop.*", [], [""], ["shop"], ["shop.a,shop.b"], [1], ["shop. a"], {}],
    "timeoutSeconds": [0, -1, "60", True, float("nan"), float("inf"), 10**9],
}
KEYS = list(GOOD)


def test_every_option_is_read_and_every_other_value_refused():
    assert list(BAD) == KEYS
    for key, values in GOOD.items():
        for value in values:
            parse({key: value})
    for key, values in BAD.items():
        for value in values:
            with pytest.raises(InvalidInput, match=rf"spec\.options\.{key} must be "):
                parse({key: value})


@given(st.dictionaries(st.text(max_size=8) | st.sampled_from(KEYS), st.none() | st.booleans() | st.text(max_size=3)))
def test_whatever_is_written_is_read_or_refused_by_its_name(options):
    said = ""
    try:
        read = parse(options)
    except InvalidInput as refused:
        said = str(refused)
    else:
        assert set(options) <= set(KEYS)
        assert not (read.schema_only and read.overwrite)
    assert not said or any(f"spec.options.{key} " in said for key in options)


def test_tables_are_replaced_in_place_unless_it_is_said_and_elsewhere_only_where_it_is_said():
    assert Options().replaces(elsewhere=False)
    assert not Options().replaces(elsewhere=True)
    assert Options(overwrite=True).replaces(elsewhere=True)
    assert not Options(overwrite=False).replaces(elsewhere=False)
    assert not Options(schema_only=True).replaces(elsewhere=False)


pytestmark = pytest.mark.anyio


async def with_items():
    """Two tables, one with a strange name beside them, a Backup of them, and more rows since."""
    stage = await in_use(shards=1)
    tables = stage.app.sidecar(0).tables
    tables.add_table("shop.items", 20)
    tables.add_table("shop.a*b", 20)
    await back_up(stage, "second")
    tables.insert("shop.items", 5)
    tables.insert(TABLE, 5)
    return stage


async def test_tables_by_pattern():
    stage = await with_items()
    async with stage.managed():
        job = await stage.end_of(await stage.restore("undo", "second", options={"tables": ["*.items", "no.such"]}))
        odd = await stage.end_of(await stage.restore("odd", "second", options={"tables": ["shop.a*"]}))
    assert job.status.phase == "Succeeded", job.status.message
    assert stage.app.sidecar(0).tables.count("shop.items") == 20
    assert rows(stage) == [112]
    assert reason_of(odd) == ("Failed", "Refused")
    assert "'shop.a*b'" in odd.status.message
    assert "reads as a pattern" in odd.status.message
    assert stage.app.sidecar(0).local[next(iter(stage.app.sidecar(0).local))].tables.keys() == {"shop.items"}


async def test_the_schema_only():
    stage = await backed_up()
    job = await restored(stage, options={"schemaOnly": True})
    assert job.status.phase == "Succeeded", job.status.message
    assert all(TABLE in sidecar.tables for sidecar in stage.app.sidecars.values())
    assert rows(stage) == [0, 0]


async def test_one_that_has_begun_in_time_goes_on():
    stage = await in_use(shards=1)
    slow(stage, 20)
    job = await restored(stage, options={"notAfter": (stage.now() + timedelta(seconds=10)).isoformat()})
    assert job.status.phase == "Succeeded", job.status.message


async def test_a_dry_run_does_nothing_and_says_what_would_be_done():
    stage = await in_use()
    stage.app.sidecar(1).tables.drop(TABLE)
    for name in ("look", "look-again"):
        job = await restored(stage, name, options={"dryRun": True})
        assert job.status.phase == "Succeeded", job.status.message
        assert "nothing was done: 2 tables would be restored, 1 of them replaced" in job.status.message
        assert f"to be replaced: {TABLE} (" in condition(job, "TargetChecked").message
        assert stage.touched() == []
    assert len(await notes(stage, "TablesToReplace")) == 2
    job = await restored(stage)
    assert job.status.phase == "Succeeded", job.status.message
    job = await restored(stage, "look-later", options={"dryRun": True})
    assert job.status.phase == "Succeeded", job.status.message


async def test_the_patience_with_the_engine():
    stage = await in_use(shards=1)
    slow(stage, 3000)
    job = await restored(stage, options={"timeoutSeconds": 50})
    assert reason_of(job) == ("Failed", "TimedOut")
    assert "has not ended after 0:00:40" in job.status.message
    assert stage.local_copies() == set()
    assert rows(stage) == [107]


REFUSED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"tables": ["shop.nothing"]}, ("spec.options.tables", "shop.nothing matches no table")),
    ({"schemaOnly": True}, (f"{TABLE} exists", "schemaOnly")),
    ({"schemaOnly": True, "overwrite": True}, ("spec.options.overwrite", "schemaOnly")),
    ({"dryRun": True, "overwrite": False}, (f"{TABLE} exists",)),
    ({"archive": f"clickhouse-{APP}-20261123T100000Z"}, ("spec.options.archive", "this one does")),
    ({"notAfter": "2026-11-22T12:00:00Z"}, ("spec.options.notAfter", "not begun by then")),
]


async def test_what_can_not_be_done_is_refused_untouched():
    stage = await in_use(shards=1)
    async with stage.managed():
        for number, (options, words) in enumerate(REFUSED):
            job = await stage.end_of(await stage.restore(f"undo-{number}", "nightly", options=options))
            assert_refused(stage, job, *words)


# Backups of Cozystack's own controller

FIRST = f"clickhouse-{APP}-20261123T100000Z"


async def of_the_reference(**installation):
    """A Backup without a record, and the archive that was made for it."""
    stage = await in_use(shards=1, **installation)
    backup = await stage.made("nightly")
    await stage.kube.merge_patch(
        Backup, "nightly", {"spec": {"driverMetadata": dict.fromkeys(backup.spec.driver_metadata)}}, TENANT
    )
    async with stage.app.sidecar(0).client() as client:
        for name in (FIRST, f"clickhouse-{APP}-bar-20261123T100000Z"):
            await (await client.create_remote(name)).wait()
            await client.delete_local(name)
    stage.app.sidecar(0).tables.insert(TABLE, 9)
    forget(stage)
    return stage


async def test_its_archive_can_be_named():
    stage = await of_the_reference()
    job = await restored(stage, options={"archive": FIRST})
    assert job.status.phase == "Succeeded", job.status.message
    assert rows(stage) == [107]


async def test_what_is_named_is_of_this_application_and_of_each_shard():
    stage = await of_the_reference()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, f"clickhouse-{APP}-<time>"),
        ({"archive": f"clickhouse-{APP}-bar-20261123T100000Z"}, "no archive of"),
        ({"archive": "by-hand"}, "no archive of"),
        ({"archive": {"0": FIRST, "1": FIRST}}, "names shard 0, 1"),
    ]
    async with stage.managed():
        for number, (options, words) in enumerate(wrong):
            job = await stage.end_of(await stage.restore(f"undo-{number}", "nightly", options=options))
            assert_refused(stage, job, "spec.options.archive", words)
        absent = {"archive": FIRST.replace("23T", "22T")}
        await stage.stands(await stage.restore("undo", "nightly", options=absent), "ArchiveNotListed")
    assert stage.touched() == []


async def test_of_an_archive_that_nobody_recorded_tables_without_rows_stay_too():
    stage = await of_the_reference()
    stage.app.sidecar(0).tables.add_table("shop.log", 4, engine="Log")
    name = FIRST.replace("T10", "T11")
    async with stage.app.sidecar(0).client() as client:
        await (await client.create_remote(name)).wait()
    drop(stage)
    job = await restored(stage, options={"archive": name})
    assert job.status.phase == "Succeeded", job.status.message
    assert stage.app.sidecar(0).tables.count("shop.log") == 4
    assert "shop.log" in condition(job, "TablesRestored").message
