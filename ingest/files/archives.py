"""Unpacks zip archives of one file, and files compressed with zstd, into a temporary folder."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard

from ingest.files.scratch import scratch_folder
from ingest.files.unpacking import TOO_LARGE_REMEDY, Unpacking, most_unpacked, too_large, untold
from tapehouse.errors import SourceError

_PART_BYTES = 2**20
_COMPRESSED_BYTES = 2**12
"""Read at once: zstd may unpack them to 32,000 times as many, in memory."""
_ZIP, _ZSTD = b"PK\x03\x04", b"\x28\xb5\x2f\xfd"


@contextmanager
def unpacked(path: Path, folder: Path | None, unpacking: Unpacking = untold) -> Iterator[Path]:
    """Context manager of a file as it is, or of what a packed one holds: named as in the archive, or without .zst.

    `folder` takes the temporary folder, None: the system's for such. Raises SourceError where it is damaged, or larger
    unpacked than a packed file may be.
    """
    magic = b""
    if path.is_file():
        with path.open("rb") as file:
            magic = file.read(4)
    if magic not in (_ZIP, _ZSTD):
        yield path
        return
    unpack = _unpack_zip if magic == _ZIP else _unpack_zstd
    with scratch_folder(folder) as scratch:
        yield unpack(path, scratch, unpacking)


def _unpack_zip(path: Path, folder: Path, unpacking: Unpacking) -> Path:
    try:
        with path.open("rb") as whole, zipfile.ZipFile(whole) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if len(names) != 1:
                shown = ", ".join(names[:5]) or "none"
                raise SourceError(
                    f"{path}: expected a zip archive of one file, was one of {len(names)}: {shown}",
                    remedy="Unpack it and name its files.",
                )
            to = folder / (Path(names[0]).name or path.stem)
            with archive.open(names[0]) as packed, to.open("wb") as file:
                plain = _BoundedFile(file, path)
                while part := packed.read(_PART_BYTES):
                    plain.write(part)
                    unpacking(whole.tell() / plain.packed_bytes)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as reason:
        raise SourceError(f"{path}: not readable as a zip archive: {reason}") from reason
    return to


def _unpack_zstd(path: Path, folder: Path, unpacking: Unpacking) -> Path:
    to = folder / (path.stem if path.suffix in (".zst", ".zstd") else path.name)
    # Several frames, one after the other, are one file.
    frame, begun = zstandard.ZstdDecompressor().decompressobj(), False
    try:
        with path.open("rb") as packed, to.open("wb") as file:
            plain = _BoundedFile(file, path)
            while part := packed.read(_COMPRESSED_BYTES):
                unpacking(packed.tell() / plain.packed_bytes)
                while part:
                    plain.write(frame.decompress(part))
                    begun = not frame.eof
                    part = frame.unused_data if frame.eof else b""
                    if frame.eof:
                        frame = zstandard.ZstdDecompressor().decompressobj()
    except zstandard.ZstdError as reason:
        raise SourceError(f"{path}: not readable as zstd: {reason}") from reason
    if begun:
        raise SourceError(f"{path}: not readable as zstd: it ends early", remedy="Fetch the file again.")
    return to


class _BoundedFile:
    """A file that takes no more than a packed file may hold."""

    def __init__(self, file: BinaryIO, packed: Path) -> None:
        self._file = file
        self._packed = packed
        self.packed_bytes = packed.stat().st_size
        self._left = most_unpacked(self.packed_bytes)

    def write(self, part: bytes) -> None:
        """Write some bytes more. Raises SourceError where there are too many."""
        self._left -= len(part)
        if self._left < 0:
            raise SourceError(f"{self._packed}: {too_large(self.packed_bytes)}", remedy=TOO_LARGE_REMEDY)
        self._file.write(part)
