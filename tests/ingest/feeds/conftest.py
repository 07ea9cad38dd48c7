from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.feeds.files import Piece, open_source
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.model import TRADES, Kind


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of real market data, which stands beside the checkout."""
    for folder in Path(__file__).resolve().parents:
        data = folder / "shared" / "data"
        if (data / "README.md").is_file():
            return data
    pytest.skip("needs real market data in ../shared/data")


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


def outcome_of(pieces: list[Piece]) -> tuple[list[dict[str, Any]], dict[int, str], dict[int, bytes]]:
    rows = [row for piece in pieces for batch in piece.batches for row in rows_of(batch)]
    rejected = [one for piece in pieces for one in piece.rejected]
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
        with open_source(path, kind, "utp", how.pop("symbol", "SPY"), **how) as source:
            pieces = list(source.pieces())
            return Outcome(
                *outcome_of(pieces), source.notes, source.has_seq, pieces[-1].rows_read if pieces else 0
            )

    return reading
