"""Query strings as pydantic models: read, validated and documented from the same types."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, Self, get_origin
from urllib.parse import parse_qsl

from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import core_schema

from tapehouse.errors import UsageError

_MAX_PARAMETERS = 2_000
"""Maximum number of parameters of a request."""


class OneOf:
    """In `Annotated[str, OneOf(names)]`: a `Literal` whose values are known only at run time."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = list(names)

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> core_schema.CoreSchema:
        return core_schema.literal_schema(self._names)


class QueryParameters(BaseModel):
    """The query parameters of an endpoint, which takes them by `Depends(Model.from_request)`.

    A field that is a tuple may be given several times, any other field once; unknown names are refused.

    FastAPI's own `Annotated[Model, Query()]` is not used: it takes the last of several values and replaces bytes
    that are not UTF-8, both silently, and costs another 0.1 ms a request.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    async def from_request(cls, request: Request) -> Self:
        """The parameters of a request.

        Raises RequestValidationError, whose errors have two more items than pydantic's, `expected` and `remedy`;
        UsageError where the query string is malformed or a parameter is repeated that may not be.
        """
        values: dict[str, Any] = {}
        for name, given in _decode(request.scope["query_string"]).items():
            if name in _repeatable(cls):
                values[name] = given
            elif len(given) == 1 or name not in _names(cls):
                values[name] = given[0]
            else:
                raise UsageError(f"{name}: expected once, was {len(given)} times")
        try:
            return cls.model_validate(values)
        except ValidationError as reason:
            errors = reason.errors(include_url=False)
            raise RequestValidationError([cls._explain(dict(error)) for error in errors]) from None

    @classmethod
    @cache
    def openapi(cls) -> list[dict[str, Any]]:
        """The parameters as OpenAPI has them, the required ones first."""
        schema = cls.model_json_schema()
        parameters = [
            {
                "name": name,
                "in": "query",
                "description": field.get("description", ""),
                "required": name in schema.get("required", ()),
                "schema": _parameter_schema(field),
            }
            for name, field in schema.get("properties", {}).items()
        ]
        return sorted(parameters, key=lambda parameter: not parameter["required"])

    @classmethod
    def _explain(cls, error: dict[str, Any]) -> dict[str, Any]:
        name = error["loc"][0]
        known = {parameter["name"]: parameter for parameter in cls.openapi()}
        if name in known:
            expected, remedy = _expected(known[name]["schema"]), known[name]["description"]
        else:
            expected, remedy = "", f"Expected are {' '.join(known)}."
        remedy = error.get("ctx", {}).get("remedy") or remedy
        return {**error, "loc": ("query", *error["loc"]), "expected": expected, "remedy": remedy}


def describe(error: Mapping[str, Any]) -> str:
    """One error of a RequestValidationError: the parameter, what was expected and what was given."""
    name = str(error["loc"][1])[:80]
    if error["type"] == "extra_forbidden":
        return f"{name}: there is no such parameter here"
    if error["type"] == "missing":
        return f"{name}: expected a value, was nothing"
    if error["type"] == "time":
        return f"{name}: {error['msg']}"
    return f"{name}: expected {error['expected']}, was {str(error['input'])[:80]!r}"


@cache
def _repeatable(model: type[QueryParameters]) -> frozenset[str]:
    return frozenset(
        name for name, field in model.model_fields.items() if get_origin(field.annotation) is tuple
    )


@cache
def _names(model: type[QueryParameters]) -> frozenset[str]:
    """The names in a query string: `from` can be no field's."""
    return frozenset(field.alias or name for name, field in model.model_fields.items())


def _parameter_schema(field: Mapping[str, Any]) -> dict[str, Any]:
    """A field's JSON schema without what no query string can say: null, and defaults that mean absence."""
    schema = {name: value for name, value in field.items() if name not in ("title", "description")}
    for option in schema.pop("anyOf", ()):
        if option != {"type": "null"}:
            schema |= option
    if schema.get("default", 0) in (None, []):
        schema.pop("default")
    return schema


def _expected(schema: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in words."""
    schema = schema.get("items", schema)
    if "enum" in schema:
        return f"one of {' '.join(schema['enum'])}"
    if "minimum" in schema:
        return f"{schema['minimum']:,} to {schema['maximum']:,}"
    if "pattern" in schema:
        return f"text that matches {schema['pattern']}"
    if "maxLength" in schema:
        return f"{schema.get('minLength', 0)} to {schema['maxLength']:,} characters of text"
    return str(schema["type"])


def _decode(query_string: bytes) -> dict[str, list[str]]:
    """The values by name; UsageError where they are not UTF-8 or too many."""
    try:
        pairs = parse_qsl(
            query_string.decode("latin-1"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except UnicodeDecodeError:
        raise UsageError("query string: expected UTF-8, was something else") from None
    except ValueError:
        raise UsageError(f"query string: expected at most {_MAX_PARAMETERS:,} parameters, was more") from None
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values
