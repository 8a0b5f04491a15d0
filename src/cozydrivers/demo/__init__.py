"""The demo: two engines on an embedded cluster, on screen; it checks everything that it shows."""

from cozydrivers.demo.play import main

__all__ = ["main"]
