"""The role that takes account trades by request and answers when they are stored.

A request's answer is one JSON object:

    {"accepted": 2, "quarantined": [{"index": 1, "reason": "id: expected a whole number, was '7'"}]}
    {"error": "payload: expected JSON, was 'ID=7'", "remedy": "Send one object, ..."}

The first comes when the broker has stored what was accepted and the quarantine the rest; after the second
nothing was taken. Who gets neither sends again: the key (ts_event, account_id, id) takes the doubles.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from ingest.accountrequest import VENUE, Request, batch_of, read
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from tapehouse import sharding
from tapehouse.bus import Bus
from tapehouse.clock import now_ns
from tapehouse.errors import UsageError
from tapehouse.health import Health
from tapehouse.model import ACCOUNT_TRADES

SUBJECT = "accounts.trades"
_QUEUE = "accounts"
_INBOXES = "_INBOX_"
_REQUESTS = 1_000
_BYTES = 32 * 2**20
_GROUP_BYTES = 2**20
_SAY_EVERY_S = 0.5
_ORIGIN = Origin(ACCOUNT_TRADES.name, VENUE, SUBJECT, {"format": "jsonlines", "kind": ACCOUNT_TRADES.name})
_log = structlog.get_logger()


@dataclass(frozen=True)
class _Asked:
    message: Msg
    came_ns: int


class Accounts:
    """Answers requests on `accounts.trades`; several of them share the work. `run` ends only when cancelled.

    At most 1,000 requests of 32 MiB are in work at once: more, and any while the stream takes nothing, are
    answered that it is busy.
    """

    def __init__(self, bus: Bus, health: Health) -> None:
        self._bus = bus
        self._health = health
        self._quarantine = Quarantine(bus)
        self._waiting: list[_Asked] = []
        self._in_work = 0
        self._bytes = 0
        self._came = asyncio.Event()

    async def run(self) -> None:
        """Take and answer until cancelled."""
        shards = await sharding.current(await self._bus.state())
        async with Publisher(self._bus) as publisher, asyncio.TaskGroup() as tasks:
            self._publisher = publisher
            intake = Intake(publisher, self._quarantine, shards)
            tasks.create_task(self._tell())
            subscription = await self._bus.client.subscribe(SUBJECT, queue=_QUEUE, cb=self._take)
            try:
                while True:
                    await self._came.wait()
                    asked = self._group()
                    requests = await self._read(asked)
                    ticket, rows = -1, 0
                    if requests:
                        batch = batch_of([request for _, request in requests])
                        # While the stream takes nothing this waits, and what comes is told so.
                        ticket, rows = await intake.put(batch, _ORIGIN), batch.rows
                    # The next group is read while this one is being stored.
                    tasks.create_task(self._finish(requests, ticket, rows))
            finally:
                if not self._bus.client.is_closed:
                    await subscription.unsubscribe()

    async def _take(self, message: Msg) -> None:
        """Put a request with those that wait, or answer that there is no room for it."""
        size = len(message.data)
        why = self._publisher.waits
        if not why and (self._in_work >= _REQUESTS or self._bytes + size > _BYTES):
            why = f"{self._in_work:,} requests are in work"
        if why:
            remedy = "Nothing of it was taken: send it again in a while."
            await self._answer(message, {"error": f"busy: {why}", "remedy": remedy})
            return
        self._in_work += 1
        self._bytes += size
        self._waiting.append(_Asked(message, now_ns()))
        self._came.set()

    def _group(self) -> list[_Asked]:
        """The requests that waited longest, about 1 MiB of them."""
        count = size = 0
        while count < len(self._waiting) and size < _GROUP_BYTES:
            size += len(self._waiting[count].message.data)
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting:
            self._came.clear()
        return group

    async def _read(self, asked: list[_Asked]) -> list[tuple[_Asked, Request]]:
        """The requests that can be read; the others are answered."""
        found = []
        for one in asked:
            try:
                found.append((one, read(one.message.data, one.came_ns)))
            except UsageError as reason:
                await self._done(one, {"error": reason.message, "remedy": reason.remedy})
        return found

    async def _finish(self, requests: list[tuple[_Asked, Request]], ticket: int, rows: int) -> None:
        """Answer requests when all of them is stored."""
        await asyncio.gather(*(self._refuse(request) for _, request in requests if request.reasons))
        await self._publisher.settle(ticket)
        if requests:
            self._health.wrote(rows, requests[-1][1].came_ns, self._quarantine.count)
        for asked, request in requests:
            refused = [
                {"index": place, "reason": reason} for place, reason in sorted(request.reasons.items())
            ]
            await self._done(asked, {"accepted": len(request.rows), "quarantined": refused})

    async def _refuse(self, request: Request) -> None:
        """Quarantine what is no trade; a request sent again brings the same pages, which are stored once."""
        refused = sorted(request.reasons.items())
        await self._quarantine.put(
            _ORIGIN,
            [Rejected(request.original(place), reason, f"{SUBJECT} {place}") for place, reason in refused],
        )

    async def _done(self, asked: _Asked, answer: dict[str, Any]) -> None:
        self._in_work -= 1
        self._bytes -= len(asked.message.data)
        await self._answer(asked.message, answer)

    async def _answer(self, message: Msg, answer: dict[str, Any]) -> None:
        # Anything but an inbox would be a sender that publishes by our permissions.
        if not message.reply.startswith(_INBOXES):
            return
        data = json.dumps(answer).encode()
        if len(data) > self._publisher.largest:
            answer["quarantined"] = [{**one, "reason": "see the quarantine"} for one in answer["quarantined"]]
            data = json.dumps(answer).encode()
        try:
            await self._bus.client.publish(message.reply, data)
        except (NatsError, OSError) as reason:
            _log.warning("an answer could not be sent, its sender will ask again", reason=repr(reason))

    async def _tell(self) -> None:
        """Say whether requests are taken."""
        while True:
            why = self._publisher.waits
            if why:
                self._health.waiting(why)
            else:
                self._health.ready()
            await asyncio.sleep(_SAY_EVERY_S)
