"""Compares the rows of a source with ids of its own with the stored ones, and with its earlier rows, by their keys."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.imports.comparison import Compared, absent_columns, compared_columns, with_stored_values
from ingest.imports.key_memory import KeyMemory
from ingest.imports.stored_rows import OTHER_TIMES_NS
from tapehouse.batch import Batch
from tapehouse.model import Kind
from tapehouse.tabular import as_frame

Mask = NDArray[np.bool_]
_STORED = -1
"""In place of a row of a batch: an earlier row of the source."""


class IdComparison:
    """Compares the rows of a source with ids of its own, by their keys, also the lists of books."""

    def __init__(self, kind: Kind, provided: Collection[str], *, fills_duplicates: bool = False) -> None:
        """`provided`: the columns that the source has. With `fills_duplicates` they get the stored values of the other
        columns, as corrected rows do."""
        self._fills_duplicates = fills_duplicates
        self._keys = [name for name in kind.key if name != "venue"]
        self._highest: dict[str, int] = {}
        lists = [
            column.name for column in kind.columns if column.type == "doubles" and column.name in provided
        ]
        self._columns = [*compared_columns(kind, provided), *lists]
        self._absent = absent_columns(kind, provided)
        self._earlier = KeyMemory()
        self.at_other_times = 0
        """Rows so far that are stored at another time."""

    def may_repeat(self, batch: Batch) -> bool:
        """Whether the next rows may have keys of rows that are published but not stored yet.

        So it is where their ids are not above all earlier ones of their symbol, or, of a kind without symbols, where
        one of their keys is remembered.
        """
        if "symbol" not in batch.columns:
            return bool(self._earlier.holds(as_frame(batch, self._keys)).any())
        ids = (
            as_frame(batch, ["symbol", "seq"])
            .group_by("symbol")
            .agg(pl.col("seq").min().alias("low"), pl.col("seq").max().alias("high"))
        )
        found = False
        for symbol, low, high in ids.iter_rows():
            before = self._highest.get(symbol, -1)
            found |= low <= before
            self._highest[symbol] = max(before, high)
        return found

    def compare(self, batch: Batch, stored: pl.DataFrame) -> Compared:
        """Compare the next rows; `stored` has the stored rows of their keys, and of their ids at other times.

        A trade that is stored with its id and its values at another time at most two seconds away is a duplicate:
        its source gave another of its times, or the same one less exactly.
        Of several rows of the source with one key, one with the values of the row before is a duplicate,
        one with other flags alone, such as the cancellation of a trade, a correction; any other is rejected. What is
        stored is an earlier row of the source where its key is remembered.
        """
        ours = as_frame(batch, [*self._keys, *self._columns]).with_row_index("row")
        there, equal = np.zeros(batch.rows, np.bool_), np.zeros(batch.rows, np.bool_)
        if len(stored):
            pairs = ours.join(stored, on=self._keys, how="inner", suffix="_stored").sort("row")
            there[pairs["row"].to_numpy()] = True
            same = [pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in self._columns]
            equal[pairs.filter(pl.all_horizontal(True, *same))["row"].to_numpy()] = True
        same_key = self._rows_of_one_key(ours, self._of_this_source(ours, stored, there & ~equal))
        if len(stored):
            filled = (~equal | same_key.after_stored | self._fills_duplicates)[pairs["row"].to_numpy()]
            batch = with_stored_values(batch, pairs.filter(pl.Series(filled)), self._absent)
        elsewhere = self._at_other_times(ours, stored, there)
        unchanged = (equal | equal[same_key.final]) & ~same_key.after_stored
        duplicate = (unchanged | elsewhere | same_key.repeats) & ~same_key.is_rejected
        corrected = (there | same_key.changes) & ~duplicate & ~same_key.is_rejected
        self._earlier.add(ours.select(self._keys).filter(pl.Series(~same_key.is_rejected)))
        return Compared(batch, duplicate, corrected, elsewhere | same_key.repeats, same_key.rejected)

    def _of_this_source(self, ours: pl.DataFrame, stored: pl.DataFrame, differ: Mask) -> pl.DataFrame:
        """The stored rows that were earlier ones of this source, of the keys of the rows that `differ` from them."""
        # A source that fills duplicates is written when all of it was read: what is stored is not of it.
        if self._fills_duplicates or not differ.any():
            return ours.clear()
        keys = ours.select(self._keys).filter(pl.Series(differ)).unique()
        keys = keys.filter(pl.Series(self._earlier.holds(keys)))
        before = stored.join(keys, on=self._keys, how="semi").with_columns(row=pl.lit(_STORED, pl.Int64))
        return before.select(ours.columns)

    def _at_other_times(self, ours: pl.DataFrame, stored: pl.DataFrame, there: Mask) -> Mask:
        found = np.zeros(ours.height, np.bool_)
        if not len(stored) or "symbol" not in self._keys or there.all():
            return found
        values = [name for name in ("price", "size") if name in self._columns]
        on = ["symbol", "seq", *values]
        pairs = ours.filter(pl.Series(~there)).join(stored, on=on, how="inner", suffix="_stored")
        apart = (pl.col("ts_event") - pl.col("ts_event_stored")).abs()
        found[pairs.filter(apart <= pl.duration(nanoseconds=OTHER_TIMES_NS))["row"].to_numpy()] = True
        self.at_other_times += int(found.sum())
        return found

    def _rows_of_one_key(self, ours: pl.DataFrame, before: pl.DataFrame) -> _RowsOfOneKey:
        """`before`: the rows of these keys that came earlier and are stored."""
        found = _RowsOfOneKey(ours.height)
        if before.is_empty() and ours.select(pl.struct(self._keys).n_unique()).item() == ours.height:
            return found
        both = pl.concat([before, ours], how="vertical_relaxed")
        groups = both.filter(pl.struct(self._keys).is_duplicated()).partition_by(
            self._keys, maintain_order=True
        )
        others = [name for name in self._columns if name != "flags"]
        for group in groups:
            rows = group["row"].to_list()
            values, without_flags = group.select(self._columns).rows(), group.select(others).rows()
            current = 0
            for place in range(1, len(rows)):
                if values[place] == values[current]:
                    found.repeats[rows[place]] = True
                elif without_flags[place] == without_flags[current]:
                    found.changes[rows[place]] = True
                    current = place
                else:
                    found.rejected[rows[place]] = _shared_key_reason(group, place)
            if rows[0] == _STORED:
                found.after_stored[rows[1:]] = True
            else:
                found.final[rows] = rows[current]
        return found


class _RowsOfOneKey:
    """What the rows of a batch are that share their key with an earlier one."""

    def __init__(self, rows: int) -> None:
        self.repeats = np.zeros(rows, np.bool_)
        self.changes = np.zeros(rows, np.bool_)
        self.final = np.arange(rows)
        """By row the one whose values are stored in the end."""
        self.after_stored = np.zeros(rows, np.bool_)
        """Rows whose first of their key is stored."""
        self.rejected: dict[int, str] = {}

    @property
    def is_rejected(self) -> Mask:
        mask = np.zeros(len(self.final), np.bool_)
        mask[list(self.rejected)] = True
        return mask


def _shared_key_reason(group: pl.DataFrame, place: int) -> str:
    name, remedy = (
        ("seq", " (--number-by time numbers rows by their time)") if "seq" in group.columns else ("id", "")
    )
    return (
        f"{name}: expected an id that no other row of its time has, was {group[name][place]}, which an earlier row "
        f"with other values has{remedy}"
    )
