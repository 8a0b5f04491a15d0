"""A dump by the operator, step by step: a backup's own, or that of what a restore is about to replace.

It is created in a step that is `fresh`, followed by its reason and its Job, and proven by the dump itself.
"""

from typing import Any

from chbackup import poll_delay
from cozydrivers.drivers.base import Failed, Patience, Run, Running
from cozydrivers.drivers.mariadb import work
from cozydrivers.drivers.mariadb.checkpoint import Evidence
from cozydrivers.drivers.mariadb.evidence import Awaited, Problem, evidence_of
from cozydrivers.drivers.mariadb.naming import Name, server_of
from cozydrivers.drivers.mariadb.settings import VERIFY, Settings
from cozydrivers.drivers.mariadb.storage import Place
from cozydrivers.drivers.mariadb.store import Access
from cozydrivers.drivers.mariadb.work import Announce, Create, End, Finished, Remember, Sight, Task, Wait
from cozydrivers.drivers.pod_log import last_words
from cozydrivers.errors import InvalidInput

RETENTION = "876000h"
"""A hundred years: the operator deletes whatever it finds in the folder that is older, its own dump among it."""


def spec_of(place: Place, settings: Settings, server: str, name: str) -> dict[str, Any]:
    """The spec of the operator's Backup of that name.

    With `restartPolicy: OnFailure`, the operator's default, a container that is started again compresses what is
    compressed already. Without `ignoreGlobalPriv` a restore brings back the accounts of the operator itself.
    """
    optional = {"databases": list(settings.databases), "logLevel": settings.log_level}
    return {
        "mariaDbRef": {"name": server},
        "storage": place.written(name),
        "compression": settings.compression,
        "ignoreGlobalPriv": True,
        "maxRetention": RETENTION,
        "restartPolicy": "Never",
        "backoffLimit": 2,
        **{key: value for key, value in optional.items() if value},
    }


def check_readable(place: Place, settings: Settings) -> None:
    """Refuse to read a dump to its end where nobody can read it."""
    if settings.verify == "stream" and place.closed:
        raise InvalidInput(f"parameters.{VERIFY} of the class is stream, but {place.closed}; accepted: list")


async def follow(
    run: Run, access: Access, place: Place, settings: Settings, task: Task
) -> Announce | Task | Running | Failed | Evidence:
    """One step of a dump.

    Announce asks for an Intent, because it does not exist yet; a Task is to be saved; Evidence is the end. What is
    Running has neither checkpoint nor condition.
    """
    sight = await work.look(run, task)
    match work.decide(task, sight, run):
        case Announce() as announce:
            return announce
        case Create():
            name = str(Name.of(run, task.purpose))
            server = server_of(run.application.metadata.name)
            return await work.create(run, task, spec_of(place, settings, server, name))
        case Remember(known):
            return known
        case Wait():
            return waiting(run, sight)
        case End(reason, message, failed):
            return Failed(reason, message + (await last_words(run, failed.job, failed.pods) if failed else ""))
        case Finished():
            return await _proven(run, access, place, settings, sight)


def waiting(run: Run, sight: Sight) -> Running:
    """It is at work; what it lacks is waited for no longer than what is absent."""
    patience = Patience.ABSENT if work.is_held_up(sight) else Patience.ENGINE
    return Running("InProgress", work.said(sight), poll_delay(work.waited(sight, run.now)), patience=patience)


async def _proven(
    run: Run, access: Access, place: Place, settings: Settings, sight: Sight
) -> Running | Failed | Evidence:
    found = await evidence_of(run, access, place, settings, sight)
    return found if isinstance(found, Evidence) else unproven(found)


def unproven(found: Awaited | Problem) -> Running | Failed:
    """The dump is not shown to be good, yet or at all."""
    match found:
        case Awaited(message, pause, patience):
            return Running("Proving", message, pause, patience=patience)
        case Problem(message, reason):
            return Failed(reason, message)
