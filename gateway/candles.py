"""Candles of accounts from their trades, and from the candles of parts of a span, to the last digit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gateway import arrow
from tapehouse.clock import Interval, iso
from tapehouse.errors import TapehouseError
from tapehouse.model import ACCOUNT_CANDLES

# Arrow's sums of 38 digits wrap; those of 76 hold more rows than there can be.
_WIDE = pa.decimal256(76, 18)
_DECIMAL = pa.decimal128(38, 18)
CANDLES = arrow.schema(ACCOUNT_CANDLES.name, ACCOUNT_CANDLES.names)
PARTS: pa.Schema = CANDLES.set(CANDLES.get_field_index("volume"), pa.field("volume", _WIDE))
"""Candles as a store gives them: as the kind's columns, `volume` with 76 digits, 18 of them after the point."""


def candles_of_trades(trades: pa.RecordBatch, interval: Interval) -> pa.RecordBatch:
    """The candles of account trades, which are in order of their key, as PARTS, sorted by time and account.

    `trades` has the columns ts_event, account_id, amount and trx_amount.
    """
    amount = trades.column("amount")
    return _aggregate(
        interval.bucket(trades.column("ts_event").cast(pa.int64()).to_numpy()),
        trades.column("account_id").to_numpy(),
        {"open": amount, "high": amount, "low": amount, "close": amount},
        trades.column("trx_amount").cast(_WIDE),
        pa.repeat(pa.scalar(1, pa.int64()), trades.num_rows),
    )


def merge_candles(parts: Sequence[pa.RecordBatch], interval: Interval) -> pa.RecordBatch:
    """The candles of an interval made of `parts`, which are PARTS of adjacent spans in order of time.

    They may be of a shorter interval that divides it. Open is that of the first part of a candle, close of the last.
    """
    nonempty = [part for part in parts if part.num_rows]
    if not nonempty:
        return arrow.empty_batch(PARTS)
    rows = pa.Table.from_batches(nonempty).combine_chunks().to_batches()[0]
    return _aggregate(
        interval.bucket(arrow.times_ns(rows, ACCOUNT_CANDLES)),
        rows.column("account_id").to_numpy(),
        {name: rows.column(name) for name in ("open", "high", "low", "close")},
        rows.column("volume"),
        rows.column("trades"),
    )


def whole_candles(parts: pa.RecordBatch) -> pa.RecordBatch:
    """Merged PARTS with the kind's own columns.

    Raises TapehouseError if a volume has more than 20 digits before the decimal point.
    """
    try:
        volume = parts.column("volume").cast(_DECIMAL)
    except pa.ArrowInvalid:
        raise _too_large(parts) from None
    arrays = [volume if name == "volume" else parts.column(name) for name in CANDLES.names]
    return pa.RecordBatch.from_arrays(arrays, schema=CANDLES)


def _too_large(parts: pa.RecordBatch) -> TapehouseError:
    most = 10 ** (_DECIMAL.precision - _DECIMAL.scale)
    row, volume = next(
        (row, volume)
        for row, volume in enumerate(parts.column("volume").to_pylist())
        if not -most < volume < most
    )
    return TapehouseError(
        f"volume: the sum of account {parts.column('account_id')[row]} at "
        f"{iso(parts.column('ts')[row].value)} is {volume}, which does not fit in 38 digits with 18 after the point",
        remedy="Ask for a shorter interval, or add the trades up in a wider type.",
    )


def _aggregate(
    starts: NDArray[np.int64],
    accounts: NDArray[np.int64],
    prices: dict[str, pa.Array],
    volume: pa.Array,
    trades: pa.Array,
) -> pa.RecordBatch:
    """One candle for each start and account, of rows that are in order of time within each."""
    if not len(starts):
        return arrow.empty_batch(PARTS)
    # A stable sort.
    order = np.lexsort((accounts, starts))
    starts, accounts = starts[order], accounts[order]
    is_first = np.append(True, (starts[1:] != starts[:-1]) | (accounts[1:] != accounts[:-1]))
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(starts)) - 1
    rows = pa.table({"high": prices["high"], "low": prices["low"], "volume": volume, "trades": trades})
    # Groups come in the order of their first row, in one thread.
    groups = (
        rows.take(pa.array(order))
        .append_column("group", pa.array(np.cumsum(is_first)))
        .group_by("group", use_threads=False)
        .aggregate([("high", "max"), ("low", "min"), ("volume", "sum"), ("trades", "sum")])
    )
    columns = {
        "ts": pa.array(starts[first]).cast(PARTS.field("ts").type),
        "account_id": pa.array(accounts[first]),
        "open": prices["open"].take(pa.array(order[first])),
        "high": groups["high_max"],
        "low": groups["low_min"],
        "close": prices["close"].take(pa.array(order[last])),
        "volume": groups["volume_sum"],
        "trades": groups["trades_sum"],
    }
    batch: pa.RecordBatch = pa.table(columns, schema=PARTS).combine_chunks().to_batches()[0]
    return batch
