"""The last prices and the rankings of all symbols that are live, from the frames of all bar makers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.bus import Bus
from tapehouse.errors import ConnectError, WireError
from tapehouse.frames import Frame
from tapehouse.live import Frames, Heard
from tapehouse.rankings import MEASURES, RANKED, merged

_SILENT_S = 5.0
"""A maker tells at least one frame a second: what one told that is silent for so long is void."""
_LOOK_S = 1.0
_ASKED = ("1M",)
"""Of a snapshot the interval with the fewest bars: the last price alone is wanted."""
_SIDE_BY_SIDE = 16
_WAITING = 100_000
"""Symbols to be asked for, at most; the others come back with their next trade."""
Key = tuple[str, str]


@dataclass(frozen=True)
class Last:
    """The trade with the highest seq of a symbol. Times in ns."""

    venue: str
    symbol: str
    ts_event: int
    ts_recv: int
    seq: int
    price: float
    size: float

    @cached_property
    def json(self) -> bytes:
        """It as a JSON object, made once however often it is asked for."""
        return orjson.dumps(
            {
                "venue": self.venue,
                "symbol": self.symbol,
                "ts_event": iso9(self.ts_event),
                "ts_recv": iso9(self.ts_recv),
                "seq": self.seq,
                "price": self.price,
                "size": self.size,
            }
        )
