"""The fake sidecar answers as the real ones did: the recorded sessions are replayed and compared."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import looptime
import pytest
from tests.recordings.clickhouse_backup_story import SESSIONS, Step
from tests.recordings.counts import record

from chbackup.testing import FakeSidecar

SAMPLES = Path(__file__).parents[2] / "fixtures" / "samples" / "clickhouse-backup"
NOT_REPRODUCED = Path(__file__).with_name("clickhouse-backup-not-reproduced.txt")
HEADERS = ("Content-Type", "Cache-Control", "Pragma", "Location", "Www-Authenticate")

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
VOLATILE = [
    (UUID, "<id>"),
    (re.compile(r"\b202\d-\d\d-\d\d \d\d:\d\d:\d\d"), "<time>"),
    (re.compile(r"\b202\d-\d\d-\d\dT\d\d-\d\d-\d\d"), "<name>"),
    (re.compile(r"\bw-full-\d{14}"), "<name>"),
    (re.compile(r'"((?:data_|metadata_|compressed_)?size|total_bytes|TotalBytes)":\d+'), r'"\1":0'),
    (re.compile(r'"size":"[^"]+"'), '"size":""'),
    (re.compile(r'"duration":"[^"]+"'), '"duration":""'),
    (re.compile(r'http://(?:[^"\\]|\\u0026)+'), "<url>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
    (re.compile(r"^(?!#|clickhouse_backup_).*\n|^# \w+ (?!clickhouse_backup_).*\n", re.MULTILINE), ""),
    (re.compile(r"^(clickhouse_backup_\w+_(?:start|finish|duration)) .*", re.MULTILINE), r"\1 0"),
    (re.compile(r"^(clickhouse_backup_(?:number_backups|last_backup_size)_\w+) .*", re.MULTILINE), r"\1 0"),
]
"""What differs from run to run. Of the metrics: Go's own, times, and what is refreshed at moments of its own."""
METRICS_ONLY = VOLATILE[-3:]


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str

    def comparable(self) -> tuple[int, dict[str, str | None], bool, str]:
        """Return what must be equal: status, headers that matter, whether a length was given, the words of the body."""
        body, metrics = self.body, "version=0.0.4" in self.headers.get("Content-Type", "")
        for pattern, replacement in VOLATILE:
            if metrics or (pattern, replacement) not in METRICS_ONLY:
                body = pattern.sub(replacement, body)
        headers = {name: self.headers.get(name) for name in HEADERS}
        return self.status, headers, "Content-Length" in self.headers, body


@dataclass
class Replay:
    """Sends a session to a fake; the ids of recorded acknowledgements become those that the fake gave."""

    version: str
    fake: FakeSidecar
    answers: dict[str, Answer] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    async def run(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, tuple):
                await self._send_for(*step)
            elif not isinstance(step, str):
                await step(self.fake)
            elif " " in step:
                await self._send_unrecorded(step)
            elif step.startswith("callback_delivery_"):
                await self._take_callback(step)
            elif recording := _load(self.version, step):
                await self._replay(step, recording)

    async def _replay(self, name: str, recording: Any) -> None:
        request, wanted = recording["request"], recording["response"]["body"]
        path = UUID.sub(lambda match: self.ids.get(match.group(), match.group()), request["path"])
        answer = await self._send(request["method"], path, request.get("headers", {}), request.get("body", ""))
        self.answers[name] = answer
        if '"acknowledged"' in wanted:
            self._learn(wanted, answer.body)

    async def _send_for(self, name: str, request: str) -> None:
        if recording := _load(self.version, name):
            self._learn(recording["request"]["path"], (await self._send_unrecorded(request)).body)

    def _learn(self, theirs: str, ours: str) -> None:
        self.ids |= dict(zip(UUID.findall(theirs), UUID.findall(ours), strict=True))

    async def _send_unrecorded(self, request: str) -> Answer:
        method, path, body = [*request.split(" ", 2), ""][:3]
        return await self._send(method, path, {"Authorization": "Basic dTpw"}, body)

    async def _send(self, method: str, target: str, headers: Mapping[str, str], body: str) -> Answer:
        path, _, query = target.partition("?")
        lower = {name.lower(): value for name, value in headers.items()}
        status, answered, content = await self.fake.handle(method, path, query, lower, body.encode())
        return Answer(status, answered, content.decode())

    async def _take_callback(self, name: str) -> None:
        async def receive(url: str, payload: dict[str, str]) -> None:
            body = json.dumps(payload, separators=(",", ":"))
            self.answers[name] = Answer(200, {}, f"{url.removeprefix('http://receiver')} {body}")

        await self.fake.pump(receive)


def _load(version: str, name: str) -> Any:
    path = SAMPLES / version / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


@cache
def _replayed(version: str) -> dict[str, Answer]:
    """Replay the sessions of a version, once, in virtual time."""
    answers: dict[str, Answer] = {}
    for steps in SESSIONS[version]:
        replay = Replay(version, FakeSidecar(username="u", password="p", version=version))
        with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, noop_cycles=0)) as runner:
            runner.run(replay.run(steps))
        answers |= replay.answers
    return answers


def _wanted(recording: Any, name: str) -> Answer:
    """Return what the fake should say: the answer, or for a delivered callback what the server posted."""
    if name.startswith("callback_delivery_"):
        return Answer(200, {}, f"{recording['request']['path']} {recording['request']['body']}")
    response = recording["response"]
    return Answer(response["status"], response["headers"], response["body"])


def _recordings() -> list[str]:
    return sorted(str(path.relative_to(SAMPLES).with_suffix("")) for path in SAMPLES.glob("*/*.json"))


def _not_reproduced() -> set[str]:
    lines = NOT_REPRODUCED.read_text().splitlines()
    return {line.partition(":")[0] for line in lines if line and not line.startswith("#")}


@pytest.mark.parametrize("recording", sorted({*_recordings()} - _not_reproduced()))
def test_recording_is_reproduced(recording: str):
    version, _, name = recording.partition("/")
    assert name in _replayed(version), "no session sends it"
    wanted = _wanted(_load(version, name), name)
    assert _replayed(version)[name].comparable() == wanted.comparable()


def test_what_is_not_reproduced_is_a_recording():
    listed = _not_reproduced()
    assert listed <= {*_recordings()}
    record("clickhouse-backup", len({*_recordings()} - listed), len(listed))
