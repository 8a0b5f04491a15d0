"""Archives that a Backup does not record: those of Cozystack's own controller, named by `spec.options.archive`. Pure.

Its names are `clickhouse-<app>-<time>`. They tell the application apart: `clickhouse-foo-` is the beginning of those
of `foo-bar` too, so what follows must be the time.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cozydrivers.api.backups import Backup
from cozydrivers.drivers.base import RestoreRun
from cozydrivers.drivers.clickhouse import record
from cozydrivers.drivers.clickhouse.options import Options
from cozydrivers.drivers.clickhouse.places import installation, shards_of
from cozydrivers.drivers.clickhouse.record import ARCHIVE, PREFIX, Recorded, Tables
from cozydrivers.errors import InvalidInput

_TIME = r"[0-9]{8}T[0-9]{6}Z"


def entries(run: RestoreRun, options: Options) -> list[Recorded]:
    """The archives of a restore: those that the Backup records, else the explicit ones.

    Raises InvalidInput.
    """
    application, metadata = run.source.spec.application_ref.name, run.source.spec.driver_metadata
    if any(key.startswith(PREFIX) for key in metadata):
        if options.archives:
            raise InvalidInput("spec.options.archive is only for a Backup that records no archive; this one does")
        return record.read(metadata, run, application)
    if not options.archives:
        raise InvalidInput(
            f"Backup {run.source.metadata.name} records no archive, as those of Cozystack's own controller: choose one "
            f"of {installation(application)}-<time> from the remote list and set spec.options.archive to its name"
        )
    return _explicit(run, options.archives, application)


def _explicit(run: RestoreRun, archives: Mapping[int, str], application: str) -> list[Recorded]:
    shards = shards_of(run.application)
    if sorted(archives) != list(range(shards)):
        named = ", ".join(str(shard) for shard in sorted(archives))
        raise InvalidInput(f"spec.options.archive names shard {named}; ClickHouse has {shards}, and each needs its own")
    wrong = next((name for name in archives.values() if not _is_of(application, name)), None)
    if wrong is not None:
        raise InvalidInput(
            f"spec.options.archive is {wrong!r}, which is no archive of ClickHouse {application}: accepted is "
            f"{installation(application)}-<time>, as {installation(application)}-20261123T120000Z"
        )
    if run.application.metadata.name != application:
        raise InvalidInput(
            "spec.options.archive is for a restore in place: nobody has recorded which tables of it are replicated or "
            "would start to consume"
        )
    return [
        Recorded(shard=shard, archive=name, data_size=0, tables=Tables(count=0, hash=""))
        for shard, name in sorted(archives.items())
    ]


def _is_of(application: str, name: str) -> bool:
    return re.fullmatch(re.escape(installation(application)) + "-" + _TIME, name) is not None


def sources(backup: Backup | None, options: Mapping[str, Any]) -> set[str]:
    """Every archive that a restore may have downloaded, read tolerantly for a clean-up."""
    if backup is None:
        return set()
    recorded = {value for key, value in backup.spec.driver_metadata.items() if key.startswith(ARCHIVE)}
    application, named = backup.spec.application_ref.name, options.get("archive")
    explicit: Sequence[Any] = list(named.values()) if isinstance(named, dict) else [named]
    return recorded | {name for name in explicit if isinstance(name, str) and _is_of(application, name)}
