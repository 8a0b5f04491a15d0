"""`kubectl apply -f FILE`, with the cluster of $KUBECONFIG: as much of kubectl as the README needs."""

import os
import ssl
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx
import yaml
from tests.e2e import kube


async def apply(file: Path, config: Any) -> None:
    """Apply a file to the cluster of a kubeconfig."""
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    headers = {"Authorization": f"Bearer {user['token']}"}
    verify = ssl.create_default_context(cafile=cluster["certificate-authority"])
    async with httpx.AsyncClient(base_url=cluster["server"], headers=headers, verify=verify, trust_env=False) as client:
        for applied in await kube.apply_file(client, file):
            print(f"{applied} applied")


def main(command: str, flag: str, file: str) -> None:
    """Do it."""
    if (command, flag) != ("apply", "-f"):
        sys.exit("only: kubectl apply -f FILE")
    anyio.run(apply, Path(file), yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text()))


if __name__ == "__main__":
    main(*sys.argv[1:])
