"""Recordings of a venue's socket as a source: lines of `<receive ns> <message>`, plain or gzipped.

with open_capture(path, "binance", {"trades", "quotes"}) as source:
    for piece in source.pieces():
        ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b, file_digest
from pathlib import Path
from types import TracebackType
from typing import Any

from ingest.feeds.blocks import Position
from ingest.feeds.files import Piece
from ingest.feeds.formats import content_of
from ingest.feeds.lines import Lines, open_stream, read_lines
from ingest.feeds.parsed import Message, Parsed
from ingest.feeds.protocols import PROTOCOLS, CaptureParser
from ingest.rejected import Rejected
from tapehouse.batch import Batch
from tapehouse.clock import MAX_TS, MILLISECOND
from tapehouse.errors import SourceError
from tapehouse.model import Flags, Kind

_DIGITS = 19


class Capture:
    """One recording, opened."""

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
        """Messages passed over so far, by what they were: events not asked for, replies."""
        self._gzipped = gzipped
        self._kinds = frozenset(kinds)
        self._symbol = symbol
        self._unit_ns = unit_ns
        self._protocol, batches = self._recognised([protocol] if protocol else list(PROTOCOLS))
        self._parser = self._fresh_parser()
        self.reader: dict[str, Any] = {
            "format": "capture",
            "protocol": self._protocol,
            "kinds": sorted(self._kinds),
            "symbol": symbol,
            "unit_ns": unit_ns,
        }
        """How to read one of its lines again."""
        self.identity = self._identity()
        """Names this content read in this way: the same for a repeat, another when the file has changed."""
        self.notes = tuple(self._notes(batches))
        """What was recognised or is passed over, and must be said."""

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open between pieces."""

    def numbering(self, kind: Kind) -> str:
        """What the seq of the rows read so far is, such as "trade id"; KeyError before the first of a kind."""
        return self._parser.numbering[kind.name]

    def pieces(self, start: Position | None = None) -> Iterator[Piece]:
        """The rows behind `start`, a piece's position, or all; the same pieces each time.

        Raises SourceError where the file is damaged, after the pieces before the damage.
        """
        at: Any = start or {"offset": 0, "line": 1, "rows": 0, "ignored": {}}
        self._parser = parser = self._fresh_parser()
        self.ignored = Counter(at["ignored"])
        if "parser" in at:
            parser.restore(at["parser"])
        rows, gathered = at["rows"], []
        with open_stream(self.path, self._gzipped) as stream:
            stream.skip(at["offset"])
            offset, line = at["offset"], at["line"]
            for lines in read_lines(stream, offset, line):
                found, seen = self._parse(parser, lines)
                gathered.append(found)
                rows += seen
                offset, line = lines.following, lines.first + len(lines.starts)
                # Where messages wait for a later one, a position would have to hold them.
                if not parser.holding:
                    yield self._piece(gathered, offset, line, rows, stream.fraction)
                    gathered = []
        if gathered:
            yield self._piece([*gathered, parser.finish()], offset, line, rows, 1.0)

    def _parse(self, parser: CaptureParser, lines: Lines) -> tuple[Parsed, int]:
        """What came of a block of lines, and how many of them were not blank."""
        messages: list[Message] = []
        numbers: list[int] = []
        broken: list[Rejected] = []
        spans = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
        for number, (start, end) in enumerate(spans, lines.first):
            line = lines.data[start:end]
            received, _, message = line.partition(b" ")
            sound = not lines.overlong and received.isdigit() and len(received) <= _DIGITS and message
            if sound and (at := int(received)) < MAX_TS:
                messages.append((at, message))
                numbers.append(number)
                continue
            if line.strip():
                broken.append(Rejected(line, _reason(line, lines.overlong), self._where(number)))
        found = parser.feed(messages, lambda place: self._where(numbers[place]))
        if broken:
            rejected = sorted((*found.rejected, *broken), key=_line)
            found = Parsed(found.batches, tuple(rejected), found.ignored)
        return found, len(messages) + len(broken)

    def _where(self, line: int) -> str:
        return f"{self.name} line {line}"

    def _piece(self, found: list[Parsed], offset: int, line: int, rows: int, fraction: float) -> Piece:
        all_of_it = Parsed.joined(found)
        self.ignored.update(all_of_it.ignored)
        position: Any = {
            "offset": offset,
            "line": line,
            "rows": rows,
            "ignored": dict(self.ignored),
            "parser": self._parser.state(),
        }
        return Piece(all_of_it.batches, all_of_it.rejected, position, rows, fraction)

    def _fresh_parser(self) -> CaptureParser:
        spoken = PROTOCOLS[self._protocol]
        # Of kinds that are not offered all may be asked for, but not those alone.
        kinds = self._kinds & spoken.kinds or self._kinds
        return spoken.fresh(self.venue, kinds, self._symbol, self._unit_ns)

    def _identity(self) -> str:
        terms = repr((self.venue, sorted(self._kinds), self._symbol, self._unit_ns))
        with self.path.open("rb") as file:
            content = file_digest(file, blake2b).digest()
        return blake2b(terms.encode() + content, digest_size=16).hexdigest()

    def _recognised(self, names: list[str]) -> tuple[str, dict[str, Batch]]:
        """The one of these protocols that the first lines are of, and what is in them by kind.

        Raises SourceError when they are of none.
        """
        with open_stream(self.path, self._gzipped) as stream:
            lines = next(read_lines(stream, 0, 1), None)
        if lines is None:
            raise SourceError(f"{self.path}: expected lines of a capture, was none")
        for name in names:
            spoken = PROTOCOLS[name]
            parser = spoken.fresh(self.venue, spoken.kinds, self._symbol, self._unit_ns)
            found, rest = self._parse(parser, lines)[0], parser.finish()
            batches = (*found.batches, *rest.batches)
            if batches:
                return name, {batch.kind.name: batch for batch in batches}
        known = " or ".join(PROTOCOLS[name].title for name in names)
        reason = f": {found.rejected[0].reason}" if found.rejected and len(names) == 1 else ""
        raise SourceError(
            f"{self.path}: expected messages of {known} behind receive times, was without any{reason}",
            remedy="Captures of other venues cannot be read yet.",
        )

    def _notes(self, batches: dict[str, Batch]) -> Iterator[str]:
        title = PROTOCOLS[self._protocol].title
        yield f"a capture of {title}: {', '.join(sorted(batches))} in its first lines"
        for kind, batch in sorted(batches.items()):
            if kind not in self._kinds:
                yield f"{kind}: not asked for, passed over"
            elif (batch.array("flags") & Flags.ESTIMATED_TIME).all():
                yield f"{kind}: without the venue's time, estimated from the time received"
        for kind in sorted(self._kinds - batches.keys()):
            yield f"{kind}: none in the first lines"


def _line(item: Rejected) -> int:
    return int(item.where.rpartition(" ")[2])


def _reason(line: bytes, overlong: int) -> str:
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
) -> Capture:
    """Open a recording of messages of one protocol; `kinds` of trades, quotes and depth are read from it.

    `protocol` is one of `PROTOCOLS`; None: the one that the first lines are of. `symbol` is that of snapshots
    that name none, `unit_ns` the unit of the venue's clock, where the protocol leaves it open.
    Raises SourceError when it cannot be read or is none.
    """
    path = Path(path)
    content = content_of(path)
    if content.format != "capture":
        raise SourceError(
            f"{path}: expected a capture, lines of `<receive ns> <message>`, was {content.format}"
        )
    return Capture(path, content.gzipped, venue, kinds, symbol, unit_ns, protocol)
