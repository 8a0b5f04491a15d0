"""The recorded sessions with clickhouse-backup, in their order: what was sent, and what was done beside it.

A word is a recording, `METHOD path [body]` a request that was not recorded, a pair such a request whose operation a
later recording asks for, a function something done to the server. What a version has no recording of is left out.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from urllib.parse import quote

import anyio

from chbackup.testing import Archive, FakeSidecar

Act = Callable[[FakeSidecar], Awaitable[None]]
Step = str | tuple[str, str] | Act

QUERY_E = "CREATE TABLE demo.e ( id UInt64) ENGINE = MergeTree ORDER BY id SETTINGS index_granularity = 8192"
QUERY_T = (
    "CREATE TABLE demo.t ( d Date,  id UInt64,  s String) ENGINE = MergeTree PARTITION BY id % 6 ORDER BY id "
    "SETTINGS index_granularity = 8192"
)
TEMPLATE = "w-{type}-{time:20060102150405}"
WATCH = quote(f'watch --watch-interval="1h" --full-interval="24h" --watch-backup-name-template="{TEMPLATE}"')


async def tables(fake: FakeSidecar) -> None:
    fake.tables.add_table("demo.e", 1, query=QUERY_E)
    fake.tables.add_table("demo.t", 600, partitions=6, query=QUERY_T)


async def insert(fake: FakeSidecar) -> None:
    fake.tables.insert("demo.e", 1)


async def one_second(fake: FakeSidecar) -> None:
    await anyio.sleep(1)


async def idle(fake: FakeSidecar) -> None:
    await anyio.sleep(60)


async def slow(fake: FakeSidecar) -> None:
    fake.duration.upload = 5


async def quick(fake: FakeSidecar) -> None:
    fake.duration.upload = 0.5


async def broken_archives(fake: FakeSidecar) -> None:
    fake.add_remote("garbage").spoil_metadata()
    await anyio.sleep(1)
    fake.add_remote("null").spoil_metadata("null")
    fake.local["lempty"] = Archive("lempty", fake.now)
    fake.local["lgarb"] = Archive("lgarb", fake.now + timedelta(seconds=1), damage="garbage")


async def restart_process(fake: FakeSidecar) -> None:
    fake.kill_process()
    fake.start_process()
    await anyio.sleep(0.1)


async def store_down(fake: FakeSidecar) -> None:
    fake.faults.s3 = "refused"


async def broken_config(fake: FakeSidecar) -> None:
    fake.faults.broken_config = "yaml: line 1: did not find expected ',' or ']'"


FRESH: list[Step] = ["version", "root", "health", "status_empty_history", "kill_empty_history", "list_empty", tables]

BACKUPS: list[Step] = [
    *("tables_plain", "tables_list_parts", "tables_partitions", slow, "create_remote_full_ack", one_second, one_second),
    *("status_operationid_in_progress", "metrics_in_progress", "list_remote_during_upload"),
    *("busy_create_423", "busy_actions_500", idle, quick, "status_operationid_success", "status_unknown_operationid"),
    *(insert, "create_remote_incremental_ack", idle, insert, "create_ack", idle),
    *("POST /backup/upload/incr-2?diff-from-remote=incr-1", idle, insert),
    *("POST /backup/create?name=part-1&table=demo.e", idle, "upload_diff_from_ack", idle),
    *("create_unnamed_ack", idle, "create_sanitised_name_ack", idle),
    *(("status_error_empty_name", "POST /backup/create?name="), idle),
    *(("status_error_no_tables", "POST /backup/create?name=nt&table=demo.nosuch"), idle),
    *("status_error_empty_name", "status_error_no_tables"),
    *("GET /backup/list", "list_local", "list_remote_chain", "GET /backup/list/nowhere", "tables_remote_backup"),
]

RESTORES: list[Step] = [
    *("POST /backup/delete/local/full-1?force=1", "POST /backup/delete/local/incr-1?force=1"),
    *("download_ack", idle, "POST /backup/download/full-1", idle, "restore_ack", idle, "restore_remote_ack", idle),
    *("POST /backup/restore_remote/nosuch", idle),
    *(("status_error_bad_base", "POST /backup/create_remote?name=incr-9&diff-from-remote=nosuch"), idle),
    *("POST /backup/upload/nosuch", idle, "status_error_bad_base"),
    *("callback_bad_url_400", "restore_bad_mapping_500", "actions_last_overflow_500"),
]

HOUSEKEEPING: list[Step] = [
    *(slow, ("status_operationid_cancel", "POST /backup/create_remote?name=killme"), one_second, one_second),
    *("kill_ack", "status_operationid_cancel"),
    *("kill_not_found_500", broken_archives, "list_remote_broken", "list_local_broken"),
    *("clean_remote_broken", "clean_local_broken", "clean", "delete_local"),
    *("POST /backup/delete/local/nosuch", "delete_remote_missing_500", "POST /backup/delete/nowhere/x"),
    *("delete_remote_base", "delete_remote_base_guard_500", "delete_local_base_guard_500"),
    *("rebase_404", "rebase_ack", idle, ("status_error_rebase_full", "POST /backup/rebase/full-1"), idle),
    *("status_error_rebase_full", ("status_error_rebalance", "POST /backup/rebalance/full-1?dry-run"), idle),
    *("status_error_rebalance", "delete_remote_base_forced"),
    *("actions_post_create_ack", idle, "actions_post_delete"),
    *('POST /backup/actions {"command":"delete local act-1"}', 'POST /backup/actions {"command":"list remote"}', idle),
    *('POST /backup/actions {"command":"clean"}', 'POST /backup/actions {"command":"clean_local_broken"}'),
    *("actions_post_second_line_bad_400", "actions_post_pretty_json_400", "error_404", "error_405"),
    *("redirect_301_double_slash", "auth_missing_401", "actions_all", "metrics_end"),
]

ENDINGS: list[Step] = [
    *(quick, "POST /backup/create?name=cb-1&callback=http://receiver/cb%3Frun%3D1", idle, "callback_delivery_success"),
    *(slow, "POST /backup/create_remote?name=cb-2&callback=http://receiver/cb%3Frun%3D1", one_second, one_second),
    *("POST /backup/kill", one_second, "callback_delivery_killed"),
    *(quick, "watch_ack", idle, f"POST /backup/kill?command={WATCH}", idle),
    *(slow, "POST /backup/create_remote?name=rs", one_second, one_second, "restart_ack", one_second),
    *("actions_after_restart_call", restart_process, "actions_after_process_restart", idle, "actions_after_resume"),
]

OUTAGE: list[Step] = [
    *(tables, store_down, "list_remote_s3_down", "delete_remote_s3_down_500"),
    *(("status_error_s3_down", "POST /backup/create_remote?name=down-1"), idle, "status_error_s3_down"),
    *(broken_config, "list_broken_config_500"),
]

OLD: list[Step] = [
    *("version", "root", "status_empty_history", tables, "create_ack", idle, "upload_ack", idle, "actions"),
    *("create_remote_404", slow, "actions_post_create_remote_ack"),
    *("create_remote_ack", one_second, "busy_actions_500", idle, quick, "list_all", "list_remote"),
    *("status_unknown_operationid", "restore_ack", idle, "delete_local", "delete_local_missing_500"),
    *("clean", "clean_local_broken", "clean_local_broken_404", "auth_wrong_401", "error_404"),
]

SESSIONS: dict[str, list[list[Step]]] = {
    "2.5.29": [OLD],
    "2.6.39": [OLD],
    "2.7.4": [FRESH + BACKUPS + RESTORES + HOUSEKEEPING + ENDINGS, OUTAGE],
    "2.8.1-dev": [FRESH + BACKUPS + RESTORES + HOUSEKEEPING + ENDINGS, OUTAGE],
}
