"""Live bars beside bars that are made from all of the rows at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tapehouse.bars import RINGS, RINGS_LEAST, Bars, Mark
from tapehouse.batch import Strings
from tapehouse.clock import DAY, HOUR, INTERVALS, MINUTE, NAMES, SECOND, parse_ns
from tapehouse.model import Flags
from tests.barreader import SMALL, Expected, Reader, bucket, candles, check, make, read, stored
from tests.trades import START, SYMBOLS, Trade, batches, grouped, trades

NOON = parse_ns("2024-08-08T12:00:00Z")


def row(
    ts: int, seq: int, price: float = 1.0, size: float = 1.0, *, symbol: int = 0, flags: int = 0
) -> Trade:
    """A trade of which little matters."""
    return Trade(symbol, ts, seq, price, size, 0, flags)


def check_finals(bars: Bars, number: int, want: Expected) -> None:
    for interval in NAMES:
        limit = bucket(interval, want.final_before)
        for made, revision, final in read(bars, number, interval):
            assert revision == want.revisions[interval, made.ts]
            assert final == (made.ts < limit)


def seal_expected(expected: list[Expected], venue: str, ts: int) -> None:
    for want, (of_venue, _) in zip(expected, SYMBOLS, strict=True):
        if of_venue == venue:
            want.seal(ts)


@settings(max_examples=100)
@given(rows=trades(), data=st.data())
def test_bars_that_come_a_tick_at_a_time_are_those_of_all_ticks(
    rows: list[Trade], data: st.DataObject
) -> None:
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
                reader.seal(done, ts)
                sealed[done] = max(sealed[done], bucket("15s", ts))
                seal_expected(expected, done, sealed[done])
    reader.take()
    for key, want in zip(SYMBOLS, expected, strict=True):
        if want.head < 0:
            assert key not in bars.names
            continue
        check(bars, reader, bars.number(*key), want)
        check_finals(bars, bars.number(*key), want)
    marks = {mark.symbol: (mark.start_ns, mark.end_ns) for mark in bars.marks()}
    assert marks == {
        bars.number(*key): (min(want.marked), max(want.marked))
        for key, want in zip(SYMBOLS, expected, strict=True)
        if want.marked
    }
    assert bars.marks() == []


@settings(max_examples=100)
@given(rows=trades(), data=st.data())
def test_what_is_restored_and_the_ticks_after_are_the_bars_of_all_ticks(
    rows: list[Trade], data: st.DataObject
) -> None:
    """Whatever the kernel held before: rows that it missed, or that the store does not have."""
    bars = make()
    reader = Reader(bars)
    seen = data.draw(st.integers(0, len(rows)), "seen")
    missed = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=5), "missed")
    gone = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=5), "gone")
    reader.apply([one for at, one in enumerate(rows[:seen]) if at not in missed])
    kept = [one for at, one in enumerate(rows) if at not in gone]
    for venue in bars.venues:
        if data.draw(st.booleans(), "sealed"):
            reader.seal(venue, bars.clock_ns(venue))
    reader.take()
    upto = data.draw(st.integers(0, rows[-1].seq), "upto")
    expected = []
    for symbol, key in enumerate(SYMBOLS):
        mine = [one for one in kept if one.symbol == symbol]
        held = [one for one in mine if one.seq <= upto]
        ts = max((one.ts for one in held if one.in_bars), default=START)
        number = bars.admit(*key, ts)
        reader.restore(number, ts, upto, held)
        opened = int(bars.state.open[number, 0]["ts"])
        want = Expected(max([opened] + [one.ts for one in mine if one.in_bars]))
        want.rows = [one for one in mine if one.in_bars]
        expected.append(want)
    bars.marks()
    reader.apply(kept, contained=True)
    reader.take()
    for want, key in zip(expected, SYMBOLS, strict=True):
        check(bars, reader, bars.number(*key), want)


def test_more_than_can_be_told_at_once_is_told_in_turns_without_loss() -> None:
    bars = make()
    rows = [row(NOON + at * 20 * SECOND, at + 1, symbol=at % 4) for at in range(600)]
    # All that is told in the end is of one moment.
    rows += [row(rows[-1].ts, 601 + symbol, symbol=symbol) for symbol in range(4)]
    reader = Reader(bars)
    assert reader.apply(rows) > 3
    reader.take()
    for symbol in range(4):
        want = Expected(rows[-1].ts)
        want.rows = [one for one in rows if one.symbol == symbol]
        check(bars, reader, bars.number(*SYMBOLS[symbol]), want)


def test_every_bar_is_told_also_when_a_ring_goes_round_in_between() -> None:
    bars = Bars(len(SYMBOLS), SMALL)
    reader = Reader(bars)
    rows = [row(NOON + at * 20 * SECOND, at + 1, symbol=at % 2) for at in range(400)]
    assert reader.apply(rows) > 3
    reader.take()
    for symbol in range(2):
        for interval in NAMES:
            told = [made for made, _, _ in reader.of(symbol, interval)]
            assert told == grouped([one for one in rows if one.symbol == symbol], interval)


def test_bars_that_a_sealing_would_put_out_are_told_before() -> None:
    bars = Bars(1, SMALL)
    reader = Reader(bars)
    rows = [row(NOON + at * 15 * SECOND, at + 1) for at in range(7)]
    reader.apply(rows[:1])
    # The place of the first bar is that of the last one to close.
    assert reader.apply(rows[1:]) == 0
    assert reader.seal("A", rows[-1].ts + MINUTE) == 1
    reader.take()
    assert [made for made, _, _ in reader.of(0, "15s")] == grouped(rows, "15s")


def test_closing_more_than_can_be_told_at_once_comes_to_an_end() -> None:
    """The first sealing too: bars that were told open are told final."""
    bars = make({**SMALL, "15s": 100})
    reader = Reader(bars)
    reader.apply([row(NOON + at * 15 * SECOND, at + 1, symbol=at % 2) for at in range(180)])
    reader.take()
    assert reader.seal("A", NOON + HOUR) > 1
    reader.take()
    for symbol in range(2):
        held = read(bars, symbol, "15s")
        assert len(held) > 15
        assert all(final for _, _, final in held)
        assert reader.of(symbol, "15s")[-len(held) :] == held


def test_bars_are_final_from_their_sealing_and_a_late_tick_raises_their_revision() -> None:
    bars = make()
    reader = Reader(bars)
    reader.apply([row(NOON, 1), row(NOON + 40 * SECOND, 2)])
    assert bars.seal("A", NOON + MINUTE)
    reader.take()
    assert [(made.trades, revision, final) for made, revision, final in reader.of(0, "1m")] == [(2, 0, True)]
    assert [final for _, _, final in reader.of(0, "3m")] == [False]
    reader.apply([row(NOON + SECOND, 3, 9.0), row(NOON + 16 * SECOND, 4)])
    reader.take()
    assert [(made.trades, revision, final) for made, revision, final in reader.of(0, "15s")] == [
        (2, 1, True),
        (1, 0, True),  # it was never told before
        (1, 0, True),
    ]
    assert [(made.trades, revision, made.close) for made, revision, _ in reader.of(0, "1m")] == [(4, 2, 1.0)]
    assert [(made.trades, revision, final) for made, revision, final in reader.of(0, "3m")] == [(4, 0, False)]
    assert bars.seal("A", NOON + MINUTE)
    assert not bars.changed


def test_a_seq_not_above_the_last_is_marked_and_not_added() -> None:
    bars = make()
    bars.apply(
        batches([row(NOON, 5), row(NOON + SECOND, 5), row(NOON - HOUR, 4), row(NOON + 2 * SECOND, 6)])[0]
    )
    assert [made.trades for made in candles(bars, 0, "1m")] == [2]
    assert bars.marks() == [Mark(0, NOON - HOUR, NOON + SECOND)]
    assert bars.marks() == []


def test_a_bucket_older_than_the_ring_is_marked_and_longer_ones_are_added_to() -> None:
    bars = make()
    late = NOON - 10 * MINUTE
    bars.apply(batches([row(NOON, 1), row(late, 2)])[0])
    assert bars.marks() == [Mark(0, late, late)]
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
    assert bars.marks() == [Mark(0, NOON, NOON)]


def test_a_symbol_there_is_no_room_for_is_counted_and_nothing_else() -> None:
    bars = make(max_symbols=1, touched=60)
    reader = Reader(bars)
    mine = [row(NOON + at * MINUTE, at + 1, symbol=0) for at in range(50)]
    refused = [row(NOON + 400 * DAY + at, 1_000 + at, symbol=1) for at in range(3)]
    # Told in turns, which must not count twice.
    assert reader.apply([mine[0], *refused, *mine[1:], *refused]) > 0
    reader.apply([row(NOON, 1, symbol=2)])
    assert bars.refused == 7
    assert bars.names == [("A", "X")]
    assert bars.venues == ["A"]
    assert bars.clock_ns("A") == mine[-1].ts
    assert bars.admit("A", "Y", NOON) == -1
    assert not bars.marks()
    assert candles(bars, 0, "1M") == grouped(mine, "1M")


def test_a_restored_symbol_passes_over_what_it_holds_and_marks_what_it_may_not() -> None:
    bars = make()
    reader = Reader(bars)
    rows = [row(NOON + at * SECOND, at + 1) for at in range(100)]
    reader.restore(bars.admit("A", "X", NOON), rows[49].ts, 50, rows[:50])
    reader.apply(rows, contained=True)
    assert not bars.marks()
    assert candles(bars, 0, "1m") == grouped(rows, "1m")
    # Above what was restored it may be a trade that was never seen; and so may all in a batch not known.
    reader.apply([rows[60]], contained=True)
    assert bars.marks() == [Mark(0, rows[60].ts, rows[60].ts)]
    reader.apply([rows[10]])
    assert bars.marks() == [Mark(0, rows[10].ts, rows[10].ts)]


def test_restoring_revises_final_bars_that_differ_and_empties_those_not_held() -> None:
    bars = make()
    reader = Reader(bars)
    rows = [row(NOON, 1), row(NOON + 15 * SECOND, 2), row(NOON + 30 * SECOND, 3), row(NOON + 45 * SECOND, 4)]
    reader.apply(rows)
    reader.seal("A", NOON + 45 * SECOND)
    reader.take()
    missed = row(NOON + 31 * SECOND, 5, 3.0)
    for _ in range(2):  # the second time nothing differs
        reader.restore(0, NOON + 45 * SECOND, 5, [rows[0], rows[2], missed])
    reader.take()
    assert {key[2] - NOON: told for key, told in reader.emptied.items() if key[1] == "15s"} == {
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


def test_the_least_rings_are_enough_to_sum_up_every_open_bar() -> None:
    assert all(RINGS[interval] >= least for interval, least in RINGS_LEAST.items())
    rows = [row(parse_ns("2024-08-01") + at * HOUR, at + 1) for at in range(31 * 24)]
    bars = Bars(1, RINGS_LEAST)
    assert bars.restore(bars.admit("A", "X", rows[-1].ts), rows[-1].ts, rows[-1].seq, stored(rows))
    want = Expected(rows[-1].ts, rings=RINGS_LEAST)
    want.rows = rows
    for interval in NAMES:
        assert candles(bars, 0, interval) == want.bars(interval)


def test_a_last_price_that_the_store_does_not_hold_is_forgotten() -> None:
    bars = make()
    rows = [row(NOON, 1, 100.0), row(NOON + 5 * MINUTE, 2, 999.0)]
    reader = Reader(bars)
    reader.apply(rows)
    reader.take()
    # The second was cancelled, and the first is too long ago to have been read by itself.
    held = stored(rows[:1])
    held.latest[()] = (1, 0, 0, 100.0, 0.0)
    assert bars.restore(0, rows[1].ts, 2, held)
    assert bars.state.latest[0].tolist() == (2, 0, 0, 100.0, 0.0)


def test_a_row_without_a_symbol_is_added_to_none() -> None:
    bars = make()
    (batch,) = batches([row(NOON, 1), row(NOON + SECOND, 2)])
    batch.columns["symbol"] = Strings(("X",), np.array([0, -1], np.int32))
    assert bars.apply(batch) == 2
    assert [made.trades for made in candles(bars, 0, "1m")] == [1]
    assert bars.refused == 1


def test_the_intervals_are_the_clocks() -> None:
    assert tuple(INTERVALS) == NAMES
    assert bucket("1w", parse_ns("2024-08-08")) == parse_ns("2024-08-05")
