"""A narrow client of the cluster: get, list, watch, create, patch, apply, delete."""

from cozydrivers.kube.client import KubeClient, ObjectList
from cozydrivers.kube.decode import WatchEvent

__all__ = ["KubeClient", "ObjectList", "WatchEvent"]
