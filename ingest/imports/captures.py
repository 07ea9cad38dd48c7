"""Reads recordings of a venue's socket: lines of `<receive ns> <message>`, plain or gzipped.

with open_capture(path, "binance", {"trades", "quotes"}) as source:
    for chunk in source.chunks():
        ...
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from hashlib import blake2b, file_digest
from pathlib import Path
from types import TracebackType
from typing import Any

from ingest.files.blocks import Position
from ingest.files.formats import detect_format
from ingest.files.lines import LineBlock, LineReader, open_stream
from ingest.files.reader import Chunk
from ingest.rejected import Rejected
from ingest.venues.parse_result import Message, ParseResult
from ingest.venues.protocols import PROTOCOLS, CaptureParser
from tapehouse.batch import Batch
from tapehouse.clock import MAX_TS, MILLISECOND
from tapehouse.errors import SourceError
from tapehouse.model import Flags, Kind

_DIGITS = 19
_KRAKEN_V1 = re.compile(rb'^\d+ \[\d+,.*"(trade|ticker|spread|book-\d+|ohlc-\d+)","[^"]+/[^"]+"\]\s*$')


class CaptureSource:
    """An opened recording, as a `RowSource`."""

    def __init__(
        self,
        path: Path,
        gzipped: bool,
        venue: str,
        kinds: Iterable[str],
        symbol: str | None,
        unit_ns: int,
        protocol: str | None,
    ) -> None:
        self.path = path
        self.name = path.name
        self.venue = venue
        self.ignored: Counter[str] = Counter()
        """Messages ignored so far, by type: unrequested events, replies."""
        self._gzipped = gzipped
        self._kinds = frozenset(kinds)
        self._symbol = symbol
        self._unit_ns = unit_ns
        self._protocol, batches = self._detect_protocol([protocol] if protocol else list(PROTOCOLS))
        self._parser = self._new_parser()
        self.reader: dict[str, Any] = {
            "format": "capture",
            "protocol": self._protocol,
            "kinds": sorted(self._kinds),
            "symbol": symbol,
            "unit_ns": unit_ns,
        }
        """How to read one of its lines again."""
        self.identity = self._identity()
        """A hash of the content and of how it is read: equal for a repeat, different when the file has changed."""
        self.notes = tuple(self._notes(batches))
        """What was recognised or is ignored, to be shown to the user."""

    def __enter__(self) -> CaptureSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Does nothing: the file is open only while chunks are read."""

    @property
    def reading_notes(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def provided(self, kind: Kind) -> Collection[str]:
        """All columns: a message has them, or null."""
        return kind.names

    def numbering(self, kind: Kind) -> str:
        """What the seq of the rows read so far is, such as "trade id"; KeyError before the first of a kind."""
        return self._parser.numbering[kind.name]

    def chunks(self, start: Position | None = None) -> Iterator[Chunk]:
        """The rows after `start`, a chunk's position, or all; the same chunks each time.

        Raises SourceError where the file is damaged, after the chunks before the damage.
        """
        at: Any = start or {"offset": 0, "line": 1, "rows": 0, "ignored": {}}
        self._parser = parser = self._new_parser()
        self.ignored = Counter(at["ignored"])
        if "parser" in at:
            parser.restore(at["parser"])
        rows, gathered = at["rows"], []
        with open_stream(self.path, self._gzipped) as stream:
            stream.skip(at["offset"])
            offset, line = at["offset"], at["line"]
            for lines in LineReader(stream, offset, line):
                found, seen = self._parse(parser, lines)
                gathered.append(found)
                rows += seen
                offset, line = lines.next_offset, lines.first_line + len(lines.starts)
                # While the parser buffers messages, a position would have to contain them.
                if not parser.has_pending:
                    yield self._make_chunk(gathered, offset, line, rows, stream.fraction)
                    gathered = []
        if gathered:
            yield self._make_chunk([*gathered, parser.finish()], offset, line, rows, 1.0)

    def _parse(self, parser: CaptureParser, lines: LineBlock) -> tuple[ParseResult, int]:
        """(parsed messages of a block of lines, number of its lines that are not blank)."""
        messages: list[Message] = []
        numbers: list[int] = []
        broken: list[Rejected] = []
        spans = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
        for number, (start, end) in enumerate(spans, lines.first_line):
            line = lines.data[start:end]
            received, _, message = line.partition(b" ")
            valid = not lines.overlong and received.isdigit() and len(received) <= _DIGITS and message
            if valid and (at := int(received)) < MAX_TS:
                messages.append((at, message))
                numbers.append(number)
                continue
            if line.strip():
                broken.append(Rejected(line, _invalid_line_reason(line, lines.overlong), self._where(number)))
        found = parser.feed(messages, lambda place: self._where(numbers[place]))
        if broken:
            rejected = sorted((*found.rejected, *broken), key=_line_number)
            found = ParseResult(found.batches, tuple(rejected), found.ignored)
        return found, len(messages) + len(broken)

    def _where(self, line: int) -> str:
        return f"{self.name} line {line}"

    def _make_chunk(
        self, found: list[ParseResult], offset: int, line: int, rows: int, fraction: float
    ) -> Chunk:
        all_of_it = ParseResult.concat(found)
        self.ignored.update(all_of_it.ignored)
        position: Any = {
            "offset": offset,
            "line": line,
            "rows": rows,
            "ignored": dict(self.ignored),
            "parser": self._parser.state(),
        }
        return Chunk(all_of_it.batches, all_of_it.rejected, position, rows, fraction)

    def _new_parser(self) -> CaptureParser:
        protocol_parser = PROTOCOLS[self._protocol]
        # Kinds that the protocol does not have are ignored where others are requested.
        kinds = self._kinds & protocol_parser.kinds or self._kinds
        return protocol_parser.make_parser(self.venue, kinds, self._symbol, self._unit_ns)

    def _identity(self) -> str:
        terms = repr((self.venue, sorted(self._kinds), self._symbol, self._unit_ns))
        with self.path.open("rb") as file:
            content = file_digest(file, blake2b).digest()
        return blake2b(terms.encode() + content, digest_size=16).hexdigest()

    def _detect_protocol(self, names: list[str]) -> tuple[str, dict[str, Batch]]:
        """The one of these protocols that the first lines are of, and what is in them by kind.

        Raises SourceError when they are of none.
        """
        with open_stream(self.path, self._gzipped) as stream:
            lines = next(iter(LineReader(stream, 0, 1)), None)
        if lines is None:
            raise SourceError(f"{self.path}: expected lines of a capture, was none")
        for name in names:
            protocol_parser = PROTOCOLS[name]
            parser = protocol_parser.make_parser(
                self.venue, protocol_parser.kinds, self._symbol, self._unit_ns
            )
            found, rest = self._parse(parser, lines)[0], parser.finish()
            batches = (*found.batches, *rest.batches)
            if batches:
                return name, {batch.kind.name: batch for batch in batches}
        spans = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
        if any(_KRAKEN_V1.search(lines.data[start:end]) for start, end in spans):
            raise SourceError(
                f"{self.path}: expected messages of Kraken's version 2, was those of version 1",
                remedy="Record wss://ws.kraken.com/v2: those of version 1 have neither ids nor exact times.",
            )
        known = " or ".join(PROTOCOLS[name].title for name in names)
        reason = f": {found.rejected[0].reason}" if found.rejected and len(names) == 1 else ""
        raise SourceError(
            f"{self.path}: expected messages of {known} after receive times, was none{reason}",
            remedy="Captures of other venues cannot be read yet.",
        )

    def _notes(self, batches: dict[str, Batch]) -> Iterator[str]:
        title = PROTOCOLS[self._protocol].title
        yield f"a capture of {title}: {', '.join(sorted(batches))} in its first lines"
        for kind, batch in sorted(batches.items()):
            if kind not in self._kinds:
                yield f"{kind}: not requested, ignored"
            elif (batch.array("flags") & Flags.ESTIMATED_TIME).all():
                yield f"{kind}: without the venue's time, estimated from the time received"
        for kind in sorted(self._kinds - batches.keys()):
            yield f"{kind}: none in the first lines"


def _line_number(item: Rejected) -> int:
    return int(item.where.rpartition(" ")[2])


def _invalid_line_reason(line: bytes, overlong: int) -> str:
    if overlong:
        return f"line: expected at most 4 MiB, was {overlong:,} bytes"
    return f"line: expected a receive time in ns, a space and a message, was {line[:40]!r}"


def open_capture(
    path: Path | str,
    venue: str,
    kinds: Iterable[str],
    symbol: str | None = None,
    unit_ns: int = MILLISECOND,
    protocol: str | None = None,
) -> CaptureSource:
    """Open a recording of messages of one protocol; `kinds` of trades, quotes and depth are read from it.

    `protocol` is one of `PROTOCOLS`; None: the one that the first lines are of. `symbol` is that of snapshots
    that name none, `unit_ns` the unit of the venue's clock, where the protocol leaves it open.
    Raises SourceError when it cannot be read or is none.
    """
    path = Path(path)
    content = detect_format(path)
    if content.format != "capture":
        raise SourceError(
            f"{path}: expected a capture, lines of `<receive ns> <message>`, was {content.format}"
        )
    return CaptureSource(path, content.gzipped, venue, kinds, symbol, unit_ns, protocol)
