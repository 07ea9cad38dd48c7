"""The role that receives account trades by NATS request and replies when they are stored.

A reply is one JSON object:

    {"accepted": 2, "quarantined": [{"index": 1, "reason": "id: expected a whole number, was '7'"}]}
    {"error": "payload: expected JSON, was 'ID=7'", "remedy": "Send one object, ..."}

The first is sent after the accepted rows and the quarantined ones are stored; after the second nothing was
accepted. A sender without a reply sends again: the key (ts_event, account_id, id) removes duplicates.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from ingest.accounts.request import VENUE, AccountRequest, parse_request, to_batch
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from tapehouse.clock import now_ns
from tapehouse.errors import UsageError
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus
from tapehouse.stream.health import Health

SUBJECT = "accounts.trades"
_QUEUE = "accounts"
_INBOXES = "_INBOX_"
_MAX_REQUESTS = 1_000
_BYTES = 32 * 2**20
_GROUP_BYTES = 2**20
_HEALTH_EVERY_S = 0.5
_ORIGIN = Origin(ACCOUNT_TRADES.name, VENUE, SUBJECT, {"format": "jsonlines", "kind": ACCOUNT_TRADES.name})
_log = structlog.get_logger()


@dataclass(frozen=True)
class _PendingRequest:
    message: Msg
    received_ns: int


class AccountTradeReceiver:
    """Serves requests on `accounts.trades`; several instances share them. `run` ends only when cancelled.

    At most 1,000 requests or 32 MiB are processed at once: further ones, and any while the stream accepts no
    messages, get the error "busy".
    """

    def __init__(self, bus: Bus, health: Health) -> None:
        self._bus = bus
        self._health = health
        self._quarantine = Quarantine(bus)
        self._waiting: list[_PendingRequest] = []
        self._active = 0
        self._bytes = 0
        self._arrived = asyncio.Event()

    async def run(self) -> None:
        """Serve requests until cancelled."""
        shards = await sharding.current(await self._bus.shared_state())
        async with Publisher(self._bus) as publisher, asyncio.TaskGroup() as tasks:
            self._publisher = publisher
            intake = Intake(publisher, self._quarantine, shards)
            tasks.create_task(self._report_health())
            subscription = await self._bus.client.subscribe(SUBJECT, queue=_QUEUE, cb=self._receive)
            try:
                while True:
                    await self._arrived.wait()
                    pending = self._next_group()
                    requests = await self._parse_group(pending)
                    ticket, rows = -1, 0
                    if requests:
                        batch = to_batch([request for _, request in requests])
                        # Waits while the stream accepts no messages; new requests get "busy" meanwhile.
                        ticket, rows = await intake.put(batch, _ORIGIN), batch.rows
                    # The next group is parsed while this one is being stored.
                    tasks.create_task(self._finish(requests, ticket, rows))
            finally:
                if not self._bus.client.is_closed:
                    await subscription.unsubscribe()

    async def _receive(self, message: Msg) -> None:
        """Queue a request, or reply that the role is busy."""
        size = len(message.data)
        reason = self._publisher.blocked_reason
        if not reason and (self._active >= _MAX_REQUESTS or self._bytes + size > _BYTES):
            reason = f"{self._active:,} requests are in progress"
        if reason:
            remedy = "Nothing of it was taken: send it again in a while."
            await self._reply(message, {"error": f"busy: {reason}", "remedy": remedy})
            return
        self._active += 1
        self._bytes += size
        self._waiting.append(_PendingRequest(message, now_ns()))
        self._arrived.set()

    def _next_group(self) -> list[_PendingRequest]:
        """The oldest queued requests, about 1 MiB of them."""
        count = size = 0
        while count < len(self._waiting) and size < _GROUP_BYTES:
            size += len(self._waiting[count].message.data)
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting:
            self._arrived.clear()
        return group

    async def _parse_group(
        self, pending: list[_PendingRequest]
    ) -> list[tuple[_PendingRequest, AccountRequest]]:
        """The requests that can be parsed; the others get an error reply."""
        found = []
        for one in pending:
            try:
                found.append((one, parse_request(one.message.data, one.received_ns)))
            except UsageError as reason:
                await self._complete(one, {"error": reason.message, "remedy": reason.remedy})
        return found

    async def _finish(
        self, requests: list[tuple[_PendingRequest, AccountRequest]], ticket: int, rows: int
    ) -> None:
        """Reply to requests when all their rows are stored."""
        await asyncio.gather(
            *(self._quarantine_rejected(request) for _, request in requests if request.reasons)
        )
        await self._publisher.wait_acknowledged(ticket)
        if requests:
            self._health.wrote(rows, requests[-1][1].received_ns, self._quarantine.count)
        for pending, request in requests:
            rejected = [
                {"index": place, "reason": reason} for place, reason in sorted(request.reasons.items())
            ]
            await self._complete(pending, {"accepted": len(request.rows), "quarantined": rejected})

    async def _quarantine_rejected(self, request: AccountRequest) -> None:
        """Quarantine the rejected records; those of a repeated request are stored once."""
        rejected = sorted(request.reasons.items())
        await self._quarantine.put(
            _ORIGIN,
            [Rejected(request.original(place), reason, f"{SUBJECT} {place}") for place, reason in rejected],
        )

    async def _complete(self, pending: _PendingRequest, answer: dict[str, Any]) -> None:
        self._active -= 1
        self._bytes -= len(pending.message.data)
        await self._reply(pending.message, answer)

    async def _reply(self, message: Msg, answer: dict[str, Any]) -> None:
        # Another reply subject would let a sender publish with the permissions of this role.
        if not message.reply.startswith(_INBOXES):
            return
        data = json.dumps(answer).encode()
        if len(data) > self._publisher.max_message_bytes:
            answer["quarantined"] = [{**one, "reason": "see the quarantine"} for one in answer["quarantined"]]
            data = json.dumps(answer).encode()
        try:
            await self._bus.client.publish(message.reply, data)
        except (NatsError, OSError) as reason:
            _log.warning("reply not sent, the sender will repeat the request", reason=repr(reason))

    async def _report_health(self) -> None:
        """Report whether requests are accepted."""
        while True:
            reason = self._publisher.blocked_reason
            if reason:
                self._health.waiting(reason)
            else:
                self._health.ready()
            await asyncio.sleep(_HEALTH_EVERY_S)
