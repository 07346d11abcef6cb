"""What a user sees of an error that nobody caught: the way into the library, the one sentence that helps, and nothing else."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import aiorocketmq as rmq
from aiorocketmq import sync

PACKAGE = str(Path(rmq.__file__).parent)
MOST_LINES = 15
MOST_FRAMES = 6
"""Of ours; 3.11 and 3.12 add a line of marks to a frame whose statement holds more than the call."""


def closed_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def check(error: BaseException) -> None:
    """One traceback, few frames of ours, and all that matters in the last line."""
    text = "".join(traceback.format_exception(error))
    assert text.count("Traceback (most recent call last)") == 1, text
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(PACKAGE)]
    assert len(frames) <= MOST_FRAMES, text
    lines = sum(2 + ("^" in block) for block in text.split('  File "')[1:] if block.startswith(PACKAGE))
    assert lines <= MOST_LINES, text
    assert "refused the connection" in str(error) and isinstance(error, rmq.UnreachableError)
    assert isinstance(error, rmq.RocketMQError) and error.cause is not None


async def consume(address: str) -> None:
    consumer = rmq.PushConsumer(address, group="g")
    consumer.listen("orders")(lambda message: None)
    await consumer.start(timeout=0.3)


async def send(address: str, how: Callable[[rmq.Producer], Awaitable[object]]) -> None:
    async with rmq.Producer(address, group="g") as producer:
        await how(producer)


async def administer(address: str, how: Callable[[rmq.AdminClient], Awaitable[object]]) -> None:
    async with rmq.AdminClient(address) as admin:
        await how(admin)


MESSAGE = rmq.Message("orders", b"x")
CALLS: dict[str, Callable[[str], Awaitable[None]]] = {
    "send": lambda address: send(address, lambda producer: producer.send(MESSAGE, timeout=0.5)),
    "send_nowait": lambda address: send(address, lambda producer: producer.send_nowait(MESSAGE)),
    "send_oneway": lambda address: send(address, lambda producer: producer.send_oneway(MESSAGE, timeout=0.5)),
    "send_batch": lambda address: send(address, lambda producer: producer.send_batch([MESSAGE], timeout=0.5)),
    "queues": lambda address: send(address, lambda producer: producer.fetch_publish_message_queues("orders")),
    "create_topic": lambda address: administer(address, lambda admin: admin.topics.create("orders")),
    "cluster_info": lambda address: administer(address, lambda admin: admin.clusters.brokers()),
}


@pytest.mark.feature("P9")
@pytest.mark.parametrize("name", CALLS)
async def test_a_wrong_address_is_told_in_a_few_lines(name: str) -> None:
    with pytest.raises(rmq.RocketMQError) as caught:
        await CALLS[name](closed_address())
    check(caught.value)


def sync_send(address: str) -> None:
    with sync.Producer(address, group="g") as producer:
        producer.send(MESSAGE, timeout=0.5)


def sync_create(address: str) -> None:
    with sync.AdminClient(address) as admin:
        admin.topics.create("orders")


@pytest.mark.feature("P9")
@pytest.mark.parametrize("call", [sync_send, sync_create])
def test_a_wrong_address_is_told_in_a_few_lines_to_blocking_callers(call: Callable[[str], None]) -> None:
    with pytest.raises(rmq.RocketMQError) as caught:
        call(closed_address())
    check(caught.value)
