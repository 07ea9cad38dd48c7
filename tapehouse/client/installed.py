"""What the client offers and another package does, found by its entry point: the client imports none."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from tapehouse.errors import UsageError


def part_of_client(name: str) -> Any:
    """The function that the entry point `name` of the group tapehouse.client names.

    Raises UsageError where no installed package has it.
    """
    for found in entry_points(group="tapehouse.client", name=name):
        return found.load()
    raise UsageError(
        f"{name}: no installed package offers it",
        remedy="It comes with Tapehouse; an installation that is older has to be made again, as by `make setup`.",
    )
