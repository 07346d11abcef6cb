"""Queues that move and queues that do not: told in the health of a consumer, and in the log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from aiorocketmq.client.examine import examine
from aiorocketmq.client.health import Health, HealthStatus, QueueHealth
from aiorocketmq.consumer.runtime import PushRuntime
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from tests.unit.consumer.test_pulling import SETTLED, Seen
from tests.unit.consumer.test_queue_life import Flaky
from tests.unit.consumer.world import GROUP, QUEUE, ScriptedBroker, consuming, virtual_time
from tests.unit.consumer.world import TOPIC as ORDERS


def look(runtime: PushRuntime) -> Health:
    return examine("the consumer", ServiceState.RUNNING, runtime.instance, runtime.loop, runtime.own_health)


def queue(runtime: PushRuntime) -> QueueHealth:
    [found] = [each for each in look(runtime).queues if each.queue == QUEUE]
    return found


@pytest.mark.feature("U2")
@virtual_time
async def test_a_listener_that_hangs_is_seen_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiorocketmq.consumer")
    broker, gate = ScriptedBroker(), asyncio.Event()
    broker.append(b"0", b"1", b"2")

    async def listener(message: ReceivedMessage) -> None:
        if message.body != b"0":
            await gate.wait()

    async with consuming(broker, listener, ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        found = queue(runtime)
        assert (found.owned, found.position, found.end, found.lag, found.unfinished) == (True, 1, 3, 2, 2)
        assert not found.stuck
        await asyncio.sleep(50)
        assert look(runtime).ok
        await asyncio.sleep(20)
        found, health = queue(runtime), look(runtime)
        assert found.stuck and found.progress_ago > 60
        assert health.status is HealthStatus.DEGRADED
        [reason] = health.reasons
        assert reason.startswith(f"queue {QUEUE} made no progress for ") and reason.endswith("with 2 messages in hand")
        gate.set()
        await asyncio.sleep(0.1)
        assert look(runtime).ok, "seen at once, without another look"
        assert queue(runtime).progress_ago == 0.0
        await asyncio.sleep(6)
        assert queue(runtime).lag == 0
    told = [record.getMessage() for record in caplog.records if "progress" in record.getMessage() or "go on" in record.getMessage()]
    assert len(told) == 2
    assert told[0].startswith(f"group {GROUP} makes no progress on 1 of ")
    assert told[1] == f"all queues of group {GROUP} go on"


@virtual_time
async def test_a_queue_without_messages_is_not_stuck() -> None:
    broker = ScriptedBroker()
    async with consuming(broker, Seen(), stuck_after=1) as runtime:
        await asyncio.sleep(300)
        assert look(runtime).ok
        assert queue(runtime).lag == 0
        assert queue(runtime).progress_ago == 0.0


@virtual_time
async def test_the_time_counts_from_the_last_progress() -> None:
    broker = ScriptedBroker()

    async def listener(message: ReceivedMessage) -> None:
        await asyncio.sleep(8)

    async with consuming(broker, listener, concurrency=1, stuck_after=10) as runtime:
        await asyncio.sleep(100)
        broker.append(*[b"x"] * 10)
        for _ in range(70):
            await asyncio.sleep(1)
            assert look(runtime).ok
        assert 0 < queue(runtime).unfinished < 10


@virtual_time
async def test_pulls_that_fail_are_a_reason_after_a_moment() -> None:
    broker = ScriptedBroker()
    async with consuming(broker, Seen()) as runtime:
        await asyncio.sleep(SETTLED)
        broker.pull_codes = [ResponseCode.NO_PERMISSION] * 30
        await asyncio.sleep(17)
        assert "scripted" in queue(runtime).error
        assert look(runtime).ok
        await asyncio.sleep(6)
        [reason] = look(runtime).reasons
        assert reason.startswith(f"pulls of queue {QUEUE} fail for ") and "scripted" in reason
        await asyncio.sleep(40)
        assert look(runtime).ok
        assert queue(runtime).error == ""


@virtual_time
async def test_pulls_from_a_broker_that_is_gone_are_no_second_reason() -> None:
    broker = ScriptedBroker()
    async with consuming(broker, Seen()) as runtime:
        await asyncio.sleep(SETTLED)
        broker.peer.refuse = True
        broker.peer.drop()
        await asyncio.sleep(10)
        reasons = look(runtime).reasons
        assert reasons[0] == "no broker can be reached"
        assert [reason for reason in reasons if "pulls" in reason] == []
        await asyncio.sleep(60)
        assert queue(runtime).stuck
        broker.peer.refuse = False
        await asyncio.sleep(3)
        assert look(runtime).ok, "a pull that the broker holds does not fail"


@virtual_time
async def test_a_damaged_message_ends_its_queue() -> None:
    broker = ScriptedBroker()
    broker.append(b"0")
    broker.logs[ORDERS][0] = b"\0\0\0\x10" + b"\x01" * 12
    async with consuming(broker, Seen()) as runtime:
        await asyncio.sleep(SETTLED + 5)
        found = queue(runtime)
        assert found.given_up and found.stuck and found.error
        assert any(reason.startswith(f"queue {QUEUE} is not consumed any more: ") for reason in look(runtime).reasons)


@virtual_time
async def test_a_lock_of_another_member_is_told() -> None:
    broker = ScriptedBroker()
    broker.lock_owner = "10.0.0.7@other"
    async with consuming(broker, Seen(), ordered=True, stuck_after=20) as runtime:
        await asyncio.sleep(SETTLED)
        found = queue(runtime)
        assert (found.owned, found.position, found.lag) == (False, -1, None)
        assert found.waits_for
        assert look(runtime).ok
        await asyncio.sleep(25)
        [reason] = look(runtime).reasons
        assert "cannot be consumed for" in reason and queue(runtime).waits_for in reason


@virtual_time
async def test_a_listener_that_fails_on_everything_is_told() -> None:
    broker, works = ScriptedBroker(), False

    async def listener(message: ReceivedMessage) -> None:
        await asyncio.sleep(0.5)
        if not works:
            raise ValueError("no luck")

    async with consuming(broker, listener) as runtime:
        await asyncio.sleep(SETTLED)
        assert [(each.topic, each.consumed, each.failed) for each in look(runtime).listeners] == [(ORDERS, 0, 0)]
        broker.append(b"0", b"1", b"2")
        await asyncio.sleep(1)
        [told] = look(runtime).listeners
        assert (told.consumed, told.failed, told.mean_seconds) == (0, 3, pytest.approx(0.5))
        assert look(runtime).reasons == ("the listener of topic 'orders' fails on every message, 3 within the last minute",)
        works = True
        broker.append(b"3")
        await asyncio.sleep(1)
        assert look(runtime).ok, "not on every one"
        await asyncio.sleep(100)
        [told] = look(runtime).listeners
        assert (told.consumed, told.failed) == (0, 0)


@virtual_time
async def test_what_fails_and_lasts_is_told_in_the_words_of_the_log() -> None:
    broker = ScriptedBroker()
    async with consuming(broker, Seen(), client={"rebalance_interval": 2}) as runtime:
        await asyncio.sleep(SETTLED)
        working = broker.peer._handlers[RequestCode.GET_CONSUMER_LIST_BY_GROUP]
        broker.peer.answer(RequestCode.GET_CONSUMER_LIST_BY_GROUP, ResponseCode.SYSTEM_ERROR, "out of order")
        await asyncio.sleep(3)
        assert look(runtime).ok, "not yet"
        await asyncio.sleep(7)
        [reason] = look(runtime).reasons
        assert reason.startswith(f"members of group {GROUP} for topic ") and "out of order" in reason
        broker.peer.on(RequestCode.GET_CONSUMER_LIST_BY_GROUP, working)
        await asyncio.sleep(5)
        assert look(runtime).ok


@virtual_time
async def test_a_store_that_fails_is_told() -> None:
    class Failing(Flaky):
        failing = False

        async def persist_all(self, queues: object, *, confirm: bool = False) -> None:
            if self.failing:
                raise ConnectionError("the store is down")

    broker, store = ScriptedBroker(), Failing()
    async with consuming(broker, Seen(), offset_store=store) as runtime:
        await asyncio.sleep(SETTLED)
        store.failing = True
        await asyncio.sleep(30)
        [reason] = look(runtime).reasons
        assert "cannot be saved" in reason and "the store is down" in reason
        store.failing = False
        await asyncio.sleep(6)
        assert look(runtime).ok


@virtual_time
async def test_conflicts_and_a_suspension_are_told() -> None:
    broker = ScriptedBroker()
    async with consuming(broker, Seen()) as runtime:
        await asyncio.sleep(SETTLED)
        runtime.group_check.conflicts[ORDERS] = "the filter of topic orders is 'A' here, 'B' at another member"
        runtime.suspend()
        health = look(runtime)
        assert health.suspended
        assert health.subscription_conflicts == runtime.group_check.conflicts
        assert health.subscription_conflicts is not runtime.group_check.conflicts
        assert health.reasons == (
            "members of the group have different subscriptions: the filter of topic orders is 'A' here, 'B' at another member",
        )


@pytest.mark.parametrize("wrong", [0.5, 0, -1, "10", True])
def test_stuck_after_is_a_second_or_more(wrong: object) -> None:
    from aiorocketmq.consumer.settings import PushSettings

    with pytest.raises(ConfigError, match="stuck_after"):
        PushSettings(group="g", stuck_after=wrong)  # type: ignore[arg-type]
