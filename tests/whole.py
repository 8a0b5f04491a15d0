"""Kinds that are kept whole, for tests that look at what the models leave out."""

from functools import cache
from types import new_class
from typing import TypeVar, cast

from cozydrivers.api.base import KubeObject

T = TypeVar("T", bound=KubeObject)


@cache
def whole(kind: type[T]) -> type[T]:
    """The kind, with `raw` in its objects."""
    return cast("type[T]", new_class(kind.__name__, (kind,), exec_body=lambda body: body.update(keeps_raw=True)))
