import gzip
from pathlib import Path

import polars as pl
import pytest

from ingest.feeds.formats import Content, content_of
from tapehouse.errors import SourceError

CSV = b"ts,price,size\n1,2,3\n"
JSON = b'{"ts": 1}\n'


@pytest.fixture
def parquet(tmp_path: Path) -> bytes:
    path = tmp_path / "small.parquet"
    pl.DataFrame({"ts": [1]}).write_parquet(path)
    return path.read_bytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["data", "data.csv", "data.jsonl", "data.gz", "data.txt"])
def test_content_goes_before_the_name(tmp_path: Path, parquet: bytes, name: str, packed: bool) -> None:
    path = tmp_path / name
    for content, expected in ((JSON, "jsonlines"), (b"\n \n" + JSON, "jsonlines"), (parquet, "parquet")):
        path.write_bytes(gzip.compress(content) if packed else content)
        assert content_of(path) == Content(expected, packed)  # type: ignore[arg-type]


def test_the_name_decides_where_the_content_does_not(tmp_path: Path) -> None:
    for name, expected in (
        ("a.csv", "csv"),
        ("a", "csv"),
        ("a.jsonl", "jsonlines"),
        ("a.ndjson.gz", "jsonlines"),
    ):
        path = tmp_path / name
        path.write_bytes(b"broken first line\n" + JSON)
        assert content_of(path).format == expected


def test_a_recording_of_a_socket_is_a_capture(tmp_path: Path) -> None:
    path = tmp_path / "capture.gz"
    path.write_bytes(gzip.compress(b'1723161255342172216 {"stream":"btcusdt@trade"}\n'))
    assert content_of(path) == Content("capture", True)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "was empty"),
        (b" \n\r\n", "was empty"),
        (gzip.compress(b""), "was empty"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"\x28\xb5\x2f\xfdrest", "packed with zstd"),
        (b"ARROW1\0\0", "an Arrow file"),
        ("ts,price".encode("utf-16"), "UTF-16"),
        (gzip.compress(gzip.compress(CSV)), "gzipped twice"),
        (b"[" + JSON + b"]", "one JSON array"),
        (b"\x00\x01\x02\x03", "binary"),
        (gzip.compress(CSV)[:5], "is cut"),
        (b"\x1f\x8bno gzip at all", "is damaged"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "ticks.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=what):
        content_of(path)


def test_a_parquet_name_without_parquet_in_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ticks.parquet"
    path.write_bytes(CSV)
    with pytest.raises(SourceError, match="expected Parquet by its name"):
        content_of(path)


def test_a_folder_and_an_absent_file_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="was a directory"):
        content_of(tmp_path)
    with pytest.raises(SourceError, match="no such file"):
        content_of(tmp_path / "absent")
