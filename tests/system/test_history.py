"""A simulated venue whose home begins in the past, and whose feed is killed while it publishes that."""

from __future__ import annotations

import asyncio
import signal

import polars as pl

from ingest.simulator.feed import CHECKPOINT, TIMELINE
from ingest.simulator.timeline import Profile, Segment, Timeline
from ingest.simulator.timeline_file import load as load_timeline
from ingest.simulator.timeline_file import save
from ingest.simulator.trades import Simulator
from tapehouse.clock import DAY, SECOND, iso, now_ns
from tapehouse.model import DEPTH, QUOTES, TRADES
from tapehouse.settings import Settings, load
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream.bus import Bus
from tapehouse.stream.health import heartbeat
from tapehouse.stream.progress import wait_until_written
from tapehouse.stream.wire import unpack
from tests.ingest.simulator.books import emitted, outside, replayed
from tests.system.up import Up
from tests.waiting import DEADLINE_S, until

_RATE = 3
_BOOK_RATE = 1
_COLUMNS = ("seq", "ts_event", "price", "size", "side")


async def _published_trades(bus: Bus, after: int) -> int:
    """The rows of trades in the stream after a sequence."""
    rows = 0
    for seq in range(after + 1, (await bus.js.stream_info("TICKS")).state.last_seq + 1):
        batch = unpack((await bus.js.get_msg("TICKS", seq, direct=True)).data or b"")
        rows += batch.rows if batch.kind is TRADES else 0
    return rows


async def test_a_history_is_stored_once_also_when_the_feed_is_killed_in_the_middle(up: Up) -> None:
    settings = load(up.home)
    born = _born(settings)
    save(up.home / TIMELINE, born)
    async with Bus.opened(settings, "admin") as bus:
        state = await bus.shared_state()
        began = (await bus.js.stream_info("TICKS")).state.last_seq

        async def some_published() -> bool:
            return (await bus.js.stream_info("TICKS")).state.last_seq > began + 5

        async def live() -> bool:
            return (await state.get(CHECKPOINT) or 0) > born.history + 1_000

        heard = asyncio.create_task(heartbeat(settings, "feed.sim", DEADLINE_S))
        killed = up.start("run", "sim")
        assert (await heard)["detail"].startswith("history")
        await until(some_published, "the first of the history")
        killed.kill()
        await asyncio.to_thread(killed.communicate)
        assert (await state.get(CHECKPOINT) or 0) < born.history, "expected a kill in the middle"
        assert await _published_trades(bus, began) < born.history, "expected a kill in the middle"

        again = up.start("run", "sim")
        await until(live, "live ticks after the history")
        again.send_signal(signal.SIGTERM)
        await asyncio.to_thread(again.communicate)
        await wait_until_written(bus, state, (await bus.js.stream_info("TICKS")).state.last_seq, DEADLINE_S)
    now = load_timeline(up.home / TIMELINE)
    assert now is not None
    assert now.history == born.history
    with QuestReader(settings.questdb) as reader:
        for table in ("trades", "quotes", "depth"):
            await asyncio.to_thread(reader.wait_applied, table)
        rows = reader.fetch(
            "SELECT symbol, count(), count_distinct(seq), sum(seq), sum(side) FROM trades "
            f"WHERE venue = 'sim' AND ts_event < '{iso(now.segments[1].epoch_ns)}'"
        )
        books = {kind: _ids(reader, kind, now.segments[1].epoch_ns) for kind in ("quotes", "depth")}
    expected = _history(born)
    each = expected.group_by("symbol").agg(
        pl.len(), ids=pl.col("seq").n_unique(), seqs=pl.col("seq").sum(), sides=pl.col("side").sum()
    )
    assert sorted(rows) == sorted(each.rows())
    for symbol in ("BTCUSDT", "DOGEUSDT"):
        span = (iso(born.segments[0].epoch_ns), iso(now.segments[1].epoch_ns))
        found = up.query("trades", symbol, "sim", *span)
        one = expected.filter(pl.col("symbol") == symbol).select(_COLUMNS).sort("seq")
        stored = found.select(_COLUMNS).with_columns(pl.col("ts_event").cast(pl.Int64)).sort("seq")
        assert stored.rows() == one.rows()
        quotes, depth = (up.query(kind, symbol, "sim", *span) for kind in ("quotes", "depth"))
        assert outside(found, quotes).is_empty()
        assert len(list(replayed(depth.with_columns(pl.col("ts_event").cast(pl.Int64))))) == len(depth)
    rows_of = emitted(born, 0, born.history + 1_000)
    for kind in (QUOTES, DEPTH):
        of_past = rows_of[kind].filter(pl.col("ts_event") < born.segments[1].epoch_ns)
        each = of_past.group_by("symbol").agg(pl.len(), pl.col("seq").sum())
        assert sorted(books[kind.name]) == sorted(each.rows())


def _ids(reader: QuestReader, kind: str, before_ns: int) -> list[tuple[object, ...]]:
    """Of each symbol the rows and the sum of their seqs before a time."""
    sql = (
        f"SELECT symbol, count(), sum(seq) FROM {kind} WHERE venue = 'sim' AND ts_event < '{iso(before_ns)}'"
    )
    return reader.fetch(sql)


def _born(settings: Settings) -> Timeline:
    """As `begin` makes it, with fewer ticks a second."""
    asked = settings.simulator
    profile = Profile(seed=asked.seed, symbols=asked.symbols, late=asked.late, duplicates=asked.duplicate)
    now = now_ns()
    past = Segment(0, (now // DAY - 1) * DAY, _RATE, _BOOK_RATE, _BOOK_RATE)
    history = Timeline(profile, (past,)).due(0, now)
    assert history >= DAY // SECOND * _RATE
    return Timeline(
        profile, (past, Segment(history, now, asked.rate, asked.quotes_rate, asked.depth_rate)), history
    )


def _history(born: Timeline) -> pl.DataFrame:
    """The ticks of the history, each once; late ones come some positions behind its end."""
    batch = Simulator(born).batch(0, born.history + 1_000)
    columns = {name: pl.Series(batch.array(name)) for name in _COLUMNS}
    ticks = pl.DataFrame({"symbol": batch.strings("symbol").to_list(), **columns})
    return ticks.filter(pl.col("ts_event") < born.segments[1].epoch_ns).unique(["symbol", "seq"])
