"""A stack of small parts: kept running, given up, seen from outside, and stopped in order."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.stack import listeners, runner, supervisor, view
from ops.stack.home import Home
from ops.stack.part import PartView, State
from ops.stack.runner import Stack
from tapehouse.errors import ConnectError, HomeInUseError, StackError, UsageError
from tapehouse.identity import born

_DEAF = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
while True:
    signal.pause()
"""
_BROKEN = "import sys; print('the reason why'); sys.exit(3)"
_SHOWING = """
import os, pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print(sorted(os.environ), flush=True)
pathlib.Path(sys.argv[1]).touch()
signal.sigwait({signal.SIGTERM})
"""


def _seen(home: Home, name: str) -> PartView:
    return next(part for part in view.read(home.folder).parts if part.name == name)


async def test_a_part_is_started_seen_and_stopped(home: Home, make_part: Any) -> None:
    async with Stack(home) as stack:
        stack.add(make_part("a", address="here", note="good to know"))
        assert stack.view() == [PartView("a", State.WAITING, None, "here", 0, "")]
        await stack.start("a")
        [seen] = stack.view()
        assert (seen.state, seen.restarts, seen.detail) == (State.READY, 0, "good to know")
        assert seen.pid
        assert born(seen.pid)
        assert view.read(home.folder) == view.RunView(os.getpid(), False, 0, (seen,))
        assert stat.S_IMODE(home.run_file.stat().st_mode) == 0o600
    assert born(seen.pid) is None
    assert view.read(home.folder).pid is None
    assert _seen(home, "a").state is State.STOPPED
    assert "here I am" in home.log("a").read_text()


async def test_a_second_run_is_refused(home: Home) -> None:
    async with Stack(home):
        with pytest.raises(HomeInUseError, match=str(os.getpid())):
            async with Stack(home):
                pass
    async with Stack(home):
        pass


async def test_a_part_that_dies_is_started_again(home: Home, make_part: Any, until: Any) -> None:
    async with Stack(home) as stack:
        stack.add(make_part("a"))
        await stack.start("a")
        for restarts in (1, 2):
            pid = _seen(home, "a").pid
            assert pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda: _seen(home, "a").restarts == restarts, "the restart")  # noqa: B023
            await until(lambda: _seen(home, "a").state is State.READY, "the part to be ready again")
            assert _seen(home, "a").pid != pid


async def test_a_part_that_cannot_start_is_given_up_with_the_reason_and_its_last_lines(
    home: Home, make_part: Any
) -> None:
    async with Stack(home) as stack:
        stack.add(make_part("a", _BROKEN))
        with pytest.raises(StackError) as given_up:
            await stack.start("a")
        assert "exited with status 3 before it was ready, 3 starts in a row" in given_up.value.message
        assert "| the reason why" in given_up.value.message
        assert str(home.log("a")) in given_up.value.remedy
        assert _seen(home, "a").state is State.FAILED
        assert "the reason why" in _seen(home, "a").detail
        assert await stack.failure() is given_up.value


async def test_a_part_that_cannot_start_without_another_is_not_given_up_while_that_is_away(
    home: Home, make_part: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CHECK_S", 0.01)
    away = False
    asked = 0

    async def server_answers() -> None:
        if away:
            raise ConnectError("away")

    async def role_answers() -> None:
        nonlocal asked
        asked += 1
        if away:
            raise ConnectError("no answer from the server")

    async with Stack(home) as stack:
        stack.add(make_part("server", answers=server_answers))
        stack.add(make_part("role", answers=role_answers, needs=("server",), start_within=0.1))
        await stack.start("server")
        await stack.start("role")
        away = True
        await until(lambda: _seen(home, "server").state is State.SILENT, "the silence")
        os.kill(_seen(home, "role").pid or 0, signal.SIGKILL)
        await until(lambda: "was not ready" in _seen(home, "role").detail, "the failed start")
        before = asked
        await asyncio.sleep(0.5)
        # One start has failed; the next waits for the server.
        assert asked == before
        assert _seen(home, "role").state is State.RESTARTING
        away = False
        await until(lambda: _seen(home, "role").state is State.READY, "the role to be ready again")


async def test_a_change_is_told_and_a_part_that_was_ready_for_long_crashes_for_the_first_time(
    home: Home, make_part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CRASHES", 2)
    async with Stack(home, steady_s=0) as stack:
        stack.add(make_part("a"))
        await stack.start("a")
        for restarts in (1, 2, 3):
            [seen] = stack.view()
            os.kill(seen.pid or 0, signal.SIGKILL)
            async with asyncio.timeout(60):
                while (stack.view()[0].restarts, stack.view()[0].state) != (restarts, State.READY):
                    await stack.changed()


async def test_a_program_that_is_not_there_is_named(home: Home, make_part: Any) -> None:
    async with Stack(home) as stack:
        stack.add(replace(make_part("a"), command=("/no/such/program",)))
        with pytest.raises(StackError, match="/no/such/program: not found"):
            await stack.start("a")


async def test_a_part_whose_port_is_taken_is_given_up_with_the_port_and_its_holder_in_one_line(
    home: Home, make_part: Any
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with Stack(home) as stack:
            stack.add(make_part("a", ports=(port,)))
            with pytest.raises(StackError) as given_up:
                await stack.start("a")
    assert given_up.value.message.startswith(f"a: port {port} is taken by pid {os.getpid()} (")
    assert "\n" not in given_up.value.message
    assert "another port is chosen" in given_up.value.remedy


async def test_a_part_whose_port_is_taken_while_it_restarts_names_the_holder_and_waits_for_the_port(
    home: Home, make_part: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_DELAY_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    asked = 0

    def is_free(port: int) -> bool:
        nonlocal asked
        asked += 1
        return listeners.is_free(port)

    monkeypatch.setattr(supervisor, "is_free", is_free)
    async with Stack(home) as stack:
        stack.add(make_part("a", ports=(port,)))
        await stack.start("a")
        with socket.create_server(("127.0.0.1", port)):
            os.kill(_seen(home, "a").pid or 0, signal.SIGKILL)
            expected = f"port {port} is taken by pid {os.getpid()} ("
            await until(lambda: _seen(home, "a").detail.startswith(expected), "the port and its holder")
            before = asked
            await until(lambda: asked > before + 2 * supervisor.FAILED_STARTS, "many looks at the port")
            seen = _seen(home, "a")
            assert (seen.state, seen.restarts, seen.pid) == (State.RESTARTING, 1, None)
            assert "\n" not in seen.detail
        await until(lambda: _seen(home, "a").state is State.READY, "the part to be ready again")


async def test_the_state_is_written_as_soon_as_the_disk_has_room_again(
    home: Home, make_part: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_WRITE_AGAIN_S", 0.01)
    write = view.write_private
    is_full = True

    def write_if_there_is_room(path: Path, text: str) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text)

    async with Stack(home) as stack:
        stack.add(make_part("a"))
        monkeypatch.setattr(view, "write_private", write_if_there_is_room)
        await stack.start("a")
        assert _seen(home, "a").state is State.WAITING
        is_full = False
        await until(lambda: _seen(home, "a").state is State.READY, "the state of now")


async def test_a_part_that_never_answers_is_ended_and_given_up(home: Home, make_part: Any) -> None:
    async def never() -> None:
        raise ConnectError("nothing there")

    async with Stack(home) as stack:
        stack.add(make_part("a", answers=never, start_within=0.2, stop_within=0.1))
        with pytest.raises(StackError, match=r"was not ready within 0\.2 s: nothing there, 3 starts"):
            await stack.start("a")
        assert _seen(home, "a").pid is None


async def test_what_no_new_start_mends_is_given_up_at_once(home: Home, make_part: Any) -> None:
    async def too_old() -> None:
        raise StackError("too old", remedy="Install a newer one.")

    async with Stack(home) as stack:
        stack.add(make_part("a", answers=too_old))
        with pytest.raises(StackError, match="a: too old") as given_up:
            await stack.start("a")
        assert given_up.value.remedy == "Install a newer one."
        assert (_seen(home, "a").restarts, _seen(home, "a").pid) == (0, None)


async def test_a_fault_in_the_question_is_no_silence(home: Home, make_part: Any) -> None:
    async def faulty() -> None:
        raise ZeroDivisionError

    async with Stack(home) as stack:
        stack.add(make_part("a", answers=faulty))
        with pytest.raises(StackError, match="ZeroDivisionError"):
            await stack.start("a")
        assert _seen(home, "a").state is State.FAILED
    # Why nothing runs is to be seen after the run too.
    assert (_seen(home, "a").state, _seen(home, "a").pid) == (State.FAILED, None)
    assert "ZeroDivisionError" in _seen(home, "a").detail


async def test_a_part_that_keeps_crashing_is_given_up(
    home: Home, make_part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CRASHES", 3)
    monkeypatch.setattr(supervisor, "LONGEST_DELAY_S", 0.01)

    async def at_once() -> None:
        return

    async with Stack(home) as stack:
        stack.add(make_part("a", "import sys; print('again'); sys.exit(4)", answers=at_once))
        await stack.start("a")
        async with asyncio.timeout(30):
            reason = await stack.failure()
        assert "exited with status 4, 3 times in a row" in reason.message
        assert "| again" in reason.message


async def test_a_given_up_part_can_be_started_again(home: Home, make_part: Any) -> None:
    broken = True

    async def answers() -> None:
        if broken:
            raise StackError("not yet")

    async with Stack(home) as stack:
        stack.add(make_part("a", answers=answers))
        with pytest.raises(StackError):
            await stack.start("a")
        broken = False
        await stack.start("a")
        assert _seen(home, "a").state is State.READY


async def test_a_part_that_stops_answering_is_shown_as_silent(
    home: Home, make_part: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CHECK_S", 0.01)
    wrong = ""

    async def answers() -> None:
        if wrong:
            raise ConnectError(wrong)

    async with Stack(home) as stack:
        stack.add(make_part("a", answers=answers))
        await stack.start("a")
        wrong = "deep in thought"
        await until(lambda: _seen(home, "a").state is State.SILENT, "the silence")
        assert _seen(home, "a").detail == wrong
        wrong = ""
        await until(lambda: _seen(home, "a").state is State.READY, "the end of the silence")
        assert _seen(home, "a").restarts == 0


async def test_phases_stop_in_reverse(home: Home, make_part: Any, until: Any) -> None:
    states: list[tuple[State, ...]] = []
    async with Stack(home) as stack:
        for name in ("first", "second"):
            stack.add(make_part(name))
            await stack.start(name)
        stopping = asyncio.create_task(stack.stop())
        while not stopping.done():
            states.append(tuple(part.state for part in view.read(home.folder).parts))
            await asyncio.sleep(0)
    assert (State.READY, State.STOPPING) in states
    assert (State.STOPPING, State.READY) not in states
    assert (State.STOPPING, State.STOPPING) not in states


async def test_one_part_can_be_stopped_and_started_again(home: Home, make_part: Any) -> None:
    async with Stack(home) as stack:
        stack.add(make_part("a"))
        stack.add(make_part("b"))
        await stack.start("a", "b")
        await stack.stop("a")
        assert [part.state for part in stack.view()] == [State.STOPPED, State.READY]
        await stack.start("a")
        assert [part.state for part in stack.view()] == [State.READY, State.READY]


async def test_a_part_that_does_not_end_is_killed(home: Home, make_part: Any) -> None:
    async with Stack(home) as stack:
        stack.add(make_part("a", _DEAF, stop_within=0.1))
        await stack.start("a")
        pid = _seen(home, "a").pid
        assert pid
    assert born(pid) is None


async def test_leaving_while_a_part_starts_ends_it(home: Home, make_part: Any, until: Any) -> None:
    async def never() -> None:
        raise ConnectError("not yet")

    async with Stack(home) as stack:
        stack.add(make_part("a", answers=never))
        starting = asyncio.create_task(stack.start("a"))
        await until(lambda: _seen(home, "a").pid is not None, "the process")
        pid = _seen(home, "a").pid
        assert pid
    assert born(pid) is None
    with pytest.raises(StackError, match="stopped before it was ready"):
        await starting


async def test_each_start_is_told_before_the_part_is_ready(home: Home, make_part: Any, until: Any) -> None:
    told: list[State] = []

    async def started() -> None:
        told.append(_seen(home, "a").state)
        raise ConnectError("nobody to tell")

    async with Stack(home) as stack:
        stack.add(make_part("a", started=started))
        await stack.start("a")
        os.kill(_seen(home, "a").pid or 0, signal.SIGKILL)
        await until(lambda: len(told) == 2, "the second start")
    assert told == [State.STARTING, State.RESTARTING]


async def test_a_server_does_not_get_the_variables_of_the_user(
    home: Home, make_part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDB_HTTP_BIND_TO", "0.0.0.0:9000")
    async with Stack(home) as stack:
        stack.add(make_part("server", _SHOWING, inherits=False, environment={"TZ": "UTC"}))
        stack.add(make_part("role", _SHOWING))
        await stack.start("server", "role")
    assert "QDB_HTTP_BIND_TO" in home.log("role").read_text()
    assert "QDB_HTTP_BIND_TO" not in home.log("server").read_text()
    assert "'TZ'" in home.log("server").read_text()


async def test_parts_need_names_of_their_own_that_name_files(home: Home, make_part: Any) -> None:
    async with Stack(home) as stack:
        stack.add(make_part("a"))
        with pytest.raises(UsageError, match="there is a part 'a' already"):
            stack.add(make_part("a"))
        with pytest.raises(UsageError, match="expected a part of a, was 'b'"):
            await stack.start("b")
        with pytest.raises(UsageError, match="expected a name"):
            make_part("../a")
