import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.files import lines as line_reader
from ingest.files.options import ReadOptions
from ingest.files.reader import open_tick_file
from tapehouse.errors import SourceError, TapehouseError, UsageError
from tapehouse.model import ACCOUNT_TRADES, DEPTH, NULL_LONG, QUOTES, TRADES

from .conftest import Reading, outcome_of

MS = 1_723_161_256_172
NAME = "ticks.jsonl"


def lines(*records: Any) -> bytes:
    return b"".join(
        (record if isinstance(record, bytes) else json.dumps(record).encode()) + b"\n" for record in records
    )


def trade(price: Any = 1.5, **more: Any) -> dict[str, Any]:
    return {"ts": MS, "price": price, "size": 1} | more


def test_numbers_and_numbers_in_text_are_the_same(read: Reading) -> None:
    for content in (
        lines(trade(1.5, id=7), trade(2, id=8)),
        lines(trade("1.5", id="7"), trade("2", id="8")),
        lines(trade("1.5", id=7), trade(2, id="8")),
        b"\xef\xbb\xbf" + lines(trade("1.5", id=7), trade(2, id=8)).replace(b"\n", b"\r\n"),
        b"\n\n" + lines(trade("1.5", id=7), b"  ", trade(2, id=8)).removesuffix(b"\n"),
    ):
        outcome = read(content, name=NAME)
        assert outcome.column("price") == [1.5, 2.0]
        assert outcome.column("seq") == [7, 8]
        assert outcome.column("ts_event") == [MS * 10**6] * 2
        assert not outcome.reasons


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"ts": 1723', "line: expected a JSON object, was no JSON:"),
        (b"[1, 2]", "line: expected a JSON object, was [1, 2]"),
        (b'"ts"', 'line: expected a JSON object, was "ts"'),
        (b"\xff\xfe", "line: expected a JSON object, was no JSON:"),
        (lines(trade())[:-1] + b"\0", "line: expected a JSON object, was no JSON:"),
        (lines(trade())[:-1] * 2, "line: expected a JSON object, was no JSON:"),
        (b'{"ts": %d, "price": NaN, "size": 1}' % MS, "line: expected a JSON object, was no JSON:"),
        (b'{"ts": %d, "price": 1e400, "size": 1}' % MS, "line: expected a JSON object, was no JSON:"),
        (lines({"price": 1, "size": 1}), "ts_event: expected a time, was nothing"),
        (lines(trade(None, id=7)), "price: expected a number, was nothing"),
        (lines(trade(True, id=7)), "price: expected a number, was 'true'"),
        (lines(trade([1], id=7)), "price: expected a number, was '[1]'"),
        (lines(trade({"a": 1}, id=7)), "price: expected a number, was '{\"a\": 1}'"),
        (lines(trade(ts=True)), "ts_event: expected a time, was 'true'"),
        (lines(trade(id=1.5)), "seq: expected a whole number, was '1.5'"),
        (lines(trade(id=2**63)), "seq: expected a whole number, was '9223372036854775808'"),
        (lines(trade(id=2**63 - 1)), "seq: expected 0 to 9.22337e+18, was 9223372036854775807"),
        (lines(trade(id=None)), "seq: expected a whole number, was nothing"),
        (lines(trade(id=7, side="up")), "side: expected buy, sell, B, A, N, 1, -1 or 0, was 'up'"),
        (lines(trade(id=7, side=2)), "side: expected buy, sell, B, A, N, 1, -1 or 0, was '2'"),
        (lines(trade(id=7, conditions=["a"])), "conditions: expected a name, was '[\"a\"]'"),
        (lines(trade(id=7, conditions="a\0b")), "conditions: expected a name, was 'a\\x00b'"),
    ],
)
def test_a_bad_line_is_rejected_as_it_is_and_its_neighbours_stay(
    read: Reading, line: bytes, reason: str
) -> None:
    line = line.removesuffix(b"\n")
    good = trade(1.5, id=2**63 - 2, side="SELL", conditions="@")
    outcome = read(lines(good, line, good), name=NAME)
    assert outcome.column("seq") == [2**63 - 2] * 2
    assert outcome.column("side") == [-1] * 2
    assert outcome.reasons[2].startswith(reason)
    assert outcome.originals == {2: line}


def test_fractions_of_seconds_are_exact_to_the_ns(read: Reading) -> None:
    outcome = read(b'{"ts": 1723161256.172216566, "price": 1, "size": 1}\n', name=NAME)
    assert outcome.column("ts_event") == [1_723_161_256_172_216_566]


def test_members_that_are_absent_take_the_models_defaults(read: Reading) -> None:
    outcome = read(
        lines(trade(side="buy", flags=1, exchange="P"), trade(), trade(side="", flags=None)),
        name=NAME,
        mapping={"flags": "flags"},
    )
    assert outcome.column("side") == [1, 0, 0]
    assert outcome.column("flags") == [1, 0, 0]
    assert outcome.column("exchange") == ["P", None, None]
    assert outcome.column("conditions") == [None] * 3
    assert outcome.column("ts_recv") == outcome.column("ts_event")
    assert not outcome.has_seq


def test_truth_becomes_the_flag_that_a_row_was_cancelled(read: Reading) -> None:
    outcome = read(
        lines(trade(cancelled=True), trade(cancelled=False)), name=NAME, mapping={"flags": "cancelled"}
    )
    assert outcome.column("flags") == [1, 0]


def test_an_empty_side_of_the_book_is_null(read: Reading) -> None:
    quote = {"ts": MS, "bid": 1.5, "bid_size": 1, "ask": None, "ask_size": None}
    outcome = read(lines(quote, quote | {"ask": "", "ask_size": "x"}), QUOTES, NAME)
    assert outcome.column("bid") == [1.5]
    assert all(value != value for name in ("ask", "ask_size") for value in outcome.column(name))
    assert outcome.reasons == {2: "ask_size: expected a number, was 'x'"}


def test_depth_comes_as_lists(read: Reading) -> None:
    update = {
        "ts": MS,
        "update_id": 9,
        "snapshot": True,
        "bid_prices": [1.5, 1],
        "bid_sizes": ["2", "3.5"],
        "ask_prices": [],
        "ask_sizes": [],
    }
    outcome = read(
        lines(
            update,
            update | {"bid_sizes": ["2", "x"]},
            update | {"ask_prices": 5},
            update | {"ask_prices": [[1, 2]]},
            update | {"snapshot": "maybe"},
            update | {"snapshot": None, "seq_first": 8},
        ),
        DEPTH,
        NAME,
    )
    assert outcome.column("bid_prices") == [[1.5, 1.0]] * 2
    assert outcome.column("bid_sizes") == [[2.0, 3.5]] * 2
    assert outcome.column("ask_prices") == [[]] * 2
    assert outcome.column("snapshot") == [True, False]
    assert outcome.column("seq_first") == [NULL_LONG, 8]
    assert outcome.column("seq") == [9, 9]
    assert outcome.reasons == {
        2: "bid_sizes: expected a list of numbers, was ['2', 'x']",
        3: "ask_prices: expected a list of numbers, was nothing",
        4: "ask_prices: expected a list of numbers, was ['\\x00[1, 2]']",
        5: "snapshot: expected true or false, was 'maybe'",
    }


def test_account_trades_are_exact_decimals(read: Reading) -> None:
    record = (
        b'{"ID": 9007199254740993, "Totaldone": 0.1, "Trx Amount": "12345678901234567890.123456789012345678",'
        b' "Amount": -5, "Transtype": 3, "Accountid": 77, "Transtime": "2024-08-09T00:00:00.000000001Z"}\n'
    )
    outcome = read(
        record + record.replace(b"0.1,", b"0.1234567890123456789,"), ACCOUNT_TRADES, NAME, symbol=None
    )
    (row,) = outcome.rows
    assert (row["id"], row["account_id"], row["trans_type"]) == (9007199254740993, 77, 3)
    assert row["ts_event"] == 1_723_161_600_000_000_001

    def scaled(name: str) -> int:
        return int.from_bytes(row[name], "little", signed=True)

    assert scaled("total_done") == 10**17
    assert scaled("trx_amount") == 12345678901234567890123456789012345678
    assert scaled("amount") == -5 * 10**18
    assert outcome.reasons[2].startswith(
        "total_done: expected a number of at most 20 digits before and 18 after the point"
    )


def test_a_symbol_a_row(read: Reading) -> None:
    content = lines(
        trade(symbol="SPY"), trade(symbol=" BAC "), trade(symbol=""), trade(symbol=600519), trade()
    )
    outcome = read(content, name=NAME, symbol=None)
    assert outcome.column("symbol") == ["SPY", "BAC", "600519"]
    assert outcome.reasons == dict.fromkeys((3, 5), "symbol: expected a name, was nothing")
    assert read(content, name=NAME, symbol="X").column("symbol") == ["X"] * 5


def test_objects_without_the_columns_are_told_so(read: Reading) -> None:
    with pytest.raises(UsageError, match="the columns are: e, s"):
        read(lines({"e": "trade", "s": "SPY"}), name=NAME)
    with pytest.raises(SourceError, match="was none"):
        read(b"{no json at all", name=NAME)


def test_a_line_beyond_the_limit_is_rejected_and_reading_goes_on(
    read: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "BLOCK_BYTES", 256)
    good = lines(trade())
    # Its beginning alone would be a good row.
    outcome = read(good + good[:-1] + b" " * 1000 + b"}\n" + good, name=NAME)
    assert len(outcome.rows) == 2
    assert list(outcome.reasons) == [2]


value = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(MS),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["1.5", "buy", "\0", "nan", f"{MS}", "2024-08-09T00:00:00Z"]),
    st.lists(st.integers(), max_size=3),
)
record = st.dictionaries(st.sampled_from(["ts", "price", "size", "side", "id", "flags", "x"]), value)
line = st.one_of(
    st.just(lines(trade())),
    record.map(lines),
    record.map(lambda found: lines(found)[:-3]),
    st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(line, max_size=12), st.sampled_from([100, 200, 4 << 20]), st.booleans())
def test_every_line_is_a_row_or_rejected_or_blank_wherever_blocks_are_cut(
    tmp_path: Path, found: list[bytes], block: int, packed: bool
) -> None:
    every = [one.strip(b"\n") for one in [lines(trade(2.5, side=1, id=1, flags=0)), *found]]
    content = b"\n".join(every)
    path = tmp_path / "fuzz.jsonl"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_reader, "BLOCK_BYTES", block)
        patch.setattr(line_reader, "BLOCK_LINES", 3)
        with open_tick_file(path, TRADES, "utp", "SPY", ReadOptions(time_unit="ms")) as source:
            chunks = list(source.chunks())
            rows, reasons, originals = outcome_of(chunks)
            assert (
                len(rows) + len(reasons) == chunks[-1].rows_read == len([one for one in every if one.strip()])
            )
            for place, original in originals.items():
                assert every[place - 1].startswith(original)
            for cut, chunk in enumerate(chunks, 1):
                rest = list(source.chunks(chunk.position))
                assert [one.position for one in rest] == [one.position for one in chunks[cut:]]
                assert outcome_of(rest) == outcome_of(chunks[cut:])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(line, min_size=1, max_size=5))
def test_any_objects_end_in_rows_or_one_of_our_errors(tmp_path: Path, found: list[bytes]) -> None:
    path = tmp_path / "fuzz.jsonl"
    path.write_bytes(b"{" + b"\n".join(found))
    with suppress(TapehouseError), open_tick_file(path, TRADES, "utp", "SPY") as source:
        list(source.chunks())


@pytest.mark.parametrize("ts", ['"2024-01-01T00:00:00Z"', "1704067200000", '"1704067200000"'])
def test_the_times_alone_are_those_of_the_rows(tmp_path: Path, ts: str) -> None:
    (tmp_path / NAME).write_text(f'{{"ts": {ts}, "price": 1.5, "size": 2}}\n' * 3)
    with open_tick_file(tmp_path / NAME, TRADES, "v", "S") as source:
        assert [list(keys.ts) for keys in source.row_keys()] == [[1_704_067_200 * 10**9] * 3]
