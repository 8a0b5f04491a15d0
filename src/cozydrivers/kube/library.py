"""What is used of kubernetes-asyncio: configuration, authentication and the REST layer.

Its packages import a class for every kind and call of Kubernetes, 38 MB and 0.3 s in all (36.1), of which nothing is
used here. So its modules are imported from packages whose `__init__` has not run, and forgotten by `sys.modules`
afterwards: who imports the library gets all of it. Where it is imported already, or has other modules than 36.1, it is
used as it comes.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import TYPE_CHECKING, Any

_LIBRARY = "kubernetes_asyncio"
_CLIENT = f"{_LIBRARY}.client"

if TYPE_CHECKING:
    from kubernetes_asyncio.client import ApiClient, Configuration
    from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config


def _load() -> tuple[Any, Any]:
    """Import the library's modules `client`, with what is used of it, and `config`."""
    if _LIBRARY not in sys.modules:
        try:
            with _bare_packages() as client:
                client.Configuration = import_module(f"{_CLIENT}.configuration").Configuration
                client.ApiClient = import_module(f"{_CLIENT}.api_client").ApiClient
                return client, import_module(f"{_LIBRARY}.config")
        except (ImportError, AttributeError):
            pass
    return import_module(_CLIENT), import_module(f"{_LIBRARY}.config")


@contextmanager
def _bare_packages() -> Iterator[Any]:
    """Let submodules be imported without their packages; yields the package `client`, which is empty."""
    try:
        paths = None
        for name in (_LIBRARY, _CLIENT, f"{_CLIENT}.models"):
            spec = PathFinder.find_spec(name, paths)
            if spec is None:
                raise ImportError(name)
            sys.modules[name] = module_from_spec(spec)
            paths = spec.submodule_search_locations
        yield sys.modules[_CLIENT]
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == _LIBRARY]:
            del sys.modules[name]


if not TYPE_CHECKING:
    _client, _config = _load()
    ApiClient, Configuration = _client.ApiClient, _client.Configuration
    ConfigException = _config.ConfigException
    load_incluster_config, load_kube_config = _config.load_incluster_config, _config.load_kube_config

__all__ = ["ApiClient", "ConfigException", "Configuration", "load_incluster_config", "load_kube_config"]
