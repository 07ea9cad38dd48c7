"""Packed files are read as what they hold, and leave nothing behind."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest
import zstandard

from ingest.files import unpacking
from ingest.files.archives import unpacked
from ingest.imports.row_sources import open_row_source
from tapehouse.errors import SourceError
from tapehouse.model import TRADES

_CSV = "ts,price,size\n2024-01-01T00:00:00Z,1.5,2\n"


def zipped(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(f"folder/{name}.csv", text)
    return path


def rows(path: Path, scratch: Path) -> int:
    with open_row_source(path, TRADES, "v", "S", sort_folder=scratch) as source:
        return sum(batch.rows for chunk in source.chunks() for batch in chunk.batches)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_a_zip_archive_of_one_file_is_that_file(tmp_path: Path, scratch: Path) -> None:
    assert rows(zipped(tmp_path / "a.zip", trades=_CSV), scratch) == 1
    assert not list(scratch.iterdir())


def test_a_zip_archive_of_several_files_is_refused_by_their_names(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(SourceError, match=r"of one file, was one of 2: folder/a\.csv, folder/b\.csv"):
        rows(zipped(tmp_path / "a.zip", a=_CSV, b=_CSV), scratch)
    assert not list(scratch.iterdir())


def test_zstd_is_read_in_several_frames(tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "trades.csv.zst"
    pack = zstandard.ZstdCompressor().compress
    path.write_bytes(pack(_CSV.encode()) + pack(b"2024-01-01T00:00:01Z,2,1\n"))
    with unpacked(path, scratch) as plain:
        assert plain.name == "trades.csv"
    assert rows(path, scratch) == 2
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("name", ["cut.zip", "cut.csv.zst"])
def test_a_damaged_archive_is_refused(name: str, tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / name
    if name.endswith("zip"):
        content = zipped(path, trades=_CSV * 2_000).read_bytes()
    else:
        content = zstandard.ZstdCompressor().compress(_CSV.encode() * 2_000)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match="not readable as"):
        rows(path, scratch)
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.csv.zst", "bomb.csv.gz"])
def test_what_unpacks_to_far_more_than_ticks_do_stops_at_the_limit(
    name: str, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    count = 2**16
    endless = _CSV + "2024-01-01T00:00:00Z,1.5,2\n" * (count - 1)
    if name.endswith("zip"):
        zipped(path, trades=endless)
    else:
        pack = gzip.compress if name.endswith("gz") else zstandard.ZstdCompressor().compress
        path.write_bytes(pack(endless.encode()))
    assert rows(path, scratch) == count
    monkeypatch.setattr(unpacking, "ALWAYS_BYTES", 2**20)
    monkeypatch.setattr(unpacking, "MOST_TIMES_LARGER", 1)
    with pytest.raises(
        SourceError, match=r"expected at most 1,048,576 bytes unpacked of [0-9,]+ packed ones, was more"
    ):
        rows(path, scratch)
    assert not list(scratch.iterdir())
