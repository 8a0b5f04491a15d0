"""The day when the cluster is gone: only the object store is left, and from it the Backups and the rows come back."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.e2e import kube, objects
from tests.e2e.objects import APPLICATION, archives
from tests.e2e.scene import Controller, Scene
from tests.real import RealCluster

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

FIXTURES = Path(__file__).parents[2] / "fixtures"


async def test_with_only_the_store_left_the_older_of_two_backups_comes_back(scene: Scene):
    one, two = scene.shards
    await one.fill(orders=3000, users=50)
    await two.fill(orders=2000)
    rows = await scene.rows()
    older = await scene.back_up("older")
    await one.fill(orders=10)
    newer = await scene.back_up("newer")
    await scene.controller.terminate()
    async with _a_new_cluster(scene) as new:
        code, (before,) = await _typed(new, "status", "-o", "json")
        assert (code, before["lastGood"], "import" in before["problems"][-1]) == (1, None, True)
        code, planned = await _typed(new, "import", APPLICATION, "--dry-run", "-o", "json")
        assert (code, [each["action"] for each in planned]) == (0, ["import", "import"])
        assert await kube.listed(new.client, "Backup") == []
        code, imported = await _typed(new, "import", APPLICATION, "--yes", "-o", "json")
        assert (code, [each["action"] for each in imported]) == (0, ["imported", "imported"])
        code, again = await _typed(new, "import", APPLICATION, "--yes", "-o", "json")
        assert (code, [each["action"] for each in again]) == (0, ["skipped", "skipped"])

        made = await kube.listed(new.client, "Backup")
        same = next(each for each in made if archives(each) == archives(older))
        assert len(made) == 2
        async with new.controller:
            await new.submit(objects.restore_job("back", same["metadata"]["name"]))
            job = await new.ended("RestoreJob", "back")
            await new.controller.terminate()
        assert job["status"]["phase"] == "Succeeded", job["status"]
        assert await new.rows() == rows
        assert await new.stored() == dict.fromkeys(archives(older, newer), "")
        assert await new.local_copies() == []
        code, (after,) = await _typed(new, "status", APPLICATION, "-o", "json")
        assert (code, after["sound"], len(after["good"]), after["problems"]) == (0, True, 2, [])


@contextlib.asynccontextmanager
async def _a_new_cluster(scene: Scene) -> AsyncIterator[Scene]:
    """Another cluster with the same application, empty, whose sidecars have the path of the old ones."""
    for shard in scene.shards:
        await shard.sidecar.kill()
        await shard.empty()
        await shard.sidecar.start()
    async with RealCluster() as cluster, cluster.client() as client:
        await cluster.apply_crds(FIXTURES / "crds")
        await kube.apply_file(client, FIXTURES / "seed" / "clickhouse.yaml")
        namespace = await cluster.namespace("tenant")
        controller = Controller(cluster.kubeconfig(), namespace)
        new = replace(scene, cluster=cluster, namespace=namespace, controller=controller, client=client)
        await new.set_up()
        yield new


async def _typed(scene: Scene, *arguments: str) -> tuple[int, Any]:
    """Run a command on the scene's namespace; answers its exit code and what it printed as JSON."""
    script = Path(sys.executable).with_name("cozydrivers")
    where = ["-n", scene.namespace, f"--kubeconfig={scene.controller.kubeconfig}"]
    done = await anyio.run_process([str(script), *arguments, *where], check=False)
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)
