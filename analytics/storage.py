"""How the rows of a kind are stored in the cold tables, where that is not column by column."""

from __future__ import annotations

from tapehouse.errors import TapehouseError
from tapehouse.model import TRADES, Column, Kind

_NS = "toUnixTimestamp64Nano(ts_event)"
_NEAR = 2**40
"""A seq made from time is less than this above ts_event, in ns: 18 minutes."""
_STORED = {
    "ts_recv": ("delay", f"toUnixTimestamp64Nano(ts_recv) - {_NS}"),
    "seq": ("seq_code", f"if(seq - {_NS} >= 0 AND seq - {_NS} < {_NEAR}, seq - {_NS} - {_NEAR}, seq)"),
}
"""Of trades: what a column is stored as, and from what; see ddl/clickhouse/0001_trades.sql."""


def columns(kind: Kind) -> str:
    """The columns of a kind, as rows are read."""
    return ", ".join(kind.names)


def insertion(kind: Kind, table: str) -> str:
    """What stands between INSERT INTO and a query or a format whose columns are those of the kind."""
    if kind is not TRADES:
        return f"{table} ({columns(kind)})"
    stored = ", ".join(_STORED.get(name, (name,))[0] for name in kind.names)
    return f"{table} ({stored})"


def selection(kind: Kind, source: str) -> str:
    """A query of the columns that `insertion` names, from a source with those of the kind."""
    if kind is not TRADES:
        return f"SELECT {columns(kind)} FROM {source}"
    stored = ", ".join(_STORED.get(name, (name, name))[1] for name in kind.names)
    return f"SELECT {stored} FROM {source}"


def partition(day: str) -> int:
    """The name of a day's partition: 2026-11-21 is 20261121."""
    number = int(day.replace("-", ""))
    if not 19700101 <= number <= 22611231:
        raise TapehouseError(f"day: expected YYYY-MM-DD from 1970 to 2261, was {day!r}")
    return number


def of_day(kind: Kind, day: str) -> str:
    """What chooses the rows of a day."""
    return f"toYYYYMMDD({kind.time}) = {partition(day)}"


def from_file(kind: Kind, *more: str) -> str:
    """The rows of a file that is sent along, as a source; `more` are columns besides those of the kind."""
    structure = [f"{column.name} {_in_file(column)}" for column in kind.columns]
    quoted = ", ".join([*structure, *more]).replace("'", r"\'")
    return f"input('{quoted}')"


def table_type(column: Column) -> str:
    """A column's type in a table of its kind."""
    name = column.types.clickhouse
    if not column.nullable:
        return name
    return name.replace("(String)", "(Nullable(String))") if column.type == "symbol" else f"Nullable({name})"


def _in_file(column: Column) -> str:
    # Dictionaries are made by the table; a file has plain strings.
    plain = column.types.clickhouse.replace("LowCardinality(String)", "String")
    return f"Nullable({plain})" if column.nullable else plain
