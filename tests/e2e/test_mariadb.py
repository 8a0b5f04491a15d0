"""A tenant backs its MariaDB up twice, loses rows, and gets the older state back, in place and into a copy."""

import gzip
from dataclasses import replace

import pytest
from tests.e2e import kube
from tests.e2e.mariadb_objects import COPY, dump_of, recorded, secret, told
from tests.e2e.mariadb_scene import MariaDBScene
from tests.e2e.objects import conditions
from tests.e2e.tls import TlsS3
from tests.real.mariadb_operator import Operator

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


async def test_a_backup_is_the_dump_that_it_names(mariadb: MariaDBScene):
    await mariadb.fill(orders=3000, users=50)
    await mariadb.strategy(databases=None)
    backup = await mariadb.back_up("nightly")
    key = dump_of(backup)
    assert await mariadb.stored() == {key: int(recorded(backup, "size"))}
    assert backup["status"]["artifact"] == {
        "uri": f"s3://{mariadb.s3.bucket}/{key}",
        "sizeBytes": int(recorded(backup, "size")),
    }
    content = gzip.decompress(await mariadb.read(key)).decode()
    assert content.splitlines()[-1].startswith("-- Dump completed")
    assert content.count("Zoë 🚲") == 3050
    assert "INSERT INTO `global_priv`" not in content
    job = await kube.get(mariadb.client, "BackupJob", mariadb.namespace, "nightly")
    assert (conditions(job)["Ready"], told(job, "Verified")["reason"]) == ("True", "DumpComplete")
    assert mariadb.ran("dump") == [("mariadb", 0), ("mariadb-operator", 0)]
    assert await kube.names(mariadb.client, "Backup.k8s.mariadb.com", mariadb.namespace) == set()


async def test_the_older_of_two_backups_comes_back_exactly(mariadb: MariaDBScene):
    await mariadb.fill(orders=3000, users=50)
    rows = await mariadb.rows()
    older = await mariadb.back_up("monday")
    await mariadb.fill(orders=7)
    newer = await mariadb.back_up("tuesday")
    await mariadb.sql("DROP TABLE users; DELETE FROM orders WHERE id % 3 = 0")
    await mariadb.fill(later=5)
    later = (await mariadb.rows())["later"]

    job = await mariadb.restored("monday", older)  # named as its BackupJob: neither is taken for the other
    assert await mariadb.rows() == {**rows, "later": later}
    assert conditions(job).items() >= {"Ready": "True", "TargetChecked": "True", "SafetyCopy": "True"}.items()
    assert mariadb.ran("restore") == [("mariadb-operator", 0), ("mariadb", 0)]
    (safety,) = set(await mariadb.stored()) - {dump_of(older), dump_of(newer)}
    assert f"s3://{mariadb.s3.bucket}/{safety}" in told(job, "SafetyCopy")["message"]


async def test_a_copy_gets_the_rows_and_the_original_keeps_its_own(mariadb: MariaDBScene):
    await mariadb.fill(orders=500)
    rows = await mariadb.rows()
    backup = await mariadb.back_up("nightly")
    await mariadb.fill(orders=3)
    original = await mariadb.rows()
    await mariadb.copy.query("CREATE TABLE shop.orders (id INT)")

    await mariadb.restored("into-the-copy", backup, COPY)
    assert await mariadb.rows(mariadb.copy) == rows
    assert await mariadb.rows() == original


async def test_a_store_with_certificates_of_its_own_is_trusted_by_the_strategy_s_secret(
    mariadb: MariaDBScene, operator: Operator | None
):
    if operator is None:
        pytest.skip("the Jobs of the simulator know no TLS")
    await mariadb.fill(orders=100)
    rows = await mariadb.rows()
    async with TlsS3() as s3:
        scene = replace(mariadb, s3=s3)
        authority = secret("shop-mariadb-backup-ca", **{"ca.crt": s3.ca})
        await kube.apply(scene.client, authority, scene.namespace)
        name = "{{ .Application.metadata.name }}-mariadb-backup-ca"
        await scene.strategy(s3={"tls": {"enabled": True, "caSecretKeyRef": {"name": name, "key": "ca.crt"}}})
        backup = await scene.back_up("nightly")
        assert told(backup, "Verified")["reason"] == "DumpComplete"
        assert set(await scene.stored()) == {dump_of(backup)}
        await scene.sql("DELETE FROM orders")
        await scene.restored("back", backup)
    assert await mariadb.rows() == rows
