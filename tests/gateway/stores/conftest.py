"""The stores, each with the same rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.stores.contract import Store
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.settings import ClickHouse
from tests.conftest import Platform
from tests.gateway.stores.stored_rows import STORE_NAMES, Stores
from tests.timescale.server import SERVERS, serving


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """TimescaleDB has account trades and their candles alone: other tests do not ask it."""
    others = [item for item in items if _is_of_timescale(item) and not _is_of_accounts(item)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def _is_of_timescale(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and _parameters(item).get("store_name") == "timescale"


def _is_of_accounts(item: pytest.Item) -> bool:
    is_of_candles = Path(item.nodeid.partition("::")[0]).name == "test_account_candles.py"
    return is_of_candles or _parameters(item).get("kind") is ACCOUNT_TRADES


def _parameters(item: pytest.Item) -> dict[str, object]:
    return dict(item.callspec.params) if hasattr(item, "callspec") else {}


@pytest.fixture(scope="module")
def stores(provisioned: Platform, shared_cold: ClickHouse) -> Iterator[Stores]:
    """All stores, for the tests of a file; without TimescaleDB where that cannot be run."""
    with contextlib.ExitStack() as stack:
        try:
            timescale = stack.enter_context(serving(SERVERS[-1])).settings
        except pytest.skip.Exception as reason:
            timescale, missing["timescale"] = None, str(reason)
        stores = Stores(provisioned.settings, shared_cold, timescale)
        yield stores
        stores.close()


missing: dict[str, str] = {}
"""Why a store is not there, by name."""


@pytest.fixture(params=STORE_NAMES)
def store_name(request: pytest.FixtureRequest, stores: Stores) -> str:
    """Each store in turn."""
    if request.param in missing:
        pytest.skip(missing[request.param])
    return str(request.param)


@pytest.fixture
def store(stores: Stores, store_name: str) -> Store:
    """Each store in turn."""
    return stores.by_name(store_name)
