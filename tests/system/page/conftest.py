"""The platform that the tests of the page share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.browsed import Browsed


@pytest.fixture(scope="package")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browsed]:
    """A platform with the simulator, stopped after these tests. The gateway may be killed, nothing else."""
    platform = Browsed(tmp_path_factory.mktemp("browsed") / "home")
    yield platform
    platform.stop()
