"""Which rows of a source are in the hot store already, and whether they are the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tapehouse.batch import Batch, Strings
from tapehouse.clock import iso
from tapehouse.errors import ConflictError
from tapehouse.model import ACCOUNT_TRADES, QUOTES, TRADES
from tapehouse.questdb import QuestReader
from tapehouse.tabular import as_frame

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Known:
    """Masks over the rows of a batch: those whose key is stored, and which of these are otherwise equal."""

    stored: Mask
    same: Mask


def known(reader: QuestReader, batch: Batch) -> Known:
    """Look a batch's rows up. Rows of books are only told by their key.

    ts_recv takes no part: the same trade may have been captured twice. Of rows with one key, such as a trade
    and its cancellation, the last one tells for all, for it is the one that stays.
    """
    none = np.zeros(batch.rows, np.bool_)
    times = batch.array("ts_event")
    start, end = int(times.min()), int(times.max()) + 1
    accounts = batch.kind is ACCOUNT_TRADES
    if not (accounts or reader.count(batch.kind, batch.venue, start, end)):
        return Known(none, none)
    content = accounts or batch.kind in (TRADES, QUOTES)
    names = [
        name
        for name in batch.kind.names
        if name not in ("venue", "ts_recv") and (content or name in batch.kind.key)
    ]
    keys = [name for name in batch.kind.key if name != "venue"]
    values = [name for name in names if name not in keys]
    ours = as_frame(batch, names).with_row_index("row")
    if accounts:
        ids = batch.array("account_id")
        found = reader.account_rows(int(ids.min()), int(ids.max()), start, end)
    else:
        symbols = batch.strings("symbol").compact()
        found = reader.rows(batch.kind, batch.venue, symbols.values, start, end, names)
    # Between rows of ours there may be many of others.
    pages = [page.join(ours, on=keys, how="semi") for page in found]
    if not pages:
        return Known(none, none)
    pairs = ours.join(pl.concat(pages), on=keys, how="inner", suffix="_stored").sort("row")
    stored, same = none.copy(), none.copy()
    stored[pairs["row"].to_numpy()] = True
    alike = [pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in values]
    equal = pairs.filter(pl.all_horizontal(True, *alike).last().over(keys))
    same[equal["row"].to_numpy()] = True
    return Known(stored, same)


def row_keys(batch: Batch) -> list[tuple[object, ...]]:
    """The key of each row."""
    held = [batch.columns[name] for name in batch.kind.key if name != "venue"]
    columns = [data.to_list() if isinstance(data, Strings) else np.asarray(data).tolist() for data in held]
    return list(zip(*columns, strict=True))


def refuse_start_inside(reader: QuestReader, batch: Batch) -> None:
    """Refuse a source whose first timestamp is stored already with other rows than the source's.

    `batch` is the source's beginning for each of its symbols, numbered by time. Raises ConflictError: the
    rows would be merged into others that they continue, or overwrite them.
    """
    times = batch.array("ts_event")
    symbols = batch.strings("symbol")
    first_rows = np.unique(symbols.codes, return_index=True)[1]
    first = {symbols.values[int(symbols.codes[row])]: int(times[row]) for row in first_rows}
    names = ["ts_event", "symbol", "seq"]
    for symbol, ts in first.items():
        pages = list(reader.rows(batch.kind, batch.venue, [symbol], ts, ts + 1, names))
        if not pages:
            continue
        here = batch.take((symbols.codes == symbols.values.index(symbol)) & (times == ts))
        if pages[0].height != here.rows or not known(reader, here).same.all():
            raise _conflict(batch.venue, symbol, ts)


def refuse_overwriting(batch: Batch, found: Known) -> None:
    """Refuse rows numbered by time that would overwrite other rows: ConflictError names the first."""
    other = np.flatnonzero(found.stored & ~found.same)
    if len(other):
        row = int(other[0])
        symbol = batch.strings("symbol").slice(row, row + 1).to_list()[0]
        raise _conflict(batch.venue, str(symbol), int(batch.array("ts_event")[row]))


def _conflict(venue: str, symbol: str, ts_ns: int) -> ConflictError:
    return ConflictError(
        f"{symbol} on {venue} at {iso(ts_ns)}: expected the rows already stored there, was other rows",
        remedy="If the file continues what is stored, bring it in with --continue; if it is another source, "
        "give it a venue of its own.",
        symbol=symbol,
        ts_event=ts_ns,
    )
