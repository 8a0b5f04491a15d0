"""Who is let in, and who may do what."""

import pytest
from tests.conformance.kube.rig import Rig, job

from cozydrivers.api.backups import BackupJob
from cozydrivers.api.core import Secret
from cozydrivers.errors import Forbidden, Unauthorized


async def test_an_unknown_token(rig: Rig):
    with pytest.raises(Unauthorized):
        await rig.unknown.list(BackupJob, rig.namespace)


async def test_a_list_that_is_not_allowed(rig: Rig):
    with pytest.raises(Forbidden, match='User "nobody" cannot list resource "backupjobs"'):
        await rig.nobody.list(BackupJob, rig.namespace)


async def test_a_watch_that_is_not_allowed(rig: Rig):
    with pytest.raises(Forbidden, match='cannot watch resource "backupjobs"'):
        async for _ in rig.nobody.watch(BackupJob, rig.namespace, resource_version="0"):
            pass


async def test_a_create_that_is_not_allowed(rig: Rig):
    with pytest.raises(Forbidden, match="cannot create"):
        await rig.nobody.create(BackupJob, job("nightly"), rig.namespace)


async def test_a_secret_that_is_not_allowed(rig: Rig):
    with pytest.raises(Forbidden) as caught:
        await rig.nobody.get(Secret, "s", rig.namespace)
    assert caught.value.status == 403
    assert not caught.value.retryable


@pytest.mark.parametrize(("who", "allowed"), [("kube", True), ("nobody", False)])
async def test_one_can_ask_what_one_may_do(rig: Rig, who: str, allowed: bool):
    attributes = {
        "namespace": rig.namespace,
        "verb": "create",
        "group": "backups.cozystack.io",
        "resource": "backupjobs",
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    headers = {"Content-Type": "application/json"}
    answer = await getattr(rig, who)._transport.request("POST", path, {}, headers, body, 30)
    assert answer.status in (201, 403)
    assert (b'"allowed":true' in answer.body.replace(b" ", b"")) is allowed
