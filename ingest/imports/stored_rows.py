"""Reads the stored rows with which those of a source are compared, whichever store owns their days."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tapehouse.batch import Batch
from tapehouse.clock import HOUR, SECOND, parse_ns
from tapehouse.model import ACCOUNT_TRADES, TRADES, Kind
from tapehouse.settings import Settings
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream.seal import Seal
from tapehouse.tabular import as_frame

_NUMBERED_PAST_NS = SECOND
"""How far numbers made from time may be above their time: as many rows shared a time, or followed ns by ns."""
OTHER_TIMES_NS = 2 * SECOND
"""How far from a trade's time its id is looked for: two clocks of a venue, or two precisions, are closer."""
_SPANS = 16
"""The most spans of time in which the rows of one batch are looked for."""
_ARROW = "SETTINGS output_format_arrow_compression_method = 'none', output_format_arrow_string_as_string = 1"

Span = tuple[int, int]


def read_columns(kind: Kind, *, lists: bool = False) -> list[str]:
    """The columns read: all but the venue, and lists only where asked for; the time first."""
    return [
        column.name
        for column in kind.columns
        if column.name != "venue" and (lists or column.type != "doubles")
    ]


class StoredRows:
    """Reads QuestDB, and ClickHouse for the days that it owns; not thread-safe.

    Every method raises ConnectError when a store does not answer.
    """

    def __init__(self, settings: Settings, seal: Seal) -> None:
        """`seal`: by kind the first day that is not sealed; days before it are read from ClickHouse too."""
        self._hot = QuestReader(settings.questdb)
        self._cold = ClickHouseClient(settings.clickhouse, reading=True)
        self._sealed_ns = {kind: parse_ns(day) for kind, day in seal.items()}

    def close(self) -> None:
        """Close the connections."""
        self._hot.close()
        self._cold.close()

    def sealed_ns(self, kind: Kind) -> int:
        """The first time, ns, of the days of a kind that are not sealed."""
        return self._sealed_ns.get(kind.name, 0)

    def wait_applied(self, kind: Kind) -> None:
        """Wait until all rows of a kind that are committed to QuestDB can be read."""
        self._hot.wait_applied(kind.name)

    def of_ids(self, batch: Batch) -> pl.DataFrame:
        """The stored rows with the keys of a batch, and its trades' ids within two seconds of its span."""
        names = read_columns(batch.kind, lists=True)
        keys = [name for name in batch.kind.key if name != "venue"]
        if batch.kind is TRADES:
            keys.remove("ts_event")
        wanted = as_frame(batch, keys)
        around_ns = OTHER_TIMES_NS if batch.kind is TRADES else 0
        return self._read(
            batch, names, around_ns, around_ns, lambda page: page.join(wanted, on=keys, how="semi")
        )

    def near(self, batch: Batch) -> pl.DataFrame:
        """The stored rows at the symbols and times of a batch, and those of its symbols in its span whose seq is
        above their time; no column of lists."""
        at = ["symbol", "ts_event"]
        wanted = as_frame(batch, at).unique().with_columns(wanted=True)
        past = pl.col("seq") > pl.col("ts_event").cast(pl.Int64)
        return self._read(
            batch,
            read_columns(batch.kind),
            _NUMBERED_PAST_NS,
            0,
            lambda page: page.join(wanted, on=at, how="left").filter(pl.col("wanted") | past).drop("wanted"),
        )

    def _read(
        self,
        batch: Batch,
        names: list[str],
        before_ns: int,
        after_ns: int,
        chosen: Callable[[pl.DataFrame], pl.DataFrame],
    ) -> pl.DataFrame:
        """The chosen rows around a batch; where both stores have one, ClickHouse's. Without columns where none are."""
        sealed_ns = self.sealed_ns(batch.kind)
        found = []
        for start, end in _spans(batch.array("ts_event"), before_ns, after_ns):
            found += [chosen(page) for page in self._hot_pages(batch, names, start, end)]
            if start < sealed_ns:
                found.append(chosen(self._cold_rows(batch, names, start, min(end, sealed_ns))))
        found = [page.select(names) for page in found if page.height]
        if not found:
            return pl.DataFrame()
        rows = pl.concat(found)
        if sealed_ns:
            keys = [name for name in batch.kind.key if name != "venue"]
            rows = rows.unique(keys, keep="last", maintain_order=True)
        return rows

    def _hot_pages(self, batch: Batch, names: list[str], start: int, end: int) -> Iterator[pl.DataFrame]:
        if batch.kind is ACCOUNT_TRADES:
            ids = batch.array("account_id")
            return self._hot.account_rows(int(ids.min()), int(ids.max()), start, end)
        if not self._hot.count(batch.kind, batch.venue, start, end):
            return iter(())
        symbols = batch.strings("symbol").compact().values
        return self._hot.rows(batch.kind, batch.venue, symbols, start, end, names)

    def _cold_rows(self, batch: Batch, names: list[str], start: int, end: int) -> pl.DataFrame:
        kind = batch.kind
        where = (
            f"{kind.time} >= fromUnixTimestamp64Nano({{start:Int64}}, 'UTC') "
            f"AND {kind.time} < fromUnixTimestamp64Nano({{end:Int64}}, 'UTC')"
        )
        bound: dict[str, object] = {"start": start, "end": end}
        if kind is ACCOUNT_TRADES:
            where += " AND account_id IN {accounts:Array(Int64)}"
            bound["accounts"] = np.unique(batch.array("account_id")).tolist()
        else:
            where += " AND venue = {venue:String} AND symbol IN {symbols:Array(String)}"
            bound |= {"venue": batch.venue, "symbols": list(batch.strings("symbol").compact().values)}
        statement = f"SELECT {', '.join(names)} FROM {kind.name} WHERE {where} {_ARROW}"  # noqa: S608
        rows = pl.read_ipc_stream(self._cold.arrow(statement, bound))
        return rows.cast(as_frame(batch.slice(0, 0), names).schema)


def _spans(times: NDArray[np.int64], before_ns: int, after_ns: int) -> list[Span]:
    """The spans [start, end), ns, in which all the times are, with so much before the first and after the last of each.

    A few rows of several years are not to be looked for among all that lies between.
    """
    times = np.unique(times)
    gaps = np.diff(times)
    widest = np.argsort(gaps)[::-1][: _SPANS - 1]
    cuts = np.sort(widest[gaps[widest] > HOUR])
    firsts, lasts = np.append(0, cuts + 1), np.append(cuts, len(times) - 1)
    return [
        (max(0, int(times[first]) - before_ns), int(times[last]) + 1 + after_ns)
        for first, last in zip(firsts, lasts, strict=True)
    ]
