"""Keeps the results that were made last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


def cached(cache: OrderedDict[_K, _V], key: _K, make: Callable[[_K], _V], limit: int) -> _V:
    """The value of `key`, made where the cache lacks it; the cache keeps the `limit` values that were made last."""
    found = cache.get(key)
    if found is None:
        found = cache[key] = make(key)
        while len(cache) > limit:
            cache.popitem(last=False)
    return found
