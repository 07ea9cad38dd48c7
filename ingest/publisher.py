"""Publishes batches to JetStream, each stored at least once, whatever happens to the broker.

A batch leaves the window only when the broker has acknowledged it. Until then it is sent again, oldest first
and with the same Nats-Msg-Id, after a reconnect, a missing acknowledgement, or a rejection because the stream
was full. The id is a hash of the content, and of its place where the source has places, so a batch whose
acknowledgement was lost is stored once. Batches of shards that were removed are never sent to other shards: their
order among the stored ones would be lost.
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

from tapehouse.errors import ConnectError, PublishError, TapehouseError
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus

STREAM_FULL = {10077, 10076}
"""Error codes of the broker: maximum bytes or messages exceeded."""
_FULL_REASON = "the stream is full: the writers have not caught up"
_INSUFFICIENT_RESOURCES = {10047, 10023}  # insufficient storage, insufficient resources
_UNAVAILABLE = {503, 500}
_FEW_PENDING = 4
# The broker's limit covers headers and payload, and it disconnects a client that exceeds it.
_HEADER_BYTES = len("NATS/1.0\r\nNats-Msg-Id: \r\n\r\n") + 2 * hashlib.sha256().digest_size
_log = structlog.get_logger()


@dataclass
class _PendingMessage:
    subject: str
    payload: bytes
    msg_id: str
    at: float


class Publisher:
    """An ordered window of unacknowledged batches. Tickets count from 0; all below `first_pending` are stored."""

    def __init__(
        self,
        bus: Bus,
        *,
        window: int = 64,
        window_bytes: int = 16 * 2**20,
        ack_timeout_s: float = 5,
        rejected_wait_s: float = 0.25,
    ) -> None:
        self._bus = bus
        self._window = window
        self._window_bytes = window_bytes
        self._ack_timeout = ack_timeout_s
        self._rejected_wait = rejected_wait_s
        self._pending: dict[int, _PendingMessage] = {}
        self._bytes = 0
        self._next = 0
        self._resend_from = 0.0
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()
        self._failure: TapehouseError | None = None
        self._rejection_reason = ""
        self._stream_missing = False
        self._inbox = bus.client.new_inbox()
        self._subscription: Subscription | None = None
        self._resending: asyncio.Task[None] | None = None
        self.full = False
        """Whether the stream rejects messages now; `publish` waits meanwhile."""
        self.duplicates = 0
        """Batches that the broker had stored already."""
        self.last_seq = 0
        """The highest stream sequence of a batch of this publisher."""

    async def __aenter__(self) -> Self:
        self._subscription = await self._bus.client.subscribe(f"{self._inbox}.*", cb=self._on_acknowledgement)
        self._bus.on_reconnect.append(self._mark_all_overdue)
        self._bus.on_fault.append(self._on_permission_error)
        self._resending = asyncio.create_task(self._resend())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bus.on_reconnect.remove(self._mark_all_overdue)
        self._bus.on_fault.remove(self._on_permission_error)
        if self._resending:
            self._resending.cancel()
            await asyncio.gather(self._resending, return_exceptions=True)
        if self._subscription and not self._bus.client.is_closed:
            await self._subscription.unsubscribe()

    @property
    def blocked_reason(self) -> str:
        """Why the stream accepts no messages now; empty where it does."""
        if not self._bus.connected:
            return "not connected to nats"
        return self._rejection_reason if self.full else ""

    @property
    def max_message_bytes(self) -> int:
        """The largest payload of one message, in bytes."""
        return int(self._bus.client.max_payload) - _HEADER_BYTES

    @property
    def first_pending(self) -> int:
        """The oldest unacknowledged ticket: every one below it is stored."""
        return next(iter(self._pending), self._next)

    @property
    def next_ticket(self) -> int:
        """The ticket of the next message."""
        return self._next

    async def publish(self, subject: str, payload: bytes, place: str = "") -> int:
        """Send one message and return its ticket; waits for as long as the window is full.

        `place` is the message's place in its source, where the same content at another place is another message.
        Raises PublishError when the broker rejects a message permanently (too large, no permission), and
        ConnectError when the connection was closed.
        """
        size = len(payload)
        if size > self.max_message_bytes:
            raise PublishError(f"publish: expected at most {self.max_message_bytes} bytes, was {size}")
        msg_id = hashlib.sha256(place.encode() + payload).hexdigest()
        async with self._changed:
            await self._changed.wait_for(lambda: self._failure or self._has_room(size))
            self._raise_failure()
            ticket = self._next
            self._next += 1
            self._pending[ticket] = _PendingMessage(subject, payload, msg_id, time.monotonic())
            self._bytes += size
        await self._send(ticket)
        return ticket

    async def drain(self) -> None:
        """Wait until every message is stored."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._failure or not self._pending)
            self._raise_failure()

    async def wait_acknowledged(self, ticket: int) -> None:
        """Wait until every ticket up to and including `ticket` is stored."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._failure or self.first_pending > ticket)
            self._raise_failure()

    async def until_few_pending(self) -> None:
        """Wait until at most four messages are unacknowledged.

        A feed that does so before it takes the rows received meanwhile sends fewer and larger messages when the
        broker, which syncs each one to the disk, cannot keep up with small ones.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._failure or len(self._pending) <= _FEW_PENDING)
            self._raise_failure()

    def _has_room(self, size: int) -> bool:
        if not self._pending:
            return True
        return (
            not self.full
            and len(self._pending) < self._window
            and self._bytes + size <= self._window_bytes
            and self._bus.connected
        )

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    async def _send(self, ticket: int) -> None:
        message = self._pending.get(ticket)
        if message is None:
            return
        message.at = time.monotonic()
        try:
            await self._bus.client.publish(
                message.subject, message.payload, f"{self._inbox}.{ticket}", {"Nats-Msg-Id": message.msg_id}
            )
        except (NatsError, OSError) as reason:
            # The connection is down: the reconnect sends all pending messages again.
            _log.debug("publish failed", ticket=ticket, reason=repr(reason))

    async def _on_acknowledgement(self, message: Msg) -> None:
        ticket = int(message.subject.rsplit(".", 1)[1])
        # The server answers with an empty message where no stream exists for the subject yet.
        answer: dict[str, Any] = json.loads(message.data or b'{"error": {"code": 503}}')
        error = answer.get("error")
        async with self._changed:
            if error is None:
                acknowledged = self._pending.pop(ticket, None)
                if acknowledged is not None:
                    self._bytes -= len(acknowledged.payload)
                    self.duplicates += bool(answer.get("duplicate"))
                    self.last_seq = max(self.last_seq, int(answer["seq"]))
                if self.full:
                    self.full = False
                    self._wake.set()
                    _log.info("stream accepts batches again")
            elif error.get("err_code") in STREAM_FULL:
                self._handle_rejection(ticket, _FULL_REASON)
            elif error.get("err_code") in _INSUFFICIENT_RESOURCES:
                self._handle_rejection(ticket, f"nats has insufficient resources: {error.get('description')}")
            elif error.get("code") in _UNAVAILABLE:
                self._stream_missing = "description" not in error
                self._handle_rejection(
                    ticket, f"the stream is unavailable: {error.get('description', 'it does not exist')}"
                )
            else:
                self._failure = PublishError(
                    f"publish: the broker rejected a batch: {error.get('description')}", error=error
                )
            self._changed.notify_all()

    async def _on_permission_error(self, reason: Exception) -> None:
        """A publish without permission gets no answer, only an asynchronous error of the connection."""
        error_text = str(reason).lower()
        subjects = {
            message.subject
            for message in self._pending.values()
            if f'"{message.subject.lower()}"' in error_text
        }
        if "permissions violation" in error_text and subjects:
            await self._fail(PublishError(f"publish: {self._bus.role} may not publish to {subjects.pop()}"))

    async def _fail(self, failure: TapehouseError) -> None:
        async with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _handle_rejection(self, ticket: int, reason: str) -> None:
        if ticket in self._pending:
            self._pending[ticket].at = -self._ack_timeout
        self._rejection_reason = reason
        if not self.full:
            self.full = True
            _log.warning("stream rejects batches, feed paused", reason=reason)
        self._resend_from = time.monotonic() + self._rejected_wait
        self._wake.set()

    async def _check_shards(self) -> None:
        """Fail where a shard that is published to was removed."""
        self._stream_missing = False
        try:
            present = await sharding.current(await self._bus.shared_state())
        except (NatsError, TimeoutError, TapehouseError) as reason:
            # The streams are not created yet: the next rejection checks again.
            _log.debug("shards not read", reason=repr(reason))
            return
        published = {int(message.subject.rpartition(".")[2]) for message in self._pending.values()}
        if not published <= set(present.numbers):
            await self._fail(
                PublishError(
                    f"publish: the number of shards was changed to {present.count} while this feed ran",
                    remedy="Start it again: it goes on from its checkpoint.",
                )
            )

    def _mark_all_overdue(self) -> None:
        for message in self._pending.values():
            message.at = -self._ack_timeout
        self._wake.set()

    async def _resend(self) -> None:
        """Send overdue messages again, oldest first, for as long as the publisher is open."""
        while True:
            try:
                await self._bus.until_connected()
            except ConnectError as closed:
                await self._fail(closed)
                return
            if self._stream_missing:
                await self._check_shards()
            now = time.monotonic()
            if self.full:
                if now >= self._resend_from:
                    self._resend_from = now + self._ack_timeout
                    # Only the oldest is sent as a probe: the rest follow once it is accepted.
                    await self._send(self.first_pending)
                wait = self._resend_from - now
            else:
                overdue = [t for t, message in self._pending.items() if message.at + self._ack_timeout <= now]
                for ticket in overdue:
                    await self._send(ticket)
                oldest = min((message.at for message in self._pending.values()), default=now)
                wait = max(oldest + self._ack_timeout - now, 0.01)
            async with self._changed:
                self._changed.notify_all()
            self._wake.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue
