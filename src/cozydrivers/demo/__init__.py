"""The demo: backup, restore and purge on an embedded cluster, on screen; it checks everything that it shows."""

from cozydrivers.demo.story import main

__all__ = ["main"]
