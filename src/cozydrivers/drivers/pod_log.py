"""What a Pod tells: why it does not run yet, and its last words, without the values of the Secrets it reads (I9)."""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from cozydrivers.api.batch import Job
from cozydrivers.api.core import ContainerStatus, Pod, PodSpec, Secret
from cozydrivers.drivers.base import Run
from cozydrivers.errors import ApiError

HIDDEN = "***"
_LINES = 10
_LENGTH = 1024
_READ_LINES = 60
"""More than is shown: what begins above the shown lines is told for what it is."""
_READ_BYTES = 128 * 1024
_SHORTEST_LINE = 4


def secret_names(spec: PodSpec) -> set[str]:
    """The Secrets that the containers of a Pod can read."""
    return {name for name in (*_from_containers(spec), *_from_volumes(spec)) if name}


def _from_containers(spec: PodSpec) -> Iterator[str]:
    for container in (*spec.init_containers, *spec.containers):
        references = [variable.value_from.secret_key_ref for variable in container.env if variable.value_from]
        yield from (reference.name for reference in references if reference)
        yield from (source.secret_ref.name for source in container.env_from if source.secret_ref)


def _from_volumes(spec: PodSpec) -> Iterator[str]:
    for volume in spec.volumes:
        sources = volume.projected.sources if volume.projected else []
        yield from (source.secret.name for source in sources if source.secret)
        if volume.secret:
            yield volume.secret.secret_name


async def last_words(run: Run, job: Job | None, pods: Sequence[Pod]) -> str:
    """How the last Pod of a failed Job ended, and its last lines, as the rest of a sentence."""
    if job is None or not pods:
        return "; its Pod is gone, and its log with it"
    pod = pods[-1]
    status = _failed_container(pod)
    container = status.name if status else next((c.name for c in pod.spec.containers), "")
    secrets = secret_names(job.spec.template.spec) | secret_names(pod.spec)
    return _exit(status) + await _lines(run, pod, container, secrets)


def _failed_container(pod: Pod) -> ContainerStatus | None:
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    ended = [status for status in statuses if status.state.terminated is not None]
    failed = [status for status in ended if status.state.terminated and status.state.terminated.exit_code]
    return next(iter((*failed, *ended)), None)


def _exit(status: ContainerStatus | None) -> str:
    ended = status.state.terminated if status else None
    if status is None or ended is None:
        return ""
    return f"; container {status.name} ended with exit code {ended.exit_code} ({ended.reason})"


async def _lines(run: Run, pod: Pod, container: str, names: Iterable[str]) -> str:
    try:
        secrets = [await run.kube.get(Secret, name, run.namespace) for name in sorted(names)]
    except ApiError as error:
        return f"; its log is not shown, because what to hide in it can't be read: {error}"
    try:
        text = await run.kube.pod_log(
            pod.metadata.name, run.namespace, container=container, tail_lines=_READ_LINES, limit_bytes=_READ_BYTES
        )
    except ApiError as error:
        return f"; its log can't be read: {error}"
    shown = tail(redacted(whole_lines(text), values(secrets)))
    return f"; its last lines: {shown}" if shown else "; its log is empty"


def whole_lines(text: str) -> str:
    """A log without a line that was cut off, which may hold a part of what would be hidden."""
    return text.rpartition("\n")[0] if len(text.encode()) >= _READ_BYTES else text


def values(secrets: Iterable[Secret]) -> set[bytes]:
    """What must not be shown: each value, and each line of one that has several."""
    found = set()
    for secret in secrets:
        for encoded in secret.data.values():
            value = _decoded(encoded).strip()
            lines = [line.strip() for line in value.splitlines()]
            found |= {value, *(line for line in lines if len(line) >= _SHORTEST_LINE)}
    return found - {b""}


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded)
    except (binascii.Error, ValueError):
        return encoded.encode()


def redacted(text: str, hidden: Iterable[bytes]) -> str:
    """The text with `***` for what is hidden: as it is, in a URL, in JSON, and in whatever base64 holds it."""
    hidden = set(hidden)
    spans = sorted((*_plain(text, hidden), *_encoded(text, hidden)))
    shown, end = [], 0
    for start, stop in spans:
        if start >= end:
            shown += [text[end:start], HIDDEN]
        end = max(end, stop)
    return "".join((*shown, text[end:]))


def _plain(text: str, hidden: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    for value in hidden:
        plain = value.decode(errors="replace")
        for form in {plain, quote(plain, safe=""), json.dumps(plain)[1:-1]}:
            yield from ((found.start(), found.end()) for found in re.finditer(re.escape(form), text))


_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{2,}(?:\n[A-Za-z0-9+/_-]+)*={0,2}")
"""What may be base64, also of several lines."""


def _encoded(text: str, hidden: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Base64 is read from each of four places, because what stands before it may be glued to it."""
    for found in _BASE64.finditer(text):
        word = found[0].replace("\n", "").rstrip("=").replace("-", "+").replace("_", "/")
        held = [_read(word[place:]) for place in range(4)]
        if any(value in content for value in hidden for content in held):
            yield found.span()


def _read(word: str) -> bytes:
    word = word[: len(word) - 1] if len(word) % 4 == 1 else word
    return base64.b64decode(word + "=" * (-len(word) % 4))


def tail(text: str) -> str:
    """The last lines as one, without what a terminal would take for a command."""
    lines = [_printable(line) for line in text.splitlines() if line.strip()]
    shown = " | ".join(lines[-_LINES:])
    return shown if len(shown) <= _LENGTH else "…" + shown[-_LENGTH:]


def _printable(line: str) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line)
    return "".join(char if char.isprintable() else " " for char in plain).strip().rstrip(".")


_MOST = 300


def pod_trouble(pod: Pod) -> str:
    """Why a Pod does not run yet, in Kubernetes' words; empty when it does, if only an init container of it."""
    if pod.status.phase not in ("", "Pending"):
        return ""
    if any(status.state.running is not None for status in pod.status.init_container_statuses):
        return ""
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = status.state.waiting
        if waiting is not None and waiting.reason:
            return _words(pod, waiting.reason, waiting.message)
    unmet = next((c for c in pod.status.conditions if (c.type, c.status) == ("PodScheduled", "False")), None)
    return _words(pod, unmet.reason, unmet.message) if unmet else ""


def _words(pod: Pod, reason: str, message: str) -> str:
    text = " ".join(f"Pod {pod.metadata.name}: {reason}: {message}".split())
    return text[:_MOST].rstrip(": .")
