"""A platform of its own for the tests that use it by the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import tapehouse
from tapehouse.client.database import Database
from tests.system.mirrored import Mirrored
from tests.system.up import Up


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A platform without a feed, shared by the tests that do not break it."""
    platform = Up(tmp_path_factory.mktemp("system") / "home")
    yield platform
    platform.stop()


@pytest.fixture(scope="session")
def db(up: Up) -> Iterator[Database]:
    """The query surface of `up`."""
    with tapehouse.connect(home=up.home) as db:
        yield db


@pytest.fixture(scope="session")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrored]:
    """Servers and a writer whose days a test mirrors itself. No day of it is ever handed over."""
    platform = Mirrored(tmp_path_factory.mktemp("mirrored") / "home")
    yield platform
    platform.stop()


@pytest.fixture(scope="session")
def handing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrored]:
    """As `mirrored`, but its days are handed over, ever later ones: each test has days after those of the last."""
    platform = Mirrored(tmp_path_factory.mktemp("handing") / "home")
    yield platform
    platform.stop()


@pytest.fixture
def starts() -> Iterator[Callable[..., Up]]:
    """Starts platforms as `Up` does; those that a test leaves running are stopped."""
    started: list[Up] = []

    def start(*words: object, **settings: str) -> Up:
        started.append(Up(*words, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for platform in started:
        platform.stop()
