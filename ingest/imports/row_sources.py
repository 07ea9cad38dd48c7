"""The sources of rows of the import feeds: opened files and captures."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from ingest.files.archives import unpacked
from ingest.files.blocks import Position
from ingest.files.formats import detect_format
from ingest.files.options import FOUND_OUT, ReadOptions
from ingest.files.reader import Chunk, TickFile, open_tick_file
from ingest.files.unpacking import Unpacking, untold
from ingest.imports.captures import CaptureSource, open_capture
from ingest.imports.id_order import IdOrderScan
from ingest.imports.ordered_chunks import SCANNED, OrderedChunks, moved
from ingest.numbering import BY_TIME
from ingest.quarantine import Origin
from ingest.venues.registry import VENUES
from tapehouse.errors import SourceError, UsageError
from tapehouse.model import TRADES, Kind


class RowSource(Protocol):
    """An opened file or capture, as the feeds read it."""

    name: str
    """The file's name, for messages."""
    venue: str
    """The venue of every row."""
    identity: str
    """A hash of the content and of how it is read; equal when the same file is read in the same way again."""
    notes: tuple[str, ...]
    """What was recognised or guessed, to be shown to the user."""
    reader: dict[str, Any]
    """How to read a quarantined row of it again."""

    @property
    def reading_notes(self) -> tuple[str, ...]:
        """What was found while the rows were read, to be shown to the user."""

    def numbering(self, kind: Kind) -> str | None:
        """What its seq is: `time` where it has no ids, else the name of its ids. None: as its symbols are numbered."""

    def provided(self, kind: Kind) -> Collection[str]:
        """The columns that its rows of a kind have; the others have defaults in all rows."""

    def chunks(self, start: Position | None = None) -> Iterator[Chunk]:
        """The rows after `start`, in chunks that are the same each time."""


def origin_of(source: RowSource, kind: str | None = None) -> Origin:
    """The origin of rejected rows of a source; without `kind`, of rows that could not be read."""
    return Origin(kind or source.reader.get("kind", "rows"), source.venue, source.name, source.reader)


class FileSource(RowSource):
    """A file of rows of one kind, as a `RowSource`."""

    def __init__(
        self,
        source: TickFile,
        venue: str,
        reader: dict[str, Any],
        sort_folder: Path | None,
        *,
        checks_ids: bool = False,
        as_numbered: bool = False,
    ) -> None:
        """With `checks_ids` a file whose ids do not rise with its times is refused. With `as_numbered` its ids
        are seq as this system gave them."""
        self._source = source
        self._checks_ids = checks_ids
        self._as_numbered = as_numbered
        self._ordered = OrderedChunks(source, sort_folder)
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

    @property
    def reading_notes(self) -> tuple[str, ...]:
        """Whether the rows were sorted."""
        return (self._ordered.note,) if self._ordered.note else ()

    def provided(self, kind: Kind) -> Collection[str]:
        """The columns that are mapped."""
        return self._source.provided

    def numbering(self, kind: Kind) -> str | None:
        """`time`, or what the ids of the file are, such as "trade id"; None where they are numbers of this system."""
        if not self._source.has_seq:
            return BY_TIME
        if self._as_numbered:
            return None
        column = re.sub(r"[^a-z0-9]+", "_", self._source.seq_column.lower())
        return _IDS.get(column) or ("trade id" if kind is TRADES else "update id")

    def chunks(self, start: Position | None = None) -> Iterator[Chunk]:
        """The rows after `start`: in the file's order where it has ids, else in order of time.

        Raises UsageError before the first row where ids are checked and do not rise with the times.
        """
        if not self._source.has_seq:
            yield from self._ordered.chunks(start)
        elif self._checks_ids and start is None:
            yield from self._check_ids()
            for chunk in self._source.chunks():
                yield moved(chunk, SCANNED, 1.0)
        else:
            yield from self._source.chunks(start)

    def _check_ids(self) -> Iterator[Chunk]:
        """Read all times and ids; yields progress alone."""
        scan = IdOrderScan()
        # Damage is raised when the rows are read.
        with suppress(SourceError):
            for rows in self._source.row_keys():
                scan.add(rows)
                yield Chunk((), (), None, 0, rows.fraction * SCANNED)
        if share := scan.finish():
            raise UsageError(
                f"{self.name}: expected ids that rise with the times, but up to {share:.0%} of them fall: bars would "
                "open and close with other trades than the first and the last",
                remedy="Nothing was stored. --number-by time numbers rows by their times instead; --number-by id takes "
                "the ids as they are.",
            )


_IDS = {"agg_trade_id": "aggregate trade id", "seq": "sequence", "sequence": "sequence"}
"""Column name -> kind of id; any other column has the venue's usual ids, as in its captures."""
CAPTURE_KINDS = ("trades", "quotes", "depth")
"""The kinds read from a capture when none is requested."""


@contextmanager
def open_row_source(
    path: Path,
    kind: Kind | None,
    venue: str,
    symbol: str | None = None,
    options: ReadOptions = FOUND_OUT,
    *,
    as_numbered: bool = False,
    sort_folder: Path | None = None,
    unpacking: Unpacking = untold,
) -> Iterator[FileSource | CaptureSource]:
    """Context manager of a file of rows of `kind` (None: trades), or of a capture with that kind or all kinds of its
    messages. Zip archives of one file, and zstd, are unpacked into a temporary file, and so are gzipped Parquet and
    JSON arrays; `unpacking` receives how far that is.

    `options.number_by`: "time" numbers rows by their times though they have ids, "id" takes ids in whatever order they
    are; None refuses ids that fall where time rises. With `as_numbered` the ids are seq as this system gave them. Rows
    without ids that are not in order of time are sorted with temporary files. `sort_folder` takes these, None: the
    system's folder for such.

    Raises UsageError where the columns or times are ambiguous, SourceError where the file cannot be read.
    """
    with ExitStack() as opened:
        path = opened.enter_context(unpacked(path, sort_folder, unpacking))
        content = detect_format(path)
        if content.format == "capture":
            if options != FOUND_OUT:
                raise UsageError(
                    f"{path.name}: expected no --map, --time-unit, --naive-as-utc, --timezone, --date or --number-by "
                    "for a capture",
                    remedy="Leave them out: a capture's messages name their fields.",
                )
            kinds = [kind.name] if kind else CAPTURE_KINDS
            yield opened.enter_context(open_capture(path, venue, kinds, symbol))
            return
        file = open_tick_file(
            path,
            kind or TRADES,
            venue,
            symbol,
            options,
            clock_unit_ns=VENUES[venue].clock_unit_ns if venue in VENUES else 1,
            unpacking=unpacking,
        )
        reader = {
            "format": content.format,
            "kind": (kind or TRADES).name,
            "symbol": symbol,
            **options.record(),
            # Rows are kept as text, also those of typed columns without a zone.
            "timezone": file.timezone,
            "number_by": options.number_by if file.has_seq else "time",
            "header": file.header,
        }
        checks_ids = options.number_by is None and kind in (None, TRADES)
        yield opened.enter_context(
            FileSource(file, venue, reader, sort_folder, checks_ids=checks_ids, as_numbered=as_numbered)
        )
