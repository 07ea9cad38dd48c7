"""The bytes of a file in order, unpacked when it is gzipped, and the lines in them.

A damaged or cut gzip file gives all that can be unpacked before the damage is raised.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from tapehouse.errors import SourceError

BLOCK = 4 << 20
"""Bytes looked at together, and the longest line that is read."""
LINES = 50_000
"""The most lines in one block."""
KEPT = 64 << 10
"""How much of a line beyond the limit is kept."""
_PACKED = 256 << 10
_GZIP_AND_CRC = 31
_NEWLINE, _RETURN = 10, 13


class Stream:
    """The bytes of a plain file."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._size = path.stat().st_size
            self._file = path.open("rb")
        except OSError as reason:
            raise SourceError(f"{path}: cannot be opened: {reason.strerror}", path=str(path)) from reason
        self.damage: SourceError | None = None
        """Why the bytes end before the file's proper end; None while all is well."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only where the stream ends, in `damage` or properly."""
        if self.damage is not None:
            return b""
        try:
            return self._file.read(size)
        except OSError as reason:
            self.damage = SourceError(f"{self.name}: cannot be read further: {reason.strerror}")
            return b""

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        self._file.seek(size, 1)

    def seek(self, offset: int) -> None:
        """Go to a byte of the file itself."""
        self._file.seek(offset)

    @property
    def fraction(self) -> float:
        """How much of the file is read, from 0 to 1."""
        return min(self._file.tell() / self._size, 1.0) if self._size else 1.0


class Gunzipped(Stream):
    """The unpacked bytes of a gzip file of one or more members."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._inflate = zlib.decompressobj(_GZIP_AND_CRC)
        self._packed = b""

    def read(self, size: int) -> bytes:
        """The next `size` unpacked bytes; fewer only where the stream ends, in `damage` or properly."""
        parts: list[bytes] = []
        while size > 0 and self.damage is None:
            if self._inflate.eof and not self._next_member():
                break
            if not self._packed:
                self._packed = super().read(_PACKED)
            before = self._inflate.copy()
            try:
                part = self._inflate.decompress(self._packed, size)
            except zlib.error as reason:
                self._damaged(f"is damaged: {reason}")
                self._inflate = before
                parts.extend(self._up_to_damage())
                break
            if not part and not self._packed and not self._inflate.eof:
                self._damaged("is cut: expected an end mark, was the end of the file")
            self._packed = self._inflate.unconsumed_tail
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Pass over `size` unpacked bytes."""
        while size > 0 and (part := self.read(min(size, BLOCK))):
            size -= len(part)

    def _next_member(self) -> bool:
        """Go on to the member behind the one that has ended; False when there is none."""
        packed = self._inflate.unused_data.lstrip(b"\0")
        while not packed and (more := super().read(_PACKED)):
            packed = more.lstrip(b"\0")
        if not packed:
            return False
        self._inflate = zlib.decompressobj(_GZIP_AND_CRC)
        self._packed = packed
        return True

    def _up_to_damage(self) -> Iterator[bytes]:
        """What can be unpacked of bytes that cannot be unpacked whole."""
        with suppress(zlib.error):
            for byte in range(len(self._packed)):
                yield self._inflate.decompress(self._packed[byte : byte + 1])

    def _damaged(self, what: str) -> None:
        if self.damage is None:
            self.damage = SourceError(
                f"{self.name}: the gzip file {what}",
                remedy="Fetch the file again; the rows before this place were read.",
            )


def open_stream(path: Path, gzipped: bool) -> Stream:
    """The bytes of a file from their start; SourceError when it cannot be opened."""
    return Gunzipped(path) if gzipped else Stream(path)


@dataclass(frozen=True)
class Lines:
    """Whole lines in a row: line i is `data[starts[i]:ends[i]]`, without its line end."""

    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    first: int
    """The number of the first of them in the file, from 1."""
    following: int
    """The offset of the byte behind them, unpacked."""
    overlong: int = 0
    """Above 0: this is one line of so many bytes, of which `data` holds the beginning."""

    def line(self, number: int) -> bytes:
        """The line of that number in the file."""
        index = number - self.first
        return self.data[self.starts[index] : self.ends[index]]


def read_lines(stream: Stream, offset: int, line: int) -> Iterator[Lines]:
    """The lines from byte `offset`, which starts line number `line`.

    What a block holds depends on the bytes behind its start alone, so that reading again from any block's
    end gives the same blocks. Where the stream is damaged the half line before the damage is left out, and
    the damage is raised behind the last block.
    """
    data = b""
    while data := data + stream.read(BLOCK - len(data)):
        last = len(data) < BLOCK
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)[:LINES]
        if not len(ends) and not last:
            lines, data = _overlong(stream, data, offset, line)
            yield lines
            offset, line = lines.following, line + 1
            continue
        if last and len(ends) < LINES and data[-1] != _NEWLINE and stream.damage is None:
            ends = np.append(ends, len(data))
        if not len(ends):
            break
        starts = np.concatenate(([0], ends[:-1] + 1))
        used = min(int(ends[-1]) + 1, len(data))
        offset += used
        yield Lines(data[:used], starts, _without_return(data, starts, ends), line, offset)
        line += len(starts)
        data = data[used:]
    if stream.damage is not None:
        raise SourceError(
            f"{stream.damage.message} (behind line {line - 1})", remedy=stream.damage.remedy, line=line - 1
        )


def _without_return(data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    if b"\r" not in data:
        return ends
    before = np.frombuffer(data, np.uint8)[np.maximum(ends - 1, 0)]
    shorter: NDArray[np.int64] = ends - ((before == _RETURN) & (ends > starts))
    return shorter


def _overlong(stream: Stream, data: bytes, offset: int, line: int) -> tuple[Lines, bytes]:
    """The line that starts in `data` and does not end there, and the bytes read behind it."""
    kept, length = data[:KEPT], 0
    while data and b"\n" not in data:
        length += len(data)
        data = stream.read(BLOCK)
    length += (end := data.find(b"\n") + 1)
    one = np.array([0]), np.array([len(kept)])
    return Lines(kept, *one, line, offset + length, overlong=length), data[end:]
