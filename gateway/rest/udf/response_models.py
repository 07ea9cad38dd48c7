"""The answers of the UDF endpoints as pydantic models, used only for the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


def _drop_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class _Document(BaseModel):
    """Fields with a default may be absent, which does not make them nullable."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_drop_defaults)


class UdfError(_Document):
    """What went wrong, with status 200: TradingView's client reads the document alone."""

    s: Literal["error"]
    errmsg: str


class UdfExchange(_Document):
    """A venue."""

    value: str
    name: str
    desc: str


class UdfType(_Document):
    """A type of symbols."""

    name: str
    value: str


class UdfConfig(_Document):
    """What the server can do."""

    supports_search: bool
    supports_group_request: bool
    supports_marks: bool
    supports_timescale_marks: bool
    supports_time: bool
    supported_resolutions: list[str]
    exchanges: list[UdfExchange]
    symbols_types: list[UdfType]


class UdfSymbol(_Document):
    """All that the library must know of a symbol."""

    name: str
    full_name: str
    ticker: str
    description: str
    type: str
    session: str
    timezone: str
    exchange: str
    listed_exchange: str
    minmov: int
    pricescale: Annotated[int, Field(description="10 to the power of the prices' decimals.")]
    format: str
    has_seconds: bool
    seconds_multipliers: list[str]
    has_intraday: bool
    intraday_multipliers: list[str]
    has_daily: bool
    daily_multipliers: list[str]
    has_weekly_and_monthly: bool
    weekly_multipliers: list[str]
    monthly_multipliers: list[str]
    has_empty_bars: bool
    supported_resolutions: list[str]
    visible_plots_set: str
    volume_precision: int
    data_status: str


class UdfFound(_Document):
    """A result of a search."""

    symbol: str
    full_name: str
    ticker: str
    description: str
    exchange: str
    type: str


class UdfBars(_Document):
    """Bars as columns, in order of time."""

    s: Literal["ok"]
    t: Annotated[list[int], Field(description="Starts of the bars, seconds since 1970.")]
    o: list[float]
    h: list[float]
    l: list[float]  # noqa: E741 - UDF's name
    c: list[float]
    v: list[float]


class UdfNoData(_Document):
    """There are no bars in the span."""

    s: Literal["no_data"]
    nextTime: Annotated[  # noqa: N815 - UDF's name
        int, Field(description="Start of the last bar before the span; absent where there is none.")
    ] = 0


class UdfMark(_Document):
    """A mark on a bar."""

    id: str
    time: int
    color: str
    text: str
    label: str
    labelFontColor: str  # noqa: N815 - UDF's name
    minSize: int  # noqa: N815 - UDF's name


class UdfTimescaleMark(_Document):
    """A mark on the time axis."""

    id: str
    time: int
    color: str
    label: str
    tooltip: list[str]


class UdfQuoteValues(_Document):
    """The figures of a symbol; those that are not known are absent, all of a symbol that is not."""

    short_name: str = ""
    original_name: str = ""
    exchange: str = ""
    description: str = ""
    lp: Annotated[float, Field(description="Last price.")] = 0
    ch: Annotated[float, Field(description="Change since the close of the day before, UTC.")] = 0
    chp: Annotated[float, Field(description="The same in percent.")] = 0
    open_price: float = 0
    high_price: float = 0
    low_price: float = 0
    prev_close_price: float = 0
    volume: float = 0
    bid: float = 0
    ask: float = 0
    spread: float = 0


class UdfQuote(_Document):
    """A quote of a symbol, or why there is none."""

    s: Literal["ok", "error"]
    n: Annotated[str, Field(description="The name that was asked for.")]
    v: UdfQuoteValues
    errmsg: str = ""


class UdfQuotes(_Document):
    """The quotes."""

    s: Literal["ok"]
    d: list[UdfQuote]
