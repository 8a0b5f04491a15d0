"""The Prometheus text of `/metrics`, as far as the server keeps it right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

COMMANDS = (
    "create",
    "create_remote",
    "delete",
    "download",
    "rebalance",
    "rebase",
    "restore",
    "restore_remote",
    "upload",
)
HELP = {
    "failed_parts_count": (
        "Counter of data parts skipped as broken during backup creation with max_broken_part_ratio > 0"
    ),
    "in_progress_commands": "How many commands running in progress",
    "last_backup_size_local": "Last local backup size in bytes",
    "last_backup_size_remote": "Last remote backup size in bytes",
    "local_data_size": "How many bytes in MergeTree tables",
    "number_backups_local": "Number of stored local backups",
    "number_backups_local_expected": "How many backups expected on local storage",
    "number_backups_remote": "Number of stored remote backups",
    "number_backups_remote_expected": "How many backups expected on remote storage",
}
PHASES = {"create_remote": ("create", "upload"), "restore_remote": ("download", "restore")}
STATUS_FAILED, STATUS_SUCCESS, STATUS_UNKNOWN = 0, 1, 2


@dataclass
class Metrics:
    """Counters and last times by command."""

    values: dict[str, float] = field(default_factory=dict)

    def begin(self, command: str, now: datetime) -> None:
        """Count the start of a command."""
        if command in COMMANDS:
            for name in (command, *PHASES.get(command, ())):
                self.values[f"last_{name}_start"] = _seconds(now)

    def end(self, command: str, now: datetime, seconds: float, error: Exception | None) -> None:
        """Count the end of a command; for its phases the server writes when it began."""
        if command not in COMMANDS:
            return
        outcome = "failed" if error else "successful"
        self.values[f"{outcome}_{command}s"] = self.values.get(f"{outcome}_{command}s", 0) + 1
        for name in (command, *PHASES.get(command, ())):
            self.values[f"last_{name}_duration"] = seconds * 1e9
            self.values[f"last_{name}_finish"] = _seconds(now) if name == command else _seconds(now) - seconds
            self.values[f"last_{name}_status"] = STATUS_FAILED if error else STATUS_SUCCESS

    def text(self, gauges: Mapping[str, float], commands: Sequence[str]) -> str:
        """Write all metrics, with the gauges of the moment."""
        values = dict.fromkeys(_counters(commands) + _times(commands), 0.0)
        values |= {f"last_{command}_status": STATUS_UNKNOWN for command in commands}
        values |= self.values | dict(gauges)
        return "".join(_metric(name, values[name]) for name in sorted(values))


def _counters(commands: Sequence[str]) -> list[str]:
    return [f"{outcome}_{command}s" for command in commands for outcome in ("failed", "successful")]


def _times(commands: Sequence[str]) -> list[str]:
    return [f"last_{command}_{what}" for command in commands for what in ("start", "finish", "duration")]


def _metric(name: str, value: float) -> str:
    full = f"clickhouse_backup_{name}"
    kind = "counter" if name.startswith(("failed_", "successful_")) else "gauge"
    return f"# HELP {full} {_help(name)}\n# TYPE {full} {kind}\n{full} {_number(value)}\n"


def _number(value: float) -> str:
    """Write a number as Go does: as short as it can be, with an exponent from a million on."""
    if abs(value) < 1e6:
        return repr(float(value)).removesuffix(".0")
    digits = format(Decimal(repr(value)).normalize(), "e")
    mantissa, _, exponent = digits.partition("e")
    return f"{mantissa}e{int(exponent):+03d}"


def _seconds(moment: datetime) -> float:
    return float(int(moment.replace(tzinfo=UTC).timestamp()))


def _help(name: str) -> str:
    if name in HELP:
        return HELP[name]
    first, _, rest = name.partition("_")
    if first != "last":
        return f"Counter of {first} {rest} backup"
    command, _, what = rest.rpartition("_")
    return {
        "start": f"Last backup {command} start timestamp",
        "finish": f"Last backup {command} finish timestamp",
        "duration": f"Backup {command} duration in nanoseconds",
        "status": f"Last backup {command} status: 0=failed, 1=success, 2=unknown",
    }[what]
