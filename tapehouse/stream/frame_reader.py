"""Reading the bar makers' data: frames in order with detection of missing ones, snapshots, features."""

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

from tapehouse.clock import interval_named
from tapehouse.errors import ConnectError, UsageError
from tapehouse.stream.bus import Bus, word
from tapehouse.stream.frames import Frame, decode

_RESPONSE_TIMEOUT_S = 5.0
_RENEW_S = 20.0


@dataclass(frozen=True)
class ReceivedFrame:
    """A received frame; `needs_snapshot` when its maker is new, has a new epoch, or frames before it are missing."""

    frame: Frame
    needs_snapshot: bool


class Frames:
    """The frames of all bar makers, in the order received; made by `listening`."""

    def __init__(self, bus: Bus, subscription: Subscription) -> None:
        self._bus = bus
        self._subscription = subscription
        self.makers: dict[str, tuple[int, int]] = {}
        """By maker: the epoch and number (n) of its last received frame."""

    @classmethod
    @asynccontextmanager
    async def listening(cls, bus: Bus) -> AsyncIterator[Frames]:
        """Context manager that subscribes to the frames; those not read yet are buffered, up to a limit."""
        async with bus.subscribed("frames.>") as subscription:
            yield cls(bus, subscription)

    async def next(self, timeout_s: float) -> ReceivedFrame:
        """The next frame. Raises TimeoutError when none arrives. A maker publishes at least one a second."""
        async with asyncio.timeout(timeout_s):
            frame = decode((await self._subscription.next_msg(timeout=None)).data)
        known = self.makers.get(frame.maker)
        self.makers[frame.maker] = (frame.epoch, frame.n)
        return ReceivedFrame(frame, known != (frame.epoch, frame.n - 1))

    async def snapshot(self, venue: str, symbol: str, intervals: Sequence[str] | None = None) -> Frame:
        """The cached bars of a symbol, for some intervals or all, and its last price.

        Apply later frames of its maker to it: those of the same epoch with a greater n. Raises ConnectError when no
        maker has the symbol, UsageError for an interval that is not a standard one.
        """
        for interval in intervals or ():
            interval_named(interval)
        request = json.dumps({"venue": venue, "symbol": symbol, "intervals": intervals}).encode()
        responses = await asyncio.gather(
            *(self._request_snapshot(maker, request) for maker in self.makers), return_exceptions=True
        )
        for response in responses:
            if isinstance(response, Msg):
                frame = decode(response.data)
                if frame.keys:
                    return frame
        raise ConnectError(
            f"bars: expected a bar maker with bars of {symbol} of {venue}, was none of {len(self.makers)} makers",
            remedy="Look at `tapehouse status`; bar makers have only symbols with trades in their rings' time span.",
        )

    async def _request_snapshot(self, maker: str, request: bytes) -> Msg:
        try:
            return await self._bus.client.request(
                f"bars.snapshot.{maker}", request, timeout=_RESPONSE_TIMEOUT_S
            )
        except NatsError as reason:
            raise ConnectError(f"bars: no answer from maker {maker}: {reason}") from None


async def features(bus: Bus, venue: str, symbol: str, interval: str) -> AsyncIterator[dict[str, Any]]:
    """The features of a series' last final bar, then of each bar as it becomes final (or is revised).

    `tapehouse/features/candle.py` describes the fields. Raises ConnectError when no bar maker answers, UsageError
    with the bar maker's reason when it has no such bars, or for an interval that is not a standard one.
    """
    interval_named(interval)
    request = json.dumps({"venue": venue, "symbol": symbol, "interval": interval}).encode()
    subscription = await bus.client.subscribe(f"features.{word(venue)}.{word(symbol)}.{interval}")
    requested_at = -math.inf
    try:
        while True:
            left = requested_at + _RENEW_S - time.monotonic()
            if left <= 0:
                document = await _request_features(bus, request)
                if requested_at < 0:
                    yield document
                requested_at = time.monotonic()
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


async def _request_features(bus: Bus, request: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(
            (await bus.client.request("bars.features", request, timeout=_RESPONSE_TIMEOUT_S)).data
        )
    except NatsError as reason:
        raise ConnectError(f"features: no answer from a bar maker: {reason}") from None
    if "error" in answer:
        raise UsageError(answer["error"])
    return dict(answer)
