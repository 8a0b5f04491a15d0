"""Pod mode: a strategy's template as one Job per shard, started once, and ended with the run."""

import base64
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.checks import STRATEGY, assert_one_sentence, assert_refused, gone, patched, reason_of, without
from tests.cozydrivers.fate import Fate, FatedNetwork, fated_kube
from tests.cozydrivers.kubelet import Kubelet
from tests.cozydrivers.stage import APP, TENANT, Stage, condition, recorded
from tests.whole import whole

from chbackup import parse_archive_name
from cozydrivers import ClickHouseDriver, Manager
from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.api.batch import Job
from cozydrivers.api.core import Pod, Secret
from cozydrivers.api.events import Event
from cozydrivers.api.strategy import Altinity
from cozydrivers.controllers.ledger import CHECKPOINT
from cozydrivers.drivers.base import BackupRun
from cozydrivers.drivers.clickhouse.pod_decide import Create, End, Finish, Record, Sight, Start, decide, succeeded
from cozydrivers.drivers.clickhouse.pod_state import STARTED, Part, PodState, job_name
from cozydrivers.drivers.owned import RUN, is_own
from cozydrivers.drivers.pod_log import redacted, tail, whole_lines
from cozydrivers.testing.operators import PASSWORD, USERNAME

pytestmark = pytest.mark.anyio

POD = {"cozydrivers.cozystack.io/execution": "pod"}
AUTH = f"clickhouse-{APP}-backup-api-auth"
DOCS = Path(__file__).parents[2] / "docs/pod-mode.md"
FULL = "run {{ .Mode }} {{ .Archive }} on {{ .Host }}"


def strategy_of(script: str, **container: Any) -> dict[str, Any]:
    """A strategy in pod mode that runs a script."""
    reference = {"secretKeyRef": {"name": "clickhouse-{{ .Release.Name }}-backup-api-auth", "key": "password"}}
    client = {
        "name": "client",
        "image": "alpine:3.19",
        "env": [{"name": "API_PASSWORD", "valueFrom": reference}],
        "args": [script],
        **container,
    }
    metadata = {"name": STRATEGY, "annotations": {**POD, "cozydrivers.cozystack.io/timeout": "1h"}}
    return {"metadata": metadata, "spec": {"template": {"spec": {"restartPolicy": "Always", "containers": [client]}}}}


class Staged:
    """A stage in pod mode, and what runs its Jobs."""

    def __init__(self, script: str = FULL, *, shards: int = 2, strategy: Any = None, **container: Any) -> None:
        self.stage = Stage(shards=shards)
        self.kubelet = Kubelet(self.stage)
        self.stage.seed[0] = strategy or strategy_of(script, **container)

    @asynccontextmanager
    async def working(self) -> Any:
        """With a controller, and Jobs that run."""
        await self.stage.set_up()
        async with self.stage.managed(), self.kubelet.running():
            yield self.stage, self.kubelet

    @asynccontextmanager
    async def backed_up(self) -> Any:
        """With a Backup `nightly`."""
        async with self.working():
            job = await self.stage.end_of(await self.stage.backup("nightly"))
            assert job.status.phase == "Succeeded", job.status.message
            yield self.stage, self.kubelet


async def jobs(stage: Stage) -> list[Job]:
    """All Jobs, by name."""
    return sorted((await stage.kube.list(Job, TENANT)).items, key=lambda job: job.metadata.name)


def shard_of(archive: str) -> int:
    """The shard in an archive's name."""
    name = parse_archive_name(archive)
    assert name is not None
    return name.shard


def script_of(job: Job) -> str:
    """What its container is given."""
    return str(job.raw["spec"]["template"]["spec"]["containers"][0]["args"][0])


async def events(stage: Stage) -> dict[str, str]:
    """The messages of all events, by reason."""
    return {event.reason: event.note for event in (await stage.kube.list(Event, TENANT)).items}


# A backup


async def test_a_backup_runs_the_template_once_for_every_shard_and_says_that_it_proves_nothing():
    async with Staged().backed_up() as (stage, kubelet):
        job, made, ran = await stage.backup_job("nightly"), await stage.made("nightly"), await jobs(stage)
    assert [shard_of(name) for name in sorted(recorded(made))] == [0, 1]
    assert [script_of(one) for one in ran] == [
        f"run backup {made.spec.driver_metadata[f'clickhouse.backup/archive.{shard}']} "
        f"on chi-clickhouse-{APP}-clickhouse-{shard}-0.{TENANT}.svc"
        for shard in (0, 1)
    ]
    assert kubelet.ran == [one.metadata.name for one in ran]
    for thing in (job, made):
        assert (condition(thing, "Verified").status, condition(thing, "Verified").reason) == ("False", "PodEvidence")
    assert made.spec.driver_metadata["clickhouse.backup/execution"] == "pod"
    assert made.status.artifact is not None
    assert made.status.artifact.uri.startswith(f"clickhouse-backup://{TENANT}/{APP}/cozy-")
    assert made.spec.taken_at in {one.status.start_time for one in ran}
    assert stage.touched() == []


async def test_a_job_is_owned_labelled_limited_and_tried_once_whatever_the_template_says():
    async with Staged().backed_up() as (stage, _):
        job, first = await stage.backup_job("nightly"), (await jobs(stage))[0]
        pod = await stage.kube.get(Pod, f"{first.metadata.name}-x", TENANT)
    owner = {"apiVersion": "backups.cozystack.io/v1alpha1", "kind": "BackupJob", "name": "nightly", "controller": True}
    assert first.raw["metadata"]["ownerReferences"] == [{**owner, "uid": job.metadata.uid}]
    spec = first.raw["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (0, 3600, 86400)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    for thing in (first, pod):
        assert thing.metadata.labels["backups.cozystack.io/owned-by.BackupJobName"] == "nightly"
        assert thing.metadata.labels["cozydrivers.cozystack.io/run"] == job.metadata.uid


async def test_a_name_of_253_characters_gets_a_job_with_a_label_s_length():
    staged = Staged()
    async with staged.working() as (stage, _):
        job = await stage.end_of(await stage.backup("nightly.of-" + "x" * 242))
        ran = await jobs(stage)
    assert job.status.phase == "Succeeded", job.status.message
    assert all(re.fullmatch(r"nightly-of-x{33,}-[0-9a-f]{12}-s[01]", one.metadata.name) for one in ran)
    assert all(len(one.metadata.name) <= 63 for one in ran)
    assert "backups.cozystack.io/owned-by.BackupJobName" not in ran[0].metadata.labels


async def test_the_end_of_a_job_wakes_its_backup():
    async with Staged().working() as (stage, kubelet):
        kubelet.seconds = 3000
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(105)
        kubelet.seconds = 0
        before = anyio.current_time()
        await stage.end_of(job)
        assert anyio.current_time() - before < 2


async def test_the_documented_strategy_backs_up_and_restores():
    texts = re.findall(r"```yaml\n(apiVersion.*?)```", DOCS.read_text(), re.DOTALL)
    strategy = yaml.safe_load(texts[0])
    strategy["metadata"]["name"] = STRATEGY
    async with Staged(strategy=strategy).backed_up() as (stage, _):
        job = await stage.end_of(await stage.restore("undo", "nightly"))
        archives = sorted(recorded(await stage.made("nightly")))
        scripts = [script_of(one) for one in await jobs(stage)]
    assert job.status.phase == "Succeeded", job.status.message
    for script, archive in zip(scripts, archives * 2, strict=True):
        assert f"base=http://chi-clickhouse-{APP}-clickhouse-{shard_of(archive)}-0.{TENANT}" in script
        assert (f"create_remote?name={archive}" in script) != (f"restore_remote/{archive}" in script)


# A restore


async def test_a_restore_is_given_the_archives_that_its_backup_records():
    async with Staged().working() as (stage, _):
        for name in ("older", "newer"):
            await stage.end_of(await stage.backup(name))
        job = await stage.end_of(await stage.restore("undo", "older"))
        older = await stage.made("older")
        scripts = [script_of(one) for one in await jobs(stage) if one.metadata.name.startswith("undo")]
    assert job.status.phase == "Succeeded", job.status.message
    assert condition(job, "Verified").reason == "PodEvidence"
    for shard, script in enumerate(scripts):
        assert script.startswith(f"run restore {older.spec.driver_metadata[f'clickhouse.backup/archive.{shard}']} on")
    assert len(scripts) == 2


async def assert_restore_refused(stage: Stage, kubelet: Kubelet, *words: str, **spec: Any) -> None:
    kubelet.ran.clear()
    before = [job.metadata.name for job in await jobs(stage)]
    job = await stage.end_of(await stage.restore("undo", "nightly", **spec))
    assert_refused(stage, job, *words)
    assert [job.metadata.name for job in await jobs(stage)] == before
    assert kubelet.ran == []


async def test_a_restore_whose_template_does_not_use_its_archive_is_refused():
    async with Staged().backed_up() as (stage, kubelet):
        script = "{{/* .Archive */}} newest of clickhouse-{{ .Release.Name }} on {{ .Host }}"
        await patched(Altinity, STRATEGY, strategy_of(script))(stage)
        await assert_restore_refused(stage, kubelet, "spec.template", ".Archive")


async def test_a_backup_that_records_no_archive_can_t_be_restored():
    async with Staged("save all of {{ .Host }}").backed_up() as (stage, kubelet):
        assert recorded(await stage.made("nightly")) == set()
        await patched(Altinity, STRATEGY, strategy_of(FULL))(stage)
        await assert_restore_refused(stage, kubelet, "records no archive", ".Archive")


@pytest.mark.parametrize("options", [{"overwrite": False}, {"tables": "shop.*"}])
async def test_a_restore_takes_no_options(options):
    async with Staged().backed_up() as (stage, kubelet):
        await assert_restore_refused(stage, kubelet, f"spec.options.{min(options)}", options=options)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("schema", "2", "schema"),
        ("archive.1", None, "archive.1"),
        ("archive.1", "clickhouse-other-20260101", "not an archive of ClickHouse"),
        ("archive.2", "x", "beyond"),
        ("shards", "many", "not a number"),
    ],
)
async def test_a_record_that_was_changed_is_refused(key, value, words):
    async with Staged().backed_up() as (stage, kubelet):
        change = {"spec": {"driverMetadata": {f"clickhouse.backup/{key}": value}}}
        await patched(Backup, "nightly", change, TENANT)(stage)
        await assert_restore_refused(stage, kubelet, words)


async def test_a_backup_of_pods_is_not_restored_by_sidecars():
    async with Staged().backed_up() as (stage, kubelet):
        execution = {"cozydrivers.cozystack.io/execution": "sidecar"}
        await patched(Altinity, STRATEGY, {"metadata": {"annotations": execution}})(stage)
        await patched(Altinity, STRATEGY, {"spec": {"template": {"spec": {"containers": []}}}})(stage)
        await assert_restore_refused(stage, kubelet, "'pod'", "'sidecar'", "clickhouse.backup/execution")


async def test_a_backup_of_sidecars_is_not_restored_by_pods():
    staged = Staged()
    staged.stage.seed[0]["metadata"]["annotations"] = {}
    staged.stage.seed[0]["spec"]["template"]["spec"]["containers"][0]["args"] = []
    async with staged.backed_up() as (stage, kubelet):
        await patched(Altinity, STRATEGY, strategy_of(FULL))(stage)
        for sidecar in stage.app.sidecars.values():
            sidecar.requests.clear()
        await assert_restore_refused(stage, kubelet, "'sidecar'", "'pod'", "clickhouse.backup/execution")


# What is refused


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (strategy_of("save {{ .Archive }}"), ("spec.template", ".Host", ".Shard")),
        (strategy_of("save {{ .Archve }} on {{ .Host }}"), (".Archve", "args[0]")),
        ({**strategy_of(FULL), "spec": {"template": {"spec": {"containers": []}}}}, ("spec.template.spec.containers",)),
        ({**strategy_of(FULL), "spec": {"template": {}}}, ("spec.template.spec.containers",)),
    ],
    ids=["the same for each shard", "does not render", "no containers", "no spec"],
)
async def test_a_template_that_can_t_do_it_is_refused_before_anything_is_created(strategy, words):
    async with Staged(strategy=strategy).working() as (stage, _):
        job = await stage.end_of(await stage.backup("nightly"))
        assert_refused(stage, job, *words)
        assert await jobs(stage) == []


async def test_one_shard_needs_neither_host_nor_shard():
    async with Staged("save {{ .Archive }}", shards=1).backed_up() as (stage, _):
        assert len(await jobs(stage)) == 1


async def test_a_template_that_the_api_server_refuses_is_refused_in_its_words():
    async with Staged().working() as (stage, _):
        stage.cluster.faults.fail(1, status=422, method="POST", path="/jobs")
        job = await stage.end_of(await stage.backup("nightly"))
    assert reason_of(job) == ("Failed", "Refused")
    assert_one_sentence(job.status.message, "spec.template", "planned: 422")


# Identity


async def test_a_job_of_that_name_which_is_not_ours_is_refused_and_left_alone():
    async with Staged().working() as (stage, kubelet):
        stage.cluster.faults.fail(3, status=500, method="POST", path="/jobs")
        job = await stage.backup("nightly")
        own = {"metadata": {"name": f"{job_name(run_of(uid=job.metadata.uid), 1)}"}}
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}}
        stage.cluster.faults.clear()
        await stage.kube.create(Job, {**own, "spec": {"suspend": True, "template": template}}, TENANT)
        job = await stage.end_of(job)
        left = await jobs(stage)
    assert reason_of(job) == ("Failed", "Refused")
    assert_one_sentence(job.status.message, own["metadata"]["name"], "not created for this job")
    assert [one.metadata.name for one in left] == [own["metadata"]["name"]]
    assert kubelet.ran == []


async def test_a_finished_job_with_the_name_of_the_reference_counts_for_nothing():
    async with Staged().working() as (stage, kubelet):
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}}
        body = {"metadata": {"name": "nightly-backup"}, "spec": {"template": template, "suspend": True}}
        await stage.kube.create(Job, body, TENANT)
        await stage.end_of(await stage.backup("nightly"))
        assert len(kubelet.ran) == 2


async def test_a_backup_created_anew_under_its_name_runs_anew():
    async with Staged().backed_up() as (stage, kubelet):
        await without(BackupJob, "nightly", TENANT)(stage)
        second = await stage.end_of(await stage.backup("nightly"))
    assert second.status.phase == "Succeeded"
    assert len(set(kubelet.ran)) == len(kubelet.ran) == 4


# How it ends


async def test_a_failed_job_fails_the_backup_with_its_last_lines_and_ends_the_others():
    staged = Staged()
    staged.kubelet.fails = {"-s1"}
    staged.kubelet.log = (
        "first\n" * 20 + "curl: (22) The requested URL returned error: 423\n\x1b[31mgiving up\x1b[0m.\n"
    )
    async with staged.working() as (stage, kubelet):
        job = await stage.end_of(await stage.backup("nightly"))
        left = await jobs(stage)
    assert reason_of(job) == ("Failed", "EngineFailed")
    assert_one_sentence(job.status.message, "shard 1", "exit code 1", "error: 423 | giving up")
    assert job.status.message.count("first") == 8
    assert kubelet.asked[0]["container"] == "client"
    assert all(one.finished for one in left)
    assert not await stage.kube.list(Backup, TENANT) or not (await stage.kube.list(Backup, TENANT)).items


async def test_a_job_that_passes_its_deadline_is_timed_out():
    async with Staged().working() as (stage, kubelet):
        kubelet.seconds = 3000
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(1)
        await kubelet.pass_deadline((await jobs(stage))[0])
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "TimedOut")
    assert_one_sentence(job.status.message, "shard 0", "DeadlineExceeded", "its Pod is gone")


async def test_the_strategy_s_timeout_ends_it_too_and_its_jobs():
    async with Staged().working() as (stage, kubelet):
        kubelet.seconds = 9000
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        stage.later = timedelta(minutes=61)
        job = await stage.end_of(job)
        assert await jobs(stage) == []
    assert reason_of(job) == ("Failed", "TimedOut")


async def test_a_pod_that_can_t_start_is_named_until_the_deadline():
    staged = Staged()
    staged.kubelet.waiting = ("ImagePullBackOff", 'Back-off pulling image "alpine:3.19"')
    async with staged.working() as (stage, _):
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(30)
        told = (await stage.backup_job("nightly")).status.message
        stage.later = timedelta(minutes=61)
        job = await stage.end_of(job)
    assert_one_sentence(told, "0 of 2", "shard 0: Pod nightly-", "ImagePullBackOff", "Back-off pulling")
    assert reason_of(job) == ("Failed", "TimedOut")
    assert "ImagePullBackOff" in job.status.message


async def test_a_pod_that_can_t_be_scheduled_is_named():
    async with Staged().working() as (stage, kubelet):
        kubelet.waiting = ("", "")
        await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(5)
        unmet = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
        name = f"{kubelet.ran[0]}-x"
        await stage.kube.merge_patch(Pod, name, {"status": {"conditions": [unmet]}}, TENANT, status=True)
        await anyio.sleep(5)
        assert_one_sentence((await stage.backup_job("nightly")).status.message, "Unschedulable: 0/3 nodes")


async def test_a_job_that_was_started_and_is_gone_is_lost_and_never_made_again():
    async with Staged().working() as (stage, kubelet):
        kubelet.seconds = 300
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(5)
        await without(Job, kubelet.ran[0], TENANT)(stage)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "Lost")
    assert_one_sentence(job.status.message, kubelet.ran[0])
    assert len(kubelet.ran) == 2


async def test_a_job_that_somebody_suspended_is_not_started_again():
    async with Staged().working() as (stage, kubelet):
        kubelet.seconds = 300
        await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(5)
        await patched(Job, kubelet.ran[0], {"spec": {"suspend": True}}, TENANT)(stage)
        await patched(Job, kubelet.ran[0], {"status": {"startTime": None}}, TENANT)(stage)
        await anyio.sleep(60)
        told = await stage.backup_job("nightly")
        assert (await stage.kube.get(Job, kubelet.ran[0], TENANT)).spec.suspend
    assert_one_sentence(told.status.message, "suspended by somebody else")
    assert len(kubelet.ran) == 2


# Giving it up


async def test_a_backup_that_is_deleted_ends_its_jobs_and_says_what_may_be_left():
    staged = Staged()
    staged.kubelet.grace = 20
    async with staged.working() as (stage, kubelet):
        kubelet.seconds = 300
        await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(5)
        before = anyio.current_time()
        await without(BackupJob, "nightly", TENANT)(stage)
        await gone(stage, BackupJob, "nightly")
        assert anyio.current_time() - before >= 20
        assert await jobs(stage) == []
        assert [p for p in (await stage.kube.list(Pod, TENANT)).items if RUN in p.metadata.labels] == []
        told = (await events(stage))["ArchiveNotDeleted"]
    assert_one_sentence(told, "s0of2-r0", "s1of2-r0", "not deleted")
    assert stage.touched() == []


async def test_a_backup_is_cleaned_up_without_its_strategy_and_its_class():
    async with Staged().working() as (stage, kubelet):
        kubelet.seconds = 300
        await stage.stands(await stage.backup("nightly"), "InProgress")
        await anyio.sleep(5)
        await without(Altinity, STRATEGY)(stage)
        await without(BackupJob, "nightly", TENANT)(stage)
        await gone(stage, BackupJob, "nightly")
        assert await jobs(stage) == []
        assert "ArchiveNotDeleted" in await events(stage)


async def test_a_restore_that_is_deleted_says_that_it_is_not_undone():
    async with Staged().backed_up() as (stage, kubelet):
        kubelet.seconds = 300
        job = await stage.stands(await stage.restore("undo", "nightly"), "InProgress")
        await anyio.sleep(5)
        await without(type(job), "undo", TENANT)(stage)
        await gone(stage, type(job), "undo")
        assert [one for one in await jobs(stage) if not one.finished] == []
        assert "RestoreNotUndone" in await events(stage)


async def test_a_run_goes_on_in_the_mode_in_which_it_has_begun():
    async with Staged().working() as (stage, kubelet):
        kubelet.seconds = 30
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        other = strategy_of("true")
        other["metadata"]["annotations"] = {"cozydrivers.cozystack.io/execution": "sidecar"}
        await patched(Altinity, STRATEGY, other)(stage)
        job = await stage.end_of(job)
    assert job.status.phase == "Succeeded", job.status.message
    assert stage.touched() == []


async def test_a_checkpoint_of_other_shards_is_refused():
    async with Staged().working() as (stage, kubelet):
        kubelet.seconds = 300
        job = await stage.stands(await stage.backup("nightly"), "InProgress")
        annotation = (await stage.backup_job("nightly")).metadata.annotations[CHECKPOINT]
        wrong = re.sub(r'"parts": \[\{[^}]*\}, ', '"parts": [', annotation)
        assert wrong != annotation
        await patched(BackupJob, "nightly", {"metadata": {"annotations": {CHECKPOINT: wrong}}}, TENANT)(stage)
        job = await stage.end_of(job)
        assert await jobs(stage) == []
    assert reason_of(job) == ("Failed", "Refused")


# Accidents (I3)


WRITES = range(1, 13)


@pytest.mark.parametrize("dies", [True, False], ids=["the controller dies", "the reply is lost"])
@pytest.mark.parametrize("number", WRITES)
async def test_no_accident_runs_a_shard_twice(number, dies):
    staged = Staged()
    stage, kubelet, fate = staged.stage, staged.kubelet, Fate(number, dies=dies)
    await stage.set_up()
    driver = ClickHouseDriver(connect=FatedNetwork(stage.network, fate).connect, objects=stage.network.objects.open)
    doomed = Manager(fated_kube(stage, fate), drivers=[driver], now=stage.cluster.now)
    async with kubelet.running():
        job = await stage.backup("nightly")
        with anyio.move_on_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(doomed.run)
                await fate.struck.wait()
                if not dies:
                    await stage.end_of(job)
                tasks.cancel_scope.cancel()
        async with stage.managed():
            job = await stage.end_of(job)
        assert fate.where
        assert job.status.phase == "Succeeded", f"{fate.where}: {job.status.message}"
        assert len(kubelet.ran) == len(set(kubelet.ran)) == 2, fate.where
        assert len(await jobs(stage)) == 2
        assert len(recorded(await stage.made("nightly"))) == 2


async def test_what_was_created_and_not_recorded_has_not_run():
    staged = Staged()
    stage, fate = staged.stage, Fate(4)
    await stage.set_up()
    doomed = Manager(fated_kube(stage, fate), drivers=[stage.driver()], now=stage.cluster.now)
    async with staged.kubelet.running(), anyio.create_task_group() as tasks:
        await stage.backup("nightly")
        tasks.start_soon(doomed.run)
        await fate.struck.wait()
        await anyio.sleep(30)
        tasks.cancel_scope.cancel()
    assert fate.where.endswith("/jobs")
    assert await jobs(stage) != []
    assert staged.kubelet.ran == []


async def test_a_template_that_changes_after_it_was_checked_is_checked_again():
    async with Staged().backed_up() as (stage, kubelet):
        kubelet.ran.clear()
    fate = Fate(4)
    doomed = Manager(fated_kube(stage, fate), drivers=[stage.driver()], now=stage.cluster.now)
    async with anyio.create_task_group() as tasks:
        job = await stage.restore("undo", "nightly")
        tasks.start_soon(doomed.run)
        await fate.struck.wait()
        tasks.cancel_scope.cancel()
    assert fate.where.endswith("/restorejobs/undo")
    await patched(Altinity, STRATEGY, strategy_of("the newest on {{ .Host }}"))(stage)
    async with stage.managed(), kubelet.running():
        job = await stage.end_of(job)
    assert_refused(stage, job, "spec.template", ".Archive")
    assert kubelet.ran == []


# What the log says (I9)


def hidden_forms(user: str, password: str) -> list[str]:
    """How a script may come to print it."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return [
        password,
        f"password={password}&x",
        f"Authorization: Basic {pair}",
        f"https://{user}:{password}@host/",
        base64.b64encode(password.encode()).decode(),
        base64.b64encode(f"{password}\n".encode()).decode(),
        base64.urlsafe_b64encode(f"{user}:{password}".encode()).decode().rstrip("="),
        "key=" + pair,
        "/a/" + pair,
        f"{pair[:20]}\n{pair[20:]}",
    ]


@pytest.mark.parametrize("form", hidden_forms(USERNAME, PASSWORD))
async def test_no_value_of_a_secret_that_the_template_names_is_shown(form):
    staged = Staged(envFrom=[{"secretRef": {"name": AUTH}}])
    staged.kubelet.fails = {"-s0"}
    staged.kubelet.log = f"begin\n{form}\n: the end of it"
    async with staged.working() as (stage, _):
        job = await stage.end_of(await stage.backup("nightly"))
        shown = await stage.kube.get(whole(BackupJob), job.metadata.name, TENANT)
        said = f"{shown.raw} {await events(stage)}"
    assert "***" in job.status.message
    assert "the end of it" in job.status.message
    for secret in (PASSWORD, *form.split("\n")):
        assert secret not in said


@pytest.mark.parametrize(
    "where",
    [
        {"volumes": [{"name": "s", "secret": {"secretName": "other"}}]},
        {"volumes": [{"name": "s", "projected": {"sources": [{"secret": {"name": "other"}}]}}]},
        {"initContainers": [{"name": "i", "image": "i", "envFrom": [{"secretRef": {"name": "other"}}]}]},
    ],
    ids=["a volume", "a projected volume", "an init container"],
)
async def test_secrets_are_found_wherever_the_template_names_them(where):
    staged = Staged()
    staged.stage.seed[0]["spec"]["template"]["spec"] |= where
    staged.kubelet.fails = {"-s0"}
    staged.kubelet.log = "the word is\nopen sesame\nand no more"
    async with staged.working() as (stage, _):
        await stage.kube.create(
            Secret, {"metadata": {"name": "other"}, "stringData": {"word": "open sesame\n"}}, TENANT
        )
        job = await stage.end_of(await stage.backup("nightly"))
    assert "the word is | *** | and no more" in job.status.message


async def test_where_a_secret_can_t_be_read_no_line_is_shown():
    staged = Staged()
    staged.kubelet.fails = {"-s0"}
    staged.kubelet.log = "line one"
    async with staged.working() as (stage, kubelet):
        job = await stage.backup("nightly")
        await anyio.sleep(3)
        await without(Secret, AUTH, TENANT)(stage)
        job = await stage.end_of(job)
    assert reason_of(job) == ("Failed", "EngineFailed")
    assert_one_sentence(job.status.message, "log is not shown", AUTH)
    assert "line one" not in job.status.message
    assert kubelet.asked == []


async def test_a_log_that_can_t_be_read_is_said_and_waits_for_nothing():
    staged = Staged()
    staged.kubelet.fails = {"-s0"}
    staged.kubelet.log = None
    async with staged.working() as (stage, _):
        job = await stage.end_of(await stage.backup("nightly"))
    assert reason_of(job) == ("Failed", "EngineFailed")
    assert_one_sentence(job.status.message, "exit code 1", "log can't be read")


secret_bytes = st.text(min_size=1, max_size=40).map(str.encode)
around = st.text("ab+/= \n:", max_size=12)


@settings(deadline=None)
@given(around, secret_bytes, secret_bytes, around, st.sampled_from(["plain", "base64", "pair"]))
def test_a_secret_is_hidden_in_any_surroundings(before, secret, other, after, form):
    shown = {"plain": secret, "base64": base64.b64encode(secret), "pair": base64.b64encode(other + b":" + secret)}[form]
    text = shown.decode()
    if len(text) > 2:
        assert text not in redacted(f"{before}{text}{after}", {secret}).replace("***", "\0")


def test_a_line_that_was_cut_off_is_not_shown():
    assert whole_lines("a\nb") == "a\nb"
    assert whole_lines("a" * 128 * 1024 + "\nsecr") == "a" * 128 * 1024


def test_a_tail_is_short():
    assert tail("x\n" * 100) == " | ".join("x" * 10)
    assert len(tail("y" * 5000)) == 1025


# Decisions


RUN_UID, NOW = "00112233-4455-6677-8899-aabbccddeeff", datetime(2026, 11, 23, tzinfo=UTC)


def run_of(*, uid: str = RUN_UID, name: str = "nightly") -> Any:
    """A run of a BackupJob."""
    nothing: Any = None
    return BackupRun(nothing, nothing, TENANT, "", "", nothing, {}, name, uid, NOW, NOW)


@st.composite
def seen(draw: Any) -> Job | None:
    """A Job, ours or not, wherever it may stand."""
    if draw(st.booleans()) and draw(st.booleans()):
        return None
    kinds = st.sampled_from(["Complete", "Failed", "SuccessCriteriaMet", "FailureTarget", "Suspended", "X"])
    told = [
        {"type": draw(kinds), "status": draw(st.sampled_from(["True", "False"]))}
        for _ in range(draw(st.integers(0, 2)))
    ]
    owner = {
        "uid": draw(st.sampled_from([RUN_UID] * 4 + ["other"])),
        "controller": draw(st.sampled_from([True] * 4 + [False])),
    }
    metadata = {
        "uid": draw(st.sampled_from(["a", "b"])),
        "labels": draw(st.sampled_from([{RUN: RUN_UID}, {RUN: RUN_UID}, {}])),
        "annotations": draw(st.sampled_from([{}, {STARTED: "then"}])),
        "ownerReferences": [owner],
    }
    if not draw(st.integers(0, 5)):
        metadata["deletionTimestamp"] = "2026-11-23T00:00:00Z"
    status = {"conditions": told, "succeeded": draw(st.integers(0, 1)), "ready": draw(st.integers(0, 1))}
    if draw(st.booleans()):
        status["startTime"] = "2026-11-23T00:00:00Z"
    return Job.decode({"metadata": metadata, "spec": {"suspend": draw(st.booleans())}, "status": status})


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(seen(), st.sampled_from(["", "a", "b"])), min_size=1, max_size=3))
def test_whatever_is_seen_only_what_is_recorded_starts_and_only_what_never_was_is_created(shards):
    state = PodState(kind="pod-backup", parts=tuple(Part(job_uid=uid) for _, uid in shards))
    sights = [Sight(shard, f"job-{shard}", job) for shard, (job, _) in enumerate(shards)]
    decision = decide(state, sights, RUN_UID)
    assert decision == decide(state, sights, RUN_UID)
    match decision:
        case Create(missing):
            assert all(shards[shard] == (None, "") for shard in missing)
        case Record(uids):
            assert all(known in ("", uid) for (_, known), uid in zip(shards, uids, strict=True))
            assert all(job and is_own(job, RUN_UID) for job, _ in shards)
        case Start(started):
            assert all(job and job.metadata.uid == known for job, known in shards)
            for job in started:
                assert job.spec.suspend
                assert STARTED not in job.metadata.annotations
                assert is_own(job, RUN_UID)
        case Finish():
            assert all(job and succeeded(job) and is_own(job, RUN_UID) for job, _ in shards)
            assert all(job.metadata.uid == known for job, known in shards if job)


def test_a_complete_job_without_a_pod_that_succeeded_is_no_success():
    owner = {"uid": RUN_UID, "controller": True}
    metadata = {"uid": "a", "labels": {RUN: RUN_UID}, "ownerReferences": [owner]}
    job = Job.decode({"metadata": metadata, "status": {"conditions": [{"type": "Complete", "status": "True"}]}})
    state = PodState(kind="pod-backup", parts=(Part(job_uid="a"),))
    decision = decide(state, [Sight(0, "job-0", job)], RUN_UID)
    assert isinstance(decision, End)
    assert decision.reason == "EngineFailed"


@given(st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", fullmatch=True), st.integers(0, 999))
def test_a_job_s_name_is_a_dns_label_of_its_run_and_shard(name, shard):
    made = job_name(run_of(name=name), shard)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", made)
    assert made == job_name(run_of(name=name), shard)
    assert len({made, job_name(run_of(name=name), shard + 1), job_name(run_of(uid="another", name=name), shard)}) == 3
