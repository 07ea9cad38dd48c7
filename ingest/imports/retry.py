"""Imports quarantined rows again, as after an upgrade of a parser or a corrected clock."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ingest.files.options import ReadOptions
from ingest.imports.captures import CaptureSource, open_capture
from ingest.imports.file_feed import FileFeed
from ingest.imports.row_sources import FileSource, open_row_source
from ingest.intake import ROW_READER, SHARED_KEY_READER
from ingest.quarantine import Quarantine
from ingest.validation import invalid_rows
from tapehouse.clock import now_ns
from tapehouse.errors import TapehouseError
from tapehouse.model import kind_named
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus
from tapehouse.stream.quarantine_pages import QuarantineEntry


@dataclass(frozen=True)
class RetryOutcome:
    """The outcome of one entry: `reason` is why it stays in quarantine, None when its row was imported."""

    entry: QuarantineEntry
    reason: str | None


async def retry_entries(bus: Bus, settings: Settings, ids: Collection[str] | None) -> list[RetryOutcome]:
    """Import the entries `ids`, or all, again; entries that are valid now are removed from quarantine.

    A row without an id gets a seq after those stored at its time.
    """
    quarantine = Quarantine(bus)
    outcomes: list[RetryOutcome] = []
    pages: dict[int, list[QuarantineEntry]] = defaultdict(list)
    async for entry in quarantine.entries():
        pages[entry.page].append(entry)
    for page, entries in pages.items():
        chosen = [entry for entry in entries if ids is None or entry.id in ids]
        if not chosen:
            continue
        tried = [RetryOutcome(entry, _remaining_fault(entry)) for entry in chosen]
        good = [outcome.entry for outcome in tried if outcome.reason is None]
        if good:
            await _import_entries(bus, settings, good)
            await quarantine.replace_page(page, [entry for entry in entries if entry not in good])
        outcomes += tried
    return outcomes


def _remaining_fault(entry: QuarantineEntry) -> str | None:
    """Why the entry is still not a valid row; None when it is one."""
    if entry.reader == SHARED_KEY_READER:
        return entry.reason
    try:
        with TemporaryDirectory() as folder, _open_originals(folder, [entry]) as source:
            for chunk in source.chunks():
                for rejected in chunk.rejected:
                    return rejected.reason
                for batch in chunk.batches:
                    for reason in invalid_rows(batch, now_ns()).values():
                        return reason
                    return None
    except TapehouseError as error:
        return error.message
    return "no row: expected one in the original, was none"


async def _import_entries(bus: Bus, settings: Settings, entries: list[QuarantineEntry]) -> None:
    with TemporaryDirectory() as folder, _open_originals(folder, entries) as source:
        await FileFeed(source, bus, settings).run()


def _open_originals(
    folder: str, entries: list[QuarantineEntry]
) -> AbstractContextManager[FileSource | CaptureSource]:
    """Context manager of the originals of one page, which share their reader, as a source."""
    first = entries[0]
    reader = first.reader
    # Not the source's name: rows of a Parquet file are kept as JSON.
    path = Path(folder) / ("quarantined.csv" if reader["format"] == "csv" else "quarantined.jsonl")
    lines: Iterable[bytes] = [entry.original for entry in entries]
    if reader["format"] == "csv":
        lines = [reader["header"].encode(), *lines] if reader.get("header") else lines
    path.write_bytes(b"\n".join(lines) + b"\n")
    if reader["format"] == "batch":
        raise TapehouseError("a message of the stream that cannot be read")
    if reader["format"] == "capture":
        # The protocol cannot be detected from one rejected line.
        protocol = reader.get("protocol", "binance")
        return open_capture(path, first.venue, reader["kinds"], reader["symbol"], reader["unit_ns"], protocol)
    kind = kind_named(reader.get("kind", first.kind))
    of_model = reader["format"] == ROW_READER["format"]
    options = ReadOptions.of_record(reader)
    if of_model:
        # Rows as the model has them have its flags, which no usual name gives.
        flags = {"flags": "flags"} if "flags" in kind.names else {}
        options = ReadOptions(flags, time_unit="ns", number_by=options.number_by)
    return open_row_source(
        path,
        kind,
        first.venue,
        reader.get("symbol"),
        replace(options, number_by=options.number_by or "id"),
        as_numbered=of_model,
    )


def as_text(entry: QuarantineEntry) -> str:
    """The original as text where it is UTF-8, else as a Python bytes literal."""
    try:
        return entry.original.decode()
    except UnicodeDecodeError:
        return repr(entry.original)


def as_json(entry: QuarantineEntry) -> str:
    """The whole entry as one JSON object."""
    return json.dumps({**vars(entry), "original": as_text(entry)}, indent=2)
