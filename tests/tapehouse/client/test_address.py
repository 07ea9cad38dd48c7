"""Which gateway `connect()` finds."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import tapehouse
from ops.stack.home import Home, Lock
from tapehouse.errors import ConnectError
from tests.tapehouse.client.played import answering, playing

_OK = answering(200, b"{}")


pytestmark = pytest.mark.usefixtures("nowhere")


def _home(folder: Path, url: str) -> Path:
    Home(folder)
    (folder / "connections.toml").write_text(f'[gateway]\nurl = "{url}"\n')
    return folder


def test_the_home_that_is_named(tmp_path: Path) -> None:
    with playing(_OK) as gateway:
        home = _home(tmp_path / "elsewhere", gateway.url)
        with Lock(Home(home)):
            for named in (home, str(home)):
                with tapehouse.connect(home=named) as db:
                    assert db.url == gateway.url


def test_the_home_in_the_working_folder_or_the_nearest_above(nowhere: Path) -> None:
    with playing(_OK) as gateway, playing(_OK) as nearer:
        _home(nowhere.parents[1] / ".tapehouse", "http://127.0.0.1:1")
        with Lock(Home(_home(nowhere.parent / ".tapehouse", gateway.url))), tapehouse.connect() as db:
            assert db.url == gateway.url
        with Lock(Home(_home(nowhere / ".tapehouse", nearer.url))), tapehouse.connect() as db:
            assert db.url == nearer.url


def test_the_setting_wins_over_a_home_above_and_needs_no_platform_here(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _home(nowhere.parent / ".tapehouse", "http://127.0.0.1:1")
    with playing(_OK) as gateway:
        monkeypatch.setenv("TAPEHOUSE_GATEWAY__URL", gateway.url)
        with tapehouse.connect() as db:
            assert db.url == gateway.url


def test_without_a_platform_the_error_says_how_to_start_one(nowhere: Path) -> None:
    with pytest.raises(ConnectError, match="was none") as raised:
        tapehouse.connect()
    assert "`tapehouse up`" in raised.value.remedy
    assert raised.value.fields["home"] == str(nowhere / ".tapehouse")
    with pytest.raises(ConnectError) as raised:
        tapehouse.connect(home="there")
    assert "`tapehouse up --home there`" in raised.value.remedy


def test_a_stopped_platforms_port_may_be_anothers_and_is_not_asked(tmp_path: Path) -> None:
    with playing(_OK) as another:
        home = _home(tmp_path / "elsewhere", another.url)
        with pytest.raises(ConnectError, match="was none") as raised:
            tapehouse.connect(home=home)
        assert not another.paths
    assert f"`tapehouse up --home {home}`" in raised.value.remedy


def test_a_platform_whose_gateway_does_not_answer_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and nobody listens
        home = _home(tmp_path / "elsewhere", f"http://127.0.0.1:{held.getsockname()[1]}")
        with Lock(Home(home)), pytest.raises(ConnectError, match="does not answer") as raised:
            tapehouse.connect(home=home)
    assert f"`tapehouse up --home {home}`" in raised.value.remedy
