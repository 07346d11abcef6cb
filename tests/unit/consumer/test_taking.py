"""Queues on their way in: what was asked of a broker for them is given back when they do not come, and nothing holds them up for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from aiorocketmq.protocol.codes import RequestCode
from tests.unit.consumer.test_pulling import SETTLED, Seen
from tests.unit.consumer.test_queue_life import unlocked
from tests.unit.consumer.world import QUEUE, TOPIC, ScriptedBroker, consuming, virtual_time
from tests.wire.world import CLIENT_ID, route


@pytest.mark.feature("G10")
@pytest.mark.parametrize("end", ["another member", "stop"])
@virtual_time
async def test_lock_of_a_queue_that_never_found_its_start_offset_is_given_back(end: str, caplog: pytest.LogCaptureFixture) -> None:
    broker = ScriptedBroker()
    broker.world.routes[TOPIC] = route(2)
    broker.peer.on(RequestCode.QUERY_CONSUMER_OFFSET, lambda *_: None)
    async with consuming(broker, Seen(), ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        assert QUEUE in runtime.queues.waiting
        assert QUEUE in {queue for _, queues in broker.locks for queue in queues}
        if end == "another member":
            broker.members = ["0@first", "1@second"]
            runtime.instance.rebalance.wake()
            await asyncio.sleep(3)
            assert QUEUE in unlocked(broker.peer)
    assert QUEUE in unlocked(broker.peer)
    assert not [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]


@pytest.mark.feature("G10")
@virtual_time
async def test_lock_whose_answer_was_lost_is_given_back_with_the_queue() -> None:
    broker = ScriptedBroker()
    broker.peer.on(RequestCode.LOCK_BATCH_MQ, lambda *_: None)
    async with consuming(broker, Seen(), ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        assert QUEUE in runtime.queues.waiting
        broker.members = ["another"]
        runtime.instance.rebalance.wake()
        await asyncio.sleep(10)
        assert QUEUE in unlocked(broker.peer)


@pytest.mark.feature("G2", "F32")
@pytest.mark.parametrize("work", ["share out", "take over", "release"])
@virtual_time
async def test_work_that_is_cancelled_before_its_first_step_holds_no_queue_up(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, cancelled = ScriptedBroker(), 0
    async with consuming(broker, Seen(), ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        spawn = runtime.scheduler.spawn

        def cut_off(name: str, coroutine: Coroutine[Any, Any, Any], **fields: Any) -> asyncio.Task[Any]:
            nonlocal cancelled
            task = spawn(name, coroutine, **fields)
            if name.startswith(work) and not cancelled:
                cancelled += task.cancel()
            return task

        monkeypatch.setattr(runtime.scheduler, "spawn", cut_off)
        for members in (["another"], [CLIENT_ID]):
            broker.members = members
            runtime.instance.rebalance.wake()
            await asyncio.sleep(30)
        assert cancelled
        assert QUEUE in runtime.rebalancer.assigned
        assert runtime.rebalancer.releasing == {}


@pytest.mark.feature("G10", "F33")
@virtual_time
async def test_lock_of_a_queue_that_goes_on_elsewhere_is_given_back_as_it_may_fall_to_another_member() -> None:
    broker = ScriptedBroker()
    async with consuming(broker, Seen(), ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        broker.members = ["another"]
        runtime.reset_offsets({QUEUE: 5})
        runtime.instance.rebalance.wake()
        await asyncio.sleep(3)
        assert QUEUE in unlocked(broker.peer)
