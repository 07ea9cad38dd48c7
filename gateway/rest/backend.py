"""The backend of the endpoints, as a FastAPI dependency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gateway.last_prices import LastPrices
from gateway.part_reports import PartReports
from gateway.quarantine_report import QuarantineReport
from gateway.rest.readers import Readers
from gateway.surface import QuerySurface


@dataclass(frozen=True)
class Backend:
    """The query surface, the last prices, the threads that read stores, what roles report, what is in
    quarantine, and the readiness."""

    surface: QuerySurface
    prices: LastPrices
    readers: Readers
    parts: PartReports
    quarantine: QuarantineReport
    readiness: Callable[[], Mapping[str, str]]
    """By part: empty if it is ready, else the reason why not."""


async def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


BackendDependency = Annotated[Backend, Depends(_backend)]
"""The backend that `application` was given."""
