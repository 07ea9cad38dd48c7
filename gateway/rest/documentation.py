"""The OpenAPI description of the endpoints: what they take, what they answer, and what may go wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.rest.negotiation import MEDIA
from gateway.rest.parameters import Parameter
from gateway.rest.problems import MEDIA as PROBLEM
from gateway.rest.problems import Sort
from tapehouse.model import KINDS, Column

Schema = dict[str, Any]
TIME: Schema = {"type": "string", "format": "date-time", "description": "UTC, with 9 digits of a second."}
_TYPES: Mapping[str, Schema] = {
    "time": TIME,
    "symbol": {"type": "string"},
    "text": {"type": "string"},
    "long": {"type": "integer"},
    "byte": {"type": "integer"},
    "short": {"type": "integer"},
    "double": {"type": "number"},
    "doubles": {"type": "array", "items": {"type": "number"}},
    "flag": {"type": "boolean"},
    "decimal": {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{18}$"},
}
SEGMENTS: Schema = {
    "type": "array",
    "description": "Which store served which span.",
    "items": {
        "type": "object",
        "properties": {
            "store": {"type": "string"},
            "start": {"type": "string"},
            "end": {"type": "string"},
            "why": {"type": "string"},
            "rows": {"type": "integer"},
            "ms": {"type": "number"},
            "quality": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["store", "start", "end", "why"],
    },
}
PROBLEM_SCHEMA: Schema = {
    "type": "object",
    "description": "What went wrong (RFC 9457), with the way out in `remedy`.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "remedy": {"type": "string"},
        "fields": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["type", "title", "status", "detail", "remedy", "fields"],
}
_HEADERS = {
    "Tapehouse-Segments": {
        "description": "The segments as JSON; rows and ms where the answer was known whole before it was sent. "
        "Left out where longer than 8 KiB.",
        "schema": {"type": "string"},
    },
    "Server-Timing": {"description": "Milliseconds: plan, first rows.", "schema": {"type": "string"}},
    "ETag": {
        "description": "Where rows of the span can no longer change unnoticed.",
        "schema": {"type": "string"},
    },
}


def parameters(known: Iterable[Parameter]) -> list[Schema]:
    """The parameters of an endpoint."""
    return [
        {
            "name": parameter.name,
            "in": "query",
            "description": parameter.description,
            "required": parameter.required,
            "schema": {"type": "array", "items": dict(parameter.schema)}
            if parameter.repeated
            else dict(parameter.schema),
        }
        for parameter in known
    ]


def row(kind: str) -> Schema:
    """A row of a kind as a JSON object: the columns asked for."""
    return {
        "type": "object",
        "properties": {column.name: _value(column, kind) for column in KINDS[kind].columns},
        "additionalProperties": False,
    }


def page(kind: str) -> Schema:
    """A page of rows of a kind."""
    return {
        "type": "object",
        "properties": {
            "rows": {"type": "array", "items": row(kind)},
            "next": {"type": ["string", "null"], "description": "The cursor of the next page."},
            "segments": SEGMENTS,
        },
        "required": ["rows", "next", "segments"],
        "additionalProperties": False,
    }


def table(columns: Mapping[str, Schema] | None = None) -> Schema:
    """Rows with these columns; with any where none are given."""
    items: Schema = {"type": "object"}
    if columns is not None:
        items |= {"properties": dict(columns), "required": list(columns), "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": items}},
        "required": ["rows"],
        "additionalProperties": False,
    }


def answers(
    json_schema: Schema, formats: Sequence[str], sorts: Iterable[Sort], *, streamed: bool = False
) -> dict[int | str, Schema]:
    """The answers of an endpoint by status."""
    content: Schema = {MEDIA[name]: {} for name in formats}
    content[MEDIA["json"]] = {"schema": json_schema}
    found: dict[int | str, Schema] = {200: {"description": "The answer.", "content": content}}
    if streamed:
        found[200]["headers"] = _HEADERS
        found[304] = {"description": "What If-None-Match names is still the answer."}
    by_status: dict[int, list[str]] = {}
    for sort in sorts:
        by_status.setdefault(sort.status, []).append(f"{sort.title}.")
    for status, titles in by_status.items():
        found[status] = {
            "description": " ".join(titles),
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return found


def _value(column: Column, kind: str) -> Schema:
    schema = _TYPES[column.type]
    # A bar that was filled has no trades.
    if column.nullable or (kind == "bars" and column.name.startswith("seq_")):
        return {**schema, "type": [schema["type"], "null"]}
    return schema
