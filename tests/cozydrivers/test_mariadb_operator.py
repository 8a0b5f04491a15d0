"""mariadb-operator's simulator does what the operator does: adoption, replays, and failures that look complete."""

import gzip

import pytest
from tests.cozydrivers.mariadbs import SUCCEEDED, Scene

from cozydrivers.api.mariadb import Backup, Restore
from cozydrivers.testing.mariadb import Version

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["25.10.2", "26.6.0"])
async def scene(request: pytest.FixtureRequest) -> Scene:
    return await _scene(request.param)


async def _scene(version: Version = "25.10.2") -> Scene:
    scene = Scene(version)
    await scene.set_up()
    return scene


async def test_a_backup_becomes_a_dump_in_the_bucket_and_a_restore_loads_it(scene):
    await scene.backup()
    await scene.run()
    assert await scene.told(Backup, "b1") == SUCCEEDED
    (key,) = scene.bucket.keys
    assert "-- Dump completed on " in gzip.decompress(scene.bucket.content(key)).decode().splitlines()[-1]
    scene.server.databases["shop"]["orders"] = [(3, "wrong")]
    scene.server.add("shop", "later", (1,))
    await scene.restore()
    await scene.run()
    assert await scene.told(Restore, "r1") == SUCCEEDED
    assert scene.server.rows("shop", "orders") == [(1, "a"), (2, "it's b")]
    assert scene.server.rows("shop", "later") == [(1,)]
