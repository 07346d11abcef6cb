"""Messages of further kinds: with a priority, and for light queues."""

from __future__ import annotations

import pytest

import aiorocketmq as rmq
from tests.behaviour.stored import read_topic, stored
from tests.support.clusters import EMBEDDED, PATIENT, PATIENT_ADMIN, Cluster
from tests.support.java import LAST_OF_4
from tests.support.push import new_topic
from tests.support.real_cluster import RealCluster
from tests.support.waiting import eventually


@pytest.mark.feature("B27")
async def test_the_priority_of_a_message_is_its_queue(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "priority", 4)
    async with cluster.producer() as producer:
        if cluster.kind == LAST_OF_4:
            with pytest.raises(rmq.NotSupportedByBrokerError, match="V4_9_7 and does not look at priorities"):
                await producer.send(rmq.Message(topic, b"x", priority=3))
            assert await read_topic(cluster, topic) == []
            return
        results = [await producer.send(rmq.Message(topic, b"%d" % number, priority=number)) for number in (0, 1, 3, 9)]
    assert [result.queue.queue_id for result in results] == [0, 1, 3, 3]
    found = await stored(cluster, topic, 4)
    assert {message.body: message.queue.queue_id for message in found} == {b"0": 0, b"1": 1, b"3": 3, b"9": 3}
    assert {message.properties["_SYS_MSG_PRIORITY_"] for message in found} == {"0", "1", "3", "9"}


async def light_queues_work(name_servers: str, topic: str) -> None:
    async with rmq.Producer(name_servers, group="light", **PATIENT) as producer:
        for number, light in enumerate((["a", "b"], "a", [], ["b"])):
            assert (await producer.send(rmq.Message(topic, b"%d" % number, light_queues=light))).ok
        (queue, *_) = await producer.fetch_publish_message_queues(topic)
    async with rmq.AdminClient(name_servers, **PATIENT_ADMIN) as admin:
        for name, wanted in (("a", [b"0", b"1"]), ("b", [b"0", b"3"])):
            light_queue = rmq.MessageQueue(f"%LMQ%{name}", queue.broker_name, 0)

            async def read(light_queue: rmq.MessageQueue = light_queue, count: int = len(wanted)) -> tuple[rmq.ReceivedMessage, ...]:
                found = (await admin.messages.read(light_queue, 0)).messages
                return found if len(found) >= count else ()

            messages = await eventually(read, 20)
            assert [(message.body, message.queue_offset, message.topic) for message in messages] == [
                (body, offset, topic) for offset, body in enumerate(wanted)
            ]
            assert [message.body for message in (await admin.messages.read(light_queue, 1)).messages] == wanted[1:]


@pytest.mark.feature("A21")
async def test_light_queues_get_messages_too(cluster: Cluster) -> None:
    if cluster.kind == EMBEDDED:
        await light_queues_work(cluster.name_servers, await new_topic(cluster, "parent", 1))
        return
    # Light queues have to be switched on, which changes how a broker keeps its topics: so it is one of its own.
    with RealCluster(cluster.kind, broker_options={"enableLmq": "true", "enableMultiDispatch": "true"}) as server:
        server.create_topic("parent", queues=1)
        await light_queues_work(server.name_servers, "parent")
