"""Sockets without a network: what a topic sends to one goes to the client's own decoder."""

from __future__ import annotations

import json
from typing import Any

from gateway.live.message import Message
from gateway.live.requests import Subscribe, parse_request
from gateway.live.topic import Subscription, Topic
from tapehouse.client.live_following import Follower
from tapehouse.client.live_records import Notice


def payload(message: Message) -> bytes:
    """The content of a message's frame, whose length is in its first bytes."""
    frame = message.binary
    start = {126: 4, 127: 10}.get(frame[1], 2)
    size = frame[1] if start == 2 else int.from_bytes(frame[2:start], "big")
    assert len(frame) == start + size
    return frame[start:]


class Receiver:
    """A client of topics, with the client's decoder of one subscription behind it."""

    wants_text = False

    def __init__(self, follower: Follower[Any]) -> None:
        self.is_slow = False
        self.follower = follower
        self.records: list[Any] = []
        self.notices: list[Notice] = []
        self.behind: list[Subscription] = []
        self.request: Subscribe | None = None

    def send(self, message: Message) -> None:
        for record in self.follower.receive(payload(message)):
            (self.notices if _is_notice(record) else self.records).append(record)

    def fall_behind(self, subscription: Subscription) -> None:
        self.behind.append(subscription)

    def subscribe(self, topic: Topic, history: Any) -> None:
        """As on a new connection."""
        found = parse_request(self.follower.connected())
        assert isinstance(found, Subscribe)
        self.request = found
        self.answer(topic, history)

    def answer(self, topic: Topic, history: Any) -> None:
        assert self.request is not None
        topic.subscribe(self, self.request, history)

    def ask_again(self, topic: Topic, history: Any) -> bool:
        """Send what the decoder asks for; whether it asked for anything."""
        requests = self.follower.requests()
        for text in requests:
            if json.loads(text)["op"] == "subscribe":
                found = parse_request(text)
                assert isinstance(found, Subscribe)
                self.request = found
                topic.unsubscribe(self, 0.0)
                self.answer(topic, history)
        return bool(requests)

    def catch_up(self) -> None:
        """The socket has taken what was sent before."""
        self.is_slow = False
        behind, self.behind = self.behind, []
        for subscription in behind:
            after, subscription.missed_after = subscription.missed_after, None
            assert after is not None
            for message in subscription.topic.catch_up(after):
                self.send(message)


def _is_notice(record: Any) -> bool:
    return type(record).__name__ in ("Skipped", "Revised", "Reconnected", "Slow")
