"""S3 as moto serves it: everything in memory, any credentials accepted."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET

import httpx
from tests.real.processes import Server, answers, cache, free_ports, http

_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def moto_python() -> Path:
    """Return the Python of the virtual environment that install.sh makes for moto alone."""
    return cache() / "moto" / "bin" / "python"


class RealS3(Server):
    """An object store on 127.0.0.1 with one bucket, which is empty after each start."""

    name = "moto"
    bucket = "backups"

    def __init__(self) -> None:
        super().__init__()
        (self.port,) = free_ports("127.0.0.1", 1)

    @property
    def url(self) -> str:
        """The endpoint, without the bucket."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """Run moto's server with its own Python."""
        return [str(moto_python()), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    async def is_ready(self) -> bool:
        """Tell whether the server answers."""
        async with self._client() as client:
            return await answers(client, "/moto-api/data.json")

    async def start(self) -> None:
        """Start the server and make the bucket."""
        await super().start()
        async with self._client() as client:
            (await client.put(f"/{self.bucket}")).raise_for_status()

    async def objects(self, prefix: str = "") -> dict[str, int]:
        """Return the keys under a prefix with their sizes in bytes."""
        found: dict[str, int] = {}
        query = {"list-type": "2", "prefix": prefix}
        async with self._client() as client:
            while True:
                response = await client.get(f"/{self.bucket}", params=query)
                page = ET.fromstring(response.raise_for_status().content)
                found |= {_text(each, "Key"): int(_text(each, "Size")) for each in page.iter(f"{_NAMESPACE}Contents")}
                if _text(page, "IsTruncated") != "true":
                    return found
                query["continuation-token"] = _text(page, "NextContinuationToken")

    async def size(self, prefix: str) -> int:
        """Return the sum of the sizes under a prefix."""
        return sum((await self.objects(prefix)).values())

    async def delete(self, prefix: str) -> None:
        """Delete every object under a prefix."""
        keys = await self.objects(prefix)
        async with self._client() as client:
            for key in keys:
                (await client.delete(f"/{self.bucket}/{quote(key)}")).raise_for_status()

    def _client(self) -> httpx.AsyncClient:
        # moto checks no credentials, but without any it guards objects with a private ACL.
        return http(self.url, auth=("any", "any"))


def _text(element: ET.Element, name: str) -> str:
    text = element.findtext(f"{_NAMESPACE}{name}")
    if text is None:
        raise ValueError(f"{element.tag} has no {name}")
    return text
