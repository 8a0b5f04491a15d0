"""One request, one answer: respx stands in for the sidecar, as for any server that httpx speaks to."""

import json
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
import respx

import chbackup

pytestmark = pytest.mark.anyio
URL = "http://10.0.3.7:7171"


async def newest_good(sidecar: chbackup.Client) -> str | None:
    """Stands for your code."""
    good = [archive for archive in await sidecar.list_remote() if not archive.broken]
    return good[-1].name if good else None


def archive(name: str, desc: str = "tar, regular") -> dict[str, object]:
    row = {"name": name, "created": "2026-11-23 02:00:00", "size": 5, "metadata_size": 1}
    return row | {"location": "remote", "required": "", "desc": desc}


def lines(*rows: Mapping[str, object]) -> str:
    """The sidecar answers with one JSON object per line, and with an empty body where there is none."""
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
async def sidecar() -> AsyncIterator[chbackup.Client]:
    async with chbackup.Client(URL) as client:
        yield client


async def test_broken_archives_are_passed_over(respx_mock: respx.MockRouter, sidecar: chbackup.Client) -> None:
    rows = lines(archive("sunday"), archive("monday", "broken (can't stat metadata.json)"))
    respx_mock.get(f"{URL}/backup/list/remote").respond(text=rows)
    assert await newest_good(sidecar) == "sunday"


async def test_no_archives(respx_mock: respx.MockRouter, sidecar: chbackup.Client) -> None:
    respx_mock.get(f"{URL}/backup/list/remote").respond(text="")
    assert await newest_good(sidecar) is None


async def test_a_proxy_answers(respx_mock: respx.MockRouter, sidecar: chbackup.Client) -> None:
    respx_mock.get(f"{URL}/backup/list/remote").respond(502, html="<html>Bad Gateway</html>")
    with pytest.raises(chbackup.ServerError):
        await newest_good(sidecar)


async def test_a_busy_sidecar(respx_mock: respx.MockRouter, sidecar: chbackup.Client) -> None:
    error = {"status": "error", "operation": "delete", "error": "another operation is currently running"}
    route = respx_mock.post(f"{URL}/backup/delete/local/monday").respond(423, text=lines(error))
    with pytest.raises(chbackup.Busy):
        await sidecar.delete_local("monday")
    assert route.call_count == 1  # nothing is repeated behind your back


async def test_nobody_listens(respx_mock: respx.MockRouter, sidecar: chbackup.Client) -> None:
    respx_mock.get(f"{URL}/backup/list/remote").mock(side_effect=httpx.ConnectError("refused"))
    with pytest.raises(chbackup.ConnectionFailed):
        await newest_good(sidecar)
