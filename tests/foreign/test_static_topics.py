"""Static topics of two real masters: `mqadmin` hands their logical queues from broker to broker while they are used.

`AIOROCKETMQ_MOVES` is how often, 1 by default.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict

import pytest

import aiorocketmq as rmq
from tests.foreign.conftest import MqAdmin
from tests.support import raw_remoting
from tests.support.clusters import PATIENT, RealTestCluster
from tests.support.push import Inbox, numbered, owns
from tests.support.waiting import eventually

SECOND = "broker-b"
QUEUES = 4
MOVES = int(os.environ.get("AIOROCKETMQ_MOVES", "1"))
PACE = 0.01


@pytest.mark.feature("G12", "K20")
@pytest.mark.timeout(240)
async def test_logical_queues_move_between_brokers_while_they_are_used(newest_cluster: RealTestCluster, mqadmin: MqAdmin) -> None:
    cluster = newest_cluster
    servers, topic, group = cluster.name_servers, cluster.unique("static"), cluster.unique("g")
    queues = tuple(rmq.MessageQueue(topic, "__syslo__global__", number) for number in range(QUEUES))
    second = await asyncio.to_thread(cluster.server.add_broker, SECOND)
    try:
        await mqadmin("updateStaticTopic", "-n", servers, "-t", topic, "-qn", str(QUEUES), "-b", cluster.broker_name)
        await eventually(lambda: asyncio.to_thread(mapped_to, servers, topic, {cluster.broker_name}), 60.0)
        inbox, ordered = Inbox(), defaultdict[str, list[int]](list)
        members = [rmq.PushConsumer(servers, group=group, start_from=rmq.StartFrom.FIRST, instance_name=f"{group}-{n}") for n in range(2)]
        for member in members:
            member.listen(topic)(inbox.take)
        keeper = rmq.PushConsumer(servers, group=f"{group}-o", ordered=True, start_from=rmq.StartFrom.FIRST, instance_name=f"{group}-o")

        @keeper.listen(topic)
        async def keep(message: rmq.ReceivedMessage) -> None:
            ordered[message.sharding_key or ""].append(int(message.body))

        sent: list[rmq.SendResult] = []
        over = asyncio.Event()

        async def produce() -> None:
            while not over.is_set():
                number = len(sent)
                sent.append(await producer.send(rmq.Message(topic, b"%d" % number, sharding_key=str(number % 7))))
                await asyncio.sleep(PACE)

        async with rmq.Producer(servers, group=cluster.unique("p"), topics=[topic], **PATIENT) as producer, members[0], members[1], keeper:
            assert await producer.fetch_publish_message_queues(topic) == queues
            await asyncio.gather(*(owns(member, topic, QUEUES // 2) for member in members))
            assert members[0].assigned | members[1].assigned >= set(queues)
            load = asyncio.create_task(produce())
            await inbox.has(50)
            for target in [SECOND, f"{cluster.broker_name},{SECOND}", cluster.broker_name][:MOVES]:
                await mqadmin("remappingStaticTopic", "-n", servers, "-t", topic, "-b", target)
                await eventually(lambda: asyncio.to_thread(mapped_to, servers, topic, set(target.split(","))), 60.0)  # noqa: B023
                await inbox.has(len(sent) + 50, 60.0)
            over.set()
            await load
            await eventually(lambda: len(inbox) >= len(sent) and sum(map(len, ordered.values())) >= len(sent), 60.0)
            for queue in queues:  # offsets are those of the logical queue, wherever its parts are
                assert await keeper.max_offset(queue) > max(each.queue_offset for each in sent if each.queue == queue)
            assert sum((await keeper.lag()).values()) == 0
        assert inbox.counts == dict.fromkeys(numbered(len(sent)), 1)
        assert all(numbers == sorted(set(numbers)) for numbers in ordered.values())
        again = Inbox()
        successor = rmq.PushConsumer(servers, group=group, start_from=rmq.StartFrom.FIRST)
        successor.listen(topic)(again.take)
        async with rmq.Producer(servers, group=cluster.unique("p"), topics=[topic], **PATIENT) as producer, successor:
            await owns(successor, topic, QUEUES)
            for queue in queues:
                result = await producer.send(rmq.Message(topic, b"new"), queue=queue)
                assert result.queue == queue
            await again.has(QUEUES)
        assert set(again.bodies) == {b"new"}, "what was saved before the moves and between them holds"
    finally:
        await asyncio.to_thread(cluster.server.remove_broker, second)


def mapped_to(servers: str, topic: str, brokers: set[str]) -> bool:
    """Whether the name server has the logical queues of a topic on these brokers."""
    found = raw_remoting.route(servers, topic)
    mapping = (found or {}).get("topicQueueMappingByBroker") or {}
    return bool(mapping) and {name for name, info in mapping.items() if info["currIdMap"]} == brokers
