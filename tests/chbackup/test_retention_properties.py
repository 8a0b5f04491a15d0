"""What holds for every plan: over chains, sets, storages, ties, and runs that were cut short."""

from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chbackup import Archive, ArchiveName, InvalidInput, Refused, Retention, default_group, plan_fleet, plan_purge

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STEP = timedelta(hours=7)
ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine breaks no property
BROKEN = {"desc": "broken (can't stat metadata.json)", "created": None, "size": 0, "required": ""}
STATES: dict[str, dict[str, Any]] = {"broken": BROKEN, "of unknown time": {"created": None}}
PERIODS = {"hourly": "%Y%m%d%H", "daily": "%Y%m%d", "weekly": "%G%V", "monthly": "%Y%m", "yearly": "%Y"}


# Made once, and few draws for each archive: to draw the lists takes longer than to plan.
RUNS = st.tuples(
    st.integers(0, 9) | st.integers(0, 60),
    st.sampled_from(["shop", "shop", "shop-2", 1, 2, 3]),
    st.sampled_from([(), ((0, 1),), ((0, 1),)]),
)
PLACES = {number: st.sampled_from("abc"[:number]) for number in (1, 2, 3)}
LATE = [timedelta(0), timedelta(hours=26)]
KINDS = st.sampled_from(
    [(kind, late) for kind in [*["good"] * 16, *["broken"] * 3, "lost", "of unknown time"] for late in LATE]
)
BASES = st.integers(0, 59)  # a multiple of each number of them
SEVERAL = st.lists(RUNS, min_size=1, max_size=10)


def names(number, taken, what, further):
    """The members of one run: a set of our scheme, or an archive of its own."""
    if isinstance(what, str):
        return [f"{what}-{taken:%Y%m%dT%H%M%S}-{number:08x}"]
    shards = what
    copies = [*((shard, 0) for shard in range(shards)), *further]
    uid = f"{number:012x}"
    return [str(ArchiveName("shop", "0a1b2c", taken, uid, 1, shard, shards, replica)) for shard, replica in copies]


@st.composite
def fleets(draw):
    """The lists of one to three storages; the bases of an archive are of earlier runs in its storage."""
    storages, aware = draw(st.integers(1, 3)), draw(st.booleans())
    lists: dict[str, list[Archive]] = {storage: [] for storage in "abc"[:storages]}
    for number, (steps, what, further) in enumerate(draw(SEVERAL)):
        taken = NOW - STEP * steps
        bases = {storage: [archive.name for archive in archives] for storage, archives in lists.items()}
        for name in names(number, taken, what, further):
            state, late = draw(KINDS)
            if state == "lost":
                continue
            storage, created = draw(PLACES[storages]), taken + late
            possible = ["", "", *bases[storage][-4:]]
            required = possible[draw(BASES) % len(possible)]
            made = {"created": created if aware else created.replace(tzinfo=None), "desc": "tar, regular", "size": 7}
            fields = made | {"required": required} | STATES.get(state, {})
            lists[storage].append(Archive(name=name, location="remote", **fields))
    return lists


@st.composite
def retentions(draw):
    age = st.sampled_from([12, 24, 60, 200, 2000]).map(lambda hours: timedelta(hours=hours))
    rules = draw(
        st.sets(st.sampled_from(["keep_last", *(f"keep_{rule}" for rule in PERIODS), "older_than"]), min_size=1)
    )
    numbers = {rule: draw(st.integers(1, 2)) for rule in sorted(rules) if rule != "older_than"}
    older_than = draw(age) if "older_than" in rules else None
    match = draw(st.sampled_from([None, None, None, "*", "cozy-*"]))
    protect = draw(st.sampled_from([(), (), (), ("*-s1of2*",), ("*00000002*", "shop-2-*")]))
    return Retention(
        **numbers, older_than=older_than, match=match, protect=protect, allow_none=draw(st.integers(0, 4)) == 0
    )


def set_of(storage, archive):
    group = default_group(archive.name)
    return group.set if group.shards else f"{storage}:{group.set}"


def series_of(storage, archive):
    group = default_group(archive.name)
    return group.series if group.shards else f"{storage}:{group.series}"


class Sight:
    """The lists, understood a second time and without a care for speed."""

    def __init__(self, lists):
        self.lists = lists
        self.sets = defaultdict(list)
        for storage, archives in lists.items():
            for archive in archives:
                self.sets[set_of(storage, archive)].append((storage, archive))

    def chain(self, storage, archive):
        """The archive and its bases."""
        known = {one.name: one for one in self.lists[storage]}
        while archive:
            yield archive
            archive = known.get(archive.required)

    def time(self, name):
        times = [archive.created for _, archive in self.sets[name] if not archive.broken]
        return max(times) if times and all(times) else None

    def complete(self, name):
        sound = [
            (storage, archive)
            for storage, archive in self.sets[name]
            if not any(one.broken for one in self.chain(storage, archive))
        ]
        if all(default_group(archive.name).shards for _, archive in self.sets[name]):
            return self.listed(name, sound)
        return sound == self.sets[name]

    def listed(self, name, among=None):
        """Whether every shard is listed."""
        groups = [default_group(archive.name) for _, archive in self.sets[name]]
        shards = max((group.shards for group in groups), default=1)
        among = self.sets[name] if among is None else among
        return {default_group(archive.name).shard for _, archive in among} >= set(range(shards))

    def competitors(self, name):
        """The complete sets of known time of the same series, newest first, as times."""
        series = series_of(*self.sets[name][0])
        mine = (other for other in self.sets if series_of(*self.sets[other][0]) == series)
        return sorted((self.time(other) for other in mine if self.complete(other) and self.time(other)), reverse=True)


def gone(plan):
    return {(decision.storage, decision.archive.name) for decision in plan.delete}


def without(lists, removed):
    return {
        storage: [archive for archive in archives if (storage, archive.name) not in removed]
        for storage, archives in lists.items()
    }


@ANY_SPEED
@given(fleets(), retentions(), st.booleans())
def test_every_archive_gets_one_decision_and_keeps_what_it_needs(lists, retention, broken):
    plan = plan_fleet(lists, retention, NOW, broken=broken)
    decided = {(decision.storage, decision.archive.name): decision for decision in plan.decisions}
    assert len(plan.decisions) == len(decided) == sum(map(len, lists.values()))
    assert plan.bytes_freed == sum(decision.archive.size for decision in plan.delete)
    for decision in plan.keep:
        if base := decision.archive.required:
            assert not decided[decision.storage, base].delete
    fates = defaultdict(set)
    for decision in plan.decisions:
        assert decision.set_name == set_of(decision.storage, decision.archive)
        fates[decision.set_name].add(decision.delete)
    assert all(len(fate) == 1 for fate in fates.values())


@ANY_SPEED
@given(fleets(), retentions(), st.booleans())
def test_children_go_first_and_the_members_of_a_set_together(lists, retention, broken):
    plan = plan_fleet(lists, retention, NOW, broken=broken)
    seen = set()
    for decision in plan.delete:
        assert (decision.storage, decision.archive.required) not in seen
        seen.add((decision.storage, decision.archive.name))
    runs = [name for name, _ in groupby(decision.set_name for decision in plan.delete)]
    assert len(runs) == len(set(runs))


@ANY_SPEED
@given(fleets(), retentions(), st.booleans())
def test_the_newest_complete_set_of_a_series_stays(lists, retention, broken):
    plan = plan_fleet(lists, replace(retention, allow_none=False), NOW, broken=broken)
    sight = Sight(lists)
    for decision in plan.delete:
        times = sight.competitors(decision.set_name)
        if sight.complete(decision.set_name):
            assert sight.time(decision.set_name) < times[0]
        else:
            assert times
            assert sight.time(decision.set_name) is None or sight.time(decision.set_name) < times[0]


@ANY_SPEED
@given(fleets(), retentions(), st.booleans())
def test_no_more_is_deleted_than_the_rules_allow(lists, retention, broken):
    sight = Sight(lists)
    for decision in plan_fleet(lists, retention, NOW, broken=broken).delete:
        name, archive = decision.set_name, decision.archive
        assert broken or not archive.broken
        assert broken or sight.complete(name)
        assert retention.match is None or fnmatchcase(archive.name, retention.match)
        assert not any(fnmatchcase(archive.name, glob) for glob in retention.protect)
        time = sight.time(name)
        assert time or archive.broken
        if time and sight.complete(name):
            assert not ruled(time, sight.competitors(name), retention)
        if time and retention.older_than:
            assert old(time, retention.older_than)


def ruled(time, times, retention):
    """Whether a rule that counts keeps this time."""
    if sum(other > time for other in times) < retention.keep_last:
        return True
    for rule, form in PERIODS.items():
        periods: dict[str, datetime] = {}
        for other in times:
            periods.setdefault(f"{other:{form}}", other)
        if time in list(periods.values())[: getattr(retention, f"keep_{rule}")]:
            return True
    return False


def old(time, older_than):
    if time.tzinfo:
        return NOW - time >= older_than
    return NOW.replace(tzinfo=None) - time >= older_than + timedelta(hours=14)


@ANY_SPEED
@given(fleets(), retentions(), st.booleans())
def test_nothing_is_kept_without_a_reason_that_is_true(lists, retention, broken):
    plan = plan_fleet(lists, retention, NOW, broken=broken)
    sight = Sight(lists)
    kept = {(decision.storage, decision.archive.name): decision for decision in plan.keep}
    for decision in plan.keep:
        kind, _, last = decision.reason.rpartition(" ")
        if kind == "base of":
            assert kept[decision.storage, last].archive.required == decision.archive.name
        elif kind == "same set as":
            assert last != decision.archive.name
            assert decision.set_name in {one.set_name for (_, name), one in kept.items() if name == last}
        else:
            assert is_true(decision, sight, retention), decision.reason


def is_true(decision, sight, retention):
    """Whether a reason that names no other archive is right."""
    name, archive = decision.set_name, decision.archive
    match decision.reason.split():
        case ["last" | "hourly" | "daily" | "weekly" | "monthly" | "yearly", *_]:
            return sight.complete(name) and ruled(sight.time(name), sight.competitors(name), retention)
        case ["younger", "than", *_]:
            times = [one.created for _, one in sight.sets[name] if one.created]
            return not old(max(times), retention.older_than)
        case ["newest", "complete", "set", *_]:
            newest = sight.competitors(name)[0]
            return sight.complete(name) and sight.time(name) == newest and not retention.allow_none
        case ["time", "unknown"]:
            return archive.created is None and not archive.broken
        case ["protected", "by", glob]:
            return fnmatchcase(archive.name, glob)
        case ["not", "matched"]:
            return not fnmatchcase(archive.name, retention.match)
        case ["incomplete:", *_]:
            bases = [*sight.chain(decision.storage, archive)][1:]
            return not sight.complete(name) or any(base.broken for base in bases)
    return bool(archive.broken) and decision.reason == archive.broken


NUMBERS = ["keep_last", *(f"keep_{rule}" for rule in PERIODS)]


@ANY_SPEED
@given(fleets(), retentions(), st.booleans(), st.data())
def test_who_keeps_more_deletes_no_more(lists, retention, broken, data):
    more = {field: getattr(retention, field) + data.draw(st.integers(0, 2)) for field in NUMBERS}
    if retention.older_than:
        more["older_than"] = retention.older_than + data.draw(st.integers(0, 50).map(timedelta))
    more["protect"] = [*retention.protect, *data.draw(st.sampled_from([[], ["*00000003*"], ["cozy-*"]]))]
    more["match"] = retention.match or data.draw(st.sampled_from([None, "shop*"]))
    more["allow_none"] = retention.allow_none and data.draw(st.booleans())
    careful = plan_fleet(lists, replace(retention, **more), NOW, broken=broken and data.draw(st.booleans()))
    assert gone(careful) <= gone(plan_fleet(lists, retention, NOW, broken=broken))


@ANY_SPEED
@given(fleets(), retentions(), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_lists_does_not_matter(lists, retention, broken, random):
    plan = plan_fleet(lists, retention, NOW, broken=broken)
    shuffled = {
        storage: random.sample(lists[storage], len(lists[storage])) for storage in random.sample([*lists], len(lists))
    }
    assert plan_fleet(shuffled, retention, NOW, broken=broken) == plan


@ANY_SPEED
@given(fleets(), retentions(), st.booleans(), st.data())
def test_a_run_that_was_cut_short_goes_on_to_the_same_end(lists, retention, broken, data):
    plan = plan_fleet(lists, retention, NOW, broken=broken)
    done, begun, left = set(), set(), lists
    for storage in lists:  # side by side, each as far as it came
        mine = [decision for decision in plan.delete if decision.storage == storage]
        come = data.draw(st.integers(0, len(mine)))
        done |= {(storage, decision.archive.name) for decision in mine[:come]}
        begun |= {decision.set_name for decision in mine[: come + 1]}
        if mine[come:] and data.draw(st.booleans()):  # the next one is half gone
            half = mine[come].archive.name
            left = left | {
                storage: [one.model_copy(update=BROKEN) if one.name == half else one for one in left[storage]]
            }
    again = plan_fleet(without(left, done), retention, NOW, broken=broken, begun=begun)
    assert gone(again) == gone(plan) - done


@ANY_SPEED
@given(fleets(), retentions(), st.booleans())
def test_after_a_run_there_is_nothing_to_do(lists, retention, broken):
    plan = plan_fleet(lists, retention, NOW, broken=broken)
    assert not plan_fleet(without(lists, gone(plan)), retention, NOW, broken=broken).delete


@ANY_SPEED
@given(fleets(), retentions(), st.booleans(), st.data())
def test_what_has_a_member_in_a_refused_storage_stays(lists, retention, broken, data):
    refused = data.draw(st.sampled_from(sorted(lists)))
    how = data.draw(st.sampled_from(["listed", "unread", "bad"]))
    seen = {storage: archives for storage, archives in lists.items() if storage != refused or how != "unread"}
    if how == "bad":
        seen[refused] = [*seen[refused], Archive(name="", location="remote")]
    told = {} if how == "bad" else {refused: "it can't be asked"}
    plan = plan_fleet(seen, retention, NOW, broken=broken, refused=told)
    assert set(plan.refused) == {refused}
    there = {set_of(refused, archive) for archive in lists[refused]}
    if how == "unread":  # a copy of a shard that is seen elsewhere is not missed
        elsewhere = Sight(lists | {refused: []})
        there = {name for name in there if not elsewhere.listed(name)}
    assert {decision.set_name for decision in plan.delete}.isdisjoint(there)
    assert {decision.storage for decision in plan.decisions} <= {*lists} - {refused}


@ANY_SPEED
@given(fleets(), retentions())
def test_one_storage_by_itself_is_planned_the_same(lists, retention):
    archives = lists["a"]
    alone = plan_purge(archives, retention, NOW, again=archives)
    together = plan_fleet({"a": archives}, retention, NOW)
    assert [(one.archive, one.delete, one.reason) for one in alone.decisions] == [
        (one.archive, one.delete, one.reason) for one in together.decisions
    ]


@st.composite
def odd_archives(draw):
    text = st.sampled_from(["", "a", "b", "c-20261123", "cozy-x"]) | st.text(max_size=12)
    zones = st.none() | st.timezones()
    return Archive(
        name=draw(text),
        required=draw(st.just("") | text),
        location=draw(st.sampled_from(["remote", "local"])),
        desc=draw(st.sampled_from(["tar, regular", ""])),
        created=draw(st.none() | st.datetimes(timezones=zones, allow_imaginary=False)),
    )


@ANY_SPEED
@given(st.lists(odd_archives(), max_size=5), retentions(), st.booleans())
def test_odd_lists_are_planned_or_refused(archives, retention, broken):
    with suppress(Refused):
        plan = plan_purge(archives, retention, NOW, broken=broken)
        assert len(plan.decisions) == sum(archive.location == "remote" for archive in archives)


@ANY_SPEED
@given(st.sampled_from(NUMBERS), st.integers(max_value=-1))
def test_no_number_is_negative(field, number):
    with pytest.raises(InvalidInput):
        Retention(**{"keep_last": 1, field: number})
