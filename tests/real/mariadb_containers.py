"""The containers of mariadb-operator's Jobs as processes: volumes are folders, the database is a real server."""

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from tests.real import mariadb_storage
from tests.real.mariadb_operator import Operator
from tests.real.mariadb_server import RealMariaDB
from tests.real.processes import DIE_WITH_PARENT

from cozydrivers.api.core import Secret
from cozydrivers.errors import NotFound
from cozydrivers.kube import KubeClient

Servers = dict[tuple[str, str], RealMariaDB]
"""The servers by namespace and name of their MariaDB object."""

_HOST = re.compile(r"--host=([\w-]+)\.([\w-]+)\.svc\S* --port=\d+")


class NotStarted(Exception):
    """A container that the kubelet can't start; its reason is the message."""


class Containers:
    """Runs containers; `operator` is the binary for what its image does, None for the same in Python.

    A PersistentVolumeClaim, and every other volume that outlives a Pod, is a folder of `folder`.
    """

    def __init__(self, kube: KubeClient, servers: Servers, operator: Operator | None, version: str) -> None:
        self.version = version
        self._kube = kube
        self._servers = servers
        self._operator = operator
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="volumes-")))

    @property
    def log(self) -> Path:
        """The file that takes what all containers print."""
        return self.folder / "log"

    def close(self) -> None:
        """Remove the folders."""
        self._stack.close()

    async def mount(self, pod: Mapping[str, Any], folder: Path) -> dict[str, Path]:
        """Make the volumes of a Pod, those that go with it in `folder`; returns their folders by name."""
        made = {each["name"]: await self._volume(pod, each, folder) for each in pod["spec"].get("volumes", ())}
        for each in made.values():
            each.mkdir(parents=True, exist_ok=True)
        return made

    async def _volume(self, pod: Mapping[str, Any], volume: Mapping[str, Any], folder: Path) -> Path:
        namespace: str = pod["metadata"]["namespace"]
        own = folder / str(volume["name"])
        if secret := volume.get("secret"):
            await self._write_secret(namespace, secret, own)
        elif "emptyDir" not in volume:
            source = {key: value for key, value in volume.items() if key != "name"}
            if claim := volume.get("persistentVolumeClaim"):
                source = {"claim": claim["claimName"], "namespace": namespace}
            return self.folder / re.sub(r"\W+", "-", json.dumps(source, sort_keys=True)).strip("-")
        return own

    async def _write_secret(self, namespace: str, source: Mapping[str, Any], folder: Path) -> None:
        secret = await self._secret(namespace, source["secretName"])
        items = source.get("items") or [{"key": key, "path": key} for key in secret.data]
        await anyio.to_thread.run_sync(_write, folder, {each["path"]: _value(secret, each["key"]) for each in items})

    async def run(self, pod: Mapping[str, Any], container: Mapping[str, Any], volumes: Mapping[str, Path]) -> int:
        """Run a container to its end and return its exit code; raises NotStarted."""
        places = {each["mountPath"]: volumes[each["name"]] for each in container.get("volumeMounts", ())}
        args = [self._placed(arg, places) for arg in container.get("args", ())]
        env = {
            **await self._environment(pod["metadata"]["namespace"], container),
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }
        if container.get("command"):
            return await _execute([*container["command"], *args], env, self.log)
        if self._operator is not None:
            return await _execute([str(self._operator.path), *args], env, self.log)
        return await anyio.to_thread.run_sync(mariadb_storage.run, args, self.version, abandon_on_cancel=True)

    def _placed(self, text: str, places: Mapping[str, Path]) -> str:
        """An argument with this machine's folders and addresses in place of the Pod's."""
        for path in sorted(places, key=len, reverse=True):
            text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", str(places[path]), text)
        return _HOST.sub(self._server, text)

    def _server(self, found: re.Match[str]) -> str:
        server = self._servers.get((found[2], found[1]))
        if server is None:
            return found[0]
        return f"--host={server.address} --port={server.port}"

    async def _environment(self, namespace: str, container: Mapping[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for each in container.get("env", ()):
            if reference := each.get("valueFrom", {}).get("secretKeyRef"):
                found[each["name"]] = _value(await self._secret(namespace, reference["name"]), reference["key"])
            else:
                found[each["name"]] = each.get("value", "")
        return found

    async def _secret(self, namespace: str, name: str) -> Secret:
        try:
            return await self._kube.get(Secret, name, namespace)
        except NotFound:
            raise NotStarted("CreateContainerConfigError") from None


def _write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content)


def _value(secret: Secret, key: str) -> str:
    value = secret.value(key)
    if value is None:
        raise NotStarted("CreateContainerConfigError")
    return value


async def _execute(command: list[str], env: Mapping[str, str], log: Path) -> int:
    """Run a program and all that it starts; they are killed when this is cancelled."""
    async with await anyio.open_file(log, "ab") as out:
        process = await anyio.open_process(
            [*DIE_WITH_PARENT, *command],
            stdin=subprocess.DEVNULL,
            stdout=out.wrapped,
            stderr=out.wrapped,
            env=env,
            start_new_session=True,
        )
    try:
        return await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await process.wait()
