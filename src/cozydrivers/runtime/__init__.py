"""What a controller runs on: caches of the cluster, work queues, locks, conditions and events."""

from cozydrivers.runtime.conditions import set_condition
from cozydrivers.runtime.controller import Controller
from cozydrivers.runtime.events import EventRecorder
from cozydrivers.runtime.locks import acquire, lock_name, release
from cozydrivers.runtime.queue import WorkQueue
from cozydrivers.runtime.reflector import Reflector
from cozydrivers.runtime.store import Key, Store

__all__ = [
    "Controller",
    "EventRecorder",
    "Key",
    "Reflector",
    "Store",
    "WorkQueue",
    "acquire",
    "lock_name",
    "release",
    "set_condition",
]
