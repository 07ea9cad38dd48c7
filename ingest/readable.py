"""A file or capture as the file feed takes it, whatever it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ingest.feeds.blocks import Position
from ingest.feeds.captures import Capture, open_capture
from ingest.feeds.files import Piece, Source, open_source
from ingest.feeds.formats import content_of
from ingest.feeds.lines import open_stream
from ingest.filefeed import Readable
from ingest.numbering import BY_TIME
from tapehouse.errors import UsageError
from tapehouse.model import TRADES, Kind


class ReadableFile(Readable):
    """A file of rows of one kind."""

    def __init__(self, source: Source, venue: str, reader: dict[str, Any]) -> None:
        self._source = source
        self.name = source.path.name
        self.venue = venue
        self.identity = source.identity
        self.notes = source.notes
        self.reader = reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.close()

    def numbering(self, kind: Kind) -> str:
        """`time`, or what the column of the source's own ids holds."""
        if not self._source.has_seq:
            return BY_TIME
        column = re.sub(r"[^a-z0-9]+", "_", self._source.seq_column.lower())
        return _IDS.get(column) or ("trade id" if kind is TRADES else "update id")

    def pieces(self, start: Position | None = None) -> Iterator[Piece]:
        """The rows behind `start`."""
        return self._source.pieces(start)


_IDS = {"agg_trade_id": "aggregate trade id", "seq": "sequence", "sequence": "sequence"}
"""What columns of ids hold; any other holds the venue's usual ids, as its captures do."""
CAPTURED = ("trades", "quotes", "depth")
"""What is taken from a capture when no kind is named."""


def open_readable(
    path: Path,
    kind: Kind | None,
    venue: str,
    symbol: str | None = None,
    mapping: Mapping[str, str] | None = None,
    *,
    time_unit: str | None = None,
    naive_as_utc: bool = False,
) -> ReadableFile | Capture:
    """Open a file of rows of `kind` (None: trades), or a capture with that kind or all kinds of its messages.

    Raises UsageError where the columns or times are not clear, SourceError where the file cannot be read.
    """
    content = content_of(path)
    if content.format == "capture":
        if mapping or time_unit or naive_as_utc:
            raise UsageError(f"{path.name}: a capture's messages name their fields: no mapping, no time unit")
        return open_capture(path, venue, [kind.name] if kind else CAPTURED, symbol)
    kind = kind or TRADES
    source = open_source(path, kind, venue, symbol, mapping, time_unit=time_unit, naive_as_utc=naive_as_utc)
    reader = {
        "format": content.format,
        "kind": kind.name,
        "symbol": symbol,
        "mapping": dict(mapping or {}),
        "time_unit": time_unit,
        "naive_as_utc": naive_as_utc,
    }
    if content.format == "csv":
        with open_stream(path, content.gzipped) as stream:
            reader["header"] = stream.read(2**16).split(b"\n", 1)[0].decode(errors="replace")
    return ReadableFile(source, venue, reader)
