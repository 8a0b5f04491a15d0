"""Which real servers can take part on this machine: `python -m tests.real.report [--require etcd,clickhouse]`."""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tests.real import mariadb_operator
from tests.real.kubernetes import kube_apiserver
from tests.real.mariadb_server import PROGRAMS
from tests.real.processes import which
from tests.real.s3 import moto_python
from tests.real.sidecar import ABSENT, find_binaries
from tests.real.zookeeper import zookeeper_jar

NAMES = (
    "clickhouse",
    "zookeeper",
    "clickhouse-backup",
    "mariadb",
    "mariadb-operator",
    "s3",
    "etcd",
    "kube-apiserver",
)


@dataclass(frozen=True)
class Participant:
    """A real server: its version, or why it can't take part."""

    name: str
    version: str = ""
    absent: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version or f'absent: {self.absent}'}"


def participants() -> list[Participant]:
    """Look for every real server; there is one entry for each binary of clickhouse-backup and of mariadb-operator."""
    databases = [_clickhouse(), _zookeeper(), *_sidecars(), _mariadb(), *_operators()]
    return [*databases, _s3(), _etcd(), _kube_apiserver()]


def _clickhouse() -> Participant:
    if which("clickhouse-server") is None:
        return Participant("clickhouse", absent="no clickhouse-server on PATH")
    # Debian's 18.16.1 has no option that tells its version.
    version = _asked(["clickhouse-server", "--version"]) or _packaged("clickhouse-server")
    return Participant("clickhouse", version=version)


def _zookeeper() -> Participant:
    if zookeeper_jar() is None:
        return Participant("zookeeper", absent="no zookeeper.jar in /usr/share/java, or no java on PATH")
    return Participant("zookeeper", version=_packaged("zookeeper"))


def _packaged(name: str) -> str:
    return _asked(["dpkg-query", "--show", "--showformat=${Version}", name]) or "of unknown version"


def _sidecars() -> list[Participant]:
    name = "clickhouse-backup"
    try:
        found = [Participant(name, version=each.version) for each in find_binaries()]
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        return [Participant(name, absent=str(error))]
    return found or [Participant(name, absent=ABSENT)]


def _mariadb() -> Participant:
    if missing := [program for program in PROGRAMS if which(program) is None]:
        return Participant("mariadb", absent=f"no {missing[0]} on PATH")
    return Participant("mariadb", version=_asked(["mariadbd", "--version"]))


def _operators() -> list[Participant]:
    name = "mariadb-operator"
    try:
        found = [Participant(name, version=each.version) for each in mariadb_operator.find_operators()]
    except ValueError as error:
        return [Participant(name, absent=str(error))]
    return found or [Participant(name, absent=mariadb_operator.ABSENT)]


def _s3() -> Participant:
    version = _asked([str(moto_python()), "-c", "import flask, moto; print(moto.__version__)"])
    return Participant("s3", version=f"moto {version}" if version else "", absent="moto[server] is not installed")


def _etcd() -> Participant:
    version = _asked(["etcd", "--version"])
    return Participant("etcd", version=version, absent="no etcd on PATH")


def _kube_apiserver() -> Participant:
    path = kube_apiserver()
    version = _asked([str(path), "--version"])
    return Participant("kube-apiserver", version=version, absent=f"{path} is not built")


def _asked(command: Sequence[str]) -> str:
    """Return the first version number that a program prints, or nothing when it can't be run."""
    program = which(command[0])
    if program is None:
        return ""
    result = subprocess.run([program, *command[1:]], check=False, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+[\w.+-]*", result.stdout)
    return found[0] if found and result.returncode == 0 else ""


def main() -> None:
    """Print one line per server; exit 1 when one that is required is absent."""
    parser = argparse.ArgumentParser(prog="python -m tests.real.report", description=__doc__)
    parser.add_argument("--require", default="", metavar="NAME,...", help=f"of {', '.join(NAMES)}")
    required = {name for name in parser.parse_args().require.split(",") if name}
    if unknown := required.difference(NAMES):
        parser.error(f"--require knows {', '.join(NAMES)}; not {', '.join(sorted(unknown))}")
    found = participants()
    for each in found:
        print(each)
    if missing := sorted(required.intersection(each.name for each in found if not each.version)):
        sys.exit(f"required and absent: {', '.join(missing)}")


if __name__ == "__main__":
    main()
