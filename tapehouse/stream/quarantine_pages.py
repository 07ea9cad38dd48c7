"""Pages of the stream QUARANTINE: rejected rows with their reasons, as they are read.

A message is a page of up to 500 rejected rows of one kind and venue; its subject ends with their number, so that the
stream's own counts by subject tell how many rows it holds. An entry's id is the sequence of its page
and its index in it, such as 17.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
from nats.js.errors import NotFoundError

from tapehouse.stream.bus import QUARANTINE, Bus

_REMEDY = re.compile(r" \(--[^()]*\)$")


@dataclass(frozen=True)
class QuarantineEntry:
    """One rejected row."""

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
        """The stream sequence of its page."""
        return int(self.id.partition(".")[0])


def expectation(reason: str) -> str:
    """A reason without the value that it is about, with its remedy: (--option does so)."""
    remedy = _REMEDY.search(reason)
    return reason.partition(", was ")[0] + (remedy[0] if remedy and ", was " in reason else "")


def rows_of(subjects: Mapping[str, int] | None) -> int:
    """The number of rows in pages, of which there are so many by subject."""
    return sum(_rows_of_page(subject) * pages for subject, pages in (subjects or {}).items())


async def read_page(bus: Bus, seq: int) -> list[QuarantineEntry]:
    """The entries of one message of the quarantine stream, that with sequence `seq`; empty when there is none."""
    try:
        message = await bus.js.get_msg(QUARANTINE, seq, direct=True)
    except NotFoundError:
        return []
    return unpack_page(seq, message.data or b"")


def unpack_page(seq: int, data: bytes) -> list[QuarantineEntry]:
    """The entries of a message of the quarantine stream that has sequence `seq`."""
    at_ns, body = msgpack.unpackb(data)
    kind, venue, source, reader, rows = msgpack.unpackb(body)
    return [
        QuarantineEntry(f"{seq}.{place}", at_ns, kind, venue, source, reader, original, reason, where)
        for place, (original, reason, where) in enumerate(rows)
    ]


def _rows_of_page(subject: str) -> int:
    """The number of rows at the end of a page's subject; of a page without it 1, the least it has."""
    *_, rows = subject.split(".")[3:] or ["1"]
    return int(rows)
