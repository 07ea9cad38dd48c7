"""What the endpoints are answered from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.lastprices import LastPrices
from gateway.rest.readers import Readers
from gateway.surface import Surface


@dataclass(frozen=True)
class Backend:
    """The stores, what is live, the threads, and how things stand."""

    surface: Surface
    prices: LastPrices
    readers: Readers
    standing: Callable[[], Mapping[str, str]]
    """By part: empty where all is well, else what it is waited for."""
