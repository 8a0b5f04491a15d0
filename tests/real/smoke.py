"""Start every real server once: a table goes through S3 and back, and rows through ZooKeeper to a replica.

Run by `python -m tests.real.smoke`. Without clickhouse-backup its table stays where it is, and the others are started
all the same; for mariadb-operator its simulator steps in.
"""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial

import anyio
import httpx
from tests.real import (
    RealClickHouse,
    RealCluster,
    RealMariaDB,
    RealS3,
    RealSidecar,
    RealZooKeeper,
    find_binaries,
    find_operators,
)
from tests.real.mariadb_operator import at_work
from tests.real.mariadb_pods import MariaDBPods
from tests.real.processes import wait_until
from tests.real.sidecar import ABSENT

from cozydrivers.api import mariadb
from cozydrivers.api.core import Secret
from cozydrivers.kube import KubeClient

_MARIADB = {
    "rootPasswordSecretKeyRef": {"name": "root", "key": "password"},
    "storage": {"size": "1Gi"},
    "tls": {"enabled": False},
}
_KEYS = {
    "accessKeyIdSecretKeyRef": {"name": "s3", "key": "id"},
    "secretAccessKeySecretKeyRef": {"name": "s3", "key": "key"},
}


async def round_trip(sidecar: RealSidecar) -> str:
    """Back up one table, drop it and restore it; raises RuntimeError when the rows differ."""
    clickhouse, name = sidecar.clickhouse, f"smoke-{sidecar.clickhouse.shard}"
    rows = "SELECT count(), sum(cityHash64(id, s)) FROM demo.t"
    await clickhouse.create_table("demo.t")
    await clickhouse.insert("demo.t", 1000)
    before = await clickhouse.query(rows)
    async with sidecar.client() as client:
        await _run(client, "/backup/create_remote", {"name": name})
        await clickhouse.drop("demo.t")
        (await client.post(f"/backup/delete/local/{name}")).raise_for_status()
        await _run(client, f"/backup/restore_remote/{name}", {})
    after = await clickhouse.query(rows)
    if after != before:
        raise RuntimeError(f"rows and hash were {before}, are {after}")
    size = await sidecar.s3.size(f"run1/{clickhouse.shard}/{name}/")
    return f"{sidecar.binary.version} at {sidecar.url}: 1000 rows back, {size} bytes on S3"


async def replicate(zookeeper: RealZooKeeper, replicas: Sequence[RealClickHouse]) -> str:
    """Insert rows on one replica, and wait until the others have them."""
    engine = "ReplicatedMergeTree('/clickhouse/tables/{shard}/smoke', '{replica}')"
    for replica in replicas:
        await replica.query("CREATE DATABASE IF NOT EXISTS demo")
        await replica.query(f"CREATE TABLE demo.r (id UInt64) ENGINE = {engine} ORDER BY id")
    await replicas[0].query("INSERT INTO demo.r SELECT number FROM system.numbers LIMIT 1000")

    async def arrived() -> bool:
        return [await replica.count("demo.r") for replica in replicas] == [1000] * len(replicas)

    await wait_until(arrived, timeout=30, what="the rows on every replica")
    return f"ZooKeeper at {zookeeper.address}:{zookeeper.port}: 1000 rows on {len(replicas)} replicas"


async def dump_and_load(cluster: RealCluster, s3: RealS3, server: RealMariaDB) -> str:
    """Have mariadb-operator, or its simulator where it is absent, dump a table and restore it once it is empty."""
    operator = next(iter(find_operators()[-1:]), None)
    await server.query(
        "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (1), (2)"
    )
    async with at_work(operator, cluster) as working, KubeClient.connect(kubeconfig=str(cluster.kubeconfig())) as kube:
        namespace = await cluster.namespace()
        for name, data in {"root": {"password": server.password}, "s3": {"id": "any", "key": "any"}}.items():
            await kube.create(Secret, {"metadata": {"name": name}, "stringData": data}, namespace)
        await kube.create(mariadb.MariaDB, {"metadata": {"name": "db"}, "spec": _MARIADB}, namespace)
        await working.play_ready(namespace, "db")
        async with MariaDBPods(kube, namespace, {(namespace, "db"): server}, operator=operator).running():
            store = {"bucket": s3.bucket, "endpoint": s3.url.removeprefix("http://"), "prefix": "smoke/", **_KEYS}
            spec = {"storage": {"s3": store}, "compression": "gzip", "databases": ["shop"]}
            await _completed(kube, mariadb.Backup, "dump", namespace, spec)
            await server.query("DELETE FROM shop.t")
            await _completed(kube, mariadb.Restore, "load", namespace, {"s3": store})
    if (rows := await server.query("SELECT count(*) FROM shop.t")) != "2":
        raise RuntimeError(f"{rows} rows instead of 2")
    who = f"mariadb-operator {operator.version}" if operator else "mariadb-operator's simulator"
    (dump,) = await s3.objects("smoke/")
    return f"{who}: 2 rows back from {dump}"


async def _completed(
    kube: KubeClient,
    kind: type[mariadb.Backup] | type[mariadb.Restore],
    name: str,
    namespace: str,
    spec: Mapping[str, object],
) -> None:
    await kube.create(kind, {"metadata": {"name": name}, "spec": {"mariaDbRef": {"name": "db"}, **spec}}, namespace)

    async def complete() -> bool:
        conditions = (await kube.get(kind, name, namespace)).raw.get("status", {}).get("conditions", [])
        reasons = [each["reason"] for each in conditions]
        if "JobFailed" in reasons:
            raise RuntimeError(f"{name} has failed")
        return "JobComplete" in reasons

    await wait_until(complete, timeout=60, what=f"{kind.__name__} {name}")


async def _run(client: httpx.AsyncClient, path: str, query: dict[str, str]) -> None:
    operation = (await client.post(path, params=query)).raise_for_status().json()["operation_id"]
    await wait_until(partial(_succeeded, client, operation), timeout=60, what=path)


async def _succeeded(client: httpx.AsyncClient, operation: str) -> bool:
    row = (await client.get("/backup/status", params={"operationid": operation})).json()
    if row["status"] in ("error", "cancel"):
        raise RuntimeError(row)
    return bool(row["status"] == "success")


async def run() -> list[int]:
    """Start everything, say what happens and when, and return the processes that were started."""
    binaries = find_binaries()
    began = time.monotonic()

    def say(what: object) -> None:
        print(f"{time.monotonic() - began:6.2f} s  {what}", flush=True)

    async with contextlib.AsyncExitStack() as stack:
        start = stack.enter_async_context
        zookeeper = await start(RealZooKeeper())
        shards = [
            await start(RealClickHouse(f"127.0.0.{2 + shard}", str(shard), zookeeper=zookeeper)) for shard in range(2)
        ]
        say(f"ClickHouse {await shards[0].query('SELECT version()')} on {[each.address for each in shards]}")
        replica = await start(RealClickHouse("127.0.0.4", "0", "1", zookeeper=zookeeper))
        s3 = await start(RealS3())
        say(f"S3 at {s3.url}, {len(await s3.objects())} objects")
        pairs = zip((binaries[0], binaries[-1]) if binaries else (), shards, strict=False)
        sidecars = [await start(RealSidecar(binary, shard, s3)) for binary, shard in pairs]
        if not sidecars:
            say(ABSENT)
        for sidecar in sidecars:
            say(await round_trip(sidecar))
        say(await replicate(zookeeper, (shards[0], replica)))
        cluster = await start(RealCluster())
        say(f"kube-apiserver at {cluster.url}")
        maria = await start(RealMariaDB("127.0.0.5"))
        say(f"MariaDB {await maria.version()} at {maria.address}:{maria.port}")
        say(await dump_and_load(cluster, s3, maria))
        started = (zookeeper, *shards, replica, s3, *sidecars, cluster.etcd, cluster.apiserver, maria)
        pids = [each.pid for each in started]
    say("all stopped")
    return pids


def main() -> None:
    """Run it; exit 1 when a process is left."""
    left = [pid for pid in anyio.run(run) if _exists(pid)]
    if left:
        raise SystemExit(f"left behind: {left}")


def _exists(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


if __name__ == "__main__":
    main()
