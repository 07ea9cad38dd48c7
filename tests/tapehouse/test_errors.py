"""The tree of errors."""

from __future__ import annotations

import inspect

import pytest

from tapehouse import errors
from tapehouse.errors import NaiveTimeError, TapehouseError, UsageError


def _drawn() -> dict[str, str | None]:
    """Each error of the docstring's tree and the one above it."""
    above: list[str] = []
    drawn: dict[str, str | None] = {}
    for line in (errors.__doc__ or "").splitlines()[2:]:
        name = line.lstrip("│├└─ ").split(" ")[0]
        depth = (len(line) - len(line.lstrip("│├└─ "))) // 4
        above = [*above[:depth], name]
        drawn[name] = above[-2] if depth else None
    return drawn


def test_the_tree_that_is_drawn_is_the_tree_that_is() -> None:
    real = {
        name: found.__base__.__name__ if found is not TapehouseError else None
        for name, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, TapehouseError) and found.__base__
    }
    assert _drawn() == real
    assert len(real) > 10


def test_the_exit_status_is_1_but_for_misuse() -> None:
    for name in _drawn():
        found = getattr(errors, name)
        assert found.exit_status == (2 if issubclass(found, UsageError) else 1), name


def test_an_error_says_what_and_the_way_out_and_carries_its_facts() -> None:
    error = NaiveTimeError("time: expected a zone, was none", remedy="Add Z.", time="12:00")
    assert str(error) == "time: expected a zone, was none\nAdd Z."
    assert (error.message, error.remedy, error.fields) == (
        "time: expected a zone, was none",
        "Add Z.",
        {"time": "12:00"},
    )
    assert str(TapehouseError("alone")) == "alone"
    with pytest.raises(TapehouseError):
        raise error
