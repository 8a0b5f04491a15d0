"""A process with a FakeCluster on a port, whose requests are counted, and its tenants within it."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.controller_tenants import FIXTURES, Tenants
from benchmarks.processes import answer
from cozydrivers.testing import FakeCluster


class Served(FakeCluster):
    """Counts what comes over the port, by verb and kind."""

    def __init__(self) -> None:
        super().__init__([FIXTURES / "crds"], now=datetime.now(UTC))
        self.counts: Counter[str] = Counter()
        self.recording: list[dict[str, Any]] = []

    async def served(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Any:
        """Answer a request from outside."""
        self.counts[self._what(method, path, query)] += 1
        self.requests.clear()
        answered = await self.handle(method, path, query, headers, body)
        if isinstance(answered[2], bytes):
            self.recording.append(
                {
                    "method": method,
                    "path": path,
                    "query": dict(query),
                    "body": json.loads(body) if body else None,
                    "status": answered[0],
                    "answer": answered[2].decode(),
                }
            )
            del self.recording[:-100]
        return answered

    def _what(self, method: str, path: str, query: Mapping[str, str]) -> str:
        parts = path.strip("/").split("/")
        rest = (
            parts[5:]
            if "namespaces" in parts and parts[0] == "apis"
            else parts[3:]
            if parts[0] == "apis"
            else parts[2:]
        )
        if parts[0] == "api" and "namespaces" in parts and len(parts) > 4:
            rest = parts[4:]
        verb = "watch" if query.get("watch") else method if len(rest) > 1 or method != "GET" else "list"
        return f"{verb} {rest[0]}{'/' + rest[2] if len(rest) > 2 else ''}"


async def main(kubeconfig: str) -> None:
    """Serve until standard input ends."""
    from cozydrivers.testing._serve import serve

    cluster = Served()
    tenants = Tenants(cluster.kube())

    async def counts() -> Mapping[str, int]:
        found = dict(cluster.counts)
        cluster.counts.clear()
        return found

    async def recorded() -> list[dict[str, Any]]:
        found = list(cluster.recording)
        cluster.recording.clear()
        return found

    async with serve(cluster.served, "127.0.0.1", 0) as url:
        await asyncio.to_thread(Path(kubeconfig).write_text, cluster.kubeconfig(url))
        await answer(
            {
                "counts": counts,
                "recorded": recorded,
                "populate": tenants.populate,
                "back_up": tenants.back_up,
                "ends": tenants.ends,
                "running": tenants.running,
                "clone": tenants.clone,
            }
        )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
