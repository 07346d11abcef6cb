"""The window of unanswered sends: two limits, waiting in turn, and no room lost whatever is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.errors import WindowFullError
from aiorocketmq.producer.window import SendWindow
from tests.support.virtual_loop import virtual_time

pytestmark = pytest.mark.feature("B17")
FAR = 1e9


def test_both_limits_count() -> None:
    window = SendWindow(2, 100)
    window.acquire_nowait(60)
    with pytest.raises(WindowFullError, match="1 messages with 60 bytes"):
        window.acquire_nowait(41)
    window.acquire_nowait(40)
    with pytest.raises(WindowFullError, match="max_in_flight=2, max_in_flight_bytes=100"):
        window.acquire_nowait(0)
    window.release(60)
    window.acquire_nowait(60)
    assert (window.messages, window.bytes) == (2, 100)


def test_a_message_beyond_the_byte_limit_passes_alone() -> None:
    window = SendWindow(10, 100)
    window.acquire_nowait(1000)
    with pytest.raises(WindowFullError):
        window.acquire_nowait(1)
    window.release(1000)
    window.acquire_nowait(1)
    with pytest.raises(WindowFullError):
        window.acquire_nowait(1000)


@virtual_time
async def test_waiters_get_room_in_their_turn() -> None:
    window = SendWindow(1, 100)
    assert await window.acquire(1, FAR)
    order: list[int] = []

    async def wait(number: int, size: int) -> None:
        assert await window.acquire(size, FAR)
        order.append(number)

    tasks = [asyncio.create_task(wait(number, size)) for number, size in enumerate((90, 5, 50))]
    await asyncio.sleep(0)
    with pytest.raises(WindowFullError):  # nobody overtakes those who wait
        window.acquire_nowait(1)
    for size in (1, 90, 5):
        window.release(size)
        await asyncio.sleep(0.1)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2] and (window.messages, window.bytes) == (1, 50)


@virtual_time
async def test_waiting_ends_at_the_deadline() -> None:
    window = SendWindow(1, 100)
    window.acquire_nowait(1)
    loop = asyncio.get_running_loop()
    assert not await window.acquire(1, 2.5)
    assert loop.time() == 2.5
    window.release(1)
    assert (window.messages, window.bytes) == (0, 0)
    assert await window.acquire(1, 2.5)


@virtual_time
async def test_a_cancelled_waiter_leaves_no_trace() -> None:
    window = SendWindow(1, 100)
    window.acquire_nowait(1)
    big = asyncio.create_task(window.acquire(100, FAR))
    small = asyncio.create_task(window.acquire(2, FAR))
    await asyncio.sleep(0)
    big.cancel()
    await asyncio.sleep(0)
    window.release(1)
    assert await small
    assert (window.messages, window.bytes) == (1, 2)


@virtual_time
async def test_room_granted_in_the_moment_of_a_cancel_is_passed_on() -> None:
    window = SendWindow(1, 100)
    window.acquire_nowait(1)
    first = asyncio.create_task(window.acquire(2, FAR))
    second = asyncio.create_task(window.acquire(3, FAR))
    await asyncio.sleep(0)
    window.release(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second
    assert (window.messages, window.bytes) == (1, 3)


@virtual_time
async def test_a_smaller_one_behind_a_cancelled_big_one_gets_its_room_at_once() -> None:
    window = SendWindow(3, 100)
    window.acquire_nowait(50)
    big = asyncio.create_task(window.acquire(80, FAR))
    small = asyncio.create_task(window.acquire(10, FAR))
    await asyncio.sleep(0)
    assert not small.done()
    big.cancel()
    assert await small


@virtual_time
async def test_empty_waits_for_the_last_answer_and_no_longer_than_told() -> None:
    window = SendWindow(3, 100)
    assert await window.empty(1.0)
    window.acquire_nowait(1)
    loop = asyncio.get_running_loop()
    assert not await window.empty(2.0) and loop.time() == 2.0
    loop.call_later(1.0, window.release, 1)
    assert await window.empty(5.0) and loop.time() == 3.0
