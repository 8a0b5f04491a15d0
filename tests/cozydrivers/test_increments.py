"""Incremental sets (I8): each archive stands on one of the same replica, whose whole chain was seen good."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.backups import archive_of, delete, events, exists, followed
from tests.cozydrivers.checks import TABLE, assert_refused, drop, staged, without
from tests.cozydrivers.stage import CLASS, TENANT, Stage, condition, recorded
from tests.cozydrivers.test_decisions import run_of

from chbackup import Archive, Table
from chbackup.evidence import chain_problems
from cozydrivers.api.backups import Backup, BackupClass, BackupJob
from cozydrivers.controllers.audits import FIRST, SPREAD
from cozydrivers.drivers.base import BackupRun
from cozydrivers.drivers.clickhouse import backup, record
from cozydrivers.drivers.clickhouse.chains import Case, Terms, choose, terms
from cozydrivers.drivers.clickhouse.checkpoint import Member, State, archive_name
from cozydrivers.drivers.clickhouse.earlier import Earlier, last_good
from cozydrivers.drivers.clickhouse.following import Submission, Verdict
from cozydrivers.drivers.clickhouse.look import Scene, Sight
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.clickhouse.record import Recorded, Tables
from cozydrivers.drivers.clickhouse.steps import End, Go, Hold, Step, Submit
from cozydrivers.errors import InvalidInput

pytestmark = pytest.mark.anyio
total = settings(deadline=None, max_examples=60)


async def says(stage: Stage, **parameters: str) -> None:
    """Have the BackupClass say so."""
    binding = {**stage.seed[1]["spec"]["strategies"][0], "parameters": parameters}
    await stage.kube.merge_patch(BackupClass, CLASS, {"spec": {"strategies": [binding]}})


async def with_chains(*names: str, parameters: Any = (("maxChain", "5"),), **installation: Any) -> Stage:
    """A stage with Backups, each of a few rows more than the one before."""
    stage = await staged(**({"shards": 1} | installation))
    await says(stage, **dict(parameters))
    async with stage.managed():
        for name in names:
            await made(stage, name)
    return stage


async def made(stage: Stage, name: str) -> BackupJob:
    """A Backup that succeeds; then the tables grow, and time passes."""
    job = await stage.end_of(await stage.backup(name))
    assert job.status.phase == "Succeeded", job.status.message
    for sidecar in stage.app.sidecars.values():
        sidecar.tables.insert(TABLE, 10)
    await anyio.sleep(60)
    return job


async def bases_of(stage: Stage, name: str) -> list[str]:
    """What the archives of a Backup need, by shard, as it records."""
    metadata = (await stage.made(name)).spec.driver_metadata
    return [value for key, value in sorted(metadata.items()) if key.startswith("clickhouse.backup/required.")]


async def archives_of(stage: Stage, name: str) -> list[str]:
    """The archives of a Backup, by shard."""
    metadata = (await stage.made(name)).spec.driver_metadata
    return [value for key, value in sorted(metadata.items()) if key.startswith("clickhouse.backup/archive.")]


FULL = [""]


async def test_each_set_is_an_increment_on_the_one_before():
    stage = await with_chains("one", "two", "three", shards=2)
    assert await bases_of(stage, "one") == ["", ""]
    assert await bases_of(stage, "two") == await archives_of(stage, "one")
    assert await bases_of(stage, "three") == await archives_of(stage, "two")
    metadata = (await stage.made("three")).spec.driver_metadata
    for shard, name in enumerate(await archives_of(stage, "three")):
        whole = sum(file.total_bytes for file in stage.app.sidecar(0).remote[name].tables.values())
        assert json.loads(metadata[f"clickhouse.backup/tables.{shard}"])["bytes"] == whole
        assert 0 < int(metadata[f"clickhouse.backup/data-size.{shard}"]) < whole / 2
    assert stage.local_copies() == set()
    job = await stage.backup_job("three")
    assert (await archives_of(stage, "two"))[0] in job.status.message
    assert [told for told in job.status.conditions if told.type == "Suspicious"] == []


async def test_without_parameters_each_set_is_full():
    stage = await with_chains("one", "two", parameters=())
    assert await bases_of(stage, "two") == FULL


async def test_a_chain_has_as_many_increments_as_the_class_says():
    stage = await with_chains("one", "two", "three", parameters=[("maxChain", "1")])
    assert [bool((await bases_of(stage, name))[0]) for name in ("one", "two", "three")] == [False, True, False]
    assert await events(stage, "FullInstead") == []


async def test_a_full_one_is_due_after_as_long_as_the_class_says():
    stage = await with_chains("one", "two", "three", parameters=[("fullEvery", "90s")])
    assert [bool((await bases_of(stage, name))[0]) for name in ("one", "two", "three")] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fullEvery", "7d"),
        ("fullEvery", "0s"),
        ("fullEvery", ""),
        ("maxChain", "0"),
        ("maxChain", "-1"),
        ("maxChain", "many"),
        ("maxChain", "1000"),
    ],
)
async def test_parameters_that_say_nothing_are_refused_by_name(name, value):
    stage = await staged(shards=1)
    await says(stage, **{name: value})
    async with stage.managed():
        job = await stage.end_of(await stage.backup("one"))
    assert_refused(stage, job, f"parameters.{name}", repr(value))


# When a full one is made instead


async def full_instead(stage: Stage, *words: str) -> None:
    """The next set is full, and says why with a warning."""
    async with stage.managed():
        await made(stage, "next")
    assert await bases_of(stage, "next") == FULL
    (event,) = await events(stage, "FullInstead")
    assert event.type == "Warning"
    assert all(word in event.note for word in words), event.note


async def test_a_base_that_is_gone():
    stage = await with_chains("one")
    lost = await archive_of(stage, "one")
    del stage.app.sidecar(0).remote[lost]
    await full_instead(stage, lost, "not in the list")


async def test_a_base_that_is_broken():
    """The server would take it (seen on 2.7.4 and 2.8.1-dev)."""
    stage = await with_chains("one")
    broken = await archive_of(stage, "one")
    for sidecar in stage.app.sidecars.values():
        sidecar.break_remote(broken, "garbage")
    await full_instead(stage, broken, "broken")


async def test_a_base_whose_own_base_is_gone():
    stage = await with_chains("one", "two")
    lost = await archive_of(stage, "one", 0)
    del stage.app.sidecar(0).remote[lost]
    await full_instead(stage, lost, "not in the list")


async def test_the_set_after_a_restore_is_full_and_the_next_an_increment():
    stage = await with_chains("one")
    drop(stage)
    async with stage.managed():
        await stage.end_of(await stage.restore("undo", "one"))
        await anyio.sleep(5)
        await made(stage, "two")
        await made(stage, "three")
    assert await bases_of(stage, "two") == FULL
    assert await bases_of(stage, "three") == await archives_of(stage, "two")
    assert await events(stage, "FullInstead") == []


async def test_a_set_of_other_replicas_is_full():
    stage = Stage(shards=1, replicas=2)
    await stage.set_up()
    for sidecar in stage.app.sidecars.values():
        sidecar.tables.add_table(TABLE, 100, engine="ReplicatedMergeTree")
    await says(stage, maxChain="5")
    async with stage.managed():
        await made(stage, "one")
        stage.app.sidecar(0, 0).faults.refuse = True
        await made(stage, "two")
        stage.app.sidecar(0, 0).faults.refuse = False
        await made(stage, "three")  # replica 1 holds as much as replica 0: the chain goes on there
    assert await bases_of(stage, "two") == FULL
    assert await bases_of(stage, "three") == await archives_of(stage, "two")


# What it must withstand


async def test_an_increment_goes_on_after_a_restart_of_its_sidecar():
    stage = await with_chains("one")
    sidecar = stage.app.sidecar(0)
    sidecar.duration.upload = 30
    sidecar.configure(API_COMPLETE_RESUMABLE_AFTER_RESTART="false")
    async with stage.managed():
        job = await stage.stands(await stage.backup("two"), "InProgress")
        await anyio.sleep(10)
        sidecar.kill_process()
        sidecar.start_process()
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert await bases_of(stage, "two") == await archives_of(stage, "one")


async def test_an_increment_whose_base_is_deleted_meanwhile_is_no_success():
    stage = await with_chains("one", shards=2)
    stage.app.sidecar(1).duration.upload = 30
    base = await archive_of(stage, "one", 1)
    async with stage.managed():
        job = await stage.stands(await stage.backup("two"), "InProgress")
        await anyio.sleep(10)
        async with stage.app.sidecar(0).client() as client:
            await client.delete_remote(base)
        job = await stage.end_of(job)
    assert condition(job, "Ready").reason == "EngineFailed"
    assert f"`delete remote {base}` ran" in job.status.message
    assert stage.archives() == {await archive_of(stage, "one")}


async def test_a_base_that_an_increment_needs_stays_until_that_goes():
    """I8."""
    stage = await with_chains("one", "two", parameters=[("maxChain", "5"), ("deletionPolicy", "Delete")])
    bases, increments = recorded(await stage.made("one")), recorded(await stage.made("two"))
    async with followed(stage):
        await delete(stage, "one")
        await anyio.sleep(60)
        assert await exists(stage, "one")
        assert condition(await stage.made("one"), "Progressing").reason == "RequiredByOthers"
        assert stage.archives() == bases | increments
        await delete(stage, "two")
        await anyio.sleep(60)
    assert (await exists(stage, "one"), await exists(stage, "two")) == (False, False)
    assert stage.archives() == set()


async def test_no_further_increment_is_made_on_what_is_being_deleted():
    stage = await with_chains("one", "two", parameters=[("maxChain", "5"), ("deletionPolicy", "Delete")])
    async with followed(stage):
        await delete(stage, "one")
        await anyio.sleep(20)
        async with stage.managed():
            await made(stage, "three")
    assert await bases_of(stage, "three") == FULL


async def test_the_daily_look_finds_a_chain_that_has_a_gap():
    stage = await with_chains("one", "two")
    del stage.app.sidecar(0).remote[await archive_of(stage, "one")]
    await without(Backup, "one", TENANT)(stage)
    async with followed(stage):
        await anyio.sleep(FIRST + SPREAD + 60)
    assert condition(await stage.made("two"), "Ready").reason == "ChainBroken"


# The decision

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RUN = run_of(BackupRun)
OURS = [
    archive_name(replace(RUN, uid="9" * 12, created=NOW - timedelta(days=day)), attempt=1, shard=0, shards=1, replica=0)
    for day in range(4)
]


def listed(name: str, required: str, desc: str) -> Archive:
    return Archive(name=name, location="remote", required=required, desc=desc, data_size=1)


lists = st.lists(
    st.builds(
        listed,
        st.sampled_from(OURS),
        st.sampled_from(["", *OURS]),
        st.sampled_from(["regular", "regular", "regular", "broken (bad metadata.json)"]),
    ),
    max_size=4,
    unique_by=lambda archive: archive.name,
)


@total
@given(
    lists,
    st.sampled_from(OURS[:2]),
    st.sampled_from(["", *OURS]),
    st.none() | st.integers(1, 3),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(0, 4),
    st.booleans(),
)
def test_a_base_is_one_whose_whole_chain_is_good_and_within_the_limits(
    remote, base, required, longest, days, restored, going
):
    metadata = {record.STORAGE: "here", record.VERSIONS: "2.7.4"}
    taken = NOW - timedelta(days=OURS.index(base))
    fields = {"deletionTimestamp": NOW.isoformat()} if going else {}
    body = {"metadata": {"name": "b", **fields}, "spec": {"takenAt": taken.isoformat(), "driverMetadata": metadata}}
    entry = Recorded(shard=0, archive=base, data_size=1, required=required, tables=Tables(count=1, hash="x"))
    place = Place(0, 0, "pod", "uid", "http://x", ready=True, storage="here")
    case = Case(
        Terms(timedelta(days=days) if days else None, longest),
        Earlier(Backup.decode(body), [entry]),
        [Sight(place, remote=remote, version="2.7.4")],
        NOW,
        None if restored is None else NOW - timedelta(days=restored),
    )
    found = choose(case)
    assert bool(found.by_pod) != bool(found.why_full)
    if found.by_pod:
        assert found.by_pod == {"pod": base}
        assert chain_problems(remote, base) == []
        assert not going
        assert restored is None or NOW - timedelta(days=restored) < taken
        known = {archive.name: archive.required for archive in remote}
        assert known[base] == required
        chain = [base]
        while known[chain[-1]]:
            chain.append(known[chain[-1]])
        assert longest is None or len(chain) <= longest
        assert days is None or OURS.index(chain[-1]) < days


WHEN = "2026-11-23T00:00:00Z"


def case_of(**changes: Any) -> Case:
    """A set of yesterday's that lists as it was recorded; changes are those of its Backup's record, and of the list."""
    metadata = {record.STORAGE: "here", record.VERSIONS: "2.7.4"} | changes.get("recorded", {})
    spec = {"takenAt": (NOW - timedelta(days=1)).isoformat(), "driverMetadata": metadata}
    entry = Recorded(shard=0, archive=OURS[1], data_size=1, tables=Tables(count=1, hash="x"))
    place = Place(0, changes.get("replica", 0), "pod", "uid", "http://x", ready=True, storage="here")
    remote = changes.get("remote", [listed(OURS[1], "", "regular")])
    sight = Sight(place, remote=remote, version=changes.get("version", "2.7.4"))
    about = {"name": "b"} | {key: value for key, value in changes.items() if key == "deletionTimestamp"}
    good = Earlier(Backup.decode({"metadata": about, "spec": spec}), [entry])
    return Case(Terms(longest=5), good, [sight], NOW)


@pytest.mark.parametrize(
    ("changes", "word", "lost"),
    [
        ({"version": "2.6.43"}, "2.6.43", True),
        ({"version": ""}, "no known version", True),
        ({"recorded": {record.VERSIONS: "2.7.4,2.6.43"}}, "2.6.43", True),
        ({"recorded": {record.STORAGE: "elsewhere"}}, "storage path", True),
        ({"recorded": {record.STORAGE: ""}}, "storage path", True),
        ({"remote": []}, "not in the list", True),
        ({"remote": [listed(OURS[1], "", "regular").model_copy(update={"data_size": 2})]}, "recorded", True),
        ({"replica": 1}, "other replicas", False),
        ({"deletionTimestamp": WHEN}, "being deleted", False),
    ],
)
def test_a_base_that_will_not_do_makes_a_full_set(changes, word, lost):
    assert choose(case_of()).by_pod == {"pod": OURS[1]}
    found = choose(case_of(**changes))
    assert (found.by_pod, found.lost) == ({}, lost)
    assert word in found.why_full


@pytest.mark.parametrize(
    "spoiled",
    [
        {"status": {"phase": "Failed"}},
        {"status": {"conditions": [{"type": "Suspicious", "status": "True"}]}},
        {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "ArchiveMissing"}]}},
        {"cluster": "another"},
        {"archive": OURS[1].replace("cozy-shop", "cozy-other")},
        {"schema": "2"},
    ],
    ids=repr,
)
def test_only_a_good_set_is_a_base(spoiled):
    def backup(
        day: int, status: Any = None, cluster: str = RUN.cluster_uid, archive: str = "", **recorded: str
    ) -> Backup:
        entry = Recorded(shard=0, archive=archive or OURS[day], data_size=1, tables=Tables(count=1, hash="x"))
        written = record.write([entry], versions="2.7.4", storage="", cluster=cluster)
        written |= {f"clickhouse.backup/{key}": value for key, value in recorded.items()}
        spec = {"takenAt": (NOW - timedelta(days=day)).isoformat(), "driverMetadata": written}
        return Backup.decode(
            {"metadata": {"name": str(day)}, "spec": spec, "status": {"phase": "Ready"} | (status or {})}
        )

    run = replace(RUN, uid="f" * 12)
    good = last_good(replace(run, earlier=[backup(2), backup(1), backup(3)]))
    other = last_good(replace(run, earlier=[backup(2), backup(1, **spoiled), backup(3)]))
    assert good is not None
    assert other is not None
    assert (good.backup.metadata.name, other.backup.metadata.name) == ("1", "2")


NEW = archive_name(RUN, attempt=1, shard=0, shards=1, replica=0)


def step_of(verdict: Verdict, *, required: str = OURS[1], held: int = 100, live: int = 100, **member: Any) -> Step:
    """The next step of an increment of 10 bytes on 90, as it is listed; `held` is what its tables add up to."""
    state: Any = "sending" if verdict is Verdict.SEND else "sent"
    submission = Submission(verb="create_remote", archive=NEW, state=state, at=NOW)
    made: Any = {"shard": 0, "replica": 0, "pod": "p", "pod_uid": "u", "stage": "making", "base": OURS[1]} | member
    whole = Member(submission=submission, source_bytes=100, **made)
    base = [] if member.get("doubted") is NOW else [listed(OURS[1], "", "regular")]
    new = Archive(name=NEW, location="remote", required=required, desc="regular", data_size=10)
    sight = Sight(
        place=Place(0, 0, "p", "u", "http://x", ready=True),
        verdict=verdict,
        local=[new.model_copy(update={"location": "local"})],
        remote=[new, *base],
        archived=[Table(database="shop", name="orders", total_bytes=held)],
        live=[Table(database="shop", name="orders", engine="MergeTree", total_bytes=live)],
    )
    state_now = State(kind="backup", shards=1, members=(whole,))
    (step,) = backup.decide(state_now, Scene([sight], {"p": sight}), replace(RUN, fresh=True))
    return step


def test_an_increment_is_proven_by_its_base_and_by_the_whole_size():
    """I2."""
    assert isinstance(step_of(Verdict.SUCCEEDED), Go)
    assert isinstance(step_of(Verdict.SUCCEEDED, required=""), End)
    assert isinstance(step_of(Verdict.SUCCEEDED, required=OURS[2]), End)
    long_ago = NOW - timedelta(minutes=6)
    for held in (90, 110):
        assert isinstance(step_of(Verdict.SUCCEEDED, held=held), Hold)
        assert isinstance(step_of(Verdict.SUCCEEDED, held=held, doubted=long_ago), End)
    assert isinstance(step_of(Verdict.SUCCEEDED, held=90, live=120), Go)  # rows came meanwhile: nobody knows the size
    assert isinstance(step_of(Verdict.SUCCEEDED, held=9, live=120), Hold)


def test_nothing_is_sent_or_proven_on_a_base_that_is_not_listed():
    gone = step_of(Verdict.SEND, doubted=NOW)
    assert isinstance(step_of(Verdict.SEND), Submit)
    assert isinstance(gone, Hold)
    assert (gone.reason, gone.member.submission.state) == ("BaseNotListed", "planned")
    assert isinstance(step_of(Verdict.SUCCEEDED, doubted=NOW), Hold)


def test_a_checkpoint_may_name_no_base_of_another_archive():
    """I12."""
    other = [
        OURS[1].replace("-r0", "-r1"),
        OURS[1].replace("s0of1", "s1of2"),
        OURS[1].replace("cozy-shop", "cozy-other"),
        NEW,
        "by-hand",
    ]
    for base in [OURS[1], *other]:
        submission = Submission(verb="create_remote", archive=NEW, at=NOW)
        member = Member(shard=0, replica=0, pod="p", pod_uid="u", stage="making", base=base, submission=submission)
        saved = State(kind="backup", shards=1, members=(member,)).save()
        if base in other:
            with pytest.raises(InvalidInput, match="can't be a base"):
                State.read(saved, RUN)
        else:
            assert State.read(saved, RUN).members == (member,)


def test_terms_are_off_unless_one_is_set():
    assert terms({"deletionPolicy": "Delete"}) is None
    assert terms({"fullEvery": "168h"}) == Terms(timedelta(days=7), None)
    assert terms({"maxChain": "6"}) == Terms(None, 6)


def test_a_run_is_not_compared_with_its_own_backup():
    own = archive_name(RUN, attempt=1, shard=0, shards=1, replica=0)
    entry = Recorded(shard=0, archive=own, data_size=1, tables=Tables(count=1, hash="x"))
    written = record.write([entry], versions="2.7.4", storage="", cluster=RUN.cluster_uid)
    body = {"metadata": {"name": "b"}, "spec": {"driverMetadata": written}, "status": {"phase": "Ready"}}
    assert last_good(replace(RUN, earlier=[Backup.decode(body)])) is None
    assert last_good(replace(RUN, uid="f" * 12, earlier=[Backup.decode(body)])) is not None
