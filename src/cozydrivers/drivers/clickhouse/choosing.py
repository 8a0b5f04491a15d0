"""Which replicas make a set: the ready and fullest of every shard, and each further one with rows of its own. Pure.

Replicas are compared table by table: the number of tables in which one lags behind counts first, all bytes then. So
none is chosen that holds no more than another of any table and less of one.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chbackup import Table
from cozydrivers.drivers.clickhouse.checkpoint import Member
from cozydrivers.drivers.clickhouse.engines import own_rows, sizes
from cozydrivers.drivers.clickhouse.following import LOOK
from cozydrivers.drivers.clickhouse.look import Sight
from cozydrivers.drivers.clickhouse.places import CLUSTER, Place

AWAY = timedelta(seconds=60)
"""How long a sidecar is waited for before another replica takes its place."""
AS_MUCH = 0.99
"""Share of the fullest's bytes that counts as all of them: merges make small differences."""

Spot = tuple[int, int]
"""Shard and replica."""


@dataclass(frozen=True)
class Candidate:
    """A replica and its tables, None where it can't be asked."""

    place: Place
    tables: Sequence[Table] | None

    @property
    def usable(self) -> bool:
        """Whether it can be chosen."""
        return self.place.ready and self.tables is not None

    @property
    def spot(self) -> Spot:
        """Shard and replica."""
        return self.place.shard, self.place.replica

    @property
    def bytes(self) -> int:
        """Bytes of all tables whose rows an archive holds."""
        return sum(sizes(self.tables or ()).values())


@dataclass(frozen=True)
class Choice:
    """The replicas of a set, by shard, the first of each first; or what is waited for."""

    members: Sequence[Candidate] = ()
    waiting: str = ""


def choose(
    candidates: Sequence[Candidate], shards: int, *, prefer: Collection[Spot] = (), known: Collection[Spot] = ()
) -> Choice:
    """The members of a set. `known` are replicas that held rows of their own the last time.

    One that can't be asked is left out unless it is known, or all that answer are empty: then it has the rows, if there
    are any. Among equally full ones those in `prefer` come first.
    """
    members: list[Candidate] = []
    for shard in range(shards):
        replicas = [each for each in candidates if each.place.shard == shard]
        first = fullest(replicas, prefer)
        if first is None:
            return Choice(waiting=f"no replica of shard {shard} is ready")
        silent = next((each.place.label for each in replicas if not each.usable), "")
        if silent and not first.bytes:
            return Choice(waiting=f"{first.place.label} is empty, and {silent} can't be asked")
        further = [each for each in replicas if each.spot != first.spot and _holds_own(each, known)]
        if absent := next((each.place.label for each in further if not each.usable), ""):
            return Choice(waiting=f"{absent} holds rows that no other replica has, and is not ready")
        members += [first, *sorted(further, key=lambda each: each.spot)]
    return Choice(members)


def _holds_own(candidate: Candidate, known: Collection[Spot]) -> bool:
    return candidate.spot in known if candidate.tables is None else bool(own_rows(candidate.tables))


def fullest(replicas: Iterable[Candidate], prefer: Collection[Spot] = ()) -> Candidate | None:
    """The fullest of a shard's replicas that can be chosen; a preferred one where it lags behind in no table."""
    usable = [each for each in replicas if each.usable]
    held = {each.spot: sizes(each.tables or ()) for each in usable}
    most = {table: max(of.get(table, 0) for of in held.values()) for of in held.values() for table in of}
    behind = {spot: sum(of.get(table, 0) < AS_MUCH * top for table, top in most.items()) for spot, of in held.items()}
    liked = next((each for each in usable if each.spot in prefer and not behind[each.spot]), None)
    ranked = sorted(usable, key=lambda each: (behind[each.spot], -each.bytes, each.spot))
    return liked or next(iter(ranked), None)


def candidates(places: Iterable[Place], survey: Mapping[str, Sight]) -> list[Candidate]:
    """The replicas of the application's own cluster, with what was seen of them."""
    live = {pod: sight.live for pod, sight in survey.items() if not sight.trouble}
    return [Candidate(place, live.get(place.pod)) for place in places if place.cluster == CLUSTER]


def _looked_at(survey: Mapping[str, Sight]) -> list[Candidate]:
    return candidates((sight.place for sight in survey.values() if sight.place), survey)


def heard(survey: Mapping[str, Sight]) -> dict[str, Sight]:
    """Without those that take no connection, or are not ready and do not answer, where another of their shard does.

    Nothing is known to run there, and what a sidecar has run before it ended is forgotten anyway.
    """
    answered = {_shard(sight.place) for sight in survey.values() if sight.place and not sight.trouble}
    return {pod: sight for pod, sight in survey.items() if not _is_missed(sight, answered)}


def _is_missed(sight: Sight, answered: Collection[tuple[str, int]]) -> bool:
    place = sight.place
    if place is None or _shard(place) not in answered:
        return False
    return sight.away or (bool(sight.trouble) and not place.ready)


def _shard(place: Place) -> tuple[str, int]:
    return place.cluster, place.shard


# When a member's sidecar is away


def may_move(member: Member, sight: Sight, now: datetime) -> bool:
    """Whether another replica may take the place of one that has been away (I7).

    What was acknowledged goes on when its sidecar is back, unless the Pod was replaced. Rows of its own are nowhere
    else, and an increment is made where its base was.
    """
    if member.stage != "making" or member.apart or member.base:
        return False
    if member.away_since is None or now - member.away_since < AWAY:
        return False
    if member.begun or member.submission.state == "sent":
        return sight.place is not None and sight.place.pod_uid != member.pod_uid
    return member.submission.state == "planned" or now - member.submission.at >= LOOK


def substitute(member: Member, members: Iterable[Member], survey: Mapping[str, Sight]) -> Place | None:
    """The fullest other replica of its shard, where that holds as much as it did."""
    taken = {(each.shard, each.replica) for each in members}
    others = [
        each
        for each in _looked_at(survey)
        if each.place.shard == member.shard and each.spot not in taken and each.bytes >= AS_MUCH * member.source_bytes
    ]
    found = fullest(others)
    return found.place if found else None


def fuller(member: Member, members: Iterable[Member], survey: Mapping[str, Sight]) -> Place | None:
    """The replica that a lost archive is better made on, because its own holds less now; None where it is its own."""
    if member.apart or member.base:
        return None
    own = (member.shard, member.replica)
    taken = {(each.shard, each.replica) for each in members} - {own}
    replicas = [each for each in _looked_at(survey) if each.place.shard == member.shard and each.spot not in taken]
    found = fullest(replicas, {own})
    return found.place if found and found.spot != own else None
