"""The README's pages on chbackup, typed as they stand: only addresses and the place of files are others."""

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from tests.e2e.shard import Shard
from tests.real import RealClickHouse, RealS3, RealSidecar
from tests.real.sidecar import Binary

import chbackup

README = (Path(__file__).parents[2] / "README.md").read_text()
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
    target = "{url: 'http://127.0.0.61:7171', username: backup, password_file: password}"
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


async def type_in(block: str, names: dict[str, object]) -> None:
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result
