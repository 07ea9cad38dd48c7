"""A connection to a broker of the test's own, and the shared state there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tapehouse.stream.bus import Bus, State
from tests.broker import Broker


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[Bus]:
    """Connected as `admin`."""
    bus = await Bus.connect(broker.settings, "admin")
    yield bus
    await bus.close()


@pytest.fixture
async def state(bus: Bus) -> State:
    """The shared state of `bus`."""
    return await bus.shared_state()
