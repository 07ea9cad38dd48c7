"""Live bars, compared with bars that are made from all rows at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tapehouse.bars.engine import MIN_RING_SIZES, RING_SIZES, BarEngine, StaleSpan
from tapehouse.batch import Strings
from tapehouse.clock import DAY, HOUR, INTERVALS, MINUTE, NAMES, SECOND, parse_ns
from tapehouse.model import Flags
from tests.barreader import SMALL, Expected, Reader, bucket, candles, check, make, read, stored
from tests.trades import START, SYMBOLS, Trade, batches, grouped, trades

NOON = parse_ns("2024-08-08T12:00:00Z")


def row(
    ts: int, seq: int, price: float = 1.0, size: float = 1.0, *, symbol: int = 0, flags: int = 0
) -> Trade:
    """A trade with defaults."""
    return Trade(symbol, ts, seq, price, size, 0, flags)


def check_finals(bars: BarEngine, number: int, want: Expected) -> None:
    for interval in NAMES:
        limit = bucket(interval, want.final_before)
        for made, revision, final in read(bars, number, interval):
            assert revision == want.revisions[interval, made.ts]
            assert final == (made.ts < limit)


def finalize_expected(expected: list[Expected], venue: str, ts: int) -> None:
    for want, (of_venue, _) in zip(expected, SYMBOLS, strict=True):
        if of_venue == venue:
            want.finalize(ts)


@settings(max_examples=100)
@given(rows=trades(), data=st.data())
def test_bars_made_tick_by_tick_are_those_of_all_ticks(rows: list[Trade], data: st.DataObject) -> None:
    bars = make()
    reader = Reader(bars)
    expected = [Expected() for _ in SYMBOLS]
    sealed = {"A": 0, "B": 0}
    while rows:
        count = data.draw(st.integers(1, len(rows)), "batch")
        cut, rows = rows[:count], rows[count:]
        # Some come twice.
        cut = cut + data.draw(st.lists(st.sampled_from(cut), max_size=2), "again")
        for one in cut:
            expected[one.symbol].add(one, sealed[SYMBOLS[one.symbol][0]])
        reader.apply(cut)
        for done in data.draw(st.permutations(["changes", "A", "B"]).map(lambda all_: all_[:2]), "then"):
            if done == "changes":
                reader.take()
            elif done in bars.venues:
                ts = bars.clock_ns(done) - data.draw(st.sampled_from([0, 5 * SECOND, 2 * MINUTE]), "lag")
                reader.finalize(done, ts)
                sealed[done] = max(sealed[done], bucket("15s", ts))
                finalize_expected(expected, done, sealed[done])
    reader.take()
    for key, want in zip(SYMBOLS, expected, strict=True):
        if want.head < 0:
            assert key not in bars.names
            continue
        check(bars, reader, bars.symbol_id(*key), want)
        check_finals(bars, bars.symbol_id(*key), want)
    marks = {mark.symbol: (mark.start_ns, mark.end_ns) for mark in bars.take_stale_spans()}
    assert marks == {
        bars.symbol_id(*key): (min(want.stale), max(want.stale))
        for key, want in zip(SYMBOLS, expected, strict=True)
        if want.stale
    }
    assert bars.take_stale_spans() == []


@settings(max_examples=100)
@given(rows=trades(), data=st.data())
def test_restored_bars_plus_later_ticks_are_the_bars_of_all_ticks(
    rows: list[Trade], data: st.DataObject
) -> None:
    """Whatever the engine had before: rows may be missing there, or in the store."""
    bars = make()
    reader = Reader(bars)
    seen = data.draw(st.integers(0, len(rows)), "seen")
    missed = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=5), "missed")
    gone = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=5), "gone")
    reader.apply([one for at, one in enumerate(rows[:seen]) if at not in missed])
    kept = [one for at, one in enumerate(rows) if at not in gone]
    for venue in bars.venues:
        if data.draw(st.booleans(), "sealed"):
            reader.finalize(venue, bars.clock_ns(venue))
    reader.take()
    upto = data.draw(st.integers(0, rows[-1].seq), "upto")
    expected = []
    for symbol, key in enumerate(SYMBOLS):
        mine = [one for one in kept if one.symbol == symbol]
        stored_rows = [one for one in mine if one.seq <= upto]
        ts = max((one.ts for one in stored_rows if one.in_bars), default=START)
        number = bars.ensure_symbol(*key, ts)
        reader.restore(number, ts, upto, stored_rows)
        opened = int(bars.state.open[number, 0]["ts"])
        want = Expected(max([opened] + [one.ts for one in mine if one.in_bars]))
        want.rows = [one for one in mine if one.in_bars]
        expected.append(want)
    bars.take_stale_spans()
    reader.apply(kept, restored=True)
    reader.take()
    for want, key in zip(expected, SYMBOLS, strict=True):
        check(bars, reader, bars.symbol_id(*key), want)


def test_more_changes_than_fit_are_taken_in_turns_without_loss() -> None:
    bars = make()
    rows = [row(NOON + at * 20 * SECOND, at + 1, symbol=at % 4) for at in range(600)]
    # The last rows have one time.
    rows += [row(rows[-1].ts, 601 + symbol, symbol=symbol) for symbol in range(4)]
    reader = Reader(bars)
    assert reader.apply(rows) > 3
    reader.take()
    for symbol in range(4):
        want = Expected(rows[-1].ts)
        want.rows = [one for one in rows if one.symbol == symbol]
        check(bars, reader, bars.symbol_id(*SYMBOLS[symbol]), want)


def test_every_bar_is_among_the_changes_also_when_its_ring_wraps() -> None:
    bars = BarEngine(len(SYMBOLS), SMALL)
    reader = Reader(bars)
    rows = [row(NOON + at * 20 * SECOND, at + 1, symbol=at % 2) for at in range(400)]
    assert reader.apply(rows) > 3
    reader.take()
    for symbol in range(2):
        for interval in NAMES:
            published = [made for made, _, _ in reader.of(symbol, interval)]
            assert published == grouped([one for one in rows if one.symbol == symbol], interval)


def test_changed_bars_that_finalize_would_overwrite_are_taken_first() -> None:
    bars = BarEngine(1, SMALL)
    reader = Reader(bars)
    rows = [row(NOON + at * 15 * SECOND, at + 1) for at in range(7)]
    reader.apply(rows[:1])
    # The place of the first bar is that of the last one to close.
    assert reader.apply(rows[1:]) == 0
    assert reader.finalize("A", rows[-1].ts + MINUTE) == 1
    reader.take()
    assert [made for made, _, _ in reader.of(0, "15s")] == grouped(rows, "15s")


def test_finalizing_more_bars_than_changes_fit_terminates() -> None:
    """Also the first time: bars that were published open are published final."""
    bars = make({**SMALL, "15s": 100})
    reader = Reader(bars)
    reader.apply([row(NOON + at * 15 * SECOND, at + 1, symbol=at % 2) for at in range(180)])
    reader.take()
    assert reader.finalize("A", NOON + HOUR) > 1
    reader.take()
    for symbol in range(2):
        found = read(bars, symbol, "15s")
        assert len(found) > 15
        assert all(final for _, _, final in found)
        assert reader.of(symbol, "15s")[-len(found) :] == found


def test_bars_are_final_once_finalized_and_a_late_tick_raises_their_revision() -> None:
    bars = make()
    reader = Reader(bars)
    reader.apply([row(NOON, 1), row(NOON + 40 * SECOND, 2)])
    assert bars.finalize("A", NOON + MINUTE)
    reader.take()
    assert [(made.trades, revision, final) for made, revision, final in reader.of(0, "1m")] == [(2, 0, True)]
    assert [final for _, _, final in reader.of(0, "3m")] == [False]
    reader.apply([row(NOON + SECOND, 3, 9.0), row(NOON + 16 * SECOND, 4)])
    reader.take()
    assert [(made.trades, revision, final) for made, revision, final in reader.of(0, "15s")] == [
        (2, 1, True),
        (1, 0, True),  # it is published for the first time
        (1, 0, True),
    ]
    assert [(made.trades, revision, made.close) for made, revision, _ in reader.of(0, "1m")] == [(4, 2, 1.0)]
    assert [(made.trades, revision, final) for made, revision, final in reader.of(0, "3m")] == [(4, 0, False)]
    assert bars.finalize("A", NOON + MINUTE)
    assert not bars.has_changes


def test_a_seq_not_above_the_last_makes_a_stale_span_and_is_not_added() -> None:
    bars = make()
    bars.apply(
        batches([row(NOON, 5), row(NOON + SECOND, 5), row(NOON - HOUR, 4), row(NOON + 2 * SECOND, 6)])[0]
    )
    assert [made.trades for made in candles(bars, 0, "1m")] == [2]
    assert bars.take_stale_spans() == [StaleSpan(0, NOON - HOUR, NOON + SECOND)]
    assert bars.take_stale_spans() == []


def test_a_bucket_older_than_the_ring_makes_a_stale_span_and_longer_ones_get_the_tick() -> None:
    bars = make()
    late = NOON - 10 * MINUTE
    bars.apply(batches([row(NOON, 1), row(late, 2)])[0])
    assert bars.take_stale_spans() == [StaleSpan(0, late, late)]
    assert [made.trades for made in candles(bars, 0, "1m")] == [1]
    assert [made.trades for made in candles(bars, 0, "5m")] == [1, 1]
    assert [made.trades for made in candles(bars, 0, "1d")] == [2]


def test_rows_not_in_bars_move_the_last_seq_alone() -> None:
    bars = make()
    rows = [
        row(NOON, 1),
        row(NOON + HOUR, 2, 7.0, flags=Flags.NOT_IN_BARS),
        row(NOON, 3, flags=Flags.CANCELLED),
    ]
    bars.apply(batches(rows)[0])
    assert [made.trades for made in candles(bars, 0, "1h")] == [1]
    assert bars.state.latest[0].tolist() == (3, NOON, NOON + 1, 1.0, 1.0)
    bars.apply(batches([row(NOON, 2)])[0])
    assert bars.take_stale_spans() == [StaleSpan(0, NOON, NOON)]


def test_trades_of_symbols_above_the_limit_are_only_counted() -> None:
    bars = make(max_symbols=1, touched=60)
    reader = Reader(bars)
    mine = [row(NOON + at * MINUTE, at + 1, symbol=0) for at in range(50)]
    dropped = [row(NOON + 400 * DAY + at, 1_000 + at, symbol=1) for at in range(3)]
    # Batches applied in several calls must not count twice.
    assert reader.apply([mine[0], *dropped, *mine[1:], *dropped]) > 0
    reader.apply([row(NOON, 1, symbol=2)])
    assert bars.dropped_trades == 7
    assert bars.names == [("A", "X")]
    assert bars.venues == ["A"]
    assert bars.clock_ns("A") == mine[-1].ts
    assert bars.ensure_symbol("A", "Y", NOON) == -1
    assert not bars.take_stale_spans()
    assert candles(bars, 0, "1M") == grouped(mine, "1M")


def test_rows_in_restored_bars_are_skipped_and_unknown_ones_make_a_stale_span() -> None:
    bars = make()
    reader = Reader(bars)
    rows = [row(NOON + at * SECOND, at + 1) for at in range(100)]
    reader.restore(bars.ensure_symbol("A", "X", NOON), rows[49].ts, 50, rows[:50])
    reader.apply(rows, restored=True)
    assert not bars.take_stale_spans()
    assert candles(bars, 0, "1m") == grouped(rows, "1m")
    # Above the restored seq a row may be a trade never seen, and so may any row of a later batch.
    reader.apply([rows[60]], restored=True)
    assert bars.take_stale_spans() == [StaleSpan(0, rows[60].ts, rows[60].ts)]
    reader.apply([rows[10]])
    assert bars.take_stale_spans() == [StaleSpan(0, rows[10].ts, rows[10].ts)]


def test_restoring_revises_final_bars_that_differ_and_empties_those_the_store_lacks() -> None:
    bars = make()
    reader = Reader(bars)
    rows = [row(NOON, 1), row(NOON + 15 * SECOND, 2), row(NOON + 30 * SECOND, 3), row(NOON + 45 * SECOND, 4)]
    reader.apply(rows)
    reader.finalize("A", NOON + 45 * SECOND)
    reader.take()
    missed = row(NOON + 31 * SECOND, 5, 3.0)
    for _ in range(2):  # the second time nothing differs
        reader.restore(0, NOON + 45 * SECOND, 5, [rows[0], rows[2], missed])
    reader.take()
    assert {key[2] - NOON: published for key, published in reader.emptied.items() if key[1] == "15s"} == {
        15 * SECOND: (1, True),
        45 * SECOND: (0, False),
    }
    assert [
        (made.ts - NOON, made.trades, revision, final) for made, revision, final in read(bars, 0, "15s")
    ] == [
        (0, 1, 0, True),
        (30 * SECOND, 2, 1, True),
    ]
    reader.apply([row(NOON + 16 * SECOND, 6)])
    reader.take()
    # Its revision goes on from that of its emptying.
    assert [(made.ts - NOON, revision) for made, revision, _ in read(bars, 0, "15s")] == [
        (0, 0),
        (15 * SECOND, 2),
        (30 * SECOND, 1),
    ]


def test_the_smallest_rings_are_enough_to_rebuild_every_open_bar() -> None:
    assert all(RING_SIZES[interval] >= least for interval, least in MIN_RING_SIZES.items())
    rows = [row(parse_ns("2024-08-01") + at * HOUR, at + 1) for at in range(31 * 24)]
    bars = BarEngine(1, MIN_RING_SIZES)
    assert bars.restore(bars.ensure_symbol("A", "X", rows[-1].ts), rows[-1].ts, rows[-1].seq, stored(rows))
    want = Expected(rows[-1].ts, rings=MIN_RING_SIZES)
    want.rows = rows
    for interval in NAMES:
        assert candles(bars, 0, interval) == want.bars(interval)


def test_a_last_price_that_the_store_lacks_is_replaced() -> None:
    bars = make()
    rows = [row(NOON, 1, 100.0), row(NOON + 5 * MINUTE, 2, 999.0)]
    reader = Reader(bars)
    reader.apply(rows)
    reader.take()
    # The second was cancelled, and the first is too old to have been read by itself.
    replacement = stored(rows[:1])
    replacement.latest[()] = (1, 0, 0, 100.0, 0.0)
    assert bars.restore(0, rows[1].ts, 2, replacement)
    assert bars.state.latest[0].tolist() == (2, 0, 0, 100.0, 0.0)


def test_a_row_without_a_symbol_is_added_to_none() -> None:
    bars = make()
    (batch,) = batches([row(NOON, 1), row(NOON + SECOND, 2)])
    batch.columns["symbol"] = Strings(("X",), np.array([0, -1], np.int32))
    assert bars.apply(batch) == 2
    assert [made.trades for made in candles(bars, 0, "1m")] == [1]
    assert bars.dropped_trades == 1


def test_the_intervals_are_the_clocks() -> None:
    assert tuple(INTERVALS) == NAMES
    assert bucket("1w", parse_ns("2024-08-08")) == parse_ns("2024-08-05")
