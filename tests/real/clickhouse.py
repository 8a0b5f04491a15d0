"""ClickHouse as Debian packages it (18.16.1), one server per shard, with a configuration from scratch."""

from collections.abc import Sequence

import httpx
from tests.real.processes import Server, answers, free_ports, http, which
from tests.real.zookeeper import RealZooKeeper

_CONFIG = """<yandex>
  <logger><level>information</level><console>1</console></logger>
  <listen_host>{address}</listen_host>
  <interserver_http_host>{address}</interserver_http_host>
  <http_port>{http_port}</http_port>
  <tcp_port>{tcp_port}</tcp_port>
  <interserver_http_port>{interserver_port}</interserver_http_port>
  <path>{data}/</path>
  <tmp_path>{data}/tmp/</tmp_path>
  <user_files_path>{data}/user_files/</user_files_path>
  <format_schema_path>{data}/format_schemas/</format_schema_path>
  <mark_cache_size>67108864</mark_cache_size>
  <users_config>users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <macros><shard>{shard}</shard><replica>{replica}</replica><cluster>real</cluster></macros>
  {zookeeper}
</yandex>
"""

_USERS = """<yandex>
  <profiles><default><log_queries>0</log_queries></default></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password>
      <networks><ip>127.0.0.0/8</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </default>
  </users>
</yandex>
"""


class RealClickHouse(Server):
    """One ClickHouse server on a loopback address of its own, for the user `default` without a password.

    Servers with the same `zookeeper` and `shard` are replicas of each other, as far as their tables are replicated.
    """

    name = "clickhouse-server"

    def __init__(
        self,
        address: str = "127.0.0.2",
        shard: str = "0",
        replica: str = "0",
        *,
        zookeeper: RealZooKeeper | None = None,
    ) -> None:
        super().__init__()
        self.address = address
        self.shard = shard
        self.replica = replica
        self.zookeeper = zookeeper
        self.http_port, self.tcp_port, self._interserver_port = free_ports(address, 3)

    @property
    def data(self) -> str:
        """The data folder, where a sidecar finds parts and keeps its local archives."""
        return str(self.folder / "data")

    def command(self) -> Sequence[str]:
        """Write the configuration and return the command that uses it."""
        config = self.folder / "config.xml"
        config.write_text(
            _CONFIG.format(
                address=self.address,
                http_port=self.http_port,
                tcp_port=self.tcp_port,
                interserver_port=self._interserver_port,
                data=self.data,
                shard=self.shard,
                replica=self.replica,
                zookeeper=self._zookeeper(),
            )
        )
        config.with_name("users.xml").write_text(_USERS)
        return [which(self.name) or self.name, f"--config-file={config}"]

    def _zookeeper(self) -> str:
        if self.zookeeper is None:
            return ""
        host, port = self.zookeeper.address, self.zookeeper.port
        return f"<zookeeper><node><host>{host}</host><port>{port}</port></node></zookeeper>"

    async def is_ready(self) -> bool:
        """Tell whether the HTTP interface answers."""
        async with self._client() as client:
            return await answers(client, "/ping")

    async def query(self, sql: str) -> str:
        """Run one statement and return the rows as tab-separated text; raises RuntimeError with the server's words."""
        async with self._client() as client:
            response = await client.post("/", content=sql)
        if response.is_error:
            raise RuntimeError(response.text.strip())
        return response.text.rstrip("\n")

    async def create_table(self, table: str, partitions: int = 6, engine: str = "MergeTree") -> None:
        """Make a table `database.name` of (d, id, s), and its database where absent."""
        database = table.partition(".")[0]
        await self.query(f"CREATE DATABASE IF NOT EXISTS {database}")
        await self.query(
            f"CREATE TABLE {table} (d Date, id UInt64, s String) "
            f"ENGINE = {engine} PARTITION BY id % {partitions} ORDER BY id"
        )

    async def insert(self, table: str, rows: int) -> None:
        """Add rows of about 32 random bytes each, which do not compress; ids go on after those that are there."""
        first = await self.count(table)
        await self.query(
            f"INSERT INTO {table} SELECT toDate('2026-01-01'), number + {first}, "
            "concat(toString(rand(0)), toString(rand(1)), toString(rand(2))) "
            f"FROM system.numbers LIMIT {rows}"
        )

    async def count(self, table: str) -> int:
        """Return the number of rows."""
        return int(await self.query(f"SELECT count() FROM {table}"))

    async def drop(self, table: str) -> None:
        """Drop a table that exists."""
        await self.query(f"DROP TABLE {table}")

    def _client(self) -> httpx.AsyncClient:
        return http(f"http://{self.address}:{self.http_port}")
