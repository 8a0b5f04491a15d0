"""The group `events.k8s.io/v1`: the events of the core group in their newer form."""

from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from cozydrivers.api.base import KubeObject, Model, Resource


class ObjectReference(Model):
    """The object that an Event is about."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class EventSeries(Model):
    """How often an Event has come, its first time included; at least 2."""

    count: int = 0
    last_observed_time: datetime | None = None


class Event(KubeObject):
    """An Event; `type` is Normal or Warning.

    Those that others wrote in the core group's form have the `deprecated_` fields, and no `event_time`.
    """

    keeps_raw: ClassVar[bool] = False
    resource: ClassVar[Resource] = Resource("events.k8s.io", "v1", "Event", "events", namespaced=True, status=False)

    regarding: ObjectReference = Field(default_factory=ObjectReference)
    type: str = ""
    reason: str = ""
    note: str = ""
    action: str = ""
    event_time: datetime | None = None
    series: EventSeries | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""
    deprecated_count: int = 0
    deprecated_first_timestamp: datetime | None = None
    deprecated_last_timestamp: datetime | None = None
    deprecated_source: dict[str, Any] = Field(default_factory=dict)
