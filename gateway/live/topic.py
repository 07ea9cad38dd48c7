"""A topic: rows that some sockets follow. What is published to it goes to all of them, encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from gateway.live.message import Message
from gateway.live.requests import Subscribe
from tapehouse.stream.live_messages import SUBSCRIBED, decimals_of

_USUAL_DECIMALS = 4
"""Where no price is known yet."""


class Client(Protocol):
    """A socket, as a topic knows it."""

    is_slow: bool
    """Whether nothing may be sent to it now: it has not taken what was sent before."""

    @property
    def send(self) -> Callable[[Message], None]:
        """Sends a message."""

    def fall_behind(self, subscription: Subscription) -> None:
        """Note that the client has missed something of a subscription."""


class Position(NamedTuple):
    """How far a client has followed a topic."""

    n: int
    seq: int = 0
    """Of topics of trades: the newest seq."""
    rows: int = 0
    """Of topics of trades: how many rows there have been."""


@dataclass(eq=False)
class Subscription:
    """A socket's part in a topic."""

    client: Client
    id: int
    topic: Topic
    missed_after: Position | None = None
    """The position after which the client has missed something; None if it has missed nothing."""


class Topic:
    """Rows with a version, `n`, which rises with each change."""

    channel = ""

    def __init__(self, number: int, epoch: int, n: int) -> None:
        """`epoch` and `n`: the present version; nothing is known of what was before."""
        self.number = number
        self.epoch = epoch
        self.n = n
        self.known_after = n
        """Changes after this version can be had again."""
        self._decimals: int | None = None
        self.subscriptions: dict[Client, Subscription] = {}
        self.idle_since: float | None = None
        """Since when nobody has followed the topic, loop time; None while someone does."""

    @property
    def decimals(self) -> int:
        """Of prices and sizes that are sent as integers; the same from the first subscription on."""
        return self._decimals or 0

    def settle_decimals(self, values: Iterable[float | None]) -> None:
        """Choose `decimals` by some prices and sizes, the first time."""
        if self._decimals is None:
            known = [decimals_of(value) for value in values if value is not None and value == value]
            self._decimals = max(known, default=_USUAL_DECIMALS)

    @property
    def title(self) -> dict[str, Any]:
        """What the topic is of, for messages with names."""
        return {}

    async def read_history(self, request: Subscribe) -> Any:
        """What the snapshot of a request needs beside the topic's own rows; may be out of date when it is there."""

    def is_current(self, history: Any) -> bool:
        """Whether what `read_history` gave is still right."""
        return True

    def snapshot(self, request: Subscribe, history: Any) -> Any:
        """The rows of SUBSCRIBED as of the present version."""
        raise NotImplementedError

    def changes(self, after: int) -> Any:
        """The rows of SUBSCRIBED that changed after a version, which is not older than `known_after`."""
        raise NotImplementedError

    def catch_up(self, after: Position) -> Iterator[Message]:
        """What a client that has missed all after a position has to know."""
        raise NotImplementedError

    def named(self, rows: Any) -> Any:
        """The rows of SUBSCRIBED with names."""
        raise NotImplementedError

    def subscribe(self, client: Client, request: Subscribe, history: Any) -> Subscription:
        """Send the client the snapshot, or what it has missed since its version, and from then on all changes."""
        rows: Any
        resumed = request.after is not None and self._knows(*request.after)
        if resumed and request.after is not None:
            rows = self.changes(request.after[1])
        else:
            rows = self.snapshot(request, history)
        self.settle_decimals([])
        items = [
            SUBSCRIBED,
            request.id,
            self.number,
            self.epoch,
            self.n,
            resumed,
            self.decimals,
            rows,
            self.title.get("venue"),
        ]
        client.send(Message(items, lambda: self._subscribed(request, resumed, rows)))
        subscription = self.subscriptions[client] = Subscription(client, request.id, self)
        self.idle_since = None
        return subscription

    def unsubscribe(self, client: Client, now: float) -> None:
        """Send the client nothing more; `now` is the loop's time."""
        self.subscriptions.pop(client, None)
        if not self.subscriptions:
            self.idle_since = now

    def publish(self, make: Callable[[], Message], before: Position) -> None:
        """Send a message to all who follow the topic; `before` is the position before it."""
        if not self.subscriptions:
            return
        message = make()
        for client, subscription in self.subscriptions.items():
            if client.is_slow:
                if subscription.missed_after is None:
                    subscription.missed_after = before
                    client.fall_behind(subscription)
            else:
                client.send(message)

    def _knows(self, epoch: int, n: int) -> bool:
        """Whether all changes after a version are known; a topic that has sent nothing yet knows of no client."""
        return self._decimals is not None and epoch == self.epoch and self.known_after <= n <= self.n

    def _subscribed(self, request: Subscribe, resumed: bool, rows: Any) -> dict[str, Any]:
        return {
            "type": "subscribed",
            "id": request.id,
            "topic": self.number,
            "channel": self.channel,
            **self.title,
            "epoch": self.epoch,
            "n": self.n,
            "resumed": resumed,
            "rows": self.named(rows),
        }
