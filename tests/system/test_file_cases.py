"""Small files as vendors write them, by the command line: the right rows, bars, counts, exit status and words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tapehouse.client.database import Database
from tapehouse.clock import iso, parse_ns
from tests.system.files import (
    HEADER,
    MS,
    PLAIN,
    TWO,
    WRITERS,
    S,
    Trade,
    as_array,
    as_csv,
    as_lines,
    as_parquet,
    at,
    call,
    entries,
    expect_stored,
    written,
)
from tests.system.up import Up


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "no ids"])
def test_one_tape_is_the_same_in_every_format(
    up: Up, db: Database, tmp_path: Path, venue: str, ids: bool
) -> None:
    trades = [(at(0), 1.5, 1.0, 1), (at(0), 2.5, 2.0, -1), (at(1), -1.25, 0.0, 1), (at(61), 0.0, 3.0, -1)]
    records: list[dict[str, Any]] = [
        {"ts": ts, "symbol": "A", "price": price, "size": size, "side": "buy" if side == 1 else "sell"}
        for ts, price, size, side in trades
    ]
    if ids:
        records = [{"id": number, **record} for number, record in enumerate(records, 2**53)]
    files = {name: write(records) for name, write in WRITERS.items()}
    said = call(up, "ingest", *written(tmp_path, files), "--venue", venue)
    assert said.status == 0
    assert [(one["accepted"], one["duplicate"]) for one in said.counts] == [(4, 0)] + [(0, 4)] * (
        len(files) - 1
    )
    expect_stored(db, venue, "A", trades)
    assert db.trades("A", iso(at(0)), venue=venue)["seq"].to_list() == (
        [2**53 + place for place in range(4)] if ids else [at(0), at(0) + 1, at(1), at(61)]
    )


@dataclass
class Step:
    """A file of lines beside its header, and what becomes of them; a status without counts is a refusal."""

    lines: list[str]
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    corrected: int = 0
    header: str = HEADER
    options: list[str] = field(default_factory=list)
    status: int = 0
    says: str = ""


FLAGS = {"header": f"{HEADER},flags", "options": ["--map", "flags=flags"]}
BY_TIME = ["--number-by", "time"]
MAKER = ["--map", "buyer_maker=m"]
NAMED = ["--symbol", " A"]
CASES: dict[str, tuple[list[Step], list[Trade]]] = {
    "ids at another of the venue's times": (
        [
            Step(TWO, accepted=2),
            Step([f"1,{S}.0021,A,10,1", f"2,{S}.502,A,11,2"], duplicate=2, says="at other times of the same ids"),
            Step([f"2,{MS - 1499},A,11,2", f"1,{MS - 2000},A,10,1"], duplicate=2),
        ],
        PLAIN,
    ),
    "an id further than two seconds away is another trade": (
        [Step(TWO[:1], accepted=1), Step([f"1,{S + 2}000001,A,10,1"], accepted=1, options=["--time-unit", "us"])],
        [(at(0), 10.0, 1.0, 0), (at(2.000001), 10.0, 1.0, 0)],
    ),
    "ids at times around midnight": (
        [
            Step(["1,2024-01-01T23:59:59.9Z,A,1,1"], accepted=1),
            Step(["1,2024-01-02T00:00:00.1Z,A,1,1"], duplicate=1),
        ],
        [(parse_ns("2024-01-01T23:59:59.9Z"), 1.0, 1.0, 0)],
    ),
    "the buyer was the maker": (
        [
            Step([f"{TWO[0]},True", f"{TWO[1]},0"], accepted=2, header=f"{HEADER},is_buyer_maker"),
            Step([f"{TWO[0]},t", f"{TWO[1]},"], corrected=1, duplicate=1, header=f"{HEADER},m", options=MAKER),
        ],
        [(at(0), 10.0, 1.0, -1), (at(0.5), 11.0, 2.0, 0)],
    ),
    "a column's name with commas and equals signs": (
        [Step(TWO, accepted=2, header='id,ts,symbol,"Price, in $=1",size', options=["--map", "price=Price, in $=1"])],
        PLAIN,
    ),
    "a vendor's flags and sides": (
        [Step([f"{TWO[0]},128,A", f"{TWO[1]},-1,N"], accepted=2, header=f"{HEADER},flags,side")],
        [(at(0), 10.0, 1.0, -1), (at(0.5), 11.0, 2.0, 0)],
    ),
    "exact repeats with ids": (
        [Step([TWO[0], *TWO, TWO[0]], accepted=2, duplicate=2), Step(TWO[::-1] * 2, duplicate=4)],
        PLAIN,
    ),
    "equal trades without ids are each kept": (
        [
            Step([line[2:] for line in (TWO[0], *TWO, TWO[0])], accepted=4, header=HEADER[3:]),
            Step([line[2:] for line in (TWO[1], TWO[0], TWO[0])], duplicate=3, header=HEADER[3:], says="newest row"),
            Step([line[2:] for line in [TWO[0]] * 5], accepted=2, duplicate=3, header=HEADER[3:]),
        ],
        [PLAIN[0]] * 5 + [PLAIN[1]],
    ),
    "a cancellation, and the poorer file again": (
        [
            Step([f"{TWO[0]},0", f"{TWO[1]},0", f"{TWO[0]},1"], accepted=2, corrected=1, **FLAGS),
            Step(TWO, duplicate=2),
            Step([f"{TWO[0]},0"], corrected=1, **FLAGS),
        ],
        PLAIN,
    ),
    "several rows of one id": (
        [
            Step([*TWO, f"2,{MS + 500},A,12,2", f"2,{MS + 500},B,12,2"], accepted=3, quarantined=1),
            Step([f"2,{MS + 500},A,12,2", f"2,{MS + 500},A,11,2"], corrected=1, quarantined=1),
            Step([f"2,{MS + 500},A,11,2"], corrected=1),
        ],
        PLAIN,
    ),
    "row numbers of a file with the newest row first are no ids": (
        [
            Step([f"{row},{MS - row},A,{row},1" for row in range(4)], status=2, says="--number-by time"),
            Step([f"{row},{MS - row},A,{row},1" for row in range(4)], accepted=4, options=BY_TIME),
        ],
        [(at(-row / 1000), float(row), 1.0, 0) for row in (3, 2, 1, 0)],
    ),
    "ids of several exchanges, in any order of the file": (
        [
            Step([f"{number},{MS + ms},A,1,1" for ms, number in rows], status=2, says="ids that rise")
            for tape in [[(0, 900), (1, 5), (2, 901), (3, 6), (4, 902)]]
            for rows in (tape, tape[::-1], tape[1::2] + tape[::2])
        ],
        [],
    ),
    "ids that rise, in any order of the file": (
        [Step(TWO[::-1], accepted=2), Step([f"7,{MS},B,1,1", *TWO], accepted=1, duplicate=2)],
        PLAIN,
    ),
    "ids that are none": (
        [
            Step([f"0a1b-22,{MS},A,10,1", f",{MS + 500},A,11,2"], quarantined=2, status=1),
            Step([f"0a1b-22,{MS},A,10,1", f",{MS + 500},A,11,2"], accepted=2, options=["--map", "id=-"]),
            Step([f"0a1b-22,{MS},A,10,1", f",{MS + 500},A,11,2"], duplicate=1, corrected=1, options=BY_TIME),
            Step(TWO, status=1, says="--number-by time"),
        ],
        PLAIN,
    ),
    "headers, comments and totals among the rows": (
        [Step([TWO[0], HEADER, "# a comment", "", TWO[1], "Total,,,21,3", "1,2,3"], accepted=2, quarantined=4)],
        PLAIN,
    ),
    "a symbol with spaces around it": (
        [
            Step([line.replace("A", " A ") for line in TWO], accepted=2),
            Step([line.replace(",A", "") for line in TWO], duplicate=2, header="id,ts,price,size", options=NAMED),
        ],
        PLAIN,
    ),
    "two symbols of a tape without ids, each newest first": (
        [Step([f"{MS + 500},A,11,2", f"{MS + 900},B,1,1", f"{MS},A,10,1"], accepted=3, header=HEADER[3:])],
        PLAIN,
    ),
    "a known venue's clock is coarser than its file": (
        [
            Step([f"1,{at(0) + 999},A,10,1", f"2,{at(0.5) + 7},A,11,2"], accepted=2),
            Step(TWO, duplicate=2),
            Step([f"1,{iso(at(0) + 1001)},A,10,1", f"2,{S}.500000001,A,11,2"], duplicate=2),
        ],
        PLAIN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_files_give_their_rows_bars_and_counts(
    up: Up, db: Database, tmp_path: Path, venue: str, name: str
) -> None:
    steps, trades = CASES[name]
    symbol = "A"
    if "known venue" in name:
        venue, symbol = "binance_spot", venue
    accepted = 0
    for number, step in enumerate(steps):
        text = "\n".join([step.header, *step.lines]).replace(",A,", f",{symbol},") + "\n"
        (file,) = written(tmp_path, {f"{number}.csv": text.encode()})
        said = call(up, "ingest", file, "--venue", venue, *step.options)
        assert said.status == step.status, said
        assert step.says in said.err
        for one in said.counts:
            accepted += one["accepted"]
            wanted = {
                what: getattr(step, what) for what in ("accepted", "duplicate", "quarantined", "corrected")
            }
            assert {"corrected": 0, **one} == {"rows": sum(wanted.values()), **wanted}, number
        assert len(said.counts) == (step.accepted + step.duplicate + step.quarantined + step.corrected > 0)
    symbols = db.catalog("trades").filter(pl.col("venue") == venue)["symbol"]
    assert sum(db.trades(one, iso(0), venue=venue).height for one in {symbol, "B"} & {*symbols}) == accepted
    if trades:
        expect_stored(db, venue, symbol, trades)


TIMES = {
    "2024-02-29T12:00:00Z": "2024-02-29T12:00:00Z",
    "2024-01-02 10:00:00.123456789 UTC": "2024-01-02T10:00:00.123456789Z",
    "2024-01-02t10:00z": "2024-01-02T10:00:00Z",
    " 2024-01-02T10:00:00 +01:00 ": "2024-01-02T09:00:00Z",
    "2024-01-02T10:00:00-2359": "2024-01-03T09:59:00Z",
    "2024-01-02T10:00:00+05": "2024-01-02T05:00:00Z",
    # Hours that a clock of New York skips and repeats, and one that Berlin's skips.
    "2024-03-10T02:30:00-05:00": "2024-03-10T07:30:00Z",
    "2024-11-03T01:30:00-04:00": "2024-11-03T05:30:00Z",
    "2024-11-03T01:30:00-05:00": "2024-11-03T06:30:00Z",
    "2024-03-31T02:30:00+01:00": "2024-03-31T01:30:00Z",
} | dict.fromkeys(
    (
        *("2023-02-29T00:00:00Z", "2024-02-30T00:00:00Z", "1900-02-29T00:00:00Z", "2024-13-01T00:00:00Z"),
        *(
            "2024-01-02T24:00:00Z",
            "2016-12-31T23:59:60Z",
            "2024-01-02T10:60:00Z",
            "2024-01-02T10:00:00+24:00",
        ),
        *("2024-01-02T10:00:00+1:00", "2024-01-02T10:00:00.1234567890Z", "2024-01-02T10:00:00", "2024-01-02"),
        *(
            "20240102T000000Z",
            "2024/01/02 10:00:00",
            "2024-1-2T10:00:00Z",
            "1969-12-31T23:59:59Z",
            "0",
            "nan",
        ),
        *(
            "1970-01-04T23:59:59.999999999Z",
            "2262-04-11T23:47:16Z",
            "2262-04-12T00:00:00Z",
            "2300-01-01T00:00:00Z",
        ),
    ),
    None,
)
VALUES: dict[str, dict[str, Any]] = {
    "ts": TIMES,
    "price": {"+5": 5, ".5": 0.5, "5.": 5, " 7 ": 7, "1e2": 100, "0": 0, "-1": -1, "1000000000000": 1e12}
    | dict.fromkeys(("inf", "-inf", "NaN", "", "1_000", "0x10", "1,5", "1d", "1000000000001")),
    "size": {"0": 0, "1e15": 1e15} | dict.fromkeys(("-1", "", "1.001e15", "nan")),
    "id": {"7": 7, "+8": 8, " 9 ": 9, "10.0": 10, "011": 11, str(2**53 + 1): 2**53 + 1, str(2**63 - 2): 2**63 - 2}
    | dict.fromkeys(("11.5", "1e3", "-1", str(2**63 - 1), str(2**63), "", "0x1", "12L", "1_0", "nan")),
    "side": {"BUY": 1, " b ": 1, "bid": 1, "1.0": 1, "Sell": -1, "A": -1, "-1": -1, "": 0, "N": 0, "none": 0}
    | dict.fromkeys(("x", "+1", "2", "True")),
}  # fmt: skip
"""Column -> text of it -> the value stored, None where the row is rejected."""
STORED_AS = {"ts": "ts_event", "id": "seq"}


@pytest.mark.parametrize("column", VALUES)
@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_every_writing_of_a_value_is_that_value_or_rejected(
    up: Up, db: Database, tmp_path: Path, venue: str, column: str, format_: str
) -> None:
    texts = VALUES[column]
    usual = [
        {"ts": iso(at(n)), "symbol": f"S{n}", "price": "1", "size": "1", "side": "buy", "id": "1"}
        for n in range(len(texts))
    ]
    records = [{**record, column: text} for record, text in zip(usual, texts, strict=True)]
    content = as_csv(records) if format_ == "csv" else as_lines(records)
    (file,) = written(tmp_path, {f"values.{format_}": content})
    said = call(up, "ingest", file, "--venue", venue)
    bad = [number for number, value in enumerate(texts.values()) if value is None]
    assert said.status == 0
    assert (said.total("accepted"), said.total("quarantined")) == (len(texts) - len(bad), len(bad))
    first = 2 if format_ == "csv" else 1
    found = {entry[4].rpartition(" ")[2]: entry[5] for entry in entries(up, venue)}
    assert sorted(map(int, found)) == [number + first for number in bad]
    name = STORED_AS.get(column, column)
    assert all(reason.startswith(f"{name}: expected ") for reason in found.values()), found
    assert f"quarantined: {name}: expected " in said.err
    wanted = {f"S{number}": value for number, value in enumerate(texts.values()) if value is not None}
    rows = db.trades(list(wanted), iso(0), venue=venue)
    stored = dict(zip(rows["symbol"], rows[name].cast(int) if column == "ts" else rows[name], strict=True))
    assert stored == ({key: parse_ns(value) for key, value in wanted.items()} if column == "ts" else wanted)


def test_numbers_that_a_float_rounds_are_said_or_rejected(
    up: Up, db: Database, tmp_path: Path, venue: str
) -> None:
    ns = float(at(0) + 123)
    records = [
        {"ts": ns, "symbol": "A", "price": 1.0, "size": 1.0, "id": float(number)} for number in (7, 2**53)
    ]
    mixed = b'{"id":9007199254740993.0,"ts":%d,"symbol":"B","price":1,"size":1}\n' % MS
    mixed += mixed.replace(b"9007199254740993.0", b"5").replace(b"%d" % MS, b"%d.0" % (MS - 1))
    files = {"floats.parquet": as_parquet(records), "floats.jsonl": as_lines(records), "mixed.jsonl": mixed}
    said = call(up, "ingest", *written(tmp_path, files), "--venue", venue)
    assert [(one["accepted"], one["duplicate"], one["quarantined"]) for one in said.counts] == [
        (1, 0, 1),
        (1, 1, 0),
        (2, 0, 0),
    ]
    assert "floats.parquet: ts_event: column ts is floating point, its times as exact as that" in said.err
    assert "below 2^53" in entries(up, venue)[0][5]
    assert db.trades("B", iso(at(-1)), venue=venue)["seq"].to_list() == [5, 9007199254740993]


def test_names_of_any_characters_are_stored_as_they_can_be_asked(
    up: Up, db: Database, tmp_path: Path, venue: str
) -> None:
    names = [
        "ES,H4",
        "ES",
        "H4",
        "a/b.c",
        "A*",
        ">",
        "'",
        '"',
        "\\",
        "ä b",
        "$X",
        "_",
        "-",
        "x" * 256,
        "😀" * 256,
    ]
    records = [
        {"ts": at(0), "symbol": name, "price": 1.0, "size": 1.0}
        for name in [*names, "x" * 257, "L" * 9_000, "\0", " "]
    ]
    files = {
        "names.jsonl": as_lines(records),
        "names.parquet": as_parquet(records),
        "names.csv": as_csv(records[:-2]),
    }
    said = call(up, "ingest", *written(tmp_path, files), "--venue", f"{venue} .*😀,")
    assert [(one["accepted"], one["duplicate"], one["quarantined"]) for one in said.counts] == [
        (15, 0, 4),
        (0, 15, 4),
        (0, 15, 2),
    ]
    assert sorted(db.trades(names, iso(at(0)), venue=f"{venue} .*😀,")["symbol"]) == sorted(names)
    by_command = call(
        up,
        "query",
        "trades",
        "ES,H4",
        "--venue",
        f"{venue} .*😀,",
        "--start",
        iso(at(0)),
        "--columns",
        "symbol",
        "--out",
        "-",
    )
    assert by_command.out == 'symbol\nES\n"ES,H4"\nH4\n'


def test_books_are_counted_as_they_are_stored_and_other_levels_are_a_correction(
    up: Up, db: Database, tmp_path: Path, venue: str
) -> None:
    levels = {"bid_prices": [1, 0.5], "bid_sizes": [1, 2], "ask_prices": [], "ask_sizes": []}
    books = [{"ts": iso(at(n)), "symbol": "A", "seq": n, "snapshot": n == 0, **levels} for n in range(3)]
    changed = {**books[2], "bid_sizes": [1, 3]}
    first, again = [*books, books[0]], [books[1], changed, {**changed, "bid_sizes": [9, 9]}]
    files = written(tmp_path, {"first.jsonl": as_lines(first), "again.json": as_array(again)})
    said = call(up, "ingest", *files, "--venue", venue, "--kind", "depth")
    assert said.counts == [
        {"rows": 4, "accepted": 3, "duplicate": 1, "quarantined": 0},
        {"rows": 3, "accepted": 0, "duplicate": 1, "quarantined": 1, "corrected": 1},
    ]
    assert db.depth("A", iso(at(0)), venue=venue)["bid_sizes"].to_list() == [[1, 2], [1, 2], [1, 3]]
