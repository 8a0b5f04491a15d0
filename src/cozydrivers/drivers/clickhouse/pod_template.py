"""From a strategy's template to the Jobs of a run: what it must use, and what is set whatever it says. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cozydrivers.drivers.base import Run
from cozydrivers.drivers.clickhouse.pod_state import job_name
from cozydrivers.drivers.owned import APPLICATION, RUN, owner
from cozydrivers.errors import InvalidInput

JOB_NAME = "backups.cozystack.io/owned-by.BackupJobName"
"""Label by which the Pods' logs are found: the name of the BackupJob or RestoreJob."""
KEPT = 24 * 3600
"""Seconds that a finished Job stays, with its Pods and their logs."""
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Slot:
    """What a shard's template is given: `.Shard`, `.Host` and `.Archive`."""

    shard: int
    host: str
    archive: str


def template(run: Run, slot: Slot) -> Mapping[str, Any]:
    """The Pod template rendered for a shard; InvalidInput where it does not render, or is none."""
    spec = run.render({"Shard": slot.shard, "Host": slot.host, "Archive": slot.archive})
    rendered = spec.get("template")
    pod = rendered.get("spec") if isinstance(rendered, Mapping) else None
    if not isinstance(rendered, Mapping) or not isinstance(pod, Mapping) or not pod.get("containers"):
        raise InvalidInput("the strategy's spec.template.spec.containers is empty: there is nothing to execute")
    return rendered


def check(run: Run, slots: Sequence[Slot]) -> None:
    """Refuse a template that would do the same for several shards."""
    told_apart = {json.dumps(template(run, replace(slot, archive="same")), sort_keys=True) for slot in slots}
    if len(told_apart) < len(slots):
        raise InvalidInput(
            f"the strategy's spec.template uses neither .Host nor .Shard: "
            f"it would do the same for each of {len(slots)} shards"
        )


def names_archive(run: Run, slots: Sequence[Slot]) -> bool:
    """Whether the template uses `.Archive`, for every shard: with another name it becomes another one."""
    return all(template(run, slot) != template(run, replace(slot, archive="another")) for slot in slots)


def body(run: Run, slot: Slot) -> Mapping[str, Any]:
    """The Job of a shard, suspended.

    One that failed is not tried again, because its script may have done half of its work (I3).
    """
    rendered = template(run, slot)
    metadata = rendered.get("metadata") or {}
    labels = {RUN: run.uid} | ({JOB_NAME: run.name} if _LABEL.fullmatch(run.name) else {})
    return {
        "metadata": {
            "name": job_name(run, slot.shard),
            "labels": labels,
            "annotations": {APPLICATION: run.application.metadata.name},
            "ownerReferences": [owner(run)],
        },
        "spec": {
            "suspend": True,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": max(int(run.timeout), 1),
            "ttlSecondsAfterFinished": KEPT,
            "template": {
                "metadata": {
                    "labels": {**(metadata.get("labels") or {}), **labels},
                    "annotations": metadata.get("annotations") or {},
                },
                "spec": {**rendered["spec"], "restartPolicy": "Never"},
            },
        },
    }
