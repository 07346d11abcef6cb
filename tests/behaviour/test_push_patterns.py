"""A push consumer that listens to all topics whose names match a pattern."""

from __future__ import annotations

import asyncio
import re

import pytest

import aiorocketmq as rmq
from aiorocketmq.protocol.codes import RequestCode
from tests.support import raw_remoting
from tests.support.clusters import Cluster
from tests.support.push import Inbox, numbered, send
from tests.support.waiting import eventually


async def delete_topic(cluster: Cluster, topic: str) -> None:
    for address, code in (
        (cluster.broker_address, RequestCode.DELETE_TOPIC_IN_BROKER),
        (cluster.name_servers, RequestCode.DELETE_TOPIC_IN_NAMESRV),
    ):
        await asyncio.to_thread(raw_remoting.invoke, address, code, {"topic": topic})


@pytest.mark.feature("U15", "F21")
async def test_topics_that_match_are_consumed_from_their_beginning_and_left_when_they_are_gone(cluster: Cluster) -> None:
    prefix = cluster.unique("pattern")
    before, other = [await cluster.create_topic(f"{prefix}_{name}", 1) for name in ("before", "other")]
    own = await cluster.create_topic(f"{prefix}_own", 1)
    inbox, single = Inbox(), Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), poll_name_server_interval=0.5)
    consumer.listen(re.compile(f"{prefix}_(before|after|own)"), "A")(inbox.take)
    consumer.listen(own)(single.take)
    async with cluster.producer() as producer, consumer:
        assert consumer.topics == {before, own}
        await send(producer, before, numbered(2), tag="A")
        await send(producer, before, [b"no"], tag="B")
        await send(producer, other, [b"no"], tag="A")
        await send(producer, own, [b"own"], tag="A")
        await inbox.has(2)
        await single.has(1)
        after = await cluster.create_topic(f"{prefix}_after", 1)
        await send(producer, after, numbered(3, 2), tag="A")
        await inbox.has(5)
        assert consumer.topics == {before, own, after}
        await delete_topic(cluster, before)
        await eventually(lambda: consumer.topics == {own, after})
        await send(producer, after, [b"last"], tag="A")
        await inbox.has(6)
        await consumer.unsubscribe(re.compile(f"{prefix}_(before|after|own)"))
        assert consumer.topics == {own}
    assert inbox.counts == dict.fromkeys([*numbered(5), b"last"], 1)
    assert single.bodies == [b"own"]


@pytest.mark.feature("U15")
async def test_what_one_member_has_found_the_others_find_at_once(cluster: Cluster) -> None:
    prefix = cluster.unique("shared")
    first = await cluster.create_topic(f"{prefix}_1", 2)
    group, inbox = cluster.unique("g"), Inbox()
    members = [
        rmq.PushConsumer(cluster.name_servers, group=group, instance_name=f"{group}{number}", poll_name_server_interval=interval)
        for number, interval in enumerate((0.5, 600.0))
    ]
    for member in members:
        member.listen(re.compile(f"{prefix}_.*"))(inbox.take)
    async with cluster.producer() as producer, members[0], members[1]:
        await eventually(lambda: all(len(member.assigned) >= 1 for member in members))
        assert all(member.topics == {first} for member in members)
        second = await cluster.create_topic(f"{prefix}_2", 2)
        await eventually(lambda: all(second in {queue.topic for queue in member.assigned} for member in members))
        for queue_id in range(2):
            await send(producer, second, numbered(5, 5 * queue_id), queue=rmq.MessageQueue(second, cluster.broker_name, queue_id))
        await inbox.has(10)
    assert inbox.counts == dict.fromkeys(numbered(10), 1)
