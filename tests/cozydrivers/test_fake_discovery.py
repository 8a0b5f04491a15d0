"""The order of a group's versions, which the real server takes from their names."""

import json
from typing import Any

import pytest

from cozydrivers.testing import ADMIN_TOKEN, FakeCluster

pytestmark = pytest.mark.anyio


def crd(*versions: str) -> dict[str, Any]:
    listed = [{"name": name, "served": True, "storage": name == versions[0]} for name in versions]
    names = {"kind": "Upgrade", "plural": "upgrades"}
    return {"spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": listed}}


async def test_the_most_mature_version_comes_first_and_is_preferred():
    fake = FakeCluster([crd("v1alpha1", "v1", "foo", "v2beta1", "v10", "v2beta2")])
    _, _, body = await fake.handle("GET", "/apis", {}, {"Authorization": f"Bearer {ADMIN_TOKEN}"}, b"")
    assert isinstance(body, bytes)
    group = next(group for group in json.loads(body)["groups"] if group["name"] == "example.com")
    versions = [version["version"] for version in group["versions"]]
    assert versions == ["v10", "v1", "v2beta2", "v2beta1", "v1alpha1", "foo"]
    assert group["preferredVersion"] == group["versions"][0]
