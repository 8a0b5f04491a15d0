"""From bytes to objects: what is kept, what null means, and what the library is loaded for."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.whole import whole

from cozydrivers.api.apps import ClickHouse
from cozydrivers.api.backups import Backup, BackupJob
from cozydrivers.api.base import Condition, Metadata, Model
from cozydrivers.api.core import ConfigMap, Pod
from cozydrivers.errors import ApiError, Gone, Unavailable
from cozydrivers.kube.decode import read_event, read_object, read_page

JOB: dict[str, Any] = {
    "apiVersion": "backups.cozystack.io/v1alpha1",
    "kind": "BackupJob",
    "metadata": {
        "name": "nightly",
        "namespace": "tenant",
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-23T00:00:00Z",
        "labels": {"a": "b"},
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        "ownerReferences": [{"kind": "Plan", "name": "p", "uid": "u"}],
    },
    "spec": {"applicationRef": {"kind": "ClickHouse", "name": "shop"}, "backupClassName": "daily", "unknown": {"x": 1}},
    "status": {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "True"}]},
}


def lines(value: Any) -> bytes:
    return json.dumps(value).encode()


def listed(*items: Any, **metadata: Any) -> bytes:
    return lines({"metadata": metadata, "items": list(items)})


@pytest.mark.parametrize("kind", [BackupJob, whole(BackupJob)], ids=["partial", "whole"])
def test_the_same_object_comes_from_an_answer_a_page_and_a_watch(kind: type[BackupJob]):
    job = read_object(kind, lines(JOB))
    assert job.metadata.labels == {"a": "b"}
    assert job.metadata.creation_timestamp == datetime(2026, 11, 23, tzinfo=UTC)
    assert (job.spec.application_ref.name, job.status.conditions[0].type) == ("shop", "Ready")
    assert read_page(kind, listed(JOB, JOB)).items == [job, job] == [kind.decode(JOB)] * 2
    assert read_event(kind, lines({"type": "ADDED", "object": JOB})).object == job


def test_an_object_is_kept_whole_only_where_its_kind_says_so_and_never_its_managed_fields():
    raw = read_object(whole(BackupJob), lines(JOB)).raw
    assert raw["spec"]["unknown"] == {"x": 1}
    assert raw["metadata"] == {key: value for key, value in JOB["metadata"].items() if key != "managedFields"}
    with pytest.raises(AttributeError, match="ConfigMap is not kept whole"):
        assert read_object(ConfigMap, lines({"metadata": {"name": "c"}})).raw


def test_nulls_are_absent_but_within_what_is_kept_as_it_is():
    nulls = {**JOB, "status": {"conditions": None, "startedAt": None, "phase": None}}
    nulls["metadata"] = {**JOB["metadata"], "labels": None, "generation": None, "deletionTimestamp": None}
    for job in (read_object(BackupJob, lines(nulls)), *read_page(BackupJob, listed(JOB, nulls)).items[1:]):
        assert (job.status.phase, job.status.conditions, job.metadata.labels, job.metadata.generation) == (
            "",
            [],
            {},
            0,
        )
    application = read_object(ClickHouse, lines({"metadata": {"labels": None}, "spec": {"users": None, "a": [None]}}))
    assert application.spec == application.raw["spec"] == {"users": None, "a": [None]}
    assert list(read_page(BackupJob, b'{"metadata": {"resourceVersion": null}, "items": null}').items) == []


def test_a_page_says_its_version_and_the_next_one():
    page = read_page(Pod, listed({"metadata": {"name": "p"}}, resourceVersion="9", **{"continue": "there"}))
    assert (page.metadata.version, page.metadata.next) == ("9", "there")
    assert read_page(ClickHouse, listed(resourceVersion="9")).metadata.version == "9"


def test_one_object_that_does_not_fit_is_named():
    odd = {"metadata": {"name": "odd"}, "status": {"phase": [1], "conditions": [None]}}
    for read, text in ((read_page, listed(JOB, odd)), (read_object, lines(odd))):
        with pytest.raises(ApiError, match=r"BackupJob 'odd' has values of an unknown shape in: .*status\.phase"):
            read(BackupJob, text)


def test_lines_of_a_watch_that_hold_no_object():
    status = {"kind": "Status", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired", "message": "old"}
    for kind in (BackupJob, ConfigMap, ClickHouse):
        with pytest.raises(Gone, match="old"):
            read_event(kind, lines({"type": "ERROR", "object": status}))
        with pytest.raises(ApiError, match="unknown event"):
            read_event(kind, lines({"type": "NEWS", "object": {}}))
        with pytest.raises(Unavailable):
            read_event(kind, b'{"type": "ADDED", "obj')
        bookmark = read_event(kind, lines({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "12"}}}))
        assert bookmark.object.metadata.resource_version == "12"


def test_models_are_frozen_and_small():
    job = BackupJob.decode(JOB)
    with pytest.raises(AttributeError):
        job.metadata.name = "other"  # type: ignore[misc]
    for part in (job, job.metadata, job.spec, job.status, job.status.conditions[0]):
        assert not hasattr(part, "__dict__")
    assert job.metadata.model_copy(update={"name": "other"}) == Metadata.model_validate(
        {**JOB["metadata"], "name": "other"}
    )


def test_models_dump_as_they_are_read():
    class Kept(Model):
        taken_at: datetime | None = None
        parts: tuple[Condition, ...] = ()

    kept = Kept(parts=(Condition(type="Ready"),))
    assert kept.model_dump(mode="json", by_alias=True, exclude_defaults=True) == {"parts": [{"type": "Ready"}]}
    assert Kept.model_validate_json(kept.model_dump_json(by_alias=True)) == kept
    assert "hunter2" not in repr(Backup.decode({"status": {"underlyingResources": {"password": "hunter2"}}}))


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.strip()


def test_the_models_of_the_library_are_not_loaded():
    loaded = run("import cozydrivers.kube, sys; print([m for m in sys.modules if m.startswith('kubernetes_asyncio')])")
    assert loaded == "[]"


@pytest.mark.parametrize(
    "order",
    ["import cozydrivers.kube as k, kubernetes_asyncio as l", "import kubernetes_asyncio as l, cozydrivers.kube as k"],
)
def test_who_imports_the_library_gets_all_of_it(order: str):
    assert run(
        f"{order}; print(l.client.V1Pod.__name__, l.config.load_kube_config.__name__, k.KubeClient.__name__)"
    ) == ("V1Pod load_kube_config KubeClient")
