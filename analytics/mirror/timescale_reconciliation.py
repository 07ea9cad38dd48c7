"""Compares the account trades and candles of TimescaleDB with the other stores, and repairs the days that differ.

Of each closed day that TimescaleDB keeps whole, its trades are compared by their fingerprint with the ledger, which
both stores were just compared with, and its candles with its trades. A day that differs is loaded again from its owner
in slices, and its candles are made anew.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace

import polars as pl
from nats.errors import Error as NatsError

from analytics.mirror.clickhouse_sql import column_list, day_filter
from analytics.mirror.decisions import DayInfo
from analytics.mirror.hot_store import HotDayReader, TimeSlice
from analytics.mirror.inventory import read_marks, today
from analytics.mirror.merger import matches_ledger
from analytics.mirror.session import MirrorProgress, MirrorSession
from analytics.mirror.timescale_days import TimescaleDays, time_slices
from analytics.mirror.verification_report import Difference, VerificationReport
from tapehouse.clock import DAY, MINUTE, day_of, parse_ns
from tapehouse.errors import TapehouseError
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.stores.questdb import frame
from tapehouse.stream import sharding
from tapehouse.stream.bus import LATE, TICKS
from tapehouse.stream.progress import last_seq_of, wait_until_written

NAME = f"{ACCOUNT_TRADES.name} in TimescaleDB"
"""What a report calls them instead of a kind."""
_LOADED_S, _WRITTEN_S, _CHECKED_S = 20, 20, 60
_POLL_S = 0.1


class TimescaleReconciliation:
    """Compares and repairs days, when all of QuestDB and ClickHouse were compared. Requires the mirror's lease."""

    def __init__(self, mirror: MirrorSession) -> None:
        self._mirror = mirror
        self._created_ns = 0
        """When the stream was created whose messages are compared by number."""

    async def run(self, verdict: VerificationReport, progress: MirrorProgress) -> None:
        """Add what is found to a report. A day that the mirror has not proven is not compared."""
        with closing(TimescaleDays(self._mirror.settings.timescale)) as days:
            try:
                limit = day_of(await asyncio.to_thread(days.oldest_taken))
                known = await self._mirror.read_days()
                await self._wait_until_loaded(days)
            except (TapehouseError, NatsError) as reason:
                verdict.unknown[NAME, "all days"] = str(reason)
                return
            chosen = [
                day
                for (kind, date), day in sorted(known.items())
                if kind == ACCOUNT_TRADES.name and limit <= date < today()
            ]
            progress.start(sum(max(day.hot_rows, day.cold_rows) for day in chosen))
            for day in chosen:
                try:
                    await self._compare(days, day, verdict)
                except (TapehouseError, NatsError) as reason:
                    verdict.unknown[NAME, day.day] = str(reason)
                progress.advance(max(day.hot_rows, day.cold_rows))

    async def _wait_until_loaded(self, days: TimescaleDays) -> None:
        """Wait until TimescaleDB has all that the stream had when the days were read."""
        bus = self._mirror.bus
        self._created_ns = sharding.created_ns(await bus.js.stream_info(TICKS))
        last = await last_seq_of(bus, f"ticks.{ACCOUNT_TRADES.name}.>")
        deadline = asyncio.get_running_loop().time() + _LOADED_S
        while (loaded := await asyncio.to_thread(days.loaded_seq, self._created_ns)) < last:
            if asyncio.get_running_loop().time() > deadline:
                raise TapehouseError(
                    f"timescale: expected message {last} to be loaded, was {loaded} after {_LOADED_S} s",
                    remedy="Look at `tapehouse status`: the role timescale is not running, or has more to load.",
                )
            await asyncio.sleep(_POLL_S)

    async def _compare(self, days: TimescaleDays, day: DayInfo, verdict: VerificationReport) -> None:
        if not day.is_proven:
            raise TapehouseError(f"{day.state(today())} in the other stores, which are compared first")
        difference = await self._difference(days, day)
        if difference is None:
            verdict.equal.append((NAME, day.day))
            return
        try:
            await self._repair(days, day)
            left = await self._difference(days, day, even_stale=True)
        except (TapehouseError, NatsError) as reason:
            verdict.failed[NAME, day.day] = str(reason)
        else:
            difference = replace(difference, healed=left is None)
        verdict.differing.append(difference)

    async def _difference(
        self, days: TimescaleDays, day: DayInfo, *, even_stale: bool = False
    ) -> Difference | None:
        """What differs of a day; None when it is equal. Candles of a stale day are not read from the aggregates."""
        assert day.entry is not None
        slice_rows = self._mirror.settings.mirror.slice_rows
        seq, found = await asyncio.to_thread(days.fingerprint, day.day, self._created_ns, slice_rows)
        candles = await asyncio.to_thread(days.differing_candles, day.day)
        # Asked last: a trade that is loaded meanwhile marks the day.
        if candles and not even_stale and await asyncio.to_thread(days.is_stale, day.day):
            candles = []
        await self._check_unchanged(day, seq)
        owner = "ClickHouse" if day.is_cold else "QuestDB"
        if not matches_ledger(day.entry, found):
            expected = f"{day.entry.rows:,} rows as in {owner}"
            return Difference((NAME, day.day), expected, f"{found.rows:,} other rows")
        if candles:
            return Difference((NAME, day.day), "candles as of its trades", f"others of {', '.join(candles)}")
        return None

    async def _check_unchanged(self, day: DayInfo, seq: int) -> None:
        """Raise TapehouseError unless the owner has all messages up to `seq`, and no other rows of the day since."""
        bus = self._mirror.bus
        await wait_until_written(bus, await bus.shared_state(), seq, _WRITTEN_S)
        late = (
            await bus.js.stream_info(LATE, subjects_filter=f"late.{ACCOUNT_TRADES.name}.>")
        ).state.subjects
        if late:
            raise TapehouseError("late trades wait to be merged into ClickHouse: a later run compares it")
        if not day.is_cold and await read_marks(bus, ACCOUNT_TRADES, day.day) != day.marks:
            raise TapehouseError("written to while it was compared: the next run compares it")
        await self._mirror.confirm_lease()

    async def _repair(self, days: TimescaleDays, day: DayInfo) -> None:
        loop = asyncio.get_running_loop()

        def check(seq: int) -> None:
            checked = asyncio.run_coroutine_threadsafe(self._check_unchanged(day, seq), loop)
            try:
                checked.result(_CHECKED_S)
            except TimeoutError as reason:
                checked.cancel()
                raise TapehouseError(
                    f"expected the writers to have message {seq} within {_CHECKED_S} s, they had not",
                    remedy="The next run heals the day. `tapehouse status` shows whether the writers run.",
                ) from reason

        begin = parse_ns(day.day)
        end = begin + DAY
        async for part, rows in self._owned_slices(day):
            # What is between two slices belongs to the later one: no row of the owner is there.
            await asyncio.to_thread(
                days.replace, replace(part, start_ns=begin), rows, self._created_ns, check
            )
            begin = part.end_ns
        if begin < end:
            rest = TimeSlice(begin, end, 0)
            await asyncio.to_thread(
                days.replace, rest, frame(ACCOUNT_TRADES.columns, []), self._created_ns, check
            )
        await asyncio.to_thread(days.refresh, day.day)

    def _owned_slices(self, day: DayInfo) -> AsyncIterator[tuple[TimeSlice, pl.DataFrame]]:
        return self._cold_slices(day.day) if day.is_cold else self._hot_slices(day.day)

    async def _hot_slices(self, day: str) -> AsyncIterator[tuple[TimeSlice, pl.DataFrame]]:
        settings = self._mirror.settings
        hot = HotDayReader(settings.questdb)
        try:
            slices: Sequence[TimeSlice] = await asyncio.to_thread(
                hot.slices, ACCOUNT_TRADES, day, settings.mirror.slice_rows
            )
            async for part, body in hot.export(ACCOUNT_TRADES, slices):
                yield part, pl.read_parquet(io.BytesIO(body))
        finally:
            hot.reader.close()

    async def _cold_slices(self, day: str) -> AsyncIterator[tuple[TimeSlice, pl.DataFrame]]:
        client = self._mirror.cold.client
        counts = await asyncio.to_thread(
            client.fetch,
            f"SELECT intDiv(toUnixTimestamp64Nano(ts_event), {MINUTE}) * {MINUTE} AS bucket, count() "
            f"FROM {ACCOUNT_TRADES.name} WHERE {day_filter(ACCOUNT_TRADES, day)} GROUP BY bucket ORDER BY bucket",
        )
        buckets = [(int(bucket), int(rows)) for bucket, rows in counts]
        for part in time_slices(day, buckets, self._mirror.settings.mirror.slice_rows):
            body = await asyncio.to_thread(
                client.arrow,
                f"SELECT {column_list(ACCOUNT_TRADES)} FROM {ACCOUNT_TRADES.name} "
                f"WHERE toUnixTimestamp64Nano(ts_event) >= {part.start_ns} "
                f"AND toUnixTimestamp64Nano(ts_event) < {part.end_ns} AND {day_filter(ACCOUNT_TRADES, day)}",
            )
            empty = frame(ACCOUNT_TRADES.columns, [])
            rows = pl.read_ipc_stream(body)
            yield part, rows.cast(empty.schema) if rows.height else empty
