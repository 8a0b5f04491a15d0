"""Making and moving archives."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._client_starts import ClientStarts
from ._params import base, flags, selection, text
from .operation import Operation
from .versions import Feature

if TYPE_CHECKING:
    from .callbacks import Callback


class ClientBackups(ClientStarts):
    """The endpoints that make archives and move them.

    `tables` is the server's pattern, several separated by commas. `partitions` are ids or values, with or without
    `database.table:` in front. `callback` is called once at the end, as a hint and never as a proof.
    """

    async def create(
        self,
        name: str,
        *,
        tables: str | None = None,
        partitions: Sequence[str] = (),
        diff_from_remote: str | None = None,
        schema: bool = False,
        rbac: bool = False,
        rbac_only: bool = False,
        configs: bool = False,
        configs_only: bool = False,
        named_collections: bool = False,
        named_collections_only: bool = False,
        skip_check_parts_columns: bool = False,
        skip_projections: str | None = None,
        resume: bool = False,
        callback: "str | Callback | None" = None,
    ) -> Operation:
        """Start a local archive. One that exists under this name is overwritten, or deleted.

        Raises InvalidInput, Busy, Unsupported.
        """
        params = selection(tables, partitions) + base("diff-from-remote", diff_from_remote)
        params += flags(schema=schema, rbac=rbac, rbac_only=rbac_only, configs=configs, configs_only=configs_only)
        params += flags(named_collections=named_collections, named_collections_only=named_collections_only)
        params += flags(skip_check_parts_columns=skip_check_parts_columns, resume=resume)
        params += text("skip-projections", skip_projections)
        await self._require(Feature.INCREMENTAL_CREATE, diff_from_remote)
        await self._require(Feature.ONLY_RBAC_OR_CONFIGS, rbac_only, configs_only)
        await self._require(Feature.RESUME, resume)
        await self._require(Feature.SKIP_PROJECTIONS, skip_projections)
        await self._require(Feature.NAMED_COLLECTIONS, named_collections, named_collections_only)
        return await self._start("create", name, params, callback)

    async def create_remote(
        self,
        name: str,
        *,
        tables: str | None = None,
        partitions: Sequence[str] = (),
        diff_from: str | None = None,
        diff_from_remote: str | None = None,
        delete_source: bool = False,
        schema: bool = False,
        rbac: bool = False,
        rbac_only: bool = False,
        configs: bool = False,
        configs_only: bool = False,
        named_collections: bool = False,
        named_collections_only: bool = False,
        skip_check_parts_columns: bool = False,
        skip_projections: str | None = None,
        resume: bool = False,
        callback: "str | Callback | None" = None,
    ) -> Operation:
        """Start a local archive and its upload. Never use a name twice: what is stored then is neither of both.

        `diff_from` and `diff_from_remote` name a local or a remote base; the server takes a broken one as well.

        Raises InvalidInput, Busy, Unsupported.
        """
        params = selection(tables, partitions) + base("diff-from", diff_from)
        params += base("diff-from-remote", diff_from_remote) + flags(delete_source=delete_source)
        params += flags(schema=schema, rbac=rbac, rbac_only=rbac_only, configs=configs, configs_only=configs_only)
        params += flags(named_collections=named_collections, named_collections_only=named_collections_only)
        params += flags(skip_check_parts_columns=skip_check_parts_columns, resume=resume)
        params += text("skip-projections", skip_projections)
        await self._require(Feature.NAMED_COLLECTIONS, named_collections, named_collections_only)
        return await self._start("create_remote", name, params, callback)

    async def upload(
        self,
        name: str,
        *,
        tables: str | None = None,
        partitions: Sequence[str] = (),
        diff_from: str | None = None,
        diff_from_remote: str | None = None,
        delete_source: bool = False,
        schema: bool = False,
        rbac_only: bool = False,
        configs_only: bool = False,
        named_collections_only: bool = False,
        skip_projections: str | None = None,
        resume: bool = False,
        callback: "str | Callback | None" = None,
    ) -> Operation:
        """Start the upload of a local archive, or go on with one that was interrupted.

        Raises InvalidInput, Busy, Unsupported.
        """
        params = selection(tables, partitions) + base("diff-from", diff_from)
        params += base("diff-from-remote", diff_from_remote) + flags(delete_source=delete_source, schema=schema)
        params += flags(rbac_only=rbac_only, configs_only=configs_only, resume=resume)
        params += flags(named_collections_only=named_collections_only) + text("skip-projections", skip_projections)
        await self._require(Feature.DELETE_SOURCE, delete_source)
        await self._require(Feature.ONLY_RBAC_OR_CONFIGS, rbac_only, configs_only)
        await self._require(Feature.SKIP_PROJECTIONS, skip_projections)
        await self._require(Feature.NAMED_COLLECTIONS, named_collections_only)
        return await self._start("upload", name, params, callback)

    async def download(
        self,
        name: str,
        *,
        tables: str | None = None,
        partitions: Sequence[str] = (),
        schema: bool = False,
        rbac_only: bool = False,
        configs_only: bool = False,
        named_collections_only: bool = False,
        hardlink_exists_files: bool = False,
        resume: bool = False,
        callback: "str | Callback | None" = None,
    ) -> Operation:
        """Start a download. With any selection it leaves a partial local archive that lists as a good one.

        `hardlink_exists_files` takes parts from local archives instead of the store.

        Raises InvalidInput, Busy, Unsupported.
        """
        params = selection(tables, partitions) + flags(schema=schema, rbac_only=rbac_only, configs_only=configs_only)
        params += flags(named_collections_only=named_collections_only, resume=resume)
        params += flags(hardlink_exists_files=hardlink_exists_files)
        await self._require(Feature.ONLY_RBAC_OR_CONFIGS, rbac_only, configs_only)
        await self._require(Feature.HARDLINKS, hardlink_exists_files)
        await self._require(Feature.NAMED_COLLECTIONS, named_collections_only)
        return await self._start("download", name, params, callback)

    async def rebase(self, name: str, *, callback: "str | Callback | None" = None) -> Operation:
        """Start to make a full archive of a remote increment, in place: its base may be deleted then.

        Raises InvalidInput, Busy, Unsupported (server < 2.8.0).
        """
        return await self._start("rebase", name, [], callback)

    async def rebalance(
        self,
        name: str,
        *,
        tables: str | None = None,
        dry_run: bool = False,
        callback: "str | Callback | None" = None,
    ) -> Operation:
        """Start to move the parts of a local archive among the server's disks, as its storage policies have it.

        `dry_run` only logs, on the server, what it would do.

        Raises InvalidInput, Busy, Unsupported (server < 2.8.0).
        """
        return await self._start("rebalance", name, selection(tables) + flags(dry_run=dry_run), callback)
