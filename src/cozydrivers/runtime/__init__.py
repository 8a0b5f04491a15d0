"""What a controller runs on: caches of the cluster, work queues, locks, conditions and events."""

from cozydrivers.runtime.conditions import set_condition
from cozydrivers.runtime.controller import Controller
from cozydrivers.runtime.events import EventRecorder
from cozydrivers.runtime.locks import Lock, Locks, lock_name
from cozydrivers.runtime.queue import WorkQueue
from cozydrivers.runtime.reflector import Reflector
from cozydrivers.runtime.store import Key, Store

__all__ = [
    "Controller",
    "EventRecorder",
    "Key",
    "Lock",
    "Locks",
    "Reflector",
    "Store",
    "WorkQueue",
    "lock_name",
    "set_condition",
]
