"""What the gateway says of itself is true, and no input of any kind is a defect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from gateway.rest.problems import TOO_LARGE
from tapehouse.model import TICKS
from tapehouse.settings import ClickHouse, Settings
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.questdb import QuestReader
from tests.conftest import Platform
from tests.gateway.serving import Client, gateway

_ODD = (
    "", " ", "'", "''", '"', "\\", "`", ";", "%", "%s", "{x:String}", "$1", "?", "--", "/*", "\x00", "\n", "\x7f",
    "'; DROP TABLE trades; --", "' OR 1 = 1 --", "') OR true --", "S' UNION SELECT 1 --", "../../etc/passwd",
    "-1", "0", "1e309", "NaN", "Infinity", "0x10", "9" * 400, "-" + "9" * 25, "1.5", "null", "true", "[]", "{}",
    "1970-01-01T00:00:00", "2262-01-01", "1969-12-31", "2024-02-30", "0001-01-01T00:00:00Z", "99999999999999999999",
    "é" * 300, "a" * 5_000, "\U0001f600", "\u202e", "ﷺ" * 40, "A\u0301", "WzFd", "W10", "//8", "bm90IGpzb24",
)  # fmt: skip
_USUAL = {
    "kind": "trades",
    "venue": "T",
    "symbol": "S",
    "account": "1",
    "start": "2024-01-01",
    "end": "2024-01-02",
    "interval": "1m",
    "window": "24h",
    "measure": "change",
    "at": "2024-01-01T12:00:00Z",
    "resolution": "1",
    "from": "1704067200",
    "to": "1704153600",
    "group": "T",
    "symbols": "T:S",
}
_EXAMPLES = 20
_REFUSALS = {400, 404, 405, 406, 502, 503, 504}


@pytest.fixture(scope="module")
def connections(provisioned: Platform, shared_cold: ClickHouse) -> Settings:
    return provisioned.settings.model_copy(update={"clickhouse": shared_cold})


@pytest.fixture(scope="module")
def served(connections: Settings) -> Iterator[Client]:
    with gateway(connections) as client:
        yield client


@pytest.fixture(scope="module")
def described(served: Client) -> Any:
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json")


def test_answers_are_as_they_are_described(described: Any) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) > 10
    for operation in operations:
        # Where nothing can be given nothing can be given wrongly.
        wrong = [GenerationMode.NEGATIVE] if any(operation.iter_parameters()) else []
        for mode in (GenerationMode.POSITIVE, *wrong):
            _answers_as_described(operation, mode)


def _answers_as_described(operation: Any, mode: GenerationMode) -> None:
    # Fields that are each right may not go together, such as an end before the start.
    excluded = [positive_data_acceptance]
    if operation.path.startswith("/udf/"):
        # TradingView's client reads errors from documents, whose status is 200.
        excluded.append(negative_data_rejection)

    @settings(max_examples=_EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        answer = case.call()
        # A line or a request longer than the server reads never comes to the endpoints.
        assume(b"expected HTTP/1.1 with a line of at most" not in answer.content)
        assume(answer.status_code != TOO_LARGE.status)
        case.validate_response(answer, excluded_checks=excluded)

    holds()


def _paths(served: Client) -> dict[str, list[dict[str, Any]]]:
    """By path the parameters of its GET."""
    return {
        path: item["get"].get("parameters", [])
        for path, item in served.json("/openapi.json")["paths"].items()
    }


def _asked(parameters: list[dict[str, Any]], **other: str) -> str:
    """The query of a usual request, with other values for some parameters."""
    known = {one["name"] for one in parameters}
    values = {name: value for name, value in _USUAL.items() if name in known} | other
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items())


def _counts(settings: Settings) -> list[int]:
    cold = ClickHouseClient(settings.clickhouse)
    try:
        with QuestReader(settings.questdb) as hot:
            return [
                int(fetch(f"SELECT count() FROM {kind.name}")[0][0])
                for kind in TICKS
                for fetch in (hot.fetch, cold.fetch)
            ]
    finally:
        cold.close()


def test_no_value_of_any_parameter_is_a_defect_or_changes_a_store(
    served: Client, connections: Settings
) -> None:
    before = _counts(connections)
    tried = 0
    for path, parameters in _paths(served).items():
        usual = served.get(f"{path}?{_asked(parameters)}")
        assert usual.status in {200, *_REFUSALS}, (path, usual.data)
        for parameter in parameters:
            if parameter["in"] != "query":
                continue
            for value in _ODD:
                answer = served.get(f"{path}?{_asked(parameters, **{parameter['name']: value})}")
                assert answer.status in {200, *_REFUSALS}, (path, parameter["name"], value, answer.data)
                if answer.status != 200:
                    assert answer.headers["content-type"] == "application/problem+json", (path, value)
                    assert answer.json()["detail"], (path, value)
                tried += 1
    assert tried > 1_000
    assert _counts(connections) == before
    served.json("/readyz")


@pytest.mark.parametrize(
    "query",
    [
        "venue=%ff%fe&symbol=S&start=2024-01-01",
        "venue=T&symbol=%ed%a0%80&start=2024-01-01",
        "venue=T&symbol=S&start=2024-01-01&start=2024-01-02",
        "venue=T&symbol=S&start=2024-01-01&symbols=S",
        "venue=T&symbol=S&start=2024-01-01&" + "&".join(f"symbol=S{n}" for n in range(501)),
        "venue=T&symbol=S&symbol=S&start=2024-01-01",
        "&&&=&==&venue",
        "venue=T;symbol=S",
    ],
)
def test_a_query_string_that_cannot_be_meant_is_a_problem_that_says_so(served: Client, query: str) -> None:
    answer = served.get(f"/v1/trades?{query}")
    assert answer.status == 400, answer.data
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(served: Client, method: str) -> None:
    answer = served.pool.request(
        method, f"{served.url}/v1/trades?venue=T&symbol=S&start=2024-01-01", body=b"{}"
    )
    assert answer.status == 405
    assert answer.headers["content-type"] == "application/problem+json"
