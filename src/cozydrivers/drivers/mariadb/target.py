"""The application's server, as mariadb-operator knows it: there and ready, with what its Pods need, and at peace.

The operator notices none of this. What lacks a Secret waits for ever, and two objects at work on one server at once do
not keep out of each other's way (seen on 25.10.2 and 26.6.0).
"""

from collections.abc import Iterable
from contextlib import suppress

from cozydrivers.api.core import Secret, SecretKeyReference
from cozydrivers.api.mariadb import Backup, MariaDB, PhysicalBackup, Restore
from cozydrivers.clients.mariadb import Thing, is_at_work
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.mariadb.naming import server_of
from cozydrivers.drivers.mariadb.storage import Place
from cozydrivers.drivers.owned import is_own
from cozydrivers.drivers.step import Missing
from cozydrivers.errors import NotFound


async def server(run: Run, *places: Place) -> MariaDB:
    """The application's MariaDB, that it is Ready and that its Pods find what they need to get at it and the places.

    Read uncached. Missing says what is not so.
    """
    name = server_of(run.application.metadata.name)
    try:
        found = await run.kube.get(MariaDB, name, run.namespace)
    except NotFound:
        raise Missing("MariaDBMissing", f"MariaDB {name} of k8s.mariadb.com does not exist") from None
    if found.spec.suspend:
        raise Missing("MariaDBSuspended", f"MariaDB {name} is suspended (spec.suspend)")
    if not found.ready or found.metadata.deletion_timestamp is not None:
        raise Missing("MariaDBNotReady", f"MariaDB {name} is not Ready{_why(found)}")
    password = found.spec.root_password_secret_key_ref
    await _need(run, [*([password] if password else []), *(key for place in places for key in place.secret_keys())])
    return found


def _why(found: MariaDB) -> str:
    told = found.status.condition("Ready")
    words = told.message or told.reason if told and told.status != "True" else ""
    return f": {words}" if words else ""


async def _need(run: Run, keys: Iterable[SecretKeyReference]) -> None:
    secrets: dict[str, Secret] = {}
    for reference in keys:
        where = f"Secret {run.namespace}/{reference.name}"
        if reference.name not in secrets:
            try:
                secrets[reference.name] = await run.kube.get(Secret, reference.name, run.namespace)
            except NotFound:
                raise Missing("SecretMissing", f"{where} does not exist") from None
        if not secrets[reference.name].data.get(reference.key):
            raise Missing("SecretMissing", f"{where} has no key {reference.key}")


async def others_at_work(run: Run, server_name: str) -> list[str]:
    """The operator's objects at work on a server, read uncached, but for this run's own: `Restore undo` and so on."""
    others = [each for each in await objects_for(run, server_name) if not is_own(each, run.uid)]
    return sorted(f"{each.resource.kind} {each.metadata.name}" for each in others if is_at_work(each))


async def objects_for(run: Run, server_name: str) -> list[Thing]:
    """The operator's objects in the namespace that are for a server, read uncached. Raises ApiError."""
    found: list[Thing] = []
    kinds: tuple[type[Thing], ...] = (Backup, Restore, PhysicalBackup)
    for kind in kinds:
        with suppress(NotFound):  # a kind that the operator's release does not have
            found += (await run.kube.list(kind, run.namespace)).items
    return [each for each in found if is_for(each, server_name, run.namespace)]


def is_for(thing: Thing, server_name: str, namespace: str) -> bool:
    """Whether an object of the operator's in a namespace is for a server there."""
    reference = thing.spec.maria_db_ref
    return reference.name == server_name and reference.namespace in ("", namespace)
