import gzip
from pathlib import Path

import polars as pl
import pytest

from ingest.files.formats import DetectedFormat, detect_format
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
        assert detect_format(path) == DetectedFormat(expected, packed)  # type: ignore[arg-type]


def test_the_name_decides_where_the_content_does_not(tmp_path: Path) -> None:
    for name, expected in (
        ("a.csv", "csv"),
        ("a", "csv"),
        ("a.jsonl", "jsonlines"),
        ("a.ndjson.gz", "jsonlines"),
    ):
        path = tmp_path / name
        path.write_bytes(b"broken first line\n" + JSON)
        assert detect_format(path).format == expected


def test_a_recording_of_a_socket_is_a_capture(tmp_path: Path) -> None:
    path = tmp_path / "capture.gz"
    path.write_bytes(gzip.compress(b'1723161255342172216 {"stream":"btcusdt@trade"}\n'))
    assert detect_format(path) == DetectedFormat("capture", True)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "was empty"),
        (b" \n\r\n", "was empty"),
        (gzip.compress(b"", mtime=0), "was empty"),
        (b"ARROW1\0\0", "an Arrow file"),
        ("ts,price".encode("utf-16"), "UTF-16"),
        (gzip.compress(gzip.compress(CSV, mtime=0), mtime=0), "packed twice"),
        (gzip.compress(b"PK\x03\x04 a zip archive", mtime=0), "packed twice"),
        (b"PK\x05\x06" + bytes(18), "a zip archive without files"),
        (b"\x00\x01\x02\x03", "binary"),
        (gzip.compress(CSV, mtime=0)[:5], "is cut"),
        (b"\x1f\x8bno gzip at all", "is damaged"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "ticks.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=what):
        detect_format(path)


def test_a_parquet_name_without_parquet_in_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ticks.parquet"
    path.write_bytes(CSV)
    with pytest.raises(SourceError, match="expected Parquet by its name"):
        detect_format(path)


def test_a_folder_and_an_absent_file_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="was a directory"):
        detect_format(tmp_path)
    with pytest.raises(SourceError, match="was not there"):
        detect_format(tmp_path / "absent")


def test_a_capture_of_literals_of_bytes_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "capture.txt"
    path.write_text('1695632672001000000 b\'{"e": "trade"}\'\n')
    with pytest.raises(SourceError, match="literals of bytes"):
        detect_format(path)
