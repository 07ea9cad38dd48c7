"""The page /docs: the OpenAPI document as plain HTML, made here, that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

Description = Mapping[str, Any]
"""A part of the OpenAPI document."""
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
}
_STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0 }
code { background: #8882; padding: 0 .2rem }"""


def documentation_router(openapi: Callable[[], Description]) -> APIRouter:
    """The route /docs, from the OpenAPI document."""
    router = APIRouter()

    @router.get("/docs", include_in_schema=False)
    async def _docs() -> Response:
        return Response(page(openapi()), media_type="text/html", headers=_HEADERS)

    return router


def page(document: Description) -> str:
    """The HTML page of an OpenAPI document."""
    operations = [
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n"
        '<p>For programs: <a href="/openapi.json">/openapi.json</a></p>\n'
        f"{''.join(operations)}</body></html>\n"
    )


def _operation(method: str, path: str, operation: Description) -> str:
    parameters = "".join(_parameter(one) for one in operation.get("parameters", []))
    responses = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(response.get('description', ''))}</td>"
        f"<td>{escape(', '.join(response.get('content', {})))}</td></tr>"
        for status, response in operation["responses"].items()
    )
    return (
        f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2><p>{escape(operation.get('summary', ''))}</p>"
        f"<p>{escape(operation.get('description', ''))}</p>\n<table>{parameters}</table>\n"
        f"<h3>Responses</h3><table>{responses}</table>\n"
    )


def _parameter(parameter: Description) -> str:
    need = "required" if parameter.get("required") else ""
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{need}</td>"
        f"<td>{escape(_type(parameter['schema']))}</td><td>{escape(parameter.get('description', ''))}</td></tr>"
    )


def _type(schema: Description) -> str:
    """What a parameter may hold, in a few words."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    if schema.get("type") == "array":
        return f"{_type(schema['items'])}, repeatable"
    default = f", {schema['default']} by default" if "default" in schema else ""
    return f"{schema.get('type', schema.get('const', 'text'))}{default}"
