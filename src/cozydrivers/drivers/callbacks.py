"""Addresses that an engine calls when an operation ends, so that the end is seen at once.

A call is a hint and never evidence: it wakes the jobs of an application, who then ask the engine.
"""

import secrets
from collections.abc import Callable

from chbackup.callbacks import check_base_url

Listener = Callable[[str, str], None]
"""Told of a call: namespace and name of the application."""


class Callbacks:
    """One address per application, which nobody can guess; it is another one after a restart.

    `base_url` is where engines reach this process. Raises chbackup's InvalidInput when it is not an address, or holds
    credentials.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = check_base_url(base_url)
        self._keys: dict[tuple[str, str], str] = {}
        self._applications: dict[str, tuple[str, str]] = {}
        self._listeners: list[Listener] = []

    def url(self, namespace: str, application: str) -> str:
        """The address for the operations of an application."""
        place = namespace, application
        if place not in self._keys:
            key = self._keys[place] = secrets.token_urlsafe(32)
            self._applications[key] = place
        return f"{self._base_url}/{self._keys[place]}"

    def subscribe(self, listener: Listener) -> None:
        """Have each call told."""
        self._listeners.append(listener)

    def called(self, path: str) -> bool:
        """Heed a call of a path, of which only the last segment is looked at; False where it is nobody's address."""
        place = self._applications.get(path.rpartition("/")[2])
        if place is None:
            return False
        for listener in self._listeners:
            listener(*place)
        return True
