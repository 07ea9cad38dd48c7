"""A file or capture as the file feed takes it, whatever it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ingest.feeds.blocks import Position
from ingest.feeds.files import Piece, Source, open_source
from ingest.feeds.formats import content_of
from ingest.feeds.lines import open_stream
from ingest.filefeed import Readable
from ingest.numbering import BY_TIME
from tapehouse.model import Kind


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
        """`time`, or `id` where a column gives the source's own ids."""
        return "id" if self._source.has_seq else BY_TIME

    def pieces(self, start: Position | None = None) -> Iterator[Piece]:
        """The rows behind `start`."""
        return self._source.pieces(start)


def open_readable(
    path: Path,
    kind: Kind,
    venue: str,
    symbol: str | None = None,
    mapping: Mapping[str, str] | None = None,
    *,
    time_unit: str | None = None,
    naive_as_utc: bool = False,
) -> ReadableFile:
    """Open a file as `open_source` does; its errors are this call's."""
    content = content_of(path)
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
