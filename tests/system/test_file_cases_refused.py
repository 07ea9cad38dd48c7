"""Files and rows that are refused: named with the remedy, tried again, and never in the way of the others."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import ingest.files.reader as reader
from tapehouse.client.database import Database
from tapehouse.clock import MINUTE, SECOND, iso, now_ns
from tests.system.files import (
    HEADER,
    MS,
    PLAIN,
    TWO,
    WRITERS,
    as_array,
    as_csv,
    as_parquet,
    as_zip,
    call,
    entries,
    expect_stored,
    written,
)
from tests.system.up import Up


def test_rejected_rows_of_every_format_come_in_by_a_retry(
    up: Up, db: Database, tmp_path: Path, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ts = now_ns() // SECOND * SECOND
    files = {
        name: write([{"ts": iso(ts), "symbol": name, "price": 1, "size": 1}])
        for name, write in WRITERS.items()
    }
    zoneless = [
        {
            "ts": reader.pl.Series([ts]).cast(reader.pl.Datetime("ns"))[0],
            "symbol": "naive",
            "price": 1,
            "size": 1,
        }
    ]
    files |= {
        "naive.parquet": as_parquet(zoneless),
        "ids.csv": as_csv([{"id": 7, "ts": ts, "symbol": "ids", "price": 1, "size": 1}]),
    }
    with monkeypatch.context() as clock:
        clock.setattr(reader, "now_ns", lambda: ts - 2 * MINUTE)
        said = call(up, "ingest", *written(tmp_path, files), "--venue", venue)
    assert said.status == 1
    assert said.total("quarantined") == said.total("rows") == len(files)
    said = call(up, "quarantine", "retry", *(entry[0] for entry in entries(up, venue)))
    assert (said.status, said.err) == (0, f"{len(files)} accepted, 0 still rejected\n"), said.out
    rows = db.trades([*WRITERS, "naive", "ids"], iso(ts), venue=venue)
    assert rows["ts_event"].cast(int).to_list() == [ts] * len(files)


@pytest.mark.parametrize("column", ["id", "seq"])
def test_a_retry_never_overwrites_the_row_that_has_the_id(
    up: Up, db: Database, tmp_path: Path, venue: str, column: str
) -> None:
    lines = [TWO[0], TWO[0].replace(",10,", ",12,"), TWO[1]]
    (file,) = written(tmp_path, {"a.csv": "\n".join([HEADER.replace("id", column), *lines]).encode()})
    assert call(up, "ingest", file, "--venue", venue).total("quarantined") == 1
    ((entry, *_),) = entries(up, venue)
    said = call(up, "quarantine", "retry", entry)
    assert said.status == 1
    assert "--number-by time" in said.out
    assert len(entries(up, venue)) == 1
    expect_stored(db, venue, "A", PLAIN)


def test_files_that_cannot_be_used_are_each_named_with_the_remedy_and_the_others_are_in(
    up: Up, db: Database, tmp_path: Path, venue: str
) -> None:
    good = "\n".join([HEADER, *TWO]).encode()
    record = {"ts": MS, "symbol": "A", "price": 1, "size": 1}
    bad = {
        "empty.csv": (b"", "was empty"),
        "blank.csv": (b"\xef\xbb\xbf\r\n\n", "was empty"),
        "empty.csv.gz": (gzip.compress(b""), "was empty"),
        "empty.zip": (as_zip({"in.csv": b""}), "in.csv: expected records, was empty"),
        "none.zip": (as_zip({}), "a zip archive without files"),
        "two.zip": (as_zip({"a.csv": good, "b.csv": good}), "Unpack it and name its files."),
        "twice.zip": (as_zip({"a.zip": as_zip({"a.csv": good})}), "Unpack it once."),
        "utf16.csv": (good.decode().encode("utf-16"), "iconv -f UTF-16"),
        "returns.csv": (good.replace(b"\n", b"\r"), "tr '\\r' '\\n'"),
        "cut.json": (as_array([record])[:-9], "expected a JSON array, was cut"),
        "more.json": (as_array([record]) + b"{}", "expected nothing after a JSON array"),
        "lists.json": (b"[[1, 2]]", "Give an object for each row"),
        "naive.csv": (b"ts,symbol,price,size\n2024-01-02 10:00:00,A,1,1\n", "--naive-as-utc"),
        "names.csv": (b"a,b,c\n1,2,3\n", "--map ts=COLUMN"),
        "rows.csv": (good.partition(b"\n")[2], "--map ts=#1"),
    }  # fmt: skip
    files = written(tmp_path, {name: content for name, (content, _) in bad.items()} | {"good.csv": good})
    said = call(up, "ingest", str(tmp_path / "absent.csv"), *files, "--venue", venue)
    assert said.status == 2
    for name, (_, words) in bad.items():
        (message,) = [part for part in said.err.split("error: ") if part.startswith(f"{tmp_path / name}: ")]
        assert words in message, name
    assert f"error: {tmp_path / 'absent.csv'}: expected a file" in said.err
    assert said.counts == [{"rows": 2, "accepted": 2, "duplicate": 0, "quarantined": 0}]
    expect_stored(db, venue, "A", PLAIN)


def test_a_dry_run_tells_what_would_be_rejected(up: Up, tmp_path: Path, venue: str) -> None:
    contents = {
        "key.csv": "\n".join([HEADER, TWO[0], TWO[0], TWO[0].replace(",10,", ",12,")]),
        "none.csv": HEADER,
        "bad.csv": f"{HEADER}\n1,x,A,1,1\n",
    }
    key, none, bad = written(tmp_path, {name: text.encode() for name, text in contents.items()})
    said = call(up, "ingest", key, "--venue", venue, "--dry-run")
    assert said.status == 0
    assert "to quarantine: key.csv: seq: expected an id that no other row" in said.out
    assert said.out.split("1m bars")[1].split()[-6:-3] == ["1.0", "1", "nothing"]
    said = call(up, "ingest", none, bad, "--venue", venue, "--dry-run")
    assert said.status == 1
    assert "none.csv: 0 rows" in said.out
    assert "bad.csv: all rows are invalid" in said.out


def test_names_given_as_options_are_checked_before_a_file_is_read(up: Up, tmp_path: Path) -> None:
    for option, name in (("--symbol", " "), ("--symbol", "x" * 257), ("--venue", ""), ("--venue", "x" * 257)):
        given = {"--venue": "v", "--symbol": "A", option: name}
        words = [word for pair in given.items() for word in pair]
        said = call(up, "ingest", str(tmp_path / "absent.csv"), *words)
        assert said.status == 2
        assert f"error: {option}: expected" in said.err
