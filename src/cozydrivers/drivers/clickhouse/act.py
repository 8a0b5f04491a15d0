"""Act: send what a saved intent says, delete what has served its purpose. Each does one thing and decides nothing."""

from collections.abc import Awaitable, Callable

from chbackup import (
    Busy,
    ChbackupError,
    Client,
    ConnectionFailed,
    InvalidInput,
    NotFound,
    Operation,
    Refused,
    Unauthorized,
    Unsupported,
)
from cozydrivers.drivers.base import SUBMISSION_TIMEOUT
from cozydrivers.drivers.clickhouse.access import sentence, still_there
from cozydrivers.drivers.clickhouse.checkpoint import Member
from cozydrivers.drivers.clickhouse.look import Eyes, Sight
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.clickhouse.steps import End, Go, Hold, looking, unreachable, unsent
from cozydrivers.drivers.step import Missing
from cozydrivers.errors import ApiError

Send = Callable[[Client, Member, Sight, str | None], Awaitable[Operation]]
"""Sends what a member's submission says; the text is the address to call at its end."""
_NOT_STARTED = (Busy, Unauthorized, NotFound, Refused, InvalidInput)
"""Answers that say for certain that nothing was started."""


async def submit(eyes: Eyes, member: Member, sight: Sight, send: Send) -> Go | Hold | End:
    """Send once. What was refused is planned again; what got no answer stays `sending` and is looked for."""
    place = sight.place
    if place is None or not await _same_pod(eyes, member, place):
        return unreachable(unsent(member), "its Pod was replaced before anything was sent")
    try:
        client = await eyes.client(place)
    except Missing as missing:
        return unreachable(unsent(member), missing.message)
    except ChbackupError as error:
        return unreachable(unsent(member), sentence(place, error))
    return await _sent(eyes, member, sight, place, client, send)


async def _sent(eyes: Eyes, member: Member, sight: Sight, place: Place, client: Client, send: Send) -> Go | Hold | End:
    try:
        operation = await send(client.with_options(timeout=SUBMISSION_TIMEOUT), member, sight, eyes.callback)
    except Unsupported as error:
        return End("Refused", sentence(place, error))
    except _NOT_STARTED as error:
        return unreachable(unsent(member), sentence(place, error))
    except ConnectionFailed as error:
        return looking(member) if error.sent else unreachable(unsent(member), sentence(place, error))
    except ChbackupError:
        return looking(member)
    return await _taken_up(eyes, member, place, operation)


async def _taken_up(eyes: Eyes, member: Member, place: Place, operation: Operation) -> Go | Hold | End:
    """The acknowledgement counts if it came from the Pod that was meant; else what it took up is found by its name."""
    try:
        same = await still_there(eyes.run, place)
    except ApiError:
        return looking(member)
    if not same and member.submission.verb == "restore":  # who knows whose tables are being made
        return End("Lost", f"{member.label}: Pod {place.pod} was replaced while it was asked")
    if not same:
        return looking(member)
    sent = member.submitted(state="sent", operation_id=operation.operation_id)
    return Go(sent.model_copy(update={"begun": True}))


async def _same_pod(eyes: Eyes, member: Member, place: Place) -> bool:
    try:
        return place.pod_uid == member.pod_uid and await still_there(eyes.run, place)
    except ApiError:
        return False


async def create_remote(client: Client, member: Member, sight: Sight, callback: str | None) -> Operation:
    """Make the archive, or go on with the upload of one that a restart has interrupted."""
    if member.submission.verb == "upload":
        return await client.upload(member.submission.archive, callback=callback)
    base = member.base or None
    return await client.create_remote(member.submission.archive, diff_from_remote=base, callback=callback)


async def download(client: Client, member: Member, sight: Sight, callback: str | None) -> Operation:
    """Bring the archive here in full. A copy that is here already may be stale or partial, and goes first."""
    if sight.local_copy(member.submission.archive) is not None:
        await client.delete_local(member.submission.archive)
    return await client.download(member.submission.archive, callback=callback)


async def drop_local(eyes: Eyes, place: Place | None, archive: str) -> str:
    """Delete a local copy; answers what went wrong, empty when it is gone.

    That it is not there counts only where the Pod that was asked is still the one. Raises ApiError.
    """
    if place is None:
        return "no Pod serves it now"
    try:
        await (await eyes.client(place)).delete_local(archive)
    except NotFound:
        return "" if await still_there(eyes.run, place) else f"Pod {place.pod} was replaced while it was asked"
    except Missing as missing:
        return missing.message
    except ChbackupError as error:
        return sentence(place, error)
    return ""
