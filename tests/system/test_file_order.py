"""The same trades by files in any order, in pieces, poorer or richer: the same rows, bars and counts."""

from __future__ import annotations

import random
from pathlib import Path

from tests.system.test_real_data import counts
from tests.system.up import Up

SPAN = ("2024-01-02", "2024-01-03")
_TIME = "2024-01-02T10:00:{:02}.{:03}Z"


def tape(rows: int) -> list[str]:
    """Lines of trades without ids; every third shares its time with the one before."""
    return [
        f"{_TIME.format(place // 30, (place - place % 3 // 2) * 7 % 1000)},A,{100 + place % 5},{place + 1}"
        for place in sorted(
            range(rows), key=lambda place: (place // 30, (place - place % 3 // 2) * 7 % 1000, place)
        )
    ]


def written(path: Path, lines: list[str], header: str = "ts,symbol,price,size") -> str:
    path.write_text("\n".join([header, *lines]) + "\n")
    return str(path)


def test_a_file_newest_first_shuffled_or_in_pages_that_overlap_is_the_file_in_order(
    up: Up, tmp_path: Path, venue: str
) -> None:
    lines = tape(300)
    times = [line.split(",")[0] for line in lines]
    assert times == sorted(times)
    assert len(set(times)) < 300
    middle = next(place for place in range(150, 300) if times[place] != times[place - 1])
    shuffled = list(lines)
    random.Random(1).shuffle(shuffled)
    # A shuffle decides anew which of one time is first: sort those as they were.
    shuffled = [line for line in shuffled if times.count(line.split(",")[0]) == 1]
    bars = {}
    for name, pieces in {
        "sorted": [lines],
        "newest first": [lines[::-1]],
        "pages": [lines[middle:], lines[: middle + 20], lines[middle - 50 : middle + 100]],
        "a refreshed file": [shuffled, lines],
    }.items():
        own = f"{venue}{len(bars)}"
        found = {"rows": 0, "accepted": 0, "duplicate": 0, "quarantined": 0}
        for number, piece in enumerate(pieces):
            file = written(tmp_path / f"{len(bars)}-{number}.csv", piece)
            said = counts(up.run("ingest", file, "--venue", own))
            found = {key: found[key] + said[key] for key in found}
        rows = up.query("trades", "A", own, *SPAN)
        assert found["accepted"] == rows.height == 300, name
        assert found["duplicate"] == sum(map(len, pieces)) - 300, name
        bars[name] = up.query("bars", "A", own, *SPAN, interval="15s").drop(
            "venue", "seq_first", "seq_last", strict=False
        )
        if name in ("sorted", "newest first", "pages"):
            assert rows["size"].to_list() == [float(line.rsplit(",", 1)[1]) for line in lines], name
            assert bars[name].equals(bars["sorted"]), name


def test_a_poorer_file_overwrites_nothing_and_a_richer_one_completes(
    up: Up, tmp_path: Path, venue: str
) -> None:
    lines = tape(30)
    poor = written(tmp_path / "poor.csv", lines)
    rich = written(
        tmp_path / "rich.csv", [f"{line},buy,@F" for line in lines], "ts,symbol,price,size,side,conditions"
    )
    up.run("ingest", poor, "--venue", venue)
    assert counts(up.run("ingest", rich, "--venue", venue))["corrected"] == 30
    assert counts(up.run("ingest", poor, "--venue", venue))["duplicate"] == 30
    rows = up.query("trades", "A", venue, *SPAN)
    assert rows["side"].to_list() == [1] * 30
    assert rows["conditions"].to_list() == ["@F"] * 30


def test_a_correction_taken_back_at_once_is_taken_back(up: Up, tmp_path: Path, venue: str) -> None:
    header = "ts,symbol,price,size,id"
    first = written(tmp_path / "a.csv", ["2024-01-02T00:00:00Z,A,1,1,7"], header)
    second = written(tmp_path / "b.csv", ["2024-01-02T00:00:00Z,A,2,1,7"], header)
    up.run("ingest", first, "--venue", venue)
    assert counts(up.run("ingest", second, "--venue", venue))["corrected"] == 1
    assert counts(up.run("ingest", first, "--venue", venue))["corrected"] == 1
    assert up.query("trades", "A", venue, *SPAN)["price"].to_list() == [1.0]


def test_rows_that_share_an_id_and_ids_at_other_times(up: Up, tmp_path: Path, venue: str) -> None:
    header = "ts,other,symbol,price,size,id"
    rows = [
        "2024-01-02T00:00:00.1Z,2024-01-02T00:00:00.12Z,A,10,1,7",
        "2024-01-02T00:00:00.1Z,2024-01-02T00:00:00.12Z,A,11,2,7",
        "2024-01-02T00:00:00.1Z,2024-01-02T00:00:00.12Z,A,10,1,7",
        "2024-01-02T00:00:00.2Z,2024-01-02T00:00:00.22Z,A,12,1,8",
    ]
    file = written(tmp_path / "ids.csv", rows, header)
    said = counts(up.run("ingest", file, "--venue", venue))
    assert said == {"rows": 4, "accepted": 2, "duplicate": 1, "quarantined": 1}
    assert "expected an id that no other row of its time has, was 7" in up.run("quarantine", "list")
    said = counts(up.run("ingest", file, "--venue", venue, "--map", "ts=other"))
    assert (said["accepted"], said["duplicate"]) == (0, 3)
    assert up.query("trades", "A", venue, *SPAN)["price"].to_list() == [10.0, 12.0]


def test_ids_that_do_not_rise_with_the_times_are_refused_until_the_user_decides(
    up: Up, tmp_path: Path, venue: str
) -> None:
    trades = ((1, 1, 900), (30, 2, 5), (50, 3, 901), (59, 4, 6))
    lines = [f"{_TIME.format(second, 0)},A,{price},1,{number}" for second, price, number in trades]
    file = written(tmp_path / "tape.csv", lines, "ts,symbol,price,size,id")
    refused = up.run("ingest", file, "--venue", venue, status=2)
    assert "--number-by time" in refused
    assert "--number-by id" in refused
    up.run("ingest", file, "--venue", venue, "--number-by", "time")
    bar = up.query("bars", "A", venue, *SPAN, interval="1m")
    assert bar.select("open", "close").rows() == [(1.0, 4.0)]
    assert up.query("trades", "A", venue, *SPAN)["trade_id"].to_list() == ["900", "5", "901", "6"]


def test_ids_that_are_no_numbers_are_kept_and_tell_equal_trades_apart(
    up: Up, tmp_path: Path, venue: str
) -> None:
    ids = ["0a1b2c3d-0000", "ffffffff-0001", ""]
    rows = [f"2024-01-02T00:00:00Z,A,1,1,{name}" for name in ids]
    file = written(tmp_path / "uuids.csv", rows, "ts,symbol,price,size,id")
    assert counts(up.run("ingest", file, "--venue", venue, status=1))["quarantined"] == 3
    assert "--number-by time keeps the ids as trade_id" in up.run("quarantine", "list")
    # Stored without their ids first, completed by them, and met again in another order.
    without = counts(up.run("ingest", file, "--venue", venue, "--map", "id=-"))
    assert without["accepted"] == 3
    completed = counts(up.run("ingest", file, "--venue", venue, "--number-by", "time"))
    assert (completed["corrected"], completed["duplicate"]) == (2, 1)
    turned = written(tmp_path / "turned.csv", rows[::-1], "ts,symbol,price,size,id")
    assert counts(up.run("ingest", turned, "--venue", venue, "--number-by", "time"))["duplicate"] == 3
    stored = up.query("trades", "A", venue, *SPAN)["trade_id"].to_list()
    assert sorted(stored, key=str) == ["0a1b2c3d-0000", None, "ffffffff-0001"]


def test_a_file_of_bad_rows_alone_or_none_is_a_failure_and_the_others_go_on(
    up: Up, tmp_path: Path, venue: str
) -> None:
    bad = written(tmp_path / "bad.csv", ["2024-01-02T00:00:00Z,A,x,1"])
    (tmp_path / "empty.csv").touch()
    good = written(
        tmp_path / "good.csv", ["2024-01-02T00:00:00Z,A,1,1", f"2024-01-02T00:00:00Z,{'L' * 4_200},1,1"]
    )
    said = up.run("ingest", bad, str(tmp_path / "empty.csv"), good, "--venue", venue, status=1)
    assert "expected records, was empty" in said
    assert up.query("trades", "A", venue, *SPAN).height == 1
    assert "a name of at most 256 characters" in up.run("quarantine", "list")


def test_a_dry_run_shows_rows_and_bars_and_stores_nothing(up: Up, tmp_path: Path, venue: str) -> None:
    said = up.run("ingest", written(tmp_path / "f.csv", tape(3)), "--venue", venue, "--dry-run")
    assert "2024-01-02 10:00:00" in said
    assert "1m bars" in said
    assert "nothing was stored" in said
    assert up.query("trades", "A", venue, *SPAN).is_empty()


def test_repeats_far_apart_in_one_file_are_counted_as_they_are_stored(
    up: Up, tmp_path: Path, venue: str
) -> None:
    """Further apart than what is read at once."""
    rows = 60_000
    lines = [
        f"2024-01-02T00:00:{number // 1000:02}.{number % 1000:03}Z,A,1,1,{number}" for number in range(rows)
    ]
    again = [*lines[:99], lines[99].replace(",1,1,", ",2,1,")]
    file = written(tmp_path / "twice.csv", [*lines, *again], "ts,symbol,price,size,id")
    said = counts(up.run("ingest", file, "--venue", venue))
    assert said == {"rows": rows + 100, "accepted": rows, "duplicate": 99, "quarantined": 1}
    assert "which an earlier row with other values has" in up.run("quarantine", "list")
    stored = up.query("trades", "A", venue, *SPAN)
    assert stored.height == rows
    assert stored["price"].max() == 1
