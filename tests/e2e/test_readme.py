"""The README's pages, typed as they stand: only addresses and the place of files are others."""

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import pytest
import yaml
from tests.e2e import kube
from tests.e2e.scene import Controller, Scene, opened
from tests.e2e.shard import Shard
from tests.real import RealClickHouse, RealCluster, RealS3, RealSidecar
from tests.real.processes import loopback
from tests.real.sidecar import Binary

import chbackup

ROOT = Path(__file__).parents[2]
SEED = ROOT / "fixtures" / "seed" / "clickhouse.yaml"
README = (ROOT / "README.md").read_text()
KUBECTL = f'kubectl() {{ {sys.executable} -m tests.e2e.kubectl "$@"; }}'
"""Where the machine has none: the one command that the README needs of it."""
URL = "http://10.0.3.7:7171"


def blocks(title: str, language: str) -> list[str]:
    section = re.split(r"^## ", README.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, title
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the files that the README names, for the first sidecar."""
    monkeypatch.chdir(tmp_path)
    Path("password").write_text("secret\n")
    target = f"{{url: 'http://{loopback(61)}:7171', username: backup, password_file: password}}"
    Path("sidecars.yaml").write_text(f"[{target}]\n")
    return tmp_path


@pytest.fixture
async def sidecar(binary: Binary, store: RealS3, servers: Sequence[RealClickHouse], folder: Path):
    """A sidecar with a table and an older archive."""
    async with RealSidecar(binary, servers[0], store, path=f"readme/{folder.name}") as sidecar:
        shard = Shard(servers[0], sidecar)
        await shard.empty()
        await shard.fill(orders=1000)
        async with chbackup.Client(sidecar.url, username="backup", password="secret") as client:
            await chbackup.verified_backup(client, "shop-20261101")
        yield sidecar


async def test_the_sdk_section(sidecar: RealSidecar, capsys: pytest.CaptureFixture[str]):
    names: dict[str, object] = {"secret": "secret"}
    first, *others = blocks("chbackup in Python", "python")
    await type_in(first.replace(URL, sidecar.url), names)
    async with chbackup.Client(sidecar.url, username="backup", password="secret") as client:
        names["sidecar"] = client
        for block in others:
            await type_in(block, names)
        assert {archive.name for archive in await client.list_remote()} == {"shop-20261123", "shop-20261124"}
    assert "keep shop-20261124 last 1 of 7" in capsys.readouterr().out


async def test_the_section_on_the_command_line(sidecar: RealSidecar):
    (block,) = blocks("chbackup on the command line", "console")
    lines = block.replace(URL, sidecar.url).replace("/run/secrets/password", "password").splitlines()
    script = "set -eu\n" + "\n".join(line.removeprefix("$ ") for line in lines)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = await anyio.run_process(["bash", "-c", script], env=environment, check=False, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    assert "0 to delete, 2 to keep" in done.stdout.decode()


async def test_the_section_on_the_controller(tenant: Scene):
    """Its namespace and its application are the README's own."""
    backup, restore = yaml.safe_load_all(blocks("The controller", "yaml")[0])
    one, two = tenant.shards
    await one.fill(orders=3000)
    await two.fill(orders=2000)
    rows = await tenant.rows()
    await tenant.submit(backup)
    made = await tenant.backup_of(backup["metadata"]["name"])
    await tenant.drop()
    await tenant.submit(restore)
    job = await tenant.ended("RestoreJob", restore["metadata"]["name"])
    assert job["status"]["phase"] == "Succeeded", job["status"]
    assert made["metadata"]["name"] == restore["spec"]["backupRef"]["name"]
    assert await tenant.rows() == rows


class Typed(Controller):
    """The section's first commands in a shell with a kubeconfig, the last of which is the controller."""

    def command(self) -> Sequence[str]:
        """Type them in the folder of the project, but for the installation, which is there."""
        block = blocks("The controller", "console")[0]
        lines = [line.removeprefix("$ ") for line in block.splitlines() if not re.match(r"\$ (python3|pip) ", line)]
        return ["bash", "-c", "\n".join([f"set -eu; cd {ROOT}; {KUBECTL}", *lines[:-1], f"exec {lines[-1]}"])]

    def environment(self) -> Mapping[str, str]:
        """The programs of the environment that runs the tests, and where the cluster is."""
        return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "KUBECONFIG": str(self.kubeconfig)}


@pytest.fixture
async def tenant(binary: Binary, cluster: RealCluster, store: RealS3, servers: Sequence[RealClickHouse]):
    """The README's tenant, on a cluster that has no strategy and no class yet."""
    controller = Typed(cluster.kubeconfig(), "tenant-user")
    async with cluster.client() as client:
        await kube.apply(client, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tenant-user"}})
        for kind in ("BackupClass", "Altinity"):
            await kube.clear(client, kind)
    try:
        async with opened(binary, cluster, store, servers, "tenant-user", controller) as scene, controller:
            yield scene
            await controller.terminate()
    finally:  # what the other tests need, and nothing that the next one finds
        async with cluster.client() as client:
            await kube.apply_file(client, SEED)
            for kind in ("BackupJob", "RestoreJob", "Backup", "Pod"):
                await kube.clear(client, kind, "tenant-user")


async def type_in(block: str, names: dict[str, object]) -> None:
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result
