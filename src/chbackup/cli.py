"""The command line: `chbackup list`, `backup`, `restore`, `delete`, `wait`, `cancel`, `purge` and more.

Results go to stdout, progress, questions and errors to stderr. Exit codes: 0 done, 1 the operation failed, 2 usage, or
refused, 3 not reachable or not allowed, 4 timed out, 5 outcome unknown, 130 interrupted.
"""

import sys
from collections.abc import Sequence

from .errors import ChbackupError

try:
    import typer

    from . import _cli_flows, _cli_purge, _cli_reads
    from ._cli_errors import EXIT_CODES, exit_code, next_steps
    from ._cli_output import tell
except ModuleNotFoundError as _error:
    sys.stderr.write(f"{_error.name} is missing: pip install 'chbackup[cli]'\n")
    raise SystemExit(2) from None

app: typer.Typer = typer.Typer(
    name="chbackup",
    help="Back up, restore and purge ClickHouse archives through clickhouse-backup sidecars.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _commands in (_cli_reads, _cli_flows, _cli_purge):
    _commands.add_to(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        app(args=arguments, prog_name="chbackup")
    except ChbackupError as error:
        tell(f"chbackup: {error.message}", style="red")
        for step in next_steps(error):
            tell(step)
        return exit_code(error)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
