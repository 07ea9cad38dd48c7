"""What topics of one symbol share, and those of them that have only a newest row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typing_extensions import override

from gateway.live.message import Message
from gateway.live.topic import Position, Topic


class SymbolTopic(Topic):
    """A topic of one symbol of a venue."""

    def __init__(self, number: int, epoch: int, n: int, key: tuple[str, str]) -> None:
        super().__init__(number, epoch, n)
        self.venue, self.symbol = key

    @property
    @override
    def title(self) -> dict[str, Any]:
        return {"venue": self.venue, "symbol": self.symbol}


class NewestTopic(SymbolTopic):
    """A topic whose rows are one: the newest, or none yet."""

    message_type = 0
    """The first item of its messages."""

    def encode(self) -> list[Any] | None:
        """The row's items in a message; None without a row."""
        raise NotImplementedError

    @override
    def changes(self, after: int) -> Any:
        return self.encode() if self.n > after else None

    @override
    def catch_up(self, after: Position) -> Iterator[Message]:
        yield self.message()

    def message(self) -> Message:
        """The row as a message."""

        def named() -> dict[str, Any]:
            of = {"type": self.channel, "topic": self.number, **self.title, "n": self.n}
            return of | (self.named(None) or {})

        return Message([self.message_type, self.number, self.n, *(self.encode() or ())], named)
