"""A Pod of one of mariadb-operator's Jobs, read from its spec alone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cozydrivers.testing._mariadb_jobs import Release, written
from cozydrivers.testing._store import Object

_NAMED = re.compile(r"backup\.\$\(date [^)]*\)(\S+?);")
_PHYSICAL = re.compile(r"physicalbackup-\d+\.xb(?:\.\w+)?")
_HOST = re.compile(r"--host=(\S+)")
_DATABASES = re.compile(r"--databases ((?:[^-\s]\S* ?)+)")
_ONE = re.compile(r"--one-database (\S+)")


@dataclass(frozen=True)
class JobPod:
    """A Pod with its two containers: the `script` of `mariadb`, the `options` of `mariadb-operator`."""

    raw: Object
    script: str
    options: dict[str, str]
    release: Release

    @property
    def uid(self) -> str:
        """Its UID."""
        return str(self.raw["metadata"]["uid"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.raw["metadata"]["namespace"])

    @property
    def job(self) -> str:
        """The name of its Job."""
        return str(self.raw["metadata"]["labels"]["job-name"])

    @property
    def restores(self) -> bool:
        """Whether it loads a dump, instead of making one."""
        return "restore" in self.options

    @property
    def restarts(self) -> bool:
        """Whether a container that fails is started again in the same Pod."""
        return bool(self.raw["spec"]["restartPolicy"] == "OnFailure")

    @property
    def standard(self) -> bool:
        """Whether its release gives compressed dumps standard names."""
        return self.release.standard_names

    @property
    def prefix(self) -> str:
        """What the keys of its objects begin with."""
        prefix = self.options.get("--s3-prefix", "")
        return "" if prefix in ("", "/") else f"{prefix.removesuffix('/')}/"

    @property
    def host(self) -> str:
        """The server that it connects to."""
        found = _HOST.search(self.script)
        return found[1] if found else ""

    @property
    def server(self) -> tuple[str, str]:
        """Namespace and name of the MariaDB."""
        first, second, third = [*self.host.split("."), "", "", ""][:3]
        return (third, second.removesuffix("-internal")) if second.endswith("-internal") else (second, first)

    @property
    def databases(self) -> list[str]:
        """The databases that it dumps; empty for all."""
        found = _DATABASES.search(self.script)
        return found[1].split() if found else []

    @property
    def privileges(self) -> bool:
        """Whether it dumps the users as well."""
        return "--ignore-table=mysql.global_priv" not in self.script

    @property
    def only(self) -> str:
        """The one database that it loads; empty for all."""
        found = _ONE.search(self.script)
        return found[1] if found else ""

    @property
    def physical(self) -> str:
        """The name of the copy of files that it makes; empty where it makes none."""
        found = _PHYSICAL.search(self.script)
        return found[0] if found else ""

    @property
    def volume(self) -> Object:
        """Where it keeps its files."""
        found: Object = next(volume for volume in self.raw["spec"]["volumes"] if volume["name"] == "backup")
        return found

    @property
    def claim(self) -> str:
        """The claim that it keeps its files on; empty for another volume."""
        return str((self.volume.get("persistentVolumeClaim") or {}).get("claimName", ""))

    @property
    def mounted_secrets(self) -> list[str]:
        """The Secrets that it can't be started without."""
        named = ((volume.get("secret") or {}).get("secretName") for volume in self.raw["spec"]["volumes"])
        return [name for name in named if name]

    def file_name(self, at: datetime) -> str:
        """What it calls a dump that it starts at a time."""
        ending = _NAMED.search(self.script)
        return self.physical or f"backup.{written(at)}{ending[1] if ending else '.sql'}"

    def references(self, *, init: bool) -> list[Object]:
        """The keys of Secrets that its init containers, or its containers, are started with."""
        return [
            variable["valueFrom"]["secretKeyRef"]
            for container in self.raw["spec"]["initContainers" if init else "containers"]
            for variable in container.get("env", ())
            if "secretKeyRef" in variable.get("valueFrom", {})
        ]

    def reference(self, container: str, variable: str) -> Object | None:
        """The key of a Secret that is in a variable of a container."""
        spec: Any = self.raw["spec"]
        found = next(each for each in (*spec["initContainers"], *spec["containers"]) if each["name"] == container)
        named = (each["valueFrom"]["secretKeyRef"] for each in found.get("env", ()) if each["name"] == variable)
        return next(named, None)


def read_pod(pod: Object) -> JobPod | None:
    """Read a Pod; None for one that is not of the operator's Jobs."""
    containers = {each["name"]: each for each in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])}
    if set(containers) != {"mariadb", "mariadb-operator"}:
        return None
    operator = containers["mariadb-operator"]
    release = Release(operator["image"].rpartition(":")[2])
    return JobPod(pod, " ".join(containers["mariadb"]["args"]), dict(_options(operator["args"])), release)


def _options(args: list[str]) -> Iterator[tuple[str, str]]:
    """The options of a command with their values, and the words that are none."""
    for at, word in enumerate(args):
        following = args[at + 1] if at + 1 < len(args) else "--"
        yield word, "" if following.startswith("--") or not word.startswith("--") else following
