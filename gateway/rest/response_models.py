"""The response bodies as pydantic models, used only for the OpenAPI description: rows are encoded in bulk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model

from gateway.rest.negotiation import MEDIA
from gateway.rest.problems import MEDIA as PROBLEM_MEDIA
from gateway.rest.problems import ProblemType
from tapehouse.model import KINDS, Column

_Row = TypeVar("_Row")

Timestamp = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, description="UTC, with 9 digits of a second.")
]
Number = float | None
_TYPES: Mapping[str, Any] = {
    "time": Timestamp,
    "symbol": str,
    "text": str,
    "long": int,
    "byte": int,
    "short": int,
    "double": float,
    "doubles": list[float],
    "flag": bool,
    "decimal": Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]{18}$")],
}
_HEADERS = {
    "Tapehouse-Segments": {
        "description": "The segments as JSON; with rows and ms where the answer is short enough to be complete before "
        "it is sent. Omitted where longer than 8 KiB.",
        "schema": {"type": "string"},
    },
    "Server-Timing": {"description": "Milliseconds: plan, first rows.", "schema": {"type": "string"}},
    "ETag": {
        "description": "Present where rows of the span cannot change without a new tag.",
        "schema": {"type": "string"},
    },
}


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _drop_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class _Partial(_Document):
    """A document whose fields with a default may be absent, which does not make them nullable."""

    model_config = ConfigDict(json_schema_extra=_drop_defaults)


class Segment(_Partial):
    """Which store served which span."""

    store: str
    start: str
    end: str
    why: str
    rows: int = 0
    cached: Annotated[int, Field(description="Of the rows, those that were in the gateway's memory.")] = 0
    ms: float = 0.0
    quality: list[str] = Field(default_factory=list)


class Page(_Document, Generic[_Row]):
    """One page of rows."""

    rows: list[_Row]
    next: Annotated[str | None, Field(description="The cursor of the next page.")]
    segments: list[Segment]


class Table(_Document, Generic[_Row]):
    """All rows."""

    rows: list[_Row]


class LastPrice(_Document):
    """The last trade of a symbol."""

    venue: str
    symbol: str
    ts_event: Timestamp
    ts_recv: Timestamp
    seq: int
    price: float
    size: float


class Part(_Document):
    """The last report of a role."""

    role: str
    instance: str
    state: Annotated[str, Field(description="ready, waiting, starting, or silent without a report for 5 s.")]
    detail: Annotated[str, Field(description="What it waits for, else what it does.")]
    rows: Annotated[int, Field(description="Processed since it started.")]
    rows_s: Annotated[float, Field(description="Rows a second.")]
    lag_ms: Annotated[Number, Field(description="From received to processed, of the newest row.")]
    quarantined: Annotated[int, Field(description="Rows that it put into quarantine since it started.")]
    skew_ms: Annotated[Number, Field(description="Of a live feed: the receive clock minus the venue's.")]
    gaps: Annotated[int, Field(description="Of a live feed: open gaps found since it started.")]
    age_ms: Annotated[int, Field(description="How old the report is.")]


class Day(_Document):
    """A day of a kind."""

    kind: str
    day: Annotated[str, Field(json_schema_extra={"format": "date"}, description="UTC.")]
    state: Annotated[
        str,
        Field(
            description="open: written to; stale: closed, its copy in ClickHouse missing or older; proven: the copy is "
            "equal; cold: owned by ClickHouse; damaged: that, and its rows are not those recorded."
        ),
    ]
    rows: int


class QuarantineReason(_Document):
    """Rows that were rejected for the same reason."""

    reason: Annotated[str, Field(description="What was expected, without the value that came.")]
    rows: int


class QuarantinedRow(_Document):
    """A rejected row, without its bytes."""

    ts: Annotated[Timestamp, Field(description="When it was rejected.")]
    kind: str
    venue: str
    place: Annotated[str, Field(description="In its source.")]
    reason: str


class QuarantineDocument(_Document):
    """What is in quarantine."""

    rows: Annotated[int, Field(description="In quarantine now.")]
    counted: Annotated[int, Field(description="The newest rows, to which the reasons belong.")]
    reasons: Annotated[list[QuarantineReason], Field(description="The most frequent ones first, at most 20.")]
    newest: Annotated[list[QuarantinedRow], Field(description="The last first, at most 20.")]


class Ranking(_Document):
    """The measures of a symbol over a rolling window."""

    venue: str
    symbol: str
    change: Number
    volatility: Number
    turnover: Number


class CatalogEntry(_Document):
    """What is stored of a symbol."""

    kind: str
    venue: str
    symbol: str
    first: Timestamp
    last: Timestamp
    rows: int


class Book(BaseModel):
    """An order book as of a time."""

    venue: str
    symbol: str
    at: Timestamp
    seq: int
    ts_event: Timestamp
    bids: Annotated[list[tuple[float, float]], Field(description="Price and size, the best first.")]
    asks: Annotated[list[tuple[float, float]], Field(description="Price and size, the best first.")]
    snapshot: Annotated[Timestamp, Field(description="The snapshot from which the book was built.")]
    broken: Annotated[bool, Field(description="Whether updates after the snapshot are missing.")]


class PlannedSegment(BaseModel):
    """Which store would be asked for which span, and how."""

    store: str
    start: str
    end: str
    why: str
    statement: str
    rows: Annotated[
        int | None,
        Field(
            description="Rows of the symbols in the span, of trades those that count in bars; null where they cannot "
            "be counted cheaply."
        ),
    ]
    all_rows: Annotated[
        int, Field(description="Rows of all venues and symbols, of a part of a day in proportion.")
    ]
    all_bytes: Annotated[int, Field(description="Their size on the store's disk.")]
    quality: list[str]


class Explanation(BaseModel):
    """How a query would be answered."""

    query: dict[str, Any]
    segments: list[PlannedSegment]


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457), and in `remedy` what to do."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    fields: dict[str, str]


def page_of(kind: str) -> type[BaseModel]:
    """A page of rows of a kind, each with the requested columns."""
    fields: dict[str, Any] = {
        column.name: (_type_of(column, kind), Field(default=None)) for column in KINDS[kind].answer_columns
    }
    row = create_model(f"{kind.title().replace('_', '')}Row", __base__=_Partial, **fields)
    page: type[BaseModel] = Page[row]
    return page


def responses(
    model: object, formats: Sequence[str], problems: Iterable[ProblemType], *, streamed: bool = False
) -> dict[int | str, dict[str, Any]]:
    """An endpoint's `responses` for FastAPI: the model as JSON, the other formats, and the problems by status."""
    content: dict[str, Any] = {MEDIA[name]: {} for name in formats}
    documented: dict[int | str, dict[str, Any]] = {
        200: {"description": "The answer.", "model": model, "content": content}
    }
    if streamed:
        documented[200]["headers"] = _HEADERS
        documented[304] = {"description": "What If-None-Match names is still the answer."}
    titles: dict[int, list[str]] = {}
    for problem in problems:
        titles.setdefault(problem.status, []).append(f"{problem.title}.")
    for status, sentences in titles.items():
        documented[status] = {
            "description": " ".join(sentences),
            "content": {PROBLEM_MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return documented


def _type_of(column: Column, kind: str) -> Any:
    # A flat bar of an empty interval has no first or last seq.
    nullable = column.nullable or (kind == "bars" and column.name.startswith("seq_"))
    return _TYPES[column.type] | None if nullable else _TYPES[column.type]
