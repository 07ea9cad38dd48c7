"""The stores, each with the same rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.stores.contract import Store
from tapehouse.settings import ClickHouse
from tests.conftest import Platform
from tests.gateway.stores.held import SIDES, Stores


@pytest.fixture(scope="module")
def stores(provisioned: Platform, shared_cold: ClickHouse) -> Iterator[Stores]:
    """All stores, for the tests of a file."""
    stores = Stores(provisioned.settings, shared_cold)
    yield stores
    stores.close()


@pytest.fixture(params=SIDES)
def side(request: pytest.FixtureRequest) -> str:
    """Each store in turn."""
    return str(request.param)


@pytest.fixture
def store(stores: Stores, side: str) -> Store:
    """Each store in turn."""
    return stores.side(side)
