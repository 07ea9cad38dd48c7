"""Problems as errors, whatever a gateway sends."""

from __future__ import annotations

from typing import Any

import pytest

from tapehouse.client.problems import error_of
from tapehouse.errors import ConnectError, TapehouseError, UsageError


def test_a_problem_keeps_its_words_remedy_and_fields() -> None:
    error = error_of({"type": "/problems/usage", "detail": "a", "remedy": "b", "fields": {"c": "d"}}, 400)
    assert (type(error), error.message, error.remedy, error.fields) == (UsageError, "a", "b", {"c": "d"})
    assert error.exit_status == 2


@pytest.mark.parametrize(
    ("problem", "status", "kind", "message"),
    [
        ({}, 418, UsageError, "gateway: answered 418"),
        ({"title": "Too hot"}, 500, TapehouseError, "Too hot"),
        ({"type": None, "detail": 7, "remedy": None, "fields": [1]}, 503, ConnectError, "7"),
        ({"type": "https://elsewhere/problems/away"}, 500, ConnectError, "gateway: answered 500"),
    ],
)
def test_what_is_no_usual_problem_is_an_error_by_its_status(
    problem: dict[str, Any], status: int, kind: type[TapehouseError], message: str
) -> None:
    error = error_of(problem, status)
    assert (type(error), error.message, error.fields) == (kind, message, {})
