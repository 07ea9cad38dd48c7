"""Detects the format of a file by its content, else by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingest.files.lines import open_stream
from tapehouse.errors import SourceError

Format = Literal["csv", "parquet", "jsonlines", "jsonarray", "capture"]

_HEAD_BYTES = 64 << 10
_BOM = b"\xef\xbb\xbf"
_CAPTURE = re.compile(rb"\d{16,19} [{\[]")
_CAPTURE_OF_LITERALS = re.compile(rb"\d{16,19} b['\"]")
_REMEDY = (
    "Give CSV with a header, Parquet, or JSON, each plain, gzipped, with zstd or alone in a zip archive."
)
_UTF16 = ("text in UTF-16", "Convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW")
_PACKED_TWICE = ("packed twice", "Unpack it once.")
_UNSUPPORTED = {
    b"\xfd7zXZ": ("compressed with xz", "Unpack it: unxz FILE"),
    b"BZh": ("packed with bzip2", "Unpack it: bunzip2 FILE"),
    b"ARROW1": ("an Arrow file", _REMEDY),
    b"\xff\xff\xff\xff": ("an Arrow stream", _REMEDY),
    b"\x89HDF": ("an HDF5 file", _REMEDY),
    b"SQLite": ("an SQLite database", _REMEDY),
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
    b"%PDF": ("a PDF", _REMEDY),
    b"PK\x05\x06": ("a zip archive without files", _REMEDY),
    b"PK\x03\x04": _PACKED_TWICE,
    b"\x28\xb5\x2f\xfd": _PACKED_TWICE,
    b"\x1f\x8b": _PACKED_TWICE,
}
"""First bytes -> what they are of, and the remedy. Zip archives and zstd are unpacked before, gzip once."""


@dataclass(frozen=True)
class DetectedFormat:
    """The format of a file, and whether it is gzipped."""

    format: Format
    gzipped: bool


def detect_format(path: Path) -> DetectedFormat:
    """The format of a file.

    "capture" is a recording of a socket: a receive time in ns and a message on each line.
    Raises SourceError when the file is absent, empty, a directory, or of a format that is not supported.
    """
    if path.is_dir():
        raise SourceError(f"{path.name}: expected a file, was a directory", remedy="Name the files in it.")
    if not path.exists():
        raise SourceError(f"{path.name}: expected a file, was not there", path=str(path))
    with open_stream(path, gzipped=False) as plain:
        gzipped = plain.read(2) == b"\x1f\x8b"
    with open_stream(path, gzipped) as stream:
        head = stream.read(_HEAD_BYTES)
        if stream.damage is not None and not head:
            raise stream.damage
    text = head.removeprefix(_BOM).lstrip()
    if not text:
        raise SourceError(
            f"{path.name}: expected records, was empty",
            remedy="Write or fetch the file again.",
            path=str(path),
        )
    return DetectedFormat(_detect_text_or_parquet(path, head, text), gzipped)


def _detect_text_or_parquet(path: Path, head: bytes, text: bytes) -> Format:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if head.startswith(b"PAR1"):
        return "parquet"
    for magic, (what, remedy) in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise SourceError(f"{path.name}: expected CSV, Parquet or JSON, was {what}", remedy=remedy)
    if ".parquet" in suffixes or ".pq" in suffixes:
        raise SourceError(
            f"{path.name}: expected Parquet by its name, was something else: it starts with {head[:8]!r}",
            remedy="Fetch or write the file again.",
        )
    if _CAPTURE_OF_LITERALS.match(text):
        raise SourceError(
            f"{path.name}: expected a capture's messages as they came, was Python's literals of bytes: {text[:60]!r}",
            remedy="Write the bytes of a message, not their repr().",
        )
    if _CAPTURE.match(text):
        return "capture"
    if text.startswith(b"{"):
        return "jsonlines"
    if text.startswith(b"["):
        return "jsonarray"
    if b"\0" in text.split(b"\n", 1)[0]:
        raise SourceError(f"{path.name}: expected CSV, Parquet or JSON, was binary", remedy=_REMEDY)
    if {".json", ".jsonl", ".ndjson"} & set(suffixes):
        return "jsonlines"
    return "csv"
