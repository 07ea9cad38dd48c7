"""The endpoints of the platform itself: /v1/parts, /v1/days and /v1/quarantine."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway.rest.backend import BackendDependency
from gateway.rest.problems import UNAVAILABLE, encode_json
from gateway.rest.response_models import Day, Part, QuarantineDocument, Table, responses
from tapehouse.clock import day_of

router = APIRouter(prefix="/v1", tags=["system"])
_JSON = ("json",)


@router.get(
    "/parts",
    operation_id="parts",
    summary="What each role last reported",
    response_class=Response,
    responses=responses(Table[Part], _JSON, ()),
)
async def _parts(backend: BackendDependency) -> Response:
    return Response(encode_json({"rows": backend.parts.read()}), media_type="application/json")


@router.get(
    "/days",
    operation_id="days",
    summary="The days of each kind: which store owns them, and whether their copy is proven",
    response_class=Response,
    responses=responses(Table[Day], _JSON, (UNAVAILABLE,)),
)
async def _days(backend: BackendDependency) -> Response:
    rows = [
        {"kind": kind, "day": day_of(start), "state": state, "rows": rows}
        for kind, start, state, rows in backend.surface.days()
    ]
    return Response(encode_json({"rows": rows}), media_type="application/json")


@router.get(
    "/quarantine",
    operation_id="quarantine",
    summary="How many rows are in quarantine, why, and the newest of them",
    response_class=Response,
    responses=responses(QuarantineDocument, _JSON, (UNAVAILABLE,)),
)
async def _quarantine(backend: BackendDependency) -> Response:
    return Response(encode_json(await backend.quarantine.read()), media_type="application/json")
