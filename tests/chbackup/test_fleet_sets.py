"""Sets whose members lie in several storages go whole or stay whole, over crashes too."""

import json
import random
from datetime import datetime, timedelta

import anyio
import pytest
from tests.chbackup.fleets import LAST, NOW, add, deletes, fleet_of, member, outcomes, purged, sidecar

import chbackup


def two_shards(*days, app="shop"):
    """Make a sidecar for each of two shards, each with a storage of its own, and a set for each day."""
    fakes = {"s0": sidecar(), "s1": sidecar()}
    for day in days:
        for shard, fake in enumerate(fakes.values()):
            add(fake, app, day, shard, 2)
    return fakes


def of_its_own(number):
    """Make a sidecar whose archives are nobody else's."""
    fake = sidecar()
    for day in (1, 2, 3):
        fake.add_remote(f"app{number}-2026010{day}", created=datetime(2026, 1, day))
    return fake


def left(fakes):
    return sorted(name for fake in fakes.values() for name in fake.remote)


def events(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_set_goes_as_a_whole_one_member_after_the_other():
    fakes = two_shards(1, 2, 3)
    run, results = await purged(fakes)
    assert run.summary.ok
    sets = [result.set_name for result in results]
    assert sets == sorted(sets, key=sets.index)
    assert len(set(sets)) == 2
    assert left(fakes) == [member("shop", 3, 0), member("shop", 3, 1)]


async def test_the_storages_of_one_set_are_not_purged_at_the_same_time():
    fakes = two_shards(1, 2, 3, 4)
    for fake in fakes.values():
        fake.duration.delete = 10
    await purged(fakes)
    assert anyio.current_time() >= 60


async def test_storages_without_a_set_in_common_are_purged_side_by_side():
    fakes = {f"h{number}": of_its_own(number) for number in range(20)}
    for fake in fakes.values():
        fake.duration.delete = 10
    run, _ = await purged(fakes)
    assert run.summary.counts == {"deleted": 40}
    assert anyio.current_time() < 30


async def test_a_set_of_which_a_storage_cannot_be_asked_stays():
    fakes = two_shards(1, 2, 3)
    fakes["s1"].faults.refuse = True
    _, results = await purged(fakes)
    assert outcomes(results) == {"http://s1:7171": "unreachable"}
    assert len(left(fakes)) == 6


async def test_the_rest_of_a_set_stays_when_one_of_it_cannot_go():
    fakes = two_shards(1, 2)
    first = member("shop", 1, 0)
    async with fleet_of(fakes) as fleet, fleet.purge(LAST, now=NOW) as run:
        planned = [decision.archive.name for decision in run.plan.delete]
        host = "s0" if planned[0] == first else "s1"
        fakes[host].add_remote("new", required=planned[0])
        results = [result async for result in run]
    assert [result.outcome for result in results] == ["kept", "kept"]
    assert f"{planned[0]} stays" in results[1].reason
    assert len(left(fakes)) == 5


async def test_a_killed_purge_ends_the_set_that_it_has_begun(tmp_path):
    fakes = two_shards(1, 2, 3)
    journal = tmp_path / "purge.jsonl"
    async with fleet_of(fakes) as fleet, fleet.purge(LAST, now=NOW, journal=journal) as run:
        async for _ in run:
            break
    for fake in fakes.values():  # a delete that was under way
        await fake.handle("GET", "/backup/version", "", {}, b"")
    assert len(left(fakes)) in (4, 5)
    run, results = await purged(fakes, journal=journal)
    assert run.summary.ok, results
    assert left(fakes) == [member("shop", 3, 0), member("shop", 3, 1)]
    assert events(journal)[-1]["event"] == "end"


async def test_without_the_journal_half_a_set_stays():
    fakes = two_shards(1, 2, 3)
    del fakes["s0"].remote[member("shop", 1, 0)]
    await purged(fakes)
    assert left(fakes) == [member("shop", 1, 1), member("shop", 3, 0), member("shop", 3, 1)]


@pytest.mark.parametrize("seed", range(5))
async def test_kills_at_any_moment_end_in_the_same_state(seed, tmp_path):
    fakes = two_shards(1, 2, 3, 4)
    for host, fake in fakes.items():
        fake.duration.delete = 1
        fake.add_remote(f"{host}-20260101", created=datetime(2026, 1, 1))
        fake.add_remote(f"{host}-20260102", created=datetime(2026, 1, 2), required=f"{host}-20260101")
        fake.add_remote(f"{host}-20260103", created=datetime(2026, 1, 3))
    chance = random.Random(seed)
    for _ in range(100):
        with anyio.move_on_after(chance.uniform(0.1, 3)):
            run, _ = await purged(fakes, journal=tmp_path / "purge.jsonl", timeout=60)
            break
    assert run.summary.ok
    assert left(fakes) == [member("shop", 4, 0), member("shop", 4, 1), "s0-20260103", "s1-20260103"]


async def test_the_journal_says_what_was_deleted_and_why_and_holds_no_secret(tmp_path):
    fake = sidecar(days=(1, 2))
    journal = tmp_path / "purge.jsonl"
    await purged({"a": fake}, journal=journal)
    lines = events(journal)
    assert [line["event"] for line in lines] == ["begin", "deleting", "deleted", "end"]
    deleted = lines[2]
    assert datetime.fromisoformat(deleted.pop("at")).tzinfo
    assert deleted == {
        "event": "deleted",
        "set": "http://a:7171:shop-20260101",
        "storage": "http://a:7171",
        "url": "http://a:7171",
        "place": "remote",
        "archive": "shop-20260101",
        "bytes": lines[1]["bytes"],
        "reason": "no rule keeps it",
    }
    assert deleted["bytes"] > 1000
    assert "secret" not in journal.read_text()


async def test_each_delete_is_in_the_journal_before_it_is_sent(tmp_path):
    fake = sidecar(days=(1, 2))
    journal = tmp_path / "purge.jsonl"
    real = fake.handle
    seen: list[str] = []

    async def handle(method, path, *rest):
        if "/delete/" in path:
            seen.extend(line["event"] for line in events(journal))
        return await real(method, path, *rest)

    fake.handle = handle
    await purged({"a": fake}, journal=journal)
    assert seen == ["begin", "deleting"]


async def test_what_failed_is_in_the_journal_and_its_set_not_ended(tmp_path):
    fake = sidecar(days=(1, 2))
    journal = tmp_path / "purge.jsonl"
    fake.faults.replace_reply(403, "forbidden", path="/delete/")
    _, results = await purged({"a": fake}, journal=journal)
    assert outcomes(results) == {"shop-20260101": "unreachable"}
    assert [line["event"] for line in events(journal)] == ["begin", "deleting", "failed"]
    assert "forbidden" in events(journal)[2]["error"]


async def test_a_dry_run_leaves_no_journal(tmp_path):
    await purged({"a": sidecar(days=(1, 2))}, journal=tmp_path / "purge.jsonl", dry_run=True)
    assert not (tmp_path / "purge.jsonl").exists()


async def test_a_dry_run_knows_what_an_earlier_run_has_begun(tmp_path):
    fakes = two_shards(1, 2)
    journal = tmp_path / "purge.jsonl"
    del fakes["s0"].remote[member("shop", 1, 0)]
    name = member("shop", 1, 1).rpartition("-a1-")[0]
    text = json.dumps({"at": "2026-01-30", "event": "begin", "set": name}) + "\n"
    journal.write_text(text)
    run, _ = await purged(fakes, journal=journal, dry_run=True)
    assert [decision.archive.name for decision in run.plan.delete] == [member("shop", 1, 1)]
    assert journal.read_text() == text


async def test_a_journal_that_cannot_be_written_stops_the_purge(tmp_path, monkeypatch):
    fakes = {f"h{number}": of_its_own(number) for number in range(3)}
    writes = []

    def fsync(_):
        writes.append(1)
        if len(writes) > 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        await purged(fakes, journal=tmp_path / "purge.jsonl")
    assert len(deletes(*fakes.values())) <= 4


async def test_chains_over_sets_go_children_first(version):
    fakes = {"s0": sidecar(version=version), "s1": sidecar(version=version)}
    for shard, fake in enumerate(fakes.values()):
        full = add(fake, "shop", 1, shard, 2)
        add(fake, "shop", 2, shard, 2, required=full)
        add(fake, "shop", 3, shard, 2)
    run, _ = await purged(fakes)
    assert run.summary.ok
    assert left(fakes) == [member("shop", 3, 0), member("shop", 3, 1)]
    for shard, fake in enumerate(fakes.values()):
        assert deletes(fake) == [f"remote/{member('shop', day, shard)}" for day in (2, 1)]


async def test_the_newest_set_stays_even_when_it_is_old():
    fakes = two_shards(1, 2)
    await purged(fakes, chbackup.Retention(older_than=timedelta(days=1)))
    assert left(fakes) == [member("shop", 2, 0), member("shop", 2, 1)]
