"""What is in quarantine: how many rows, why the newest of them were rejected, and the newest themselves."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from nats.errors import Error as NatsError

from tapehouse.clock import iso
from tapehouse.errors import ConnectError
from tapehouse.printable import one_line
from tapehouse.stream.bus import QUARANTINE, Bus
from tapehouse.stream.quarantine_pages import expectation, rows_of, unpack_page
from tapehouse.stream.reads import messages_from

_PAGES = 40
_PAGES_BYTES = 16 * 2**20
_ANSWER_S = 10
_REASONS = 20
_NEWEST = 20


class QuarantineReport:
    """Reads the stream again only where it has changed."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._one_at_a_time = asyncio.Lock()
        self._version: object = None
        self._report: dict[str, Any] = {}

    async def read(self) -> dict[str, Any]:
        """`rows` in quarantine; the `counted` newest of them, at most 20,000, as `reasons` by their number of rows,
        without the values that are wrong; and the `newest`, last first, with their time, kind, venue, place and reason.

        At most 20 reasons and 20 rows. The rejected bytes are no part of it. Raises ConnectError if NATS does not
        answer within 10 s.
        """
        try:
            async with asyncio.timeout(_ANSWER_S), self._one_at_a_time:
                return await self._read()
        except (NatsError, TimeoutError):
            raise ConnectError("nats: does not answer", remedy="See `tapehouse status`.") from None

    async def _read(self) -> dict[str, Any]:
        state = (await self._bus.js.stream_info(QUARANTINE, subjects_filter="quarantine.>")).state
        version = (state.first_seq, state.last_seq, state.messages)
        if version == self._version:
            return self._report
        first = max(1, state.first_seq, state.last_seq - _PAGES + 1)
        # Of an empty stream nothing is asked: the request would wait for the first message.
        pages = (
            await messages_from(self._bus, QUARANTINE, first, _PAGES, _PAGES_BYTES) if state.messages else []
        )
        entries = [entry for seq, _, data in pages for entry in unpack_page(seq, data)]
        reasons = Counter(one_line(expectation(entry.reason)) for entry in entries)
        self._report = {
            "rows": rows_of(state.subjects),
            "counted": len(entries),
            "reasons": [{"reason": reason, "rows": rows} for reason, rows in reasons.most_common(_REASONS)],
            "newest": [
                {
                    "ts": iso(entry.at_ns),
                    "kind": entry.kind,
                    "venue": one_line(entry.venue),
                    "place": one_line(entry.where),
                    "reason": one_line(entry.reason),
                }
                for entry in entries[: -_NEWEST - 1 : -1]
            ],
        }
        self._version = version
        return self._report
