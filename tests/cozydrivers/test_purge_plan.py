"""A purge's plan never deletes what is not ours, what a kept Backup needs, or the newest good set (I7, I8, I12)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from chbackup import Archive, ArchiveName, Retention, parse_archive_name
from cozydrivers.admin.purge_plan import NOT_OURS, App, Claim, Entry, Known, Rules, plan, rows, series

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SHOP = App("tenant", "shop", "u-shop", series("shop", "aaaaaa"), ("s3",))
OTHER = App("tenant", "other", "u-other", series("other", "aaaaaa"), ("s3",))
KEEP_ONE = Retention(keep_last=1)
ALL = Rules(KEEP_ONE, orphans=True, delete_backups=True)


def name(number, shard=0, *, app="shop", space="aaaaaa", shards=2, days=0):
    """The name of an archive of the set `number`, which was taken so many days ago."""
    taken = NOW.replace(hour=0) - timedelta(days=days)
    return ArchiveName(app, space, taken, f"{number:012x}", 1, shard, shards, 0)


def archive(of, required="", *, days=0, desc="tar, regular", size=10):
    created = None if "broken" in desc else NOW.replace(hour=0) - timedelta(days=days)
    return Archive(
        name=str(of), created=created, size=size, data_size=size, location="remote", required=str(required), desc=desc
    )


def whole(number, days, base=None, **options):
    """Both archives of a set, on those of another one if it is an increment."""
    return [
        archive(
            name(number, shard, days=days), name(base[0], shard, days=base[1]) if base else "", days=days, **options
        )
        for shard in (0, 1)
    ]


def claim(number, days, *, uid="", base=None, **options):
    """The Backup of a set."""
    entries = tuple(
        Entry(str(name(number, shard, days=days)), str(name(base[0], shard, days=base[1])) if base else "", 10)
        for shard in (0, 1)
    )
    return Claim("tenant", f"b{number}", uid or f"u{number}", "shop", entries, **options)


def decided(archives, *claims, rules=ALL, **known):
    """The reasons by set, those to delete apart."""
    knows = Known((SHOP,), claims, **known)
    made = plan({"s3": archives}, knows, rules, NOW)
    reasons: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for row in rows(made, knows):
        reasons[row.delete][row.set] = row.reason
    return reasons[True], reasons[False]


def sets(*numbers_and_days):
    return {name(number, days=days).set_name for number, days in numbers_and_days}


def test_a_backup_goes_with_its_set_only_when_that_is_asked_for():
    archives, claims = [*whole(1, 1), *whole(2, 2)], [claim(1, 1), claim(2, 2)]
    gone, kept = decided(archives, *claims)
    assert (gone.keys(), kept.keys()) == (sets((2, 2)), sets((1, 1)))
    gone, kept = decided(archives, *claims, rules=Rules(KEEP_ONE, orphans=True))
    assert (gone, len(kept)) == ({}, 2)
    assert kept[name(2, days=2).set_name] == "Backup tenant/b2 records it; --delete-backups lets both go"


def test_an_orphan_goes_only_when_that_is_asked_for_and_never_pushes_a_backup_out():
    archives, claims = [*whole(1, 1), *whole(2, 2), *whole(3, 3)], [claim(2, 2)]
    gone, kept = decided(archives, *claims)
    assert gone.keys() == sets((3, 3))
    assert kept == {name(1, days=1).set_name: "last 1 of 1", name(2, days=2).set_name: "last 1 of 1"}
    gone, kept = decided(archives, *claims, rules=Rules(KEEP_ONE, delete_backups=True))
    assert (gone, len(kept)) == ({}, 3)


def test_a_suspicious_set_is_no_good_one():
    archives = [*whole(1, 1), *whole(2, 2), *whole(3, 3)]
    gone, kept = decided(archives, claim(1, 1, suspicious=True), claim(2, 2), claim(3, 3))
    assert (gone.keys(), kept.keys()) == (sets((3, 3)), sets((1, 1), (2, 2)))


def test_what_several_backups_record_stays_and_so_does_what_a_backup_that_can_not_go_records():
    archives = [*whole(1, 1), *whole(2, 2)]
    gone, kept = decided(archives, claim(1, 1), claim(2, 2), replace(claim(2, 2, uid="copy"), namespace="elsewhere"))
    assert gone == {}
    assert kept[name(2, days=2).set_name] == "Backup tenant/b2 and Backup elsewhere/b2 record it"
    gone, kept = decided(archives, claim(1, 1), claim(2, 2, stays="it is being deleted"))
    assert (gone, kept[name(2, days=2).set_name]) == ({}, "Backup tenant/b2: it is being deleted")


def test_an_archive_that_is_not_the_recorded_one_stays():
    gone, kept = decided([*whole(1, 1), *whole(2, 2, size=11)], claim(1, 1), claim(2, 2))
    assert gone == {}
    assert kept[name(2, days=2).set_name] == "it holds 11 bytes of data, Backup tenant/b2 records 10"


def test_what_runs_and_what_is_young_stays_whatever_is_broken_about_it():
    broken = [archive(name(3), desc="broken (can't stat metadata.json)"), *whole(1, 1)]
    assert decided(broken, claim(1, 1))[0].keys() == sets((3, 0))
    at_work = {f"{3:012x}": "BackupJob tenant/nightly"}
    assert decided(broken, claim(1, 1), at_work=at_work)[0] == {}
    old = [*whole(1, 1), *whole(2, 2)]
    assert decided(old, claim(1, 1), claim(2, 2), at_work={f"{2:012x}": "BackupJob tenant/late"})[0] == {}
    young = Rules(Retention(older_than=DAY), orphans=True)
    assert decided(broken, claim(1, 1), rules=young)[0] == {}


def test_a_chain_stays_whole_by_the_list_and_by_what_backups_record():
    base, increment = whole(2, 2), whole(1, 1, base=(2, 2))
    assert decided([*base, *increment], claim(1, 1, base=(2, 2)), claim(2, 2))[0] == {}
    newest, unlisted = whole(0, 0), claim(1, 1, base=(2, 2))
    gone, kept = decided([*newest, *base], claim(0, 0), unlisted, claim(2, 2))
    assert gone == {}
    assert "which Backup tenant/b1 records" in kept[name(2, days=2).set_name]
    lost = claim(1, 1, base=(9, 9))
    gone, kept = decided([*newest, *base], claim(0, 0), lost, claim(2, 2))
    assert gone == {}
    assert "can't be told" in kept[name(2, days=2).set_name]


def test_a_record_of_a_newer_version_keeps_everything_of_its_application():
    newer = Claim("tenant", "new", "u-new", "shop", (), newer=True)
    assert decided([*whole(1, 1), *whole(2, 2)], claim(1, 1), claim(2, 2), newer)[0] == {}


def test_what_is_not_ours_stays_however_old_and_whatever_is_asked_for():
    foreign = [archive(each, days=number) for number, each in enumerate(FOREIGN, 10)]
    gone, kept = decided([*whole(1, 1), *whole(2, 2), *foreign])
    assert gone.keys() == sets((2, 2))
    assert {each for each, reason in kept.items() if reason == NOT_OURS} == {*FOREIGN}


def test_an_application_with_trouble_keeps_everything():
    knows = Known((replace(SHOP, trouble="paused"),), (claim(1, 1), claim(2, 2)))
    made = plan({"s3": [*whole(1, 1), *whole(2, 2)]}, knows, ALL, NOW)
    assert made.delete == ()


FOREIGN = [
    "clickhouse-shop-20261101000000",
    "by-hand",
    *(str(name(7, app="other", shards=1, days=days)) for days in (8, 9)),
    *(str(name(7, space="bbbbbb", shards=1, days=days)) for days in (8, 9)),
    *(str(name(7, app="shop-aaaaaa-20261101T000000Z", shards=1, days=days)) for days in (8, 9)),
]


@st.composite
def worlds(draw):
    """Sets of one application, of which some are recorded, some increments, some broken, among foreign archives.

    All that listed increments require is listed; what Backups record may not be.
    """
    numbers = range(draw(st.integers(1, 6)))
    archives, claims = [archive(foreign, days=9) for foreign in draw(st.sets(st.sampled_from(FOREIGN)))], []
    bases: list[tuple[int, int] | None] = [None]
    for number in reversed(numbers):
        base, how = draw(st.sampled_from(bases)), draw(st.sampled_from(["whole", "whole", "half", "broken", "absent"]))
        made = whole(number, number, base=base)
        if how == "broken":
            made[0] = archive(made[0].name, desc="broken (bad metadata.json)")
        archives += {"half": made[:1], "absent": []}.get(how, made)
        bases += [(number, number)] if how in ("whole", "broken") else []
        for copy in range(draw(st.sampled_from([0, 1, 1, 2]))):
            options = {"suspicious": draw(st.booleans()), "stays": draw(st.sampled_from(["", "", "why"]))}
            claims.append(claim(number, number, uid=f"u{number}.{copy}", base=base, **options))
    at_work = draw(st.sets(st.sampled_from(numbers), max_size=1))
    known = Known((SHOP,), tuple(claims), {f"{number:012x}": "a job" for number in at_work})
    rules = Rules(Retention(keep_last=draw(st.integers(1, 3))), draw(st.booleans()), draw(st.booleans()))
    return {"s3": archives}, known, rules


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_whatever_there_is_nothing_goes_that_must_stay(world):
    lists, known, rules = world
    made = plan(lists, known, rules, NOW)
    order = [decision.archive.name for decision in made.delete]
    gone, listed = set(order), {each.name: each for each in lists["s3"]}
    assert not (gone and made.refused)
    sets_gone = {set_of(each) for each in gone}
    holders = known.holders()
    # what is ours, in whole sets, and only what was asked for
    assert all(each.startswith(SHOP.series) and each not in FOREIGN for each in gone)
    assert gone == {each for each in listed if set_of(each) in sets_gone}
    for each in sets_gone:
        held = holders.get(each, [])
        assert rules.delete_backups if held else rules.orphans
        assert [one.stays for one in held] in ([], [""])
        assert each[-12:] not in known.at_work
    # chains, by what is listed and by what Backups record that is not; an increment before its base
    assert not [each for each in listed.values() if each.required in gone and each.name not in gone]
    entries = [entry for one in known.claims for entry in one.entries if entry.archive not in listed]
    assert not {entry.required for entry in entries} & gone
    assert all(order.index(each) < order.index(listed[each].required) for each in gone if listed[each].required in gone)
    # the newest good set
    good = {each for each in holders if is_good(each, listed) and not all(one.suspicious for one in holders[each])}
    orphans = {set_of(each) for each in listed if is_good(set_of(each), listed)} - {*holders}
    orphans = {each for each in orphans if each[-12:] not in known.at_work}
    assert max(good or orphans, default="") not in sets_gone


def set_of(text):
    """The set that an archive of ours belongs to."""
    found = None if text in FOREIGN else parse_archive_name(text)
    return found.set_name if found else ""


def is_good(set_name, listed):
    members = [listed[each] for each in listed if set_name and set_of(each) == set_name]
    return len(members) == 2 and all(chain_is_good(each, listed) for each in members)


def chain_is_good(each, listed):
    return not each.broken and (not each.required or chain_is_good(listed[each.required], listed))
