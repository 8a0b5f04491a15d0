"""The sidecars that a purge has to ask: those of the applications, and of all who share their storage paths."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import anyio

from chbackup import ChbackupError
from chbackup._sidecars import Sidecar
from chbackup._survey import Survey, survey
from cozydrivers.admin.purge_facts import Facts, Key, bare_run
from cozydrivers.admin.purge_plan import Known
from cozydrivers.api.backups import Backup
from cozydrivers.controllers.ledger import CLASS
from cozydrivers.controllers.resolve import Absence, NotOurs, Refusal, Target, backup_target, restore_target, situation
from cozydrivers.controllers.status import created
from cozydrivers.drivers.base import Run
from cozydrivers.drivers.clickhouse import ClickHouseDriver
from cozydrivers.drivers.clickhouse.access import Access
from cozydrivers.drivers.clickhouse.look import open_eyes
from cozydrivers.drivers.clickhouse.places import Place
from cozydrivers.drivers.step import Missing
from cozydrivers.errors import InvalidInput
from cozydrivers.runtime.cache import Caches

_AT_ONCE = 64
_TO_ONE_STORAGE = 8
_READING = 60.0


@dataclass(frozen=True)
class Seen:
    """What the sidecars list, the storages that are not to be touched and why, and by address where a sidecar is."""

    survey: Survey
    refused: Mapping[str, str]
    places: Mapping[str, tuple[Run, Place]]


async def look(facts: Facts, known: Known, access: Access, now: datetime) -> Seen:
    """Ask every sidecar that may be at work on the storage paths of the applications without trouble."""
    storages = {storage for app in known.apps if not app.trouble for storage in app.storages}
    total = anyio.Semaphore(_AT_ONCE, fast_acquire=True)
    gates = {storage: anyio.Semaphore(_TO_ONE_STORAGE) for storage in storages}
    refused: dict[str, str] = {}
    places: dict[str, tuple[Run, Place]] = {}
    sidecars: list[Sidecar] = []
    for key in facts.sharing(storages):
        try:
            eyes = await open_eyes(await _run(facts, key, now), access)
            if gone := {place.pod for place in facts.sidecars[key]} - {place.pod for place in eyes.places}:
                raise Missing("SidecarUnreachable", f"Pod {min(gone)} is gone")
            for place in eyes.places:
                if place.storage in storages:
                    client = await eyes.client(place)
                    sidecars.append(Sidecar(client, client.url, place.storage, total, gates[place.storage]))
                    places[client.url] = eyes.run, place
        except (Missing, InvalidInput, ChbackupError) as error:
            why = f"ClickHouse {'/'.join(key)}: {error}"
            refused |= {place.storage: why for place in facts.sidecars[key] if place.storage in storages}
    seen = await survey([each for each in sidecars if each.storage not in refused], _READING)
    refused |= {storage: problem.reason for storage, problem in seen.problems.items()}
    return Seen(seen, refused, places)


async def _run(facts: Facts, key: Key, now: datetime) -> Run:
    """A look at an application, with the strategy that its last Backup names, else one of its Plans."""
    target = await _target(facts, key) if key in facts.applications else None
    if target is None:
        return bare_run(facts, key)
    return Run(**situation(target, target.application, facts.kube, Caches(facts.kube), now))


async def _target(facts: Facts, key: Key) -> Target | None:
    reader, drivers = Caches(facts.kube), [ClickHouseDriver()]
    tried = [
        partial(restore_target, reader, drivers, key[0], backup, None) for backup in _by_strategy(facts.backups, key)
    ]
    planned = {
        (each.spec.application_ref.kind, each.spec.backup_class_name): each.spec.application_ref
        for each in facts.plans
        if (each.metadata.namespace, each.spec.application_ref.name) == key
    }
    tried += [
        partial(backup_target, reader, drivers, key[0], reference, name) for (_, name), reference in planned.items()
    ]
    for resolve in tried:
        with suppress(Absence, Refusal, NotOurs):
            return await resolve()
    return None


def _by_strategy(backups: Sequence[Backup], key: Key) -> list[Backup]:
    """An application's last Backup of each strategy and class, the last one first."""
    own = [each for each in backups if (each.metadata.namespace, each.spec.application_ref.name) == key]
    own.sort(key=lambda backup: backup.spec.taken_at or created(backup), reverse=True)
    found: dict[tuple[str, str], Backup] = {}
    for backup in own:
        found.setdefault((backup.spec.strategy_ref.name, backup.metadata.annotations.get(CLASS, "")), backup)
    return list(found.values())
