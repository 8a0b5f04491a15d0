from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from chbackup import (
    Archive,
    ArchiveName,
    Group,
    InvalidInput,
    Refused,
    Retention,
    default_group,
    parse_archive_name,
    plan_fleet,
    plan_purge,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
GOOD = "tar, regular"
BROKEN = "broken (can't stat metadata.json)"


def archive(name, ago=0.0, required="", **fields):
    """One that was made so many days ago."""
    made = {"created": NOW - timedelta(days=ago), "location": "remote", "desc": GOOD, "size": 10}
    return Archive(**{"name": name, "required": required} | made | fields)


def unfinished(name):
    return archive(name, created="0001-01-01 00:00:00", desc=BROKEN, size=0)


def nightly(*ages):
    """Full archives of one series."""
    return [archive(dated(age), age) for age in ages]


def dated(age):
    return f"shop-{NOW - timedelta(days=age):%Y%m%dT%H%M%S}"


def member(ago, shard, shards=2, *, replica=0, attempt=1):
    """A name of our scheme."""
    taken = NOW - timedelta(days=ago)
    return str(ArchiveName("shop", "0a1b2c", taken, "0123456789ab", attempt, shard, shards, replica))


def members(ago, shards=2, **fields):
    return [archive(member(ago, shard, shards), ago, **fields) for shard in range(shards)]


def run_name(ago):
    name = parse_archive_name(member(ago, 0))
    assert name
    return name.set_name


def kept(plan):
    return {decision.archive.name: decision.reason for decision in plan.keep}


def deleted(plan):
    return [decision.archive.name for decision in plan.delete]


def one_series(name):
    return Group("all", name)


# The rules, one by one.


@pytest.mark.parametrize(
    ("rule", "ages", "reasons"),
    [
        ({"keep_last": 2}, (1, 2, 3), {1: "last 1 of 2", 2: "last 2 of 2"}),
        (
            {"keep_hourly": 2},
            (0, 0.01, 0.1, 0.5),
            {0: "hourly 2026-11-23T12", 0.01: "hourly 2026-11-23T11"},
        ),
        (
            {"keep_daily": 3},
            (0, 0.1, 1, 5, 6),
            {0: "daily 2026-11-23", 1: "daily 2026-11-22", 5: "daily 2026-11-18"},
        ),
        ({"keep_weekly": 2}, (0, 1, 2, 8), {0: "weekly 2026-W48", 1: "weekly 2026-W47"}),
        ({"keep_monthly": 2}, (0, 22, 23, 60), {0: "monthly 2026-11", 23: "monthly 2026-10"}),
        ({"keep_yearly": 2}, (0, 300, 330, 340), {0: "yearly 2026", 330: "yearly 2025"}),
        (
            {"older_than": timedelta(days=30)},
            (1, 29.9, 30, 31),
            {1: "younger than 30 d", 29.9: "younger than 30 d"},
        ),
        (
            {"older_than": timedelta(hours=30)},
            (3, 4),
            {3: "newest complete set of shop-*"},
        ),
    ],
)
def test_a_rule_keeps(rule, ages, reasons):
    plan = plan_purge(nightly(*ages), Retention(**rule), NOW)
    assert kept(plan) == {dated(age): reason for age, reason in reasons.items()}
    assert sorted(deleted(plan)) == sorted(dated(age) for age in ages if age not in reasons)
    assert {decision.reason for decision in plan.delete} == {"no rule keeps it"}


def test_what_any_rule_keeps_stays():
    rules = Retention(keep_last=1, keep_monthly=2, older_than=timedelta(days=3))
    assert kept(plan_purge(nightly(0, 1, 2, 5, 30, 40), rules, NOW)) == {
        dated(0): "last 1 of 1",
        dated(1): "younger than 3 d",
        dated(2): "younger than 3 d",
        dated(30): "monthly 2026-10",
    }


def test_each_series_has_its_own_places():
    archives = [archive(f"{app}-2026112{day}", ago=3 - day) for app in ("foo", "foo-bar") for day in (1, 2, 3)]
    assert set(kept(plan_purge(archives, Retention(keep_last=1), NOW))) == {"foo-20261123", "foo-bar-20261123"}


def test_those_of_one_time_share_a_place():
    archives = [*nightly(1), archive("shop-20261101", 2), archive("shop-20261102", 2), archive("shop-20261103", 3)]
    plan = plan_purge(archives, Retention(keep_last=2), NOW)
    assert kept(plan) == {
        dated(1): "last 1 of 2",
        "shop-20261101": "last 2 of 2",
        "shop-20261102": "last 2 of 2",
    }


def test_a_set_is_as_old_as_its_newest_archive():
    archives = [archive(member(4, 0), 4), archive(member(4, 1), 1), *members(2)]
    assert kept(plan_purge(archives, Retention(keep_last=1), NOW)) == {
        member(4, 0): "last 1 of 1",
        member(4, 1): "last 1 of 1",
    }


def test_days_are_those_of_the_zone_of_now():
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    archives = nightly(0, 0.75, 1)  # 21:00 and 3:00 of Monday, 21:00 of Sunday there
    assert kept(plan_purge(archives, Retention(keep_daily=2), tokyo)) == {
        dated(0): "daily 2026-11-23",
        dated(1): "daily 2026-11-22",
    }
    assert dated(0.75) in kept(plan_purge(archives, Retention(keep_daily=2), NOW))


def test_the_newest_stays_unless_none_is_allowed():
    rule = Retention(older_than=timedelta(days=1))
    assert kept(plan_purge(nightly(5, 6), rule, NOW)) == {dated(5): "newest complete set of shop-*"}
    assert not kept(plan_purge(nightly(5, 6), replace(rule, allow_none=True), NOW))


def test_match_and_protect_only_keep_more():
    plan = plan_purge(nightly(1, 2, 3, 4), Retention(keep_last=1, match="*1120*", protect=["x", "*1119*"]), NOW)
    assert kept(plan) == {dated(1): "last 1 of 1", dated(2): "not matched", dated(4): "protected by *1119*"}
    assert deleted(plan) == [dated(3)]


# What is needed.


def test_a_kept_archive_keeps_its_bases():
    chain = [archive("full", 9), archive("mon", 3, "full"), archive("tue", 2, "mon"), archive("wed", 1, "mon")]
    plan = plan_purge(chain, Retention(keep_last=1, group_by=one_series), NOW)
    assert kept(plan) == {"wed": "last 1 of 1", "mon": "base of wed", "full": "base of mon"}
    assert deleted(plan) == ["tue"]


def test_children_go_before_their_base():
    chain = [archive("a", 4), archive("b", 3, "a"), archive("c", 2, "b"), archive("d", 1)]
    plan = plan_purge(chain, Retention(keep_last=1, group_by=one_series), NOW)
    assert deleted(plan) == ["c", "b", "a"]
    assert plan.bytes_freed == 30
    assert plan.decisions == plan.delete + plan.keep


def test_a_set_stays_or_goes_whole():
    archives = members(1) + members(2) + members(3)
    plan = plan_purge(archives, Retention(keep_last=1, protect=[member(2, 1)]), NOW)
    assert kept(plan) == {
        member(1, 0): "last 1 of 1",
        member(1, 1): "last 1 of 1",
        member(2, 1): f"protected by {member(2, 1)}",
        member(2, 0): f"same set as {member(2, 1)}",
    }
    assert sorted(deleted(plan)) == [member(3, 0), member(3, 1)]
    assert {decision.set_name for decision in plan.delete} == {run_name(3)}


def test_a_set_keeps_the_sets_of_its_bases_whole():
    old = members(3)
    new = [archive(member(1, 0), 1, old[0].name), archive(member(1, 1), 1)]
    plan = plan_purge(members(4) + old + new, Retention(keep_last=1), NOW)
    assert kept(plan)[old[0].name] == f"base of {new[0].name}"
    assert kept(plan)[old[1].name] == f"same set as {old[0].name}"
    assert len(plan.delete) == 2


def test_the_members_of_a_set_go_one_after_the_other():
    full, first, second = members(4), members(3), members(2)
    first = [archive(one.name, 3, base.name) for one, base in zip(first, full, strict=True)]
    second = [archive(one.name, 2, base.name) for one, base in zip(second, first, strict=True)]
    plan = plan_purge(full + first + second + members(1), Retention(keep_last=1), NOW)
    assert [decision.set_name for decision in plan.delete] == [run_name(age) for age in (2, 2, 3, 3, 4, 4)]


def test_children_go_first_even_when_sets_need_each_other():
    groups = {"a0": "A", "a1": "A", "b0": "B", "b1": "B", "z": "Z"}
    archives = [archive("a0", 5), archive("b0", 5, "a0"), archive("b1", 5), archive("a1", 5, "b1"), archive("z", 1)]
    rule = Retention(keep_last=1, group_by=lambda name: Group("all", groups[name]))
    order = deleted(plan_purge(archives, rule, NOW))
    assert sorted(order) == ["a0", "a1", "b0", "b1"]
    assert order.index("b0") < order.index("a0")
    assert order.index("a1") < order.index("b1")


# What counts for no rule.


def test_a_set_that_lacks_a_shard_is_kept_and_takes_no_place():
    archives = [members(1)[0], *members(2), *members(3)]
    plan = plan_purge(archives, Retention(keep_last=1), NOW)
    assert kept(plan) == {
        member(1, 0): "incomplete: shard 1 of 2 is not listed",
        member(2, 0): "last 1 of 1",
        member(2, 1): "last 1 of 1",
    }


def test_a_set_with_a_broken_shard_is_kept_and_takes_no_place():
    archives = [members(1)[0], unfinished(member(1, 1)), *members(2), *members(3)]
    assert kept(plan_purge(archives, Retention(keep_last=1), NOW)) == {
        member(1, 0): "incomplete: shard 1 of 2 is broken",
        member(1, 1): BROKEN,
        member(2, 0): "last 1 of 1",
        member(2, 1): "last 1 of 1",
    }


def test_a_shard_may_come_from_another_attempt_or_replica():
    second = member(2, 1, attempt=2, replica=1)
    archives = [*members(1), members(2)[0], archive(second, 2), archive(member(2, 0, replica=1), 2), *members(3)]
    plan = plan_purge(archives, Retention(keep_last=2), NOW)
    assert kept(plan)[second] == "last 2 of 2"
    assert len(plan.keep) == 5


def test_words_that_do_not_say_broken_are_explained():
    odd = archive("odd", 1, desc="parse metadata.json error: EOF")
    assert kept(plan_purge([odd], Retention(keep_last=1), NOW)) == {"odd": "broken: parse metadata.json error: EOF"}


def test_an_increment_on_a_broken_base_is_no_backup():
    archives = [unfinished("full"), archive("mon", 2, "full"), archive("tue", 1, "mon"), *nightly(3)]
    rule = Retention(keep_last=1, group_by=one_series)
    assert kept(plan_purge(archives, rule, NOW)) == {
        "full": BROKEN,
        "mon": "incomplete: its base full is broken",
        "tue": "incomplete: its base full is broken",
        dated(3): "last 1 of 1",
    }


def test_a_set_of_unknown_time_is_kept_and_takes_no_place():
    archives = [archive("shop-20261123", created=None), *nightly(2, 3)]
    assert kept(plan_purge(archives, Retention(keep_last=1), NOW)) == {
        "shop-20261123": "time unknown",
        dated(2): "last 1 of 1",
    }


def test_a_set_with_one_archive_of_unknown_time_is_kept_and_takes_no_place():
    archives = [*members(2), members(1)[0], archive(member(1, 1), created=None)]
    assert kept(plan_purge(archives, Retention(keep_last=1), NOW)) == {
        member(1, 0): f"same set as {member(1, 1)}",
        member(1, 1): "time unknown",
        member(2, 0): "last 1 of 1",
        member(2, 1): "last 1 of 1",
    }


# Broken ones go only when asked.


def test_broken_ones_go_when_asked_and_a_newer_set_is_complete():
    archives = [
        *members(1),
        members(2)[0],
        unfinished(member(2, 1)),
        members(3)[1],
        *members(0.5)[:1],
        unfinished("shop-20261101"),
    ]
    plan = plan_purge(archives, Retention(keep_last=5), NOW, broken=True)
    assert {decision.archive.name: decision.reason for decision in plan.delete} == {
        member(2, 0): "incomplete: shard 1 of 2 is broken",
        member(2, 1): BROKEN,
        member(3, 1): "incomplete: shard 0 of 2 is not listed",
    }
    assert kept(plan)[member(0.5, 0)] == "incomplete: shard 1 of 2 is not listed"  # it may be on its way
    assert kept(plan)["shop-20261101"] == BROKEN  # no other one of its series


def test_a_broken_one_of_its_series_goes_when_asked():
    archives = [unfinished("shop-20261101"), *nightly(1)]
    assert deleted(plan_purge(archives, Retention(keep_last=9), NOW, broken=True)) == ["shop-20261101"]


def test_an_incomplete_set_as_old_as_the_newest_complete_one_stays():
    archives = [*members(1), archive(member(1, 0).replace("0123456789ab", "ba9876543210"), 1)]
    assert not plan_purge(archives, Retention(keep_last=1), NOW, broken=True).delete


def test_a_broken_one_that_a_kept_archive_needs_stays():
    archives = [unfinished("shop-20261101"), archive("shop-20261102", 2, "shop-20261101"), *nightly(1)]
    plan = plan_purge(archives, Retention(keep_last=1, protect=["*02"]), NOW, broken=True)
    assert kept(plan)["shop-20261101"] == "base of shop-20261102"


def test_a_broken_copy_keeps_a_complete_set_unless_asked():
    debris = unfinished(member(2, 0, replica=1))
    archives = [*members(1), *members(2), debris]
    plan = plan_purge(archives, Retention(keep_last=1), NOW)
    assert kept(plan)[debris.name] == BROKEN
    assert kept(plan)[member(2, 1)] == f"same set as {debris.name}"
    assert len(deleted(plan_purge(archives, Retention(keep_last=1), NOW, broken=True))) == 3


def test_a_young_incomplete_set_is_kept_even_when_asked():
    rule = Retention(older_than=timedelta(days=5))
    plan = plan_purge([*members(1), members(2)[0]], rule, NOW, broken=True)
    assert kept(plan)[member(2, 0)] == "younger than 5 d"


# Times without a zone.


def naive(*ages):
    return [one.model_copy(update={"created": one.created.replace(tzinfo=None)}) for one in nightly(*ages)]


def test_times_without_a_zone_are_compared_with_each_other():
    assert kept(plan_purge(naive(1, 2, 3), Retention(keep_last=1, keep_daily=2), NOW)) == {
        dated(1): "last 1 of 1",
        dated(2): "daily 2026-11-21",
    }


def test_a_time_without_a_zone_is_old_when_it_is_old_in_every_zone():
    rule = Retention(older_than=timedelta(days=2))
    assert kept(plan_purge(naive(0, 2, 2.5, 2.6), rule, NOW)) == {
        dated(0): "younger than 2 d",
        dated(2): "younger than 2 d",
        dated(2.5): "younger than 2 d",
    }


def test_a_series_of_times_with_and_without_a_zone_is_refused():
    with pytest.raises(Refused, match=r"some times of shop-\* have a zone and some have none"):
        plan_purge(naive(1) + nightly(2), Retention(keep_last=1), NOW)
    other = [archive("x-20261101", 3)]
    assert len(plan_purge(naive(1) + other, Retention(keep_last=1), NOW).keep) == 2


def test_times_at_the_ends_of_the_calendar_are_no_trouble():
    ends = [datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), datetime(2, 1, 1), datetime(9999, 12, 31)]
    east = NOW.astimezone(timezone(timedelta(hours=14)))
    for end in ends:
        rule = Retention(keep_hourly=1, keep_weekly=1, older_than=timedelta.max)
        assert len(plan_purge([archive("x", created=end)], rule, east).keep) == 1


# What is refused.


@pytest.mark.parametrize(
    ("archives", "words"),
    [
        ([archive("")], "without a name"),
        ([archive("a", required="gone")], "a requires gone, which is not in the list"),
        ([archive("a", required="b"), archive("b", required="a")], "the bases of a form a circle"),
        ([archive("a", required="a")], "the bases of a form a circle"),
        ([archive("a"), archive("a", 1)], "a is listed twice"),
    ],
)
def test_a_list_that_can_not_be_right_is_refused(archives, words):
    with pytest.raises(Refused, match=words):
        plan_purge(archives, Retention(keep_last=1), NOW)


def test_two_readings_that_differ_are_refused():
    archives = nightly(1, 2, 3)
    assert plan_purge(archives, Retention(keep_last=1), NOW, again=archives[::-1]).delete
    for again in (archives[1:], [], [*archives[1:], archive(dated(1), 1, size=11)]):
        with pytest.raises(Refused, match="two readings of the list differ"):
            plan_purge(archives, Retention(keep_last=1), NOW, again=again)


def test_local_archives_are_ignored():
    local = [archive(dated(age), age, location="local", required="nowhere") for age in (0, 1)]
    plan = plan_purge(nightly(1, 2) + local, Retention(keep_last=1), NOW, again=nightly(1, 2))
    assert (list(kept(plan)), deleted(plan)) == ([dated(1)], [dated(2)])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "no rule"),
        ({"protect": ["a"], "allow_none": True}, "no rule"),
        ({"keep_last": -1}, "keep_last must be a whole number, 0 or more, not -1"),
        ({"keep_last": 1, "keep_yearly": -1}, "keep_yearly"),
        ({"keep_daily": 1.5}, "keep_daily"),
        ({"keep_weekly": "4"}, "keep_weekly"),
        ({"older_than": timedelta(0)}, "older_than must be more than nothing"),
        ({"older_than": timedelta(days=-1)}, "older_than must be more than nothing"),
        ({"keep_last": 1, "protect": "shop-*"}, "protect must be a list"),
    ],
)
def test_a_retention_that_keeps_nothing_or_makes_no_sense_is_refused(wrong, words):
    with pytest.raises(InvalidInput, match=words):
        Retention(**wrong)


def test_now_needs_a_zone():
    with pytest.raises(InvalidInput, match="time zone"):
        plan_purge([], Retention(keep_last=1), datetime(2026, 11, 23))


# Many storages.


def test_a_set_may_lie_in_several_storages():
    storages = {f"s{shard}": [members(age)[shard] for age in (1, 2, 3)] for shard in (0, 1)}
    plan = plan_fleet(storages, Retention(keep_last=2), NOW)
    assert [(decision.storage, decision.archive.name) for decision in plan.delete] == [
        ("s0", member(3, 0)),
        ("s1", member(3, 1)),
    ]
    assert len(plan.keep) == 4


def test_other_names_are_of_one_storage():
    storages = {"a": nightly(1, 2), "b": nightly(2, 3)}
    plan = plan_fleet(storages, Retention(keep_last=1), NOW)
    assert [(decision.storage, decision.archive.name) for decision in plan.keep] == [("a", dated(1)), ("b", dated(2))]
    assert len({decision.set_name for decision in plan.decisions}) == 4


def test_a_base_keeps_its_set_in_another_storage():
    old, new = members(3), members(1)
    increment = archive(new[0].name, 1, old[0].name)
    plan = plan_fleet({"a": [increment, old[0]], "b": [new[1], old[1]]}, Retention(keep_last=1), NOW)
    assert not plan.delete
    assert kept(plan)[old[1].name] == f"same set as {old[0].name}"


def test_a_storage_that_is_refused_is_left_out_and_its_sets_stay():
    sound = {"a": [members(age)[0] for age in (1, 2)], "c": nightly(1, 2)}
    plan = plan_fleet({**sound, "b": [members(2)[1], archive("")]}, Retention(keep_last=1), NOW, broken=True)
    assert plan.refused == {"b": "the list holds an archive without a name, so it cannot be trusted"}
    assert {decision.storage for decision in plan.decisions} == {"a", "c"}
    assert deleted(plan) == [dated(2)]
    assert kept(plan)[member(2, 0)] == f"{member(2, 1)} is in b, which is refused"
    assert kept(plan)[member(1, 0)] == "incomplete: shard 1 of 2 is not listed"


def test_a_replica_in_a_refused_storage_keeps_a_set():
    storages = {"a": members(1) + members(2), "b": [archive(member(2, 0, replica=1), 2)]}
    plan = plan_fleet(storages, Retention(keep_last=1), NOW, refused={"b": "its sidecar can't be asked"})
    assert not plan.delete
    assert plan.refused == {"b": "its sidecar can't be asked"}


def test_what_may_be_in_a_storage_without_a_list_stays():
    storages = {"a": [*members(1), members(2)[0]]}
    assert plan_fleet(storages, Retention(keep_last=1), NOW, broken=True).delete
    unread = {"b": "no answer"}
    assert not plan_fleet(storages, Retention(keep_last=1), NOW, broken=True, refused=unread).delete
    begun = [run_name(2)]
    assert not plan_fleet(storages, Retention(keep_last=1), NOW, begun=begun, refused=unread).delete


def test_storages_with_mixed_times_in_one_series_are_refused():
    other = [members(age)[1] for age in (1, 2)]
    other = [one.model_copy(update={"created": one.created.replace(tzinfo=None)}) for one in other]
    storages = {"a": [members(age)[0] for age in (1, 2)], "b": other, "c": nightly(1, 2)}
    plan = plan_fleet(storages, Retention(keep_last=1), NOW)
    assert sorted(plan.refused) == ["a", "b"]
    assert deleted(plan) == [dated(2)]


def test_a_set_that_was_begun_goes_on():
    archives = [*members(1), members(2)[0], unfinished(member(3, 1))]
    rule = Retention(keep_last=5)
    plan = plan_fleet({"a": archives}, rule, NOW, begun=[run_name(2), run_name(3)])
    assert {decision.reason for decision in plan.delete} == {"an earlier run has begun to delete its set"}
    assert len(plan.delete) == 2


def test_a_set_that_was_begun_takes_no_place():
    archives = members(1) + members(2) + members(3)
    plan = plan_fleet({"a": archives}, Retention(keep_last=2), NOW, begun=[run_name(2)])
    assert sorted(deleted(plan)) == [member(2, 0), member(2, 1)]
    assert kept(plan)[member(3, 0)] == "last 2 of 2"


def test_a_set_that_was_begun_stays_when_it_is_all_that_is_left_or_needed():
    plan = plan_fleet({"a": members(2)}, Retention(keep_last=1), NOW, begun=[run_name(2)])
    assert set(kept(plan).values()) == {"its deletion has begun, but no newer set is complete"}
    increment = archive(member(1, 0, 1), 1, member(2, 0))
    needed = plan_fleet({"a": [*members(2), increment]}, Retention(keep_last=1), NOW, begun=[run_name(2)])
    assert not needed.delete


# Names and series.


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("shop-20261123-s0", "shop-*-s0"),
        ("shop-20261123-s1", "shop-*-s1"),
        ("clickhouse-foo-2026-11-23", "clickhouse-foo-*"),
        ("clickhouse-bar-20261123T010203Z", "clickhouse-bar-*"),
        ("shop_2026_11_23_01_02_03", "shop_*"),
        ("shop-20261123-010203", "shop-*"),
        ("shard0-full-20261123010203", "shard0-full-*"),
        ("shop-20261123-0a1b2c3d-s0", "shop-*-s0"),
        ("shop-20261123-550e8400-e29b-41d4-a716-446655440000", "shop-*"),
        ("shop-2026-11", "shop-*"),
        ("shop-1795435200", "shop-*"),
        ("2026-11-23T00-47-23", "*"),
        ("20261123-0a1b2c3d", "*-0a1b2c3d"),
        ("tenant-550e8400-e29b-41d4-a716-446655440000-20261123", "tenant-550e8400-e29b-41d4-a716-446655440000-*"),
        ("node-10.20.30.40", "node-10.20.30.40"),
        ("shop-20261323", "shop-20261323"),
        ("shop-20261123-feedback", "shop-*-feedback"),
        ("backup-17", "backup-17"),
    ],
)
def test_a_series_is_a_name_without_its_date(name, series):
    assert default_group(name) == Group(series, name)


def test_our_names_say_their_set():
    assert default_group(member(0, 1)) == Group("cozy-shop-0a1b2c", run_name(0), shard=1, shards=2)


def test_a_group_of_ones_own_may_say_its_shards():
    def group_by(name):
        app, date, shard = name.split("-")
        return Group(app, f"{app}-{date}", int(shard[1:]), 2)

    storages = {"a": [archive("shop-1-s0", 2), archive("shop-2-s0", 1)], "b": [archive("shop-1-s1", 2)]}
    plan = plan_fleet(storages, Retention(keep_last=1, group_by=group_by), NOW)
    assert kept(plan) == {
        "shop-1-s0": "last 1 of 1",
        "shop-1-s1": "last 1 of 1",
        "shop-2-s0": "incomplete: shard 1 of 2 is not listed",
    }
