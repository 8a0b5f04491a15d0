"""A sidecar's container, and what its environment tells. Pure.

A Pod's environment holds values, keys of Secrets (Cozystack's chart gives bucket and keys so), and `$(NAME)` of
variables that stand before.
"""

import re
from collections.abc import Iterable, Mapping

from cozydrivers.api.core import Container, Pod, Secret

PORT_NAME = "ch-backup-api"


def sidecar_of(pod: Pod) -> Container | None:
    """The container of a Pod that serves the port of clickhouse-backup; it may be a native sidecar."""
    native = [container for container in pod.spec.init_containers if container.restart_policy == "Always"]
    return next((each for each in (*pod.spec.containers, *native) if port_of(each)), None)


def port_of(container: Container) -> int:
    """The sidecar's port, 0 where the container has none."""
    return next((port.container_port for port in container.ports if port.name == PORT_NAME), 0)


def secrets_named(container: Container, prefixes: Iterable[str]) -> set[str]:
    """The Secrets that variables with these prefixes take their values from."""
    keys = [v.value_from.secret_key_ref for v in container.env if v.value_from and v.name.startswith(tuple(prefixes))]
    return {key.name for key in keys if key}


def told(container: Container, secrets: Mapping[str, Secret]) -> dict[str, str]:
    """The variables whose values can be told; `secrets` are those that exist, by name."""
    found: dict[str, str] = {}
    for variable in container.env:
        reference = variable.value_from.secret_key_ref if variable.value_from else None
        if reference is not None:
            secret = secrets.get(reference.name)
            value = secret.value(reference.key) if secret else None
        else:
            value = None if variable.value_from else _expanded(variable.value, found)
        if value is not None:
            found[variable.name] = value
    return found


def is_true(environment: Mapping[str, str], name: str) -> bool:
    """Whether a variable holds a word that Go reads as true, in any case."""
    return environment.get(name, "").lower() in ("1", "t", "true")


def _expanded(value: str, before: Mapping[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda found: before.get(found[1], found[0]), value)
