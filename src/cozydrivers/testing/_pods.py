"""What the server does to Pods and to the templates of Pods: defaults and checks."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cozydrivers.testing._status import FieldError, invalid_value
from cozydrivers.testing._store import Object

_CONTAINER_DEFAULTS = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_POD_DEFAULTS = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
_TOLERATION = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
_ADMISSION = {
    "tolerations": [
        {"key": "node.kubernetes.io/not-ready", **_TOLERATION},
        {"key": "node.kubernetes.io/unreachable", **_TOLERATION},
    ],
    "priority": 0,
    "preemptionPolicy": "PreemptLowerPriority",
}
_UNTIMED = {"lastProbeTime": None, "lastTransitionTime": None}
_MODE = {"defaultMode": 0o644}
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_DNS_LABEL}')"
)
_POLICIES = ("Always", "OnFailure", "Never")
_MUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
)


def completed_pod(obj: Object) -> Object:
    """Fill in what the server fills in while it decodes a Pod."""
    spec = {"enableServiceLinks": True, **completed_spec(obj.get("spec") or {})}
    status = obj.get("status") or {}
    if "conditions" in status:
        status = {**status, "conditions": untimed(status["conditions"])}
    if "containerStatuses" in status:
        status = {**status, "containerStatuses": [{"lastState": {}, **item} for item in status["containerStatuses"]]}
    if status.get("podIP"):
        status = {**status, "podIPs": [{"ip": status["podIP"]}]}
    return {**obj, "spec": spec, **({"status": status} if "status" in obj else {})}


def admitted_pod(obj: Object) -> Object:
    """Fill in what the server adds to a new Pod."""
    status = {"phase": "Pending", "qosClass": "BestEffort"}
    return {**obj, "spec": {**_ADMISSION, **obj["spec"]}, "status": status}


def untimed(conditions: list[Object]) -> list[Object]:
    """Write the times of conditions that have none."""
    return [{**_UNTIMED, **condition} for condition in conditions]


def completed_spec(spec: Mapping[str, Any]) -> Object:
    """Fill in a Pod's spec, its own or a template's."""
    filled: Object = {**_POD_DEFAULTS, **spec}
    for kind in ("initContainers", "containers"):
        if kind == "containers" or kind in spec:
            filled[kind] = [_container(item) for item in spec.get(kind) or ()]
    if "volumes" in spec:
        filled["volumes"] = [_volume(item) for item in spec["volumes"]]
    if "serviceAccountName" in spec:
        filled["serviceAccount"] = spec["serviceAccountName"]
    return filled


def _container(container: Mapping[str, Any]) -> Object:
    tag = container.get("image", "").rpartition("/")[2].partition(":")[2]
    policy = "Always" if tag in ("", "latest") and "@" not in container.get("image", "") else "IfNotPresent"
    filled: Object = {**_CONTAINER_DEFAULTS, "imagePullPolicy": policy, **container}
    if container.get("ports"):
        filled["ports"] = [{"protocol": "TCP", **port} for port in container["ports"]]
    if container.get("env"):
        filled["env"] = [_variable(item) for item in container["env"]]
    return filled


def _variable(variable: Mapping[str, Any]) -> Object:
    source = variable.get("valueFrom") or {}
    if "fieldRef" not in source:
        return dict(variable)
    return {**variable, "valueFrom": {**source, "fieldRef": {"apiVersion": "v1", **source["fieldRef"]}}}


def _volume(volume: Mapping[str, Any]) -> Object:
    filled = {key: {**_MODE, **volume[key]} for key in ("secret", "configMap", "projected") if key in volume}
    return {**volume, **filled}


def check_pod(new: Object, old: Object | None) -> list[FieldError]:
    """Check a Pod. Of the Go structs that the server prints for a change of the spec nothing is shown."""
    if old is None:
        return list(spec_errors(new["spec"], "spec"))
    if _settled(new["spec"]) == _settled(old["spec"]):
        return []
    return [FieldError("Forbidden", "spec", f"Forbidden: {_MUTABLE}")]


def _settled(spec: Object) -> Object:
    """The part of a spec that stays."""
    fixed = {key: value for key, value in spec.items() if key not in ("activeDeadlineSeconds", "tolerations")}
    for kind in ("initContainers", "containers"):
        if kind in spec:
            fixed[kind] = [{**item, "image": "", "imagePullPolicy": ""} for item in spec[kind]]
    return fixed


def spec_errors(spec: Object, path: str) -> Iterator[FieldError]:
    """Check a Pod's spec, its own or a template's."""
    volumes = {volume.get("name") for volume in spec.get("volumes", ())}
    if not spec["containers"]:
        yield FieldError("Required", f"{path}.containers", "Required value")
    names: set[str] = set()
    for kind in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(kind, ())):
            yield from _container_errors(container, f"{path}.{kind}[{i}]", names, volumes)
    if spec["restartPolicy"] not in _POLICIES:
        yield unsupported(f"{path}.restartPolicy", spec["restartPolicy"], _POLICIES)


def unsupported(path: str, value: str, allowed: tuple[str, ...]) -> FieldError:
    """Build the error of a value that is none of those allowed."""
    listed = ", ".join(json.dumps(item) for item in allowed)
    return FieldError("NotSupported", path, f"Unsupported value: {json.dumps(value)}: supported values: {listed}")


def _container_errors(
    container: Mapping[str, Any], path: str, names: set[str], volumes: set[str | None]
) -> Iterator[FieldError]:
    name = container.get("name", "")
    if not name:
        yield FieldError("Required", f"{path}.name", "Required value")
    elif not re.fullmatch(_DNS_LABEL, name):
        yield invalid_value(f"{path}.name", json.dumps(name), _DNS_LABEL_RULE)
    elif name in names:
        yield FieldError("Duplicate", f"{path}.name", f"Duplicate value: {json.dumps(name)}")
    names.add(name)
    if not container.get("image"):
        yield FieldError("Required", f"{path}.image", "Required value")
    for i, variable in enumerate(container.get("env", ())):
        if variable.get("value") and variable.get("valueFrom"):
            why = "may not be specified when `value` is not empty"
            yield invalid_value(f"{path}.env[{i}].valueFrom", '""', why)
    for i, mount in enumerate(container.get("volumeMounts", ())):
        if mount.get("name") not in volumes:
            yield FieldError(
                "NotFound", f"{path}.volumeMounts[{i}].name", f"Not found: {json.dumps(mount.get('name', ''))}"
            )
