"""The group backups.cozystack.io, as its controllers write it: conditions, finalizers, owners, templates."""

from typing import Any

import pytest
from tests.conformance.kube.rig import Rig, backup, job
from tests.whole import whole

from cozydrivers.api.backups import Backup, BackupJob, Plan, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.api.strategy import Altinity
from cozydrivers.errors import Conflict, Invalid, NotFound

TIME = "2026-01-01T00:00:00Z"
CONDITIONS: list[dict[str, Any]] = [
    {
        "type": kind,
        "status": status,
        "reason": "NextRun",
        "message": "\u00e9" * 32768,
        "lastTransitionTime": TIME,
        "observedGeneration": 1,
    }
    for kind, status in (("Ready", "True"), ("Error", "False"), ("Verified", "Unknown"))
]
REFERENCE = {"apiGroup": "apps.cozystack.io", "kind": "ClickHouse", "name": "ch"}
PLAN = {
    "metadata": {"name": "p"},
    "spec": {
        "applicationRef": REFERENCE,
        "backupClassName": "default",
        "schedule": {"type": "cron", "cron": "CRON_TZ=Europe/Prague 0 3 * * *"},
    },
}
RESTORE = {"metadata": {"name": "p"}, "spec": {"backupRef": {"name": "b"}, "options": {"repeat": "again"}}}
REASON = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
NO_TIME = 'Invalid value: "now": {} in body must be of type date-time: "now"'
ENDED = {"phase": "Succeeded", "message": "done", "startedAt": TIME, "completedAt": TIME, "conditions": CONDITIONS}
WRITTEN: list[tuple[type[KubeObject], dict[str, Any], dict[str, Any]]] = [
    (Plan, PLAN, {"conditions": CONDITIONS}),
    (BackupJob, job("p"), {**ENDED, "backupRef": {"name": "p"}}),
    (RestoreJob, RESTORE, ENDED),
]


@pytest.mark.parametrize(("kind", "body", "status"), WRITTEN, ids=[kind.__name__ for kind, *_ in WRITTEN])
async def test_a_status_is_kept_as_it_is_written(
    rig: Rig, kind: type[KubeObject], body: dict[str, Any], status: dict[str, Any]
):
    """First something is noted on the object; its answer's version is the one that the status is written from."""
    made = (await rig.kube.create(kind, body, rig.namespace)).metadata
    note = {"metadata": {"resourceVersion": made.resource_version, "annotations": {"example.com/slot": TIME}}}
    noted = (await rig.kube.merge_patch(kind, "p", note, rig.namespace)).metadata
    patch = {"metadata": {"resourceVersion": noted.resource_version}, "status": status}
    written = await rig.kube.merge_patch(whole(kind), "p", patch, rig.namespace, status=True)
    assert written.raw["status"] == status
    assert (written.metadata.generation, written.metadata.annotations) == (1, {"example.com/slot": TIME})
    with pytest.raises(Conflict):
        await rig.kube.merge_patch(kind, "p", patch, rig.namespace, status=True)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"reason": ""}, "reason", 'Invalid value: "": {} in body should be at least 1 chars long'),
        ({"reason": " " * 1025}, "reason", "Too long: may not be more than 1024 bytes"),
        ({"reason": "a b"}, "reason", f"Invalid value: \"a b\": {{}} in body should match '{REASON}'"),
        ({"status": "true"}, "status", 'Unsupported value: "true": supported values: "True", "False", "Unknown"'),
        ({"message": "x" * 32769}, "message", "Too long: may not be more than 32768 bytes"),
        ({"message": None}, "message", "Required value"),
        ({"lastTransitionTime": None}, "lastTransitionTime", "Required value"),
        ({"lastTransitionTime": "now"}, "lastTransitionTime", NO_TIME),
        (
            {"observedGeneration": -1},
            "observedGeneration",
            "Invalid value: -1: {} in body should be greater than or equal to 0",
        ),
    ],
    ids=["empty", "blanks", "reason", "status", "length", "message", "time", "no time", "generation"],
)
async def test_a_condition_that_is_none(rig: Rig, change: dict[str, Any], field: str, message: str):
    """Of a text the first that is wrong is named, and that alone."""
    await rig.kube.create(Plan, PLAN, rig.namespace)
    patch = {"status": {"conditions": [{**CONDITIONS[0], "message": "short", **change}]}}
    with pytest.raises(Invalid) as caught:
        await rig.kube.merge_patch(Plan, "p", patch, rig.namespace, status=True)
    told = [(cause.field, cause.message) for cause in caught.value.causes]
    assert told == [(f"status.conditions[0].{field}", message.format(f"conditions[0].{field}"))]


async def test_a_job_of_a_plan_goes_with_it_and_says_so(rig: Rig):
    plan = await rig.kube.create(Plan, PLAN, rig.namespace)
    owner = {"apiVersion": Plan.resource.api_version, "kind": "Plan", "name": "p", "uid": plan.metadata.uid}
    owners = [{**owner, "controller": True, "blockOwnerDeletion": True}]
    body = job("p-1", labels={}, ownerReferences=owners)
    made = await rig.kube.create(whole(BackupJob), body, rig.namespace)
    assert made.raw["metadata"]["ownerReferences"] == owners


async def test_a_backup_is_written_whole_and_at_once(rig: Rig):
    artifact = {"uri": "clickhouse-backup://t/ch/set", "sizeBytes": 2**40}
    body = backup("b", phase="Ready", artifact=artifact, conditions=CONDITIONS)
    body["metadata"] |= {"finalizers": ["cozydrivers.cozystack.io/archive"], "annotations": {"example.com/a": "1"}}
    body["spec"] |= {"driverMetadata": {"clickhouse.backup/archive.0": "x"}, "planRef": {"name": "p"}}
    made = await rig.kube.create(whole(Backup), body, rig.namespace)
    assert {part: made.raw[part] for part in ("spec", "status")} == {part: body[part] for part in ("spec", "status")}
    assert made.metadata.finalizers == body["metadata"]["finalizers"]


async def test_finalizers_and_conditions_of_a_backup_change_in_one_patch(rig: Rig):
    made = await rig.kube.create(Backup, backup("b", phase="Ready"), rig.namespace)
    metadata = {"resourceVersion": made.metadata.resource_version, "finalizers": ["cozydrivers.cozystack.io/archive"]}
    patch = {"metadata": metadata, "status": {"conditions": CONDITIONS}}
    patched = await rig.kube.merge_patch(whole(Backup), "b", patch, rig.namespace)
    assert patched.raw["status"] == {"phase": "Ready", "conditions": CONDITIONS}
    assert (patched.metadata.finalizers, patched.metadata.generation) == (metadata["finalizers"], 2)
    with pytest.raises(Conflict):
        await rig.kube.merge_patch(Backup, "b", patch, rig.namespace)


async def test_a_backup_that_is_deleted_still_takes_a_condition_until_it_is_let_go(rig: Rig):
    body = backup("b", phase="Ready")
    body["metadata"]["finalizers"] = ["backups.cozystack.io/cleanup", "cozydrivers.cozystack.io/archive"]
    made = await rig.kube.create(Backup, body, rig.namespace)
    await rig.kube.delete(Backup, "b", rig.namespace, uid=made.metadata.uid)
    told = await rig.kube.merge_patch(Backup, "b", {"status": {"conditions": CONDITIONS}}, rig.namespace)
    assert (told.metadata.finalizers, told.metadata.generation) == (body["metadata"]["finalizers"], 3)
    let_go = {"resourceVersion": told.metadata.resource_version, "finalizers": []}
    await rig.kube.merge_patch(Backup, "b", {"metadata": let_go}, rig.namespace)
    with pytest.raises(NotFound):
        await rig.kube.get(Backup, "b", rig.namespace)


async def test_the_template_of_a_strategy_is_kept_as_it_is_written(rig: Rig):
    reference = {"name": "{{ .Release.Name }}-auth", "key": "password"}
    container = {
        "name": "client",
        "image": "alpine:{{ .Parameters.version }}",
        "args": ["{{ .Mode }} {{ .Archive }}"],
        "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": reference}}, {"name": "EMPTY", "value": ""}],
        "envFrom": [{"secretRef": {"name": "{{ .Release.Name }}"}}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": 2}},
        "ports": [{"containerPort": 80}],
        "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": False}],
    }
    volumes = [{"name": "data", "emptyDir": {}}, {"name": "key", "secret": {"secretName": "{{ .Release.Name }}-key"}}]
    spec = {"restartPolicy": "{{ .Parameters.restart }}", "containers": [container], "volumes": volumes}
    body = {"metadata": {"name": f"strategy-{rig.namespace}"}, "spec": {"template": {"spec": spec}}}
    made = await rig.kube.create(Altinity, body)
    container["ports"] = [{"containerPort": 80, "protocol": "TCP"}]
    assert made.raw["spec"] == body["spec"]
    await rig.kube.delete(Altinity, made.metadata.name, uid=made.metadata.uid)


QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
CPU = "spec.template.spec.containers[0].resources.requests.cpu"


def _kinds(kinds: str) -> str:
    return f'Invalid value: "number": {CPU} in body must be of type {kinds}: "number"'


@pytest.mark.parametrize(
    ("value", "causes"),
    [
        (
            0.5,
            [
                (CPU, _kinds("integer,string")),
                ("<nil>", f'Invalid value: "": "{CPU}" must validate at least one schema (anyOf)'),
                (CPU, _kinds("integer")),
            ],
        ),
        ("{{ .x }}", [(CPU, f"Invalid value: \"{{{{ .x }}}}\": {CPU} in body should match '{QUANTITY}'")]),
    ],
    ids=["number", "template"],
)
async def test_quantities_of_a_strategys_template(rig: Rig, value: Any, causes: list[tuple[str, str]]):
    """They are checked, so they can't be filled in later; a null is absent."""

    def body(cpu: Any) -> dict[str, Any]:
        container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
        spec = {"template": {"spec": {"containers": [container]}}}
        return {"metadata": {"name": f"strategy-{rig.namespace}"}, "spec": spec}

    with pytest.raises(Invalid) as caught:
        await rig.kube.create(Altinity, body(value))
    assert [(cause.field, cause.message) for cause in caught.value.causes] == causes
    made = await rig.kube.create(Altinity, body(None))
    assert made.raw["spec"]["template"]["spec"]["containers"][0]["resources"] == {"requests": {}}
    await rig.kube.delete(Altinity, made.metadata.name, uid=made.metadata.uid)


async def test_metadata_of_a_strategys_template_is_not_kept(rig: Rig):
    """Its definition says nothing of what is in it."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}
    name = f"strategy-{rig.namespace}"
    body = {"metadata": {"name": name}, "spec": {"template": template}}
    with pytest.raises(Invalid, match=r'unknown field "spec\.template\.metadata\.labels"'):
        await rig.kube.create(Altinity, body)
    shown = {"apiVersion": Altinity.resource.api_version, "kind": "Altinity", **body}
    made = (await rig.send("POST", Altinity.resource.path(), shown)).body
    assert made["spec"]["template"] == {**template, "metadata": {}}
    await rig.kube.delete(Altinity, name, uid=made["metadata"]["uid"])
