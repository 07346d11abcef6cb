"""Futures of `send_nowait()`: they behave as those of concurrent.futures, and nobody who brings a result waits for who looks at one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import pytest

from aiorocketmq.errors import ConfigError, ForkedClientError
from aiorocketmq.sync import courier
from aiorocketmq.sync.futures import SendFuture


class Process:
    forked = False

    def check_process(self) -> None:
        if self.forked:
            raise ForkedClientError("forked")


def made(on_end: Callable[[Any], object] = lambda _: None) -> SendFuture[int]:
    return SendFuture(Process(), on_end)


def begun() -> SendFuture[int]:
    future = made()
    assert future.begin()
    return future


def test_a_result_is_told_once_to_everyone() -> None:
    ended: list[SendFuture[int]] = []
    future = made(ended.append)
    called: list[Any] = []
    future.add_done_callback(called.append)
    assert not future.done() and not future.running()
    assert future.begin()
    assert future.running() and not future.cancel()
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(future.result, 10) for _ in range(4)]
        time.sleep(0.05)
        future.set_result(7)
        assert [each.result(10) for each in waiting] == [7] * 4
    future.add_done_callback(called.append)
    assert called == [future, future]
    assert ended == [future]
    assert future.done() and not future.running() and not future.cancelled() and future.exception() is None


def test_an_error_is_raised() -> None:
    future = begun()
    future.set_exception(ConfigError("no"))
    assert isinstance(future.exception(), ConfigError)
    for _ in range(2):
        with pytest.raises(ConfigError, match="no"):
            future.result()


def test_what_has_not_begun_can_be_cancelled() -> None:
    future = made()
    called: list[Any] = []
    future.add_done_callback(called.append)
    assert future.cancel() and future.cancel() and future.cancelled() and future.done()
    assert called == [future]
    assert not future.begin()
    for look in (future.result, future.exception):
        with pytest.raises(CancelledError):
            look()


def test_a_wait_ends_with_its_time() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        begun().result(0.05)
    with pytest.raises(TimeoutError):
        begun().exception(0)
    assert time.monotonic() - began < 10


def test_a_forked_child_ends_what_it_inherited_and_calls_nobody_back() -> None:
    called: list[object] = []
    waiting, ended = begun(), begun()
    ended.set_result(7)
    for future in (waiting, ended):
        future.add_done_callback(called.append)
    called.clear()
    for future in (waiting, ended):
        future.disown(ForkedClientError("the parent's"))
    assert called == [], "the callbacks are the parent's"
    assert isinstance(waiting.exception(), ForkedClientError)
    assert ended.result() == 7


def test_a_forked_child_does_not_wait() -> None:
    process = Process()
    future: SendFuture[int] = SendFuture(process, lambda _: None)
    process.forked = True
    with pytest.raises(ForkedClientError):
        future.result()


def test_a_callback_that_fails_is_logged_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise ValueError("bad callback")

    future, called = begun(), []
    future.add_done_callback(fail)
    future.add_done_callback(called.append)
    future.set_result(1)
    assert called == [future]
    courier.flush(10)
    assert "a callback of" in caplog.text and "bad callback" in caplog.text


def test_the_functions_of_concurrent_futures_take_them() -> None:
    futures = [begun() for _ in range(6)]
    futures[0].set_result(0)
    futures[1].set_exception(ConfigError("one"))
    open_one = made()

    def end() -> None:
        for number, future in enumerate(futures[2:], 2):
            time.sleep(0.01)
            future.set_result(number)
        open_one.cancel()

    thread = threading.Thread(target=end)
    thread.start()
    seen = list(concurrent.futures.as_completed([*futures, open_one], timeout=20))
    thread.join()
    assert set(seen) == {*futures, open_one} and len(seen) == 7
    assert set(seen[:2]) == set(futures[:2])
    late = begun()
    done, pending = concurrent.futures.wait([*futures, late], timeout=0.05)
    assert (done, pending) == (set(futures), {late})
    threading.Timer(0.05, late.set_exception, (ConfigError("late"),)).start()
    done, pending = concurrent.futures.wait([late], timeout=20, return_when=concurrent.futures.FIRST_EXCEPTION)
    assert (done, pending) == ({late}, set())
    assert not late._waiters


async def test_a_task_can_await_one() -> None:
    future = begun()
    threading.Timer(0.05, future.set_result, (5,)).start()
    assert await asyncio.wrap_future(future) == 5


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="the platform has no signals for threads")
def test_whoever_ends_it_does_not_wait_for_who_holds_it() -> None:
    """A thread in the middle of `wait()` holds what stands for the lock, perhaps beneath a signal handler, perhaps for good."""
    future, holding, leave = begun(), threading.Event(), threading.Event()

    def hold() -> None:
        with future._condition:
            holding.set()
            leave.wait(20)
            assert future._state == "RUNNING"

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(10)
    future.set_result(3)
    assert future.result(0) == 3
    leave.set()
    thread.join()
    assert future._state == "FINISHED"  # told by the one who held it
    assert concurrent.futures.wait([future], timeout=0).done == {future}


def test_all_at_once_from_many_threads() -> None:
    for _ in range(100):
        future, called, barrier = begun(), [], threading.Barrier(3)

        def add(future: Any = future, called: Any = called, barrier: Any = barrier) -> int:
            barrier.wait(10)
            future.add_done_callback(called.append)
            result: int = future.result(10)
            return result

        def end(future: Any = future, barrier: Any = barrier) -> None:
            barrier.wait(10)
            future.set_result(1)

        with ThreadPoolExecutor(3) as threads:
            adding = [threads.submit(add) for _ in range(2)]
            threads.submit(end).result(10)
            assert [each.result(10) for each in adding] == [1, 1]
        assert called == [future, future]
