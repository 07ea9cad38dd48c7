"""Trying refused rows again, as when a release reads more, or a clock was wrong."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ingest.feeds.captures import Capture, open_capture
from ingest.filefeed import FileFeed
from ingest.quarantine import Entry, Quarantine
from ingest.readable import ReadableFile, open_readable
from ingest.validation import faults
from tapehouse.bus import Bus
from tapehouse.clock import now_ns
from tapehouse.errors import TapehouseError
from tapehouse.model import kind_named
from tapehouse.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """What became of one entry: `reason` is why it stays, None when its row is in."""

    entry: Entry
    reason: str | None


async def retry(bus: Bus, settings: Settings, ids: Collection[str] | None) -> list[Outcome]:
    """Read the entries called `ids`, or all, again; those that are rows now are brought in and removed.

    A row that its source numbers by time gets a number behind those stored at its time.
    """
    quarantine = Quarantine(bus)
    outcomes: list[Outcome] = []
    pages: dict[int, list[Entry]] = defaultdict(list)
    async for entry in quarantine.entries():
        pages[entry.page].append(entry)
    for page, entries in pages.items():
        chosen = [entry for entry in entries if ids is None or entry.id in ids]
        if not chosen:
            continue
        tried = [Outcome(entry, _fault(entry)) for entry in chosen]
        good = [outcome.entry for outcome in tried if outcome.reason is None]
        if good:
            await _bring(bus, settings, good)
            await quarantine.keep(page, [entry for entry in entries if entry not in good])
        outcomes += tried
    return outcomes


def _fault(entry: Entry) -> str | None:
    """Why the entry is still no row that may go on; None when it is one."""
    try:
        with TemporaryDirectory() as folder, _opened(folder, [entry]) as source:
            for piece in source.pieces():
                for rejected in piece.rejected:
                    return rejected.reason
                for batch in piece.batches:
                    for reason in faults(batch, now_ns()).values():
                        return reason
                    return None
    except TapehouseError as error:
        return error.message
    return "no row is left of it"


async def _bring(bus: Bus, settings: Settings, entries: list[Entry]) -> None:
    with TemporaryDirectory() as folder, _opened(folder, entries) as source:
        await FileFeed(source, bus, settings, continuing=True).run()


def _opened(folder: str, entries: list[Entry]) -> ReadableFile | Capture:
    """The originals of one page, which share their reader, as a file like the one they came from."""
    first = entries[0]
    how = first.reader
    path = Path(folder) / first.source.replace("/", "_")
    lines: Iterable[bytes] = [entry.original for entry in entries]
    if how["format"] == "csv":
        lines = [how["header"].encode(), *lines]
    path.write_bytes(b"\n".join(lines) + b"\n")
    if how["format"] == "batch":
        raise TapehouseError("a message of the stream that cannot be read")
    if how["format"] == "capture":
        # One refused line does not tell what it was to be.
        protocol = how.get("protocol", "binance")
        return open_capture(path, first.venue, how["kinds"], how["symbol"], how["unit_ns"], protocol)
    return open_readable(
        path,
        kind_named(how.get("kind", first.kind)),
        first.venue,
        how.get("symbol"),
        how.get("mapping"),
        time_unit="ns" if how["format"] == "row" else how.get("time_unit"),
        naive_as_utc=how.get("naive_as_utc", False),
    )


def as_text(entry: Entry) -> str:
    """The original for people: as text where it is UTF-8, else as Python writes bytes."""
    try:
        return entry.original.decode()
    except UnicodeDecodeError:
        return repr(entry.original)


def as_json(entry: Entry) -> str:
    """The whole entry as one JSON object."""
    return json.dumps({**vars(entry), "original": as_text(entry)}, indent=2)
