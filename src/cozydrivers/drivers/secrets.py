"""Secrets that tell where an engine stores, kept for some minutes because every step asks for them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import anyio

from cozydrivers.api.core import Secret
from cozydrivers.errors import Forbidden, NotFound
from cozydrivers.kube import KubeClient

_AGE = 300.0
"""Seconds for which a Secret is not read again."""


@dataclass
class Secrets:
    """Reads Secrets, and remembers them."""

    _kept: dict[tuple[str, str], tuple[float, Secret]] = field(default_factory=dict, repr=False)

    async def read(self, kube: KubeClient, namespace: str, names: Iterable[str]) -> dict[str, Secret]:
        """Those that exist and may be read, by name."""
        found = {name: await self._one(kube, namespace, name) for name in sorted(names)}
        return {name: secret for name, secret in found.items() if secret}

    def forget(self, namespace: str, names: Iterable[str]) -> None:
        """Read these anew the next time: what they hold was not taken."""
        for name in names:
            self._kept.pop((namespace, name), None)

    async def _one(self, kube: KubeClient, namespace: str, name: str) -> Secret | None:
        read_at, secret = self._kept.get((namespace, name), (-_AGE, None))
        if secret is not None and anyio.current_time() - read_at < _AGE:
            return secret
        try:
            secret = await kube.get(Secret, name, namespace)
        except (Forbidden, NotFound):
            return None
        self._kept[namespace, name] = anyio.current_time(), secret
        return secret
