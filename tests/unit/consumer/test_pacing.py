"""Limits on the rate of consuming, against a scripted broker on virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.consumer.pacing import CATCH_UP, Pace
from aiorocketmq.model.received import ReceivedMessage
from tests.support.waiting import eventually
from tests.unit.consumer.test_pausing import RETRIED, consumer_of
from tests.unit.consumer.test_pulling import SETTLED, Seen
from tests.unit.consumer.world import QUEUE, RETRY, TOPIC, ScriptedBroker, consuming, virtual_time
from tests.wire.world import route


class Timed:
    """A listener that remembers when each message came."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.bodies: list[bytes] = []

    async def __call__(self, messages: ReceivedMessage | list[ReceivedMessage]) -> None:
        now = asyncio.get_running_loop().time()
        for message in messages if isinstance(messages, list) else [messages]:
            self.at.append(now)
            self.bodies.append(message.body)

    def within(self, begin: float, end: float) -> int:
        return sum(begin <= at < end for at in self.at)


def numbered(count: int) -> list[bytes]:
    return [b"%03d" % number for number in range(count)]


def test_a_pace_makes_up_for_a_moment_and_saves_nothing_up() -> None:
    pace = Pace(10.0)
    pace.begin(100.0)
    pace.take(100.0, 1)
    assert pace.due == pytest.approx(100.1)
    pace.take(100.15, 2)
    assert pace.due == pytest.approx(100.3), "a late one is made up for"
    pace.take(200.0, 1)
    assert pace.due == pytest.approx(200.0 - CATCH_UP + 0.1), "but not a long time"
    pace.begin(300.0)
    assert pace.due == 300.0


@pytest.mark.feature("F48")
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("ordered", [False, True])
@virtual_time
async def test_so_many_messages_a_second_and_no_more(ordered: bool, batch: int) -> None:
    broker, timed = ScriptedBroker(), Timed()
    broker.append(*numbered(300))
    async with consuming(broker, timed, ordered=ordered, batch=batch) as runtime:
        runtime.service.caller.limit_rate(None, 20.0)
        await eventually(lambda: bool(timed.at))
        begin = timed.at[0]
        await asyncio.sleep(10)
        for second in range(9):
            assert timed.within(begin + second, begin + second + 1) == pytest.approx(20, abs=batch)
        assert not ordered or timed.bodies == sorted(timed.bodies)
        runtime.service.caller.limit_rate(None, None)
        await asyncio.sleep(1)
        assert sorted(timed.bodies) == numbered(300)


@pytest.mark.feature("F48")
@virtual_time
async def test_a_limit_changes_while_running() -> None:
    broker, timed = ScriptedBroker(), Timed()
    broker.append(*numbered(500))
    clock = asyncio.get_running_loop().time
    async with consuming(broker, timed, pull_threshold_for_queue=500) as runtime:
        caller = runtime.service.caller
        caller.limit_rate(TOPIC, 0.01)
        await asyncio.sleep(SETTLED)
        assert len(timed.at) == 1
        caller.limit_rate(TOPIC, 50.0)
        begin = clock()
        await asyncio.sleep(4)
        assert timed.within(begin, begin + 4) == pytest.approx(200, abs=2)
        caller.limit_rate(None, 10.0)
        begin = clock()
        await asyncio.sleep(4)
        assert timed.within(begin, begin + 4) == pytest.approx(40, abs=2)


@pytest.mark.feature("F48")
@virtual_time
async def test_topics_take_turns_and_a_slow_one_holds_up_no_other(broker: ScriptedBroker) -> None:
    slow, quick, other = Timed(), Timed(), Timed()
    for topic in ("quick", "other"):
        broker.world.routes[topic] = route(1)
        broker.append(*numbered(400), topic=topic)
    broker.append(*numbered(400))
    consumer = consumer_of(broker, slow, rate_limit=100)
    consumer.listen("quick")(quick)
    consumer.listen("other")(other)
    consumer.limit_rate(5, TOPIC)
    assert consumer.rate_limits == {None: 100.0, TOPIC: 5.0}
    async with consumer:
        await asyncio.sleep(2)
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(2)
        end = begin + 2
        assert slow.within(begin, end) == pytest.approx(10, abs=1)
        assert quick.within(begin, end) == pytest.approx(95, abs=3)
        assert other.within(begin, end) == pytest.approx(95, abs=3)
        consumer.limit_rate(None)
        await asyncio.sleep(1)
        assert len(quick.at) == len(other.at) == 400
        assert consumer.rate_limits == {TOPIC: 5.0}


@pytest.mark.feature("F48", "F24")
@virtual_time
async def test_messages_that_come_again_count(broker: ScriptedBroker) -> None:
    timed = Timed()
    broker.append(*numbered(20))
    broker.append(*numbered(20), topic=RETRY, properties=RETRIED, reconsume_times=1)
    async with consumer_of(broker, timed, rate_limit=10):
        await eventually(lambda: bool(timed.at))
        await asyncio.sleep(2)
        assert len(timed.at) == pytest.approx(21, abs=1)


@pytest.mark.feature("F48", "F36")
@pytest.mark.parametrize("ordered", [False, True])
@virtual_time
async def test_what_waits_for_its_time_is_paused_and_taken_over_by_others_as_the_rest(ordered: bool, broker: ScriptedBroker) -> None:
    timed = Timed()
    broker.append(*numbered(40))
    clock = asyncio.get_running_loop().time
    async with consumer_of(broker, timed, rate_limit=2, ordered=ordered) as consumer:
        await eventually(lambda: bool(timed.at))
        consumer.pause(TOPIC)
        await asyncio.sleep(10)
        assert len(timed.at) <= 2
        consumer.resume(TOPIC)
        await asyncio.sleep(5)
        assert len(timed.at) == pytest.approx(12, abs=1)
        began = clock()
    assert clock() - began < 1, "a stop waits for no limit"
    assert broker.offsets[TOPIC] == len(timed.at) == len(set(timed.bodies))


@pytest.mark.feature("F48", "G2")
@pytest.mark.parametrize("ordered", [False, True])
@virtual_time
async def test_a_queue_that_leaves_takes_what_waits_along(ordered: bool) -> None:
    broker, timed = ScriptedBroker(), Timed()
    broker.append(*numbered(40))
    async with consuming(broker, timed, ordered=ordered) as runtime:
        runtime.service.caller.limit_rate(None, 2.0)
        await eventually(lambda: len(timed.at) == 3)
        broker.members = ["0", *broker.members]
        runtime.instance.rebalance.wake()
        await eventually(lambda: QUEUE not in runtime.queues.assigned and QUEUE not in runtime.queues.releasing)
        seen = len(timed.at)
        await asyncio.sleep(20)
        assert len(timed.at) == seen == broker.offsets[TOPIC]


@pytest.mark.feature("F48", "F6")
async def test_waiting_costs_no_worker() -> None:
    broker, threads = ScriptedBroker(), list[bytes]()

    def listener(message: ReceivedMessage) -> None:
        threads.append(message.body)

    broker.append(*numbered(30))
    async with consuming(broker, listener, concurrency=2) as runtime:
        runtime.service.caller.limit_rate(None, 100.0)
        await eventually(lambda: len(threads) >= 5)
        assert runtime.service.caller.backlog <= 2
        await eventually(lambda: len(threads) == 30)


@pytest.mark.feature("F48")
@pytest.mark.parametrize("rate", [0, -1, "10", True, float("nan"), float("inf")])
def test_what_is_no_rate_is_refused(rate: Any) -> None:
    with pytest.raises(rmq.ConfigError, match=r"rate_limit .* is no rate"):
        rmq.PushConsumer("127.0.0.1:9876", group="g", rate_limit=rate)
    consumer = rmq.PushConsumer("127.0.0.1:9876", group="g")
    consumer.listen("orders")(Seen())
    with pytest.raises(rmq.ConfigError, match=r"rate .* is no rate"):
        consumer.limit_rate(rate)
    with pytest.raises(rmq.ClientStateError, match="'bills' is not subscribed"):
        consumer.limit_rate(1.0, "bills")
    with pytest.raises(rmq.ConfigError, match="no name"):
        consumer.limit_rate(1.0, QUEUE)  # type: ignore[arg-type]
    assert consumer.rate_limits == {}
