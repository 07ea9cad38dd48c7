"""Fingerprints of rows: equal for a day and its proven copy.

Each row is hashed to 64 bits: the bits of every column (of a text: the first 8 bytes of its MD5) are multiplied by a
factor of that column and summed, then mixed, so that swapping values between rows changes the result even where every
column keeps the same set of values. A fingerprint is the row count and the sum of the row hashes for each
(venue, symbol). All arithmetic is on bits modulo 2**64: exact for every value that the model allows, and independent
of the order of rows.

`of_frame` computes it in numpy from a DataFrame, `fingerprint_query` in ClickHouse's SQL.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tapehouse.model import Column, Kind

UInt64Array: TypeAlias = NDArray[np.uint64]
GroupKey: TypeAlias = tuple[str | None, ...]

_NULL = (1 << 64) - 1
"""The bits of NULL: a NaN as a double and -1 as a long, which the model allows in no nullable column."""
_NULL_TRADE_ID = 0
"""Rows without a trade_id have the hash that they had before the column was added: proven days stay proven."""
_MIX_FACTOR = 0xD6E8FEB86659FD93
_INDEX_FACTOR = 0x9E3779B97F4A7C15
_MASK_64 = (1 << 64) - 1


@dataclass(frozen=True)
class Fingerprint:
    """Row count and sum of row hashes (modulo 2**64) by group, a group being a (venue, symbol)."""

    groups: dict[GroupKey, tuple[int, int]]

    @property
    def rows(self) -> int:
        """The number of rows in all groups."""
        return sum(count for count, _ in self.groups.values())

    @property
    def digest(self) -> str:
        """A hash of the whole fingerprint, 32 hexadecimal digits."""
        ordered = sorted(self.groups.items(), key=lambda group: json.dumps(group[0]))
        return hashlib.blake2b(json.dumps(ordered).encode(), digest_size=16).hexdigest()

    @staticmethod
    def sum(parts: Iterable[Fingerprint]) -> Fingerprint:
        """The fingerprint of the rows of all parts together."""
        counts: Counter[GroupKey] = Counter()
        sums: Counter[GroupKey] = Counter()
        for part in parts:
            for names, (count, total) in part.groups.items():
                counts[names] += count
                sums[names] += total
        return Fingerprint({names: (count, sums[names] & _MASK_64) for names, count in counts.items()})

    def minus(self, part: Fingerprint) -> Fingerprint:
        """The fingerprint of these rows without the rows of `part`.

        Counts may become negative where `part` has rows that are not here."""
        groups = {}
        for names in {*self.groups, *part.groups}:
            count, total = self.groups.get(names, (0, 0))
            gone, sum_gone = part.groups.get(names, (0, 0))
            if (count - gone, left := (total - sum_gone) & _MASK_64) != (0, 0):
                groups[names] = (count - gone, left)
        return Fingerprint(groups)

    def differing_groups(self, other: Fingerprint) -> list[GroupKey]:
        """The groups whose count or sum is not the same in both, sorted."""
        both = {*self.groups, *other.groups}
        return sorted(
            (names for names in both if self.groups.get(names) != other.groups.get(names)), key=json.dumps
        )


def group_columns(kind: Kind) -> tuple[str, ...]:
    """The columns that rows of a kind are grouped by: `venue` and `symbol` where it has them."""
    return tuple(name for name in ("venue", "symbol") if name in kind.names)


def of_frame(kind: Kind, frame: pl.DataFrame) -> Fingerprint:
    """The fingerprint of a frame with all columns of `kind`, times as Datetime(ns)."""
    hashes = row_hashes(kind, frame)
    names = group_columns(kind)
    # Summed as two halves of 32 bits, so that up to 2**32 rows do not overflow 64 bits.
    halves = pl.DataFrame({"low": hashes & np.uint64(0xFFFFFFFF), "high": hashes >> np.uint64(32)})
    sums = (pl.len().alias("rows"), pl.col("low", "high").sum())
    rows = halves.with_columns(frame[name] for name in names)
    grouped = rows.group_by(names).agg(*sums) if names else rows.select(*sums)
    return Fingerprint(
        {
            tuple(row[: len(names)]): (row[-3], (row[-2] + (row[-1] << 32)) & _MASK_64)
            for row in grouped.iter_rows()
            if row[-3]
        }
    )


def of_rows(rows: Iterable[tuple[Any, ...]]) -> Fingerprint:
    """The fingerprint from the result rows of `fingerprint_query`."""
    return Fingerprint({tuple(row[:-2]): (int(row[-2]), int(row[-1])) for row in rows})


def row_hashes(kind: Kind, frame: pl.DataFrame) -> UInt64Array:
    """The 64-bit hash of each row, shape (rows,)."""
    total = np.zeros(frame.height, np.uint64)
    for column in kind.columns:
        if column.name not in group_columns(kind):
            for part, word in enumerate(_column_words(column, frame[column.name])):
                total += word * np.uint64(_factor(column.name, part))
    return _mixed(total)


def row_hash_sql(kind: Kind) -> str:
    """The hash of a row as a ClickHouse expression (UInt64) over the columns of the kind."""
    terms = [
        f"{word} * toUInt64({_factor(column.name, part)})"
        for column in kind.columns
        if column.name not in group_columns(kind)
        for part, word in enumerate(_column_words_sql(column))
    ]
    return _mixed_sql(" + ".join(terms))


def fingerprint_query(kind: Kind, source: str) -> str:
    """A ClickHouse query for the fingerprint of `source`, which is a FROM clause: a table, its WHERE included."""
    names = ", ".join(group_columns(kind))
    grouped = f"GROUP BY {names}" if names else "HAVING count() > 0"
    listed = f"{names}, " if names else ""
    return f"SELECT {listed}count(), sum({row_hash_sql(kind)}) FROM {source} {grouped}"


def _factor(name: str, part: int) -> int:
    """The odd 64-bit factor of one 64-bit part of a column's values."""
    word = hashlib.blake2b(f"{name}.{part}".encode(), digest_size=8).digest()
    return int.from_bytes(word, "little") | 1


def _mixed(words: UInt64Array) -> UInt64Array:
    words = (words ^ (words >> np.uint64(32))) * np.uint64(_MIX_FACTOR)
    mixed: UInt64Array = (words ^ (words >> np.uint64(32))) * np.uint64(_MIX_FACTOR)
    return mixed


def _mixed_sql(words: str) -> str:
    once = "bitXor({0}, bitShiftRight({0}, 32)) * toUInt64(" + str(_MIX_FACTOR) + ")"
    # ClickHouse evaluates the repeated inner expression once.
    return once.format(f"({once.format(f'({words})')})")


def _column_words(column: Column, values: pl.Series) -> list[UInt64Array]:
    """The bits of a column's values as 64-bit words: two arrays for a decimal, one otherwise."""
    if column.type == "decimal":
        pairs = np.frombuffer(values.to_arrow().buffers()[1], np.uint64)[: 2 * len(values)]
        return [pairs[0::2], pairs[1::2]]
    if column.type == "doubles":
        return [_list_words(values)]
    if column.type in ("symbol", "text"):
        return [_text_words(values, _null(column))]
    present = values.is_not_null().to_numpy()
    if column.type == "double":
        bits = values.fill_null(0.0).to_numpy().view(np.uint64)
    else:
        bits = values.cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)
    return [bits if present.all() else np.where(present, bits, np.uint64(_null(column)))]


def _column_words_sql(column: Column) -> list[str]:
    name = column.name
    if column.type == "decimal":
        whole = f"reinterpretAsUInt128({name})"
        return [f"toUInt64(bitAnd({whole}, toUInt128({_MASK_64})))", f"toUInt64(bitShiftRight({whole}, 64))"]
    if column.type == "doubles":
        place = f"reinterpretAsUInt64(x) + toUInt64(i) * toUInt64({_INDEX_FACTOR})"
        levels = f"arraySum(arrayMap((x, i) -> {_mixed_sql(f'({place})')}, {name}, arrayEnumerate({name})))"
        return [f"(toUInt64({levels}) + toUInt64(length({name})))"]
    if column.type in ("symbol", "text"):
        text = f"assumeNotNull({name})" if column.nullable else name
        # On a LowCardinality column ClickHouse computes this once for each distinct value.
        bits = f"toUInt64(reinterpretAsUInt64(substring(MD5({text}), 1, 8)))"
    elif column.type == "time":
        bits = f"reinterpretAsUInt64(toUnixTimestamp64Nano({name}))"
    elif column.type == "double":
        bits = f"reinterpretAsUInt64({f'assumeNotNull({name})' if column.nullable else name})"
    else:
        bits = f"reinterpretAsUInt64(toInt64({f'assumeNotNull({name})' if column.nullable else name}))"
    return [f"if(isNull({name}), toUInt64({_null(column)}), {bits})" if column.nullable else bits]


def _null(column: Column) -> int:
    return _NULL_TRADE_ID if column.name == "trade_id" else _NULL


def _text_words(values: pl.Series, null: int) -> UInt64Array:
    """The first 8 bytes of the MD5 of each text, `null` for NULL; every distinct text is hashed once."""
    if values.is_empty():
        return np.zeros(0, np.uint64)
    distinct = values.unique()
    hashes = [null if text is None else _md5(text) for text in distinct]
    hashed = values.replace_strict(distinct, pl.Series(hashes, dtype=pl.UInt64), return_dtype=pl.UInt64)
    words: UInt64Array = hashed.to_numpy()
    return words


def _md5(text: str) -> int:
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:8], "little")


def _list_words(values: pl.Series) -> UInt64Array:
    """One word for each list: the sum of its values' bits, each mixed with its index (from 1), plus its length."""
    lists = values.to_arrow()
    ends = np.asarray(lists.offsets).astype(np.int64)
    flat = np.asarray(lists.values)[ends[0] : ends[-1]].view(np.uint64)
    lengths = np.diff(ends)
    places = np.arange(len(flat)) - np.repeat(ends[:-1] - ends[0], lengths) + 1
    mixed = _mixed(flat + places.astype(np.uint64) * np.uint64(_INDEX_FACTOR))
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    starts, stops = ends[:-1] - ends[0], ends[1:] - ends[0]
    words: UInt64Array = running[stops] - running[starts] + lengths.astype(np.uint64)
    return words
