"""Messages for later, and taking them back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

import aiorocketmq as rmq
from aiorocketmq import sync
from aiorocketmq.model.recall import RecallHandle
from tests.behaviour.stored import read_topic, stored
from tests.support.clusters import Cluster
from tests.support.java import LAST_OF_4
from tests.support.push import new_topic


@pytest.mark.feature("A19")
async def test_a_message_that_was_taken_back_is_not_delivered(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "recall", 1)
    async with cluster.producer() as producer:
        if cluster.kind == LAST_OF_4:
            handle = RecallHandle(topic, cluster.broker_name, int(time.time() * 1000) + 60_000, "ID").encode()
            with pytest.raises(rmq.NotSupportedByBrokerError, match="V4_9_7"):
                await producer.recall(topic, handle)
            return
        kept = await producer.send(rmq.Message(topic, b"kept", delay=8))
        taken = await producer.send(rmq.Message(topic, b"taken", deliver_at=datetime.now(UTC) + timedelta(seconds=8)))
        assert kept.recall_handle and taken.recall_handle
        assert RecallHandle.decode(taken.recall_handle).message_id == taken.message_id
        assert await producer.recall(topic, taken.recall_handle) == taken.message_id
        (found,) = await stored(cluster, topic, 1, timeout=40)
        assert found.message_id == kept.message_id
        after = await producer.send(rmq.Message(topic, b"after", delay=4))  # what was taken back does not come late, either
        assert [message.body for message in await stored(cluster, topic, 2, timeout=40)] == [b"kept", b"after"]
        with pytest.raises(rmq.BrokerError) as caught:
            await producer.recall(topic, str(after.recall_handle))
        assert caught.value.code == 604 and "delivered already" in caught.value.hint


@pytest.mark.feature("A18", "A19", "A22")
async def test_only_messages_for_a_time_have_handles(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "handles", 1)
    async with cluster.producer() as producer:
        for message in (rmq.Message(topic, b"now"), rmq.Message(topic, b"level", delay_level=1)):
            assert (await producer.send(message)).recall_handle is None
        if cluster.kind != LAST_OF_4:
            past = await producer.send(rmq.Message(topic, b"past", deliver_at=time.time() - 5))
            assert past.recall_handle is None


@pytest.mark.feature("A18")
async def test_a_delay_that_is_too_long_is_refused(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "toolong", 1)
    wanted = rmq.NotSupportedByBrokerError if cluster.kind == LAST_OF_4 else rmq.MessageRefusedError
    async with cluster.producer() as producer:
        with pytest.raises(wanted):
            await producer.send(rmq.Message(topic, b"x", delay=timedelta(days=4)))
    assert await read_topic(cluster, topic) == []


@pytest.mark.feature("A17", "A18", "A19")
async def test_days_pass_in_no_time_on_the_embedded_server() -> None:
    from aiorocketmq.server import LocalCluster

    async with LocalCluster() as cluster, rmq.Producer(cluster.name_servers, group="p") as producer:
        await producer.send(rmq.Message("later", b"two hours", delay_level=18))
        await producer.send(rmq.Message("later", b"three days", delay=3 * 86_400 - 60))
        taken = await producer.send(rmq.Message("later", b"taken back", delay=3600))
        await producer.recall("later", str(taken.recall_handle))
        async with rmq.AdminClient(cluster.name_servers) as admin:
            queues = await admin.topics.queues("later")

            async def bodies() -> list[bytes]:
                reads = [await admin.messages.read(queue, 0) for queue in queues]
                return sorted(message.body for read in reads for message in read.messages)

            await cluster.advance(7190)
            assert await bodies() == []
            await cluster.advance(timedelta(seconds=12))
            assert await bodies() == [b"two hours"]
            await cluster.advance(3 * 86_400)
            assert await bodies() == [b"three days", b"two hours"]


@pytest.mark.feature("A18", "A19")
def test_blocking_clients_take_back_too() -> None:
    with sync.LocalCluster() as cluster, sync.Producer(cluster.name_servers, group="p") as producer:
        kept, taken = [producer.send(rmq.Message("later", body, delay=3600)) for body in (b"kept", b"taken")]
        assert producer.recall("later", str(taken.recall_handle)) == taken.message_id
        cluster.advance(3601)
        with sync.AdminClient(cluster.name_servers) as admin:
            reads = [admin.messages.read(queue, 0) for queue in admin.topics.queues("later")]
        assert [message.message_id for read in reads for message in read.messages] == [kept.message_id]
