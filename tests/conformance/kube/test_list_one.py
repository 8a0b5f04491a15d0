"""A list of one object by its name, within what a label selector leaves, as a watch would show it."""

import pytest
from tests.conformance.kube.rig import Rig

from cozydrivers.api.backups import BackupJob


@pytest.mark.parametrize(
    ("name", "selector", "found"),
    [
        ("nightly", "", ["nightly"]),
        ("nightly", "team=a", ["nightly"]),
        ("nightly", "team=b", []),
        ("nightly", "missing", []),
        ("absent", "", []),
    ],
)
async def test_the_name_and_the_labels_must_match(rig: Rig, name: str, selector: str, found: list[str]):
    await rig.job("nightly", labels={"team": "a"})
    await rig.job("other", labels={"team": "a"})
    fields = f"metadata.name={name}"
    listed = await rig.kube.list(BackupJob, rig.namespace, label_selector=selector, field_selector=fields)
    assert [job.metadata.name for job in listed.items] == found
    assert int(listed.resource_version) > 0
