"""What the Pods of mariadb-operator's Jobs do: they dump databases into buckets and volumes, and load them again."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cozydrivers.api.base import Resource
from cozydrivers.clients.objects import StoreError
from cozydrivers.testing._mariadb_files import (
    chosen,
    compressed,
    compression_of,
    decompressed,
    plain_name,
    too_old,
)
from cozydrivers.testing._mariadb_jobs import duration
from cozydrivers.testing._mariadb_pod import JobPod, read_pod
from cozydrivers.testing._mariadb_sql import FakeDatabase, Row, SqlError
from cozydrivers.testing._status import Failure
from cozydrivers.testing._store import Object
from cozydrivers.testing.buckets import FakeBucket
from cozydrivers.testing.cluster import FakeCluster
from cozydrivers.testing.jobs import PodRun

__all__ = ["Done", "FakeDatabase", "Fault", "MariaDBPods", "Row", "SqlError"]

Fault = Literal[
    "dump_fails",
    "push_fails",
    "killed_in_upload",
    "killed_after_upload",
    "restore_fails_midway",
    "slow",
    "image_pull",
    "disk_full",
    "truncated_dump",
    "empty_dump",
]
"""What can go wrong in a Pod.

`push_fails` is what a bucket does that answers no more: under `restartPolicy: OnFailure` the container is started again
on the same file, and compresses it once more. `killed_after_upload` leaves a dump of a Pod that has failed.
`truncated_dump` and `empty_dump` end with 0.
"""

SLOW = 7200.0
"""Seconds that something takes that is slow."""

_KILLED, _FAILED = 137, 1
_RETRY = 5.0
_SECRETS = Resource("", "v1", "Secret", "secrets", namespaced=True)
_CLAIMS = Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", namespaced=True)


@dataclass(frozen=True)
class Done:
    """Something that a Pod has done: `dumped`, `pushed`, `loading`, `loaded`, or `failed`."""

    at: datetime
    what: str
    job: str
    database: tuple[str, str]
    file: str


@dataclass
class _Plan:
    fault: Fault
    left: float
    job: str


class MariaDBPods:
    """Plays the Pods of the operator's Jobs for a JobRunner, by `play`.

    `databases` are the servers by namespace and name. `volumes` is what lies on volumes that outlive Pods: by the UID
    of their claim, or by what a Pod's spec says of them. The seconds are
    those of a dump, of the upload, of the download and of the load. `late` is by how much a dump's name is later than
    the start of its container.
    """

    def __init__(self, cluster: FakeCluster, *buckets: FakeBucket) -> None:
        self.buckets: list[FakeBucket] = list(buckets)
        self.databases: dict[tuple[str, str], FakeDatabase] = {}
        self.volumes: dict[str, dict[str, bytes]] = {}
        self.done: list[Done] = []
        self.dump_seconds: float = 5.0
        self.push_seconds: float = 3.0
        self.pull_seconds: float = 2.0
        self.load_seconds: float = 6.0
        self.late: timedelta = timedelta()
        self._cluster = cluster
        self._planned: list[_Plan] = []
        self._staged: dict[str, dict[str, bytes]] = {}

    def database(self, namespace: str, name: str) -> FakeDatabase:
        """The server of a MariaDB, which is set up where there is none."""
        return self.databases.setdefault((namespace, name), FakeDatabase())

    def fail(self, fault: Fault, *, times: float = 1, job: str = "") -> None:
        """Have something go wrong in the next Pods, or in those of Jobs whose name contains `job`."""
        self._planned.append(_Plan(fault, times, job))

    def recover(self) -> None:
        """Take back what was to go wrong."""
        self._planned.clear()

    def play(self, pod: Object) -> PodRun:
        """Say how a Pod goes; one that is not of the operator's Jobs ends well after a second."""
        read = read_pod(pod)
        if read is None:
            return PodRun()
        if self._hits("image_pull", read):
            return PodRun(init=True, waiting="ImagePullBackOff")
        return self._waiting(read) or (self._pull(read) if read.restores else self._dump(read))

    def _hits(self, fault: Fault, pod: JobPod) -> bool:
        plan = next((plan for plan in self._planned if plan.fault == fault and plan.left and plan.job in pod.job), None)
        if plan is not None:
            plan.left -= 1
        return plan is not None

    def _seconds(self, usual: float, pod: JobPod) -> float:
        return SLOW if self._hits("slow", pod) else usual

    def _note(self, what: str, pod: JobPod, file: str) -> None:
        self.done.append(Done(self._cluster.now(), what, pod.job, pod.server, file))

    # Dumping

    def _dump(self, pod: JobPod) -> PodRun:
        at, files = self._cluster.now() + self.late, self._files(pod)
        file = pod.file_name(at)
        content, error = self._dumped(pod, at)

        def end() -> int:
            files[file] = content
            self._say(pod, "mariadb", error or f"💾 Taking backup: /backup/{file}")
            self._note("failed" if error else "dumped", pod, file)
            return _FAILED if error else 0

        def after(code: int) -> PodRun | None:
            if code:
                return self._dump(pod) if pod.restarts else None
            return self._waiting(pod, init=False, then=lambda: self._push(pod, file)) or self._push(pod, file)

        return PodRun(self._seconds(self.dump_seconds, pod), end, init=True, after=after)

    def _dumped(self, pod: JobPod, at: datetime) -> tuple[bytes, str]:
        """What the dump writes into its file, and what it says where it fails."""
        try:
            server = self._server(pod)
            text = server.dump(at, host=pod.host, databases=pod.databases, privileges=pod.privileges)
        except SqlError as problem:
            return b"", str(problem)
        content = b"xbstream" if pod.physical else text.encode()
        if self._hits("dump_fails", pod):
            return content[: len(content) // 2], "mariadb-dump: Error 2013: Lost connection to server during query"
        if self._hits("disk_full", pod):
            return content[: len(content) // 2], "mariadb-dump: Got errno 28 on write"
        if self._hits("truncated_dump", pod):
            return content[: len(content) // 2], ""
        return (b"" if self._hits("empty_dump", pod) else content), ""

    def _push(self, pod: JobPod, file: str) -> PodRun:
        files = self._files(pod)

        def end() -> int:
            files[file] = compressed(files[file], pod.options.get("--compression", "none"))
            code = self._stored(pod, file, files)
            self._note("failed" if code else "pushed", pod, file)
            return code

        def after(code: int) -> PodRun | None:
            return self._push(pod, file) if code == _FAILED and pod.restarts else None

        return PodRun(self._seconds(self.push_seconds, pod), end, after=after)

    def _stored(self, pod: JobPod, file: str, files: dict[str, bytes]) -> int:
        """Upload a file and delete what is too old, its own dump included; gives the exit code."""
        if self._hits("killed_in_upload", pod):
            return _KILLED
        try:
            if self._hits("push_fails", pod):
                raise StoreError("connection reset by peer")
            bucket = self._bucket(pod)
            if bucket is not None:
                bucket.put(pod.prefix + file, files[file], self._cluster.now())
            if self._hits("killed_after_upload", pod):
                return _KILLED
            self._clean(pod, bucket, files)
        except StoreError as problem:
            self._say(pod, "mariadb-operator", f"error pushing target backup: {problem}")
            return _FAILED
        return 0

    def _clean(self, pod: JobPod, bucket: FakeBucket | None, files: dict[str, bytes]) -> None:
        retention = duration(pod.options.get("--max-retention", "720h"))
        names = _within(bucket, pod.prefix) if bucket else sorted(files)
        for name in too_old(names, self._cluster.now(), retention, standard=pod.standard):
            if bucket:
                bucket.remove(pod.prefix + name)
            else:
                del files[name]

    # Restoring

    def _pull(self, pod: JobPod) -> PodRun:
        found: list[str] = []

        def end() -> int:
            try:
                found.append(self._pulled(pod))
            except (StoreError, OSError, EOFError) as problem:
                self._say(pod, "mariadb-operator", f"error getting target backup: {problem}")
                self._note("failed", pod, "")
                return _FAILED
            return 0

        def after(code: int) -> PodRun | None:
            if code:
                return self._pull(pod) if pod.restarts else None
            return self._waiting(pod, init=False, then=lambda: self._load(pod, found[0])) or self._load(pod, found[0])

        return PodRun(self._seconds(self.pull_seconds, pod), end, init=True, after=after)

    def _pulled(self, pod: JobPod) -> str:
        """Fetch a dump and take one layer of compression off; gives the name of what is loaded."""
        files, bucket = self._files(pod), self._bucket(pod)
        names = _within(bucket, pod.prefix) if bucket else sorted(files)
        file = chosen(names, datetime.fromisoformat(pod.options["--target-time"]), standard=pod.standard)
        if file is None:
            raise StoreError("no valid backup files were found")
        if self._hits("disk_full", pod):
            raise OSError("no space left on device")
        content = bucket.fetched(pod.prefix + file) if bucket else files[file]
        files[plain_name(file)] = decompressed(content, compression_of(file))
        self._say(pod, "mariadb-operator", f"obtained target backup: {file}")
        return plain_name(file)

    def _load(self, pod: JobPod, file: str) -> PodRun:
        """Load a dump in two halves, so that a Pod that is killed in between leaves the first."""
        self._note("loading", pod, file)

        def half(first_part: bool) -> Callable[[], int]:
            return lambda: self._loaded(pod, file, first_part=first_part)

        def after_all(code: int) -> PodRun | None:
            return self._load(pod, file) if code == _FAILED and pod.restarts else None

        def after_half(code: int) -> PodRun | None:
            if code:
                return after_all(code)
            return PodRun(self.load_seconds / 2, half(first_part=False), after=after_all, goes_on=True)

        seconds = self._seconds(self.load_seconds, pod) - self.load_seconds / 2
        return PodRun(seconds, half(first_part=True), after=after_half)

    def _loaded(self, pod: JobPod, file: str, *, first_part: bool) -> int:
        try:
            self._server(pod).load(self._files(pod)[file], only=pod.only, first_part=first_part)
            if first_part and self._hits("restore_fails_midway", pod):
                raise SqlError("ERROR 2013 (HY000): Lost connection to server during query")
        except SqlError as problem:
            self._say(pod, "mariadb", str(problem))
            self._note("failed", pod, file)
            return _FAILED
        if not first_part:
            self._note("loaded", pod, file)
        return 0

    # What a Pod needs

    def _server(self, pod: JobPod) -> FakeDatabase:
        server = self.databases.get(pod.server)
        if server is None:
            raise SqlError(f"ERROR 2005 (HY000): Unknown server host '{pod.host}' (-2)")
        password = self._variable(pod, "mariadb", "MARIADB_OPERATOR_PASSWORD")
        if password != server.users.get("root", password):
            raise SqlError("ERROR 1045 (28000): Access denied for user 'root' (using password: YES)")
        return server

    def _bucket(self, pod: JobPod) -> FakeBucket | None:
        """The bucket that a Pod uses, if it uses one. Raises StoreError where it can't."""
        if "--s3" not in pod.options:
            return None
        endpoint, name = pod.options["--s3-endpoint"], pod.options["--s3-bucket"]
        if "/" in endpoint:
            raise StoreError("Endpoint url cannot have fully qualified paths.")
        there = [bucket for bucket in self.buckets if bucket.endpoint in ("", endpoint)]
        if not there:
            raise StoreError(f"dial tcp: lookup {endpoint}: no such host")
        bucket = next((bucket for bucket in there if bucket.name == name), there[0])
        access_key = self._variable(pod, "mariadb-operator", "AWS_ACCESS_KEY_ID")
        bucket.check(name, access_key, self._variable(pod, "mariadb-operator", "AWS_SECRET_ACCESS_KEY"))
        return bucket

    def _files(self, pod: JobPod) -> dict[str, bytes]:
        """What lies in its folder: of its own, or of a volume that others have as well."""
        if "emptyDir" in pod.volume:
            return self._staged.setdefault(pod.uid, {})
        found = self._get(_CLAIMS, pod.namespace, pod.claim) if pod.claim else None
        uid = found["metadata"]["uid"] if found else ""
        return self.volumes.setdefault(uid or json.dumps(pod.volume, sort_keys=True), {})

    def _waiting(self, pod: JobPod, *, init: bool = True, then: Callable[[], PodRun] | None = None) -> PodRun | None:
        """What a Pod waits for, and never fails of: Secrets and claims that are not there, or lack a key."""
        reason = "ContainerCreating" if init and not self._mountable(pod) else ""
        if not reason and any(self._secret(pod, ref) is None for ref in pod.references(init=init)):
            reason = "CreateContainerConfigError"
        if not reason:
            return None

        def after(code: int) -> PodRun:
            return self._waiting(pod, init=init, then=then) or (then() if then else self.play(pod.raw))

        return PodRun(_RETRY, waiting=reason, init=init, after=after)

    def _mountable(self, pod: JobPod) -> bool:
        secrets = (self._get(_SECRETS, pod.namespace, name) for name in pod.mounted_secrets)
        claimed = not pod.claim or self._get(_CLAIMS, pod.namespace, pod.claim) is not None
        return claimed and all(secret is not None for secret in secrets)

    def _variable(self, pod: JobPod, container: str, name: str) -> str:
        reference = pod.reference(container, name)
        return (self._secret(pod, reference) or "") if reference else ""

    def _secret(self, pod: JobPod, reference: Object) -> str | None:
        secret = self._get(_SECRETS, pod.namespace, reference["name"])
        value = ((secret or {}).get("data") or {}).get(reference["key"])
        return None if value is None else base64.b64decode(value).decode()

    def _get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            found: Object = self._cluster.act("GET", resource.path(namespace, name))
        except Failure:
            return None
        return found

    def _say(self, pod: JobPod, container: str, line: str) -> None:
        self._cluster.logs[pod.uid, container] = f"{line}\n"


def _within(bucket: FakeBucket, prefix: str) -> list[str]:
    """The names right below a prefix."""
    return [key.removeprefix(prefix) for key in bucket.under(prefix) if "/" not in key.removeprefix(prefix)]
