"""The command `cozydrivers`."""

import gc
import importlib
import logging
import os
import platform
import signal
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import anyio
import typer

from chbackup import InvalidInput
from cozydrivers import _cli_import, _cli_purge, _cli_status
from cozydrivers._cli_common import SidecarCa, connect_by
from cozydrivers.drivers.callbacks import Callbacks
from cozydrivers.drivers.clickhouse import ClickHouseDriver
from cozydrivers.drivers.clickhouse.access import Connect
from cozydrivers.drivers.mariadb import MariaDBDriver
from cozydrivers.errors import CozydriversError, LeadershipLost
from cozydrivers.kube import KubeClient
from cozydrivers.manager import Manager
from cozydrivers.metrics import Metrics
from cozydrivers.runtime.admission import Limits
from cozydrivers.runtime.describe import describe
from cozydrivers.runtime.elector import Elector, election_name
from cozydrivers.runtime.logs import configure
from cozydrivers.runtime.probes import Probes

FAILED = 1
NOT_REACHABLE = 3
INTERRUPTED = 130

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_log = logging.getLogger("cozydrivers")

app: typer.Typer = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Back up and restore databases on Kubernetes."
)


app.command(name="purge")(_cli_purge.purge)
app.command(name="status")(_cli_status.status)
app.command(name="import")(_cli_import.import_)


@dataclass(frozen=True)
class Settings:
    """What `cozydrivers run` was asked for."""

    namespaces: tuple[str, ...]
    selector: str
    limits: Limits
    leader_elect: bool
    lease_namespace: str
    metrics_address: str
    callbacks: Callbacks | None
    connect: Connect
    kubeconfig: str | None
    context: str | None


@app.command()
def run(
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Only this namespace; may be repeated.")
    ] = None,
    selector: Annotated[
        str, typer.Option("--selector", "-l", help="Only jobs, Plans and Backups with these labels.")
    ] = "",
    max_running: Annotated[int, typer.Option(min=1, help="Jobs that may run at once.")] = Limits.total,
    max_running_per_namespace: Annotated[
        int, typer.Option(min=1, help="Jobs of one namespace that may run at once.")
    ] = Limits.per_namespace,
    leader_elect: Annotated[
        bool, typer.Option(help="Act only as the leader, and never beside Cozystack's own backup controllers.")
    ] = True,
    lease_namespace: Annotated[
        str, typer.Option(help="Namespace of the leader's Lease; by default the Pod's own, else default.")
    ] = "",
    metrics_address: Annotated[
        str, typer.Option(help="host:port for /metrics, /healthz and /readyz; empty for none.")
    ] = "127.0.0.1:8080",
    callback_url: Annotated[
        str,
        typer.Option(
            help="Where sidecars reach the metrics address, to say that an operation has ended; e.g. http://HOST:PORT."
        ),
    ] = "",
    log_format: Annotated[Literal["text", "json"], typer.Option(help="How log lines are written.")] = "text",
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
    audit_log: Annotated[
        str, typer.Option(help="File for the audit log of deletes and overwrites; by default stderr.")
    ] = "",
    kubeconfig: Annotated[str | None, typer.Option(help="Path of a kubeconfig; in a cluster none is needed.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    sidecar_ca_file: SidecarCa = "",
) -> None:
    """Run the controller, until SIGTERM or SIGINT."""
    settings = Settings(
        tuple(namespace or ()),
        selector,
        Limits(max_running, max_running_per_namespace),
        leader_elect,
        lease_namespace or _own_namespace(),
        metrics_address,
        _callbacks(callback_url, metrics_address),
        connect_by(sidecar_ca_file),
        kubeconfig,
        context,
    )
    try:
        configure(log_format, log_level.upper(), audit_log=audit_log)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    gc.set_threshold(50_000, 20, 100)  # thousands of objects are kept for long
    try:
        anyio.run(_run, settings)
    except* LeadershipLost as lost:
        _give_up(lost, FAILED)
    except* CozydriversError as errors:
        _give_up(errors, NOT_REACHABLE)


def _callbacks(url: str, metrics_address: str) -> Callbacks | None:
    if not url:
        return None
    if not metrics_address:
        raise typer.BadParameter("--callback-url needs --metrics-address, where the calls arrive")
    try:
        return Callbacks(url)
    except InvalidInput as error:
        raise typer.BadParameter(f"--callback-url: {error}") from None


def _give_up(errors: BaseException, code: int) -> None:
    typer.echo(f"cozydrivers: {describe(errors)}", err=True)
    raise typer.Exit(code) from None


def _own_namespace() -> str:
    return _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.is_file() else "default"


async def _run(settings: Settings) -> None:
    metrics = Metrics()
    connected = KubeClient.connect(kubeconfig=settings.kubeconfig, context=settings.context, metrics=metrics)
    async with connected as kube, anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, tasks.cancel_scope)
        clickhouse = ClickHouseDriver(connect=settings.connect, callbacks=settings.callbacks, metrics=metrics)
        manager = Manager(
            kube,
            drivers=[clickhouse, MariaDBDriver()],
            namespaces=settings.namespaces,
            selector=settings.selector,
            limits=settings.limits,
            elector=_elector(kube, settings) if settings.leader_elect else None,
            metrics=metrics,
            callbacks=settings.callbacks,
        )
        if settings.metrics_address:
            called = settings.callbacks.called if settings.callbacks else None
            probes = Probes(metrics, ready=lambda: manager.problem, called=called)
            _log.info("serving metrics on %s", await tasks.start(probes.serve, settings.metrics_address))
        _log.info("started")
        await manager.run()


def _elector(kube: KubeClient, settings: Settings) -> Elector:
    name = election_name(settings.namespaces, settings.selector)
    identity = f"{platform.node()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    return Elector(kube, settings.lease_namespace, name, identity, now=lambda: datetime.now(UTC))


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            _log.info("stopping")
            scope.cancel()
            return


@app.command()
def demo() -> None:
    """Back up, lose and restore a ClickHouse and a MariaDB on an embedded cluster, on screen."""
    try:
        story = importlib.import_module("cozydrivers.demo")
    except ImportError as error:
        typer.echo(f"cozydrivers: the demo needs the extra chbackup[testing] ({error})", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(story.main())


def main() -> None:
    """Run the command."""
    sys.exit(app())
