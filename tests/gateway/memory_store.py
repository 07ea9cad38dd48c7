"""A store whose rows are frames: what the contract says, written a second time, and days that leave it when told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl
import pyarrow as pa

from gateway import arrow
from gateway.candles import PARTS
from gateway.query import Query, RowKey
from gateway.stores.contract import DaySize, Page
from tapehouse.clock import DAY, MAX_TS
from tapehouse.model import ACCOUNT_TRADES, BARS, NO_BAR, TICKS, TRADES, Kind
from tapehouse.stores.questdb import frame
from tests.gateway import oracle


class MemoryStore:
    """A `Store`. `told` is called whenever it is asked something, before and after, and may change it."""

    def __init__(self, name: str, told: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.rows = {kind.name: frame(kind.columns, []) for kind in TICKS}
        self.told = told
        self.asked: list[str] = []

    def put(self, kind: Kind, rows: pl.DataFrame) -> None:
        """Add rows; the last of a key stays."""
        both = pl.concat([self.rows[kind.name], rows.select(kind.names)])
        self.rows[kind.name] = both.unique(kind.key, keep="last", maintain_order=True)

    def leave(self, kind: Kind, day: int) -> None:
        """All rows before a time leave."""
        self.rows[kind.name] = self.rows[kind.name].filter(oracle.within(kind.time, day, MAX_TS))

    def day_sizes(self, kind: Kind) -> Mapping[int, DaySize]:
        """See `Store`."""
        self.told()
        days = self.rows[kind.name].select(pl.col(kind.time).cast(pl.Int64) // DAY * DAY).to_series()
        return {day: DaySize(count, 1) for day, count in days.value_counts().iter_rows()}

    def oldest_time(self, kind: Kind) -> int:
        """See `Store`."""
        self.told()
        return self._oldest(kind)

    def read(self, query: Query, start_ns: int, end_ns: int, after: RowKey | None, most: int) -> Page:
        """See `Store`."""
        self.told()
        self.asked.append(f"read {start_ns} {end_ns}")
        kind = query.source_kind
        rows = oracle.chosen(self._within(kind, start_ns, end_ns), query)
        rows = rows.select(name for name in kind.names if name in query.result_columns or name in kind.key)
        batch = arrow.batch_from_frame(rows, arrow.schema(kind.name, tuple(rows.columns)))
        if after is not None:
            first = sum(arrow.row_key(batch, kind, row) <= after for row in range(batch.num_rows))
            batch = batch.slice(first)
        self.told()
        return Page(batch.slice(0, most), batch.num_rows < most, self._oldest(kind))

    def bars(
        self, query: Query, start_ns: int, end_ns: int, unchanged_since_ns: int | None = None
    ) -> tuple[pa.RecordBatch, int | None]:
        """See `Store`."""
        self.told()
        self.asked.append(f"bars {start_ns} {end_ns}")
        assert query.interval is not None
        trades = oracle.of_names(self._within(TRADES, start_ns, end_ns), query)
        bars = oracle.bars_of(trades, query.interval)
        self.told()
        wanted = arrow.schema(BARS.name, BARS.names)
        return arrow.batch_from_frame(bars.sort(BARS.key), wanted), self._oldest(TRADES)

    def account_candles(self, query: Query, start_ns: int, end_ns: int) -> tuple[pa.RecordBatch, int | None]:
        """See `Store`."""
        self.told()
        self.asked.append(f"candles {start_ns} {end_ns}")
        assert query.interval is not None
        trades = oracle.of_names(self._within(ACCOUNT_TRADES, start_ns, end_ns), query)
        columns = list(zip(*oracle.candles_of(trades, query.interval), strict=True)) or [()] * len(PARTS)
        self.told()
        arrays = [pa.array(column, field.type) for column, field in zip(columns, PARTS, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=PARTS), self._oldest(ACCOUNT_TRADES)

    def count_newest(self, query: Query, start_ns: int, end_ns: int, count: int) -> tuple[int, int]:
        """See `Store`."""
        self.told()
        rows = oracle.chosen(self._within(query.source_kind, start_ns, end_ns), query).tail(count)
        times = rows[query.source_kind.time].cast(pl.Int64)
        return (rows.height, int(times[0])) if rows.height else (0, end_ns)

    def last_bar_time(self, query: Query, symbol: str, start_ns: int, end_ns: int) -> int | None:
        """See `Store`."""
        self.told()
        rows = self._counted(query.venue, [symbol]).filter(oracle.within("ts_event", start_ns, end_ns))
        return int(rows["ts_event"].cast(pl.Int64).to_numpy().max()) if rows.height else None

    def latest(self, venue: str, symbols: Sequence[str]) -> pa.Table:
        """See `Store`."""
        self.told()
        rows = self._counted(venue, symbols).sort("ts_event", "seq").unique("symbol", keep="last")
        wanted = arrow.schema(TRADES.name, TRADES.names)
        return pa.Table.from_batches([arrow.batch_from_frame(rows, wanted)])

    def symbols(self, kind: Kind, start_ns: int, end_ns: int, *, exact: bool) -> pl.DataFrame:
        """See `Store`."""
        assert kind is not ACCOUNT_TRADES
        self.asked.append(f"symbols {start_ns} {end_ns}")
        time = pl.col(kind.time)
        return (
            self._counting(kind, start_ns, end_ns)
            .group_by("venue", "symbol")
            .agg(first=time.min(), last=time.max(), rows=pl.len().cast(pl.Int64))
            .sort("venue", "symbol")
        )

    def count_rows(self, query: Query, start_ns: int, end_ns: int) -> int | None:
        """See `Store`."""
        kind = query.source_kind
        return oracle.of_names(self._counting(kind, start_ns, end_ns), query).height

    def statement(self, query: Query, start_ns: int, end_ns: int) -> str:
        """See `Store`."""
        return f"{query.kind} from {start_ns} to {end_ns}"

    def check_health(self) -> None:
        """See `Store`."""

    def close(self) -> None:
        """See `Store`."""

    def _oldest(self, kind: Kind) -> int:
        times = self.rows[kind.name][kind.time].cast(pl.Int64)
        return int(times.to_numpy().min()) if len(times) else MAX_TS

    def _within(self, kind: Kind, start_ns: int, end_ns: int) -> pl.DataFrame:
        return self.rows[kind.name].filter(oracle.within(kind.time, start_ns, end_ns))

    def _counting(self, kind: Kind, start_ns: int, end_ns: int) -> pl.DataFrame:
        rows = self._within(kind, start_ns, end_ns)
        return rows.filter((pl.col("flags") & int(NO_BAR)) == 0) if kind is TRADES else rows

    def _counted(self, venue: str, symbols: Sequence[str]) -> pl.DataFrame:
        return self.rows[TRADES.name].filter(
            (pl.col("flags") & int(NO_BAR)) == 0, pl.col("venue") == venue, pl.col("symbol").is_in(symbols)
        )
