"""Recordings to replay: captures of sockets by market, in order of receive time, or stored rows."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ingest.files.formats import detect_format
from ingest.files.lines import LineReader, open_stream
from ingest.replay import binance
from ingest.replay.binance import parse_stream, stream_prefix
from ingest.replay.emulator import RecordedMessage, VenueEmulator
from ingest.replay.stored import StoredRecording
from ingest.venues.venue import VenueStream
from tapehouse.errors import SourceError
from tapehouse.settings import QuestDB


@dataclass(frozen=True)
class _CaptureFile:
    """One capture file of one market."""

    path: Path
    gzipped: bool
    emulator: VenueEmulator
    streams: frozenset[VenueStream]
    lines: int

    def read(self) -> Iterator[RecordedMessage]:
        """The messages in order. Snapshots, which name no stream, are of the file's first symbol."""
        symbol = min(stream.symbol for stream in self.streams)
        known: dict[bytes, VenueStream | None] = {}
        for at_ns, message in _lines(self.path, self.gzipped):
            prefix = stream_prefix(message)
            if prefix not in known:
                known[prefix] = parse_stream(prefix)
            stream = known[prefix]
            if stream is not None:
                yield RecordedMessage(at_ns, stream, message)
            elif b'"lastUpdateId"' in message:
                yield RecordedMessage(at_ns, VenueStream("depth", symbol), message, snapshot=True)


class Recording(Protocol):
    """The recording of one market."""

    @property
    def emulator(self) -> VenueEmulator:
        """Emulates the market's venue."""

    @property
    def streams(self) -> frozenset[VenueStream]:
        """The streams that it has messages of."""

    @property
    def symbols(self) -> list[str]:
        """The symbols, sorted."""

    @property
    def lines(self) -> int:
        """Number of messages."""

    def read(self) -> Iterator[RecordedMessage]:
        """The messages in order of receive time."""


@dataclass(frozen=True)
class CaptureRecording:
    """All capture files of one market."""

    emulator: VenueEmulator
    captures: tuple[_CaptureFile, ...]

    @property
    def streams(self) -> frozenset[VenueStream]:
        """The streams that it has messages of."""
        return frozenset().union(*(capture.streams for capture in self.captures))

    @property
    def symbols(self) -> list[str]:
        """The symbols, sorted."""
        return sorted({stream.symbol for stream in self.streams})

    @property
    def lines(self) -> int:
        """Number of messages."""
        return sum(capture.lines for capture in self.captures)

    def read(self) -> Iterator[RecordedMessage]:
        """The messages in order of receive time."""
        return heapq.merge(*(capture.read() for capture in self.captures), key=lambda item: item.at_ns)


def open_recordings(text: str, settings: QuestDB) -> Sequence[Recording]:
    """The recordings that `text` names: PATH,PATH... of captures or their folders, or VENUE/SYMBOL@START..END.

    Raises SourceError where a capture is unreadable or there is none, UsageError for a malformed time.
    """
    stored = StoredRecording.from_text(text, settings)
    if stored is not None:
        return [stored]
    paths = [Path(path) for path in text.split(",")]
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    by_market: dict[str, list[_CaptureFile]] = defaultdict(list)
    for file in files:
        capture = _open_capture(file)
        by_market[capture.emulator.name].append(capture)
    if not by_market:
        raise SourceError(f"replay: expected captures, was none in {' '.join(map(str, paths))}")
    return [CaptureRecording(found[0].emulator, tuple(found)) for found in by_market.values()]


def _open_capture(path: Path) -> _CaptureFile:
    try:
        content = detect_format(path)
    except OSError as reason:
        raise SourceError(f"{path}: cannot be read: {reason}") from None
    if content.format != "capture":
        raise SourceError(
            f"{path}: expected a capture, lines of `<receive ns> <message>`, was {content.format}"
        )
    prefixes: set[bytes] = set()
    emulator: VenueEmulator = binance.SPOT
    count = 0
    for _, message in _lines(path, content.gzipped):
        count += 1
        prefixes.add(stream_prefix(message))
        # Futures' messages carry the trade time, COIN-M's quotes and books the pair too.
        if emulator is binance.SPOT and (b'"pu":' in message or b'"X":"' in message):
            emulator = binance.USDM
        if emulator is binance.USDM and b'"ps":"' in message:
            emulator = binance.COINM
    streams = {stream for prefix in prefixes if (stream := parse_stream(prefix)) is not None}
    if not streams:
        raise SourceError(f"{path}: expected messages of Binance's combined streams, was without any")
    return _CaptureFile(path, content.gzipped, emulator, frozenset(streams), count)


def _lines(path: Path, gzipped: bool) -> Iterator[tuple[int, bytes]]:
    """(receive time in ns UTC, message) of each line that has both."""
    with open_stream(path, gzipped) as stream:
        for lines in LineReader(stream, 0, 1):
            for start, end in zip(lines.starts.tolist(), lines.ends.tolist(), strict=True):
                received, _, message = lines.data[start:end].partition(b" ")
                if received.isdigit() and message:
                    yield int(received), message
