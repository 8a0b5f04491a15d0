"""etcd and kube-apiserver 1.33.4: a cluster without nodes and without controllers."""

import contextlib
import functools
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import httpx
import yaml
from tests.real.processes import Server, answers, cache, free_ports, http, wait_until, which

KUBE_VERSION = "1.33.4"

User = Literal["admin", "nobody"]

_TOKENS: Mapping[User, str] = {"admin": "admin-token", "nobody": "nobody-token"}
_TOKEN_FILE = f"{_TOKENS['admin']},admin,1,system:masters\n{_TOKENS['nobody']},nobody,2\n"


def kube_apiserver() -> Path:
    """Return where install.sh puts the kube-apiserver that it builds."""
    return cache() / f"kube-apiserver-{KUBE_VERSION}"


class RealEtcd(Server):
    """One etcd member on 127.0.0.1, without fsync."""

    name = "etcd"

    def __init__(self) -> None:
        super().__init__()
        self._client_port, self._peer_port = free_ports("127.0.0.1", 2)

    @property
    def url(self) -> str:
        """The client address, which serves gRPC and its JSON gateway."""
        return f"http://127.0.0.1:{self._client_port}"

    def command(self) -> Sequence[str]:
        """Run a cluster of one."""
        peer = f"http://127.0.0.1:{self._peer_port}"
        return [
            which(self.name) or self.name,
            "--unsafe-no-fsync",
            f"--data-dir={self.folder / 'data'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]

    async def is_ready(self) -> bool:
        """Tell whether the member has a leader."""
        async with http(self.url) as client:
            return await answers(client, "/health")


class RealKubeApiserver(Server):
    """One kube-apiserver on 127.0.0.1 with a certificate of its own making, static tokens and RBAC."""

    name = "kube-apiserver"

    def __init__(self, etcd: RealEtcd) -> None:
        super().__init__()
        self._etcd = etcd
        (self._port,) = free_ports("127.0.0.1", 1)

    @property
    def url(self) -> str:
        """The HTTPS address."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def certificates(self) -> Path:
        """The server's certificate with that of its authority, in PEM; there once the server is ready."""
        return self.folder / "apiserver.crt"

    def command(self) -> Sequence[str]:
        """Write the keys and tokens and return the command that uses them."""
        tokens, key = self.folder / "tokens.csv", self.folder / "service-accounts.key"
        tokens.write_text(_TOKEN_FILE)
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        return [
            str(kube_apiserver()),
            f"--etcd-servers={self._etcd.url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self._port}",
            f"--cert-dir={self.folder}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # Nobody makes the default ServiceAccounts that this plugin asks for.
            "--disable-admission-plugins=ServiceAccount",
        ]

    async def is_ready(self) -> bool:
        """Tell whether all of the server's start is done, the bootstrap of RBAC included."""
        if not self.certificates.with_suffix(".key").exists():  # written after the certificates
            return False
        async with self.client() as client:
            return await answers(client, "/readyz")

    def client(self, user: User = "admin") -> httpx.AsyncClient:
        """Return a plain HTTPS client with the token of a user."""
        verify = ssl.create_default_context(cafile=str(self.certificates))
        return http(self.url, verify=verify, headers={"Authorization": f"Bearer {_TOKENS[user]}"})


class RealCluster:
    """A Kubernetes API and nothing behind it: no garbage collector, no namespace controller, no pods that run."""

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self.etcd = await stack.enter_async_context(RealEtcd())
            self.apiserver = await stack.enter_async_context(RealKubeApiserver(self.etcd))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def url(self) -> str:
        """The HTTPS address of the API."""
        return self.apiserver.url

    def client(self, user: User = "admin") -> httpx.AsyncClient:
        """Return a plain HTTPS client with the token of a user; `nobody` has no rights."""
        return self.apiserver.client(user)

    def kubeconfig(self, user: User = "admin") -> Path:
        """Write a kubeconfig with the token of a user; it is removed with the cluster."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "clusters": [
                {
                    "name": "real",
                    "cluster": {"server": self.url, "certificate-authority": str(self.apiserver.certificates)},
                }
            ],
            "users": [{"name": user, "user": {"token": _TOKENS[user]}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": user}}],
        }
        file = self.apiserver.folder / f"kubeconfig-{user}.yaml"
        file.write_text(yaml.safe_dump(config))
        return file

    async def apply_crds(self, crds: Path | Sequence[dict[str, Any]]) -> None:
        """Apply CRDs, those given or every one of a folder's *.yaml, and return when all are served.

        Of several files with the same CRD the last by name counts; raises ValueError when there is none.
        """
        documents = await anyio.to_thread.run_sync(_read_crds, crds) if isinstance(crds, Path) else crds
        if not documents:
            raise ValueError(f"{crds} holds no CustomResourceDefinition")
        async with self.client() as client, anyio.create_task_group() as tasks:
            for crd in documents:
                tasks.start_soon(_apply_crd, client, crd)

    async def namespace(self, prefix: str = "test") -> str:
        """Create a namespace with a fresh name and return the name; a namespace that was deleted never goes."""
        body = {"metadata": {"generateName": f"{prefix}-"}}
        async with self.client() as client:
            response = await client.post("/api/v1/namespaces", json=body)
        return str(response.raise_for_status().json()["metadata"]["name"])


def _read_crds(folder: Path) -> list[dict[str, Any]]:
    files = [file.read_bytes() for file in sorted(folder.glob("*.yaml"))]
    documents = [each for file in files for each in yaml.load_all(file, yaml.CSafeLoader) if each]
    crds = {each["metadata"]["name"]: each for each in documents if each["kind"] == "CustomResourceDefinition"}
    return list(crds.values())


async def _apply_crd(client: httpx.AsyncClient, crd: dict[str, Any]) -> None:
    name, spec = crd["metadata"]["name"], crd["spec"]
    response = await client.patch(
        f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}",
        params={"fieldManager": "tests", "force": "true"},
        headers={"Content-Type": "application/apply-patch+yaml"},
        json=crd,
    )
    response.raise_for_status()
    for version in spec["versions"]:
        if version["served"]:
            path = f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}?limit=1"
            await wait_until(functools.partial(answers, client, path), timeout=30, what=f"{name} served")
