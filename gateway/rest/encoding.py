"""Streaming content encoders: each flushes, so that the client can decode everything sent so far."""

from __future__ import annotations

import zlib
from typing import Protocol

import zstandard

_GZIP_LEVEL, _ZSTD_LEVEL = 1, 1
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


Bytes = bytes | memoryview


class ContentEncoder(Protocol):
    """A stream of one content encoding."""

    def encode(self, data: Bytes) -> Bytes:
        """Encode all of `data`, and flush."""

    def finish(self) -> bytes:
        """The end of the stream."""


class Identity:
    """No encoding."""

    def encode(self, data: Bytes) -> Bytes:
        """`data` itself."""
        return data

    def finish(self) -> bytes:
        """Empty."""
        return b""


class Gzip:
    """RFC 1952."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def encode(self, data: Bytes) -> Bytes:
        """Encode all of `data`, and flush."""
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """The end of the stream with its checksum."""
        return self._stream.flush(zlib.Z_FINISH)


class Zstd:
    """RFC 8878."""

    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()

    def encode(self, data: Bytes) -> Bytes:
        """Encode all of `data`, and flush."""
        return self._stream.compress(data) + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        """The end of the stream with its checksum."""
        return self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


def content_encoder(name: str) -> ContentEncoder:
    """A new stream of `gzip` or `zstd`; of no encoding for any other name."""
    return Gzip() if name == "gzip" else Zstd() if name == "zstd" else Identity()
