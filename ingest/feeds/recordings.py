"""What a replay plays: captures of sockets, by market and in the order in which they were received."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ingest.feeds import replay_binance
from ingest.feeds.dialect import Dialect, Recorded
from ingest.feeds.formats import content_of
from ingest.feeds.lines import open_stream, read_lines
from ingest.feeds.replay_binance import head_of, stream_of
from ingest.feeds.spans import Span
from ingest.feeds.venue import Stream
from tapehouse.errors import SourceError
from tapehouse.settings import QuestDB


@dataclass(frozen=True)
class _Capture:
    """One file: its market, its streams, its lines."""

    path: Path
    gzipped: bool
    dialect: Dialect
    streams: frozenset[Stream]
    lines: int

    def read(self) -> Iterator[Recorded]:
        """The messages in their order. Snapshots, which name no stream, are of the file's one symbol."""
        symbol = min(stream.symbol for stream in self.streams)
        known: dict[bytes, Stream | None] = {}
        for at_ns, message in _lines(self.path, self.gzipped):
            head = head_of(message)
            if head not in known:
                known[head] = stream_of(head)
            stream = known[head]
            if stream is not None:
                yield Recorded(at_ns, stream, message)
            elif b'"lastUpdateId"' in message:
                yield Recorded(at_ns, Stream("depth", symbol), message, snapshot=True)


class Recording(Protocol):
    """What one market plays."""

    @property
    def dialect(self) -> Dialect:
        """The market's."""

    @property
    def streams(self) -> frozenset[Stream]:
        """What it holds messages of."""

    @property
    def symbols(self) -> list[str]:
        """The symbols, in order."""

    @property
    def lines(self) -> int:
        """How many messages there are."""

    def read(self) -> Iterator[Recorded]:
        """The messages by time received."""


@dataclass(frozen=True)
class Captures:
    """All captures of one market."""

    dialect: Dialect
    captures: tuple[_Capture, ...]

    @property
    def streams(self) -> frozenset[Stream]:
        """What it holds messages of."""
        return frozenset().union(*(capture.streams for capture in self.captures))

    @property
    def symbols(self) -> list[str]:
        """The symbols, in order."""
        return sorted({stream.symbol for stream in self.streams})

    @property
    def lines(self) -> int:
        """Of all captures."""
        return sum(capture.lines for capture in self.captures)

    def read(self) -> Iterator[Recorded]:
        """The messages by time received."""
        return heapq.merge(*(capture.read() for capture in self.captures), key=lambda item: item.at_ns)


def recordings(text: str, settings: QuestDB) -> Sequence[Recording]:
    """What `text` names: PATH,PATH... of captures or folders of them, or VENUE/SYMBOL@START..END as stored.

    Raises SourceError where a capture cannot be read, or there is none.
    """
    span = Span.of(text, settings)
    if span is not None:
        return [span]
    paths = [Path(path) for path in text.split(",")]
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    by_market: dict[str, list[_Capture]] = defaultdict(list)
    for file in files:
        capture = _opened(file)
        by_market[capture.dialect.name].append(capture)
    if not by_market:
        raise SourceError(f"replay: expected captures, was none in {' '.join(map(str, paths))}")
    return [Captures(found[0].dialect, tuple(found)) for found in by_market.values()]


def _opened(path: Path) -> _Capture:
    try:
        content = content_of(path)
    except OSError as reason:
        raise SourceError(f"{path}: cannot be read: {reason}") from None
    if content.format != "capture":
        raise SourceError(
            f"{path}: expected a capture, lines of `<receive ns> <message>`, was {content.format}"
        )
    heads: set[bytes] = set()
    dialect: Dialect = replay_binance.SPOT
    count = 0
    for _, message in _lines(path, content.gzipped):
        count += 1
        heads.add(head_of(message))
        # Futures' messages carry the trade time, COIN-M's quotes and books the pair too.
        if dialect is replay_binance.SPOT and (b'"pu":' in message or b'"X":"' in message):
            dialect = replay_binance.USDM
        if dialect is replay_binance.USDM and b'"ps":"' in message:
            dialect = replay_binance.COINM
    streams = {stream for head in heads if (stream := stream_of(head)) is not None}
    if not streams:
        raise SourceError(f"{path}: expected messages of Binance's combined streams, was without any")
    return _Capture(path, content.gzipped, dialect, frozenset(streams), count)


def _lines(path: Path, gzipped: bool) -> Iterator[tuple[int, bytes]]:
    """(receive time, message) of each line that has both."""
    with open_stream(path, gzipped) as stream:
        for lines in read_lines(stream, 0, 1):
            for start, end in zip(lines.starts.tolist(), lines.ends.tolist(), strict=True):
                received, _, message = lines.data[start:end].partition(b" ")
                if received.isdigit() and message:
                    yield int(received), message
