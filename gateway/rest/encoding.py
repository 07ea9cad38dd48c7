"""Content encodings as streams: what has been given to one can be decoded by the client at once."""

from __future__ import annotations

import zlib
from typing import Protocol

import zstandard

_GZIP_LEVEL, _ZSTD_LEVEL = 1, 1
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


Bytes = bytes | memoryview


class Packer(Protocol):
    """A content encoding under way."""

    def pack(self, data: Bytes) -> Bytes:
        """The encoded form of all of `data`, up to its last byte."""

    def finish(self) -> bytes:
        """What says that nothing follows."""


class Plain:
    """No encoding."""

    def pack(self, data: Bytes) -> Bytes:
        """The data."""
        return data

    def finish(self) -> bytes:
        """Nothing."""
        return b""


class Gzip:
    """RFC 1952."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def pack(self, data: Bytes) -> Bytes:
        """Encoded up to its last byte."""
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """The end with its checksum."""
        return self._stream.flush(zlib.Z_FINISH)


class Zstd:
    """RFC 8878."""

    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()

    def pack(self, data: Bytes) -> Bytes:
        """Encoded up to its last byte."""
        return self._stream.compress(data) + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        """The end with its checksum."""
        return self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


def packer(name: str) -> Packer:
    """The encoding called `name`; none for an empty text."""
    return Gzip() if name == "gzip" else Zstd() if name == "zstd" else Plain()
