"""The FastAPI application: routers, health, and every error as a problem document."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.rest import live, lookups, system
from gateway.rest.backend import Backend, BackendDependency
from gateway.rest.callers import Callers
from gateway.rest.documentation import documentation_router
from gateway.rest.page import BUILT, page_router
from gateway.rest.problems import (
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    NOT_READY,
    USAGE,
    Problem,
    ProblemError,
    encode_json,
    internal_problem,
    to_problem,
)
from gateway.rest.query_string import describe
from gateway.rest.response_models import ProblemDocument, responses
from gateway.rest.rows import rows_router
from gateway.rest.udf.routes import udf_router
from tapehouse.errors import TapehouseError

_TITLE = "Tapehouse"
_VERSION = "1"
_MAX_ERRORS = 5
"""Validation errors described by one problem document, at most."""


def application(backend: Backend, hosts: Collection[str] = (), page: Path = BUILT) -> FastAPI:
    """The gateway's HTTP application, which may be called by the loopback interface's names and `hosts`.

    `page`: the folder of the built page.
    """
    app = FastAPI(
        title=_TITLE,
        version=_VERSION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            TapehouseError: _tapehouse_error,
            HTTPException: _http_exception,
            RequestValidationError: _validation_error,
            Exception: _internal_error,
        },
    )
    app.add_middleware(Callers, hosts=hosts)
    app.state.backend = backend
    # Routes are matched in order: /v1/latest, the most frequent, is first. None is in an included router, which costs
    # each request a second match.
    for router in (
        live.latest_router(backend),
        rows_router(backend),
        live.router,
        lookups.router,
        system.router,
        udf_router(backend),
        _health,
    ):
        app.router.routes.extend(router.routes)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = get_openapi(title=_TITLE, version=_VERSION, routes=app.routes)
            schemas = app.openapi_schema.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = ProblemDocument.model_json_schema()
        return app.openapi_schema

    app.router.routes.extend(documentation_router(openapi).routes)
    app.router.routes.extend(page_router(page).routes)
    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it
    return app


_health = APIRouter(tags=["health"])


@_health.get(
    "/healthz",
    operation_id="healthz",
    summary="Whether the process is alive",
    response_class=Response,
    responses=responses(dict[str, bool], ("json",), ()),
)
async def _healthz() -> Response:
    return Response(b'{"alive":true}', media_type="application/json")


@_health.get(
    "/readyz",
    operation_id="readyz",
    summary="Whether the stores answer and the owner of each day is known",
    response_class=Response,
    responses=responses(dict[str, bool], ("json",), (NOT_READY,)),
)
async def _readyz(backend: BackendDependency) -> Response:
    readiness = backend.readiness()
    if any(readiness.values()):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in readiness.items() if reason)
        raise ProblemError(NOT_READY, reasons, remedy="See `tapehouse status`.", **readiness)
    return Response(encode_json({"ready": True}), media_type="application/json")


async def _tapehouse_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, TapehouseError)
    return to_problem(error).response()


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == METHOD_NOT_ALLOWED.status:
        problem = Problem(METHOD_NOT_ALLOWED, f"method: expected GET, was {request.method}")
        return problem.response(error.headers)
    return Problem(
        NOT_FOUND,
        f"path: expected one of those in /openapi.json, was {request.url.path[:200]}",
        "See /docs.",
    ).response()


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()[:_MAX_ERRORS]
    detail = "; ".join(describe(one) for one in errors)
    return Problem(USAGE, detail, errors[0]["remedy"]).response()


async def _internal_error(_: Request, error: Exception) -> Response:
    return internal_problem(error).response()
