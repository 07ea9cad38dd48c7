"""Which column of a source is which column of the model: as told, or by the names in use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tapehouse.errors import UsageError
from tapehouse.model import ACCOUNT_TRADES, Column, Kind

ALIASES = {"ts": "ts_event", "id": "seq", "trade_id": "seq"}
"""Other words for model columns in a mapping."""

_TRADE_NUMBER = "seq sequence trade_id id agg_trade_id"
_TIMES = {
    "ts_event": "ts_event ts time timestamp datetime event_time trade_time transact_time",
    "ts_recv": "ts_recv recv_time receive_time received_at local_timestamp",
}
_ROW = {**_TIMES, "symbol": "symbol sym ticker instrument", "flags": "flags"}
DOCUMENTED = {
    "ts_event": "Transtime",
    "account_id": "Accountid",
    "id": "ID",
    "total_done": "Totaldone",
    "trx_amount": "Trx Amount",
    "amount": "Amount",
    "trans_type": "Transtype",
}
"""The names that account trades come with; whatever else there is, these are theirs."""
_USUAL: dict[str, dict[str, str]] = {
    "trades": {
        **_ROW,
        "seq": _TRADE_NUMBER,
        "price": "price px p trade_price",
        "size": "size qty quantity volume vol amount trade_size",
        "side": "side taker_side aggressor_side aggressor",
        "exchange": "exchange exch participant",
        "conditions": "conditions condition sale_conditions sale_condition cond",
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
"""By kind and model column: its own name and the usual ones, compared by letters and digits alone."""


@dataclass(frozen=True)
class Found:
    """The model's columns that a source has."""

    columns: tuple[tuple[Column, str], ...]
    """In the model's order, each with the source column's name."""
    notes: tuple[str, ...]
    """What was recognised by another name, and what is ignored."""

    def has(self, name: str) -> bool:
        """Whether the source has that model column."""
        return any(column.name == name for column, _ in self.columns)


def find(
    kind: Kind,
    venue: str,
    names: tuple[str, ...],
    symbol: str | None,
    mapping: Mapping[str, str],
    *,
    strict: bool = False,
) -> Found:
    """The columns of a source with columns `names`.

    What `mapping` (model column or alias -> source column) names is taken from there, the rest by the usual
    names. Rows of a `strict` source that have other columns are refused; else such columns are ignored.
    Raises UsageError where a name is unknown, absent or not clear, or a required column is missing.
    """
    told = _told(kind, names, mapping)
    if symbol is not None and "symbol" in told:
        raise UsageError(
            "symbol: expected --symbol or a mapped column, was both", remedy="Leave one of the two out."
        )
    free = [name for name in names if name not in told.values()]
    chosen: dict[str, str] = {}
    notes: list[str] = []
    for column in kind.columns:
        name = column.name
        if name in told:
            chosen[name] = told[name]
        elif name != "venue" and not (name == "symbol" and symbol is not None):
            source = _usual(kind, name, free)
            if source is not None:
                chosen[name] = source
                if source.lower() != name:
                    notes.append(f"{name}: read from column {source}")
    _require(kind, names, chosen, symbol)
    if strict:
        others = [name for name in names if name not in chosen.values()]
        notes.extend([f"unknown keys, whose rows go to quarantine: {', '.join(others)}"] if others else [])
    else:
        notes.extend(_ignored(names, chosen, venue, symbol))
    columns = tuple((column, chosen[column.name]) for column in kind.columns if column.name in chosen)
    return Found(columns, tuple(notes))


def _told(kind: Kind, names: tuple[str, ...], mapping: Mapping[str, str]) -> dict[str, str]:
    told: dict[str, str] = {}
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
        if name in told:
            raise UsageError(f"--map {given}: {name} is mapped twice, to {told[name]!r} and {source!r}")
        if names.count(source) != 1:
            problem = "is there more than once" if source in names else "is not there"
            raise UsageError(
                f"--map {given}={source}: column {source!r} {problem}, the columns are: {', '.join(names)}"
            )
        told[name] = source
    return told


def _usual(kind: Kind, name: str, free: list[str]) -> str | None:
    if kind is ACCOUNT_TRADES and free.count(DOCUMENTED.get(name, "")) == 1:
        return DOCUMENTED[name]
    usual = _USUAL[kind.name].get(name, name).split()
    own = [source for source in free if _plain(source) == _plain(name)]
    candidates = own or [source for source in free if _plain(source) in {_plain(word) for word in usual}]
    if len(candidates) > 1:
        short = "ts" if name == "ts_event" else name
        raise UsageError(
            f"{name}: expected one column, was {' and '.join(candidates)}",
            remedy=f"Say which: --map {short}={candidates[0]} or --map {short}={candidates[-1]}"
            if len(set(candidates)) > 1
            else "Give the columns names of their own.",
        )
    return candidates[0] if candidates else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _require(kind: Kind, names: tuple[str, ...], chosen: Mapping[str, str], symbol: str | None) -> None:
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
        usual = ", ".join(_USUAL[kind.name].get(name, name).split())
        raise UsageError(
            f"{name}: expected a column named one of {usual}; {there}",
            remedy=f"Say which it is: --map {'ts' if name == 'ts_event' else name}=COLUMN",
        )
    if kind.name == "quotes" and "bid" not in chosen and "ask" not in chosen:
        raise UsageError(
            f"bid, ask: expected a column of at least one of them; {there}",
            remedy="Say which they are: --map bid=COLUMN,ask=COLUMN",
        )


def _ignored(names: tuple[str, ...], chosen: Mapping[str, str], venue: str, symbol: str | None) -> list[str]:
    notes, rest = [], []
    for name in names:
        if name in chosen.values():
            continue
        if _plain(name) == "venue":
            notes.append(f"column {name} ignored: venue is {venue}")
        elif _plain(name) == "symbol" and symbol is not None:
            notes.append(f"column {name} ignored: symbol is {symbol}")
        else:
            rest.append(name or "(one without a name)")
    if rest:
        notes.append(f"columns ignored: {', '.join(rest)}")
    return notes
