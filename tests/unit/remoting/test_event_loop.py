"""The choice of the event loop."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import textwrap

import pytest

from aiorocketmq.remoting.event_loop import NO_UVLOOP_ENV, new_event_loop


def test_the_environment_can_refuse_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NO_UVLOOP_ENV, "1")
    loop = new_event_loop()
    try:
        assert isinstance(loop, asyncio.BaseEventLoop)
    finally:
        loop.close()


def test_uvloop_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    uvloop = pytest.importorskip("uvloop")
    monkeypatch.delenv(NO_UVLOOP_ENV, raising=False)
    loop = new_event_loop()
    try:
        assert isinstance(loop, uvloop.Loop)
        assert loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_a_name_is_looked_up_each_time_it_is_wanted_and_once_for_all_that_want_it_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NO_UVLOOP_ENV, "1")
    asked: list[object] = []

    def resolve(host: object, *rest: object) -> list[int]:
        asked.append(host)
        return [len(asked)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    loop = new_event_loop()

    async def look_up() -> list[list[int]]:
        return await asyncio.gather(*[loop.getaddrinfo("broker.example", 80) for _ in range(3)])

    try:
        assert loop.run_until_complete(look_up()) == [[1]] * 3
        assert loop.run_until_complete(look_up()) == [[2]] * 3
    finally:
        loop.close()
    assert asked == ["broker.example"] * 2


LOOKS_UP_AND_FORKS = """
    import os, sys
    from aiorocketmq.sync.portal import current

    async def look_up():
        import asyncio
        return await asyncio.get_running_loop().getaddrinfo("localhost", 80)

    assert current().call(look_up)
    child = os.fork()
    if child == 0:
        sys.exit(7)  # the ordinary way out, with everything that C libraries do at the end of a process
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_survives_its_own_end_after_a_name_was_looked_up() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOOKS_UP_AND_FORKS)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "7\n", done.stderr
