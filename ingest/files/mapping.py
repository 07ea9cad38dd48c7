"""Maps the columns of a source to model columns: by explicit mapping, else by usual names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ingest.files.options import NumberBy
from tapehouse.errors import UsageError
from tapehouse.model import ACCOUNT_TRADES, Column, Kind

ALIASES = {"ts": "ts_event", "id": "seq", "buyer_maker": "side"}
"""Short names of model columns in a mapping."""
DATE = Column("date", "time")
"""Not of the model: the column of a source with the dates of its times of day. Only a mapping names it."""
LEFT_OUT = "-"
"""In a mapping, in place of a source column: the model column is not read."""
_BUYER_MAKER = {"buyermaker", "isbuyermaker", "isbuyerthemaker"}
"""Names of columns that say whether the buyer was the maker, so that the seller took."""
_UNMAPPED = ("flags",)
"""Model columns that no usual name gives: a vendor's flags are not these."""

_TRADE_SEQ = "seq sequence trade_id id agg_trade_id"
_TIMES = {
    "ts_event": "ts_event ts time timestamp datetime event_time trade_time transact_time",
    "ts_recv": "ts_recv recv_time receive_time received_at local_timestamp",
}
_ROW = {**_TIMES, "symbol": "symbol sym ticker instrument"}
ACCOUNT_TRADE_KEYS = {
    "ts_event": "Transtime",
    "account_id": "Accountid",
    "id": "ID",
    "total_done": "Totaldone",
    "trx_amount": "Trx Amount",
    "amount": "Amount",
    "trans_type": "Transtype",
}
"""Model column -> key in the documented account trade; takes precedence over the usual names."""
_USUAL_NAMES: dict[str, dict[str, str]] = {
    "trades": {
        **_ROW,
        "seq": _TRADE_SEQ,
        "price": "price px p trade_price",
        "size": "size qty quantity volume vol amount trade_size",
        "side": "side taker_side aggressor_side aggressor is_buyer_maker buyer_maker is_buyer_the_maker",
        "exchange": "exchange exch participant",
        "conditions": "conditions condition sale_conditions sale_condition cond",
        "trade_id": "trade_id uuid trade_uuid match_id",
    },
    "quotes": {
        **_ROW,
        "seq": "seq sequence update_id id",
        "bid": "bid bid_price bid_px best_bid best_bid_price",
        "bid_size": "bid_size bid_qty bid_quantity bid_amount bid_volume best_bid_size best_bid_qty",
        "ask": "ask ask_price ask_px best_ask best_ask_price offer",
        "ask_size": "ask_size ask_qty ask_quantity ask_amount ask_volume best_ask_size best_ask_qty",
    },
    "depth": {
        **_ROW,
        "seq": "seq sequence update_id final_update_id last_update_id",
        "snapshot": "snapshot is_snapshot",
        "seq_first": "seq_first first_update_id",
        "seq_previous": "seq_previous previous_update_id",
        "bid_prices": "bid_prices",
        "bid_sizes": "bid_sizes",
        "ask_prices": "ask_prices",
        "ask_sizes": "ask_sizes",
    },
    "account_trades": {
        **_TIMES,
        "ts_event": f"{_TIMES['ts_event']} Transtime",
        "account_id": "account_id account",
        "id": "id",
        "total_done": "total_done",
        "trx_amount": "trx_amount",
        "amount": "amount",
        "trans_type": "trans_type",
    },
}
"""Kind -> model column -> its usual names; only letters and digits are compared, without case."""


@dataclass(frozen=True)
class ColumnMapping:
    """The model columns that a source provides."""

    columns: tuple[tuple[Column, str], ...]
    """In the model's order, each with the source column's name."""
    notes: tuple[str, ...]
    """What was recognised by another name and what is ignored, to be shown to the user."""
    buyer_maker: bool = False
    """Whether the column of `side` says if the buyer was the maker."""
    date: str | None = None
    """The source's column of `DATE`."""

    @property
    def read(self) -> tuple[tuple[Column, str], ...]:
        """The columns to be read: the model's, and that of `DATE`."""
        return self.columns if self.date is None else (*self.columns, (DATE, self.date))

    def has(self, name: str) -> bool:
        """Whether the source provides the model column `name`."""
        return any(column.name == name for column, _ in self.columns)


def map_columns(
    kind: Kind,
    venue: str,
    names: tuple[str, ...],
    symbol: str | None,
    mapping: Mapping[str, str],
    *,
    strict: bool = False,
    number_by: NumberBy | None = None,
) -> ColumnMapping:
    """The columns of a source with columns `names`.

    What `mapping` (model column or alias -> source column) names is taken from there, the rest by the usual
    names; LEFT_OUT in place of a source column leaves the model column out. With `number_by` "time" no column is seq:
    the ids are trade_id. Rows of a `strict` source that have other columns are rejected; else such columns are ignored.
    Raises UsageError where a name is unknown, absent or ambiguous, or a required column is missing.
    """
    date = mapping.get(DATE.name)
    explicit = _explicit_mapping(
        kind, names, {name: source for name, source in mapping.items() if name != DATE.name}
    )
    if date is not None:
        _check_source(DATE.name, date, names)
    if symbol is not None and "symbol" in explicit:
        raise UsageError(
            "symbol: expected --symbol or a mapped column, was both", remedy="Leave one of the two out."
        )
    notes: list[str] = []
    if number_by == "time" and "seq" in kind.names:
        if (ids := _unnumbered_ids(kind, names, explicit)) is not None:
            explicit["trade_id"] = ids
            notes.append(f"trade_id: read from column {ids}")
        explicit["seq"] = LEFT_OUT
    free = [name for name in names if name not in (*explicit.values(), date)]
    chosen, found = _chosen_columns(kind, explicit, free, symbol)
    notes += found
    _check_required(kind, names, chosen, symbol)
    if strict:
        others = [name for name in names if name not in (*chosen.values(), date)]
        notes.extend([f"unknown keys, whose rows go to quarantine: {', '.join(others)}"] if others else [])
    else:
        used = chosen if date is None else {**chosen, DATE.name: date}
        notes.extend(_describe_ignored(names, used, venue, symbol))
    buyer_maker = "buyer_maker" in mapping or _normalize(chosen.get("side", "")) in _BUYER_MAKER
    if buyer_maker:
        notes.append(
            f"side: {chosen['side']} says whether the buyer was the maker: true is -1, the seller took"
        )
    columns = tuple((column, chosen[column.name]) for column in kind.columns if column.name in chosen)
    return ColumnMapping(columns, tuple(notes), buyer_maker, date)


def _chosen_columns(
    kind: Kind, explicit: Mapping[str, str], free: list[str], symbol: str | None
) -> tuple[dict[str, str], list[str]]:
    """(model column -> source column, notes on those found by a usual name among `free`)."""
    chosen: dict[str, str] = {}
    notes: list[str] = []
    for column in kind.columns:
        name = column.name
        if name in explicit:
            if explicit[name] != LEFT_OUT:
                chosen[name] = explicit[name]
        elif name not in ("venue", *_UNMAPPED) and not (name == "symbol" and symbol is not None):
            others = [source for source in free if source not in chosen.values()]
            source = _find_by_usual_name(kind, name, others if name == "trade_id" else free)
            if source is not None:
                chosen[name] = source
                if source.lower() != name:
                    notes.append(f"{name}: read from column {source}")
    return chosen, notes


def _explicit_mapping(kind: Kind, names: tuple[str, ...], mapping: Mapping[str, str]) -> dict[str, str]:
    explicit: dict[str, str] = {}
    for given, source in mapping.items():
        name = given if given in kind.names else ALIASES.get(given, given)
        if name == "venue":
            raise UsageError(
                "--map venue: the venue is given by --venue",
                remedy="--map exchange=COLUMN keeps a file's column of exchanges.",
            )
        if name not in kind.names:
            known = " ".join(name for name in kind.names if name != "venue")
            raise UsageError(
                f"--map {given}: expected a column of {kind.name}, one of {known}, was {given!r}"
            )
        if name in explicit:
            raise UsageError(f"--map {given}: {name} is mapped twice, to {explicit[name]!r} and {source!r}")
        if source != LEFT_OUT:
            _check_source(given, source, names)
        explicit[name] = source
    return explicit


def _unnumbered_ids(kind: Kind, names: tuple[str, ...], explicit: Mapping[str, str]) -> str | None:
    """The column of ids, which do not number the rows; None where there is none, or where it is mapped."""
    if "trade_id" not in kind.names or "trade_id" in explicit or explicit.get("seq") == LEFT_OUT:
        return None
    found = explicit.get("seq") or _find_by_usual_name(kind, "trade_id", list(names))
    return found or _find_by_usual_name(kind, "seq", list(names))


def _check_source(given: str, source: str, names: tuple[str, ...]) -> None:
    """Raise UsageError where a source has not one column of that name."""
    if names.count(source) != 1:
        problem = "is there more than once" if source in names else "is not there"
        raise UsageError(
            f"--map {given}={source}: column {source!r} {problem}, the columns are: {', '.join(names)}"
        )


def _find_by_usual_name(kind: Kind, name: str, free: list[str]) -> str | None:
    if kind is ACCOUNT_TRADES and free.count(ACCOUNT_TRADE_KEYS.get(name, "")) == 1:
        return ACCOUNT_TRADE_KEYS[name]
    usual = _USUAL_NAMES[kind.name].get(name, name).split()
    own = [source for source in free if _normalize(source) == _normalize(name)]
    candidates = own or [
        source for source in free if _normalize(source) in {_normalize(word) for word in usual}
    ]
    if len(candidates) > 1:
        short = "ts" if name == "ts_event" else name
        raise UsageError(
            f"{name}: expected one column, was {' and '.join(candidates)}",
            remedy=f"Say which: --map {short}={candidates[0]} or --map {short}={candidates[-1]}"
            if len(set(candidates)) > 1
            else "Give the columns names of their own.",
        )
    return candidates[0] if candidates else None


def _normalize(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _check_required(
    kind: Kind, names: tuple[str, ...], chosen: Mapping[str, str], symbol: str | None
) -> None:
    there = f"the columns are: {', '.join(names)}"
    for column in kind.columns:
        name = column.name
        if (
            name in chosen
            or name in ("ts_recv", "venue", "seq")
            or column.nullable
            or column.default is not None
        ):
            continue
        if name == "symbol":
            if symbol is None:
                raise UsageError(
                    f"symbol: expected a column symbol or --symbol, {there}",
                    remedy="Give --symbol NAME, or --map symbol=COLUMN.",
                )
            continue
        usual = ", ".join(_USUAL_NAMES[kind.name].get(name, name).split())
        raise UsageError(
            f"{name}: expected a column named one of {usual}; {there}",
            remedy=f"Say which it is: --map {'ts' if name == 'ts_event' else name}=COLUMN",
        )
    if kind.name == "quotes" and "bid" not in chosen and "ask" not in chosen:
        raise UsageError(
            f"bid, ask: expected a column of at least one of them; {there}",
            remedy="Say which they are: --map bid=COLUMN,ask=COLUMN",
        )


def _describe_ignored(
    names: tuple[str, ...], chosen: Mapping[str, str], venue: str, symbol: str | None
) -> list[str]:
    notes, rest = [], []
    for name in names:
        if name in chosen.values():
            continue
        if _normalize(name) == "venue":
            notes.append(f"column {name} ignored: venue is {venue}")
        elif _normalize(name) == "symbol" and symbol is not None:
            notes.append(f"column {name} ignored: symbol is {symbol}")
        elif _normalize(name) in _UNMAPPED:
            notes.append(
                f"column {name} ignored: a vendor's have other meanings (--map {name.lower()}={name} takes it)"
            )
        else:
            rest.append(name or "(one without a name)")
    if rest:
        notes.append(f"columns ignored: {', '.join(rest)}")
    return notes
