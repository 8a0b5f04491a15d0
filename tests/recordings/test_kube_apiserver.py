"""The fake cluster answers as the real API server did: the recorded session is replayed and compared."""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import looptime
import pytest
from tests.recordings.counts import record

from cozydrivers.testing import FakeCluster

FIXTURES = Path(__file__).parents[2] / "fixtures"
SAMPLES = FIXTURES / "samples" / "kube-apiserver"
NOT_REPRODUCED = Path(__file__).with_name("kube-apiserver-not-reproduced.txt")

BACKUPJOBS = "/apis/backups.cozystack.io/v1alpha1/namespaces/tenant-demo/backupjobs"
CONFIGMAPS = "/api/v1/namespaces/tenant-demo/configmaps"
HEADERS = ("Content-Type", "Cache-Control", "Warning", "Retry-After")
TOKENS = {"<admin>": "admin", "<user-without-rights>": "nobody", "<unknown>": "unknown"}
SPEC = {
    "applicationRef": {"apiGroup": "apps.cozystack.io", "kind": "MariaDB", "name": "my-mariadb"},
    "backupClassName": "nonexistent-class",
}
MERGE = "application/merge-patch+json"
WATCH_SECONDS = 20.0

# What differs from run to run: times of the clock, UIDs (mapped, see Replay) and the suffixes of generated names.
TIMES = {"creationTimestamp", "deletionTimestamp", "time"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SUFFIX = re.compile(r"\b(job-gen-|job-1[-.])[a-z0-9]{5}\b")


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: Any


class Replay:
    """Sends the recorded requests to a fake, with the UIDs that the fake gave."""

    def __init__(self) -> None:
        self.fake = FakeCluster([FIXTURES / "crds"], now=datetime(2026, 11, 23, 0, 46, 12, tzinfo=UTC))
        self.fake.add_user("nobody", "nobody")
        self.uids: dict[str, str] = {}

    def set_version(self, version: int) -> None:
        """Skip versions that other objects took in the recorded session."""
        self.fake._store.version = version

    async def send(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        """Do something that was done between the recorded exchanges."""
        headers = {"Authorization": "Bearer admin", "Content-Type": content}
        status, _, answer = await self._handle(method, path, headers, body)
        assert status < 300, answer
        return json.loads(answer)

    async def replay(self, name: str, meanwhile: "Step | None" = None) -> Answer:
        request = json.loads(self._mapped(json.dumps(recording(name)["request"])))
        headers = dict(request.get("headers", {}))
        if "Authorization" in headers:
            token = headers["Authorization"].removeprefix("Bearer ")
            headers["Authorization"] = f"Bearer {TOKENS[token]}"
        status, answered, body = await self._handle(request["method"], request["path"], headers, request.get("body"))
        if isinstance(body, bytes):
            answer = Answer(status, answered, _decoded(body))
        else:
            answer = Answer(status, answered, await self._watch(body, meanwhile))
        self._learn(recording(name)["response"]["body"], answer.body)
        return answer

    async def _handle(self, method: str, path: str, headers: dict[str, str], body: Any) -> Any:
        parts = urlsplit(path)
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode() if body is not None else b""
        return await self.fake.handle(method, parts.path, dict(parse_qsl(parts.query)), headers, content)

    async def _watch(self, lines: Any, meanwhile: "Step | None") -> Any:
        events: list[Any] = []
        closed = False
        async with aclosing(lines), anyio.create_task_group() as tasks:
            if meanwhile:
                tasks.start_soon(meanwhile, self)
            with anyio.move_on_after(WATCH_SECONDS):
                async for line in lines:
                    events += [json.loads(line)]
                closed = True
        framing = "one JSON object per line, chunked"
        return {"framing": framing, "closed_by_server": closed, "events": events}

    def _mapped(self, text: str) -> str:
        return UID.sub(lambda match: self.uids.get(match[0], match[0]), text)

    def _learn(self, recorded: Any, answered: Any) -> None:
        self.uids |= zip(
            UID.findall(json.dumps(recorded)), UID.findall(_ordered_like(recorded, answered)), strict=False
        )

    def normal(self, value: Any, key: str = "") -> Any:
        """Replace what differs from run to run."""
        if isinstance(value, dict):
            return {name: self.normal(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self.normal(item, key) for item in value]
        if key in TIMES and value is not None:
            return "<time>"
        if not isinstance(value, str):
            return value
        text = self._mapped(SUFFIX.sub(r"\1<suffix>", value))
        return TIME.sub("<time>", text) if len(text) > 40 else text


Step = Callable[[Replay], Coroutine[Any, Any, None]]


def _ordered_like(recorded: Any, answered: Any) -> str:
    """Write the answer in the recording's order of keys, so that UIDs come in the same places."""
    return json.dumps(_reordered(recorded, answered))


def _reordered(like: Any, value: Any) -> Any:
    if isinstance(like, dict) and isinstance(value, dict):
        keys = [key for key in like if key in value] + [key for key in value if key not in like]
        return {key: _reordered(like.get(key), value[key]) for key in keys}
    if isinstance(like, list) and isinstance(value, list):
        return [_reordered(like[i] if i < len(like) else None, item) for i, item in enumerate(value)]
    return value


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


def recording(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _configmap(name: str, **metadata: Any) -> dict[str, Any]:
    shown = {"apiVersion": "v1", "kind": "ConfigMap"}
    return {**shown, "metadata": {"name": name, **metadata}, "data": {"a": "1"}}


def _backupjob(name: str, **metadata: Any) -> dict[str, Any]:
    shown = {"apiVersion": "backups.cozystack.io/v1alpha1", "kind": "BackupJob"}
    return {**shown, "metadata": {"name": name, **metadata}, "spec": SPEC}


def creates(path: str, *bodies: dict[str, Any]) -> Step:
    async def step(replay: Replay) -> None:
        for body in bodies:
            await replay.send("POST", path, body)

    return step


def at_version(version: int) -> Step:
    async def step(replay: Replay) -> None:
        replay.set_version(version)

    return step


async def _namespaces(replay: Replay) -> None:
    await replay.send("POST", "/api/v1/namespaces", {"metadata": {"name": "tenant-demo"}})
    replay.fake.compact()
    replay.fake._store.compacted = 345
    replay.set_version(403)


async def _change_configmap(replay: Replay) -> None:
    await replay.send("POST", CONFIGMAPS, _configmap("w-1"))
    await replay.send("PATCH", f"{CONFIGMAPS}/w-1", {"data": {"a": "2"}}, MERGE)
    await replay.send("DELETE", f"{CONFIGMAPS}/w-1")


async def _change_labels(replay: Replay) -> None:
    replay.set_version(444)
    await replay.send("POST", CONFIGMAPS, _configmap("w-2"))
    for value in ("on", None, "on"):
        await replay.send("PATCH", f"{CONFIGMAPS}/w-2", {"metadata": {"labels": {"sel": value}}}, MERGE)


async def _finalize(replay: Replay) -> None:
    replay.set_version(448)
    await replay.send("POST", BACKUPJOBS, _backupjob("w-3", finalizers=["x.example.com/f"]))
    await replay.send("DELETE", f"{BACKUPJOBS}/w-3")
    await replay.send("PATCH", f"{BACKUPJOBS}/w-3", {"metadata": {"finalizers": None}}, MERGE)


async def _compact(replay: Replay) -> None:
    replay.set_version(700)
    replay.fake._store.compacted = 699


# The session in its order; a word with a star is what happened between the recorded exchanges.
SESSION_TEXT = """
*namespaces
create create-already-exists create-generate-name create-invalid-schema create-invalid-type create-dry-run
create-invalid-enum-in-status create-unknown-field-strict create-unknown-field-warn create-unknown-field-ignore
create-unknown-field-default create-duplicate-key-strict create-missing-namespace create-name-too-long
create-name-invalid create-name-empty create-label-too-long create-wrong-kind create-name-mismatch-on-put
create-namespace-mismatch create-with-resource-version create-malformed-json create-empty-body
create-unsupported-content-type create-yaml-body not-acceptable
get get-not-found get-unknown-resource get-unknown-group put-collection post-to-named-custom-resource
method-not-allowed options-method head-object unauthorized-401 anonymous-403 forbidden-403-list forbidden-403-create
forbidden-403-get-secret impersonate-forbidden
put-ignores-status put-status put-stale-resource-version put-status-stale-resource-version
put-without-resource-version put-configmap-create-on-update put-no-change put-wrong-uid put-immutable-field-cel
patch-immutable-field-cel put-status-invalid-enum patch-condition-reason-invalid
merge-patch merge-patch-status merge-patch-status-in-main-ignored merge-patch-stale-resource-version
merge-patch-no-change merge-patch-not-found json-patch json-patch-test-fails json-patch-missing-path
patch-unsupported-media-type strategic-merge-on-custom-resource patch-malformed-json
apply-create apply-no-change apply-conflict apply-force apply-remove-owned-field apply-without-field-manager
apply-custom-resource-status apply-managed-fields-in-body
create-without-status-subresource patch-status-without-subresource
*create-del-1
delete-wrong-uid delete-wrong-resource-version delete-with-preconditions delete-not-found
*create-del-2
delete-custom-resource
*create-del-3
delete-with-finalizer delete-again-while-terminating get-terminating add-finalizer-while-terminating
create-while-terminating remove-last-finalizer get-after-finalizer-removed
*create-pp-background
delete-propagation-background
*create-pp-foreground
delete-propagation-foreground
*create-pp-orphan
delete-propagation-orphan delete-propagation-invalid delete-dry-run
*create-coll
deletecollection
*create-l
list-label-eq list-label-double-eq list-label-ne list-label-in list-label-notin list-label-exists
list-label-not-exists list-label-and list-label-invalid list-field-name list-field-name-custom-resource
list-field-unsupported list-all-namespaces list-empty list-missing-namespace list-limit list-continue
list-limit-with-selector list-continue-invalid list-resource-version-0 list-resource-version-exact-old
list-resource-version-too-large list-partial-metadata get-partial-metadata
watch-from-resource-version watch-label-selector watch-without-resource-version watch-resource-version-0
watch-finalizer-lifecycle
*at-452
watch-timeout-seconds watch-send-initial-events-gate-off watch-partial-metadata watch-single-object
watch-future-resource-version watch-invalid-resource-version watch-too-old-resource-version
*at-453
secret-string-data secret-bad-base64 secret-immutable-type
event-create-core event-create-wrong-namespace event-create-events-v1-bad-generate-name event-create-events-v1
event-list-involved-object
lease-create lease-renew lease-update-race lease-invalid-time
self-subject-access-review-allowed self-subject-access-review-denied subject-access-review-denied
subject-access-review-allowed token-review-bad discovery-group-version healthz
job-create job-status-complete-invalid job-status-complete job-status-strategic-merge pod-create-default-token
*create-tenant-leaving
namespace-delete create-in-terminating-namespace
*at-591
watch-bookmarks-timeout
*compact
list-continue-expired list-exact-too-old
"""
SESSION = SESSION_TEXT.split()

LABELS = (
    {"env": "prod", "tier": "a"},
    {"env": "dev", "tier": "a"},
    {"env": "prod", "tier": "b"},
    {"env": "test", "tier": "c"},
)
STEPS: dict[str, Step] = {
    "*namespaces": _namespaces,
    "*create-del-1": creates(CONFIGMAPS, _configmap("del-1")),
    "*create-del-2": creates(BACKUPJOBS, _backupjob("del-2")),
    "*create-del-3": creates(BACKUPJOBS, _backupjob("del-3", finalizers=["backups.cozystack.io/cleanup"])),
    "*create-pp-background": creates(CONFIGMAPS, _configmap("pp-background")),
    "*create-pp-foreground": creates(CONFIGMAPS, _configmap("pp-foreground")),
    "*create-pp-orphan": creates(CONFIGMAPS, _configmap("pp-orphan")),
    "*create-coll": creates(CONFIGMAPS, *(_configmap(f"coll-{i}", labels={"set": "coll"}) for i in range(3))),
    "*create-l": creates(
        CONFIGMAPS, *(_configmap(f"l-{i}", labels=labels) for i, labels in enumerate(LABELS)), _configmap("l-4")
    ),
    "*at-452": at_version(452),
    "*at-453": at_version(453),
    "*create-tenant-leaving": creates("/api/v1/namespaces", {"metadata": {"name": "tenant-leaving"}}),
    "*at-591": at_version(591),
    "*compact": _compact,
}
MEANWHILE: dict[str, Step] = {
    "watch-from-resource-version": _change_configmap,
    "watch-label-selector": _change_labels,
    "watch-finalizer-lifecycle": _finalize,
    "watch-bookmarks-timeout": creates(
        "/api/v1/namespaces/default/configmaps", *(_configmap(f"elsewhere-{i}") for i in range(3))
    ),
}


def _names() -> list[str]:
    return sorted(step for step in SESSION if step not in STEPS)


def _listed() -> dict[str, str]:
    lines = NOT_REPRODUCED.read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def session() -> tuple[Replay, dict[str, Answer]]:
    async def run() -> tuple[Replay, dict[str, Answer]]:
        replay, answers = Replay(), {}
        await replay.fake.handle("GET", "/readyz", {}, {"Authorization": "Bearer admin"}, b"")
        for step in SESSION:
            if step in STEPS:
                await STEPS[step](replay)
            else:
                answers[step] = await replay.replay(step, MEANWHILE.get(step))
        return replay, answers

    with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, noop_cycles=0)) as runner:
        return runner.run(run())


@pytest.mark.parametrize("name", _names())
def test_the_fake_answers_as_the_server_did(session: tuple[Replay, dict[str, Answer]], name: str) -> None:
    replay, answers = session
    recorded, answered = recording(name)["response"], answers[name]
    assert answered.status == recorded["status"]
    assert replay.normal(answered.body) == replay.normal(recorded["body"])
    wanted = {(header, text) for header in HEADERS for text in _texts(recorded["headers"].get(header))}
    assert {pair for pair in answered.headers if pair[0] in HEADERS} == wanted


def _texts(value: str | list[str] | None) -> list[str]:
    return value if isinstance(value, list) else [value] if value else []


def test_every_recording_is_reproduced_or_listed() -> None:
    recorded = {path.stem for path in SAMPLES.glob("*.json")}
    listed = set(_listed())
    record("kube-apiserver", len(recorded - listed), len(listed))
    assert recorded == listed | set(_names())
    assert not listed & set(_names())
