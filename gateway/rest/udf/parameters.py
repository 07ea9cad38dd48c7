"""The query parameters of the UDF endpoints, as pydantic models.

Parameters that are not named here are ignored: versions of TradingView's client send more of them, such as
`firstDataRequest`.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from gateway.rest.parameter_models import Name, Text
from gateway.rest.query_string import QueryParameters
from tapehouse.model import NAME_MAX

MAX_BARS = 50_000
"""Bars of one answer, at most."""
_MAX_FOUND = 1_000
_MAX_SECONDS = 10**11


def _whole(value: str) -> str:
    # pydantic would also accept spaces, underscores and fractions of zero.
    if not re.fullmatch(r"-?[0-9]{1,15}", value):
        raise ValueError("digits")
    return value


_WHOLE = BeforeValidator(_whole)
FullName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2 * NAME_MAX + 1,
        description="VENUE:SYMBOL, or the symbol alone where one venue has it.",
    ),
]
Seconds = Annotated[int, Field(ge=-_MAX_SECONDS, le=_MAX_SECONDS), _WHOLE]
"""Seconds since 1970; the library also asks for times before."""


class UdfParameters(QueryParameters):
    """The base of all: unknown names are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class SymbolParameters(UdfParameters):
    """/udf/symbols."""

    symbol: FullName


class GroupParameters(UdfParameters):
    """/udf/symbol_info."""

    group: Annotated[Name, Field(description="The venue.")]


class SearchParameters(UdfParameters):
    """/udf/search."""

    query: Annotated[
        str, Field(max_length=2 * NAME_MAX + 1, description="A part of the name, upper and lower case alike.")
    ] = ""
    type: Annotated[str, Field(max_length=NAME_MAX, description="A type of /udf/config, or none.")] = ""
    exchange: Annotated[str, Field(max_length=NAME_MAX, description="Only this venue.")] = ""
    limit: Annotated[int, Field(ge=1, le=_MAX_FOUND), _WHOLE, Field(description="How many, at most.")] = 30


class SpanParameters(UdfParameters):
    """A symbol's bars of a resolution in a span of time."""

    symbol: FullName
    resolution: Annotated[str, Field(min_length=1, max_length=16, description="One of /udf/config.")]
    start: Annotated[Seconds, Field(alias="from", description="Seconds since 1970, inclusive.")]


class HistoryParameters(SpanParameters):
    """/udf/history."""

    end: Annotated[Seconds, Field(alias="to", description="Seconds since 1970, exclusive.")]
    countback: Annotated[
        Annotated[int, Field(ge=1, le=_MAX_SECONDS), _WHOLE] | None,
        Field(
            description=f"How many bars before `to`, whatever `from` is. The newest {MAX_BARS:,} of more are sent."
        ),
    ] = None


class MarkParameters(SpanParameters):
    """/udf/marks and /udf/timescale_marks."""

    end: Annotated[Seconds, Field(alias="to", description="Seconds since 1970, inclusive.")]


class QuoteParameters(UdfParameters):
    """/udf/quotes."""

    symbols: Annotated[Text, Field(description="VENUE:SYMBOL, several with commas between them.")]
