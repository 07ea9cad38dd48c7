"""Commands where no platform is: they say which command starts one, and try no servers at the default addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli.main import root
from ops.stack.home import Home, Lock
from tapehouse.errors import ConnectError
from tapehouse.platform import platform_settings
from tests.tapehouse.client.played import answering, playing, stream, streaming, trades

pytestmark = pytest.mark.usefixtures("nowhere")


@pytest.mark.parametrize(
    "words",
    [
        ("query", "trades", "A", "--last", "1"),
        ("gaps",),
        ("quarantine", "list"),
        ("mirror", "status"),
        ("ingest", __file__, "--venue", "v"),
    ],
)
def test_outside_a_home_the_error_names_the_command_that_starts_a_platform(
    nowhere: Path, words: tuple[str, ...]
) -> None:
    for more, start in (((), "`tapehouse up`"), (("--home", "there"), "`tapehouse up --home there`")):
        error = CliRunner().invoke(root, [*words, *more]).exception
        assert isinstance(error, ConnectError), error
        assert error.message.startswith("platform: expected one running in ")
        assert start in error.remedy


def test_the_home_of_a_folder_above_is_used_unless_one_is_named(nowhere: Path) -> None:
    with playing(answering(200, b"{}"), streaming(stream(trades(3)))) as gateway:
        home = nowhere.parents[1] / ".tapehouse"
        Home(home)
        (home / "connections.toml").write_text(f'[gateway]\nurl = "{gateway.url}"\n')
        with Lock(Home(home)):
            done = CliRunner().invoke(root, ["query", "trades", "A", "--last", "3"])
    assert len(done.output.splitlines()) == 4
    with pytest.raises(ConnectError, match="was none"):
        platform_settings(Path("there"))


def test_servers_that_are_named_need_no_home(nowhere: Path) -> None:
    (nowhere / "tapehouse.toml").write_text("[writer]\nlease_s = 20\n[nats]\nreplicas = 3\n")
    with pytest.raises(ConnectError, match="was none"):
        platform_settings(None)
    (nowhere / "tapehouse.toml").write_text('[questdb]\nhost = "db.example"\n')
    assert platform_settings(None).questdb.host == "db.example"
