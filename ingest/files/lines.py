"""Reads the bytes and lines of a file, plain or gzipped.

A damaged or truncated gzip file gives all that can be decompressed before the damage is raised.
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

from ingest.files.unpacking import TOO_LARGE_REMEDY, most_unpacked, too_large
from tapehouse.errors import SourceError

BLOCK_BYTES = 4 << 20
"""Bytes read at once, and the length of the longest line that is parsed."""
BLOCK_LINES = 50_000
"""The most lines in one block."""
OVERLONG_KEPT_BYTES = 64 << 10
"""Bytes of an overlong line that go to quarantine."""
_COMPRESSED_BYTES = 256 << 10
_GZIP_AND_CRC = 31
_NEWLINE, _RETURN = 10, 13


class FileStream:
    """The bytes of a plain file."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._size = path.stat().st_size
            self._file = path.open("rb")
        except OSError as reason:
            raise SourceError(f"{path}: cannot be opened: {reason.strerror}", path=str(path)) from reason
        self.damage: SourceError | None = None
        """Why reading ended before the end of the file; None while there is no damage."""

    def __enter__(self) -> FileStream:
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
        """Skip `size` bytes."""
        self._file.seek(size, 1)

    def seek(self, offset: int) -> None:
        """Move to a byte offset of the file on disk."""
        self._file.seek(offset)

    @property
    def fraction(self) -> float:
        """The part of the file read so far, from 0 to 1."""
        return min(self._file.tell() / self._size, 1.0) if self._size else 1.0


class GzipStream(FileStream):
    """The unpacked bytes of a gzip file of one or more members."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._inflate = zlib.decompressobj(_GZIP_AND_CRC)
        self._compressed = b""
        self._left = most_unpacked(self._size)

    def read(self, size: int) -> bytes:
        """The next `size` unpacked bytes; fewer only where the stream ends, in `damage` or properly."""
        parts: list[bytes] = []
        while size > 0 and self.damage is None:
            if self._inflate.eof and not self._next_member():
                break
            if not self._compressed:
                self._compressed = super().read(_COMPRESSED_BYTES)
            before = self._inflate.copy()
            try:
                part = self._inflate.decompress(self._compressed, size)
            except zlib.error as reason:
                self._set_damage(f"is damaged: {reason}")
                self._inflate = before
                parts.extend(self._decompress_until_damage())
                break
            if not part and not self._compressed and not self._inflate.eof:
                self._set_damage("is cut: expected an end mark, was the end of the file")
            self._compressed = self._inflate.unconsumed_tail
            parts.append(part)
            size -= len(part)
            self._left -= len(part)
            if self._left < 0 and self.damage is None:
                self.damage = SourceError(f"{self.name}: {too_large(self._size)}", remedy=TOO_LARGE_REMEDY)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Pass over `size` unpacked bytes."""
        while size > 0 and (part := self.read(min(size, BLOCK_BYTES))):
            size -= len(part)

    def _next_member(self) -> bool:
        """Start the next gzip member; False when there is none."""
        compressed = self._inflate.unused_data.lstrip(b"\0")
        while not compressed and (more := super().read(_COMPRESSED_BYTES)):
            compressed = more.lstrip(b"\0")
        if not compressed:
            return False
        self._inflate = zlib.decompressobj(_GZIP_AND_CRC)
        self._compressed = compressed
        return True

    def _decompress_until_damage(self) -> Iterator[bytes]:
        """What can be unpacked of bytes that cannot be unpacked whole."""
        with suppress(zlib.error):
            for byte in range(len(self._compressed)):
                yield self._inflate.decompress(self._compressed[byte : byte + 1])

    def _set_damage(self, what: str) -> None:
        if self.damage is None:
            self.damage = SourceError(
                f"{self.name}: the gzip file {what}",
                remedy="Fetch the file again; the rows before this place were read.",
            )


def open_stream(path: Path, gzipped: bool) -> FileStream:
    """The bytes of a file from their start; SourceError when it cannot be opened."""
    return GzipStream(path) if gzipped else FileStream(path)


@dataclass(frozen=True)
class LineBlock:
    """Consecutive whole lines: line i is `data[starts[i]:ends[i]]`, without its line end."""

    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    first_line: int
    """The line number of the first line in the file, from 1."""
    next_offset: int
    """The (decompressed) byte offset after the last line."""
    overlong: int = 0
    """Above 0: the block is the beginning of one line of this many bytes."""

    def line(self, number: int, last: int | None = None) -> bytes:
        """The line with that line number of the file; with `last`, from its start to the end of line `last`."""
        first = number - self.first_line
        return self.data[self.starts[first] : self.ends[first if last is None else last - self.first_line]]


class LineReader:
    """The lines of a stream, in blocks: iterate over it once.

    A block depends only on the bytes after its start, so that reading again from any block's
    end gives the same blocks. Where the stream is damaged the half line before the damage is left out, and
    the damage is raised after the last block.
    """

    def __init__(self, stream: FileStream, offset: int, line: int) -> None:
        """The stream is at byte `offset`, which starts line number `line`."""
        self._stream = stream
        self._offset = offset
        self._line = line
        self._data = b""

    def __iter__(self) -> Iterator[LineBlock]:
        stream = self._stream
        while data := self._data + stream.read(BLOCK_BYTES - len(self._data)):
            last = len(data) < BLOCK_BYTES
            ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)[:BLOCK_LINES]
            if not len(ends) and not last:
                lines, self._data = _read_overlong(stream, data, self._offset, self._line)
                self._offset, self._line = lines.next_offset, self._line + 1
                yield lines
                continue
            if last and len(ends) < BLOCK_LINES and data[-1] != _NEWLINE and stream.damage is None:
                ends = np.append(ends, len(data))
            if not len(ends):
                break
            starts = np.concatenate(([0], ends[:-1] + 1))
            used = min(int(ends[-1]) + 1, len(data))
            block, line = data[:used], self._line
            self._data, self._offset, self._line = data[used:], self._offset + used, line + len(starts)
            yield LineBlock(block, starts, _strip_carriage_returns(block, starts, ends), line, self._offset)
        if stream.damage is not None:
            line = self._line - 1
            raise SourceError(
                f"{stream.damage.message} (after line {line})", remedy=stream.damage.remedy, line=line
            )

    def give_back(self, block: LineBlock, index: int) -> LineBlock:
        """Let the next block begin at line `index` of the last one, counted from 0; the lines before it."""
        start = int(block.starts[index])
        self._data = block.data[start:] + self._data
        self._offset -= len(block.data) - start
        self._line = block.first_line + index
        return LineBlock(
            block.data[:start], block.starts[:index], block.ends[:index], block.first_line, self._offset
        )


def _strip_carriage_returns(
    data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    if b"\r" not in data:
        return ends
    before = np.frombuffer(data, np.uint8)[np.maximum(ends - 1, 0)]
    shorter: NDArray[np.int64] = ends - ((before == _RETURN) & (ends > starts))
    return shorter


def _read_overlong(stream: FileStream, data: bytes, offset: int, line: int) -> tuple[LineBlock, bytes]:
    """(the overlong line that starts in `data`, the bytes read after it)."""
    kept, length = data[:OVERLONG_KEPT_BYTES], 0
    while data and b"\n" not in data:
        length += len(data)
        data = stream.read(BLOCK_BYTES)
    length += (end := data.find(b"\n") + 1)
    one = np.array([0]), np.array([len(kept)])
    return LineBlock(kept, *one, line, offset + length, overlong=length), data[end:]
