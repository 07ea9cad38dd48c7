"""One client: its subscriptions, what it has missed, and the bounds of what it may ask for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

from gateway.live.message import Message
from gateway.live.outbox import Outbox
from gateway.live.requests import Ping, Subscribe, Unsubscribe, parse_request
from gateway.live.topic import Subscription, Topic
from gateway.rest.problems import to_problem
from tapehouse.errors import TapehouseError, UsageError
from tapehouse.stream.live_messages import ERROR, PONG, SLOW, UNSUBSCRIBED

MOST_SUBSCRIPTIONS = 500
_MOST_REQUESTS_S = 1_000
"""Requests within a second."""
_MOST_HISTORY_READS = 4
"""Snapshots of one client that are made at once."""
_SLOW_S = 10.0
"""How long a client may take nothing."""
_MOST_REREADS = 5
_NUMBERS = count()


class Topics(Protocol):
    """Where topics come from."""

    clients: set[LiveClient]
    outbox: Outbox

    async def topic(self, request: Subscribe) -> Topic:
        """The topic of a request. Raises TapehouseError."""


class Socket(Protocol):
    """What a client is sent through."""

    def write(self, message: Message) -> None:
        """Send a message."""

    def ping(self) -> bool:
        """Ask for a sign of life; False if the ping before has not been answered."""

    def close(self, code: int, reason: str) -> None:
        """End the connection with a code and reason."""


class LiveClient:
    """For one socket, until `closed`."""

    def __init__(self, hub: Topics, socket: Socket) -> None:
        self.is_slow = False
        self.number = next(_NUMBERS)
        """In the order in which clients came."""
        self._hub = hub
        self._socket = socket
        self.send: Callable[[Message], None] = socket.write
        """Send a message, whether or not the client is slow."""
        self._subscriptions: dict[int, Subscription] = {}
        self._waiting: dict[int, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_MOST_HISTORY_READS)
        self._behind: deque[Subscription] = deque()
        self._writable = asyncio.Event()
        self._writable.set()
        self._slow_since = 0.0
        self._requests, self._second = 0, 0
        self._loop = asyncio.get_running_loop()
        hub.clients.add(self)

    def fall_behind(self, subscription: Subscription) -> None:
        """Note that the client has missed something of a subscription."""
        self._behind.append(subscription)

    def receive(self, text: bytes) -> None:
        """Handle a request."""
        if self._is_flooding():
            self._socket.close(1008, f"expected at most {_MOST_REQUESTS_S:,} requests a second")
            return
        try:
            request = parse_request(text)
            if isinstance(request, Ping):
                named = {"type": "pong", "sent": request.sent}
                self.send(Message([PONG, request.sent], lambda: named))
            elif isinstance(request, Unsubscribe):
                self._unsubscribe(request.id)
            else:
                self._subscribe(request)
        except TapehouseError as reason:
            self._send_error(reason, reason.fields.get("id"))

    def pause(self) -> None:
        """The client has not taken what was sent before."""
        self.is_slow = True
        self._writable.clear()
        self._slow_since = self._loop.time()

    def resume(self) -> None:
        """The client has taken it: tell it what it missed, as far as it takes that."""
        self.is_slow = False
        if self._behind:
            ms = round(1e3 * (self._loop.time() - self._slow_since))
            self.send(Message([SLOW, ms], lambda: {"type": "slow", "ms": ms}))
        while self._behind and not self.is_slow:
            subscription = self._behind.popleft()
            after, subscription.missed_after = subscription.missed_after, None
            if after is None or subscription.topic.subscriptions.get(self) is not subscription:
                continue
            for message in subscription.topic.catch_up(after):
                self.send(message)
        if not self.is_slow:
            self._writable.set()

    def close(self, code: int, reason: str) -> None:
        """End the connection with a code and reason."""
        self._socket.close(code, reason)

    def check_speed(self) -> None:
        """End the connection of a client that has taken nothing for too long."""
        if self.is_slow and self._loop.time() - self._slow_since > _SLOW_S:
            self._socket.close(4002, f"took nothing for {_SLOW_S:g} s")

    def check_alive(self) -> None:
        """End the connection of a client that has not answered the ping before."""
        if not self.is_slow and not self._socket.ping():
            self._socket.close(4001, "no answer to a ping")

    def closed(self) -> None:
        """The connection has ended."""
        self._hub.clients.discard(self)
        for task in self._waiting.values():
            task.cancel()
        for subscription in self._subscriptions.values():
            subscription.topic.unsubscribe(self, self._loop.time())
        self._subscriptions.clear()

    def _is_flooding(self) -> bool:
        second = int(self._loop.time())
        if second != self._second:
            self._second, self._requests = second, 0
        self._requests += 1
        return self._requests > _MOST_REQUESTS_S

    def _subscribe(self, request: Subscribe) -> None:
        if len(self._subscriptions) + len(self._waiting) >= MOST_SUBSCRIPTIONS:
            self._socket.close(1008, f"expected at most {MOST_SUBSCRIPTIONS} subscriptions on one socket")
            return
        if request.id in self._subscriptions or request.id in self._waiting:
            raise UsageError(f"id: expected one that is not in use, was {request.id}", id=request.id)
        task = asyncio.create_task(self._follow(request))
        self._waiting[request.id] = task
        task.add_done_callback(lambda _: self._waiting.pop(request.id, None))

    async def _follow(self, request: Subscribe) -> None:
        try:
            async with self._slots:
                # A client that takes nothing gets no more snapshots.
                await self._writable.wait()
                topic = await self._hub.topic(request)
                if self in topic.subscriptions:
                    known = topic.subscriptions[self].id
                    raise UsageError(f"channel: the same is subscribed to with the id {known}")
                history = await topic.read_history(request)
                for _ in range(_MOST_REREADS):
                    if topic.is_current(history):
                        break
                    history = await topic.read_history(request)
                # From here on nothing is awaited: no change is between the snapshot and what follows it.
                self._subscriptions[request.id] = topic.subscribe(self, request, history)
        except TapehouseError as reason:
            self._send_error(reason, request.id)

    def _unsubscribe(self, number: int) -> None:
        waiting = self._waiting.get(number)
        subscription = self._subscriptions.pop(number, None)
        if waiting is None and subscription is None:
            raise UsageError(f"id: expected that of a subscription, was {number}", id=number)
        if waiting is not None:
            waiting.cancel()
        if subscription is not None:
            subscription.topic.unsubscribe(self, self._loop.time())
        named = {"type": "unsubscribed", "id": number}
        self.send(Message([UNSUBSCRIBED, number], lambda: named))

    def _send_error(self, reason: TapehouseError, number: int | None) -> None:
        problem = to_problem(reason)
        said = {
            "id": number,
            "title": problem.type.title,
            "detail": problem.detail,
            "remedy": problem.remedy,
            "problem": problem.type.name,
        }
        self.send(Message([ERROR, *said.values()], lambda: {"type": "error", **said}))
