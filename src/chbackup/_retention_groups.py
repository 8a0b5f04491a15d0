"""Which archives make one set, and which sets are of one series: read from names."""

import re
from dataclasses import dataclass

from .names import parse_archive_name

# What differs from one run to the next: a date, the time behind it, and a long hexadecimal number behind that. A
# number without a date, or behind one that begins the name, may as well say whose backup it is: it stays.
_VARIES = re.compile(
    r"""
    (\A)? (?<!\d)
    (?: (?:19|20)\d\d [-_.]? (?:0[1-9]|1[0-2]) [-_.]? (?:0[1-9]|[12]\d|3[01])       # date
        (?: [-_.T]? (?:[01]\d|2[0-3]) [-_.:]? [0-5]\d (?: [-_.:]? [0-5]\d (?:\.\d+)? )? )?   # time
        (?: Z | [-+]\d\d:?\d\d )?
      | (?:19|20)\d\d [-_.] (?:0[1-9]|1[0-2])                                       # month
      | 1[5-9]\d{8} (?:\d{3})?                                                      # seconds since 1970
    )
    (?(1) | (?: [-_.] (?=[a-f]*\d) [0-9a-f]{8,} (?:(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})? )? )     # number
    (?![0-9A-Za-z])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Group:
    """Where an archive belongs: sets of one `series` compete for the places that the rules give.

    `shards` is how many shards make the set complete, `shard` the one that this archive holds. Such a set may have
    members in several storages. 0 says that the number isn't known: the set is what one storage lists of it.
    """

    series: str
    set: str
    shard: int = 0
    shards: int = 0


def default_group(name: str) -> Group:
    """Group the names that `ArchiveName` makes by application and run; every other archive is a set of its own.

    The series of another name is the name with `*` for what differs from run to run: dates, the times and long
    hexadecimal numbers behind them. A name without a date is a series of its own.
    """
    member = parse_archive_name(name) if name.startswith("cozy-") else None
    if member is None:
        return Group(_VARIES.sub("*", name), name)
    series = f"cozy-{member.app}-{member.namespace_hash}"
    return Group(series, member.set_name, member.shard, member.shards)
