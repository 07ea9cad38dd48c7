"""The requests of a socket, checked: what a client asks for, or an error that says what was expected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.query import is_valid_name
from tapehouse.bars.rankings import MEASURES, WINDOWS
from tapehouse.clock import interval_named
from tapehouse.errors import UsageError
from tapehouse.model import SEQ_MAX
from tapehouse.stream.live_messages import CHANNELS, LAST_BARS, LAST_TRADES, MOST_BARS, MOST_TRADES

_MOST_ID = 2**31 - 1
_MOST_RANKED = 200
_OF_SYMBOLS = frozenset({"bars", "trades", "quotes", "latest"})
_FIELDS: dict[str, frozenset[str]] = {
    "bars": frozenset({"venue", "symbol", "interval", "last", "full"}),
    "trades": frozenset({"venue", "symbol", "last"}),
    "quotes": frozenset({"venue", "symbol"}),
    "latest": frozenset({"venue", "symbol"}),
    "rankings": frozenset({"window", "measure", "limit"}),
    "gaps": frozenset(),
    "account_candles": frozenset({"account", "interval", "last"}),
}
_OF_ALL = frozenset({"op", "id", "channel", "after"})


@dataclass(frozen=True)
class Subscribe:
    """A request for a channel."""

    id: int
    channel: str
    venue: str = ""
    """Empty where the one venue that has the symbol is meant."""
    symbol: str = ""
    interval: str = ""
    last: int = 0
    full: bool = False
    window: str = "24h"
    measure: str = "change"
    limit: int = 20
    after: tuple[int, int] | None = None
    """(epoch, n) of the version received last."""
    account: str = ""
    """An account's id."""


@dataclass(frozen=True)
class Unsubscribe:
    """The end of a subscription."""

    id: int


@dataclass(frozen=True)
class Ping:
    """A sign of life; `sent` goes back."""

    sent: Any


def parse_request(text: str | bytes) -> Subscribe | Unsubscribe | Ping:
    """A request of a client. Raises UsageError, whose field `id` is the request's where it has a valid one."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as reason:
        raise UsageError(f"request: expected a JSON object: {reason}") from None
    if not isinstance(found, dict):
        raise UsageError(f"request: expected a JSON object, was {type(found).__name__}")
    op = found.get("op")
    if op == "ping":
        return Ping(found.get("sent"))
    number = _whole(found, "id", 0, _MOST_ID, None)
    try:
        if op == "unsubscribe":
            return Unsubscribe(number)
        if op == "subscribe":
            return _subscribe(number, found)
        raise UsageError(f"op: expected subscribe, unsubscribe or ping, was {_shown(op)}")
    except UsageError as reason:
        raise UsageError(reason.message, remedy=reason.remedy, id=number) from None


def _subscribe(number: int, found: dict[str, Any]) -> Subscribe:
    channel = found.get("channel")
    if channel not in CHANNELS:
        raise UsageError(f"channel: expected {' '.join(CHANNELS)}, was {_shown(channel)}")
    for name in found:
        if name not in _FIELDS[channel] | _OF_ALL:
            known = " ".join(sorted(_FIELDS[channel])) or "nothing more"
            raise UsageError(f"{name[:40]}: {channel} take {known}")
    values: dict[str, Any] = {}
    if channel in _OF_SYMBOLS:
        values["venue"], values["symbol"] = _name(found, "venue", ""), _name(found, "symbol", None)
    if channel == "bars":
        values["interval"] = interval_named(_text(found, "interval", None)).name
        values["last"] = _whole(found, "last", 1, MOST_BARS, LAST_BARS)
        values["full"] = _flag(found, "full")
    elif channel == "account_candles":
        values["account"] = _account(found)
        values["interval"] = interval_named(_text(found, "interval", None)).name
        values["last"] = _whole(found, "last", 1, MOST_BARS, LAST_BARS)
    elif channel == "trades":
        values["last"] = _whole(found, "last", 0, MOST_TRADES, LAST_TRADES)
    elif channel == "rankings":
        values["window"] = _one_of(found, "window", tuple(WINDOWS), "24h")
        values["measure"] = _one_of(found, "measure", MEASURES, "change")
        values["limit"] = _whole(found, "limit", 1, _MOST_RANKED, 20)
    return Subscribe(number, channel, after=_version(found), **values)


def _version(found: dict[str, Any]) -> tuple[int, int] | None:
    after = found.get("after")
    if after is None:
        return None
    if not isinstance(after, list) or len(after) != 2 or not all(type(number) is int for number in after):
        raise UsageError(f"after: expected [epoch, n] as received, was {_shown(after)}")
    return after[0], after[1]


def _whole(found: dict[str, Any], name: str, low: int, high: int, default: int | None) -> int:
    value = found.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise UsageError(f"{name}: expected {low:,} to {high:,}, was {_shown(value)}")
    return value


def _account(found: dict[str, Any]) -> str:
    """An id, which JavaScript can have as text alone where it is above 2^53."""
    value = found.get("account")
    text = str(value) if type(value) in (int, str) else ""
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > SEQ_MAX:
        raise UsageError(f"account: expected its id, 0 to {SEQ_MAX}, was {_shown(value)}")
    return str(int(text))


def _flag(found: dict[str, Any], name: str) -> bool:
    value = found.get(name, False)
    if not isinstance(value, bool):
        raise UsageError(f"{name}: expected true or false, was {_shown(value)}")
    return value


def _text(found: dict[str, Any], name: str, default: str | None) -> str:
    value = found.get(name, default)
    if not isinstance(value, str):
        raise UsageError(f"{name}: expected text, was {_shown(value)}")
    return value


def _name(found: dict[str, Any], name: str, default: str | None) -> str:
    value = _text(found, name, default)
    if not is_valid_name(value) or (default is None and not value):
        raise UsageError(f"{name}: expected a name, was {_shown(value)}")
    return value


def _one_of(found: dict[str, Any], name: str, known: tuple[str, ...], default: str) -> str:
    value = _text(found, name, default)
    if value not in known:
        raise UsageError(f"{name}: expected {' '.join(known)}, was {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:80]
