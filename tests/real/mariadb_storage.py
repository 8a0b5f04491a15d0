"""What the sub-commands `backup` and `backup restore` of mariadb-operator do, for machines without its binary.

A program of its own, which needs nothing but Python; before its arguments stands the operator's version. Retention is
left out: nothing is ever too old.
"""

import argparse
import bz2
import gzip
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen
from xml.etree import ElementTree as ET

Change = Callable[[bytes], bytes]
_NAME = re.compile(r"backup\.([^.]+)(?:\.(gzip|bzip2)\.sql|\.sql(?:\.(gz|bz2))?)")
_PACK: Mapping[str, Change] = {"none": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}
_UNPACK: Mapping[str, Change] = {
    "": bytes,
    "gzip": gzip.decompress,
    "gz": gzip.decompress,
    "bzip2": bz2.decompress,
    "bz2": bz2.decompress,
}
# Without any credentials moto guards objects; without a type it reads the body as a form.
_HEADERS = {"Authorization": "Basic YW55OmFueQ==", "Content-Type": "application/octet-stream"}
_COMMON = ("--path", "--target-file-path", "--backup-content-type", "--log-level", "--compression")
_STORE = ("--s3-bucket", "--s3-endpoint", "--s3-region", "--s3-prefix")
_OWN = ("--max-retention", "--target-time")


def main() -> int:
    """Run the sub-command that the arguments name and return its exit code."""
    version, *args = sys.argv[1:]
    given = _parsed(args)
    store = _S3(given) if given.s3 else _Folder(given)
    if given.words == ["backup"]:
        return _backup(store, given)
    return _restore(store, given, version)


def _parsed(args: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="+")
    for option in (*_COMMON, *_STORE, *_OWN):
        parser.add_argument(option, default="")
    for option in ("--s3", "--cleanup-target-file"):
        parser.add_argument(option, action="store_true")
    return parser.parse_args(args)


def _backup(store: "_S3 | _Folder", given: argparse.Namespace) -> int:
    file = Path(Path(given.target_file_path).read_text())
    file.write_bytes(_PACK[given.compression or "none"](file.read_bytes()))
    store.put(file)
    return 0


def _restore(store: "_S3 | _Folder", given: argparse.Namespace, version: str) -> int:
    chosen = _choice(store.names(), datetime.fromisoformat(given.target_time), version)
    if chosen is None:
        sys.exit("no valid backup files were found")
    found = _NAME.fullmatch(chosen)
    assert found is not None
    plain = Path(given.path) / f"backup.{found[1]}.sql"
    plain.write_bytes(_UNPACK[found[2] or found[3] or ""](store.read(chosen)))
    Path(given.target_file_path).write_text(str(plain))
    return 0


def _choice(names: Sequence[str], target: datetime, version: str) -> str | None:
    """25.10 takes the nearest, before or after, and does not know the endings .gz and .bz2; 26 the newest before."""
    old = version.startswith("25.")
    found = [(name, match) for name in names if (match := _NAME.fullmatch(name)) and not (old and match[3])]
    distances = {name: (target - datetime.fromisoformat(match[1])).total_seconds() for name, match in found}
    near = {name: abs(seconds) for name, seconds in distances.items() if old or seconds >= 0}
    return min(near, key=lambda name: near[name], default=None)


class _Folder:
    """The Pod's own volume, where the dump is already."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._folder = Path(given.path)

    def put(self, file: Path) -> None:
        pass

    def names(self) -> list[str]:
        return sorted(each.name for each in self._folder.iterdir())

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()


class _S3:
    """A bucket of moto, which checks no signature."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._url = f"http://{given.s3_endpoint}/{given.s3_bucket}"
        self._prefix = f"{given.s3_prefix.rstrip('/')}/" if given.s3_prefix else ""

    def put(self, file: Path) -> None:
        self._send("PUT", f"/{quote(self._prefix + file.name)}", file.read_bytes())

    def names(self) -> list[str]:
        query = urlencode({"list-type": "2", "prefix": self._prefix, "delimiter": "/"})
        page = ET.fromstring(self._send("GET", f"?{query}"))
        keys = [each.text or "" for each in page.iter() if each.tag.endswith("}Key")]
        return [key.removeprefix(self._prefix) for key in keys]

    def read(self, name: str) -> bytes:
        return self._send("GET", f"/{quote(self._prefix + name)}")

    def _send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = Request(self._url + path, body, _HEADERS, method=method)
        with urlopen(request, timeout=30) as response:
            content: bytes = response.read()
        return content


if __name__ == "__main__":
    sys.exit(main())
