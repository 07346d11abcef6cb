"""Sends to the logical queues of static topics, which brokers hand to each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from aiorocketmq.errors import SendError
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, QueueMapping, TopicRouteData
from aiorocketmq.producer.selectors import hash_index
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.headers_client import SendMessageRequestHeaderV2
from tests.support.virtual_loop import virtual_time
from tests.unit.producer.world import BATCH, SEND, TOPIC, Broker, SendWorld

LOGICAL = [MessageQueue(TOPIC, "__syslo__global__", number) for number in range(4)]

pytestmark = pytest.mark.feature("G12", "K20")


def place(world: SendWorld, *owned: Sequence[int], told: bool = True) -> list[Broker]:
    """Give the logical queues to broker-0, broker-1, ...; with `told` the name server knows of it, too."""
    brokers = [world.broker(f"broker-{number}") for number in range(len(owned))]
    for broker, own in zip(brokers, owned, strict=True):

        def take(request: Any, connection: Any, broker: Broker = broker, own: Sequence[int] = own) -> Any:
            header = SendMessageRequestHeaderV2.from_ext(request.ext_fields)
            if header.queue_id not in own:
                broker.answers.insert(0, ResponseCode.NOT_LEADER_FOR_QUEUE)
            return broker._take(request, connection)

        for code in (SEND, BATCH):
            broker.peer.on(code, take)
    if told:
        epoch = world.routes[TOPIC].mappings[0].epoch + 1 if TOPIC in world.routes else 1
        world.routes[TOPIC] = TopicRouteData(
            tuple(QueueData(broker.name, 4, 4) for broker in brokers),
            tuple(BrokerData("DefaultCluster", broker.name, {0: broker.address}) for broker in brokers),
            mappings=tuple(
                QueueMapping(broker.name, "__global__", 4, epoch, {number: number + 10 for number in own})
                for broker, own in zip(brokers, owned, strict=True)
            ),
        )
    return brokers


@pytest.mark.parametrize("auto_batch", [False, True])
def test_sends_go_to_the_broker_that_has_the_logical_queue(world: SendWorld, auto_batch: bool) -> None:
    @virtual_time
    async def check() -> None:
        first, second = place(world, [0, 1], [2, 3])
        async with world.producer(topics=[TOPIC], auto_batch=auto_batch) as producer:
            assert await producer.fetch_publish_message_queues(TOPIC) == tuple(LOGICAL)
            results = [await producer.send(Message(TOPIC, b"x")) for _ in range(8)]
            results += await asyncio.gather(*(producer.send_nowait(Message(TOPIC, b"x")) for _ in range(8)))
            await producer.send_oneway(Message(TOPIC, b"x"), queue=LOGICAL[2])
            await asyncio.sleep(0.1)
        assert {result.queue for result in results} <= set(LOGICAL)
        assert {(each.queue_id, each.broker_name) for each in first.headers} <= {(0, "broker-0"), (1, "broker-0")}
        assert {(each.queue_id, each.broker_name) for each in second.headers} <= {(2, "broker-1"), (3, "broker-1")}
        assert first.headers
        assert second.headers

    check()


@virtual_time
async def test_queues_selectors_and_keys_name_logical_queues(world: SendWorld) -> None:
    place(world, [0, 1], [2, 3])
    async with world.producer(topics=[TOPIC]) as producer:
        for queue in LOGICAL:
            assert (await producer.send(Message(TOPIC, b"x"), queue=queue)).queue == queue
        offered: list[Sequence[MessageQueue]] = []

        def last(queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
            offered.append(queues)
            return queues[-1]

        assert (await producer.send(Message(TOPIC, b"x"), selector=last)).queue == LOGICAL[3]
        assert list(offered[0]) == LOGICAL
        keyed = await producer.send(Message(TOPIC, b"x", sharding_key="key"))
        assert keyed.queue == LOGICAL[hash_index("key", 4)]


@pytest.mark.parametrize("options", [{}, {"queue": LOGICAL[0]}, {"selector": lambda queues, message: queues[0]}])
def test_a_queue_that_has_moved_is_followed(world: SendWorld, options: dict[str, Any]) -> None:
    @virtual_time
    async def check() -> None:
        place(world, [0, 1, 2, 3], [])
        async with world.producer(topics=[TOPIC], retry_times_when_send_failed=0) as producer:
            await producer.send(Message(TOPIC, b"x"), **options)
            _, second = place(world, [], [0, 1, 2, 3])
            result = await producer.send(Message(TOPIC, b"moved"), **options)
            assert result.ok
            assert second.stored == [b"moved"]
            if options:
                assert result.queue == LOGICAL[0]

    check()


@virtual_time
async def test_a_queue_on_its_way_is_waited_for_as_long_as_the_send_may_take(world: SendWorld) -> None:
    place(world, [0, 1, 2, 3], [])
    async with world.producer(topics=[TOPIC], retry_times_when_send_failed=0, send_msg_timeout=5.0) as producer:
        await producer.send(Message(TOPIC, b"x"))
        _, second = place(world, [], [0, 1, 2, 3], told=False)
        sending = producer.send_nowait(Message(TOPIC, b"late"), queue=LOGICAL[1])
        await asyncio.sleep(2)
        assert not sending.done()
        place(world, [], [0, 1, 2, 3])
        assert (await sending).queue == LOGICAL[1]
        assert second.stored == [b"late"]
        place(world, [], [], told=False)
        with pytest.raises(SendError, match="code 501"):
            await producer.send(Message(TOPIC, b"never"), queue=LOGICAL[1])


@virtual_time
async def test_a_queue_that_no_broker_has_is_passed_over_and_named_when_it_is_meant(world: SendWorld) -> None:
    place(world, [0, 2, 3])
    async with world.producer(topics=[TOPIC], send_msg_timeout=2.0) as producer:
        for _ in range(8):
            assert (await producer.send(Message(TOPIC, b"x"))).queue in {LOGICAL[0], LOGICAL[2], LOGICAL[3]}
        with pytest.raises(SendError, match="'__syslo__none__' has no master address"):
            await producer.send(Message(TOPIC, b"x"), queue=LOGICAL[1])
