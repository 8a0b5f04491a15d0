"""What a run creates in the cluster is marked as its own, so that it is found again, and taken for nobody else's."""

from collections.abc import Mapping
from typing import Any

from cozydrivers.api.backups import BackupJob, RestoreJob
from cozydrivers.api.base import KubeObject
from cozydrivers.drivers.base import BackupRun, Run

PREFIX = "cozydrivers.cozystack.io/"
RUN = PREFIX + "run"
"""Label of what a run has created: the UID of its BackupJob or RestoreJob."""
APPLICATION = PREFIX + "application"
"""Annotation of what a run has created: the name of the application that it works on."""


def application_of(thing: KubeObject) -> str | None:
    """The application that something was created for."""
    return thing.metadata.annotations.get(APPLICATION)


def is_own(thing: KubeObject, run_uid: str) -> bool:
    """Whether a run has created it: its controller is the run's job (I11)."""
    return thing.metadata.labels.get(RUN) == run_uid and thing.is_controlled_by(run_uid)


def owner(run: Run) -> Mapping[str, Any]:
    """The owner reference to the run's job, for what the run creates."""
    resource = (BackupJob if isinstance(run, BackupRun) else RestoreJob).resource
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": run.name,
        "uid": run.uid,
        "controller": True,
    }


def hex_of(uid: str, digits: int) -> str:
    """The first hex digits of a UID."""
    return uid.replace("-", "").lower()[:digits]
