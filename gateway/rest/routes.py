"""Routes whose endpoints read their requests themselves."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response


class _Direct(APIRoute):
    """Its endpoint is a coroutine that takes the request and gives a response: FastAPI documents it, no more.

    Looking for parameters that are none would take longer than a last price.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint."""
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def routes(prefix: str, tag: str) -> APIRouter:
    """A router of such routes below a path, without any yet."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=_Direct)
