"""Makes records of the messages of one subscription, without a socket: the protocol of `stream/live_messages.py`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import msgpack

from tapehouse.client.live_records import Gap, LastPrice, Notice, Quote, Ranked, Reconnected, Slow
from tapehouse.client.problems import error_of
from tapehouse.errors import TapehouseError
from tapehouse.stream.live_messages import ERROR, REVISED, SKIPPED, SLOW, SUBSCRIBED, unscaled

Record = TypeVar("Record")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Follower(Generic[Record]):
    """What a client knows of its subscription. Messages in, records and notices out; requests out.

    It outlives a connection: on a new one it goes on from the last version it has.
    """

    def __init__(self, channel: str, message: int, options: dict[str, Any]) -> None:
        """`message`: the type of the channel's messages; `options` are the fields of the request."""
        self._message = message
        self._options = {name: value for name, value in options.items() if value is not None}
        self._request = {"op": "subscribe", "channel": channel, **self._options}
        self._version: tuple[int, int] | None = None
        """The epoch and the n of the rows received last."""
        self._id = -1
        self._topic = -1
        self._is_new_connection = False
        self.is_subscribed = False
        self.wants_snapshot = False
        """Whether the rows have to be requested anew on this connection."""
        self.venue = str(options.get("venue") or "")
        self.symbol = str(options.get("symbol") or "")
        self.decimals = 0

    def connected(self) -> str:
        """The request on a new connection."""
        self._is_new_connection = self._version is not None
        self.is_subscribed = False
        return self._subscribe()

    def requests(self) -> list[str]:
        """What has to be requested after the messages so far."""
        if not self.wants_snapshot or not self.is_subscribed:
            return []
        self.is_subscribed = False
        return [json.dumps({"op": "unsubscribe", "id": self._id}), self._subscribe()]

    def receive(self, data: bytes) -> list[Record | Notice]:
        """The records and notices of a message. Raises the error in it."""
        message = _unpacked(data)
        kind = message[0]
        if kind == SUBSCRIBED and message[1] == self._id:
            return self._subscribed(message)
        if kind == ERROR:
            raise _error(message)
        if kind == SLOW:
            return [Slow(message[1])]
        if not self.is_subscribed or len(message) < 3 or message[1] != self._topic:
            return []
        if kind == self._message and self._version is not None:
            self._version = (self._version[0], message[2])
            return self.changed(self.rows(message[3:]))
        return self.noticed(kind, message[2:]) if kind in (REVISED, SKIPPED) else []

    # By channel

    def rows(self, items: list[Any]) -> Any:
        """The rows of a message, as SUBSCRIBED has them."""
        return items[0]

    def options(self) -> dict[str, Any]:
        """Fields of a request that differ from those of the first one."""
        return {}

    def snapshot(self, rows: Any) -> list[Record | Notice]:
        """What is new in a snapshot."""
        return self.changed(rows)

    def changed(self, rows: Any) -> list[Record | Notice]:
        """The records of changes."""
        raise NotImplementedError

    def noticed(self, kind: int, items: list[Any]) -> list[Record | Notice]:
        """What REVISED or SKIPPED, without its type and topic, means."""
        return []

    def _subscribe(self) -> str:
        self._id += 1
        request = {**self._request, "id": self._id, **self.options()}
        if self.venue:
            request["venue"] = self.venue
        if self._version is not None and not self.wants_snapshot:
            request["after"] = self._version
        return json.dumps(request)

    def _subscribed(self, message: list[Any]) -> list[Record | Notice]:
        _, _, self._topic, epoch, n, resumed, self.decimals, rows, venue = message
        self.venue = venue or self.venue
        self._version, self.is_subscribed, self.wants_snapshot = (epoch, n), True, False
        notices: list[Record | Notice] = [Reconnected(resumed)] if self._is_new_connection else []
        self._is_new_connection = False
        return notices + (self.changed(rows) if resumed else self.snapshot(rows))


class QuoteFollower(Follower[Quote]):
    """Quotes."""

    def rows(self, items: list[Any]) -> Any:
        """The items themselves."""
        return items

    def changed(self, rows: Any) -> list[Quote | Notice]:
        """The quote, if there is one."""
        if not rows:
            return []
        ts, seq, *values = rows
        bid, bid_size, ask, ask_size = (number(value, self.decimals) for value in values)
        return [Quote(moment(ts), self.venue, self.symbol, seq, bid, bid_size, ask, ask_size, ts)]


class LatestFollower(Follower[LastPrice]):
    """Last prices."""

    def rows(self, items: list[Any]) -> Any:
        """The items themselves."""
        return items

    def changed(self, rows: Any) -> list[LastPrice | Notice]:
        """The price, if there is one."""
        if not rows:
            return []
        ts, seq, price, size = rows
        price, size = unscaled(price, self.decimals), unscaled(size, self.decimals)
        return [LastPrice(moment(ts), self.venue, self.symbol, seq, price, size, ts)]


class RankingsFollower(Follower[list[Ranked]]):
    """Rankings, each whole."""

    def changed(self, rows: Any) -> list[list[Ranked] | Notice]:
        """The ranking."""
        return [[Ranked(*row) for row in rows]]


class GapsFollower(Follower[Gap]):
    """Gaps."""

    def changed(self, rows: Any) -> list[Gap | Notice]:
        """A record a row."""
        return [Gap._make([*row[:3], moment(row[3]), moment(row[4]), *row[5:]]) for row in rows]


def moment(ns: int) -> datetime:
    """A time of a message."""
    return _EPOCH + timedelta(microseconds=ns // 1_000)


def number(value: Any, decimals: int) -> float | None:
    """A price or size of a message, None for none."""
    plain = None if value is None else unscaled(value, decimals)
    return None if plain is None or plain != plain else plain


def _unpacked(data: bytes) -> list[Any]:
    try:
        message = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException):
        message = None
    if not isinstance(message, list) or len(message) < 2:
        raise TapehouseError("gateway: expected live messages, was something else")
    return message


def _error(message: list[Any]) -> TapehouseError:
    _, _, title, detail, remedy, problem = message
    return error_of({"type": problem, "title": title, "detail": detail, "remedy": remedy}, 400)
