"""What a file holds: told by its content, and where that does not tell, by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ingest.feeds.lines import open_stream
from tapehouse.errors import SourceError

Format = Literal["csv", "parquet", "jsonlines", "capture"]

_HEAD = 64 << 10
_BOM = b"\xef\xbb\xbf"
_CAPTURE = re.compile(rb"\d{16,19} [{\[]")
_FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"\xfd7zXZ": "packed with xz",
    b"BZh": "packed with bzip2",
    b"ARROW1": "an Arrow file",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"\x89HDF": "an HDF5 file",
    b"SQLite": "an SQLite database",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "gzipped twice",
}
_REMEDY = "Give CSV with a header, Parquet, or JSON lines (one object a line), each plain or gzipped."


@dataclass(frozen=True)
class Content:
    """The format of a file, and whether it is gzipped."""

    format: Format
    gzipped: bool


def content_of(path: Path) -> Content:
    """What a file holds.

    "capture" is a recording of a socket: a receive time in ns and a message on each line.
    Raises SourceError when the file is absent, empty, a directory, or nothing that can be read here.
    """
    if path.is_dir():
        raise SourceError(f"{path}: expected a file, was a directory", remedy="Name the files in it.")
    if not path.exists():
        raise SourceError(f"{path}: no such file", path=str(path))
    with open_stream(path, gzipped=False) as plain:
        gzipped = plain.read(2) == b"\x1f\x8b"
    with open_stream(path, gzipped) as stream:
        head = stream.read(_HEAD)
        if stream.damage is not None and not head:
            raise stream.damage
    text = head.removeprefix(_BOM).lstrip()
    if not text:
        raise SourceError(f"{path}: expected records, was empty", path=str(path))
    return Content(_format(path, head, text), gzipped)


def _format(path: Path, head: bytes, text: bytes) -> Format:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if head.startswith(b"PAR1"):
        return "parquet"
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise SourceError(f"{path}: expected CSV, Parquet or JSON lines, was {what}", remedy=_REMEDY)
    if ".parquet" in suffixes or ".pq" in suffixes:
        raise SourceError(
            f"{path}: expected Parquet by its name, was something else: it starts with {head[:8]!r}",
            remedy="Fetch or write the file again.",
        )
    if _CAPTURE.match(text):
        return "capture"
    if text.startswith(b"{"):
        return "jsonlines"
    if text.startswith(b"["):
        raise SourceError(
            f"{path}: expected JSON lines, was one JSON array", remedy="Write one object a line: jq -c '.[]'."
        )
    if b"\0" in text.split(b"\n", 1)[0]:
        raise SourceError(f"{path}: expected CSV, Parquet or JSON lines, was binary", remedy=_REMEDY)
    if {".json", ".jsonl", ".ndjson"} & set(suffixes):
        return "jsonlines"
    return "csv"
