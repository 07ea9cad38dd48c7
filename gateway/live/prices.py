"""Live last prices and rankings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from typing_extensions import override

from gateway.last_prices import LastPrice
from gateway.live.message import Message
from gateway.live.requests import Subscribe
from gateway.live.symbol_topic import NewestTopic
from gateway.live.topic import Position, Topic
from tapehouse.bars.rankings import MEASURES
from tapehouse.clock import iso
from tapehouse.stream.live_messages import LATEST, RANKINGS, scaled

Ranking = list[tuple[str, str, float, float, float]]


class LatestTopic(NewestTopic):
    """The last price of a symbol."""

    channel = "latest"
    message_type = LATEST

    def __init__(
        self,
        number: int,
        epoch: int,
        n: int,
        key: tuple[str, str],
        last: LastPrice | None,
        read_stored: Callable[[], Any],
    ) -> None:
        """`last`: the last price if it is known; `read_stored()` gives awaitably the stored one, or None."""
        super().__init__(number, epoch, n, key)
        self._last = last
        self._read_stored = read_stored

    @override
    async def read_history(self, request: Subscribe) -> LastPrice | None:
        """The stored price, where no live one is known."""
        return await self._read_stored() if self._last is None else None

    @override
    def snapshot(self, request: Subscribe, history: LastPrice | None) -> Any:
        self._last = self._last or history
        return self.encode()

    def update(self, last: LastPrice, n: int) -> None:
        """Publish a price that is not the one before."""
        if last != self._last:
            before, self.n, self._last = Position(self.n), n, last
            self.publish(self.message, before)

    @override
    def named(self, rows: Any) -> Any:
        if self._last is None:
            return None
        seq, ts_event, _, price, size = self._last
        return {"ts_event": iso(ts_event, 9), "seq": seq, "price": price, "size": size}

    @override
    def encode(self) -> list[Any] | None:
        if self._last is None:
            return None
        seq, ts_event, _, price, size = self._last
        self.settle_decimals((price, size))
        return [ts_event, seq, scaled(price, self.decimals), scaled(size, self.decimals)]


class RankingsTopic(Topic):
    """The highest symbols by a measure."""

    channel = "rankings"

    def __init__(
        self,
        number: int,
        epoch: int,
        n: int,
        key: tuple[str, str, int],
        rank: Callable[[str, str, int], Ranking],
    ) -> None:
        """`rank(window, measure, limit)` gives the symbols as they are ranked now."""
        super().__init__(number, epoch, n)
        self._key = key
        self._rank = rank
        self._rows = rank(*key)

    @property
    @override
    def title(self) -> dict[str, Any]:
        return dict(zip(("window", "measure", "limit"), self._key, strict=True))

    @override
    def snapshot(self, request: Subscribe, history: Any) -> Any:
        return self._rows

    @override
    def changes(self, after: int) -> Any:
        return self._rows

    @override
    def catch_up(self, after: Position) -> Iterator[Message]:
        yield self._message()

    def update(self, n: int) -> None:
        """Publish the ranking if it has changed."""
        rows = self._rank(*self._key)
        if rows != self._rows:
            before, self.n, self._rows = Position(self.n), n, rows
            self.publish(self._message, before)

    @override
    def named(self, rows: Any) -> Any:
        return [dict(zip(("venue", "symbol", *MEASURES), row, strict=True)) for row in self._rows]

    def _message(self) -> Message:
        def named() -> dict[str, Any]:
            of = {"type": "rankings", "topic": self.number, **self.title, "n": self.n}
            return of | {"rankings": self.named(None)}

        return Message([RANKINGS, self.number, self.n, self._rows], named)
