"""Restoring archives. The server destroys what is there: read the docstrings."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ._client_starts import ClientStarts
from ._params import flags, mappings, selection, text
from .errors import InvalidInput
from .operation import Operation
from .versions import Feature

if TYPE_CHECKING:
    from .callbacks import Callback


class ClientRestores(ClientStarts):
    """The endpoints that restore.

    Three of the server's options are never sent. `rm` and `drop` change nothing: existing tables are dropped without
    them. `rebind_replica_path_if_exists` moves a replicated table to another path in ZooKeeper, away from its
    replicas. What an older server would ignore, and so replace more than was asked, needs a server whose version
    tells that it does not.
    """

    async def restore(
        self,
        name: str,
        *,
        tables: str | None = None,
        partitions: Sequence[str] = (),
        schema: bool = False,
        data: bool = False,
        database_mapping: Mapping[str, str] | None = None,
        table_mapping: Mapping[str, str] | None = None,
        ignore_dependencies: bool = False,
        rbac: bool = False,
        rbac_only: bool = False,
        configs: bool = False,
        configs_only: bool = False,
        named_collections: bool = False,
        named_collections_only: bool = False,
        skip_projections: str | None = None,
        skip_empty_tables: bool = False,
        restore_schema_as_attach: bool = False,
        replicated_copy_to_detached: bool = False,
        resume: bool = False,
        callback: "str | Callback | None" = None,
    ) -> Operation:
        """Start a restore from the local archive. DROPS the tables that it names, and makes them anew.

        `schema` leaves them empty. `data` alone adds the archive's rows to those that are there, again at each
        repetition; with `partitions` it replaces just these. Tables whose engine keeps no parts (Log) come back empty.
        `rbac`, `configs` and their `_only` make the server run its restart command for ClickHouse afterwards.

        Raises InvalidInput, also for `partitions` without `data`, which would empty the rest of each table, and for
        those with `schema`; Busy, Unsupported.
        """
        if partitions and (schema or not data):
            raise InvalidInput(
                "partitions without data=True, or with schema=True, would drop all other partitions of the tables"
            )
        params = selection(tables, partitions) + flags(schema=schema, data=data, resume=resume)
        params += mappings(database_mapping, table_mapping) + text("skip-projections", skip_projections)
        params += flags(rbac=rbac, rbac_only=rbac_only, configs=configs, configs_only=configs_only)
        params += flags(named_collections=named_collections, named_collections_only=named_collections_only)
        params += flags(ignore_dependencies=ignore_dependencies, skip_empty_tables=skip_empty_tables)
        params += flags(restore_schema_as_attach=restore_schema_as_attach)
        params += flags(replicated_copy_to_detached=replicated_copy_to_detached)
        await self._require(Feature.REPLACED_PARTITIONS, partitions, certain=True)
        await self._require(Feature.RESUME, resume)
        await self._require_for_restore(
            {
                Feature.TABLE_MAPPING: bool(table_mapping),
                Feature.ONLY_RBAC_OR_CONFIGS: rbac_only or configs_only,
                Feature.NAMED_COLLECTIONS: named_collections or named_collections_only,
                Feature.SKIP_PROJECTIONS: bool(skip_projections),
                Feature.SKIP_EMPTY_TABLES: skip_empty_tables,
                Feature.SCHEMA_AS_ATTACH: restore_schema_as_attach,
                Feature.COPY_TO_DETACHED: replicated_copy_to_detached,
            }
        )
        return await self._start("restore", name, params, callback)

    async def restore_remote(
        self,
        name: str,
        *,
        tables: str | None = None,
        schema: bool = False,
        database_mapping: Mapping[str, str] | None = None,
        table_mapping: Mapping[str, str] | None = None,
        ignore_dependencies: bool = False,
        rbac: bool = False,
        rbac_only: bool = False,
        configs: bool = False,
        configs_only: bool = False,
        named_collections: bool = False,
        named_collections_only: bool = False,
        skip_projections: str | None = None,
        skip_empty_tables: bool = False,
        restore_schema_as_attach: bool = False,
        replicated_copy_to_detached: bool = False,
        hardlink_exists_files: bool = False,
        resume: bool = False,
        callback: "str | Callback | None" = None,
    ) -> Operation:
        """Start a download and a restore. DROPS the tables of the archive, and makes them anew.

        A local archive of this name is taken instead of the remote one, even a stale or a partial one; `tables`
        and `schema` leave such a partial one behind. There are no `partitions` and no `data`: download, then restore.
        The options of `restore` mean the same here.

        Raises InvalidInput, Busy, Unsupported.
        """
        params = selection(tables) + flags(schema=schema, resume=resume)
        params += mappings(database_mapping, table_mapping) + text("skip-projections", skip_projections)
        params += flags(rbac=rbac, rbac_only=rbac_only, configs=configs, configs_only=configs_only)
        params += flags(named_collections=named_collections, named_collections_only=named_collections_only)
        params += flags(ignore_dependencies=ignore_dependencies, skip_empty_tables=skip_empty_tables)
        params += flags(restore_schema_as_attach=restore_schema_as_attach)
        params += flags(replicated_copy_to_detached=replicated_copy_to_detached)
        params += flags(hardlink_exists_files=hardlink_exists_files)
        await self._require_for_restore(
            {
                Feature.NAMED_COLLECTIONS: named_collections or named_collections_only,
                Feature.SKIP_EMPTY_TABLES: skip_empty_tables,
            }
        )
        return await self._start("restore_remote", name, params, callback)

    async def _require_for_restore(self, needed: Mapping[Feature, bool]) -> None:
        for feature, wanted in needed.items():
            await self._require(feature, wanted, certain=True)
