"""Who may do what, and the APIs that tell."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cozydrivers.api.base import Resource
from cozydrivers.testing._fields import Writer, after_update
from cozydrivers.testing._kinds import Kind
from cozydrivers.testing._request import Target
from cozydrivers.testing._schema import Schema
from cozydrivers.testing._status import Failure, forbidden, qualified

_COLLECTION_VERBS = {"GET": "list", "POST": "create", "DELETE": "deletecollection", "PUT": "update", "PATCH": "patch"}
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_MAP: Schema = {"additionalProperties": {}}
_REVIEW: Schema = {
    "properties": {"spec": {"properties": {"resourceAttributes": _MAP, "groups": {}, "user": {}, "token": {}}}}
}
_ANONYMOUS = "system:anonymous"
_MASTERS = "system:masters"


@dataclass
class Access:
    """Users by token, and what they may do: pairs of verb and resource, where `*` is any.

    A resource is `plural.group`, a subresource `plural/status.group`.
    """

    users: dict[str, str] = field(default_factory=dict)
    allowed: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    def user(self, headers: Mapping[str, str]) -> str:
        """Find who sends a request; an unknown token is 401, none is anonymous."""
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if not token:
            return _ANONYMOUS
        if token not in self.users:
            raise Failure(401, "Unauthorized", "Unauthorized")
        user = self.users[token]
        other = headers.get("impersonate-user")
        if other and not self.may(user, "impersonate", "users"):
            users = Resource("", "v1", "User", "users", namespaced=False)
            what = 'cannot impersonate resource "users" in API group "" at the cluster scope'
            raise forbidden(users, other, f'User "{user}" {what}')
        return other or user

    def may(self, user: str, verb: str, resource: str) -> bool:
        """Whether a user may do something."""
        rules = self.allowed.get(user, set())
        return any((v, r) in rules for v in (verb, "*") for r in (resource, "*"))

    def check(self, user: str, method: str, target: Target, *, watch: bool) -> None:
        """Refuse what a user may not do."""
        resource, named = target.kind.resource, target.name
        verb = "watch" if watch else (_VERBS if named else _COLLECTION_VERBS).get(method, method.lower())
        name = resource.plural + (f"/{target.subresource}" if target.subresource else "")
        plural = qualified(name, resource.group)
        if method == "OPTIONS" or self.may(user, verb, plural):
            return
        where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
        what = f'cannot {verb} resource "{name}" in API group "{resource.group}" {where}'
        raise forbidden(resource, named if verb != "create" else None, f'User "{user}" {what}')

    def review(self, path: str, user: str, body: bytes, time: str) -> dict[str, Any] | None:
        """Answer a review of access or of a token; None for any other path."""
        answers = {
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": self._review_self,
            "/apis/authorization.k8s.io/v1/subjectaccessreviews": self._review_subject,
            "/apis/authentication.k8s.io/v1/tokenreviews": self._review_token,
        }
        if path not in answers:
            return None
        asked = json.loads(body)
        resource = Resource(path.split("/")[2], "v1", asked["kind"], "", namespaced=False)
        entries = after_update(None, {**asked, "metadata": {}}, Kind(resource, _REVIEW), Writer("unknown", "", time))
        metadata = {"creationTimestamp": None, "managedFields": entries}
        return {**asked, "metadata": metadata, "status": answers[path](user, asked["spec"])}

    def _review_self(self, user: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        wanted = spec.get("resourceAttributes", {})
        plural = qualified(wanted.get("resource", ""), wanted.get("group", ""))
        return {"allowed": self.may(user, wanted.get("verb", ""), plural)}

    def _review_subject(self, user: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        if _MASTERS in spec.get("groups", ()):
            return {"allowed": True}
        return self._review_self(spec.get("user", ""), spec)

    def _review_token(self, user: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        found = self.users.get(spec.get("token", ""))
        if found is None:
            return {"user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": {"username": found}}
