"""The names of what a run creates, computed from what can't change, and the way back. Pure.

A Job, its Pods and its ServiceAccount get the name of the operator's object, and a run's dumps a folder of that name in
the bucket. So a dump has an identity: which job of which namespace has made it, whatever else says so (I12).
"""

import re
from dataclasses import dataclass
from typing import Literal, Self

from cozydrivers.drivers.base import Run
from cozydrivers.drivers.owned import hex_of

Purpose = Literal["dump", "safety", "restore"]
"""A backup's dump, the dump of what a restore is about to replace, or the restore itself."""

PURPOSES: tuple[Purpose, ...] = ("dump", "safety", "restore")

_LONGEST = 24
_NAME = re.compile(
    r"(?P<job>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)-(?P<home>[0-9a-f]{6})-(?P<uid>[0-9a-f]{12})-(?P<purpose>dump|safety|restore)"
)


@dataclass(frozen=True)
class Name:
    """A name's parts: `home` are hex digits of the namespace's UID, `uid` those of the job's."""

    purpose: Purpose
    job: str
    home: str
    uid: str

    @classmethod
    def of(cls, run: Run, purpose: Purpose) -> Self:
        """The name of a run's object."""
        plain = re.sub("[^a-z0-9]+", "-", run.name.lower())[:_LONGEST].strip("-") or "job"
        return cls(purpose, plain, hex_of(run.namespace_uid, 6), hex_of(run.uid, 12))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a name; None for what is none of ours."""
        found = _NAME.fullmatch(text)
        if found is None:
            return None
        purpose: Purpose = next(each for each in PURPOSES if each == found["purpose"])
        return cls(purpose, found["job"], found["home"], found["uid"])

    def __str__(self) -> str:
        """As it is written; a DNS label of at most 52 characters."""
        return f"{self.job}-{self.home}-{self.uid}-{self.purpose}"

    def is_of(self, run: Run) -> bool:
        """Whether it is a name of this very run."""
        return (self.home, self.uid) == (hex_of(run.namespace_uid, 6), hex_of(run.uid, 12))


def server_of(application: str) -> str:
    """The name of an application's MariaDB object, as Cozystack's chart gives it."""
    return f"mariadb-{application}"
