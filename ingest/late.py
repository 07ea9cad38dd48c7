"""Rows of sealed days onto the stream LATE, where the mirror takes them from.

A message holds rows of one message of TICKS and of one day, and its identity says of which, and in which session
of the writer: what is sent again for want of an answer is stored once. A replay is stored again as a whole. If
what is there already were left out of it, an older row that went to the hot store the first time would come to
lie behind a newer one with its key, and of two rows with one key the last counts.
"""

from __future__ import annotations

import asyncio
import secrets

import numpy as np
from nats.errors import ConnectionClosedError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError, ServerError, ServiceUnavailableError

from ingest.intake import messages
from ingest.publisher import STREAM_FULL
from tapehouse.batch import Batch
from tapehouse.bus import Bus
from tapehouse.clock import DAY, day_of
from tapehouse.health import Health
from tapehouse.seal import late_subject

_ANSWER_S = 2
_AGAIN_S = 0.25


class Late:
    """The late stream as the writer of one shard fills it."""

    def __init__(self, bus: Bus, shard: int, health: Health) -> None:
        self._bus = bus
        self._shard = shard
        self._health = health
        self.begin()

    def begin(self) -> None:
        """A new session: it may bring messages of the one before again."""
        self._session = secrets.token_hex(8)

    async def put(self, rows: Batch, created_ns: int, seq: int) -> None:
        """Store rows of message `seq` of the stream of ticks that was created at `created_ns`.

        Returns when the broker has them, however long that takes; what it waits for is told.
        """
        subject = late_subject(rows.kind.name, self._shard)
        days = rows.array(rows.kind.time) // DAY
        order = np.argsort(days, kind="stable")
        for places in np.split(order, np.flatnonzero(np.diff(days[order])) + 1):
            day = day_of(int(days[places[0]]) * DAY)
            for part, message in enumerate(messages(rows.take(places))):
                await self._store(subject, message, f"{self._session}.{created_ns}.{seq}.{day}.{part}")

    async def _store(self, subject: str, message: bytes, identity: str) -> None:
        waited = False
        while True:
            try:
                await self._bus.js.publish(
                    subject, message, timeout=_ANSWER_S, headers={"Nats-Msg-Id": identity}
                )
                break
            except (ServiceUnavailableError, ServerError) as refusal:
                full = refusal.err_code in STREAM_FULL
                reason = "is full: what it holds is to be merged first" if full else f"refuses: {refusal}"
            except NoStreamResponseError:
                reason = "is not there"
            except (NatsTimeoutError, ConnectionClosedError, OutboundBufferLimitError):
                await self._bus.until_connected()
                reason = "does not answer"
            waited = True
            self._health.waiting(f"the stream of late rows {reason}")
            await asyncio.sleep(_AGAIN_S)
        if waited:
            self._health.ready()
