"""The fingerprint of rows: what a day must have in common with its copy.

Every row becomes one number of 64 bits: each of its columns, taken by its bits (a text by its MD5), times a factor
of its own, all added; then mixed, so that the sum of the rows' numbers differs when values change places
between rows, though each column as a whole stays the same. Rows are counted and their numbers added by venue and
symbol. All is arithmetic modulo 2**64 on bits, so it is exact for every value that the model allows, and its order
does not matter.

`of_frame` does it in numpy for rows that were read, `statement` says it in ClickHouse's SQL.
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

Words: TypeAlias = NDArray[np.uint64]
Names: TypeAlias = tuple[str | None, ...]

_NULL = (1 << 64) - 1
"""Of an absent value: as a double it is no number, as a long below zero, so no value has these bits."""
_MIX = 0xD6E8FEB86659FD93
_PLACE = 0x9E3779B97F4A7C15
_ALL = (1 << 64) - 1


@dataclass(frozen=True)
class Fingerprint:
    """By the names of rows: how many there are, and the sum of their numbers."""

    groups: dict[Names, tuple[int, int]]

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(count for count, _ in self.groups.values())

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for the whole."""
        ordered = sorted(self.groups.items(), key=lambda group: json.dumps(group[0]))
        return hashlib.blake2b(json.dumps(ordered).encode(), digest_size=16).hexdigest()

    @staticmethod
    def sum(parts: Iterable[Fingerprint]) -> Fingerprint:
        """That of all the rows of parts."""
        counts: Counter[Names] = Counter()
        sums: Counter[Names] = Counter()
        for part in parts:
            for names, (count, total) in part.groups.items():
                counts[names] += count
                sums[names] += total
        return Fingerprint({names: (count, sums[names] & _ALL) for names, count in counts.items()})

    def less(self, part: Fingerprint) -> Fingerprint:
        """That of the rows that are left without those of a part."""
        groups = {}
        for names in {*self.groups, *part.groups}:
            count, total = self.groups.get(names, (0, 0))
            gone, sum_gone = part.groups.get(names, (0, 0))
            if (count - gone, left := (total - sum_gone) & _ALL) != (0, 0):
                groups[names] = (count - gone, left)
        return Fingerprint(groups)

    def differs(self, other: Fingerprint) -> list[Names]:
        """The names of rows that are not the same in both, in order."""
        both = {*self.groups, *other.groups}
        return sorted(
            (names for names in both if self.groups.get(names) != other.groups.get(names)), key=json.dumps
        )


def names_of(kind: Kind) -> tuple[str, ...]:
    """The columns that rows are grouped by."""
    return tuple(name for name in ("venue", "symbol") if name in kind.names)


def of_frame(kind: Kind, frame: pl.DataFrame) -> Fingerprint:
    """Of rows with all columns of `kind`, times as Datetime(ns)."""
    numbers = row_numbers(kind, frame)
    names = names_of(kind)
    # In halves, for their sums to stay within 64 bits up to 2**32 rows.
    halves = pl.DataFrame({"low": numbers & np.uint64(0xFFFFFFFF), "high": numbers >> np.uint64(32)})
    sums = (pl.len().alias("rows"), pl.col("low", "high").sum())
    rows = halves.with_columns(frame[name] for name in names)
    grouped = rows.group_by(names).agg(*sums) if names else rows.select(*sums)
    return Fingerprint(
        {
            tuple(row[: len(names)]): (row[-3], (row[-2] + (row[-1] << 32)) & _ALL)
            for row in grouped.iter_rows()
            if row[-3]
        }
    )


def of_rows(rows: Iterable[tuple[Any, ...]]) -> Fingerprint:
    """Of what `statement` answers."""
    return Fingerprint({tuple(row[:-2]): (int(row[-2]), int(row[-1])) for row in rows})


def row_numbers(kind: Kind, frame: pl.DataFrame) -> Words:
    """The number of each row."""
    total = np.zeros(frame.height, np.uint64)
    for column in kind.columns:
        if column.name not in names_of(kind):
            for part, word in enumerate(_words(column, frame[column.name])):
                total += word * np.uint64(_factor(column.name, part))
    return _mixed(total)


def row_number_sql(kind: Kind) -> str:
    """The number of a row, as an expression of ClickHouse over the kind's columns."""
    terms = [
        f"{word} * toUInt64({_factor(column.name, part)})"
        for column in kind.columns
        if column.name not in names_of(kind)
        for part, word in enumerate(_words_sql(column))
    ]
    return _mixed_sql(" + ".join(terms))


def statement(kind: Kind, source: str) -> str:
    """A query of ClickHouse for the fingerprint of `source`: what stands behind FROM."""
    names = ", ".join(names_of(kind))
    grouped = f"GROUP BY {names}" if names else "HAVING count() > 0"
    listed = f"{names}, " if names else ""
    return f"SELECT {listed}count(), sum({row_number_sql(kind)}) FROM {source} {grouped}"


def _factor(name: str, part: int) -> int:
    """An odd number, of a column and of a part of its value."""
    word = hashlib.blake2b(f"{name}.{part}".encode(), digest_size=8).digest()
    return int.from_bytes(word, "little") | 1


def _mixed(words: Words) -> Words:
    words = (words ^ (words >> np.uint64(32))) * np.uint64(_MIX)
    mixed: Words = (words ^ (words >> np.uint64(32))) * np.uint64(_MIX)
    return mixed


def _mixed_sql(words: str) -> str:
    once = "bitXor({0}, bitShiftRight({0}, 32)) * toUInt64(" + str(_MIX) + ")"
    # The inner is computed once: ClickHouse finds what is common.
    return once.format(f"({once.format(f'({words})')})")


def _words(column: Column, values: pl.Series) -> list[Words]:
    """A column's values as words of their bits: two for a decimal, one else."""
    if column.type == "decimal":
        pairs = np.frombuffer(values.to_arrow().buffers()[1], np.uint64)[: 2 * len(values)]
        return [pairs[0::2], pairs[1::2]]
    if column.type == "doubles":
        return [_levels(values)]
    if column.type in ("symbol", "text"):
        return [_texts(values)]
    present = values.is_not_null().to_numpy()
    if column.type == "double":
        bits = values.fill_null(0.0).to_numpy().view(np.uint64)
    else:
        bits = values.cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)
    return [bits if present.all() else np.where(present, bits, np.uint64(_NULL))]


def _words_sql(column: Column) -> list[str]:
    name = column.name
    if column.type == "decimal":
        whole = f"reinterpretAsUInt128({name})"
        return [f"toUInt64(bitAnd({whole}, toUInt128({_ALL})))", f"toUInt64(bitShiftRight({whole}, 64))"]
    if column.type == "doubles":
        place = f"reinterpretAsUInt64(x) + toUInt64(i) * toUInt64({_PLACE})"
        levels = f"arraySum(arrayMap((x, i) -> {_mixed_sql(f'({place})')}, {name}, arrayEnumerate({name})))"
        return [f"(toUInt64({levels}) + toUInt64(length({name})))"]
    if column.type in ("symbol", "text"):
        text = f"assumeNotNull({name})" if column.nullable else name
        # Of a column with a dictionary ClickHouse does it once for each of its values.
        bits = f"toUInt64(reinterpretAsUInt64(substring(MD5({text}), 1, 8)))"
    elif column.type == "time":
        bits = f"reinterpretAsUInt64(toUnixTimestamp64Nano({name}))"
    elif column.type == "double":
        bits = f"reinterpretAsUInt64({f'assumeNotNull({name})' if column.nullable else name})"
    else:
        bits = f"reinterpretAsUInt64(toInt64({f'assumeNotNull({name})' if column.nullable else name}))"
    return [f"if(isNull({name}), toUInt64({_NULL}), {bits})" if column.nullable else bits]


def _texts(values: pl.Series) -> Words:
    """The first 8 bytes of each text's MD5, each different text looked at once."""
    if values.is_empty():
        return np.zeros(0, np.uint64)
    different = values.unique()
    words = [_NULL if text is None else _md5(text) for text in different]
    found = values.replace_strict(different, pl.Series(words, dtype=pl.UInt64), return_dtype=pl.UInt64)
    taken: Words = found.to_numpy()
    return taken


def _md5(text: str) -> int:
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:8], "little")


def _levels(values: pl.Series) -> Words:
    """One word for each list: its values' bits, each mixed with its place from 1 on, added; and its length."""
    lists = values.to_arrow()
    ends = np.asarray(lists.offsets).astype(np.int64)
    flat = np.asarray(lists.values)[ends[0] : ends[-1]].view(np.uint64)
    lengths = np.diff(ends)
    places = np.arange(len(flat)) - np.repeat(ends[:-1] - ends[0], lengths) + 1
    mixed = _mixed(flat + places.astype(np.uint64) * np.uint64(_PLACE))
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    starts, stops = ends[:-1] - ends[0], ends[1:] - ends[0]
    words: Words = running[stops] - running[starts] + lengths.astype(np.uint64)
    return words
