"""Backups of MariaDB: what succeeds is proven by the dump, and nothing of the operator's is left that could run again."""

import pytest
from tests.cozydrivers.mariadb_stage import BUCKET, staged

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("version", ["25.10.2", "26.6.0"])
async def test_a_backup_names_the_very_dump_in_the_bucket(version):
    stage = await staged(version)
    async with stage.working():
        backup = await stage.backed_up()
        assert await stage.operators() == []
    [key] = stage.bucket.keys
    assert backup.status.artifact is not None
    assert backup.status.artifact.uri == f"s3://{BUCKET}/{key}"
    assert backup.status.artifact.size_bytes == len(stage.bucket.content(key))
