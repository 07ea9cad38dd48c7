"""SQL fragments that write and select rows of a kind in ClickHouse.

Trades store `ts_recv` and `seq` as differences to `ts_event`; see ddl/clickhouse/0001_trades.sql.
"""

from __future__ import annotations

from tapehouse.errors import TapehouseError
from tapehouse.model import TRADES, Column, Kind

_EVENT_NS = "toUnixTimestamp64Nano(ts_event)"
_SEQ_FROM_TIME_MAX = 2**40
"""A seq below ts_event + 2**40 ns (18 minutes) is stored as the difference, because it was made from time."""
_STORED_AS = {
    "ts_recv": ("delay", f"toUnixTimestamp64Nano(ts_recv) - {_EVENT_NS}"),
    "seq": (
        "seq_code",
        f"if(seq - {_EVENT_NS} >= 0 AND seq - {_EVENT_NS} < {_SEQ_FROM_TIME_MAX}, "
        f"seq - {_EVENT_NS} - {_SEQ_FROM_TIME_MAX}, seq)",
    ),
}
"""Of trades: column -> (stored column, expression that computes it)."""


def column_list(kind: Kind) -> str:
    """The columns of a kind, comma-separated, as they are read."""
    return ", ".join(kind.names)


def insert_target(kind: Kind, table: str) -> str:
    """The table and stored columns after INSERT INTO; the inserted rows come from `select_stored`."""
    if kind is not TRADES:
        return f"{table} ({column_list(kind)})"
    stored = ", ".join(_STORED_AS.get(name, (name,))[0] for name in kind.names)
    return f"{table} ({stored})"


def select_stored(kind: Kind, source: str) -> str:
    """A query of the stored columns in the order of `insert_target`, from a source with the columns of the kind."""
    if kind is not TRADES:
        return f"SELECT {column_list(kind)} FROM {source}"
    stored = ", ".join(_STORED_AS.get(name, (name, name))[1] for name in kind.names)
    return f"SELECT {stored} FROM {source}"


def partition_number(day: str) -> int:
    """The partition of a day: 20261121 for 2026-11-21. Raises TapehouseError for anything but such a day."""
    number = int(day.replace("-", ""))
    if not 19700101 <= number <= 22611231:
        raise TapehouseError(f"day: expected YYYY-MM-DD from 1970 to 2261, was {day!r}")
    return number


def day_filter(kind: Kind, day: str) -> str:
    """The condition that selects the rows of a day."""
    return f"toYYYYMMDD({kind.time}) = {partition_number(day)}"


def input_source(kind: Kind, *more: str) -> str:
    """A FROM clause for the file sent with the statement; `more` declares columns besides those of the kind."""
    structure = [f"{column.name} {_file_type(column)}" for column in kind.columns]
    quoted = ", ".join([*structure, *more]).replace("'", r"\'")
    return f"input('{quoted}')"


def column_type(column: Column) -> str:
    """The ClickHouse type of a column in the table of its kind."""
    name = column.types.clickhouse
    if not column.nullable:
        return name
    return name.replace("(String)", "(Nullable(String))") if column.type == "symbol" else f"Nullable({name})"


def _file_type(column: Column) -> str:
    # A file has plain strings; the table builds the dictionary.
    plain = column.types.clickhouse.replace("LowCardinality(String)", "String")
    return f"Nullable({plain})" if column.nullable else plain
