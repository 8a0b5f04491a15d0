"""What a client that knows no kinds beforehand asks first: groups, versions, resources. kopf does."""

from typing import Any

import pytest
from tests.conformance.kube.rig import Rig

GROUPS = ("backups.cozystack.io", "coordination.k8s.io", "batch", "events.k8s.io")


async def _groups(rig: Rig) -> dict[str, Any]:
    answer = await rig.send("GET", "/apis")
    assert (answer.status, answer.body["kind"], answer.body["apiVersion"]) == (200, "APIGroupList", "v1")
    return {group["name"]: group for group in answer.body["groups"]}


async def test_the_core_group_is_of_one_version(rig: Rig):
    answer = await rig.send("GET", "/api")
    assert (answer.status, answer.body["kind"], answer.body["versions"]) == (200, "APIVersions", ["v1"])
    assert [set(address) for address in answer.body["serverAddressByClientCIDRs"]] == [{"clientCIDR", "serverAddress"}]


async def test_the_groups_are_listed_with_their_versions(rig: Rig):
    groups = await _groups(rig)
    assert "" not in groups
    version = {"groupVersion": "backups.cozystack.io/v1alpha1", "version": "v1alpha1"}
    assert groups["backups.cozystack.io"] == {
        "name": "backups.cozystack.io",
        "versions": [version],
        "preferredVersion": version,
    }
    assert {groups[name]["preferredVersion"]["version"] for name in GROUPS[1:]} == {"v1"}


async def test_each_listed_version_lists_its_resources(rig: Rig):
    groups = await _groups(rig)
    for version in [version["groupVersion"] for name in GROUPS for version in groups[name]["versions"]]:
        answer = await rig.send("GET", f"/apis/{version}")
        assert (answer.status, answer.body["groupVersion"]) == (200, version)
        assert answer.body["resources"]


READ = {"get", "list", "watch"}
WRITE = {"create", "delete", "patch", "update"}
ALL = READ | WRITE | {"deletecollection"}
CHANGE = {"get", "patch", "update"}
KINDS: dict[str, dict[str, tuple[set[str], list[str], list[str]]]] = {
    "/api/v1": {
        "configmaps": (ALL, ["cm"], []),
        "events": (ALL, ["ev"], []),
        "namespaces": (READ | WRITE, ["ns"], []),
        "namespaces/finalize": ({"update"}, [], []),
        "namespaces/status": (CHANGE, [], []),
        "pods": (ALL, ["po"], ["all"]),
        "pods/log": ({"get"}, [], []),
        "pods/status": (CHANGE, [], []),
        "secrets": (ALL, [], []),
    },
    "/apis/events.k8s.io/v1": {"events": (ALL, ["ev"], [])},
    "/apis/coordination.k8s.io/v1": {"leases": (ALL, [], [])},
    "/apis/batch/v1": {"jobs": (ALL, [], ["all"]), "jobs/status": (CHANGE, [], [])},
    "/apis/backups.cozystack.io/v1alpha1": {
        "backupjobs": (ALL, [], []),
        "backupjobs/status": (CHANGE, [], []),
        "backups": (ALL, [], []),
    },
}


@pytest.mark.parametrize("path", KINDS)
async def test_what_can_be_done_with_a_kind_and_how_else_it_is_called(rig: Rig, path: str):
    listed = {each["name"]: each for each in (await rig.send("GET", path)).body["resources"]}
    for name, told in KINDS[path].items():
        found = listed[name]
        assert (set(found["verbs"]), found.get("shortNames", []), found.get("categories", [])) == told
        assert found["singularName"] == ("" if "/" in name else found["kind"].lower())


async def test_a_version_that_is_not_served_is_not_found(rig: Rig):
    assert (await rig.send("GET", "/apis/backups.cozystack.io/v9")).status == 404
