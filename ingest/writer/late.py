"""Publishes rows of sealed days to the stream LATE, from which the mirror merges them into ClickHouse.

A message has rows of one day, from one message of TICKS. Its id names that message, the day and the writer's session,
so that a message sent again after a timeout is stored once. A replay is stored again as a whole: if messages already
in the stream were left out, an older row that went to QuestDB the first time could follow a newer row with the same
key, and of several rows with one key the last wins.
"""

from __future__ import annotations

import asyncio
import secrets

import numpy as np
from nats.errors import ConnectionClosedError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError, ServerError, ServiceUnavailableError

from ingest.intake import pack_messages
from ingest.publisher import STREAM_FULL
from tapehouse.batch import Batch
from tapehouse.clock import DAY, day_of
from tapehouse.stream.bus import Bus
from tapehouse.stream.health import Health
from tapehouse.stream.seal import late_subject

_RESPONSE_TIMEOUT_S = 2
_RETRY_S = 0.25


class LateRowsPublisher:
    """Publishes the late rows of one shard's writer."""

    def __init__(self, bus: Bus, shard: int, health: Health) -> None:
        self._bus = bus
        self._shard = shard
        self._health = health
        self.begin()

    def begin(self) -> None:
        """Start a session: it may repeat messages of the one before, which are then stored again."""
        self._session = secrets.token_hex(8)

    async def put(self, rows: Batch, created_ns: int, seq: int) -> None:
        """Publish rows of message `seq` of TICKS, the stream created at `created_ns` (ns UTC).

        Returns when the stream has stored them, however long that takes; health reports the wait.
        """
        subject = late_subject(rows.kind.name, self._shard)
        days = rows.array(rows.kind.time) // DAY
        order = np.argsort(days, kind="stable")
        for rows_of_day in np.split(order, np.flatnonzero(np.diff(days[order])) + 1):
            day = day_of(int(days[rows_of_day[0]]) * DAY)
            for part, message in enumerate(pack_messages(rows.take(rows_of_day))):
                await self._store(subject, message, f"{self._session}.{created_ns}.{seq}.{day}.{part}")

    async def _store(self, subject: str, message: bytes, identity: str) -> None:
        waited = False
        while True:
            try:
                await self._bus.js.publish(
                    subject, message, timeout=_RESPONSE_TIMEOUT_S, headers={"Nats-Msg-Id": identity}
                )
                break
            except (ServiceUnavailableError, ServerError) as refusal:
                full = refusal.err_code in STREAM_FULL
                reason = "is full until the mirror merges its rows" if full else f"rejected rows: {refusal}"
            except NoStreamResponseError:
                reason = "does not exist"
            except (NatsTimeoutError, ConnectionClosedError, OutboundBufferLimitError):
                await self._bus.until_connected()
                reason = "does not answer"
            waited = True
            self._health.waiting(f"the late stream {reason}")
            await asyncio.sleep(_RETRY_S)
        if waited:
            self._health.ready()
