"""Clients on a loop whose tasks run at once, up to their first wait (`asyncio.eager_task_factory`)."""

from __future__ import annotations

import asyncio
import sys

import pytest

from aiorocketmq.errors import ConnectError
from tests.support.virtual_loop import virtual_time
from tests.wire.world import FakeConsumer, World, close_to

if sys.version_info < (3, 12):
    pytest.skip("Python 3.12 is the first with eager tasks", allow_module_level=True)


@pytest.mark.feature("K9", "G1")
@virtual_time
async def test_a_group_whose_rounds_need_no_network_is_rebalanced_again_and_again() -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    consumer, instance = FakeConsumer(), World().instance()
    await instance.start()
    await instance.register_consumer(consumer)
    await asyncio.sleep(61)
    await instance.stop()
    assert close_to(consumer.rebalanced_at, [20, 40, 60])


@virtual_time
async def test_an_attempt_to_connect_that_fails_at_once_is_told_at_once() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    instance = World().instance()
    await instance.start()
    before = loop.time()
    with pytest.raises(ConnectError, match="is not an address"):
        await instance.remoting.connect("no address")
    assert loop.time() == before
    await instance.stop()
