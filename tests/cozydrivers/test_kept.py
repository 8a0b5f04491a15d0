"""What is kept on objects: whatever stands there, it is read or refused, and ours is read as it was written."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.test_decisions import NOW, name, run_of

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.api.base import Condition
from cozydrivers.api.core import Pod
from cozydrivers.controllers.ledger import CHECKPOINT, Ledger, deadline, ledger_of
from cozydrivers.controllers.status import Standing, status_patch
from cozydrivers.drivers.base import BackupRun, Patience
from cozydrivers.drivers.clickhouse import record
from cozydrivers.drivers.clickhouse.checkpoint import Member, State
from cozydrivers.drivers.clickhouse.following import Submission
from cozydrivers.drivers.clickhouse.places import layout_problem, places
from cozydrivers.durations import seconds
from cozydrivers.errors import InvalidInput, NewerVersion

RUN = run_of(BackupRun)
total = settings(deadline=None, max_examples=60)
times = st.datetimes(datetime(2026, 11, 23, 10), datetime(2026, 11, 23, 14), timezones=st.just(UTC))


# What is kept on objects


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | times.map(datetime.isoformat),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
good = State(
    kind="backup",
    shards=2,
    members=tuple(
        Member(
            shard=shard,
            replica=0,
            pod="p",
            pod_uid="u",
            submission=Submission(verb="create_remote", archive=name(shard), at=NOW),
            stage="making",
        )
        for shard in (0, 1)
    ),
)


@st.composite
def damaged(draw: Any) -> Any:
    """A checkpoint with one value replaced by any other."""
    document: Any = State.model_validate(good.save()).model_dump(mode="json", by_alias=True)
    part, key = document, draw(st.sampled_from(sorted(document)))
    while isinstance(part[key], dict | list) and part[key] and draw(st.booleans()):
        part = part[key]
        key = draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
    part[key] = draw(json_values)
    return document


@total
@given(damaged() | json_values)
def test_a_checkpoint_is_read_or_refused(document):
    try:
        state = State.read(document, RUN)
    except (InvalidInput, NewerVersion):
        return
    if state.shards == 2:
        assert {member.submission.archive for member in state.members} <= {
            name(shard, attempt) for shard in range(10) for attempt in range(1, 4)
        }
    assert State.read(state.save(), RUN) == state


@total
@given(st.text(max_size=40) | json_values.map(str), st.dictionaries(st.sampled_from(["uid", "driver"]), json_values))
def test_any_annotation_is_read(text, fields):
    for annotation in (text, str(fields)):
        job = BackupJob.decode({"metadata": {"uid": "1-a", "annotations": {CHECKPOINT: annotation}}})
        assert ledger_of(job).uid == "1-a"


@total
@given(st.sampled_from(Patience), st.none() | times, times, st.none() | times, st.floats(0, 366 * 86400))
def test_each_wait_that_has_begun_has_an_end(patience, absent_since, created, started, timeout):
    ledger = Ledger(uid="1-a", absent_since=absent_since)
    ends, limit = deadline(patience, ledger, created=created, started=started, timeout=timeout)
    begun = {Patience.ABSENT: absent_since, Patience.BUSY: created, Patience.ENGINE: started}[patience]
    assert ends == (begun + limit if begun else None)


@total
@given(st.text(max_size=8) | st.from_regex(r"\A(\d{1,30}[hms]){1,3}\Z"))
def test_a_duration_is_read_or_refused(text):
    with suppress(InvalidInput):
        assert 0 <= seconds(text) <= 366 * 86400


table_names = st.lists(st.sampled_from(["shop.a", "shop.b", 'shop."\u00e9"']), max_size=2, unique=True).map(tuple)


@st.composite
def entries(draw: Any, shard: int) -> record.Recorded:
    """What a Backup may record of a shard."""
    tables = record.Tables(
        count=draw(st.integers(0, 10**6)),
        hash=draw(st.text("0123456789abcdef", min_size=16, max_size=16)),
        replicated=draw(table_names),
        schema_only=draw(table_names),
    )
    return record.Recorded(
        shard=shard,
        archive=name(shard),
        data_size=draw(st.integers(0, 10**17)),
        required=draw(st.sampled_from(["", "by-hand"])),
        tables=tables,
    )


def written_for(found: list[record.Recorded]) -> dict[str, str]:
    return record.write(found, versions="2.7.4", storage="", cluster="cluster")


@total
@given(st.tuples(entries(0), entries(1)).map(list))
def test_a_backup_s_record_is_read_as_it_was_written(found):
    assert record.read(written_for(found), RUN, "shop") == found


KEYS = [
    record.PREFIX + key
    for key in ("schema", "shards", "archive.0", "archive.1", "archive.01", "data-size.0", "tables.0", "required.0")
]


@total
@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(["", "1", "2", "\u0663", name(0), "{}"]) | st.text()))
def test_any_record_is_read_or_refused(changes):
    tables = record.Tables(count=0, hash="")
    written = written_for(
        [record.Recorded(shard=shard, archive=name(shard), data_size=1, tables=tables) for shard in (0, 1)]
    )
    for metadata in (changes, {**written, **changes}):
        backup = Backup.decode({"spec": {"driverMetadata": metadata}})
        with suppress(InvalidInput):
            found = record.read(backup.spec.driver_metadata, RUN, "shop")
            assert [entry.shard for entry in found] == list(range(len(found)))


# What is read of Pods, and written into a status

labels = st.sampled_from(["0", "1", "7", "", "-1", "x", "\u00b2"])


@st.composite
def pods(draw: Any) -> Pod:
    label = "clickhouse.altinity.com/"
    port = {"name": draw(st.sampled_from(["ch-backup-api", "http"])), "containerPort": 7171}
    raw = {
        "metadata": {
            "name": draw(st.sampled_from(["a", "b", "c"])),
            "labels": {
                f"{label}chi": draw(st.sampled_from(["clickhouse-shop", "clickhouse-other"])),
                f"{label}shard": draw(labels),
                f"{label}replica": draw(labels),
            },
        },
        "spec": {"containers": [{"name": "x", "ports": draw(st.sampled_from([[], [port]]))}]},
        "status": {"podIP": draw(st.sampled_from(["", "127.0.0.2"])), "conditions": []},
    }
    if draw(st.booleans()):
        raw["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    return Pod.decode(raw)


counts = st.integers(-1, 20) | st.none() | st.text(max_size=3) | st.booleans()


@total
@given(st.lists(pods(), max_size=4), counts, counts)
def test_sidecars_are_found_in_any_pods(found, shards, replicas):
    raw = {"metadata": {"name": "shop", "namespace": "tenant"}, "spec": {"shards": shards, "replicas": replicas}}
    application = ClickHouse.decode(raw)
    known = places(application, found)
    assert known or any(pod.metadata.labels["clickhouse.altinity.com/chi"] == "clickhouse-shop" for pod in found)
    assert [one.shard for one in known] == sorted(one.shard for one in known)
    assert all(one.url for one in known if one.ready)
    wanted = shards if isinstance(shards, int) and shards > 0 else 1
    assert bool(layout_problem(application, known)) == ({one.shard for one in known} != set(range(wanted)))


conditions = st.builds(
    Condition,
    type=st.sampled_from(["Verified", "TargetChecked"]),
    status=st.sampled_from(["True", "False", "Unknown"]),
    reason=st.sampled_from(["InProgress", "Refused", "ObjectsProven"]),
    message=st.text(max_size=10),
    last_transition_time=times.map(lambda at: at.replace(microsecond=0)),
)
standings = st.builds(
    Standing,
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
    reason=st.sampled_from(["InProgress", "SidecarBusy", "Refused"]),
    message=st.text(max_size=10),
    patience=st.none() | st.sampled_from(Patience),
    conditions=st.lists(conditions, max_size=2, unique_by=lambda condition: condition.type),
)


@total
@given(st.lists(standings, min_size=1, max_size=4))
def test_a_status_that_says_it_all_is_not_written_again(told):
    status: dict[str, Any] = {}
    for number, standing in enumerate(told):
        now = NOW + timedelta(minutes=number)
        before = {condition["type"]: condition for condition in status.get("conditions", [])}
        status |= status_patch(BackupJob.decode({"status": status}), standing, now)
        ended = standing.phase in ("Succeeded", "Failed")
        again = status_patch(BackupJob.decode({"status": status}), standing, now if ended else now + timedelta(hours=1))
        assert again == {}
        for condition in status["conditions"]:
            old = before.get(condition["type"])
            if old and old["status"] == condition["status"]:
                assert condition["lastTransitionTime"] == old["lastTransitionTime"]
        assert ("startedAt" in status) >= (standing.phase == "Running")
        assert ("completedAt" in status) >= ended
    assert len({condition["type"] for condition in status["conditions"]}) == len(status["conditions"])
