"""Rejected rows with their reasons, in the stream QUARANTINE: see tapehouse/stream/quarantine_pages.py."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
from nats.errors import ConnectionClosedError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError

from ingest.rejected import Rejected
from tapehouse.clock import now_ns
from tapehouse.stream.bus import QUARANTINE, Bus, word
from tapehouse.stream.quarantine_pages import QuarantineEntry, expectation, read_page, rows_of

_PAGE_ENTRIES = 500
_PAGE_BYTES = 256 * 2**10
_MAX_ORIGINAL_BYTES = 64 * 2**10
_MAX_TEXT = 1_000
_ACK_TIMEOUT_S = 2
_RETRY_S = 0.1


@dataclass(frozen=True)
class Origin:
    """Where rows come from; `reader` says how to read them again on retry."""

    kind: str
    venue: str
    source: str
    reader: dict[str, Any]


def _truncate(item: Rejected) -> tuple[bytes, str, str]:
    """(original, reason, where), truncated so that a page can hold hundreds of them."""
    reason, where = item.reason[:_MAX_TEXT], item.where[-_MAX_TEXT:]
    if len(item.original) > _MAX_ORIGINAL_BYTES:
        return item.original[:_MAX_ORIGINAL_BYTES], f"{reason} (original cut at 64 KB)", where
    return item.original, reason, where


def _paginate(rejected: Iterable[Rejected]) -> Iterable[list[tuple[bytes, str, str]]]:
    page: list[tuple[bytes, str, str]] = []
    size = 0
    for row in map(_truncate, rejected):
        row_size = len(msgpack.packb(row))
        if page and (len(page) == _PAGE_ENTRIES or size + row_size > _PAGE_BYTES):
            yield page
            page, size = [], 0
        page.append(row)
        size += row_size
    if page:
        yield page


class Quarantine:
    """Reads and writes the stream of rejected rows."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.count = 0
        """Rows written by this object."""
        self.reasons = Counter[str]()
        """Those rows by what was expected of them."""

    async def put(self, origin: Origin, rejected: Sequence[Rejected]) -> None:
        """Store rejected rows; returns when the broker has acknowledged them.

        Originals over 64 KiB are truncated, and their reason says so.
        """
        for page in _paginate(rejected):
            await self._store(origin, now_ns(), page)
            self.count += len(page)
            self.reasons.update(expectation(reason) for _, reason, _ in page)

    async def _store(self, origin: Origin, at_ns: int, rows: Sequence[tuple[bytes, str, str]]) -> None:
        """Publish one page until it is acknowledged; a repeat of the same rows of the same source is stored once."""
        body = msgpack.packb([origin.kind, origin.venue, origin.source, origin.reader, rows])
        subject = f"quarantine.{origin.kind}.{word(origin.venue)}.{len(rows)}"
        headers = {"Nats-Msg-Id": hashlib.blake2b(body, digest_size=16).hexdigest()}
        while True:
            try:
                await self._bus.js.publish(
                    subject, msgpack.packb([at_ns, body]), timeout=_ACK_TIMEOUT_S, headers=headers
                )
                return
            except NoStreamResponseError:
                # The broker is up, its streams are not created yet.
                await asyncio.sleep(_RETRY_S)
            except (NatsTimeoutError, ConnectionClosedError, OutboundBufferLimitError):
                await self._bus.until_connected()

    async def rows(self) -> int:
        """How many rows are in quarantine now."""
        state = (await self._bus.js.stream_info(QUARANTINE, subjects_filter="quarantine.>")).state
        return rows_of(state.subjects)

    async def entries(self) -> AsyncIterator[QuarantineEntry]:
        """Yields all entries, oldest first."""
        state = (await self._bus.js.stream_info(QUARANTINE)).state
        for seq in range(max(state.first_seq, 1), state.last_seq + 1):
            for entry in await self.page(seq):
                yield entry

    async def page(self, seq: int) -> list[QuarantineEntry]:
        """The entries of one message of the quarantine stream, that with sequence `seq`; empty when there is none."""
        return await read_page(self._bus, seq)

    async def replace_page(self, seq: int, entries: Sequence[QuarantineEntry]) -> None:
        """Replace page `seq` by a page of `entries`, which get new ids; without entries only delete it."""
        if entries:
            first = entries[0]
            origin = Origin(first.kind, first.venue, first.source, first.reader)
            await self._store(origin, first.at_ns, [(e.original, e.reason, e.where) for e in entries])
        await self._bus.js.delete_msg(QUARANTINE, seq)
