"""Pods: what is checked and filled in, and what is there of their logs without a kubelet."""

from typing import Any

import pytest
from tests.conformance.kube.rig import Rig
from tests.whole import whole

from cozydrivers.api.core import Pod
from cozydrivers.errors import Forbidden, Invalid, NotFound

ONE = [{"name": "c", "image": "i"}]


async def _pod(rig: Rig, **spec: Any) -> Pod:
    return await rig.kube.create(Pod, {"metadata": {"name": "p"}, "spec": {"containers": ONE, **spec}}, rig.namespace)


async def _log(rig: Rig, container: str = "", *, lines: int = 5, size: int = 100) -> str:
    return await rig.kube.pod_log("p", rig.namespace, container=container, tail_lines=lines, limit_bytes=size)


async def test_one_without_containers(rig: Rig):
    with pytest.raises(Invalid) as caught:
        await _pod(rig, containers=[])
    assert [(cause.field, cause.message) for cause in caught.value.causes] == [("spec.containers", "Required value")]


async def test_a_field_that_nobody_knows(rig: Rig):
    with pytest.raises(Invalid, match=r'unknown field "spec\.nodename"'):
        await _pod(rig, nodename="n")


async def test_its_node_stays(rig: Rig):
    await _pod(rig)
    with pytest.raises(Invalid, match="pod updates may not change fields other than"):
        await rig.kube.merge_patch(Pod, "p", {"spec": {"nodeName": "other"}}, rig.namespace)


async def test_its_status_is_filled_in(rig: Rig):
    await _pod(rig)
    status: dict[str, Any] = {
        "phase": "Failed",
        "podIP": "127.1.1.1",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [
            {
                "name": "c",
                "image": "i",
                "imageID": "",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": {"exitCode": 3, "startedAt": None, "finishedAt": None}},
            }
        ],
    }
    patched = await rig.kube.merge_patch(whole(Pod), "p", {"status": status}, rig.namespace, status=True)
    shown = patched.raw["status"]
    assert shown["podIPs"] == [{"ip": "127.1.1.1"}]
    assert shown["conditions"][0] == {**status["conditions"][0], "lastProbeTime": None, "lastTransitionTime": None}
    assert shown["containerStatuses"][0]["lastState"] == {}
    assert shown["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


async def test_a_log_without_a_node_is_empty(rig: Rig):
    await _pod(rig)
    assert await _log(rig) == ""
    answer = await rig.send("GET", Pod.resource.path(rig.namespace, "p", "log"))
    assert (answer.status, answer.body) == (204, "")


async def test_a_log_on_a_node_that_is_not_there(rig: Rig):
    await _pod(rig, nodeName="node-1")
    with pytest.raises(NotFound, match='pods "node-1" not found'):
        await _log(rig)


async def test_a_log_of_a_pod_that_is_not_there(rig: Rig):
    with pytest.raises(NotFound, match='pods "p" not found'):
        await _log(rig)


async def test_a_log_of_a_container_that_is_not_there(rig: Rig):
    await _pod(rig)
    with pytest.raises(Invalid, match="container other is not valid for pod p"):
        await _log(rig, container="other")


async def test_of_several_containers_one_must_be_named(rig: Rig):
    await _pod(rig, containers=[*ONE, {"name": "d", "image": "i"}], initContainers=[{"name": "i", "image": "i"}])
    with pytest.raises(Invalid, match=r"a container name must be specified for pod p, choose one of: \[i c d\]"):
        await _log(rig)
    for name in "icd":
        assert await _log(rig, container=name) == ""


async def test_limits_of_a_log_that_are_none(rig: Rig):
    await _pod(rig)
    with pytest.raises(Invalid, match="tailLines: Invalid value: -1: must be greater than or equal to 0"):
        await _log(rig, lines=-1)
    with pytest.raises(Invalid, match="limitBytes: Invalid value: 0: must be greater than 0"):
        await _log(rig, size=0)
    answer = await rig.send("GET", Pod.resource.path(rig.namespace, "p", "log"), tailLines="x")
    assert (answer.status, answer.body["message"]) == (400, 'strconv.ParseInt: parsing "x": invalid syntax')


async def test_a_log_is_read_only(rig: Rig):
    await _pod(rig)
    for method in ("POST", "PUT", "DELETE"):
        assert (await rig.send(method, Pod.resource.path(rig.namespace, "p", "log"))).status == 405


async def test_a_log_that_is_not_allowed(rig: Rig):
    await _pod(rig)
    with pytest.raises(Forbidden, match='cannot get resource "pods/log" in API group ""'):
        await rig.nobody.pod_log("p", rig.namespace, tail_lines=1, limit_bytes=1)
