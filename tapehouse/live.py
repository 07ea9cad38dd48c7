"""Reading what bar makers tell: frames in order, gaps noticed, snapshots asked for."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from tapehouse.bus import Bus, word
from tapehouse.errors import ConnectError, UsageError
from tapehouse.frames import Frame, decode

_ANSWER_S = 5.0
_RENEW_S = 20.0


@dataclass(frozen=True)
class Heard:
    """A frame, and whether what its maker told before is to be asked for anew: frames are missing before it."""

    frame: Frame
    broken: bool


class Frames:
    """The frames of all makers, as they come; `listening` opens it."""

    def __init__(self, bus: Bus, subscription: Subscription) -> None:
        self._bus = bus
        self._subscription = subscription
        self.makers: dict[str, tuple[int, int]] = {}
        """Of each maker heard of the epoch and the last n."""

    @classmethod
    @asynccontextmanager
    async def listening(cls, bus: Bus) -> AsyncIterator[Frames]:
        """Listen for the length of the context; what comes before it is asked for is kept, up to a limit."""
        async with bus.subscribed("frames.>") as subscription:
            yield cls(bus, subscription)

    async def next(self, timeout_s: float) -> Heard:
        """The next frame; TimeoutError when none comes. A maker tells at least one a second."""
        async with asyncio.timeout(timeout_s):
            frame = decode((await self._subscription.next_msg(timeout=None)).data)
        known = self.makers.get(frame.maker)
        self.makers[frame.maker] = (frame.epoch, frame.n)
        return Heard(frame, known != (frame.epoch, frame.n - 1))

    async def snapshot(self, venue: str, symbol: str, intervals: Sequence[str] | None = None) -> Frame:
        """All that is held of a symbol, of some intervals or all.

        Frames of its maker and epoch up to its n are older; the rest apply to it. Raises ConnectError when no
        maker holds the symbol.
        """
        asked = json.dumps({"venue": venue, "symbol": symbol, "intervals": intervals}).encode()
        answers = await asyncio.gather(
            *(self._ask(maker, asked) for maker in self.makers), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, Msg):
                frame = decode(answer.data)
                if frame.keys:
                    return frame
        raise ConnectError(
            f"bars: expected a bar maker that holds {symbol} of {venue}, heard of {len(self.makers)} makers",
            remedy="Look at `tapehouse status`; without trades in the rings' span a symbol is not held.",
        )

    async def _ask(self, maker: str, asked: bytes) -> Msg:
        try:
            return await self._bus.client.request(f"bars.snapshot.{maker}", asked, timeout=_ANSWER_S)
        except NatsError as reason:
            raise ConnectError(f"bars: no answer from maker {maker}: {reason!r}") from None


async def features(bus: Bus, venue: str, symbol: str, interval: str) -> AsyncIterator[dict[str, Any]]:
    """The document of a series' last final bar, then of each bar as it becomes final (or is revised).

    See `tapehouse/features.py` for what is in it. Raises ConnectError when no bar maker answers, UsageError with
    what it says when it holds no such bars.
    """
    asked = json.dumps({"venue": venue, "symbol": symbol, "interval": interval}).encode()
    subscription = await bus.client.subscribe(f"features.{word(venue)}.{word(symbol)}.{interval}")
    asked_at = -math.inf
    try:
        while True:
            left = asked_at + _RENEW_S - time.monotonic()
            if left <= 0:
                answer = await _asked_features(bus, asked)
                if asked_at < 0:
                    yield answer
                asked_at = time.monotonic()
                continue
            try:
                async with asyncio.timeout(left):
                    message = await subscription.next_msg(timeout=None)
            except TimeoutError:
                continue
            yield json.loads(message.data)
    finally:
        if not bus.client.is_closed:
            await subscription.unsubscribe()


async def _asked_features(bus: Bus, asked: bytes) -> dict[str, Any]:
    try:
        answer = json.loads((await bus.client.request("bars.features", asked, timeout=_ANSWER_S)).data)
    except NatsError as reason:
        raise ConnectError(f"features: no answer from a bar maker: {reason!r}") from None
    if "error" in answer:
        raise UsageError(answer["error"])
    return dict(answer)
