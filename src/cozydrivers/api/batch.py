"""The group `batch/v1`."""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from cozydrivers.api.base import Condition, KubeObject, Model, Resource
from cozydrivers.api.core import PodSpec


class PodTemplate(Model):
    """What a Job's Pods are made of."""

    spec: PodSpec = Field(default_factory=PodSpec)


class JobSpec(Model):
    """Spec of a Job; one that is suspended has no Pods."""

    suspend: bool = False
    template: PodTemplate = Field(default_factory=PodTemplate)


class JobStatus(Model):
    """Status of a Job, with its Pods counted; `start_time` is set when it is first not suspended."""

    ready: int = 0
    succeeded: int = 0
    start_time: datetime | None = None
    conditions: list[Condition] = Field(default_factory=list)


class Job(KubeObject):
    """A Job: Pods that run to their end."""

    resource: ClassVar[Resource] = Resource("batch", "v1", "Job", "jobs", namespaced=True)

    spec: JobSpec = Field(default_factory=JobSpec)
    status: JobStatus = Field(default_factory=JobStatus)

    def condition(self, kind: str) -> Condition | None:
        """Its condition of that type, if it is True."""
        return next((told for told in self.status.conditions if (told.type, told.status) == (kind, "True")), None)

    @property
    def finished(self) -> bool:
        """Whether it is Complete or Failed: then none of its Pods runs, and none will."""
        return self.condition("Complete") is not None or self.condition("Failed") is not None
