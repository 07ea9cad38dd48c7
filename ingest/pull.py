"""A standing pull on a durable consumer: messages in order, never one missing in silence."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from tapehouse.bus import Bus
from tapehouse.clock import SECOND
from tapehouse.errors import ConnectError

_CREDIT = 64
"""Messages asked for and not yet taken, at most: with batches of at most 512 KB this bounds the memory."""
_EXPIRES_S = 30
_HEARTBEAT_S = 2


class InterruptedPullError(ConnectError):
    """The pull lost its place (reconnect, a message that never came): begin again from the floor."""


@dataclass(frozen=True)
class Delivered:
    """A message with its place: `seq` in the stream, `stored_ns` when the broker stored it."""

    seq: int
    stored_ns: int
    subject: str
    data: bytes
    ack: str


class Pull:
    """Delivers the messages of one consumer from the place it was reset to. One reader a consumer."""

    def __init__(self, bus: Bus, stream: str, consumer: str) -> None:
        self._bus = bus
        self._stream = stream
        self._consumer = consumer
        self._queue: deque[Delivered] = deque()
        self._arrived = asyncio.Event()
        self._owed = 0
        self._expected = 1
        self._broken: str | None = None
        self._subscription: Subscription | None = None
        self._inbox = ""

    async def start(self, seq: int) -> None:
        """Reset the consumer: the next message is the first at or above `seq`. Then ask for messages."""
        await self.stop()
        await self._bus.js.reset_consumer(self._stream, self._consumer, seq)
        await self.listen()

    async def listen(self) -> None:
        """Ask for messages of a consumer that has delivered none since it was made or reset."""
        self._queue.clear()
        self._owed, self._expected, self._broken = 0, 1, None
        self._inbox = self._bus.client.new_inbox()
        self._subscription = await self._bus.client.subscribe(
            self._inbox, cb=self._deliver, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        self._bus.on_reconnect.append(self._interrupted)
        await self._ask()

    async def stop(self) -> None:
        """Stop asking; what was delivered and not taken is forgotten."""
        if self._interrupted in self._bus.on_reconnect:
            self._bus.on_reconnect.remove(self._interrupted)
        if self._subscription is not None and not self._bus.client.is_closed:
            await self._subscription.unsubscribe()
        self._subscription = None

    async def take(self, max_bytes: int) -> list[Delivered]:
        """Wait for a message, then take what is there, in order, up to `max_bytes` (at least one message).

        Raises InterruptedPullError when the place was lost.
        """
        while not self._queue:
            self._arrived.clear()
            if self._broken:
                raise InterruptedPullError(f"{self._consumer}: {self._broken}")
            try:
                async with asyncio.timeout(_HEARTBEAT_S * 3):
                    await self._arrived.wait()
            except TimeoutError:
                raise InterruptedPullError(
                    f"{self._consumer}: no sign of the broker for {_HEARTBEAT_S * 3} s"
                ) from None
        taken: list[Delivered] = []
        size = 0
        while self._queue and (not taken or size + len(self._queue[0].data) <= max_bytes):
            taken.append(self._queue.popleft())
            size += len(taken[-1].data)
        if self._owed + len(self._queue) <= _CREDIT // 2:
            await self._ask()
        return taken

    @property
    def waiting(self) -> int:
        """Messages delivered and not yet taken."""
        return len(self._queue)

    async def _ask(self) -> None:
        count = _CREDIT - self._owed - len(self._queue)
        self._owed += count
        request = {
            "batch": count,
            "expires": _EXPIRES_S * SECOND,
            "idle_heartbeat": int(_HEARTBEAT_S * SECOND),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        try:
            await self._bus.client.publish(subject, json.dumps(request).encode(), self._inbox)
        except NatsError:
            self._interrupted()

    async def _deliver(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status")
        if status is not None and not message.reply.startswith("$JS.ACK."):
            await self._told(status, message)
        else:
            # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
            parts = message.reply.split(".")
            consumer_seq = int(parts[6])
            if consumer_seq != self._expected:
                self._broken = f"expected delivery {self._expected}, was {consumer_seq}"
            else:
                self._expected += 1
                self._owed -= 1
                self._queue.append(
                    Delivered(int(parts[5]), int(parts[7]), message.subject, message.data, message.reply)
                )
        self._arrived.set()

    async def _told(self, status: str, message: Msg) -> None:
        """A status instead of a message: 100 heartbeat, 408 and 409 the end of a request, else trouble."""
        if status == "100":
            return
        left = (message.headers or {}).get("Nats-Pending-Messages")
        if status in ("408", "409") and left is not None:
            self._owed = max(0, self._owed - int(left))
            if self._owed + len(self._queue) <= _CREDIT // 2:
                await self._ask()
            return
        self._broken = f"status {status} {(message.headers or {}).get('Description', '')}".strip()

    def _interrupted(self) -> None:
        self._broken = "the connection was lost"
        self._arrived.set()
