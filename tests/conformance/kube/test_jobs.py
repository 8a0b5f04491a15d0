"""Jobs: what is filled in, what is refused, how one ends and how one goes."""

from typing import Any

import pytest
from tests.conformance.kube.rig import Rig

from cozydrivers.api.base import KubeObject, Resource
from cozydrivers.errors import Conflict, Invalid, NotFound

STARTED, ENDED = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
CONTAINER: dict[str, Any] = {"name": "c", "image": "alpine"}
POD: dict[str, Any] = {"restartPolicy": "Never", "containers": [CONTAINER]}


class Job(KubeObject):
    resource = Resource("batch", "v1", "Job", "jobs", namespaced=True)


def job(name: str = "j", *, pod: dict[str, Any] | None = None, spec: Any = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"template": {"spec": POD if pod is None else pod}, **(spec or {})},
    }


async def make(rig: Rig, *args: Any, **options: Any) -> dict[str, Any]:
    return (await rig.kube.create(Job, job(*args, **options), rig.namespace)).raw


async def refusals(rig: Rig, **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        await rig.kube.create(Job, job(**options), rig.namespace)
    return [(cause.field, cause.message) for cause in caught.value.causes]


async def report(rig: Rig, **status: Any) -> KubeObject:
    return await rig.kube.merge_patch(Job, "j", {"status": status}, rig.namespace, status=True)


async def complaints(rig: Rig, **status: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        await report(rig, **status)
    return [(cause.field.removeprefix("status."), cause.message) for cause in caught.value.causes]


def true(*kinds: str) -> list[dict[str, str]]:
    return [{"type": kind, "status": "True"} for kind in kinds]


DONE: dict[str, Any] = {
    "startTime": STARTED,
    "completionTime": ENDED,
    "succeeded": 1,
    "conditions": true("SuccessCriteriaMet", "Complete"),
}
FAILED = {"startTime": STARTED, "failed": 1, "conditions": true("FailureTarget", "Failed")}


async def test_it_is_filled_in(rig: Rig):
    made = await make(rig)
    spec = {key: value for key, value in made["spec"].items() if key not in ("selector", "template")}
    assert spec == {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "manualSelector": False,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
    }
    assert made["metadata"]["generation"] == 1
    assert made["status"] == {}


async def test_its_template_gets_the_labels_that_its_selector_finds(rig: Rig):
    made = await make(rig)
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    labels = {"controller-uid": uid, "job-name": "j"}
    labels |= {f"batch.kubernetes.io/{key}": value for key, value in labels.items()}
    assert made["spec"]["template"]["metadata"]["labels"] == labels
    assert made["metadata"]["labels"] == labels


async def test_with_labels_of_its_own_it_does_not_carry_those_of_its_pods(rig: Rig):
    made = await make(rig, labels={"app": "x"})
    assert made["metadata"]["labels"] == {"app": "x"}
    assert made["spec"]["template"]["metadata"]["labels"]["job-name"] == "j"


async def test_labels_of_its_template_become_its_own_if_it_has_none(rig: Rig):
    body = job()
    body["spec"]["template"]["metadata"] = {"labels": {"app": "x"}}
    made = (await rig.kube.create(Job, body, rig.namespace)).raw
    assert made["metadata"]["labels"]["app"] == "x"


async def test_only_one_of_the_two_numbers(rig: Rig):
    assert "completions" not in (await make(rig, "a", spec={"parallelism": 3}))["spec"]
    assert (await make(rig, "b", spec={"completions": 3}))["spec"]["parallelism"] == 1


@pytest.mark.parametrize(
    ("image", "policy"), [("a", "Always"), ("a:latest", "Always"), ("a:1", "IfNotPresent"), ("r:5000/a", "Always")]
)
async def test_an_image_without_a_version_is_always_pulled(rig: Rig, image: str, policy: str):
    made = await make(rig, pod={**POD, "containers": [{"name": "c", "image": image}]})
    assert made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] == policy


async def test_its_template_is_filled_in(rig: Rig):
    container: dict[str, Any] = {
        "name": "c",
        "image": "a:1",
        "env": [
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "envFrom": [{"secretRef": {"name": "x"}}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "resources": {"limits": {"cpu": "1"}},
    }
    volumes: list[Any] = [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "z"}}]
    init = {"name": "i", "image": "a:1"}
    pod = {**POD, "containers": [container], "initContainers": [init], "volumes": volumes, "serviceAccountName": "sa"}
    spec = (await make(rig, pod=pod))["spec"]["template"]["spec"]
    ended = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
    named = {"name": "NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}
    assert spec == {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "serviceAccountName": "sa",
        "serviceAccount": "sa",
        "containers": [{**container, **ended, "imagePullPolicy": "IfNotPresent", "env": [container["env"][0], named]}],
        "initContainers": [{**init, **ended, "imagePullPolicy": "IfNotPresent", "resources": {}}],
        "volumes": [volumes[0], {"name": "s", "secret": {"secretName": "z", "defaultMode": 420}}],
    }


@pytest.mark.parametrize(
    ("pod", "field"),
    [
        ({**POD, "restartpolicy": "Never"}, "spec.template.spec.restartpolicy"),
        (
            {**POD, "containers": [{"name": "c", "image": "a", "comand": []}]},
            "spec.template.spec.containers[0].comand",
        ),
        (
            {
                **POD,
                "containers": [{"name": "c", "image": "a", "env": [{"name": "A", "valueFrom": {"secretRef": {}}}]}],
            },
            "spec.template.spec.containers[0].env[0].valueFrom.secretRef",
        ),
        ({**POD, "volumes": [{"name": "v", "emptydir": {}}]}, "spec.template.spec.volumes[0].emptydir"),
    ],
)
async def test_a_field_of_its_template_that_nobody_knows(rig: Rig, pod: dict[str, Any], field: str):
    with pytest.raises(Invalid) as caught:
        await make(rig, pod=pod)
    assert f'unknown field "{field}"' in caught.value.message


async def test_a_field_of_its_own_that_nobody_knows(rig: Rig):
    with pytest.raises(Invalid, match=r'unknown field "spec\.backofLimit"'):
        await make(rig, spec={"backofLimit": 1})


async def test_a_value_of_the_wrong_type(rig: Rig):
    with pytest.raises(Invalid, match="cannot unmarshal"):
        await make(rig, spec={"backoffLimit": "one"})


async def test_a_template_that_can_not_end(rig: Rig):
    field = "spec.template.spec.restartPolicy"
    pod = {"containers": POD["containers"]}
    assert await refusals(rig, pod=pod) == [(field, 'Required value: valid values: "OnFailure", "Never"')]
    assert [found for found, _ in await refusals(rig, pod={**pod, "restartPolicy": "Sometimes"})] == [field, field]


@pytest.mark.parametrize(
    ("container", "error"),
    [
        ({"name": "c"}, ("image", "Required value")),
        ({"image": "a"}, ("name", "Required value")),
        (
            {"name": "c", "image": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            ("volumeMounts[0].name", 'Not found: "v"'),
        ),
        (
            {
                "name": "c",
                "image": "a",
                "env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            },
            ("env[0].valueFrom", 'Invalid value: "": may not be specified when `value` is not empty'),
        ),
    ],
)
async def test_a_container_that_is_none(rig: Rig, container: dict[str, Any], error: tuple[str, str]):
    found = await refusals(rig, pod={**POD, "containers": [container]})
    assert found == [(f"spec.template.spec.containers[0].{error[0]}", error[1])]


async def test_containers_that_are_none(rig: Rig):
    path = "spec.template.spec.containers"
    assert await refusals(rig, pod={"restartPolicy": "Never"}) == [(path, "Required value")]
    twice = {**POD, "containers": POD["containers"] * 2}
    assert await refusals(rig, pod=twice) == [(f"{path}[1].name", 'Duplicate value: "c"')]
    ((field, message),) = await refusals(rig, pod={**POD, "containers": [{"name": "C_", "image": "a"}]})
    assert field == f"{path}[0].name"
    assert message.startswith('Invalid value: "C_": a lowercase RFC 1123 label must consist of')


async def test_numbers_are_not_negative(rig: Rig):
    names = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    found = await refusals(rig, spec=dict.fromkeys(names, -1))
    assert found == [(f"spec.{name}", "Invalid value: -1: must be greater than or equal to 0") for name in names]
    await make(rig, spec=dict.fromkeys(names, 0))


async def test_its_name_is_a_label_and_no_longer_than_one(rig: Rig):
    await make(rig, "x" * 63)
    found = await refusals(rig, name="x" * 64)
    error = ("spec.template.labels", f'Invalid value: "{"x" * 64}": must be no more than 63 characters')
    assert found == [error, error]


async def test_a_selector_of_ones_own(rig: Rig):
    found = await refusals(rig, spec={"selector": {"matchLabels": {"a": "b"}}})
    assert [field for field, _ in found] == ["spec.selector", "spec.template.metadata.labels"]


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"template": {"spec": {"restartPolicy": "OnFailure"}}}, "spec.template"),
        ({"template": {"metadata": {"annotations": {"a": "b"}}}}, "spec.template"),
        ({"completions": 2}, "spec.completions"),
        ({"completionMode": "Indexed"}, "spec.completionMode"),
    ],
)
async def test_what_stays(rig: Rig, patch: dict[str, Any], field: str):
    await make(rig)
    with pytest.raises(Invalid) as caught:
        await rig.kube.merge_patch(Job, "j", {"spec": patch}, rig.namespace)
    assert [cause.field for cause in caught.value.causes] == [field]


async def test_what_may_change(rig: Rig):
    await make(rig)
    spec = {"backoffLimit": 1, "activeDeadlineSeconds": 5, "parallelism": 2, "suspend": True}
    changed = await rig.kube.merge_patch(Job, "j", {"spec": spec}, rig.namespace)
    assert {key: changed.raw["spec"][key] for key in spec} == spec
    assert changed.metadata.generation == 2


async def test_the_template_of_a_suspended_one_may_change_until_it_starts(rig: Rig):
    await make(rig, spec={"suspend": True})
    patch = {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}
    await rig.kube.merge_patch(Job, "j", patch, rig.namespace)


async def test_one_that_is_suspended_starts_once(rig: Rig):
    """As the driver makes it: owned by a job of ours, and started from the version that was seen."""
    owner = {"apiVersion": "backups.cozystack.io/v1alpha1", "kind": "BackupJob", "name": "nightly", "uid": "u-1"}
    spec = {"suspend": True, "backoffLimit": 0, "podReplacementPolicy": "Failed", "activeDeadlineSeconds": 60}
    owners, labels = [{**owner, "controller": True}], {"cozydrivers.cozystack.io/run": "u-1"}
    made = await make(rig, spec={**spec, "ttlSecondsAfterFinished": 9}, ownerReferences=owners, labels=labels)
    assert (made["metadata"]["ownerReferences"], made["metadata"]["labels"]) == (owners, labels)
    assert {key: made["spec"][key] for key in spec} == spec
    await report(rig, conditions=true("Suspended"))
    metadata = {"resourceVersion": made["metadata"]["resourceVersion"], "annotations": {"example.com/started": "now"}}
    patch = {"metadata": metadata, "spec": {"suspend": False}}
    with pytest.raises(Conflict):
        await rig.kube.merge_patch(Job, "j", patch, rig.namespace)
    metadata["resourceVersion"] = (await rig.kube.get(Job, "j", rig.namespace)).metadata.resource_version
    started = await rig.kube.merge_patch(Job, "j", patch, rig.namespace)
    assert (started.raw["spec"]["suspend"], started.metadata.generation) == (False, 2)


async def test_it_runs_and_completes(rig: Rig):
    await make(rig)
    await report(rig, startTime=STARTED, active=1, ready=1)
    ended = await report(rig, active=0, ready=0, conditions=true("SuccessCriteriaMet"))
    assert "active" not in ended.raw["status"]
    assert ended.raw["status"]["ready"] == 0
    done = await report(rig, **DONE)
    untimed = {"lastProbeTime": None, "lastTransitionTime": None}
    assert done.raw["status"]["conditions"] == [{**item, **untimed} for item in DONE["conditions"]]
    assert done.metadata.generation == 1


async def test_it_runs_and_fails(rig: Rig):
    await make(rig)
    await report(rig, startTime=STARTED, active=1)
    await report(rig, conditions=true("FailureTarget"), active=0, failed=1)
    assert len((await report(rig, **FAILED)).raw["status"]["conditions"]) == 2


NO_TIME = ("completionTime", "Required value: completionTime is required for Complete jobs")
NO_START = ("startTime", "Required value: startTime is required for finished job")
NOT_MET = (
    "conditions",
    "Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
)
NOT_TARGET = ("conditions", "Invalid value: cannot set Failed=True condition without the FailureTarget=true condition")
NOT_COMPLETE = (
    "completionTime",
    "Invalid value: 2026-01-01 00:01:00 +0000 UTC: cannot set completionTime when there is no Complete=True condition",
)


@pytest.mark.parametrize(
    ("status", "errors"),
    [
        ({"active": -1}, [("active", "Invalid value: -1: must be greater than or equal to 0")]),
        ({"ready": 1}, [("ready", "Invalid value: 1: cannot set more ready pods than active")]),
        ({"conditions": true("Complete")}, [NO_TIME, NOT_MET, NO_START]),
        ({**DONE, "conditions": true("Complete")}, [NOT_MET]),
        ({**DONE, "active": 1}, [("active", "Invalid value: 1: active>0 is invalid for finished job")]),
        (
            {**DONE, "startTime": ENDED, "completionTime": STARTED},
            [
                (
                    "completionTime",
                    "Invalid value: 2026-01-01 00:00:00 +0000 UTC: completionTime cannot be set before startTime",
                )
            ],
        ),
        ({"conditions": true("Failed")}, [NOT_TARGET, NO_START]),
        ({"conditions": true("FailureTarget", "Failed")}, [NO_START]),
        ({**FAILED, "completionTime": ENDED}, [NOT_COMPLETE]),
        (
            {**FAILED, "terminating": 1},
            [("terminating", "Invalid value: 1: terminating>0 is invalid for finished job")],
        ),
        ({"completionTime": ENDED}, [NOT_COMPLETE]),
        (
            {"conditions": true("FailureTarget", "SuccessCriteriaMet")},
            [("conditions", "Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")],
        ),
    ],
)
async def test_a_status_that_can_not_be(rig: Rig, status: dict[str, Any], errors: list[tuple[str, str]]):
    await make(rig)
    assert await complaints(rig, **status) == errors


@pytest.mark.parametrize(
    ("end", "change", "fields"),
    [
        (DONE, {"conditions": true("SuccessCriteriaMet")}, ["completionTime", "conditions"]),
        (DONE, {"conditions": []}, ["completionTime", "conditions", "conditions"]),
        (DONE, {"completionTime": "2026-01-01T00:02:00Z"}, ["completionTime"]),
        (DONE, {"completionTime": None}, ["completionTime"]),
        (DONE, {"startTime": ENDED}, ["startTime"]),
        (DONE, {"startTime": None}, ["startTime", "startTime"]),
        (DONE, {"succeeded": 0}, ["succeeded"]),
        (FAILED, {"conditions": []}, ["conditions", "conditions"]),
        (FAILED, {"conditions": true("FailureTarget")}, ["conditions"]),
        (FAILED, {"active": 1}, ["active"]),
    ],
)
async def test_an_end_is_the_end(rig: Rig, end: dict[str, Any], change: dict[str, Any], fields: list[str]):
    await make(rig)
    await report(rig, **end)
    assert [field for field, _ in await complaints(rig, **change)] == fields


async def test_a_finished_one_still_takes_labels(rig: Rig):
    await make(rig)
    await report(rig, **DONE)
    await rig.kube.merge_patch(Job, "j", {"metadata": {"labels": {"a": "b"}}}, rig.namespace)


WARNING = (
    '299 - "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them '
    'or set propagationPolicy=Orphan to suppress this warning"'
)


async def test_a_deletion_without_a_policy_keeps_its_pods_and_waits_for_a_collector(rig: Rig):
    await make(rig)
    answer = await rig.send("DELETE", Job.resource.path(rig.namespace, "j"))
    assert (answer.status, answer.headers["warning"]) == (200, WARNING)
    assert answer.body["metadata"]["finalizers"] == ["orphan"]


async def test_a_deletion_of_many_without_a_policy_warns_too(rig: Rig):
    await make(rig)
    answer = await rig.send("DELETE", Job.resource.path(rig.namespace))
    assert answer.headers["warning"] == WARNING
    assert (await rig.kube.get(Job, "j", rig.namespace)).metadata.finalizers == ["orphan"]


async def test_a_deletion_in_the_background_is_done_at_once(rig: Rig):
    made = await make(rig)
    await rig.kube.delete(Job, "j", rig.namespace, uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await rig.kube.get(Job, "j", rig.namespace)
