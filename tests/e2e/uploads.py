"""A backup whose first shard uploads for some seconds, and the moment in the middle of that."""

from functools import partial

from tests.e2e import objects
from tests.e2e.scene import Scene
from tests.real.processes import wait_until
from tests.real.sidecar import SLOW_UPLOADS


async def throttle(scene: Scene, **env: str) -> None:
    """Fill both shards, and let the first one's sidecar upload slowly; `env` are further settings of it."""
    one, two = scene.shards
    await one.fill(orders=60_000, items=500)
    await two.fill(orders=2000)
    one.sidecar.env |= {**SLOW_UPLOADS, **env}
    await one.sidecar.restart()


async def begin(scene: Scene) -> None:
    """Submit the job `nightly`; returns while the first shard uploads."""
    await scene.submit(objects.backup_job("nightly"))
    await wait_until(partial(uploading, scene), timeout=90, what="the upload of the first shard")


async def uploading(scene: Scene) -> bool:
    """Whether a part of the first shard's archive is in the store, and its `metadata.json`, the last object, is not."""
    keys = [key for key in await scene.s3.objects(f"{scene.path}/") if "-s0of2-" in key]
    return any("/shadow/" in key for key in keys) and not any(key.endswith("/metadata.json") for key in keys)
