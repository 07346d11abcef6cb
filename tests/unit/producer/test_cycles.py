"""A send that has ended is freed at once: nothing of it waits for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync as blocking
from aiorocketmq.server import LocalCluster

ROUNDS = 20
TOPIC = "orders"
OURS = ("aiorocketmq.producer", "aiorocketmq.model", "aiorocketmq.sync", "aiorocketmq.remoting")


@contextmanager
def leaving_nothing_behind() -> Iterator[None]:
    """Fails when objects of the client that were made within are found in cycles; the server, in the same process, does not count."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        found = Counter(type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith(OURS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not found, found


async def awaited(producer: rmq.Producer) -> None:
    await producer.send(rmq.Message(TOPIC, b"x"))


async def batched(producer: rmq.Producer) -> None:
    await producer.send_batch([rmq.Message(TOPIC, b"x"), rmq.Message(TOPIC, b"y")])


async def not_awaited(producer: rmq.Producer) -> None:
    await asyncio.gather(*[producer.send_nowait(rmq.Message(TOPIC, b"x")) for _ in range(3)])


async def one_way(producer: rmq.Producer) -> None:
    await producer.send_oneway(rmq.Message(TOPIC, b"x"))


@pytest.mark.parametrize("auto_batch", [False, True])
@pytest.mark.parametrize("send", [awaited, batched, not_awaited, one_way])
async def test_sends_on_the_loop_leave_no_cycles(send: Callable[[rmq.Producer], Awaitable[Any]], auto_batch: bool) -> None:
    async with LocalCluster() as cluster, rmq.Producer(cluster.name_servers, auto_batch=auto_batch) as producer:
        await send(producer)
        with leaving_nothing_behind():
            for _ in range(ROUNDS):
                await send(producer)


@pytest.mark.parametrize("auto_batch", [False, True])
def test_blocking_sends_leave_no_cycles(auto_batch: bool) -> None:
    with blocking.LocalCluster() as cluster, blocking.Producer(cluster.name_servers, auto_batch=auto_batch) as producer:
        producer.send(rmq.Message(TOPIC, b"x"))
        with leaving_nothing_behind():
            for _ in range(ROUNDS):
                producer.send(rmq.Message(TOPIC, b"x"))
                producer.send_nowait(rmq.Message(TOPIC, b"x")).result(10)
