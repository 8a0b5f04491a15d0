"""The command `cozydrivers`."""

import importlib
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import anyio
import typer

from cozydrivers.drivers.clickhouse import ClickHouseDriver
from cozydrivers.errors import CozydriversError
from cozydrivers.kube import KubeClient
from cozydrivers.manager import Manager

NOT_REACHABLE = 3
INTERRUPTED = 130

app: typer.Typer = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Back up and restore databases on Kubernetes."
)


@app.command()
def run(
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Only this namespace; may be repeated.")
    ] = None,
    kubeconfig: Annotated[str | None, typer.Option(help="Path of a kubeconfig; in a cluster none is needed.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
) -> None:
    """Run the controller, until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        anyio.run(_run, kubeconfig, context, namespace or ())
    except CozydriversError as error:
        typer.echo(f"cozydrivers: {error}", err=True)
        raise typer.Exit(NOT_REACHABLE) from None


async def _run(kubeconfig: str | None, context: str | None, namespaces: Sequence[str]) -> None:
    async with KubeClient.connect(kubeconfig=kubeconfig, context=context) as kube, anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, tasks.cancel_scope)
        logging.getLogger("cozydrivers").info("started")
        await Manager(kube, drivers=[ClickHouseDriver()], namespaces=namespaces).run()


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            logging.getLogger("cozydrivers").info("stopping")
            scope.cancel()
            return


@app.command()
def demo() -> None:
    """Back up, restore and purge on an embedded cluster, on screen."""
    try:
        story = importlib.import_module("cozydrivers.demo")
    except ImportError as error:
        typer.echo(f"cozydrivers: the demo needs the extra chbackup[testing] ({error})", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(story.main())


def main() -> None:
    """Run the command."""
    sys.exit(app())
