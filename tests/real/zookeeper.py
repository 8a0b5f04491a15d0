"""ZooKeeper as Debian packages it: one server with a data folder of its own, for replicated tables."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import anyio
from tests.real.processes import Server, free_ports, which

_JAR = Path("/usr/share/java/zookeeper.jar")
_CONFIG = """tickTime=500
dataDir={data}
clientPort={port}
clientPortAddress={address}
admin.enableServer=false
forceSync=no
4lw.commands.whitelist=ruok
"""


def zookeeper_jar() -> Path | None:
    """Return the jar of Debian's package; None when it or Java is absent."""
    return _JAR if _JAR.exists() and which("java") else None


class RealZooKeeper(Server):
    """A ZooKeeper on a loopback address of its own; what it holds ends with it."""

    name = "zookeeper"

    def __init__(self, address: str = "127.0.0.9") -> None:
        super().__init__()
        self.address = address
        (self.port,) = free_ports(address, 1)

    def command(self) -> Sequence[str]:
        """Write the configuration and return the command that uses it."""
        config = self.folder / "zoo.cfg"
        config.write_text(_CONFIG.format(data=self.folder / "data", port=self.port, address=self.address))
        return [*self._java("-Xmx256m"), "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)]

    async def is_ready(self) -> bool:
        """Ask whether it is well, as its own protocol has it."""
        try:
            async with await anyio.connect_tcp(self.address, self.port) as stream:
                await stream.send(b"ruok")
                return await stream.receive() == b"imok"
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            return False

    async def delete(self, path: str) -> None:
        """Delete a path with everything below it."""
        command = [*self._java(), "org.apache.zookeeper.ZooKeeperMain", "-server", f"{self.address}:{self.port}"]
        await anyio.run_process([*command, "deleteall", path], stderr=subprocess.STDOUT)

    def _java(self, *options: str) -> list[str]:
        return [which("java") or "java", *options, "-cp", str(_JAR)]
