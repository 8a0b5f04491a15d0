"""What is decided for a Plan, for whatever is seen: each slot at most once, never late, never a flood."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cozydrivers.api.backups import BackupJob, Plan
from cozydrivers.controllers.planning import (
    JITTER,
    KEEP_FAILED,
    KEEP_SUCCESSFUL,
    LAST_SLOT,
    LONGEST_WAIT,
    STARTING_DEADLINE,
    SUSPEND,
    Sight,
    decide,
    job_name,
    slot_of,
    superfluous,
)
from cozydrivers.runtime.cron import parse

CREATED = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)
UID = "00112233-4455-6677-8899-aabbccddeeff"
REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
total = settings(deadline=None, max_examples=150)


def plan(cron: str, kind: str = "cron", uid: str = UID, name: str = "nightly", **annotations: str) -> Plan:
    names = {"jitter": JITTER, "deadline": STARTING_DEADLINE, "suspend": SUSPEND, "last": LAST_SLOT}
    names |= {"successful": KEEP_SUCCESSFUL, "failed": KEEP_FAILED}
    metadata = {
        "name": name,
        "namespace": "tenant",
        "uid": uid,
        "creationTimestamp": CREATED.isoformat(),
        "annotations": {names[key]: value for key, value in annotations.items()},
    }
    return Plan.decode({"metadata": metadata, "spec": {"schedule": {"type": kind, "cron": cron}}})


def job(name: str, phase: str = "", created: datetime = CREATED, **metadata: Any) -> BackupJob:
    written = {"name": name, "uid": f"uid-{name}", "creationTimestamp": created.isoformat(), **metadata}
    return BackupJob.decode({"metadata": written, "status": {"phase": phase}})


crons = st.sampled_from(
    ["* * * * *", "*/5 * * * *", "0 3 * * *", "@hourly", "@every 25s", "@every 7m", "CRON_TZ=Europe/Berlin 0 3 * * *"]
)
durations = st.sampled_from(["0s", "30s", "90s", "5m", "20m", "3h"])
phases = st.sampled_from(["", "Pending", "Running", "Succeeded", "Failed", "Odd"])
instants = st.datetimes(datetime(2026, 11, 20), datetime(2026, 12, 1), timezones=st.just(UTC))
texts = st.text(max_size=12) | st.sampled_from(["true", "false", "3", "5m", "soon", "2026-11-23T13:00:00Z"])
jobs = st.lists(
    st.builds(lambda at, phase: job(job_name("nightly", at), phase, at), instants, phases),
    max_size=6,
    unique_by=lambda made: made.metadata.name,
)


@total
@given(
    crons | texts,
    st.sampled_from(["", "cron"]) | texts,
    st.dictionaries(st.sampled_from(["jitter", "deadline", "suspend", "last", "successful", "failed"]), texts),
    jobs,
    texts,
    instants,
)
def test_there_is_always_a_decision_with_conditions_that_the_server_takes(
    cron: str, kind: str, annotations: dict[str, str], seen: list[BackupJob], paused: str, now: datetime
):
    verdict = decide(Sight(plan(cron, kind, **annotations), seen, (), paused), now)
    for condition in (verdict.error, verdict.ready):
        assert REASON.fullmatch(condition.reason)
        assert condition.status in ("True", "False")
    assert timedelta() < verdict.wait <= LONGEST_WAIT
    if verdict.start is not None:
        assert (verdict.error.status, verdict.ready.status, paused) == ("False", "True", "")
        assert annotations.get("suspend", "false") == "false"


@total
@given(crons, durations, durations, jobs, instants)
def test_a_slot_that_starts_is_the_latest_in_time_and_has_had_no_job(
    cron: str, jitter: str, deadline: str, seen: list[BackupJob], now: datetime
):
    this = plan(cron, jitter=jitter, deadline=deadline)
    verdict = decide(Sight(this, seen), now)
    if verdict.start is None:
        return
    lengths = {"0s": 0, "30s": 30, "90s": 90, "5m": 300, "20m": 1200, "3h": 10800}
    most = timedelta(seconds=lengths[jitter] + lengths[deadline])
    assert CREATED < verdict.start <= now <= verdict.start + most
    assert job_name("nightly", verdict.start) not in {made.metadata.name for made in seen}
    assert all(made.status.phase in ("Succeeded", "Failed") for made in seen)
    later = parse(cron, CREATED).next(verdict.start)
    assert later is not None
    if jitter == "0s":
        assert later > now


@total
@given(
    crons,
    durations,
    durations,
    st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(["look", "end", "delete", "crash"])), max_size=60),
)
def test_over_any_life_each_slot_has_at_most_one_job_and_never_two_go_on(
    cron: str, jitter: str, deadline: str, life: list[tuple[int, str]]
):
    now, this, seen, names = CREATED, plan(cron, jitter=jitter, deadline=deadline), list[BackupJob](), list[str]()
    for pause, what in life:
        now += timedelta(seconds=pause)
        if what == "end":
            seen = [made.model_copy(update={"status": job("x", "Failed").status}) for made in seen]
        verdict = decide(Sight(this, seen), now)
        if verdict.start is not None:
            assert all(made.status.phase == "Failed" for made in seen)
            names.append(job_name("nightly", verdict.start))
            seen.append(job(names[-1], "Running", now))
        if verdict.last is not None and what != "crash":
            last = verdict.last.strftime("%Y-%m-%dT%H:%M:%SZ")
            this = plan(cron, jitter=jitter, deadline=deadline, last=last)
        if what == "delete" and this.metadata.annotations.get(LAST_SLOT):
            seen = []
    assert len(names) == len(set(names))
    assert names == sorted(names)


@total
@given(crons, durations, instants)
def test_whoever_comes_back_when_told_misses_no_slot(cron: str, jitter: str, now: datetime):
    this = plan(cron, jitter=jitter, deadline="0s", last=now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    now = max(now, CREATED).replace(microsecond=0)
    started: list[datetime] = []
    for _ in range(8):
        verdict = decide(Sight(this, []), now)
        if verdict.start is not None:
            started.append(verdict.start)
            this = plan(cron, jitter=jitter, deadline="0s", last=verdict.start.strftime("%Y-%m-%dT%H:%M:%SZ"))
        now += verdict.wait
    schedule = parse(cron, CREATED)
    for one, other in pairwise(started):
        assert job_name("p", schedule.next(one) or one) in (job_name("p", one), job_name("p", other))
    assert started


@given(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?", fullmatch=True), instants)
def test_a_name_of_a_job_tells_its_slot_and_is_a_name(name: str, slot: datetime):
    made = job_name(name, slot)
    assert len(made) <= 253
    assert ".-" not in made.removeprefix(name)
    assert slot_of(name, made) == slot.replace(second=0, microsecond=0)
    assert slot_of(f"{name}x", made) is None


@pytest.mark.parametrize(
    "name", ["nightly", "nightly-", "nightly-x", "nightly--1", "other-29923200", "nightly-029923200"]
)
def test_other_names_tell_no_slot(name: str):
    assert slot_of("nightly", name) is None


def test_shares_of_the_jitter_are_spread_and_stay_below_it():
    delays = []
    for number in range(300):
        this = plan("@every 1s", uid=f"uid-{number}", jitter="100s", deadline="1s")
        verdict = decide(Sight(this, []), CREATED)
        assert verdict == decide(Sight(this, []), CREATED)
        delays.append(verdict.wait.total_seconds() - 1)
    assert 0 <= min(delays) <= max(delays) < 100
    assert len(set(delays)) > 80


@given(
    st.lists(st.tuples(phases, st.booleans(), st.booleans(), st.integers(0, 500)), max_size=20),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_history_takes_the_oldest_finished_jobs_without_a_backup(
    made: list[tuple[str, bool, bool, int]], successful: int, failed: int
):
    seen = [
        job(f"j{number}", phase, CREATED + timedelta(seconds=age), finalizers=["x"] if held else [])
        for number, (phase, _, held, age) in enumerate(made)
    ]
    kept = {one.metadata.uid for one, (_, has_backup, _, _) in zip(seen, made, strict=True) if has_backup}
    limits = {"Succeeded": successful, "Failed": failed}
    going = superfluous(seen, kept, limits)
    for one in going:
        assert one.status.phase in limits
        assert one.metadata.uid not in kept
        assert not one.metadata.finalizers
    for phase, limit in limits.items():
        rest = [
            one
            for one in seen
            if one.status.phase == phase and one.metadata.uid not in kept and not one.metadata.finalizers
        ]
        gone = [one for one in going if one.status.phase == phase]
        stays = [one for one in rest if one not in gone]
        assert len(stays) == min(limit, len(rest))
        ages = [one.metadata.creation_timestamp for one in stays if one.metadata.creation_timestamp]
        assert all(
            one.metadata.creation_timestamp <= min(ages) for one in gone if ages and one.metadata.creation_timestamp
        )
