"""Batches to JetStream, each stored at least once, whatever happens to the broker.

A batch leaves the window only when the broker has acknowledged it. Until then it is sent again, oldest
first and under the same Nats-Msg-Id, after a reconnect, after an acknowledgement that did not come, and
after a refusal because the stream was full. The identity is that of the content, so a batch that was stored
though its acknowledgement was lost is stored once. Batches for shards that the stream takes no more are never
sent elsewhere: their order among those that were stored would be lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any, Self

import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from tapehouse import sharding
from tapehouse.bus import Bus
from tapehouse.errors import ConnectError, PublishError, TapehouseError

STREAM_FULL = {10077, 10076}
"""Error codes of the broker: maximum bytes or messages exceeded."""
_FULL = "the stream is full: the writers are behind"
_NO_ROOM = {10047, 10023}  # insufficient storage, insufficient resources
_TRY_LATER = {503, 500}
# The broker's limit is for headers and payload together, and it cuts off who exceeds it.
_HEADER_BYTES = len("NATS/1.0\r\nNats-Msg-Id: \r\n\r\n") + 2 * hashlib.sha256().digest_size
_log = structlog.get_logger()


@dataclass
class _Sent:
    subject: str
    payload: bytes
    msg_id: str
    at: float


class Publisher:
    """An ordered window of batches under way. Tickets count from 0; all below `settled` are stored."""

    def __init__(
        self,
        bus: Bus,
        *,
        window: int = 64,
        window_bytes: int = 16 * 2**20,
        ack_timeout_s: float = 5,
        refused_wait_s: float = 0.25,
    ) -> None:
        self._bus = bus
        self._window = window
        self._window_bytes = window_bytes
        self._ack_timeout = ack_timeout_s
        self._refused_wait = refused_wait_s
        self._under_way: dict[int, _Sent] = {}
        self._bytes = 0
        self._next = 0
        self._resend_from = 0.0
        self._moved = asyncio.Condition()
        self._wake = asyncio.Event()
        self._failure: TapehouseError | None = None
        self._refusal = ""
        self._unheard = False
        self._inbox = bus.client.new_inbox()
        self._subscription: Subscription | None = None
        self._resending: asyncio.Task[None] | None = None
        self.full = False
        """The stream refuses more until the writers have caught up; publish waits."""
        self.doubled = 0
        """Batches that the broker had already."""
        self.last_seq = 0
        """The highest sequence in the stream given to a batch of this publisher."""

    async def __aenter__(self) -> Self:
        self._subscription = await self._bus.client.subscribe(f"{self._inbox}.*", cb=self._acknowledged)
        self._bus.on_reconnect.append(self._resend_all)
        self._bus.on_fault.append(self._forbidden)
        self._resending = asyncio.create_task(self._resend())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bus.on_reconnect.remove(self._resend_all)
        self._bus.on_fault.remove(self._forbidden)
        if self._resending:
            self._resending.cancel()
            await asyncio.gather(self._resending, return_exceptions=True)
        if self._subscription and not self._bus.client.is_closed:
            await self._subscription.unsubscribe()

    @property
    def waits(self) -> str:
        """Why the stream takes nothing now; empty where it does."""
        if not self._bus.connected:
            return "nats is away"
        return self._refusal if self.full else ""

    @property
    def largest(self) -> int:
        """Bytes in one message, at most."""
        return int(self._bus.client.max_payload) - _HEADER_BYTES

    @property
    def settled(self) -> int:
        """Every ticket below this one is acknowledged."""
        return next(iter(self._under_way), self._next)

    @property
    def handed_over(self) -> int:
        """The ticket that the next message will get."""
        return self._next

    async def publish(self, subject: str, payload: bytes) -> int:
        """Hand over one message and return its ticket; waits for as long as the window is full.

        Raises PublishError when the broker refuses a message for good (too large, no permission), and
        ConnectError when the connection was closed.
        """
        size = len(payload)
        if size > self.largest:
            raise PublishError(f"publish: expected at most {self.largest} bytes, was {size}")
        msg_id = hashlib.sha256(payload).hexdigest()
        async with self._moved:
            await self._moved.wait_for(lambda: self._failure or self._has_room(size))
            self._raise_failure()
            ticket = self._next
            self._next += 1
            self._under_way[ticket] = _Sent(subject, payload, msg_id, time.monotonic())
            self._bytes += size
        await self._send(ticket)
        return ticket

    async def drain(self) -> None:
        """Wait until every message handed over is stored."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._failure or not self._under_way)
            self._raise_failure()

    async def settle(self, ticket: int) -> None:
        """Wait until every ticket up to and including `ticket` is stored."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._failure or self.settled > ticket)
            self._raise_failure()

    def _has_room(self, size: int) -> bool:
        if not self._under_way:
            return True
        return (
            not self.full
            and len(self._under_way) < self._window
            and self._bytes + size <= self._window_bytes
            and self._bus.connected
        )

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    async def _send(self, ticket: int) -> None:
        sent = self._under_way.get(ticket)
        if sent is None:
            return
        sent.at = time.monotonic()
        try:
            await self._bus.client.publish(
                sent.subject, sent.payload, f"{self._inbox}.{ticket}", {"Nats-Msg-Id": sent.msg_id}
            )
        except (NatsError, OSError) as reason:
            # The connection is down: the reconnect sends all that is under way again.
            _log.debug("publish failed", ticket=ticket, reason=repr(reason))

    async def _acknowledged(self, message: Msg) -> None:
        ticket = int(message.subject.rsplit(".", 1)[1])
        # An empty answer is the server's word that no stream listens yet.
        answer: dict[str, Any] = json.loads(message.data or b'{"error": {"code": 503}}')
        error = answer.get("error")
        async with self._moved:
            if error is None:
                sent = self._under_way.pop(ticket, None)
                if sent is not None:
                    self._bytes -= len(sent.payload)
                    self.doubled += bool(answer.get("duplicate"))
                    self.last_seq = max(self.last_seq, int(answer["seq"]))
                if self.full:
                    self.full = False
                    self._wake.set()
                    _log.info("stream takes batches again")
            elif error.get("err_code") in STREAM_FULL:
                self._refused(ticket, _FULL)
            elif error.get("err_code") in _NO_ROOM:
                self._refused(ticket, f"nats has no room: {error.get('description')}")
            elif error.get("code") in _TRY_LATER:
                self._unheard = "description" not in error
                self._refused(
                    ticket, f"the stream takes nothing: {error.get('description', 'it is not there')}"
                )
            else:
                self._failure = PublishError(
                    f"publish: the broker refused a batch: {error.get('description')}", error=error
                )
            self._moved.notify_all()

    async def _forbidden(self, reason: Exception) -> None:
        """A publish without permission gets no answer, only a word on the connection."""
        said = str(reason).lower()
        subjects = {sent.subject for sent in self._under_way.values() if f'"{sent.subject.lower()}"' in said}
        if "permissions violation" in said and subjects:
            await self._fail(PublishError(f"publish: {self._bus.role} may not publish to {subjects.pop()}"))

    async def _fail(self, failure: TapehouseError) -> None:
        async with self._moved:
            self._failure = failure
            self._moved.notify_all()

    def _refused(self, ticket: int, reason: str) -> None:
        if ticket in self._under_way:
            self._under_way[ticket].at = -self._ack_timeout
        self._refusal = reason
        if not self.full:
            self.full = True
            _log.warning("batches are refused, the feed waits", reason=reason)
        self._resend_from = time.monotonic() + self._refused_wait
        self._wake.set()

    async def _look_at_shards(self) -> None:
        """Give up where the stream takes no more for a shard that is published to."""
        self._unheard = False
        try:
            present = await sharding.current(await self._bus.state())
        except (NatsError, TimeoutError, TapehouseError) as reason:
            # The streams are not there yet: the next refusal asks again.
            _log.debug("no answer about the shards", reason=repr(reason))
            return
        published = {int(sent.subject.rpartition(".")[2]) for sent in self._under_way.values()}
        if not published <= set(present.numbers):
            await self._fail(
                PublishError(
                    f"publish: the number of shards was changed to {present.count} while this feed ran",
                    remedy="Start it again: it goes on from its checkpoint.",
                )
            )

    def _resend_all(self) -> None:
        for sent in self._under_way.values():
            sent.at = -self._ack_timeout
        self._wake.set()

    async def _resend(self) -> None:
        """Sends again what is overdue, oldest first, for as long as the publisher is open."""
        while True:
            try:
                await self._bus.until_connected()
            except ConnectError as closed:
                await self._fail(closed)
                return
            if self._unheard:
                await self._look_at_shards()
            now = time.monotonic()
            if self.full:
                if now >= self._resend_from:
                    self._resend_from = now + self._ack_timeout
                    # The oldest alone is the probe: the rest follow once it is taken.
                    await self._send(self.settled)
                wait = self._resend_from - now
            else:
                overdue = [t for t, sent in self._under_way.items() if sent.at + self._ack_timeout <= now]
                for ticket in overdue:
                    await self._send(ticket)
                oldest = min((sent.at for sent in self._under_way.values()), default=now)
                wait = max(oldest + self._ack_timeout - now, 0.01)
            async with self._moved:
                self._moved.notify_all()
            self._wake.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue
