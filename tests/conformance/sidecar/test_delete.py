"""Deleting archives: errors are all 500, chains are guarded from 2.8.1 on only."""

import pytest
from tests.conformance.sidecar.rig import Rig


@pytest.fixture(autouse=True)
async def one_table(rig: Rig):
    await rig.create_table("demo.t", 1000, partitions=3)


async def test_a_deleted_archive_is_gone(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    for where in ["local", "remote"]:
        assert await rig.send("POST", f"/backup/delete/{where}/a", 200) == [
            {"status": "success", "operation": "delete", "backup_name": "a", "location": where}
        ]
    assert await rig.get("/backup/list") == []
    assert await rig.objects("a") == {}
    [row] = await rig.get("/backup/actions?filter=delete+remote")
    assert (row["command"], row["status"]) == ("delete remote a", "success")
    assert "operation_id" not in row


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("local/nosuch", "'nosuch' is not found on local storage"),
        ("remote/nosuch", "'nosuch' is not found on remote storage"),
        ("nowhere/x", "backup location must be 'local' or 'remote'"),
    ],
)
async def test_failures_are_500(rig: Rig, path: str, error: str):
    assert await rig.send("POST", f"/backup/delete/{path}", 500) == [
        {"status": "error", "operation": "delete", "error": error}
    ]


async def test_the_name_is_cleaned_but_answered_as_it_came(rig: Rig):
    await rig.run("/backup/create?name=nm")
    [answer] = await rig.send("POST", "/backup/delete/local/n%20m", 200)
    assert answer["backup_name"] == "n m"
    assert await rig.get("/backup/list/local") == []


async def test_broken_archives_can_be_deleted(rig: Rig):
    await rig.run("/backup/create_remote?name=a")
    await rig.remove_object("a", "metadata.json")
    await rig.forget_cache()
    await rig.send("POST", "/backup/delete/remote/a", 200)
    assert await rig.objects("a") == {}


@pytest.mark.parametrize("where", ["local", "remote"])
async def test_a_base_is_guarded_from_2_8_1_on(rig: Rig, where: str):
    await _chain(rig)
    response = await rig.http.post(f"/backup/delete/{where}/full")
    if not rig.since(2, 8, 1):
        assert response.status_code == 200
        return
    assert response.status_code == 500
    assert response.json()["error"].startswith(f"'full' is required by {where} backup(s) next, deleting it breaks")
    assert (await rig.http.post(f"/backup/delete/{where}/full?force=TRUE")).status_code == 500
    await rig.send("POST", f"/backup/delete/{where}/full?force=1", 200)
    assert (await rig.get("/backup/actions?last=1"))[0]["command"] == f"delete {where} full --force"


async def test_an_increment_without_its_base_lists_as_good_and_cannot_be_restored(rig: Rig):
    await _chain(rig)
    for path in ["remote/full?force=1", "local/next", "local/full"]:
        await rig.send("POST", f"/backup/delete/{path}", 200)
    assert await rig.desc("remote", "next") == "tar, regular"
    row = await rig.run("/backup/restore_remote/next", status="error")
    assert row["error"].endswith("ReadBackupMetadataRemote: full not found on remote storage")
    assert await rig.count("demo.t") == 1010


async def _chain(rig: Rig) -> None:
    await rig.run("/backup/create_remote?name=full")
    await rig.insert("demo.t", 10)
    await rig.run("/backup/create_remote?name=next&diff-from-remote=full")
