"""A consumer of many topics: what a round of rebalancing asks and how long it takes, on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiorocketmq.consumer.listener import Listener
from aiorocketmq.consumer.runtime import PushRuntime
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.bodies import GetConsumerListByGroupResponseBody
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.waiting import eventually
from tests.unit.consumer.test_pulling import SETTLED, Seen
from tests.unit.consumer.world import RETRY, TOPIC, ScriptedBroker, consuming, virtual_time
from tests.wire.world import CLIENT_ID, MASTER, route

TOPICS = [f"topic-{number}" for number in range(40)]
MEMBERS = RequestCode.GET_CONSUMER_LIST_BY_GROUP
OFFSET = RequestCode.QUERY_CONSUMER_OFFSET


@asynccontextmanager
async def consuming_all(broker: ScriptedBroker, seen: Seen, **settings: Any) -> AsyncIterator[PushRuntime]:
    """A consumer of `TOPICS` and `TOPIC`; its second round, the first one with all of them, comes after a second."""
    for topic in TOPICS:
        broker.world.routes.setdefault(topic, route(1))
    async with consuming(broker, seen, **settings) as runtime:
        await asyncio.sleep(0.2)
        for topic in TOPICS:
            runtime.subscriptions_table.add(Listener(topic, seen, 1), "*", 1)
            await runtime.instance.routes.update(topic)
        yield runtime


def owned(runtime: PushRuntime) -> set[str]:
    return {queue.topic for queue in runtime.rebalancer.assigned}


@pytest.mark.feature("G1")
@virtual_time
async def test_members_are_asked_for_once_in_a_round() -> None:
    broker = ScriptedBroker()
    async with consuming_all(broker, Seen()) as runtime:
        await eventually(lambda: owned(runtime) == {TOPIC, RETRY, *TOPICS})
        asked, rounds = len(broker.peer.of(MEMBERS)), runtime.instance.rebalance.rounds
        await asyncio.sleep(60)
        assert runtime.instance.rebalance.rounds - rounds == 3
        assert len(broker.peer.of(MEMBERS)) - asked == 3


@pytest.mark.feature("G1")
@virtual_time
async def test_topics_on_other_brokers_ask_their_own_ones() -> None:
    broker, other = ScriptedBroker(), "broker-b:10911"
    peer = broker.world.make_broker(other)
    answer = GetConsumerListByGroupResponseBody([CLIENT_ID, "0@first"]).encode()
    peer.on(MEMBERS, lambda request, _: RemotingCommand.response(request, body=answer))
    for topic in TOPICS[:5]:
        broker.world.routes[topic] = route(1, name="broker-b", addrs={0: other})
    both = TopicRouteData(
        (QueueData("broker-a", 1, 1),),
        (BrokerData("DefaultCluster", "broker-a", {0: MASTER}), BrokerData("DefaultCluster", "broker-b", {0: other})),
    )
    for topic in TOPICS[5:10]:
        broker.world.routes[topic] = both
    async with consuming_all(broker, Seen()) as runtime:
        await eventually(lambda: owned(runtime) >= {TOPIC, RETRY, *TOPICS[10:]})
        await asyncio.sleep(1.5)
        assert not owned(runtime) & set(TOPICS[:5]), "the other broker knows a member that comes first"
        asked, rounds = len(broker.peer.of(MEMBERS)) + len(peer.of(MEMBERS)), runtime.instance.rebalance.rounds
        await asyncio.sleep(59)
        # Whichever of two brokers is asked, they know different members here: a queue that is given up for that brings another round.
        rounds = runtime.instance.rebalance.rounds - rounds
        assert rounds >= 3
        assert len(broker.peer.of(MEMBERS)) + len(peer.of(MEMBERS)) - asked == 3 * rounds, "three sets of brokers in each round"


@pytest.mark.feature("G1", "G3")
@virtual_time
async def test_question_for_members_that_failed_is_asked_once_more_in_a_round() -> None:
    broker = ScriptedBroker()
    async with consuming_all(broker, Seen()) as runtime:
        await eventually(lambda: len(owned(runtime)) == 42)
        await asyncio.sleep(1)
        ask = broker._consumer_list
        answers = [ResponseCode.SYSTEM_ERROR]

        def sometimes(request: RemotingCommand, connection: Any) -> RemotingCommand:
            return RemotingCommand.response(request, answers.pop(), "scripted") if answers else ask(request, connection)

        broker.peer.on(MEMBERS, sometimes)
        asked = len(broker.peer.of(MEMBERS))
        assert await runtime.rebalance(), "the second answer is as good as the first"
        assert len(broker.peer.of(MEMBERS)) - asked == 2
        broker.peer.answer(MEMBERS, ResponseCode.SYSTEM_ERROR, "scripted")
        assert not await runtime.rebalance()
        assert len(broker.peer.of(MEMBERS)) - asked == 4
        assert len(owned(runtime)) == 42


@pytest.mark.feature("G1", "G3")
@virtual_time
async def test_broker_that_forgot_the_member_is_greeted_once_in_a_round() -> None:
    broker = ScriptedBroker()
    async with consuming_all(broker, Seen()) as runtime:
        await eventually(lambda: len(owned(runtime)) == 42)
        await asyncio.sleep(1)
        broker.members = ["zz@other"]
        asked, beats = len(broker.peer.of(MEMBERS)), len(broker.peer.of(RequestCode.HEART_BEAT))
        await runtime.rebalance()
        assert len(broker.peer.of(MEMBERS)) - asked == 2
        assert len(broker.peer.of(RequestCode.HEART_BEAT)) - beats == 1


@pytest.mark.feature("G2", "F32")
@virtual_time
async def test_queues_of_all_topics_are_given_up_in_the_same_moment_and_saved() -> None:
    broker, begun = ScriptedBroker(), set()

    async def slow(message: Any) -> None:
        begun.add(message.topic)
        await asyncio.sleep(0.4)

    async with consuming_all(broker, slow, concurrency=64) as runtime:  # type: ignore[arg-type]
        await eventually(lambda: len(owned(runtime)) == 42)
        await asyncio.sleep(1)
        for topic in TOPICS:
            broker.append(b"0", topic=topic)
        await eventually(lambda: len(begun) == 40)
        broker.members = ["0@first", CLIENT_ID]
        before = asyncio.get_running_loop().time()
        await runtime.rebalance()
        assert owned(runtime) == set()
        assert asyncio.get_running_loop().time() - before < 0.6
        assert {broker.offsets[topic] for topic in TOPICS} == {1}


@pytest.mark.feature("F15", "F16")
@pytest.mark.parametrize("ordered", [False, True])
def test_topics_are_taken_over_sixteen_at_a_time(ordered: bool) -> None:
    @virtual_time
    async def run() -> None:
        broker = ScriptedBroker()
        broker.peer.latency = 0.01
        async with consuming_all(broker, Seen(), ordered=ordered) as runtime:
            asked = len(broker.peer.of(OFFSET))
            locked = {queue for _, queues in broker.locks for queue in queues}
            assert len(locked) == (2 if ordered else 0)
            await runtime.rebalance()
            assert len(owned(runtime)) == 42
            times = broker.peer.times(OFFSET)[asked:]
            assert len(times) == 40
            assert max(times.count(at) for at in times) <= 16
            assert times[-1] - times[0] < 0.2, "one after the other they take 0.8 s and more"
            if ordered:
                assert {queue for _, queues in broker.locks for queue in queues} >= {MessageQueue(topic, "broker-a", 0) for topic in TOPICS}
        await asyncio.sleep(SETTLED)

    run()


@pytest.mark.feature("G13")
@virtual_time
async def test_offsets_that_have_left_are_sent_again_when_the_connection_was_lost() -> None:
    broker, seen = ScriptedBroker(), Seen()

    def saved() -> list[str]:
        updates = [request.command.ext_fields["topic"] for request in broker.peer.of(RequestCode.UPDATE_CONSUMER_OFFSET)]
        return sorted(topic for topic in updates if topic in TOPICS)

    async with consuming_all(broker, seen) as runtime:
        await eventually(lambda: len(owned(runtime)) == 42)
        for topic in TOPICS:
            broker.append(b"0", topic=topic)
        await asyncio.sleep(18)
        assert saved() == sorted(TOPICS * 2)
        await asyncio.sleep(10)
        assert saved() == sorted(TOPICS * 2), "unchanged"
        broker.peer.drop()
        broker.offsets.clear()
        await asyncio.sleep(5)
        assert saved() == sorted(TOPICS * 3)
        assert {broker.offsets[topic] for topic in TOPICS} == {1}
        broker.append(b"1", topic=TOPICS[7])
        await asyncio.sleep(5)
        assert set(saved()) == set(TOPICS)
        assert broker.offsets[TOPICS[7]] == 2


@virtual_time
async def test_topic_that_is_not_subscribed_any_more_is_given_up_alone() -> None:
    broker, told = ScriptedBroker(), []
    async with consuming_all(
        broker, Seen(), message_queue_listener=lambda topic, queues, mine: told.append((topic, len(queues), len(mine)))
    ) as runtime:
        await eventually(lambda: len(owned(runtime)) == 42)
        await asyncio.sleep(1)
        told.clear()
        runtime.subscriptions_table.remove(TOPICS[3])
        await runtime.rebalance()
        assert owned(runtime) == {TOPIC, RETRY, *TOPICS} - {TOPICS[3]}
        assert told == [(TOPICS[3], 0, 0)]
        runtime.subscriptions_table.remove(TOPICS[4])
        await runtime.subscription_changed(TOPICS[4])
        assert told[1:] == [(TOPICS[4], 0, 0)]
        assert len(owned(runtime)) == 40
