"""What was refused, kept with its reason: the stream QUARANTINE.

A message holds up to some hundreds of refused rows of one kind and venue. An entry is named by the message's
sequence and its place in it, as 17.3.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
from nats.errors import ConnectionClosedError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError, NotFoundError

from ingest.rejected import Rejected
from tapehouse.bus import QUARANTINE, Bus, word
from tapehouse.clock import now_ns

_ENTRIES = 500
_BYTES = 256 * 2**10
_ORIGINAL_MAX = 64 * 2**10
_TEXT_MAX = 1_000
_ANSWER_S = 2
_AGAIN_S = 0.1


@dataclass(frozen=True)
class Origin:
    """Where rows come from and how to read them again: `reader` is given to the feed on retry."""

    kind: str
    venue: str
    source: str
    reader: dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One refused row."""

    id: str
    at_ns: int
    kind: str
    venue: str
    source: str
    reader: dict[str, Any]
    original: bytes
    reason: str
    where: str

    @property
    def page(self) -> int:
        """The sequence of the message that holds it."""
        return int(self.id.partition(".")[0])


def _bounded(item: Rejected) -> tuple[bytes, str, str]:
    """(original, reason, where), none of them longer than a message can take hundreds of."""
    reason, where = item.reason[:_TEXT_MAX], item.where[-_TEXT_MAX:]
    if len(item.original) > _ORIGINAL_MAX:
        return item.original[:_ORIGINAL_MAX], f"{reason} (original cut at 64 KB)", where
    return item.original, reason, where


def _pages(rejected: Iterable[Rejected]) -> Iterable[list[tuple[bytes, str, str]]]:
    page: list[tuple[bytes, str, str]] = []
    size = 0
    for row in map(_bounded, rejected):
        row_size = len(msgpack.packb(row))
        if page and (len(page) == _ENTRIES or size + row_size > _BYTES):
            yield page
            page, size = [], 0
        page.append(row)
        size += row_size
    if page:
        yield page


class Quarantine:
    """Writes to and reads from the quarantine."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.count = 0
        """Rows put in through this object."""

    async def put(self, origin: Origin, rejected: Sequence[Rejected]) -> None:
        """Keep rows with their reasons; returns when the broker has stored them.

        Originals over 64 KB are cut, and their reason says so.
        """
        for page in _pages(rejected):
            await self._store(origin, now_ns(), page)
            self.count += len(page)

    async def _store(self, origin: Origin, at_ns: int, rows: Sequence[tuple[bytes, str, str]]) -> None:
        """Publish one page until it is stored; the same rows of the same source again are stored once."""
        body = msgpack.packb([origin.kind, origin.venue, origin.source, origin.reader, rows])
        subject = f"quarantine.{origin.kind}.{word(origin.venue)}"
        headers = {"Nats-Msg-Id": hashlib.blake2b(body, digest_size=16).hexdigest()}
        while True:
            try:
                await self._bus.js.publish(
                    subject, msgpack.packb([at_ns, body]), timeout=_ANSWER_S, headers=headers
                )
                return
            except NoStreamResponseError:
                # The broker is there and its streams are not yet.
                await asyncio.sleep(_AGAIN_S)
            except (NatsTimeoutError, ConnectionClosedError, OutboundBufferLimitError):
                await self._bus.until_connected()

    async def entries(self) -> AsyncIterator[Entry]:
        """All entries, oldest first."""
        state = (await self._bus.js.stream_info(QUARANTINE)).state
        for seq in range(max(state.first_seq, 1), state.last_seq + 1):
            for entry in await self.page(seq):
                yield entry

    async def page(self, seq: int) -> list[Entry]:
        """The entries of one message; empty when it is gone."""
        try:
            message = await self._bus.js.get_msg(QUARANTINE, seq, direct=True)
        except NotFoundError:
            return []
        at_ns, body = msgpack.unpackb(message.data or b"")
        kind, venue, source, reader, rows = msgpack.unpackb(body)
        return [
            Entry(f"{seq}.{place}", at_ns, kind, venue, source, reader, original, reason, where)
            for place, (original, reason, where) in enumerate(rows)
        ]

    async def keep(self, seq: int, entries: Sequence[Entry]) -> None:
        """Of one message keep only `entries`, which get new ids; without any it is removed."""
        if entries:
            first = entries[0]
            origin = Origin(first.kind, first.venue, first.source, first.reader)
            await self._store(origin, first.at_ns, [(e.original, e.reason, e.where) for e in entries])
        await self._bus.js.delete_msg(QUARANTINE, seq)
