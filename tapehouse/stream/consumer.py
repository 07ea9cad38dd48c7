"""Continuous pull from a durable consumer: messages in order, with an error if one is missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from tapehouse.clock import SECOND
from tapehouse.errors import ConnectError
from tapehouse.stream.bus import Bus

_CREDIT = 64
"""Maximum of messages requested and not yet taken; with batches of at most 512 KB it bounds the memory."""
_EXPIRES_S = 30
_HEARTBEAT_S = 2


class ConsumerInterruptedError(ConnectError):
    """Messages may have been lost (reconnect, missing delivery): start again from the floor."""


@dataclass(frozen=True)
class StreamMessage:
    """A message, its sequence `seq` in the stream, and when the server stored it (`stored_ns`, ns UTC)."""

    seq: int
    stored_ns: int
    subject: str
    data: bytes
    ack: str
    """The subject to publish an acknowledgement to."""


class StreamConsumer:
    """Delivers the messages of one durable consumer, in order. A consumer must have only one reader."""

    def __init__(self, bus: Bus, stream: str, consumer: str) -> None:
        self._bus = bus
        self._stream = stream
        self._consumer = consumer
        self._queue: deque[StreamMessage] = deque()
        self._arrived = asyncio.Event()
        self._requested = 0
        self._expected = 1
        self._broken: str | None = None
        self._subscription: Subscription | None = None
        self._inbox = ""

    async def start(self, seq: int) -> None:
        """Reset the consumer, so that the next message is the first at or after `seq`, and request messages."""
        await self.stop()
        await self._bus.js.reset_consumer(self._stream, self._consumer, seq)
        await self.listen()

    async def listen(self) -> None:
        """Request messages of a consumer that has delivered none since it was created or reset."""
        self._queue.clear()
        self._requested, self._expected, self._broken = 0, 1, None
        self._inbox = self._bus.client.new_inbox()
        self._subscription = await self._bus.client.subscribe(
            self._inbox, cb=self._deliver, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        self._bus.on_reconnect.append(self._interrupted)
        await self._request_messages()

    async def stop(self) -> None:
        """Unsubscribe; messages that were delivered and not taken are discarded."""
        if self._interrupted in self._bus.on_reconnect:
            self._bus.on_reconnect.remove(self._interrupted)
        if self._subscription is not None and not self._bus.client.is_closed:
            await self._subscription.unsubscribe()
        self._subscription = None

    async def gather(self, until: float) -> None:
        """Wait until `until` (loop time), or until half of the messages that may wait are there."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while len(self._queue) < _CREDIT // 2 and not self._broken:
                    self._arrived.clear()
                    await self._arrived.wait()

    async def take(self, max_bytes: int) -> list[StreamMessage]:
        """Wait for a message, then return all that have arrived, in order, up to `max_bytes` (at least one message).

        Raises ConsumerInterruptedError when messages may have been lost.
        """
        while not self._queue:
            self._arrived.clear()
            if self._broken:
                raise ConsumerInterruptedError(f"{self._consumer}: {self._broken}")
            try:
                async with asyncio.timeout(_HEARTBEAT_S * 3):
                    await self._arrived.wait()
            except TimeoutError:
                raise ConsumerInterruptedError(
                    f"{self._consumer}: no heartbeat from NATS for {_HEARTBEAT_S * 3} s"
                ) from None
        taken: list[StreamMessage] = []
        size = 0
        while self._queue and (not taken or size + len(self._queue[0].data) <= max_bytes):
            taken.append(self._queue.popleft())
            size += len(taken[-1].data)
        if self._requested + len(self._queue) <= _CREDIT // 2:
            await self._request_messages()
        return taken

    @property
    def waiting(self) -> int:
        """Messages delivered and not yet taken."""
        return len(self._queue)

    async def _request_messages(self) -> None:
        count = _CREDIT - self._requested - len(self._queue)
        self._requested += count
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
            await self._handle_status(status, message)
        else:
            # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
            parts = message.reply.split(".")
            consumer_seq = int(parts[6])
            if consumer_seq != self._expected:
                self._broken = f"expected delivery {self._expected}, was {consumer_seq}"
            else:
                self._expected += 1
                self._requested -= 1
                self._queue.append(
                    StreamMessage(int(parts[5]), int(parts[7]), message.subject, message.data, message.reply)
                )
        self._arrived.set()

    async def _handle_status(self, status: str, message: Msg) -> None:
        """A status message: 100 is a heartbeat, 408 and 409 end a request, any other is an error."""
        if status == "100":
            return
        left = (message.headers or {}).get("Nats-Pending-Messages")
        if status in ("408", "409") and left is not None:
            self._requested = max(0, self._requested - int(left))
            if self._requested + len(self._queue) <= _CREDIT // 2:
                await self._request_messages()
            return
        self._broken = f"status {status} {(message.headers or {}).get('Description', '')}".strip()

    def _interrupted(self) -> None:
        self._broken = "the connection was lost"
        self._arrived.set()
