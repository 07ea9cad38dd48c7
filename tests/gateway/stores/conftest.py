"""The stores, each with the same rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.stores.contract import Store
from tapehouse.settings import ClickHouse
from tests.conftest import Platform
from tests.gateway.stores.stored_rows import STORE_NAMES, Stores


@pytest.fixture(scope="module")
def stores(provisioned: Platform, shared_cold: ClickHouse) -> Iterator[Stores]:
    """All stores, for the tests of a file."""
    stores = Stores(provisioned.settings, shared_cold)
    yield stores
    stores.close()


@pytest.fixture(params=STORE_NAMES)
def store_name(request: pytest.FixtureRequest) -> str:
    """Each store in turn."""
    return str(request.param)


@pytest.fixture
def store(stores: Stores, store_name: str) -> Store:
    """Each store in turn."""
    return stores.by_name(store_name)
