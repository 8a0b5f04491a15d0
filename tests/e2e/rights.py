"""The controller's account, with the rights of deploy/rbac.yaml and no others."""

from pathlib import Path

import yaml
from tests.e2e import kube
from tests.real import RealCluster

_MANIFESTS = Path(__file__).parents[2] / "deploy" / "rbac.yaml"
_ACCOUNT = "/api/v1/namespaces/cozydrivers/serviceaccounts/cozydrivers"


async def kubeconfig_of_the_deployment(cluster: RealCluster) -> Path:
    """Apply deploy/rbac.yaml as it stands, and write a kubeconfig with a token of its ServiceAccount."""
    async with cluster.client() as client:
        await kube.apply_file(client, _MANIFESTS)
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
        response = await client.post(f"{_ACCOUNT}/token", json=body)
    token = response.raise_for_status().json()["status"]["token"]
    config = yaml.safe_load(cluster.kubeconfig().read_text())
    config["users"][0]["user"] = {"token": token}
    file = cluster.apiserver.folder / "kubeconfig-cozydrivers.yaml"
    file.write_text(yaml.safe_dump(config))
    return file
