"""What can happen to a world with ClickHouse. Each accident is over, and healed, when its function returns."""

import base64
import random
from collections.abc import Awaitable, Callable

import anyio
from tests.simulation.accidents_everywhere import API_SERVER, CONTROLLERS
from tests.simulation.world import World

from chbackup.testing import FakeSidecar
from cozydrivers.api.core import Secret
from cozydrivers.testing.operators import PASSWORD, USERNAME, Installation

Accident = Callable[[World, random.Random], Awaitable[None]]


# A sidecar


async def sidecar_loses_replies(world: World, chance: random.Random) -> None:
    """Some replies of a sidecar are lost, before or after their work was done."""
    sidecar, where = _any(world, chance)
    path = chance.choice(["", "create_remote", "download", "restore", "delete", "actions", "list"])
    after, times = chance.random() < 0.7, chance.randint(1, 4)
    world.story.tell(
        f"{where} loses {times} replies to {path or 'anything'}, {'after' if after else 'before'} the work"
    )
    sidecar.faults.lose_reply(path=path, after_work=after, times=times)
    await anyio.sleep(chance.uniform(1, 20))
    sidecar.faults.replies.clear()


async def sidecar_is_killed(world: World, chance: random.Random) -> None:
    """A sidecar's process dies, once or more, and is started again: memory limits make that routine."""
    sidecar, where = _any(world, chance)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        if not sidecar.running:
            return
        pause = chance.choice([0.0, 0.05, 1.0, chance.uniform(1, 60)])
        world.story.tell(f"{where} is killed, for {pause:.2f} s")
        sidecar.kill_process()
        await anyio.sleep(pause)
        world.starts(sidecar)
        await anyio.sleep(chance.uniform(0, 8))


async def sidecar_restarts_its_server(world: World, chance: random.Random) -> None:
    """Somebody posts `/restart`."""
    await _by_hand(world, chance, "POST", "/restart")


async def somebody_kills(world: World, chance: random.Random) -> None:
    """Somebody gets `/backup/kill`."""
    await _by_hand(world, chance, "GET", "/backup/kill")


async def somebody_lists(world: World, chance: random.Random) -> None:
    """A monitor lists without an end, and each list is a row: with a short history others are soon forgotten."""
    sidecar, where = _any(world, chance)
    world.story.tell(f"somebody lists the archives of {where} again and again")
    for _ in range(chance.randint(3, 25)):
        await _ask(sidecar, "GET", "/backup/list/local")
        await anyio.sleep(chance.uniform(0.05, 0.5))


async def somebody_backs_up(world: World, chance: random.Random) -> None:
    """Somebody makes an archive by hand, and deletes it again."""
    sidecar, where = _any(world, chance)
    name = f"by-hand-{chance.randrange(10**6)}"
    world.story.tell(f"somebody makes {name} on {where}")
    await _ask(sidecar, "POST", "/backup/create_remote", f"name={name}")
    await anyio.sleep(chance.uniform(0.1, 10))
    await _ask(sidecar, "POST", f"/backup/delete/local/{name}")
    await _ask(sidecar, "POST", f"/backup/delete/remote/{name}")


async def somebody_is_at_work(world: World, chance: random.Random) -> None:
    """Another operation holds the lock of a sidecar."""
    sidecar, where = _any(world, chance)
    seconds = chance.choice([0.5, chance.uniform(1, 90)])
    if sidecar.running:
        world.story.tell(f"{where} is busy for {seconds:.1f} s")
        sidecar.occupy(seconds=seconds)
        await anyio.sleep(seconds)


async def history_is_trimmed(world: World, chance: random.Random) -> None:
    """A server forgets its finished rows: from 2.8.1 on."""
    sidecar, where = _any(world, chance)
    if sidecar._pod.version.since(2, 8, 1):
        world.story.tell(f"{where} forgets its history")
        sidecar.forget_history()


async def sidecar_is_slow(world: World, chance: random.Random) -> None:
    """Answers take long, some too long."""
    sidecar, where = _any(world, chance)
    delay = chance.choice([0.3, 2.0, 6.0, 35.0])
    world.story.tell(f"{where} answers after {delay} s")
    sidecar.faults.delay = delay
    await anyio.sleep(chance.uniform(1, 40))
    sidecar.faults.delay = 0.0


async def sidecar_is_out_of_reach(world: World, chance: random.Random) -> None:
    """Nobody can connect to a sidecar, whose work goes on."""
    sidecar, where = _any(world, chance)
    seconds = chance.uniform(0.5, 90)
    world.story.tell(f"{where} refuses connections for {seconds:.1f} s")
    await _suffers(sidecar, "refuse", seconds)


async def _suffers(sidecar: FakeSidecar, fault: str, seconds: float) -> None:
    setattr(sidecar.faults, fault, True)
    await anyio.sleep(seconds)
    setattr(sidecar.faults, fault, False)


async def clickhouse_is_down(world: World, chance: random.Random) -> None:
    """A ClickHouse does not answer its sidecar."""
    sidecar, where = _any(world, chance)
    world.story.tell(f"the ClickHouse of {where} is down")
    await _suffers(sidecar, "clickhouse_down", chance.uniform(0.5, 40))


async def disk_is_full(world: World, chance: random.Random) -> None:
    """No space for downloads."""
    sidecar, where = _any(world, chance)
    world.story.tell(f"the disk of {where} is full")
    await _suffers(sidecar, "disk_full", chance.uniform(1, 60))


# The object store


async def store_is_down(world: World, chance: random.Random) -> None:
    """The object store refuses, denies or hangs, for one sidecar or for all: lists are empty then.

    A bucket that is gone is none of these: the store says that its archives do not exist, and it comes back empty.
    """
    chosen = world.sidecars if chance.random() < 0.6 else [_any(world, chance)[0]]
    how = chance.choice(["refused", "denied", "hanging"])
    seconds = chance.choice([chance.uniform(0.2, 5), chance.uniform(5, 120)])
    world.story.tell(f"the object store is {how} for {len(chosen)} sidecars, {seconds:.1f} s")
    for sidecar in chosen:
        sidecar.faults.s3 = how  # type: ignore[assignment]
    world.network.objects.fault = f"the object store is {how}" if len(chosen) > 1 or chance.random() < 0.5 else ""
    await anyio.sleep(seconds)
    for sidecar in chosen:
        sidecar.faults.s3 = None
    world.network.objects.fault = ""
    world.story.tell("the object store is back")


async def list_is_partial(world: World, chance: random.Random) -> None:
    """A remote list leaves out some of the archives."""
    sidecar, where = _any(world, chance)
    names = sorted(sidecar.remote)
    if names:
        world.story.tell(f"{where} lists the store in part")
        sidecar.faults.unlisted = chance.sample(names, chance.randint(1, len(names)))
        await anyio.sleep(chance.uniform(0.5, 30))
        sidecar.faults.unlisted = ()


# Pods


async def pod_is_recreated(world: World, chance: random.Random) -> None:
    """A Pod is replaced by another one with another address; its process begins anew, its disk stays."""
    app, shard = _any_shard(world, chance)
    sidecar = app.sidecar(shard)
    if not sidecar.running:
        return
    sidecar.kill_process()
    await anyio.sleep(chance.choice([0.0, chance.uniform(0, 20)]))
    world.recreates_pod(app, shard)
    world.starts(sidecar)


async def pods_swap_addresses(world: World, chance: random.Random) -> None:
    """Two Pods are re-created, and each gets the other's address: all shards share one password."""
    app = chance.choice(world.apps)
    sidecars = [app.sidecar(shard) for shard in (0, 1)]
    if not all(sidecar.running for sidecar in sidecars):
        return
    addresses = [world.address(sidecar) for sidecar in sidecars]
    for sidecar in sidecars:
        sidecar.kill_process()
        world.network.detach(sidecar)
    for shard in chance.sample([0, 1], 2):
        world.recreates_pod(app, shard, addresses[1 - shard])
        world.starts(sidecars[shard])
        await anyio.sleep(chance.choice([0.0, 0.0, 3.0]))


async def pod_is_not_ready(world: World, chance: random.Random) -> None:
    """A Pod is not ready for a while."""
    app, shard = _any_shard(world, chance)
    world.story.tell(f"{app.pod_name(shard)} is not ready")
    world.reports(app, shard, conditions=[{"type": "Ready", "status": "False"}])
    await anyio.sleep(chance.uniform(0.5, 30))
    world.reports(app, shard, conditions=[{"type": "Ready", "status": "True"}])


async def password_is_rotated(world: World, chance: random.Random) -> None:
    """The Secret says another password, some time before or after the sidecars do."""
    app = chance.choice(world.apps)
    password = f"{PASSWORD}-{chance.randrange(1000)}"
    lag, first = chance.uniform(0, 10), chance.random() < 0.5
    if app.name in world.rotating:
        return
    world.rotating.add(app.name)
    world.story.tell(f"the password of {app.name} is rotated, {'Secret' if first else 'sidecars'} first, {lag:.1f} s")
    for part in (True, False):
        if part is first:
            secret = {"stringData": {"password": password}}
            world.patch(Secret, f"clickhouse-{app.name}-backup-api-auth", secret)
        else:
            for sidecar in app.sidecars.values():
                sidecar._credentials = (USERNAME, password)
        await anyio.sleep(lag if part else 0)
    world.rotating.remove(app.name)


ACCIDENTS: list[Accident] = [
    sidecar_loses_replies,
    sidecar_is_killed,
    sidecar_restarts_its_server,
    somebody_kills,
    somebody_lists,
    somebody_backs_up,
    somebody_is_at_work,
    history_is_trimmed,
    sidecar_is_slow,
    sidecar_is_out_of_reach,
    clickhouse_is_down,
    disk_is_full,
    store_is_down,
    list_is_partial,
    *API_SERVER,
    pod_is_recreated,
    pods_swap_addresses,
    pod_is_not_ready,
    password_is_rotated,
    *CONTROLLERS,
]


def _any(world: World, chance: random.Random) -> tuple[FakeSidecar, str]:
    app, shard = _any_shard(world, chance)
    return app.sidecar(shard), f"sidecar {shard} of {app.name}"


def _any_shard(world: World, chance: random.Random) -> tuple[Installation, int]:
    app = chance.choice(world.apps)
    return app, chance.randrange(app.shards)


async def _by_hand(world: World, chance: random.Random, method: str, path: str) -> None:
    sidecar, where = _any(world, chance)
    world.story.tell(f"somebody: {method} {path} on {where}")
    await _ask(sidecar, method, path)


async def _ask(sidecar: FakeSidecar, method: str, path: str, query: str = "") -> None:
    try:
        token = base64.b64encode(":".join(sidecar._credentials).encode()).decode()
        await sidecar.handle(method, path, query, {"authorization": f"Basic {token}"}, b"")
    except ConnectionError:
        return
