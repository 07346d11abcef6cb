"""Pausing and resuming of topics and queues, against a scripted broker on virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.consumer.assigned import QueueState
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import RequestCode
from tests.support.waiting import eventually
from tests.unit.consumer.test_pulling import SETTLED, Seen
from tests.unit.consumer.world import GROUP, QUEUE, RETRY, TOPIC, ScriptedBroker, consuming, virtual_time

RETRIED = b"RETRY_TOPIC\1" + TOPIC.encode() + b"\2"


class Slow:
    """A listener that takes its time, and remembers what it began."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begun: list[bytes] = []

    async def __call__(self, messages: ReceivedMessage | list[ReceivedMessage]) -> None:
        self.begun += [each.body for each in (messages if isinstance(messages, list) else [messages])]
        await asyncio.sleep(self.seconds)


@pytest.mark.feature("F36")
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("what", ["topic", "queue"])
@virtual_time
async def test_no_call_begins_for_what_is_paused_and_none_is_lost(ordered: bool, what: str) -> None:
    broker, listener = ScriptedBroker(), Slow(1.0)
    broker.append(*[b"%d" % number for number in range(6)])
    async with consuming(broker, listener, ordered=ordered, concurrency=2) as runtime:
        await asyncio.sleep(SETTLED)
        assigned = runtime.queues.assigned[QUEUE]
        if what == "topic":
            runtime.pause_topic(TOPIC)
        else:
            runtime.pause([assigned])
        begun = list(listener.begun)
        assert begun
        broker.append(b"6")  # it comes through the pull that is parked
        await asyncio.sleep(20)
        assert listener.begun == begun
        assert len(broker.pulls) <= 2, "nothing was pulled"
        assert assigned.messages.count == 7 - len(begun), "calls that ran have ended"
        broker.append(b"7")
        if what == "topic":
            runtime.resume_topic(TOPIC)
        else:
            runtime.resume_queues([assigned])
        await asyncio.sleep(10)
        assert sorted(listener.begun) == [b"%d" % number for number in range(8)]
        assert not ordered or listener.begun == sorted(listener.begun)
    assert broker.offsets[TOPIC] == 8


@pytest.mark.feature("F36", "F7")
@virtual_time
async def test_pausing_and_resuming_in_a_row_loses_and_repeats_nothing() -> None:
    broker, listener = ScriptedBroker(), Slow(0.1)
    broker.append(*[b"%02d" % number for number in range(40)])
    async with consuming(broker, listener, batch=3, concurrency=2) as runtime:
        for _ in range(30):
            await asyncio.sleep(0.07)
            runtime.pause_topic(TOPIC)
            runtime.pause_topic(TOPIC)
            await asyncio.sleep(0)
            runtime.resume_topic(TOPIC)
        await asyncio.sleep(SETTLED + 5)
        assert sorted(listener.begun) == [b"%02d" % number for number in range(40)]


@pytest.mark.feature("F36", "F24")
@pytest.mark.parametrize("ordered", [False, True])
@virtual_time
async def test_messages_of_a_paused_topic_that_come_again_wait_too(ordered: bool) -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen, ordered=ordered) as runtime:
        await asyncio.sleep(SETTLED)
        runtime.pause_topic(TOPIC)
        broker.append(b"again", topic=RETRY, properties=RETRIED, reconsume_times=1)
        await asyncio.sleep(20)
        assert seen.bodies == []
        runtime.resume_topic(TOPIC)
        await asyncio.sleep(1)
        assert seen.bodies == [b"again"]


@pytest.mark.feature("F36", "F21")
@virtual_time
async def test_what_comes_again_is_held_no_more_when_its_topic_is_unsubscribed() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        runtime.pause_topic(TOPIC)
        broker.append(b"again", topic=RETRY, properties=RETRIED, reconsume_times=1)
        await asyncio.sleep(1)
        runtime.subscriptions_table.remove(TOPIC)
        await runtime.subscription_changed(TOPIC)
        await asyncio.sleep(1)
        assert seen.bodies == []
        assert len(broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)) == 1, "it has no listener here"


@pytest.mark.feature("F36", "F51")
async def test_threads_begin_nothing_of_what_is_paused() -> None:
    broker, going_on, begun = ScriptedBroker(), threading.Event(), list[bytes]()

    def listener(message: ReceivedMessage) -> None:
        begun.append(message.body)
        going_on.wait(10)

    broker.append(*[b"%d" % number for number in range(8)])
    async with consuming(broker, listener, concurrency=2) as runtime:
        await eventually(lambda: len(begun) == 2)
        runtime.pause_topic(TOPIC)
        going_on.set()
        await eventually(lambda: runtime.queues.assigned[QUEUE].messages.count == 6 and runtime.service.caller.backlog == 0)
        assert len(begun) == 2
        runtime.resume_topic(TOPIC)
        await eventually(lambda: len(begun) == 8)
        await eventually(lambda: runtime.queues.assigned[QUEUE].messages.count == 0)
    assert sorted(begun) == [b"%d" % number for number in range(8)]


@pytest.mark.feature("F36", "G10")
@virtual_time
async def test_a_paused_ordered_queue_keeps_its_lock_and_gives_it_back() -> None:
    broker, listener = ScriptedBroker(), Slow(0.5)
    broker.append(b"0", b"1")
    async with consuming(broker, listener, ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        assigned = runtime.queues.assigned[QUEUE]
        runtime.pause([assigned])
        renewals = len(broker.locks)
        await asyncio.sleep(100)
        assert renewals + 4 <= len(broker.locks) <= renewals + 8, "renewed every 20 s, and not asked for anew every second"
        assert assigned.locked_until > asyncio.get_running_loop().time()
        broker.members = ["0", *broker.members]
        runtime.instance.rebalance.wake()
        await asyncio.sleep(10)
        assert assigned.state is QueueState.GONE


@pytest.mark.feature("F36")
@virtual_time
async def test_a_stop_does_not_wait_for_what_is_paused() -> None:
    broker, listener = ScriptedBroker(), Slow(0.1)
    broker.append(*[b"%d" % number for number in range(4)])
    clock = asyncio.get_running_loop().time
    async with consuming(broker, listener, concurrency=1) as runtime:
        await asyncio.sleep(0.15)
        await eventually(lambda: bool(listener.begun))
        runtime.pause_topic(TOPIC)
        began = clock()
    assert clock() - began < 1.0
    assert broker.offsets[TOPIC] == len(listener.begun), "what was held comes again"


def consumer_of(broker: ScriptedBroker, listener: Callable[[Any], Any], **settings: Any) -> rmq.PushConsumer:
    consumer = rmq.PushConsumer("ns:9876", group=GROUP, start_from=rmq.StartFrom.FIRST, **settings)
    consumer.listen(TOPIC)(listener)
    return consumer


@pytest.mark.feature("F36")
@virtual_time
async def test_a_topic_that_is_paused_before_the_start_waits_until_it_is_resumed(broker: ScriptedBroker) -> None:
    seen = Seen()
    broker.append(b"0")
    consumer = consumer_of(broker, seen)
    consumer.pause(TOPIC)
    async with consumer:
        await asyncio.sleep(SETTLED + 20)
        assert (seen.bodies, broker.pulls) == ([], [])
        assert (consumer.paused_topics, consumer.paused()) == ({TOPIC}, {QUEUE})
        assert [queue.queue for queue in consumer.health().queues if queue.paused] == [QUEUE]
        await consumer.subscribe(TOPIC, seen, "*")
        await asyncio.sleep(2)
        assert seen.bodies == [], "another listener changes nothing"
        consumer.resume(QUEUE)
        await asyncio.sleep(2)
        assert broker.pulls, "a single queue of it goes on"
        consumer.resume(TOPIC)
        await asyncio.sleep(1)
        assert seen.bodies == [b"0"]
        assert (consumer.paused_topics, consumer.paused()) == (frozenset(), frozenset())


@pytest.mark.feature("F36")
@virtual_time
async def test_everything_pauses_and_goes_on(broker: ScriptedBroker) -> None:
    slow = Slow(1.0)
    async with consumer_of(broker, slow) as consumer:
        broker.append(*[b"%02d" % number for number in range(30)])
        await asyncio.sleep(0.5)
        consumer.pause()
        begun = len(slow.begun)
        assert begun == 20
        await asyncio.sleep(60)
        assert (len(slow.begun), consumer.health().suspended) == (begun, True)
        consumer.resume()
        await asyncio.sleep(3)
        assert len(slow.begun) == 30
        assert not consumer.health().suspended


@pytest.mark.feature("F36")
@virtual_time
async def test_what_cannot_be_paused_is_named_and_nothing_is_paused(broker: ScriptedBroker) -> None:
    consumer = consumer_of(broker, Seen())
    with pytest.raises(rmq.ClientStateError, match="other"):
        consumer.pause(TOPIC, "other")
    with pytest.raises(rmq.ClientStateError):
        consumer.pause(QUEUE)
    async with consumer:
        with pytest.raises(rmq.ClientStateError, match="not assigned"):
            consumer.pause(TOPIC, MessageQueue(TOPIC, "broker-a", 7))
        with pytest.raises(rmq.ConfigError, match="neither a topic nor a queue"):
            consumer.pause(7)  # type: ignore[arg-type]
        with pytest.raises(rmq.ClientStateError, match="other"):
            consumer.resume("other")
        assert (consumer.paused_topics, consumer.paused()) == (frozenset(), frozenset())
    with pytest.raises(rmq.ClientClosedError):
        consumer.pause(TOPIC)
