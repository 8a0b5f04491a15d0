"""The process that is measured: the controller as `cozydrivers run` has it, with limits that let every job start."""

import asyncio
import logging
import sys

import anyio

import cozydrivers.cli  # noqa: F401 - loads what the command loads
from benchmarks.processes import answer
from cozydrivers import ClickHouseDriver, KubeClient, Manager
from cozydrivers.runtime.admission import Limits


async def main(kubeconfig: str, jobs: str) -> None:
    """Work until standard input ends."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    limits = Limits(total=int(jobs), per_namespace=int(jobs))
    async with KubeClient.connect(kubeconfig=kubeconfig) as kube, anyio.create_task_group() as tasks:
        tasks.start_soon(Manager(kube, drivers=[ClickHouseDriver()], limits=limits).run)
        await answer({})
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
