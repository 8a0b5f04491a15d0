"""Query parameters of the endpoints that start an operation. Pure functions.

Most flags count as true by being there, whatever their value: they are sent only when true.
"""

from collections.abc import Mapping, Sequence

from .names import check_name

Params = list[tuple[str, str]]


def flags(**values: bool) -> Params:
    """Return the flags that are set, in the spelling that every version reads."""
    return [(name.replace("_", "-"), "1") for name, value in values.items() if value]


def selection(tables: str | None, partitions: Sequence[str] = (), **values: bool) -> Params:
    """Say which tables and which parts of them."""
    chosen = [("table", tables)] if tables else []
    return chosen + [("partitions", partition) for partition in partitions] + flags(**values)


def base(parameter: str, name: str | None) -> Params:
    """Name the archive that an increment is made against."""
    return [(parameter, check_name(name))] if name is not None else []


def mappings(databases: Mapping[str, str] | None, tables: Mapping[str, str] | None) -> Params:
    """Give databases and tables new names; these parameters are read with underscores only."""
    pairs = [("restore_database_mapping", databases), ("restore_table_mapping", tables)]
    return [(key, f"{old}:{new}") for key, mapping in pairs for old, new in (mapping or {}).items()]
