"""The kinds of records and their columns, the single definition of them.

Every column has a logical type, and `TYPES` maps logical types to those of numpy, Arrow, QuestDB, ClickHouse and
TimescaleDB. The DDL files are tested against this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Literal

from tapehouse.errors import UsageError

Logical = Literal["time", "symbol", "text", "long", "byte", "short", "double", "doubles", "flag", "decimal"]


@dataclass(frozen=True)
class Types:
    """The types of each system for one logical type."""

    numpy: str
    arrow: str
    questdb: str
    clickhouse: str
    timescale: str


TYPES: dict[Logical, Types] = {
    "time": Types("<i8", "timestamp[ns, tz=UTC]", "TIMESTAMP_NS", "DateTime64(9, 'UTC')", "BIGINT"),
    "symbol": Types("object", "dictionary<int32, string>", "SYMBOL", "LowCardinality(String)", "TEXT"),
    "text": Types("object", "string", "VARCHAR", "String", "TEXT"),
    "long": Types("<i8", "int64", "LONG", "Int64", "BIGINT"),
    "byte": Types("|i1", "int8", "BYTE", "Int8", "SMALLINT"),
    "short": Types("<i2", "int16", "SHORT", "Int16", "SMALLINT"),
    "double": Types("<f8", "double", "DOUBLE", "Float64", "DOUBLE PRECISION"),
    "doubles": Types("object", "list<double>", "DOUBLE[]", "Array(Float64)", "DOUBLE PRECISION[]"),
    "flag": Types("|b1", "bool", "BOOLEAN", "Bool", "BOOLEAN"),
    # 16 bytes, little endian, two's complement of value * 10**18: Arrow's decimal128 layout.
    "decimal": Types("|V16", "decimal128(38, 18)", "DECIMAL(38, 18)", "Decimal(38, 18)", "NUMERIC(38, 18)"),
}


class Flags(IntFlag):
    """Bits of a row's `flags`. Bars include a trade when none of NO_BAR's bits is set."""

    CANCELLED = 1
    NOT_IN_BARS = 2
    ESTIMATED_TIME = 4


NO_BAR = Flags.CANCELLED | Flags.NOT_IN_BARS

PRICE_MAX = 1e12
SIZE_MAX = 1e15
SEQ_MAX = 2**63 - 2
NAME_MAX = 256
"""Characters of a venue, a symbol or another text of a row, at most."""
NULL_LONG = -(2**63)
"""The null of nullable columns of longs, as in QuestDB."""


@dataclass(frozen=True)
class Column:
    """A column. `low` and `high` are inclusive bounds of its values; `nullable` allows nulls."""

    name: str
    type: Logical
    low: float | int | None = None
    high: float | int | None = None
    nullable: bool = False
    default: int | bool | None = None
    """The value when a source lacks the column; None: a source must have it, unless it is nullable."""

    @property
    def types(self) -> Types:
        """The column's type in each system."""
        return TYPES[self.type]


@dataclass(frozen=True)
class Kind:
    """A kind of record: its columns in table order, and the columns of the key that identifies a row."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    time: str = "ts_event"
    """The time column, which days and time spans refer to; QuestDB's designated timestamp."""
    optional: tuple[str, ...] = ()
    """Columns of texts that a batch may be made without, and a message may lack: null in all rows."""
    computed: tuple[Column, ...] = ()
    """Columns that no store has: the gateway computes them, and answers have them after the stored ones."""

    def column(self, name: str) -> Column:
        """The column called `name`. Raises KeyError when there is none."""
        for column in self.answer_columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the stored columns, in table order."""
        return tuple(column.name for column in self.columns)

    @property
    def answer_columns(self) -> tuple[Column, ...]:
        """The columns of answers: the stored and the computed ones."""
        return self.columns + self.computed

    @property
    def answer_names(self) -> tuple[str, ...]:
        """The names of the columns of answers, in order."""
        return tuple(column.name for column in self.answer_columns)


def _price(name: str, nullable: bool = False) -> Column:
    # Negative prices occur: spreads, power, and oil in April 2020.
    return Column(name, "double", -PRICE_MAX, PRICE_MAX, nullable)


def _size(name: str, nullable: bool = False) -> Column:
    return Column(name, "double", 0, SIZE_MAX, nullable)


_ROW = (
    Column("ts_event", "time"),
    Column("ts_recv", "time"),
    Column("venue", "symbol"),
    Column("symbol", "symbol"),
    Column("seq", "long", 0, SEQ_MAX),
)
_KEY = ("ts_event", "venue", "symbol", "seq")
_FLAGS = Column("flags", "short", 0, 7, default=0)

TRADES = Kind(
    "trades",
    (
        *_ROW,
        _price("price"),
        _size("size"),
        Column("side", "byte", -1, 1, default=0),
        _FLAGS,
        Column("exchange", "symbol", nullable=True),
        Column("conditions", "symbol", nullable=True),
        # What the source calls the trade where that is not its seq: a UUID, an exchange's own id.
        Column("trade_id", "text", nullable=True),
    ),
    _KEY,
    optional=("trade_id",),
)
QUOTES = Kind(
    "quotes",
    # An empty side of the book has neither price nor size.
    (
        *_ROW,
        _price("bid", True),
        _size("bid_size", True),
        _price("ask", True),
        _size("ask_size", True),
        _FLAGS,
    ),
    _KEY,
)
DEPTH = Kind(
    "depth",
    (
        *_ROW,
        Column("snapshot", "flag", default=False),
        Column("seq_first", "long", 0, SEQ_MAX, nullable=True),
        Column("seq_previous", "long", 0, SEQ_MAX, nullable=True),
        Column("bid_prices", "doubles", -PRICE_MAX, PRICE_MAX),
        Column("bid_sizes", "doubles", 0, SIZE_MAX),
        Column("ask_prices", "doubles", -PRICE_MAX, PRICE_MAX),
        Column("ask_sizes", "doubles", 0, SIZE_MAX),
        _FLAGS,
    ),
    (*_KEY, "snapshot"),
)
ACCOUNT_TRADES = Kind(
    "account_trades",
    (
        Column("ts_event", "time"),
        Column("ts_recv", "time"),
        Column("account_id", "long", 0, SEQ_MAX),
        Column("id", "long", 0, SEQ_MAX),
        Column("total_done", "decimal"),
        Column("trx_amount", "decimal"),
        Column("amount", "decimal"),
        Column("trans_type", "short", 0, 32767),
    ),
    ("ts_event", "account_id", "id"),
)
GAPS = Kind(
    "gaps",
    (
        Column("ts_event", "time"),
        Column("ts_recv", "time"),
        Column("venue", "symbol"),
        Column("symbol", "symbol"),
        Column("seq", "long", 0, SEQ_MAX),
        Column("kind", "symbol"),
        Column("ts_end", "time"),
        Column("seq_last", "long", 0, SEQ_MAX, nullable=True),
        Column("missing", "long", 0, SEQ_MAX, nullable=True),
        Column("closed", "flag", default=False),
        Column("reason", "symbol", nullable=True),
    ),
    (*_KEY, "kind"),
)
BARS = Kind(
    "bars",
    (
        Column("ts", "time"),
        Column("venue", "symbol"),
        Column("symbol", "symbol"),
        _price("open"),
        _price("high"),
        _price("low"),
        _price("close"),
        Column("volume", "double"),
        Column("turnover", "double"),
        Column("trades", "long"),
        Column("buy_volume", "double"),
        Column("seq_first", "long"),
        Column("seq_last", "long"),
    ),
    ("ts", "venue", "symbol"),
    time="ts",
    # Whether the interval has ended, by `barmaker.grace_s`; see `gateway/answers/finality.py`.
    computed=(Column("final", "flag"),),
)

ACCOUNT_CANDLES = Kind(
    "account_candles",
    (
        Column("ts", "time"),
        Column("account_id", "long", 0, SEQ_MAX),
        # Of `amount`: first and last by (ts_event, id).
        Column("open", "decimal"),
        Column("high", "decimal"),
        Column("low", "decimal"),
        Column("close", "decimal"),
        # The sum of `trx_amount`.
        Column("volume", "decimal"),
        Column("trades", "long"),
    ),
    ("ts", "account_id"),
    time="ts",
)

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (TRADES, QUOTES, DEPTH, ACCOUNT_TRADES, GAPS, BARS, ACCOUNT_CANDLES)
}
TICKS: tuple[Kind, ...] = (TRADES, QUOTES, DEPTH, ACCOUNT_TRADES, GAPS)
"""The kinds that are published to the stream as batches; bars and candles are computed from them."""
OF_ACCOUNTS = (ACCOUNT_TRADES.name, ACCOUNT_CANDLES.name)
"""The kinds of accounts, which have no venue and no symbol."""


def kind_named(name: str) -> Kind:
    """The kind called `name`. Raises UsageError with the valid names."""
    try:
        return KINDS[name]
    except KeyError:
        raise UsageError(f"kind: expected one of {' '.join(KINDS)}, was {name!r}", kind=name) from None
