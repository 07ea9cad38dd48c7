"""What a batch should be in QuestDB, and what is there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tapehouse.batch import Batch, Lists, Strings
from tapehouse.model import NULL_LONG, Kind
from tapehouse.stores.questdb import QuestReader

Row = dict[str, Any]


def stored(reader: QuestReader, kind: Kind, where: str, value: object) -> list[Row]:
    """The rows of a kind whose column `where` is `value`, as the database gives them, times in ns."""
    reader.wait_applied(kind.name)
    columns = ", ".join(
        f"cast({column.name} AS long)" if column.type == "time" else column.name for column in kind.columns
    )
    found = reader.fetch(f"SELECT {columns} FROM {kind.name} WHERE {where} = %s", [value])
    return [dict(zip(kind.names, row, strict=True)) for row in found]


def expected(*batches: Batch) -> list[Row]:
    """The rows of batches of one kind as the database should give them: of equal keys the last."""
    kind = batches[0].kind
    last = {tuple(row[name] for name in kind.key): row for batch in batches for row in _rows(batch)}
    return by_key([*last.values()], kind)


def by_key(rows: list[Row], kind: Kind) -> list[Row]:
    """Rows in an order of their own."""
    return sorted(rows, key=lambda row: [str(row[name]) for name in kind.key])


def _rows(batch: Batch) -> list[Row]:
    rows: list[Row] = [{} for _ in range(batch.rows)]
    for column in batch.kind.columns:
        for index, row in enumerate(rows):
            row[column.name] = (
                batch.venue if column.name == "venue" else _value(batch.columns[column.name], index)
            )
    return rows


def _value(data: Any, index: int) -> object:
    if isinstance(data, Strings):
        return data.slice(index, index + 1).to_list()[0]
    if isinstance(data, Lists):
        return data.row(index).tolist()
    if data.dtype.kind == "V":
        return Decimal(f"{int.from_bytes(data[index].tobytes(), 'little', signed=True)}e-18")
    value = data[index].item()
    return None if value != value or value == NULL_LONG else value
