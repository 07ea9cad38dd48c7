from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.files.options import ReadOptions
from ingest.files.reader import Chunk, open_tick_file
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.model import TRADES, Kind


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    rows: list[dict[str, Any]]
    """One dict a record, by the model's names."""
    reasons: dict[int, str]
    """The reason by the line or row."""
    originals: dict[int, bytes]
    notes: tuple[str, ...]
    has_seq: bool
    rows_read: int

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {}
    for name, data in batch.columns.items():
        if isinstance(data, np.ndarray):
            columns[name] = data.tolist()
        elif isinstance(data, Strings):
            columns[name] = data.to_list()
        else:
            assert isinstance(data, Lists)
            columns[name] = [data.row(index).tolist() for index in range(batch.rows)]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def outcome_of(chunks: list[Chunk]) -> tuple[list[dict[str, Any]], dict[int, str], dict[int, bytes]]:
    rows = [row for chunk in chunks for batch in chunk.batches for row in rows_of(batch)]
    rejected = [one for chunk in chunks for one in chunk.rejected]
    places = [int(one.where.rsplit(" ", 1)[1]) for one in rejected]
    assert places == sorted(set(places))
    reasons = {place: one.reason for place, one in zip(places, rejected, strict=True)}
    return rows, reasons, {place: one.original for place, one in zip(places, rejected, strict=True)}


Reading = Callable[..., Outcome]


@pytest.fixture
def read(tmp_path: Path) -> Reading:
    """Write content to a file, unless it is a file already, and read all of it as trades of SPY."""

    def reading(
        content: bytes | str | Path, kind: Kind = TRADES, name: str = "ticks.csv", **how: Any
    ) -> Outcome:
        path = content if isinstance(content, Path) else tmp_path / name
        if not isinstance(content, Path):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        symbol = how.pop("symbol", "SPY")
        with open_tick_file(path, kind, "utp", symbol, ReadOptions(**how)) as source:
            chunks = list(source.chunks())
            return Outcome(
                *outcome_of(chunks), source.notes, source.has_seq, chunks[-1].rows_read if chunks else 0
            )

    return reading
