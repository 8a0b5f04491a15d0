"""Lists all BackupJobs in pages of 500 and prints the CPU seconds: `ours` by KubeClient, or `bare` with aiohttp."""

import asyncio
import gc
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any
from urllib.parse import quote

ROUNDS = 5
PATH = "/apis/backups.cozystack.io/v1alpha1/backupjobs"


async def ours(kubeconfig: str, expected: int) -> float:
    from cozydrivers import KubeClient
    from cozydrivers.api.backups import BackupJob

    async with KubeClient.connect(kubeconfig=kubeconfig) as kube:

        async def listed() -> Any:
            return (await kube.list(BackupJob)).items

        return await _measured(listed, expected)


async def bare(kubeconfig: str, expected: int) -> float:
    """Decode pages with pydantic's plain models of the same fields, straight from their bytes."""
    import aiohttp
    import yaml
    from pydantic import BaseModel, Field, TypeAdapter, create_model

    import cozydrivers.kube  # noqa: F401 - the collector's rounds take longer in a larger process
    from benchmarks.controller_replay import models

    class ListMetadata(BaseModel):
        next: str = Field(default="", alias="continue")

    job: Any = models()["backupjobs"]
    page_model = create_model("Page", metadata=(ListMetadata, ...), items=(list[job], ...))
    with open(kubeconfig, encoding="utf-8") as file:  # noqa: ASYNC230, PTH123 - before anything is measured
        config = yaml.safe_load(file)
    cluster = config["clusters"][0]["cluster"]
    context = ssl.create_default_context(cafile=cluster.get("certificate-authority"))
    connector = aiohttp.TCPConnector(ssl=context)
    adapter: TypeAdapter[Any] = TypeAdapter(page_model)
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
    async with aiohttp.ClientSession(cluster["server"], headers=headers, connector=connector) as session:

        async def listed() -> Any:
            items: list[Any] = []
            target = f"{PATH}?limit=500"
            while True:
                async with session.get(target) as response:
                    page = adapter.validate_json(await response.read())
                items += page.items
                if not page.metadata.next:
                    return items
                target = f"{PATH}?limit=500&continue={quote(page.metadata.next)}"

        return await _measured(listed, expected)


async def _measured(listed: Callable[[], Awaitable[Any]], expected: int) -> float:
    times = []
    for _ in range(ROUNDS + 1):  # the first one builds what decodes
        gc.collect()
        began = time.process_time()
        items = await listed()
        times.append(time.process_time() - began)
        assert len(items) >= expected
    return median(times[1:])


if __name__ == "__main__":
    print(asyncio.run({"ours": ours, "bare": bare}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))))
