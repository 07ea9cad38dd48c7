"""Compares the rows of a source with the stored ones, and numbers those without ids.

A column that a source does not have is absent, not a value: it is not compared, and a corrected row keeps what is
stored in it. `ts_recv` is not compared either: the same trade may have been received twice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.numbering import rising_from, rows_by_symbol
from tapehouse.batch import Batch, Strings
from tapehouse.model import NULL_LONG, Kind
from tapehouse.tabular import as_frame

Mask = NDArray[np.bool_]
Longs = NDArray[np.int64]

_AT = ["symbol", "ts_event"]
_FILLED_IN = ("side", "exchange", "conditions", "trade_id")


@dataclass(frozen=True)
class Compared:
    """Rows of a source beside what is stored."""

    batch: Batch
    """The rows with their seq, as they are to be stored."""
    duplicate: Mask
    """Rows that are stored already, bool [rows]."""
    corrected: Mask
    """Rows that change the stored row of their key, bool [rows]."""
    repeats: Mask
    """Of the duplicates, those whose own key is not stored: repeats of an earlier row, or stored at other times."""
    rejected: dict[int, str] = field(default_factory=dict)
    """Row -> why it is not to be stored."""

    @property
    def published(self) -> Batch:
        """The rows to publish."""
        return self._without(self.duplicate)

    @property
    def with_keys(self) -> Batch:
        """The rows to publish, and the duplicates whose key is stored."""
        return self._without(self.repeats)

    def _without(self, rows: Mask) -> Batch:
        left_out = rows.copy()
        left_out[list(self.rejected)] = True
        return self.batch.take(~left_out) if left_out.any() else self.batch


def compared_columns(kind: Kind, provided: Collection[str]) -> list[str]:
    """The columns by whose values a row without an id is recognised: those provided that are neither key nor list."""
    return [
        column.name
        for column in kind.columns
        if column.name in provided and column.name not in ("ts_recv", *kind.key) and column.type != "doubles"
    ]


def absent_columns(kind: Kind, provided: Collection[str]) -> list[str]:
    """The columns that are neither provided nor key nor list."""
    return [
        column.name
        for column in kind.columns
        if column.name not in provided and column.name not in kind.key and column.type != "doubles"
    ]


class TimeNumbering:
    """Numbers the rows of a source without ids, which come in order of time within each symbol.

    seq = max(previous + 1, ts_event), where the previous row is the one before in time, of the source or stored. A
    row that is stored keeps its seq: of the rows that share a symbol and a time, the nth with some values is the nth
    stored one with these values. A stored row that lacks a value is completed.
    """

    def __init__(
        self,
        kind: Kind,
        provided: Collection[str],
        previous: dict[str, int],
        *,
        fills_duplicates: bool = False,
    ) -> None:
        """`provided`: the columns that the source has. `previous`: the last seq of each symbol where an interrupted
        run is resumed; else empty. With `fills_duplicates` they too get the stored values of the other columns."""
        self._fills_duplicates = fills_duplicates
        self.previous = previous
        """The last seq of each symbol so far."""
        self._before_resuming = dict(previous)
        self._columns = compared_columns(kind, provided)
        self._absent = absent_columns(kind, provided)
        self._group = [*_AT, *(["snapshot"] if "snapshot" in kind.names else []), *self._columns]
        self._counts: pl.DataFrame | None = None

    def number(self, batch: Batch, stored: pl.DataFrame) -> Compared:
        """Number the next rows.

        `stored`: the stored rows at the symbols and times of the batch, and those of its symbols before its last
        time whose seq is above their time; columns symbol, ts_event, seq and those compared.
        """
        ours = as_frame(batch, self._group).with_row_index("row")
        seq = np.full(batch.rows, -1, np.int64)
        corrected = np.zeros(batch.rows, np.bool_)
        lowest = batch.array("ts_event").copy()
        if len(stored):
            stored = self._without_own(ours, stored)
            equal = self._equal(ours, stored)
            seq[equal["row"].to_numpy()] = equal["seq"].to_numpy()
            if self._fills_duplicates:
                batch = with_stored_values(batch, equal.join(stored, on=["symbol", "seq"]), self._absent)
            completed = self._completed(ours, stored, equal)
            seq[completed["row"].to_numpy()] = completed["seq"].to_numpy()
            corrected[completed["row"].to_numpy()] = True
            batch = with_stored_values(batch, completed.join(stored, on=["symbol", "seq"]), self._absent)
            lowest = np.maximum(lowest, _after_stored(ours, stored))
        duplicate = (seq >= 0) & ~corrected
        self._count(ours)
        self._assign(batch, seq, lowest)
        numbered = Batch(batch.kind, batch.venue, batch.rows, {**batch.columns, "seq": seq})
        return Compared(numbered, duplicate, corrected, np.zeros(batch.rows, np.bool_))

    def _without_own(self, ours: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
        """`stored` without what the interrupted run published at the time at which it is resumed."""
        if not self._before_resuming:
            return stored
        first = ours.group_by("symbol").agg(pl.col("ts_event").min())
        names = [name for name in first["symbol"].to_list() if name in self._before_resuming]
        own = pl.DataFrame(
            {"symbol": names, "own": [self._before_resuming.pop(name) for name in names]},
            schema={"symbol": pl.String, "own": pl.Int64},
        )
        own = own.join(first, on="symbol").filter(pl.col("ts_event").cast(pl.Int64) <= pl.col("own"))
        joined = stored.join(own, on=_AT, how="left")
        return joined.filter(pl.col("own").is_null() | (pl.col("seq") > pl.col("own"))).drop("own")

    def _equal(self, ours: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
        """(row, symbol, seq) of the rows that are stored with these values."""
        place = pl.int_range(pl.len()).over(self._group).alias("place")
        ours = ours.with_columns(place)
        if self._counts is not None:
            earlier = ours.join(self._counts, on=self._group, how="left", nulls_equal=True)
            ours = earlier.with_columns(pl.col("place") + pl.col("count").fill_null(0))
        stored = stored.sort("seq").with_columns(place)
        pairs = ours.join(stored, on=[*self._group, "place"], how="inner", nulls_equal=True)
        return pairs.select("row", "symbol", "seq")

    def _completed(self, ours: pl.DataFrame, stored: pl.DataFrame, equal: pl.DataFrame) -> pl.DataFrame:
        """(row, symbol, seq) of the other rows that are stored with fewer values."""
        open_columns = [name for name in self._columns if name in _FILLED_IN]
        none = pl.DataFrame(schema={"row": pl.UInt32, "symbol": pl.String, "seq": pl.Int64})
        if not open_columns:
            return none
        left = ours.join(equal, on="row", how="anti")
        there = stored.join(equal, on=["symbol", "seq"], how="anti")
        same = [name for name in self._group if name not in open_columns]
        pairs = left.join(there, on=same, how="inner", nulls_equal=True, suffix="_stored")
        lacking = [
            (pl.col(f"{name}_stored") == 0 if name == "side" else pl.col(f"{name}_stored").is_null())
            | pl.col(name).eq_missing(pl.col(f"{name}_stored"))
            for name in open_columns
        ]
        richer = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_stored")) for name in open_columns)
        pairs = pairs.filter(pl.all_horizontal(lacking) & richer).sort("row", "seq")
        chosen: list[tuple[int, str, int]] = []
        rows: set[int] = set()
        taken: set[tuple[str, int]] = set()
        for row, symbol, seq in pairs.select("row", "symbol", "seq").iter_rows():
            if row not in rows and (symbol, seq) not in taken:
                chosen.append((row, symbol, seq))
                rows.add(row)
                taken.add((symbol, seq))
        return pl.DataFrame(chosen, schema=none.schema, orient="row")

    def _count(self, ours: pl.DataFrame) -> None:
        """Keep how many rows with each value there were at the last time of each symbol."""
        last = ours.filter(pl.col("ts_event") == pl.col("ts_event").max().over("symbol"))
        counts = last.group_by(self._group).agg(pl.len().cast(pl.Int64).alias("count"))
        if self._counts is not None:
            both = pl.concat([self._counts, counts])
            counts = (
                both.filter(pl.col("ts_event") == pl.col("ts_event").max().over("symbol"))
                .group_by(self._group)
                .agg(pl.col("count").sum())
            )
        self._counts = counts

    def _assign(self, batch: Batch, seq: Longs, lowest: Longs) -> None:
        """Give each row without a seq the least above the previous one, and at least `lowest`."""
        for rows, symbol in rows_by_symbol(batch.strings("symbol")):
            own = seq[rows]
            new = own < 0
            if new.any():
                own[new] = rising_from(lowest[rows][new], self.previous.get(symbol))
                seq[rows] = own
            self.previous[symbol] = max(int(own.max()), self.previous.get(symbol, 0))


def _after_stored(ours: pl.DataFrame, stored: pl.DataFrame) -> Longs:
    """For each row one more than the highest seq stored at or before its time; 0 where there is none."""
    highest = (
        stored.group_by(_AT)
        .agg(pl.col("seq").max())
        .sort("ts_event")
        .with_columns(pl.col("seq").cum_max().over("symbol"))
    )
    joined = (
        ours.select("row", *_AT)
        .sort("ts_event", maintain_order=True)
        .join_asof(highest, on="ts_event", by="symbol", strategy="backward", check_sortedness=False)
        .sort("row")
    )
    return (joined["seq"] + 1).fill_null(0).to_numpy()


def with_stored_values(batch: Batch, stored: pl.DataFrame, names: Collection[str]) -> Batch:
    """`batch` with the columns `names` as `stored` has them, for the rows that its column `row` gives."""
    if not len(stored) or not names:
        return batch
    columns = dict(batch.columns)
    rows = stored["row"].to_numpy()
    for name in names:
        data, values = columns[name], stored[name]
        if isinstance(data, Strings):
            texts = data.to_list()
            for row, text in zip(rows.tolist(), values.to_list(), strict=True):
                texts[row] = text
            columns[name] = Strings.of(texts)
        elif isinstance(data, np.ndarray):
            data = data.copy()
            physical = values.to_physical()
            data[rows] = physical.fill_null(np.nan if physical.dtype.is_float() else NULL_LONG).to_numpy()
            columns[name] = data
    return Batch(batch.kind, batch.venue, batch.rows, columns)
