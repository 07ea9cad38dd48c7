import gzip
import json
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.files import parquet
from ingest.files.reader import open_tick_file
from tapehouse.errors import SourceError, TapehouseError, UsageError
from tapehouse.model import ACCOUNT_TRADES, DEPTH, QUOTES, TRADES

from .conftest import Reading, outcome_of

NS = 1_723_161_256_172_216_566
NAN = float("nan")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ticks.parquet"


def write(path: Path, columns: dict[str, Any], **how: Any) -> Path:
    pq.write_table(pa.table(columns), path, **how)
    return path


def trades(rows: int = 1, **columns: Any) -> dict[str, Any]:
    times = pa.array([NS + row for row in range(rows)], pa.timestamp("ns", "UTC"))
    return {"ts": times, "price": [1.5] * rows, "size": [1] * rows} | columns


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "+05:30"])
def test_timestamps_of_any_unit_and_zone_are_instants(
    read: Reading, path: Path, unit: str, zone: str
) -> None:
    ns = NS // 10**9 * 10**9
    times = pa.array([ns], pa.timestamp("ns")).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone))
    outcome = read(write(path, trades(ts=times)))
    assert outcome.column("ts_event") == [ns]
    assert not any("zone" in note for note in outcome.notes)


def test_timestamps_without_a_zone_are_utc_and_said(read: Reading, path: Path) -> None:
    outcome = read(write(path, trades(ts=pa.array([NS], pa.timestamp("ns")))))
    assert outcome.column("ts_event") == [NS]
    assert "ts_event: column ts has no zone, taken as UTC" in outcome.notes


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_timestamps_out_of_all_bounds_are_no_times(read: Reading, path: Path, unit: str) -> None:
    times = pa.array([2**63 - 1, -(2**63) + 1, None], pa.timestamp(unit, "UTC"))
    outcome = read(write(path, trades(3, ts=times)))
    assert not outcome.rows
    assert outcome.reasons[3] == "ts_event: expected a time, was nothing"
    assert all(reason.startswith("ts_event: expected a time") for reason in outcome.reasons.values())


@pytest.mark.parametrize(
    "prices",
    [
        pa.array([1.5], pa.float64()),
        pa.array([1.5], pa.float32()),
        pa.array([1.5], pa.float16()),
        pa.array([Decimal("1.5")], pa.decimal128(10, 2)),
        pa.array([Decimal("1.5")], pa.decimal256(50, 2)),
        pa.array(["1.5"]),
        pa.array(["1.5"], pa.large_string()),
        pa.array([b"1.5"], pa.binary()),
        pa.array(["1.5"]).dictionary_encode(),
        pa.array([1.5]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_numbers_of_any_type_are_prices(read: Reading, path: Path, prices: pa.Array) -> None:
    assert read(write(path, trades(price=prices))).column("price") == [1.5]


@pytest.mark.parametrize(
    ("prices", "shown"),
    [
        (pa.array([None], pa.float64()), "nothing"),
        (pa.array([NAN]), "nan"),
        (pa.array([float("inf")]), "inf"),
        (pa.array([True]), "True"),
        (pa.array([NS], pa.timestamp("ns")), "'2024-08-08T23:54:16.172216566'"),
        (pa.array([b"\xff"], pa.binary()), r"'\\xff'"),
        (pa.array([[1.5]]), "'[1.5]'"),
        (pa.array([{"a": 1}]), "\"{'a': 1}\""),
        (pa.array([None]), "nothing"),
        (pa.array([1], pa.duration("s")), "'0:00:01'"),
        (pa.array([1], pa.time32("s")), "'00:00:01'"),
    ],
    ids=lambda found: str(found.type) if isinstance(found, pa.Array) else "",
)
def test_a_column_of_anything_else_is_rejected_row_by_row(
    read: Reading, path: Path, prices: pa.Array, shown: str
) -> None:
    outcome = read(write(path, trades(price=prices)))
    assert outcome.reasons == {1: f"price: expected a number, was {shown}"}


def test_a_rejected_row_is_kept_as_json_with_the_columns_read(read: Reading, path: Path) -> None:
    columns = trades(3, price=[1.5, None, 2.5], symbol=["SPY"] * 3, unknown_reason=[1, 2, 3])
    outcome = read(write(path, columns), symbol=None)
    assert outcome.column("price") == [1.5, 2.5]
    assert outcome.reasons == {2: "price: expected a number, was nothing"}
    assert json.loads(outcome.originals[2]) == {
        "ts": "2024-08-08T23:54:16.172216567Z",
        "symbol": "SPY",
        "price": None,
        "size": 1,
    }


def test_whole_numbers_are_exact_and_floats_only_where_they_can_be(read: Reading, path: Path) -> None:
    large = 2**63 - 2
    assert read(write(path, trades(id=pa.array([large])))).column("seq") == [large]
    assert read(write(path, trades(id=pa.array([str(large)])))).column("seq") == [large]
    assert read(write(path, trades(id=pa.array([Decimal(large)], pa.decimal128(38, 2))))).column("seq") == [
        large
    ]
    assert read(write(path, trades(id=pa.array([5.0])))).column("seq") == [5]
    for wrong in (pa.array([2.0**53]), pa.array([5.5]), pa.array([NAN]), pa.array([2**63], pa.uint64())):
        assert read(write(path, trades(id=wrong))).reasons[1].startswith("seq: expected a whole number")


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        (["buy", "SELL", "Unknown", None], [1, -1, 0, 0]),
        (["B", "s", "bid", "ask"], [1, -1, 1, -1]),
        ([1, -1, 0, None], [1, -1, 0, 0]),
        ([1.0, -1.0, 0.0, None], [1, -1, 0, 0]),
        (pa.array(["buy", "sell", "", "sell"]).dictionary_encode(), [1, -1, 0, -1]),
    ],
)
def test_sides_in_any_writing(read: Reading, path: Path, sides: Any, expected: list[int]) -> None:
    assert read(write(path, trades(4, side=sides))).column("side") == expected


@pytest.mark.parametrize("dictionary", [True, False])
def test_names_keep_their_nulls(read: Reading, path: Path, dictionary: bool) -> None:
    names = pa.array([None, "a", "b", None, "a", "", "c\0"])
    columns = trades(7, conditions=names.dictionary_encode() if dictionary else names, exchange=[None] * 7)
    outcome = read(write(path, columns, use_dictionary=dictionary))
    assert outcome.column("conditions") == [None, "a", "b", None, "a", None]
    assert outcome.column("exchange") == [None] * 6
    assert outcome.reasons == {7: r"conditions: expected a name, was 'c\x00'"}


def test_names_that_are_bytes_or_no_text(read: Reading, path: Path) -> None:
    outcome = read(write(path, trades(3, conditions=pa.array([b"a", b"\xff", None], pa.binary()))))
    assert outcome.column("conditions") == ["a", None]
    assert outcome.reasons == {2: r"conditions: expected a name, was '\\xff'"}


def test_an_absent_number_of_a_quote_is_null_whether_nan_or_null(read: Reading, path: Path) -> None:
    times = trades(3)["ts"]
    outcome = read(write(path, {"ts": times, "bid": [1.5, None, NAN], "ask": [NAN, 2.5, None]}), QUOTES)
    assert [value == value for value in outcome.column("bid")] == [True, False, False]
    assert [value == value for value in outcome.column("ask")] == [False, True, False]
    assert not outcome.reasons


def test_depth_comes_as_lists(read: Reading, path: Path) -> None:
    lists = pa.array([[1.5, 1.0], [], None, [None]], pa.list_(pa.float64()))
    full = pa.array([[1.0], [], [2.0, 3.0], []], pa.large_list(pa.float32()))
    columns = {"ts": trades(4)["ts"], "bid_prices": lists, "bid_sizes": lists}
    outcome = read(write(path, columns | {"ask_prices": full, "ask_sizes": full}), DEPTH)
    assert outcome.column("bid_prices") == [[1.5, 1.0], []]
    assert outcome.column("ask_sizes") == [[1.0], []]
    assert outcome.reasons == {
        3: "bid_prices: expected a list of numbers, was nothing",
        4: "bid_prices: expected a list of numbers, was [None]",
    }
    outcome = read(write(path, columns | {"ask_prices": [1.0] * 4, "ask_sizes": full}), DEPTH)
    assert len(outcome.reasons) == 4


def test_csv_holds_no_depth(read: Reading) -> None:
    with pytest.raises(UsageError, match="holds no lists"):
        read("ts,bid_prices\n1,2\n", DEPTH)


def test_account_trades_keep_their_decimals(read: Reading, path: Path) -> None:
    amounts = pa.array([Decimal("0.100000000000000001")], pa.decimal128(38, 18))
    columns = {"ID": [7], "Accountid": [8], "Transtype": [1], "Transtime": trades()["ts"]}
    outcome = read(
        write(path, columns | {"Totaldone": amounts, "Trx Amount": ["-1"], "Amount": [2]}),
        ACCOUNT_TRADES,
        symbol=None,
    )
    (row,) = outcome.rows
    assert int.from_bytes(row["total_done"], "little", signed=True) == 100_000_000_000_000_001
    assert int.from_bytes(row["trx_amount"], "little", signed=True) == -(10**18)
    assert outcome.has_seq


def test_text_and_numbers_that_are_times_follow_the_same_rules_as_csv(read: Reading, path: Path) -> None:
    assert read(write(path, trades(ts=["2024-08-09T00:00:00Z"]))).column("ts_event") == [
        1_723_161_600 * 10**9
    ]
    assert read(write(path, trades(ts=[NS // 10**6]))).column("ts_event") == [NS // 10**6 * 10**6]
    seconds = pa.array([Decimal("1723161256.172216566")], pa.decimal128(19, 9))
    assert read(write(path, trades(ts=seconds))).column("ts_event") == [NS]
    with pytest.raises(UsageError, match="zone"):
        read(write(path, trades(ts=["2024-08-09T00:00:00"])))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 60), st.integers(1, 30), st.integers(1, 15), st.booleans(), st.data())
def test_pieces_go_on_from_any_place_whatever_the_row_groups(
    path: Path, rows: int, group: int, most: int, packed: bool, data: st.DataObject
) -> None:
    names = [None if row % 7 == 0 else f"S{row % 11}" for row in range(rows)]
    columns = trades(rows, id=pa.array(range(rows), pa.int64()), conditions=pa.array(names, pa.string()))
    write(path, columns, row_group_size=group)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_ROWS", most)
        with open_tick_file(path, TRADES, "utp", "SPY") as source:
            chunks = list(source.chunks())
            found, reasons, _ = outcome_of(chunks)
            assert [one["seq"] for one in found] == list(range(rows))
            assert [one["conditions"] for one in found] == names
            assert not reasons
            assert all(batch.rows <= most for chunk in chunks for batch in chunk.batches)
            if chunks:
                cut = data.draw(st.integers(1, len(chunks)))
                rest = list(source.chunks(chunks[cut - 1].position))
                assert [one.position for one in rest] == [one.position for one in chunks[cut:]]
                assert outcome_of(rest) == outcome_of(chunks[cut:])


def test_a_damaged_footer_is_told_so(path: Path) -> None:
    whole = write(path, trades()).read_bytes()
    for damaged in (whole[:-10], whole[:20], b"PAR1", b"PAR1PAR1"):
        for content in (damaged, gzip.compress(damaged)):
            path.write_bytes(content)
            with pytest.raises(SourceError, match="not readable as Parquet"):
                open_tick_file(path, TRADES, "utp", "SPY")


def test_a_cut_gzip_of_parquet_is_told_so(path: Path) -> None:
    write(path, trades())
    path.write_bytes(gzip.compress(path.read_bytes())[:-200])
    with pytest.raises(SourceError, match="is cut"):
        open_tick_file(path, TRADES, "utp", "SPY")


def test_a_damaged_row_group_comes_behind_the_good_ones(path: Path) -> None:
    rows = 100_000
    write(path, trades(rows, id=range(rows)), row_group_size=60_000, use_dictionary=False)
    where = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
    content = bytearray(path.read_bytes())
    content[where : where + 64] = b"\xff" * 64
    path.write_bytes(content)
    with open_tick_file(path, TRADES, "utp", "SPY") as source:
        chunks = source.chunks()
        assert [next(chunks).rows_read, next(chunks).rows_read] == [50_000, 60_000]
        with pytest.raises(SourceError, match="damaged after row 60000"):
            next(chunks)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_end_in_rows_or_one_of_our_errors(path: Path, changes: list[tuple[float, int]]) -> None:
    write(path, trades(50, conditions=[f"c{row}" for row in range(50)]))
    content = bytearray(path.read_bytes())
    for place, byte in changes:
        content[int(place * (len(content) - 1))] = byte
    path.write_bytes(content)
    with suppress(TapehouseError), open_tick_file(path, TRADES, "utp", "SPY") as source:
        list(source.chunks())


def test_int96_times_beyond_64_bits_of_ns_are_rejected_and_others_exact(tmp_path: Path) -> None:
    path = tmp_path / "spark.parquet"
    times = [1_704_067_200_123_456_789, 1_704_067_201_000_000_001]
    table = pa.table({"ts": pa.array(times, pa.timestamp("ns")), "price": [1.0, 2.0], "size": [1.0, 1.0]})
    pq.write_table(
        table, path, use_deprecated_int96_timestamps=True, use_dictionary=False, compression="none"
    )
    with open_tick_file(path, TRADES, "v", "S") as source:
        (chunk,) = source.chunks()
    assert chunk.batches[0].array("ts_event").tolist() == times
    # The 12 bytes of the first time: ns of the day, then the Julian day, here of the year 3000.
    content = path.read_bytes()
    day = (2_440_588 + 19_723).to_bytes(4, "little")
    path.write_bytes(content.replace(day, (2_440_588 + 376_200).to_bytes(4, "little"), 1))
    with open_tick_file(path, TRADES, "v", "S") as source:
        chunks = list(source.chunks())
    assert [rejected.where for chunk in chunks for rejected in chunk.rejected] == ["spark.parquet row 1"]
    assert chunks[0].batches[0].array("ts_event").tolist() == times[1:]


def test_dates_are_midnight_in_utc(tmp_path: Path) -> None:
    path = tmp_path / "days.parquet"
    pl.DataFrame({"ts": [date(2024, 1, 2)], "price": [1.0], "size": [1.0]}).write_parquet(path)
    with open_tick_file(path, TRADES, "v", "S") as source:
        (chunk,) = source.chunks()
        assert any("dates, taken as 00:00 UTC" in note for note in source.notes)
    assert chunk.batches[0].array("ts_event").tolist() == [1_704_153_600_000_000_000]
