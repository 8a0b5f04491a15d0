"""Leader election: who acts, from when, and for how long at most."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from unittest.mock import patch

import anyio
import looptime
import pytest
from anyio import current_time
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.wire import Wire

from cozydrivers.api.coordination import Lease
from cozydrivers.api.core import Namespace
from cozydrivers.drivers import base as drivers
from cozydrivers.errors import LeadershipLost, NotFound
from cozydrivers.kube import KubeClient
from cozydrivers.runtime.elector import (
    REFERENCE_IDENTITY,
    REFERENCE_LEASES,
    RELEASE_TIMEOUT,
    RETRY_PERIOD,
    SUBMISSION_TIMEOUT,
    Elector,
    election_name,
)
from cozydrivers.runtime.lease import LEASE_DURATION, RENEW_DEADLINE
from cozydrivers.runtime.locks import micro_time
from cozydrivers.testing import FakeCluster

HOME, NAME = "kube-system", "cozydrivers"
THEIRS = "cozy-backup-controller"
SLOWEST_RETRY = RETRY_PERIOD * 2.2
SOON = 0.1


class Process:
    """A process with an elector, its own wall clock and its own connection."""

    def __init__(
        self, cluster: FakeCluster, identity: str, *, name: str = NAME, ahead: timedelta = timedelta()
    ) -> None:
        self.wire = Wire(cluster.kube()._transport)
        self.acted: list[tuple[str, float]] = []
        self.cluster = cluster
        self.ahead = ahead
        self.error: LeadershipLost | None = None
        self.seconds_to_end = 0.0
        self.ended = False
        self.elector = Elector(KubeClient(self.wire), HOME, name, identity, now=self.now, random=lambda: 0.5)
        self._scope = anyio.CancelScope()

    def now(self) -> datetime:
        return self.cluster.now() + self.ahead

    @property
    def leading(self) -> bool:
        return self.elector.leading

    async def run(self) -> None:
        with self._scope:
            try:
                await self.elector.run(self._lead)
            except LeadershipLost as error:
                self.error = error
        self.ended = True

    async def _lead(self) -> None:
        self.acted.append(("begin", current_time()))
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(self.seconds_to_end)
            self.acted.append(("end", current_time()))

    def stop(self) -> None:
        """As SIGTERM does."""
        self._scope.cancel()

    def kill(self) -> None:
        """As SIGKILL does: nothing is released."""
        self.wire.cut()
        self._scope.cancel()

    async def leads(self, within: float = 60.0) -> float:
        """Wait until it leads; return the seconds that it took."""
        started = current_time()
        with anyio.fail_after(within):
            while not self.leading:  # noqa: ASYNC110 - seen from outside, as others see it
                await anyio.sleep(0.01)
        return current_time() - started


@asynccontextmanager
async def running(*processes: Process) -> AsyncGenerator[None, None]:
    async with anyio.create_task_group() as tasks:
        for process in processes:
            tasks.start_soon(process.run)
        yield
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def one_and_another() -> AsyncGenerator[tuple[Process, Process, FakeCluster], None]:
    """Of two processes the first leads, and the second stands by."""
    cluster = FakeCluster()
    one, other = Process(cluster, "one"), Process(cluster, "other")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        await one.leads()
        tasks.start_soon(other.run)
        await anyio.sleep(20)
        assert (one.leading, other.leading) == (True, False)
        yield one, other, cluster
        tasks.cancel_scope.cancel()


async def lease_of(cluster: FakeCluster, name: str = NAME, namespace: str = HOME) -> Lease:
    return await cluster.kube().get(Lease, name, namespace)


async def write(cluster: FakeCluster, holder: str, name: str = REFERENCE_LEASES[0], namespace: str = "cozy") -> None:
    """What the reference does with its Lease."""
    kube = cluster.kube()
    now = micro_time(cluster.now())
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "acquireTime": now, "renewTime": now}
    try:
        await kube.merge_patch(Lease, name, {"spec": spec}, namespace)
    except NotFound:
        await kube.create(Lease, {"metadata": {"name": name}, "spec": spec}, namespace)


async def with_namespaces(*names: str) -> FakeCluster:
    cluster = FakeCluster()
    for name in names:
        await cluster.kube().create(Namespace, {"metadata": {"name": name}})
    return cluster


# One leads


async def test_one_leads_and_renews():
    async with one_and_another() as (one, other, cluster):
        lease = await lease_of(cluster)
        await anyio.sleep(60)
        later = await lease_of(cluster)
        assert (one.leading, other.leading) == (True, False)
        assert (one.elector.state, other.elector.state) == ("leading", "Lease kube-system/cozydrivers is held by one")
    assert lease.spec.holder_identity == later.spec.holder_identity == "one"
    assert lease.spec.acquire_time == later.spec.acquire_time
    assert lease.spec.lease_duration_seconds == LEASE_DURATION
    assert lease.spec.renew_time
    assert later.spec.renew_time
    assert later.spec.renew_time - lease.spec.renew_time == timedelta(seconds=60)
    assert later.spec.lease_transitions == 0


async def test_the_one_who_leads_asks_every_two_seconds_and_who_waits_not_at_all():
    async with one_and_another() as (_, _, cluster):
        before = len(cluster.requests)
        await anyio.sleep(60)
        assert {method for method, _ in cluster.requests[before:]} == {"PATCH"}
        assert len(cluster.requests) - before == pytest.approx(30, abs=1)


async def test_before_it_runs_and_after_it_has_run_nobody_leads():
    cluster = FakeCluster()
    one = Process(cluster, "one")
    assert not one.leading
    async with running(one):
        await one.leads()
        one.stop()
        await anyio.sleep(SOON)
        assert not one.leading


async def test_two_that_start_at_once_do_not_both_lead():
    cluster = FakeCluster()
    cluster.faults.latency = 0.5
    one, other = Process(cluster, "one"), Process(cluster, "other")
    async with running(one, other):
        await anyio.sleep(10)
        assert one.leading is not other.leading


async def test_what_leads_may_come_to_its_end():
    cluster = FakeCluster()
    elector = Process(cluster, "one").elector

    async def lead() -> None:
        await anyio.sleep(30)

    await elector.run(lead)
    assert (await lease_of(cluster)).spec.holder_identity == ""


async def test_what_leads_may_fail():
    cluster = FakeCluster()

    async def lead() -> None:
        raise ValueError("broken")

    with pytest.raises(ExceptionGroup) as caught:
        await Process(cluster, "one").elector.run(lead)
    assert caught.group_contains(ValueError, match="broken")
    assert (await lease_of(cluster)).spec.holder_identity == ""


# The next one


async def test_after_a_release_the_next_one_leads_at_once():
    async with one_and_another() as (one, other, cluster):
        one.stop()
        assert await other.leads() < SOON
        assert [what for what, _ in one.acted] == ["begin", "end"]
        assert other.acted[0][1] >= one.acted[1][1]
        await anyio.sleep(10)
        lease = await lease_of(cluster)
        assert (lease.spec.holder_identity, lease.spec.lease_transitions) == ("other", 1)


async def test_what_leads_comes_to_its_end_before_the_release():
    async with one_and_another() as (one, other, _):
        one.seconds_to_end = 3
        one.stop()
        assert await other.leads() == pytest.approx(3, abs=SOON)
        assert other.acted[0][1] >= one.acted[1][1]


async def test_after_a_kill_the_next_one_leads_when_the_record_has_not_changed_for_its_duration():
    async with one_and_another() as (one, other, _):
        one.kill()
        waited = await other.leads()
        assert LEASE_DURATION - RETRY_PERIOD <= waited <= LEASE_DURATION + SLOWEST_RETRY


async def test_wall_clocks_that_differ_change_nothing():
    cluster = FakeCluster()
    one = Process(cluster, "one", ahead=timedelta(days=-400))
    other = Process(cluster, "other", ahead=timedelta(hours=3))
    async with running(one):
        await one.leads()
        async with running(other):
            await anyio.sleep(120)
            assert (one.leading, other.leading) == (True, False)
            one.kill()
            assert await other.leads() >= LEASE_DURATION - RETRY_PERIOD


async def test_a_record_of_before_is_waited_for_from_when_it_is_seen():
    cluster = FakeCluster()
    await write(cluster, "gone long ago", NAME, HOME)
    await anyio.sleep(3600)
    one = Process(cluster, "one")
    async with running(one):
        assert LEASE_DURATION <= await one.leads() <= LEASE_DURATION + SLOWEST_RETRY


async def test_one_whose_watch_tells_nothing_takes_nothing_over_that_is_renewed():
    async with one_and_another() as (one, other, _):
        other.wire.blind = True
        await anyio.sleep(300)
        assert (one.leading, other.leading, len(one.acted)) == (True, False, 1)
        one.kill()
        assert await other.leads() <= 2 * (LEASE_DURATION + SLOWEST_RETRY)


async def test_a_release_that_gets_no_answer_does_not_hold_up_the_end():
    async with one_and_another() as (one, _, cluster):
        cluster.faults.hang(method="PATCH")
        one.stop()
        await anyio.sleep(RELEASE_TIMEOUT + SOON)
        assert one.ended


async def test_one_that_stands_by_ends_without_a_write():
    async with one_and_another() as (_, other, cluster):
        before = await lease_of(cluster)
        other.stop()
        await anyio.sleep(1)
        assert (await lease_of(cluster)).spec.holder_identity == before.spec.holder_identity


# The leadership ends


async def test_without_renewal_it_ends_at_the_deadline_before_another_can_lead():
    async with one_and_another() as (one, other, _):
        one.wire.cut()
        cut_at = current_time()
        await other.leads()
        assert one.error is not None
        assert str(one.error) == ("the leadership is lost: Lease kube-system/cozydrivers was not renewed for 10 s: cut")
        ended_at = one.acted[1][1]
        assert RENEW_DEADLINE - RETRY_PERIOD <= ended_at - cut_at <= RENEW_DEADLINE
        assert other.acted[0][1] - ended_at >= SUBMISSION_TIMEOUT


async def test_a_leader_without_an_api_server_stops_and_leads_again_when_it_is_back():
    async with one_and_another() as (one, other, _):
        one.wire.cut(30)
        other.wire.cut(30)
        await anyio.sleep(30)
        assert one.error is not None
        assert not other.leading
        assert await other.leads() <= SLOWEST_RETRY + SOON


async def test_short_outages_are_survived():
    async with one_and_another() as (one, other, _):
        for _ in range(5):
            one.wire.cut(7)
            await anyio.sleep(12)
        assert (one.leading, other.leading, len(one.acted)) == (True, False, 1)


async def test_the_time_counts_from_when_a_renewal_was_sent():
    """Its answer may be late: others have seen the record since it was written."""
    async with one_and_another() as (one, _, _):
        one.wire.after = 4.5
        await anyio.sleep(7)
        one.wire.cut()
        cut_at = current_time()
        await anyio.sleep(RENEW_DEADLINE + 1)
        assert one.acted[1][1] - cut_at < RENEW_DEADLINE - 2


async def test_who_slept_does_not_believe_that_it_leads():
    async with one_and_another() as (one, _, _):
        loop = asyncio.get_running_loop()
        asleep = loop.time() + 60
        with patch.object(loop, "time", lambda: asleep):  # no task has run since: the answer is computed
            assert not one.leading
        assert one.leading


async def test_who_is_seen_to_hold_it_ends_it_at_once():
    async with one_and_another() as (one, _, cluster):
        await write(cluster, "an administrator", NAME, HOME)
        await anyio.sleep(SOON)
        assert not one.leading
        assert one.error is not None
        assert "is held by an administrator" in str(one.error)


async def test_a_change_of_something_else_is_a_conflict_that_changes_nothing():
    async with one_and_another() as (one, _, cluster):
        for number in range(20):
            patch = {"metadata": {"annotations": {"cozydrivers.cozystack.io/pause": str(number)}}}
            await cluster.kube().merge_patch(Lease, NAME, patch, HOME)
            await anyio.sleep(1.3)
            assert one.elector.annotations == {"cozydrivers.cozystack.io/pause": str(number)}
        assert (one.leading, len(one.acted)) == (True, 1)


async def test_a_lost_reply_changes_nothing():
    async with one_and_another() as (one, _, cluster):
        cluster.faults.lose_reply(3, method="PATCH")
        await anyio.sleep(60)
        assert (one.leading, len(one.acted)) == (True, 1)


async def test_a_conflict_on_every_write_without_a_watch_is_survived():
    async with one_and_another() as (one, _, cluster):
        for number in range(30):
            cluster.drop_watches()
            patch = {"metadata": {"annotations": {"n": str(number)}}}
            await cluster.kube().merge_patch(Lease, NAME, patch, HOME)
            await anyio.sleep(1)
        assert (one.leading, len(one.acted)) == (True, 1)


async def test_a_lease_that_is_deleted_has_one_leader_again_soon():
    async with one_and_another() as (one, other, cluster):
        lease = await lease_of(cluster)
        await cluster.kube().delete(Lease, NAME, HOME, uid=lease.metadata.uid)
        await anyio.sleep(5)
        assert one.leading is not other.leading


async def test_without_a_right_to_list_leases_nobody_leads():
    cluster = FakeCluster()
    cluster.faults.fail(1000, status=403, method="GET")
    one = Process(cluster, "one")
    async with running(one):
        await anyio.sleep(120)
        assert not one.leading
        assert one.elector.state == "the Leases are not known yet"


# The reference's Leases


async def test_where_the_reference_is_not_there_is_nothing_to_hold():
    cluster = await with_namespaces("cozy")
    async with running(one := Process(cluster, "one")):
        assert await one.leads() < SOON
    assert [lease.metadata.name for lease in (await cluster.kube().list(Lease)).items] == [NAME]


async def test_nobody_acts_while_the_reference_does(caplog):
    caplog.set_level(logging.INFO, logger="cozydrivers")
    cluster = await with_namespaces("cozy")
    async with running(one := Process(cluster, "one")):
        for _ in range(30):
            await write(cluster, THEIRS)
            await anyio.sleep(4)
            assert not one.leading
        said = f"another controller acts on backups: Lease cozy/{REFERENCE_LEASES[0]} is held by {THEIRS}"
        assert one.elector.state == said
        assert caplog.messages.count(said) == 1
        stopped_at = current_time() - 4
        await one.leads()
        assert LEASE_DURATION <= current_time() - stopped_at <= LEASE_DURATION + RETRY_PERIOD
    assert one.acted[0][0] == "begin"


async def test_what_the_reference_releases_is_held_at_once_renewed_and_released():
    cluster = await with_namespaces("cozy")
    await write(cluster, THEIRS)
    async with running(one := Process(cluster, "one")):
        await anyio.sleep(3)
        await write(cluster, "")
        assert await one.leads() < SOON
        await anyio.sleep(60)
        lease = await lease_of(cluster, REFERENCE_LEASES[0], "cozy")
        assert lease.spec.holder_identity == REFERENCE_IDENTITY
        assert lease.spec.renew_time
        assert cluster.now() - lease.spec.renew_time <= timedelta(seconds=RETRY_PERIOD)
        one.stop()
        await anyio.sleep(SOON)
    lease = await lease_of(cluster, REFERENCE_LEASES[0], "cozy")
    assert (lease.spec.holder_identity, lease.spec.lease_duration_seconds) == ("", 1)


async def test_every_one_of_the_reference_s_must_be_held():
    cluster = await with_namespaces("a", "b")
    places = [(name, namespace) for name in REFERENCE_LEASES for namespace in ("a", "b")]
    for place in places:
        await write(cluster, THEIRS, *place)
    async with running(one := Process(cluster, "one")):
        for place in places:
            await anyio.sleep(1)
            assert not one.leading
            await write(cluster, "", *place)
        assert await one.leads() < SOON


async def test_one_of_the_reference_that_appears_in_other_hands_ends_it_at_once():
    cluster = await with_namespaces("cozy")
    async with running(one := Process(cluster, "one")):
        await one.leads()
        await anyio.sleep(600)
        await write(cluster, THEIRS)
        await anyio.sleep(SOON)
        assert one.acted[-1][0] == "end"
        assert THEIRS in str(one.error)


async def test_one_of_the_reference_that_is_taken_away_ends_it_at_once():
    cluster = await with_namespaces("cozy")
    await write(cluster, "")
    async with running(one := Process(cluster, "one")):
        await one.leads()
        await anyio.sleep(60)
        await write(cluster, THEIRS)
        await anyio.sleep(SOON)
        assert one.error is not None


async def test_one_of_the_reference_that_is_deleted_need_not_be_held():
    cluster = await with_namespaces("cozy")
    await write(cluster, THEIRS)
    async with running(one := Process(cluster, "one")):
        await anyio.sleep(3)
        lease = await lease_of(cluster, REFERENCE_LEASES[0], "cozy")
        await cluster.kube().delete(Lease, REFERENCE_LEASES[0], "cozy", uid=lease.metadata.uid)
        assert await one.leads() < SOON
        await anyio.sleep(60)
        assert len((await cluster.kube().list(Lease, "cozy")).items) == 0


async def test_leases_of_other_names_are_nobodys_business():
    cluster = await with_namespaces("cozy")
    await write(cluster, THEIRS, "other.cozystack.io")
    await write(cluster, THEIRS, NAME)
    async with running(one := Process(cluster, "one")):
        assert await one.leads() < SOON


async def test_who_stands_by_leaves_the_reference_s_lease_to_who_leads():
    cluster = await with_namespaces("cozy")
    await write(cluster, "")
    one, other = Process(cluster, "one"), Process(cluster, "other")
    async with running(one, other):
        await anyio.sleep(20)
        assert one.leading is not other.leading
        standing_by = other if one.leading else one
        assert not any("cozy/" in path for path in standing_by.wire.written)


async def test_installations_side_by_side_hold_the_reference_s_lease_together():
    cluster = await with_namespaces("cozy")
    await write(cluster, "")
    one = Process(cluster, "one", name=election_name(["a"], ""))
    other = Process(cluster, "other", name=election_name(["b"], ""), ahead=timedelta(seconds=1))
    async with running(one, other):
        await anyio.sleep(60)
        assert (one.leading, other.leading) == (True, True)
        one.stop()
        await anyio.sleep(60)
        assert other.leading
        assert (await lease_of(cluster, REFERENCE_LEASES[0], "cozy")).spec.holder_identity == REFERENCE_IDENTITY
        other.stop()
        await anyio.sleep(SOON)
        assert (await lease_of(cluster, REFERENCE_LEASES[0], "cozy")).spec.holder_identity == ""


# Never two

TROUBLES = st.lists(
    st.tuples(
        st.floats(0.1, 30),
        st.sampled_from(["cut", "before", "after", "blind", "drop", "annotate", "touch theirs"]),
        st.integers(0, 1),
        st.floats(0, 20),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(TROUBLES)
def test_never_do_two_lead_and_in_the_end_one_does(troubles):
    """Each process may be cut off, or its requests and answers delayed, for any time: that includes being paused."""
    anyio.run(_never_two, troubles, backend_options={"loop_factory": partial(looptime.new_event_loop, noop_cycles=0)})


async def _never_two(troubles: list[tuple[float, str, int, float]]) -> None:
    cluster = await with_namespaces("cozy")
    await write(cluster, "")
    replicas = [Process(cluster, f"{number}-0") for number in range(2)]
    acted: list[list[tuple[str, float]]] = []

    async def restart(number: int) -> None:
        """A process that lost the leadership is started anew, with the troubles of its machine."""
        generation = 0
        while True:
            acted.append(replicas[number].acted)
            await replicas[number].run()
            generation += 1
            renewed = Process(cluster, f"{number}-{generation}")
            wire = replicas[number].wire
            renewed.wire.until, renewed.wire.before, renewed.wire.after = wire.until, wire.before, wire.after
            renewed.wire.blind = wire.blind
            replicas[number] = renewed

    async def look() -> None:
        while True:
            assert sum(process.leading for process in replicas) <= 1
            await anyio.sleep(0.1)

    async with anyio.create_task_group() as tasks:
        for number in range(2):
            tasks.start_soon(restart, number)
        tasks.start_soon(look)
        for wait, what, number, value in troubles:
            await anyio.sleep(wait)
            await _trouble(cluster, replicas[number].wire, what, value)
        for process in replicas:
            process.wire.before = process.wire.after = process.wire.until = 0.0
            process.wire.blind = False
        await anyio.sleep(60)
        assert sum(process.leading for process in replicas) == 1
        tasks.cancel_scope.cancel()
    spans = sorted(tuple(at for _, at in spent) for spent in acted if spent)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


async def _trouble(cluster: FakeCluster, wire: Wire, what: str, value: float) -> None:
    match what:
        case "cut":
            wire.cut(value)
        case "before" | "after":
            setattr(wire, what, value)
        case "blind":
            wire.blind = not wire.blind
        case "drop":
            cluster.drop_watches()
        case "annotate":
            try:
                await cluster.kube().merge_patch(Lease, NAME, {"metadata": {"annotations": {"n": str(value)}}}, HOME)
            except NotFound:
                return
        case "touch theirs":
            patch = {"metadata": {"annotations": {"n": str(value)}}}
            await cluster.kube().merge_patch(Lease, REFERENCE_LEASES[0], patch, "cozy")


# Names and times


def test_an_installation_is_named_by_what_it_works_on():
    assert election_name([], "") == "cozydrivers"
    assert election_name(["a", "b"], "") == election_name(["b", "a", "a"], "")
    names = {election_name(*scope) for scope in [([], ""), (["a"], ""), (["a", "b"], ""), ([], "a"), (["a"], "a")]}
    assert len(names) == 5
    assert all(len(name) == len("cozydrivers-") + 8 for name in names - {"cozydrivers"})


def test_a_submission_ends_before_another_can_lead():
    assert SUBMISSION_TIMEOUT == LEASE_DURATION - RENEW_DEADLINE == 5


def test_a_driver_sends_within_the_time_that_the_election_leaves():
    assert drivers.SUBMISSION_TIMEOUT == SUBMISSION_TIMEOUT
