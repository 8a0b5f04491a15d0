"""What the server does to Jobs: defaults, labels, and the checks of spec and status (kube-apiserver 1.33)."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cozydrivers.testing._pods import completed_spec, spec_errors, unsupported, untimed
from cozydrivers.testing._status import FieldError, invalid_value
from cozydrivers.testing._store import Object, with_metadata

ORPHANING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
    "set propagationPolicy=Orphan to suppress this warning"
)
"""The warning on a deletion that names no propagation policy: then the Pods of a Job stay."""

_DEFAULTS = {
    "backoffLimit": 6,
    "manualSelector": False,
    "completionMode": "NonIndexed",
    "suspend": False,
    "podReplacementPolicy": "TerminatingOrFailed",
}
_CRON_DEFAULTS = {
    "concurrencyPolicy": "Allow",
    "suspend": False,
    "successfulJobsHistoryLimit": 3,
    "failedJobsHistoryLimit": 1,
}
_UID_LABEL = "batch.kubernetes.io/controller-uid"
_NOT_NEGATIVE = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
_COUNTED = ("active", "succeeded", "failed")
_OMITTED = (*_COUNTED, "conditions")
_COUNTERS = (*_COUNTED, "ready", "terminating")
_EXCLUSIVE = (
    ("Complete", "Failed"),
    ("Complete", "FailureTarget"),
    ("SuccessCriteriaMet", "Failed"),
    ("SuccessCriteriaMet", "FailureTarget"),
)
_REQUIRED = (("Complete", "SuccessCriteriaMet"), ("Failed", "FailureTarget"))
_FINAL = ("Complete", "Failed", "FailureTarget", "SuccessCriteriaMet")
_LONGEST_LABEL = 63


def completed_job(obj: Object) -> Object:
    """Fill in what the server fills in while it decodes a Job; one without labels gets those of its template."""
    spec = {**_DEFAULTS, **_counts(obj.get("spec") or {}), **(obj.get("spec") or {})}
    template = spec.get("template") or {}
    metadata = {"creationTimestamp": None, **(template.get("metadata") or {})}
    spec["template"] = {**template, "metadata": metadata, "spec": completed_spec(template.get("spec") or {})}
    status = {key: value for key, value in (obj.get("status") or {}).items() if value or key not in _OMITTED}
    if status.get("conditions"):
        status = {**status, "conditions": untimed(status["conditions"])}
    return _labelled({**obj, "spec": spec, "status": status})


def completed_cron_job(obj: Object) -> Object:
    """Fill in what the server fills in while it decodes a CronJob."""
    template = obj["spec"].get("jobTemplate") or {}
    job = template.get("spec") or {}
    pod = job.get("template") or {}
    filled = {
        "metadata": {"creationTimestamp": None, **(template.get("metadata") or {})},
        "spec": {
            **job,
            "template": {
                "metadata": {"creationTimestamp": None, **(pod.get("metadata") or {})},
                "spec": completed_spec(pod.get("spec") or {}),
            },
        },
    }
    spec = {**_CRON_DEFAULTS, **obj["spec"], "jobTemplate": filled}
    return {**obj, "spec": spec, "status": obj.get("status") or {}}


def _counts(spec: Object) -> Object:
    """One Pod that has to succeed, unless one of the two numbers is given."""
    if "parallelism" not in spec and "completions" not in spec:
        return {"parallelism": 1, "completions": 1}
    return {} if "parallelism" in spec else {"parallelism": 1}


def _labelled(obj: Object) -> Object:
    labels = obj["spec"]["template"]["metadata"].get("labels")
    if not labels or obj["metadata"].get("labels"):
        return obj
    return with_metadata(obj, labels=dict(labels))


def prepared_job(obj: Object) -> Object:
    """Give a new Job its selector, and its template the labels that the selector finds."""
    uid, name = obj["metadata"]["uid"], obj["metadata"]["name"]
    labels = {"controller-uid": uid, "job-name": name}
    labels |= {f"batch.kubernetes.io/{key}": value for key, value in labels.items()}
    template = obj["spec"]["template"]
    metadata = {**template["metadata"], "labels": {**template["metadata"].get("labels", {}), **labels}}
    selector = {"matchLabels": {**obj["spec"].get("selector", {}).get("matchLabels", {}), _UID_LABEL: uid}}
    spec = {**obj["spec"], "selector": selector, "template": {**template, "metadata": metadata}}
    return {**obj, "spec": spec, "status": {}}


def admitted_job(obj: Object) -> Object:
    """Show a new Job as it is read back."""
    return _labelled(prepared_job(obj))


def check_job(new: Object, old: Object | None) -> list[FieldError]:
    """Check a Job."""
    if old is None:
        return list(_spec_errors(prepared_job(new)))
    if new["spec"] != old["spec"]:
        return [*_spec_errors(new), *_changes(new["spec"], old)]
    return list(_status_errors(new["status"], old["status"], old["spec"]))


def _spec_errors(obj: Object) -> Iterator[FieldError]:
    spec, template = obj["spec"], obj["spec"]["template"]
    for key in _NOT_NEGATIVE:
        if (value := spec.get(key) or 0) < 0:
            yield _negative(f"spec.{key}", value)
    labels = template["metadata"]["labels"]
    for key, value in spec["selector"]["matchLabels"].items():
        if labels.get(key) != value:
            selector = {"matchLabels": spec["selector"]["matchLabels"]}
            yield invalid_value("spec.selector", json.dumps(selector), "`selector` not auto-generated")
            yield invalid_value(
                "spec.template.metadata.labels", json.dumps(labels), "`selector` does not match template `labels`"
            )
    for value in labels.values():
        if len(value) > _LONGEST_LABEL:
            yield invalid_value(
                "spec.template.labels", json.dumps(value), f"must be no more than {_LONGEST_LABEL} characters"
            )
    yield from spec_errors(template["spec"], "spec.template.spec")
    policy = template["spec"]["restartPolicy"]
    if policy == "Always":
        yield FieldError(
            "Required", "spec.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"'
        )
    elif policy not in ("OnFailure", "Never"):
        yield unsupported("spec.template.spec.restartPolicy", policy, ("OnFailure", "Never"))


def _changes(new: Object, old: Object) -> Iterator[FieldError]:
    """Find the changes of a spec that are refused; a suspended Job that has not started may get another template."""
    known, free = old["spec"], old["spec"]["suspend"] and "startTime" not in old["status"]
    for key in ("completions", "completionMode"):
        if new.get(key) != known.get(key):
            yield invalid_value(f"spec.{key}", json.dumps(new.get(key)), "field is immutable")
    if new["selector"] != known["selector"]:
        yield invalid_value("spec.selector", json.dumps(new["selector"]), "field is immutable")
    if new["template"] != known["template"] and not free:
        yield invalid_value("spec.template", '"object"', "field is immutable")


def _status_errors(new: Object, old: Object, spec: Object) -> Iterator[FieldError]:
    for key in _COUNTERS:
        if new.get(key, 0) < 0:
            yield _negative(f"status.{key}", new[key])
    if new.get("ready") and new["ready"] > new.get("active", 0):
        yield _wrong("status.ready", new["ready"], "cannot set more ready pods than active")
    true, was = _true(new), _true(old)
    yield from _completion_errors(new, old, true)
    yield from _condition_errors(true, was)
    if true & {"Complete", "Failed"}:
        yield from _end_errors(new)
    if "startTime" in old and new.get("startTime") != old["startTime"] and not spec["suspend"]:
        message = "Required value: startTime cannot be removed for unsuspended job"
        yield FieldError("Required", "status.startTime", message)
    for key in ("succeeded", "failed"):
        if new.get(key, 0) < old.get(key, 0) or new.get(key, 0) < 0:
            yield _wrong(f"status.{key}", new.get(key, 0), f"cannot decrease the {key} counter")


def _completion_errors(new: Object, old: Object, true: set[str]) -> Iterator[FieldError]:
    field, at = "status.completionTime", new.get("completionTime")
    if at is None:
        if "Complete" in true:
            yield FieldError("Required", field, "Required value: completionTime is required for Complete jobs")
        return
    shown = f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M:%S} +0000 UTC"
    if "Complete" not in true:
        yield _wrong(field, shown, "cannot set completionTime when there is no Complete=True condition")
    elif old.get("completionTime") not in (None, at):
        yield _wrong(field, shown, "completionTime cannot be mutated")
    elif at < new.get("startTime", ""):
        yield _wrong(field, shown, "completionTime cannot be set before startTime")


def _condition_errors(true: set[str], was: set[str]) -> Iterator[FieldError]:
    for kind in _FINAL:
        if kind in was - true:
            terminal = "" if kind == "SuccessCriteriaMet" else "terminal "
            yield _conditions(f"cannot disable the {terminal}{kind}=True condition")
    for kind, other in _EXCLUSIVE:
        if {kind, other} <= true:
            yield _conditions(f"cannot set {kind}=True and {other}=true conditions")
    for kind, first in _REQUIRED:
        if kind in true and first not in true:
            yield _conditions(f"cannot set {kind}=True condition without the {first}=true condition")


def _end_errors(new: Object) -> Iterator[FieldError]:
    if "startTime" not in new:
        yield FieldError("Required", "status.startTime", "Required value: startTime is required for finished job")
    for key in ("active", "terminating"):
        if new.get(key, 0) > 0:
            yield _wrong(f"status.{key}", new[key], f"{key}>0 is invalid for finished job")


def _true(status: Object) -> set[str]:
    return {item["type"] for item in status.get("conditions", ()) if item.get("status") == "True"}


def _negative(field: str, value: int) -> FieldError:
    return _wrong(field, value, "must be greater than or equal to 0")


def _wrong(field: str, value: Any, message: str) -> FieldError:
    return invalid_value(field, str(value), message)


def _conditions(message: str) -> FieldError:
    return FieldError("Invalid", "status.conditions", f"Invalid value: {message}")
