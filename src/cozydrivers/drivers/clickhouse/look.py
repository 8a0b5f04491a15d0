"""Observe: read what a step is decided on, and no more. At most two requests to a sidecar that is at work."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from chbackup import (
    Action,
    Archive,
    ChbackupError,
    Client,
    ConnectionFailed,
    NotFound,
    ServerError,
    Table,
    Unsupported,
)
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.clickhouse.access import Access, find, sentence
from cozydrivers.drivers.clickhouse.checkpoint import Member, State
from cozydrivers.drivers.clickhouse.following import Rows, Submission, Verdict, deaf, judge, own_row, since
from cozydrivers.drivers.clickhouse.places import CLUSTER, Place
from cozydrivers.drivers.clickhouse.stored import Stored
from cozydrivers.drivers.step import Missing


@dataclass(frozen=True)
class Sight:
    """What one sidecar shows. None stands for what was not read, never for what is absent.

    One that is `away` could not be connected to: what was to be asked was not.
    """

    place: Place | None = None
    trouble: str = ""
    verdict: Verdict | None = None
    rows: Rows = field(default_factory=Rows)
    local: Sequence[Archive] | None = None
    remote: Sequence[Archive] | None = None
    archived: Sequence[Table] | None = None
    copied: Sequence[Table] | None = None
    live: Sequence[Table] | None = None
    version: str = ""
    metrics: str = ""
    stored: Stored | None = None
    away: bool = False

    def local_copy(self, archive: str) -> Archive | None:
        """The local copy of that name, if the list was read and has it."""
        return _named(self.local, archive)

    def remote_copy(self, archive: str) -> Archive | None:
        """The remote archive of that name, if the list was read and has it."""
        return _named(self.remote, archive)


def _named(archives: Sequence[Archive] | None, name: str) -> Archive | None:
    return next((archive for archive in archives or () if archive.name == name), None)


@dataclass(frozen=True)
class Scene:
    """What a step is decided on: a sight per member, and by Pod the `survey` of all sidecars where it was needed."""

    sights: Sequence[Sight] = ()
    survey: Mapping[str, Sight] = field(default_factory=dict)


@dataclass(frozen=True)
class Eyes:
    """What is needed to look: the run, its sidecars, the way to them."""

    run: Run
    places: Sequence[Place]
    access: Access

    @property
    def callback(self) -> str | None:
        """The address to call when an operation ends."""
        return self.access.callback(self.run)

    def place(self, shard: int, replica: int) -> Place | None:
        """The sidecar of a replica, if there is one now."""
        own = (place for place in self.places if place.cluster == CLUSTER)
        return next((place for place in own if (place.shard, place.replica) == (shard, replica)), None)

    async def client(self, place: Place) -> Client:
        """The client for a sidecar; Missing where it has no address or takes no credentials. Raises ChbackupError."""
        return await self.access.client(self.run, place)

    async def version(self, place: Place | None) -> str:
        """The version of a sidecar, as it was told once; raises as `client`."""
        return await self.access.version(self.run, place) if place else ""

    async def read(self, place: Place | None, work: Callable[[Client], Awaitable[Sight]]) -> Sight:
        """What `work` sees there; trouble instead of an error."""
        if place is None:
            return Sight(trouble="no Pod serves it now", away=True)
        try:
            return replace(await work(await self.client(place)), place=place)
        except Missing as missing:
            return Sight(place=place, trouble=missing.message, away=not place.url)
        except ChbackupError as error:
            away = isinstance(error, ConnectionFailed) and not error.sent
            return Sight(place=place, trouble=sentence(place, error), away=away)


async def open_eyes(run: Run, access: Access) -> Eyes:
    """Find the sidecars and the way to them; Missing says what is absent."""
    found = await find(run, access.secrets)
    await access.credentials(run)
    return Eyes(run, found, access)


@dataclass(frozen=True)
class Wanted:
    """What to read of a sidecar beyond its rows; `copied` are the tables of a local copy of the archive."""

    lists: bool = False
    archived: bool = False
    copied: bool = False
    live: bool = False
    version: bool = False
    gauges: bool = False


NOTHING = Wanted()
PROOF = Wanted(lists=True, archived=True, live=True, version=True)


async def at_work(eyes: Eyes, state: State, member: Member, *, tag: str = "", then: Mapping[Verdict, Wanted]) -> Sight:
    """Follow a submission: its row first; `then` says what more to read once that has told the verdict."""
    place = eyes.place(member.shard, member.replica)

    async def work(client: Client) -> Sight:
        rows = await _rows(client, member.submission, state.marks.get(member.pod, ""), tag)
        if rows.own is not None and deaf(rows.own, await eyes.version(place)):
            rows = await _waited_out(client, member.submission, rows, rows.own)
        verdict = judge(member.submission, rows, now=eyes.run.now, fresh=eyes.run.fresh)
        more = await _more(eyes, place, client, member.archive, then.get(verdict, NOTHING))
        return replace(more, rows=rows, verdict=verdict)

    return await eyes.read(place, work)


async def _rows(client: Client, submission: Submission, mark: str, tag: str) -> Rows:
    if submission.operation_id:
        own = await client.status(submission.operation_id)
        if own is not None and own.running:
            return Rows(own)
    every = await client.actions()
    return Rows(own_row(submission, since(every, submission.after or mark), tag), every)


async def _waited_out(client: Client, submission: Submission, rows: Rows, own: Action) -> Rows:
    """The rows with one that a kill has not stopped: it is in progress until what it makes is there."""
    listed = await (client.list_local() if submission.verb == "download" else client.list_remote())
    made = _named(listed, submission.archive)
    if made is not None and not made.broken:
        return rows
    return replace(rows, own=own.model_copy(update={"status": "in progress"}))


async def resting(eyes: Eyes, member: Member, wanted: Wanted) -> Sight:
    """Look at an archive's sidecar while nothing of ours runs there."""
    place = eyes.place(member.shard, member.replica)

    async def work(client: Client) -> Sight:
        return await _more(eyes, place, client, member.archive, wanted)

    return await eyes.read(place, work)


async def _more(eyes: Eyes, place: Place | None, client: Client, archive: str, wanted: Wanted) -> Sight:
    return Sight(
        local=await client.list_local() if wanted.lists else None,
        remote=await client.list_remote() if wanted.lists else None,
        archived=await _archived(client, archive) if wanted.archived else None,
        copied=await _copied(client, archive) if wanted.copied else None,
        live=await client.tables() if wanted.live else None,
        version=await eyes.version(place) if wanted.version else "",
        metrics=await client.metrics() if wanted.gauges else "",
    )


async def _archived(client: Client, archive: str) -> Sequence[Table]:
    """The tables of a remote archive; none where the server does not know it."""
    try:
        return await client.tables(remote_backup=archive)
    except (NotFound, ServerError):
        return ()


async def _copied(client: Client, archive: str) -> Sequence[Table]:
    """The tables of a local copy; none where there is none, or where its server can't tell (before 2.7.0)."""
    try:
        return await client.tables(local_backup=archive)
    except (NotFound, ServerError, Unsupported):
        return ()


async def denies(client: Client, archive: str) -> bool:
    """Whether the object store itself says that there is no such archive; a list alone may be an outage."""
    try:
        await client.tables(remote_backup=archive)
    except NotFound:
        return True
    return False


async def survey(eyes: Eyes, wanted: Wanted = NOTHING) -> dict[str, Sight]:
    """The rows of every sidecar, by Pod: what runs there, and what ran."""

    async def one(place: Place) -> Sight:
        async def work(client: Client) -> Sight:
            rows = Rows(None, await client.actions())
            return replace(await _more(eyes, place, client, "", wanted), rows=rows)

        return await eyes.read(place, work)

    return dict(zip((place.pod for place in eyes.places), await anyio.amap(one, eyes.places), strict=True))
