"""A world as it was, for others to begin with: what comes before a flow is the same for each of its points."""

from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.mariadb.world import World


@dataclass(frozen=True)
class Saved:
    """The fakes of a world in which nothing is at work, and what its observer knew; `at` is the next full second."""

    at: datetime
    chance: Any
    store: dict[str, Any]
    bucket: dict[str, Any]
    databases: dict[Any, Any]
    done: list[Any]
    ready: set[tuple[str, str]]
    known: dict[str, Any]


_STORE = ("version", "compacted", "_latest", "_objects")
_KNOWN = ("_things", "_jobs", "_backups", "_contents")


def save(world: World) -> Saved:
    """Keep a world. What its store holds is never changed, only replaced, so it needs no copies."""
    store, objects = world.cluster._store, world.cluster._store._objects
    kept = {"_latest": dict(store._latest), "_objects": {kind: dict(objects[kind]) for kind in objects}}
    return Saved(
        at=world.now().replace(microsecond=0) + timedelta(seconds=1),
        chance=world.cluster._writes._random.getstate(),
        store={**{name: getattr(store, name) for name in _STORE}, **kept},
        bucket=dict(world.bucket._stored),
        databases=deepcopy(world.pods.databases),
        done=list(world.pods.done),
        ready=set(world.operator._servers._ready),
        known={name: deepcopy(getattr(world.observer, name)) for name in _KNOWN},
    )


def resume(world: World, saved: Saved) -> None:
    """Make a world that is not set up yet like one that was kept; its clock goes on from there."""
    for name, value in saved.store.items():
        setattr(world.cluster._store, name, value)
    world.cluster._store._latest = dict(saved.store["_latest"])
    world.cluster._store._objects = {kind: dict(objects) for kind, objects in saved.store["_objects"].items()}
    world.cluster._writes._random.setstate(saved.chance)  # no UID is given twice
    world.cluster._start, world.cluster._started = saved.at, None
    world.bucket._stored = dict(saved.bucket)
    world.pods.databases = deepcopy(saved.databases)
    world.pods.done = list(saved.done)
    world.operator._servers._ready = set(saved.ready)
    for name, value in saved.known.items():
        setattr(world.observer, name, deepcopy(value))
