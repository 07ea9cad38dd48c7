"""Content encodings: what was encoded is there at once, whole and in order."""

from __future__ import annotations

import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gateway.rest.encoding import content_encoder

_NAMES = ["gzip", "zstd", ""]


def _decoder(name: str) -> object:
    if name == "gzip":
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    return zstandard.ZstdDecompressor().decompressobj()


@given(st.sampled_from(_NAMES), st.lists(st.binary(max_size=100_000), max_size=8))
def test_each_piece_can_be_read_before_the_next_is_there(name: str, pieces: list[bytes]) -> None:
    stream, reader = content_encoder(name), _decoder(name)
    for piece in pieces:
        encoded = stream.encode(piece)
        assert (reader.decompress(encoded) if name else encoded) == piece  # type: ignore[attr-defined]
    end = stream.finish()
    if name:
        assert reader.decompress(end) == b""  # type: ignore[attr-defined]
        assert reader.eof  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_without_its_end_it_is_not_whole(name: str) -> None:
    reader = _decoder(name)
    assert reader.decompress(content_encoder(name).encode(b"rows")) == b"rows"  # type: ignore[attr-defined]
    assert not reader.eof  # type: ignore[attr-defined]
