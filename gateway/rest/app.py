"""The application: the endpoints, health, and problems for whatever goes wrong."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.rest import answers, documentation, live, lookups
from gateway.rest.backend import Backend
from gateway.rest.problems import (
    METHOD,
    NOT_FOUND,
    NOT_READY,
    USAGE,
    Problem,
    ProblemError,
    defect,
    encoded,
    problem_of,
)
from gateway.rest.routes import routes
from tapehouse.errors import TapehouseError

_TITLE = "Tapehouse"
_VERSION = "1"


def application(backend: Backend) -> FastAPI:
    """The gateway's HTTP application."""
    app = FastAPI(
        title=_TITLE,
        version=_VERSION,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            TapehouseError: _known,
            HTTPException: _unserved,
            RequestValidationError: _unread,
            Exception: _unthought,
        },
    )
    # What is asked most often is looked for first; and not in routers within the router.
    for router in (live.router(backend), answers.router(backend), lookups.router(backend), _health(backend)):
        app.router.routes.extend(router.routes)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = get_openapi(title=_TITLE, version=_VERSION, routes=app.routes)
            schemas = app.openapi_schema.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = documentation.PROBLEM_SCHEMA
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it
    return app


def _health(backend: Backend) -> APIRouter:
    made = routes("", "health")

    async def healthz(_: Request) -> Response:
        return Response(b'{"alive":true}', media_type="application/json")

    async def readyz(_: Request) -> Response:
        standing = backend.standing()
        if any(standing.values()):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in standing.items() if reason)
            raise ProblemError(NOT_READY, reasons, remedy="Look at `tapehouse status`.", **standing)
        return Response(encoded({"ready": True}), media_type="application/json")

    for path, endpoint, summary, sorts in (
        ("/healthz", healthz, "Whether the process lives", ()),
        ("/readyz", readyz, "Whether the stores answer and it is known which has what", (NOT_READY,)),
    ):
        made.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            operation_id=path[1:],
            summary=summary,
            response_class=Response,
            responses=documentation.answers({"type": "object"}, ("json",), sorts),
        )
    return made


async def _known(_: Request, error: Exception) -> Response:
    assert isinstance(error, TapehouseError)
    return problem_of(error).response()


async def _unserved(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == METHOD.status:
        problem = Problem(METHOD, f"method: expected GET, was {request.method}")
        return problem.response(error.headers)
    return Problem(
        NOT_FOUND,
        f"path: there is no {request.url.path[:200]}",
        "/docs and /openapi.json list what there is.",
    ).response()


async def _unread(_: Request, error: Exception) -> Response:
    return Problem(USAGE, str(error)[:500]).response()


async def _unthought(_: Request, error: Exception) -> Response:
    return defect(error).response()
