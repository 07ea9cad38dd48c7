"""Damaged and foreign files by the command line: the good rows in, the others in quarantine with a reason."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from tapehouse.clock import SECOND, iso, now_ns, parse_ns
from tests.system.test_real_data import counts
from tests.system.up import Up

SPAN = ("2024-01-01", "2024-01-02")
GOOD = b"2024-01-01T00:00:00Z,A,100.5,1\n"
HEADER = b"ts,symbol,price,size\n"


def refused(up: Up, venue: str) -> list[list[str]]:
    """Entries of the quarantine of a venue: id, when, kind, venue, where, reason."""
    lines = up.run("quarantine", "list", "--limit", "0").splitlines()
    return [fields for line in lines if (fields := line.split("\t"))[3] == venue]


BAD_LINES = (
    (b"2024-01-01T00:00:01Z,A,100.5", "expected 4 fields, was 3"),
    (b"2024-01-01T00:00:01Z,A,abc,1", "price: expected a number, was 'abc'"),
    (b"2024-01-01T00:00:01Z,A,1e400,1", "price"),
    (b"2024-01-01T00:00:01Z,A,1e13,1", "price: expected -1e+12 to 1e+12"),
    (b"2024-01-01T00:00:01Z,A,nan,1", "price"),
    (b"2024-01-01T00:00:01Z,A,1,-1", "size: expected 0 to 1e+15"),
    (b"1960-01-01T00:00:01Z,A,1,1", "ts_event"),
    (b"2199-01-01T00:00:01Z,A,1,1", "a minute from now"),
    (b"100.5,A,2024-01-01T00:00:01Z,1", "ts_event"),
    (b"2024-01-01T00:00:01Z,\xff\xfe,1,1", "UTF-8"),
    (b"2024-01-01T00:00:01Z,,1,1", "symbol"),
)


def test_bad_lines_are_kept_each_with_its_reason_and_the_good_ones_are_in(
    up: Up, tmp_path: Path, venue: str
) -> None:
    file = tmp_path / "ticks.csv"
    good = [GOOD.replace(b"00:00Z", b"00:%02dZ" % second) for second in range(len(BAD_LINES))]
    file.write_bytes(
        HEADER + b"".join(one + bad + b"\n" for one, (bad, _) in zip(good, BAD_LINES, strict=True))
    )
    said = up.run("ingest", str(file), "--venue", venue)
    bad = len(BAD_LINES)
    assert counts(said) == {"rows": 2 * bad, "accepted": bad, "duplicate": 0, "quarantined": bad}
    entries = {where: (entry, why) for entry, _, _, _, where, why in refused(up, venue)}
    assert len(entries) == bad
    for number, (line, reason) in enumerate(BAD_LINES):
        entry, why = entries[f"ticks.csv line {2 * number + 3}"]
        assert reason in why, line
        if number < 2:
            assert json.loads(up.run("quarantine", "show", entry))["original"] == line.decode()
    assert up.query("trades", "A", venue, *SPAN).height == bad


@pytest.mark.parametrize(
    ("name", "content", "status", "reason"),
    [
        ("empty.csv", b"", 1, "empty"),
        ("head.csv", HEADER, 0, "0 rows"),
        ("none.csv", b"a,b,c\n1,2,3\n", 2, "ts_event"),
        ("cut.parquet", b"PAR1\x00\x00", 1, "cut.parquet"),
        ("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(200), 1, "picture.csv"),
        ("of_day.csv", HEADER + b"09:30:00.123,A,1,1\n", 2, "--date YYYY-MM-DD"),
        ("naive.csv", HEADER + b"2024-01-01T00:00:00,A,1,1\n", 2, "zone"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(
    up: Up, tmp_path: Path, venue: str, name: str, content: bytes, status: int, reason: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    said = up.run("ingest", str(file), "--venue", venue, status=status)
    assert reason in said
    assert "Traceback" not in said


def test_times_of_day_are_stored_on_their_date_and_the_hour_shown_twice_is_not(
    up: Up, tmp_path: Path, venue: str
) -> None:
    file = tmp_path / "day.csv"
    file.write_bytes(HEADER + b"01:30:00.5,A,1,1\n02:30:00,A,2,1\n03:30:00,A,3,1\n")
    how = ("--venue", venue, "--date", "2024-10-27", "--timezone", "Europe/Berlin")
    assert counts(up.run("ingest", str(file), *how))["quarantined"] == 1
    rows = up.query("trades", "A", venue, "2024-10-26", "2024-10-28")
    assert rows["ts_event"].to_physical().to_list() == [
        parse_ns("2024-10-26T23:30:00.5Z"),
        parse_ns("2024-10-27T02:30:00Z"),
    ]
    ((entry, *_, where, why),) = refused(up, venue)
    assert where == "day.csv line 3"
    assert "shows once (it goes back here), was '02:30:00'" in why
    said = up.run("quarantine", "list", "--limit", "0").splitlines()
    assert up.status()["quarantined"] == sum("\t" in line for line in said)
    # It is read again as the file was.
    assert "shows once" in up.run("quarantine", "retry", entry, status=1)


def test_misuse_is_exit_status_2_and_names_what_is_allowed(up: Up, tmp_path: Path, venue: str) -> None:
    file = tmp_path / "ticks.csv"
    file.write_bytes(HEADER + GOOD)
    span = ("--venue", venue, "--start", "2024-01-01", "--end", "2024-01-02")
    for words, reason in (
        (("ingest", str(file), "--venue", venue, "--map", "price=PX"), "PX"),
        (("ingest", str(file), "--venue", venue, "--kind", "bonds"), "trades quotes depth"),
        (("query", "bars", "A", *span, "--interval", "7d"), "15s 30s 1m"),
        (("query", "bars", "A", *span), "interval"),
        (
            ("query", "trades", "A", "--venue", venue, "--start", "2024-01-01T00:00", "--end", "2025-01-01"),
            "zone",
        ),
        (("query", "trades", "A", "--venue", venue, "--start", "2024-01-02", "--end", "2024-01-01"), "after"),
        (("up", "--feed", "nasdaq"), "sim"),
        (("run", "nothing"), "writer"),
    ):
        said = up.run(*words, status=2)
        assert reason in said, said
        assert "Traceback" not in said


def test_a_cut_gzip_gives_its_rows_and_then_says_so(up: Up, tmp_path: Path, venue: str) -> None:
    rows = b"".join(b"2024-01-01T00:%02d:%02dZ,A,%d,1\n" % (i // 60, i % 60, i) for i in range(3600))
    whole = gzip.compress(HEADER + rows + os.urandom(50_000).hex().encode())
    file = tmp_path / "ticks.csv.gz"
    file.write_bytes(whole[: len(whole) // 2])
    said = up.run("ingest", str(file), "--venue", venue, status=1)
    assert "cut" in said
    assert up.query("trades", "A", venue, *SPAN).height > 1_000


def test_what_still_cannot_be_read_stays_in_quarantine(up: Up, tmp_path: Path, venue: str) -> None:
    file = tmp_path / "ticks.csv"
    file.write_bytes(HEADER + GOOD + b"2024-01-01T00:00:01Z,A,abc,1\n")
    up.run("ingest", str(file), "--venue", venue)
    ((entry, *_),) = refused(up, venue)
    said = up.run("quarantine", "retry", entry, status=1)
    assert "price: expected a number" in said
    assert len(refused(up, venue)) == 1


@pytest.mark.parametrize(
    ("messages", "symbol"),
    [
        (
            (
                b'{"type":"match","trade_id":7,"side":"sell","size":"0.5","price":"10.5","product_id":"A-B",'
                b'"time":"2024-01-01T00:00:00.5Z"}',
                b'{"type":"match","trade_id":8,"side":"sell","size":"0.5","price":"dear","product_id":"A-B"}',
            ),
            "A-B",
        ),
        (
            (
                b'{"channel":"trade","data":[{"symbol":"A/B","side":"buy","price":10.5,"qty":0.5,"trade_id":7,'
                b'"ord_type":"limit","timestamp":"2024-01-01T00:00:00.5Z"}]}',
                b'{"channel":"trade","data":[{"symbol":"A/B","price":"dear"}]}',
            ),
            "A/B",
        ),
    ],
    ids=["coinbase", "kraken"],
)
def test_captures_of_any_venue_are_read_and_what_they_refuse_is_tried_again(
    up: Up, tmp_path: Path, venue: str, messages: tuple[bytes, ...], symbol: str
) -> None:
    file = tmp_path / "capture.gz"
    file.write_bytes(gzip.compress(b"".join(b"1704067201000000000 %b\n" % message for message in messages)))
    said = up.run("ingest", str(file), "--venue", venue)
    assert counts(said) == {"rows": 2, "accepted": 1, "duplicate": 0, "quarantined": 1}
    assert up.query("trades", symbol, venue, *SPAN)["price"].to_list() == [10.5]
    ((entry, *_),) = refused(up, venue)
    assert "expected the key" in up.run("quarantine", "retry", entry, status=1)


def test_a_tick_too_far_ahead_is_brought_in_by_a_retry_when_its_time_has_come_near(
    up: Up, tmp_path: Path, venue: str
) -> None:
    file = tmp_path / "ticks.csv"
    ahead = now_ns() + 75 * SECOND
    file.write_bytes(HEADER + GOOD + f"{iso(ahead)},A,101.5,1\n".encode())
    up.run("ingest", str(file), "--venue", venue)
    ((entry, *_),) = refused(up, venue)

    def accepted() -> bool:
        retry = up.start("quarantine", "retry", entry)
        said, _ = retry.communicate(timeout=60)
        return b"1 accepted" in said

    up.until(accepted, "the tick to be less than a minute ahead", 90)
    assert refused(up, venue) == []
    assert up.query("trades", "A", venue, iso(ahead), iso(ahead + 1))["price"].to_list() == [101.5]
