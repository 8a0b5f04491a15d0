"""The bucket that dumps are in, asked with the credentials that the strategy names. Trouble with it is a value."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from cozydrivers.clients.objects import ObjectStore, OpenStore, StoredObject, StoreError, open_store
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.mariadb.storage import Place
from cozydrivers.drivers.mariadb.stream import Streams
from cozydrivers.drivers.secrets import Secrets

T = TypeVar("T")

TIMEOUT = 60.0
"""Seconds for what one step asks of a bucket."""
LIST_TIMEOUT = 5 * TIMEOUT
"""Seconds for the list of all dumps of an application, of which there may be many."""


@dataclass
class Access:
    """The way to buckets: what opens them, the Secrets with their keys, and the dumps that are being read."""

    objects: OpenStore = open_store
    secrets: Secrets = field(default_factory=Secrets, repr=False)
    streams: Streams = field(default_factory=Streams, repr=False)


@dataclass(frozen=True)
class Unread:
    """The bucket can't be asked: `why` is a sentence's end."""

    why: str


@asynccontextmanager
async def opened(run: Run, access: Access, place: Place) -> AsyncIterator[ObjectStore]:
    """A place's bucket. Raises StoreError, also where there is none, or no way into it from here.

    After a StoreError the Secrets are read anew: their keys may have been changed.
    """
    names = {reference.name for reference in place.secret_keys()}
    coordinates = place.coordinates(await access.secrets.read(run.kube, run.namespace, names))
    if isinstance(coordinates, str):
        raise StoreError(coordinates)
    try:
        async with access.objects(coordinates) as store:
            yield store
    except StoreError:
        access.secrets.forget(run.namespace, names)
        raise


async def asked(
    run: Run, access: Access, place: Place, ask: Callable[[ObjectStore], Awaitable[T]], *, seconds: float = TIMEOUT
) -> T | Unread:
    """What a place's bucket answers, Unread where it does not, or not in time."""
    try:
        with anyio.fail_after(seconds):
            async with opened(run, access, place) as store:
                return await ask(store)
    except TimeoutError:
        return Unread(f"the object store did not answer in {seconds:g} s")
    except StoreError as error:
        return Unread(str(error))


async def listed(run: Run, access: Access, place: Place, prefix: str) -> Sequence[StoredObject] | Unread:
    """What lies under a prefix of a place's bucket."""
    return await asked(run, access, place, lambda store: store.list(prefix))
