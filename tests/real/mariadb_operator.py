"""mariadb-operator: its own binary against a real API server, and the sub-commands that its Jobs run."""

import base64
import contextlib
import functools
import os
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import anyio
import httpx
import yaml
from tests.real.kubernetes import RealCluster
from tests.real.processes import Server, answers, free_ports, http, wait_until

from cozydrivers.kube import KubeClient
from cozydrivers.testing.mariadb import MariaDBOperator, Version

ABSENT = "no mariadb-operator on PATH or in $MARIADB_OPERATOR_BIN"

_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
_KINDS = "/apis/k8s.mariadb.com/v1alpha1"
_CRDS = Path(__file__).parents[2] / "fixtures" / "crds" / "mariadb-operator"
_IMAGE = "mariadb:11.8.2"


@dataclass(frozen=True)
class Operator:
    """A mariadb-operator executable built from the sources of one release, and that release."""

    path: Path
    version: str

    @property
    def config(self) -> Path:
        """The folder `config` of the same sources, with the CRDs and the webhooks: <binary>.config."""
        return self.path.with_name(f"{self.path.name}.config")

    def run(self, args: Sequence[str], env: Mapping[str, str] = {}) -> str:
        """Run a sub-command to its end and return its log; raises CalledProcessError."""
        command = [str(self.path), *args]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=dict(env)).stderr


def find_operators() -> list[Operator]:
    """Return the binaries of $MARIADB_OPERATOR_BIN (colon-separated), else the one on PATH, else nothing.

    The binary does not know its version, so its file's name must, as in mariadb-operator-26.6.0. Raises ValueError
    where it does not, or where its folder <binary>.config is absent.
    """
    named = os.environ.get("MARIADB_OPERATOR_BIN", "").split(":")
    paths = [path for path in named if path] or [path for path in [shutil.which("mariadb-operator")] if path]
    return [_operator(Path(path).resolve()) for path in paths]


def _operator(path: Path) -> Operator:
    found = re.search(r"\d+\.\d+\.\d+", path.name)
    if found is None:
        raise ValueError(f"{path}: its name must tell its version, as in mariadb-operator-26.6.0")
    operator = Operator(path, found[0])
    if not (operator.config / "crd" / "bases").is_dir():
        raise ValueError(f"{operator.config}: must be a copy of the folder config of the operator's sources")
    return operator


class RealMariaDBOperator(Server):
    """The operator's controllers and webhooks, which work on a real API server; nobody runs the Jobs that it makes."""

    name = "mariadb-operator"

    def __init__(self, operator: Operator, cluster: RealCluster) -> None:
        super().__init__()
        self.operator = operator
        self._cluster = cluster
        self._health, self._metrics, self._webhook = free_ports("127.0.0.1", 3)

    async def start(self) -> None:
        """Apply the CRDs of its version, start it, and have the API server ask its webhooks."""
        crds = self.operator.config / "crd" / "bases"
        await self._cluster.apply_crds(crds)
        await self._discovered({file.stem.partition("_")[2] for file in crds.glob("*.yaml")})
        await super().start()
        async with self._cluster.client() as client:
            await _apply_webhooks(client, self._configuration())
            refused = functools.partial(_answers_nonsense, client, 403)
            await wait_until(refused, timeout=30, what="the operator's webhooks in use")

    async def kill(self) -> None:
        """End the process; the API server no longer asks its webhooks."""
        await super().kill()
        if self._cluster.apiserver.running:
            async with self._cluster.client() as client:
                await client.delete(f"{_WEBHOOKS}/{self.name}")
                passed = functools.partial(_answers_nonsense, client, 201)
                await wait_until(passed, timeout=30, what="the operator's webhooks no longer in use")

    def command(self) -> Sequence[str]:
        """Make a certificate for the webhooks and return the command that uses it."""
        _make_certificate(self.folder)
        return [
            str(self.operator.path),
            f"--health-addr=127.0.0.1:{self._health}",
            f"--metrics-addr=127.0.0.1:{self._metrics}",
            "--webhook",
            f"--webhook-port={self._webhook}",
            f"--webhook-cert-dir={self.folder}",
            "--kube-api-qps=-1",
        ]

    def environment(self) -> Mapping[str, str]:
        """Return what it asks for in its environment; images are names here."""
        return {
            "KUBECONFIG": str(self._cluster.kubeconfig()),
            "MARIADB_OPERATOR_NAME": "mariadb-operator",
            "MARIADB_OPERATOR_NAMESPACE": "default",
            "MARIADB_OPERATOR_SA_PATH": str(self.folder / "token"),
            "MARIADB_OPERATOR_IMAGE": f"mariadb-operator:{self.operator.version}",
            "RELATED_IMAGE_MARIADB": _IMAGE,
            "RELATED_IMAGE_MARIADB_NAME": _IMAGE.partition(":")[0],
            "RELATED_IMAGE_MAXSCALE": "maxscale:1",
            "RELATED_IMAGE_EXPORTER": "exporter:1",
            "RELATED_IMAGE_EXPORTER_MAXSCALE": "exporter-maxscale:1",
            "MARIADB_GALERA_LIB_PATH": "/usr/lib/galera/libgalera_smm.so",
            "MARIADB_DEFAULT_VERSION": "11.8",
        }

    async def is_ready(self) -> bool:
        """Tell whether its manager runs; its controllers start within a second of it."""
        async with http(f"http://127.0.0.1:{self._health}") as client:
            return await answers(client, "/readyz")

    async def play_ready(self, namespace: str, name: str, *, ready: bool = True) -> None:
        """Play the Pod and the StatefulSet of a MariaDB, and wait until the operator has seen them."""
        sets = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"
        pods = f"/api/v1/namespaces/{namespace}/pods"
        count = {"replicas": 1, "readyReplicas": int(ready), "availableReplicas": int(ready)}
        condition = {"type": "Ready", "status": str(ready)}
        async with self._cluster.client() as client:
            await wait_until(functools.partial(answers, client, sets), timeout=30, what=f"StatefulSet {name}")
            await client.post(pods, json=_pod(name, (await client.get(sets)).json()))  # or it is there already
            await _patch_status(client, f"{pods}/{name}-0", {"phase": "Running", "conditions": [condition]})
            await _patch_status(client, sets, count)
            seen = functools.partial(_told_ready, client, f"{_KINDS}/namespaces/{namespace}/mariadbs/{name}", ready)
            await wait_until(seen, timeout=30, what=f"MariaDB {name} {'Ready' if ready else 'not Ready'}")

    async def _discovered(self, plurals: set[str]) -> None:
        """Wait until the API server tells of these kinds: it serves them earlier."""

        async def listed() -> bool:
            async with self._cluster.client() as client:
                found = (await client.get(_KINDS)).json().get("resources", [])
            return plurals <= {each["name"] for each in found}

        await wait_until(listed, timeout=30, what="the operator's kinds in discovery")

    def metrics(self) -> httpx.AsyncClient:
        """Return a client for its metrics, at /metrics."""
        return http(f"http://127.0.0.1:{self._metrics}")

    def _configuration(self) -> dict[str, Any]:
        """The operator's own webhook configuration, with this process's address in it."""
        manifest = (self.operator.config / "webhook" / "manifests.yaml").read_text()
        documents = [each for each in yaml.safe_load_all(manifest) if each]
        (found,) = (each for each in documents if each["kind"] == "ValidatingWebhookConfiguration")
        certificate = (self.folder / "tls.crt").read_bytes()
        for webhook in found["webhooks"]:
            url = f"https://127.0.0.1:{self._webhook}{webhook['clientConfig']['service']['path']}"
            webhook["clientConfig"] = {"url": url, "caBundle": _base64(certificate)}
        return {**found, "metadata": {"name": self.name}}


class Working(Protocol):
    """An operator at work, real or simulated."""

    async def play_ready(self, namespace: str, name: str, *, ready: bool = True) -> None:
        """Have the Pods of a MariaDB be ready from now on, or not be."""
        ...


@contextlib.asynccontextmanager
async def at_work(
    operator: Operator | None, cluster: RealCluster, version: Version = "26.6.0"
) -> AsyncGenerator[Working, None]:
    """Have an operator work on a cluster: this binary, or without one the simulator of that version."""
    if operator is not None:
        async with RealMariaDBOperator(operator, cluster) as server:
            yield server
        return
    await cluster.apply_crds(_CRDS / version)
    async with KubeClient.connect(kubeconfig=str(cluster.kubeconfig())) as kube, anyio.create_task_group() as tasks:
        simulator = MariaDBOperator(kube, version=version, now=lambda: datetime.now(UTC))
        tasks.start_soon(_step, simulator)
        yield simulator
        tasks.cancel_scope.cancel()


async def _step(simulator: MariaDBOperator) -> None:
    while True:
        await simulator.step()
        await anyio.sleep(0.1)


def _pod(name: str, stateful_set: dict[str, Any]) -> dict[str, Any]:
    labels = stateful_set["spec"]["template"]["metadata"]["labels"]
    container = {"name": "mariadb", "image": _IMAGE}
    return {
        "metadata": {"name": f"{name}-0", "labels": labels},
        "spec": {"nodeName": "node-1", "containers": [container]},
    }


async def _patch_status(client: httpx.AsyncClient, path: str, status: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    response = await client.patch(f"{path}/status", json={"status": status}, headers=headers)
    response.raise_for_status()


async def _told_ready(client: httpx.AsyncClient, path: str, ready: bool) -> bool:
    conditions = (await client.get(path)).json().get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and (each["status"] == "True") == ready for each in conditions)


async def _apply_webhooks(client: httpx.AsyncClient, configuration: dict[str, Any]) -> None:
    response = await client.patch(
        f"{_WEBHOOKS}/{configuration['metadata']['name']}",
        params={"fieldManager": "tests", "force": "true"},
        headers={"Content-Type": "application/apply-patch+yaml"},
        json=configuration,
    )
    response.raise_for_status()


async def _answers_nonsense(client: httpx.AsyncClient, status: int) -> bool:
    """Tell whether the API server answers so to a Backup that only the webhooks refuse: it notices a change late."""
    spec = {"mariaDbRef": {"name": "x"}, "storage": {}}
    body = {"apiVersion": "k8s.mariadb.com/v1alpha1", "kind": "Backup", "metadata": {"name": "x"}, "spec": spec}
    response = await client.post(f"{_KINDS}/namespaces/default/backups", params={"dryRun": "All"}, json=body)
    return response.status_code == status


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _make_certificate(folder: Path) -> None:
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
