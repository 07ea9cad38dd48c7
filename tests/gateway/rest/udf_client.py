"""A reader of UDF that asks what TradingView's own client asks, and reads what that reads; strict about what is sent.

Where TradingView's client would go on with `undefined` or NaN, this one fails. It takes JSON whatever the status is.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.gateway.serving import Client

Document = dict[str, Any]
_SEARCH_LIMIT = 30
_PERIODS = 10
"""As many periods before now the client polls, so that weekends are passed over."""


class UdfError(Exception):
    """What the library is told in place of an answer."""


class Bar(NamedTuple):
    """A bar as the library has it: ms, and numbers."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Bars(NamedTuple):
    """The bars of one request, and what the library is told where there are none."""

    bars: list[Bar]
    no_data: bool
    next_time: int | None


def number(value: Any) -> float:
    """A number of JSON, finite and no text."""
    assert type(value) in (int, float), value
    assert math.isfinite(value), value
    return float(value)


def whole(value: Any) -> int:
    assert type(value) is int, value
    return int(value)


def text(value: Any) -> str:
    assert isinstance(value, str), value
    assert value
    return value


def flag(value: Any) -> bool:
    assert isinstance(value, bool), value
    return value


@dataclass
class UdfClient:
    """The requests, in the words of the library's interface."""

    client: Client
    configuration: Document = field(default_factory=dict)

    def send(self, path: str, **parameters: Any) -> Any:
        """The document of an answer. Flags are written as JavaScript writes them."""
        written = {
            name: json.dumps(value) if isinstance(value, bool) else value
            for name, value in parameters.items()
        }
        answer = self.client.get(f"/udf/{path}" + (f"?{urlencode(written)}" if written else ""))
        assert answer.status == 200, answer.data
        return json.loads(answer.data)

    def ready(self) -> Document:
        """First of all: what the server can do."""
        found = self.send("config")
        assert flag(found["supports_search"]) or flag(found["supports_group_request"])
        for name in ("supports_group_request", "supports_marks", "supports_timescale_marks", "supports_time"):
            flag(found[name])
        assert [text(one) for one in found["supported_resolutions"]]
        for exchange in found["exchanges"]:
            assert {type(exchange[name]) for name in ("value", "name", "desc")} == {str}
        for kind in found["symbols_types"]:
            assert {type(kind[name]) for name in ("value", "name")} == {str}
        self.configuration = found
        return self.configuration

    def server_time(self) -> int:
        """Seconds; the client reads the answer as JSON, though it is plain text."""
        assert self.configuration["supports_time"]
        return whole(self.send("time"))

    def search(self, typed: str, exchange: str = "", kind: str = "") -> list[Document]:
        """What the box of the library lists; it sends capitals."""
        found = self.send("search", limit=_SEARCH_LIMIT, query=typed.upper(), type=kind, exchange=exchange)
        if isinstance(found, dict):
            raise UdfError(text(found["errmsg"]))
        for one in found:
            assert [text(one[name]) for name in ("symbol", "full_name", "description", "exchange", "ticker")]
            assert isinstance(one["type"], str)
        return list(found)

    def resolve(self, name: str) -> Document:
        """What the library knows of a symbol."""
        found = self.send("symbols", symbol=name)
        if "s" in found:
            assert found["s"] == "error"
            raise UdfError(text(found["errmsg"]))
        for key in ("name", "ticker", "description", "type", "session", "timezone", "exchange"):
            text(found[key])
        for key in ("listed_exchange", "format", "full_name", "visible_plots_set"):
            text(found[key])
        for key in ("has_intraday", "has_daily", "has_weekly_and_monthly", "has_seconds"):
            flag(found[key])
        assert whole(found["minmov"]) > 0
        assert whole(found["pricescale"]) > 0
        assert whole(found["volume_precision"]) >= 0
        for key in ("intraday_multipliers", "seconds_multipliers", "supported_resolutions"):
            assert [text(one) for one in found[key]]
        return dict(found)

    def bars(self, info: Document, resolution: str, start: int, end: int, **more: Any) -> Bars:
        """One request of bars; `countBack` and `firstDataRequest` go with it where the library gives them."""
        found = self.send(
            "history", symbol=info["ticker"], resolution=resolution, **{"from": start, "to": end}, **more
        )
        if found["s"] not in ("ok", "no_data"):
            raise UdfError(text(found["errmsg"]))
        if found["s"] == "no_data":
            return Bars([], True, whole(found["nextTime"]) if "nextTime" in found else None)
        columns = [found[name] for name in "tohlcv"]
        assert len({len(column) for column in columns}) == 1
        bars = [
            Bar(whole(row[0]) * 1000, *(number(value) for value in row[1:]))
            for row in zip(*columns, strict=True)
        ]
        times = [bar.time for bar in bars]
        assert times == sorted(set(times)), "the library throws where times do not rise"
        assert all(
            bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in bars
        )
        return Bars(bars, False, None)

    def marks(self, info: Document, resolution: str, start: int, end: int) -> list[Document]:
        """Marks on bars."""
        assert self.configuration["supports_marks"]
        found = self._marks("marks", info, resolution, start, end)
        for mark in found:
            assert [text(mark[name]) for name in ("id", "color", "text", "labelFontColor")]
            assert len(text(mark["label"])) == 1
            whole(mark["minSize"])
        return found

    def timescale_marks(self, info: Document, resolution: str, start: int, end: int) -> list[Document]:
        """Marks on the time axis."""
        assert self.configuration["supports_timescale_marks"]
        found = self._marks("timescale_marks", info, resolution, start, end)
        for mark in found:
            assert [text(mark[name]) for name in ("id", "color", "label")]
            assert [text(line) for line in mark["tooltip"]]
        return found

    def _marks(self, path: str, info: Document, resolution: str, start: int, end: int) -> list[Document]:
        span = {"from": start, "to": end}
        found = self.send(path, symbol=info["ticker"], **span, resolution=resolution)
        assert isinstance(found, list), found
        times = [whole(mark["time"]) for mark in found]
        assert all(times.count(time) <= 10 for time in times)
        shown = {bar.time // 1000 for bar in self.bars(info, resolution, start, end + 1).bars}
        assert {*times} <= shown, "a mark that is at no bar is not shown"
        assert len({mark["id"] for mark in found}) == len(found)
        return found

    def quotes(self, *names: str) -> dict[str, Document]:
        """The values of each symbol; the library matches them by the name that it sent."""
        found = self.send("quotes", symbols=",".join(names))
        if found["s"] != "ok":
            raise UdfError(text(found["errmsg"]))
        assert [one["n"] for one in found["d"]] == list(names)
        assert {one["s"] for one in found["d"]} <= {"ok", "error"}
        return {text(one["n"]): one["v"] for one in found["d"] if one["s"] == "ok"}


@dataclass
class Pulse:
    """A chart that polls for new bars: two of them, so that it can finish the one before."""

    udf: UdfClient
    info: Document
    resolution: str
    last_time: int | None = None

    def poll(self, now_s: int) -> list[Bar]:
        """The bars that the chart is given by one poll."""
        start = now_s - _period_s(self.resolution) * _PERIODS
        bars = self.udf.bars(
            self.info, self.resolution, start, now_s, countback=2, firstDataRequest=False
        ).bars
        if not bars or (self.last_time is not None and bars[-1].time < self.last_time):
            return []
        is_new = self.last_time is not None and bars[-1].time > self.last_time
        if is_new and len(bars) < 2:
            raise UdfError("Not enough bars")
        self.last_time = bars[-1].time
        return bars[-2:] if is_new else bars[-1:]


def _period_s(resolution: str) -> int:
    """As the client reads it: of seconds too the number counts as minutes."""
    days = {"1D": 1, "1W": 7, "1M": 31}.get(resolution)
    return days * 86_400 if days else int(resolution.rstrip("S")) * 60
