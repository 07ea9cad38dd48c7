"""Parts of the client that other packages offer."""

from __future__ import annotations

import pytest

from analytics.backtest.session import backtest
from tapehouse.client.installed import part_of_client
from tapehouse.errors import UsageError


def test_a_part_is_found_by_its_entry_point() -> None:
    assert part_of_client("backtest") is backtest


def test_a_part_that_nothing_offers_says_how_to_have_it() -> None:
    with pytest.raises(UsageError, match="paper: no installed package offers it\nIt comes with Tapehouse"):
        part_of_client("paper")
