"""What the sub-commands `backup` and `backup restore` of mariadb-operator do, for machines without its binary."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen
from xml.etree import ElementTree as ET

from cozydrivers.testing._mariadb_files import chosen, compressed, compression_of, decompressed, plain_name, too_old
from cozydrivers.testing._mariadb_jobs import duration

# Without any credentials moto guards objects; without a type it reads the body as a form.
_HEADERS = {"Authorization": "Basic YW55OmFueQ==", "Content-Type": "application/octet-stream"}
_FLAGS = ("--s3", "--cleanup-target-file")


def run(args: Sequence[str], version: str) -> int:
    """Run the sub-command that the arguments name, as this version does it, and return its exit code."""
    given, standard = _parsed(args), not version.startswith("25.")
    store = _S3(given) if "--s3" in given else _Folder(given)
    try:
        if "--target-time" in given:
            _restore(store, given, standard)
        else:
            _backup(store, given, standard)
    except (URLError, OSError, EOFError, LookupError):
        return 1
    return 0


def _parsed(args: Sequence[str]) -> dict[str, str]:
    """The options with their values, which may begin with a dash."""
    found, rest = {"--compression": "none"}, iter(args)
    for arg in rest:
        if arg.startswith("--"):
            found[arg] = "" if arg in _FLAGS else next(rest)
    return found


def _backup(store: "_S3 | _Folder", given: Mapping[str, str], standard: bool) -> None:
    file = Path(Path(given["--target-file-path"]).read_text())
    file.write_bytes(compressed(file.read_bytes(), given["--compression"]))
    store.put(file)
    kept = duration(given["--max-retention"])
    for name in too_old(store.names(), datetime.now(UTC), kept, standard=standard):
        store.delete(name)


def _restore(store: "_S3 | _Folder", given: Mapping[str, str], standard: bool) -> None:
    name = chosen(store.names(), datetime.fromisoformat(given["--target-time"]), standard=standard)
    if name is None:
        raise LookupError("no valid backup files were found")
    plain = Path(given["--path"]) / plain_name(name)
    plain.write_bytes(decompressed(store.read(name), compression_of(name)))
    Path(given["--target-file-path"]).write_text(str(plain))


class _Folder:
    """The Pod's own volume, where the dump is already."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._folder = Path(given["--path"])

    def put(self, file: Path) -> None:
        pass

    def names(self) -> list[str]:
        return sorted(each.name for each in self._folder.iterdir())

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def delete(self, name: str) -> None:
        (self._folder / name).unlink()


class _S3:
    """A bucket of moto, which checks no signature."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._url = f"http://{given['--s3-endpoint']}/{given['--s3-bucket']}"
        prefix = given.get("--s3-prefix", "").rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def put(self, file: Path) -> None:
        self._send("PUT", self._path(file.name), file.read_bytes())

    def names(self) -> list[str]:
        query = urlencode({"list-type": "2", "prefix": self._prefix, "delimiter": "/"})
        page = ET.fromstring(self._send("GET", f"?{query}"))
        keys = [each.text or "" for each in page.iter() if each.tag.endswith("}Key")]
        return [key.removeprefix(self._prefix) for key in keys]

    def read(self, name: str) -> bytes:
        return self._send("GET", self._path(name))

    def delete(self, name: str) -> None:
        self._send("DELETE", self._path(name))

    def _path(self, name: str) -> str:
        return f"/{quote(self._prefix + name)}"

    def _send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = Request(self._url + path, body, _HEADERS, method=method)
        with urlopen(request, timeout=30) as response:
            content: bytes = response.read()
        return content
