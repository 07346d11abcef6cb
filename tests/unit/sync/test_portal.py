"""The bridge between threads and the loop: results, errors, interruption, end of life, fork."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aiorocketmq.errors import ClientClosedError, ClientStateError, ConfigError
from aiorocketmq.sync import portal as portals
from aiorocketmq.sync.base import BlockingClient
from aiorocketmq.sync.calls import DirectCall, PlainCall, PortalEndedError, Waiter
from aiorocketmq.sync.futures import SendFuture
from aiorocketmq.sync.portal import Portal
from tests.support.waiting import eventually_sync


class Resident:
    def stop(self) -> None: ...

    def _mark_forked(self) -> None: ...


def move_in() -> tuple[Portal, Resident]:
    resident = Resident()
    portal = portals.current()
    portal.call_plain(portal.enter, resident, resident)
    return portal, resident


def move_out(portal: Portal, resident: Resident) -> None:
    portal.call_plain(portal.leave, resident)
    portal.join(5)


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal, resident = move_in()
    yield portal
    move_out(portal, resident)
    assert not portal._thread.is_alive()


async def add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "aiorocketmq-sync"]


def test_what_comes_just_after_the_end_of_the_loop_is_refused_and_not_forgotten() -> None:
    portal, resident = move_in()
    move_out(portal, resident)
    assert portal.ended
    begun: list[object] = []
    future: SendFuture[object] = SendFuture(portal, lambda _: None)
    portal.submit(begun.append, add, (), future)
    assert isinstance(future.exception(timeout=2), PortalEndedError)
    waiter = Waiter()
    call = PlainCall(lambda: begun.append("called"), waiter, portal)
    portal._post(call)
    assert waiter.wait(2), "the calling thread is woken"
    with pytest.raises(PortalEndedError):
        call.outcome()
    assert begun == []


def test_a_call_returns_the_result_of_the_coroutine(portal: Portal) -> None:
    assert portal.call(add, 2, b=3) == 5


def test_an_error_of_the_coroutine_is_raised_in_the_calling_thread(portal: Portal) -> None:
    async def fail() -> None:
        raise ConfigError("no good")

    with pytest.raises(ConfigError, match="no good"):
        portal.call(fail)


def test_64_threads_get_their_own_results(portal: Portal) -> None:
    def many(seed: int) -> int:
        return sum(portal.call(add, seed, number) != seed + number for number in range(200))

    with ThreadPoolExecutor(64) as pool:
        assert sum(pool.map(many, range(64))) == 0


def test_a_blocking_call_on_the_loop_thread_is_refused_instead_of_hanging(portal: Portal) -> None:
    async def nested() -> int:
        return portal.call(add, 1, 2)

    with pytest.raises(ClientStateError, match="event-loop thread"):
        portal.call(nested)


def test_a_direct_call_that_is_cancelled_ends(portal: Portal) -> None:
    cancelled: list[bool] = []

    class Inner:
        def cancel(self) -> object:
            return cancelled.append(True)

    call: DirectCall[int] = DirectCall(lambda call: Inner(), add, (), Waiter(), portal)
    call()
    assert not call.ended
    call.cancel()
    assert call.ended
    assert cancelled == [True], "and so does what it has begun"
    with pytest.raises(ClientClosedError, match="cancelled"):
        call.outcome()


def test_a_keyboard_interrupt_cancels_the_call_and_leaves_the_portal_usable(portal: Portal) -> None:
    began, cancelled = threading.Event(), threading.Event()

    async def wait_for_ever() -> None:
        began.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()

    def interrupt() -> None:
        began.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        portal.call(wait_for_ever)
    helper.join()
    assert cancelled.is_set()
    assert portal.call(add, 1, 1) == 2


def test_a_call_made_inside_a_signal_handler_gets_its_own_result(portal: Portal) -> None:
    answers: list[int] = []

    async def slow() -> str:
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(0.05)
        return "slow"

    previous = signal.signal(signal.SIGUSR1, lambda *_: answers.append(portal.call(add, 20, 1)))
    try:
        assert portal.call(slow) == "slow"
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert answers == [21]


def test_sys_exit_in_a_callback_does_not_end_the_loop(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    async def leave() -> None:
        sys.exit(3)

    with pytest.raises(SystemExit):
        portal.call(leave)
    assert portal.call(add, 1, 1) == 2


def test_an_interrupt_before_a_call_is_on_its_way_does_not_wait_for_it(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    class Requests(deque[Any]):
        def append(self, request: Any) -> None:
            monkeypatch.setattr(portal, "_requests", before)
            raise KeyboardInterrupt

    before = portal._requests
    monkeypatch.setattr(portal, "_requests", Requests())
    with pytest.raises(KeyboardInterrupt):
        portal.call(add, 1, 1)
    assert portal.call(add, 1, 1) == 2


@pytest.mark.parametrize("eventfd", [True, False])
def test_an_interrupt_while_the_loop_is_woken_stops_no_wake_up(eventfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not eventfd:
        monkeypatch.delattr(os, "eventfd", raising=False)
    portal, resident = move_in()
    wake, hits = portal._wake, []

    def interrupted() -> object:
        if not hits:
            hits.append(True)
            raise KeyboardInterrupt
        return wake()

    portal._wake = interrupted
    with pytest.raises(KeyboardInterrupt):
        portal.call(add, 1, 1)
    done = threading.Event()
    portal._post(done.set)
    assert done.wait(10)
    move_out(portal, resident)


def test_a_request_that_comes_in_while_others_are_taken_is_not_left(portal: Portal) -> None:
    done = threading.Event()
    portal._post(lambda: portal._post(done.set))
    assert done.wait(10)


def test_sys_exit_in_a_function_that_a_call_begins_with_comes_to_its_caller(portal: Portal) -> None:
    def leave(reply: object) -> None:
        sys.exit(3)

    with pytest.raises(SystemExit):
        portal.call_direct(leave, add, ())
    with pytest.raises(SystemExit):
        portal.call_plain(sys.exit, 3)
    assert portal.call(add, 1, 1) == 2


def test_sys_exit_in_a_callback_of_the_loop_leaves_no_caller_waiting(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    portal._post(lambda: portal.loop.call_soon(sys.exit, 3))
    assert [portal.call(add, number, 1) for number in range(100)] == list(range(1, 101))
    eventually_sync(lambda: "it goes on" in caplog.text)  # the exit is a turn of the loop behind the calls that were there before it


def test_the_thread_ends_with_the_last_resident_and_a_new_one_starts_later() -> None:
    portal, first = move_in()
    again, second = move_in()
    assert again is portal
    portal.call_plain(portal.leave, first)
    assert len(loop_threads()) == 1
    move_out(portal, second)
    assert loop_threads() == []
    with pytest.raises(PortalEndedError):
        portal.call(add, 1, 1)
    new, third = move_in()
    assert new is not portal
    assert new.call(add, 1, 1) == 2
    move_out(new, third)


def test_a_portal_that_nobody_comes_to_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portals, "_UNUSED", 0.05)
    portal = portals.current()
    eventually_sync(lambda: portal.ended and loop_threads() == [], 10)


def test_threads_that_make_a_portal_at_the_same_time_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portals, "_UNUSED", 0.05)
    barrier = threading.Barrier(8)

    def make(_: int) -> tuple[Portal, Resident]:
        barrier.wait(10)
        return move_in()

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(make, range(8)))
    assert len({id(portal) for portal, _ in made}) == 1
    eventually_sync(lambda: len(loop_threads()) == 1, 10)
    for portal, resident in made:
        portal.call_plain(portal.leave, resident)
    eventually_sync(lambda: loop_threads() == [], 10)


def test_a_thread_that_cannot_be_started_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(portals._thread, "start_new_thread", refuse)
    with pytest.raises(ClientStateError, match="can't start new thread"):
        Client(Inner()).start()


class Inner:
    """An asyncio client that only remembers what was asked of it."""

    def __init__(self, fail: bool = False) -> None:
        self.events: list[str] = []
        self.fail = fail

    async def start(self) -> None:
        self.events.append("start")
        if self.fail:
            raise ConfigError("cannot start")

    async def stop(self) -> None:
        self.events.append("stop")

    async def work(self, value: int) -> int:
        if self.events[-1:] != ["start"]:
            raise ClientClosedError("not running")
        return value * 2


class Client(BlockingClient[Inner]):
    def work(self, value: int) -> int:
        return self._call(self._async.work, value)


def test_a_client_lives_between_enter_and_exit() -> None:
    client = Client(Inner())
    with pytest.raises(ClientClosedError):
        client.work(1)
    with client as entered:
        assert entered is client
        assert client.work(4) == 8
        client.start()
    client.stop()
    assert client._async.events == ["start", "stop"]
    with pytest.raises(ClientClosedError):
        client.work(1)
    assert loop_threads() == []


def test_a_failed_start_leaves_no_thread() -> None:
    client = Client(Inner(fail=True))
    with pytest.raises(ConfigError, match="cannot start"):
        client.start()
    assert client._async.events == ["start", "stop"]
    assert loop_threads() == []


def test_a_dropped_client_warns_and_is_stopped() -> None:
    inner = Inner()
    client: Client | None = Client(inner).start()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client = None
        gc.collect()
    assert client is None
    assert [warning.category for warning in caught] == [ResourceWarning]
    deadline = time.monotonic() + 10
    while loop_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert inner.events == ["start", "stop"]
    assert loop_threads() == []


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    prelude = """
        import asyncio, os, sys, threading
        from aiorocketmq.errors import ForkedClientError
        from aiorocketmq.sync.base import BlockingClient

        class Inner:
            async def start(self): pass
            async def stop(self): print("stopped", os.getpid() == parent, flush=True)
            async def work(self, value): return value * 2

        class Client(BlockingClient):
            def work(self, value): return self._call(self._async.work, value)

        parent = os.getpid()
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_everything_is_stopped_at_the_end_of_the_process() -> None:
    done = run_script("client = Client(Inner()).start()\nprint(client.work(2))")
    assert (done.stdout.split("\n"), done.returncode) == (["4", "stopped True", ""], 0), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_gets_an_error_for_the_old_client_and_a_portal_of_its_own_for_a_new_one() -> None:
    done = run_script("""
        old, unused = Client(Inner()).start(), Client(Inner())
        child = os.fork()
        if child == 0:
            try:
                old.work(1)
            except ForkedClientError as error:
                print("refused", "fork" in str(error))
            old.stop()
            with unused, Client(Inner()) as fresh:
                print(unused.work(1), fresh.work(3))
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        print(old.work(5))
    """)
    lines = done.stdout.split()
    assert lines == ["refused", "True", "2", "6", "stopped", "False", "stopped", "False", "10", "stopped", "True"], done


def test_residents_are_weak(portal: Portal) -> None:
    resident: Any = Resident()
    portal.call_plain(portal.enter, "key", resident)
    del resident
    gc.collect()
    assert portal.residents["key"]() is None
    portal.call_plain(portal.leave, "key")


def test_a_request_made_by_a_request_wakes_the_loop_again(portal: Portal) -> None:
    done = threading.Event()
    portal._post(lambda: portal._post(done.set))
    assert done.wait(10), "it waits for a wake-up that nobody makes"
