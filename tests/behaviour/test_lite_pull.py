"""The lite pull consumer: messages for whoever asks for them, their offsets, and where a group goes on."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from tests.support.clusters import Cluster
from tests.support.push import DELIVERY, new_topic, numbered, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST


def lite(cluster: Cluster, group: str, *topics: str, **fields: object) -> rmq.LitePullConsumer:
    return rmq.LitePullConsumer(cluster.name_servers, group=group, topics=topics, start_from=FIRST, **fields)  # type: ignore[arg-type]


async def poll_all(consumer: rmq.LitePullConsumer, count: int) -> list[rmq.ReceivedMessage]:
    """Poll until so many messages came."""
    messages: list[rmq.ReceivedMessage] = []
    async with asyncio.timeout(DELIVERY):
        while len(messages) < count:
            messages += await consumer.poll(timeout=1.0)
    return messages


@pytest.mark.feature("I1", "I4")
async def test_a_loop_gets_every_message_in_the_order_of_its_queue(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "lite"), cluster.unique("g")
    bodies = numbered(200)
    async with cluster.producer() as producer:
        await send(producer, topic, bodies)
    seen: list[rmq.ReceivedMessage] = []
    async with lite(cluster, group, topic) as consumer, asyncio.timeout(DELIVERY):
        async for message in consumer:
            seen.append(message)
            assert consumer.position(message.queue) > message.queue_offset
            if len(seen) == len(bodies):
                break
        assert sum((await consumer.lag()).values()) == 1, "the last one is in hand"
        assert await consumer.poll(timeout=0) == []
        assert set((await consumer.lag()).values()) == {0}
    assert Counter(message.body for message in seen) == Counter(bodies)
    for queue in {message.queue for message in seen}:
        offsets = [message.queue_offset for message in seen if message.queue == queue]
        assert offsets == sorted(offsets)
    async with lite(cluster, group, topic) as consumer:
        assert await consumer.poll(timeout=1.0) == [], "all was consumed and saved at the end of the block"


@pytest.mark.feature("I1")
async def test_two_members_share_the_queues(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "shared"), cluster.unique("g")
    async with lite(cluster, group, topic) as one, lite(cluster, group, topic, instance_name="two") as two, cluster.producer() as producer:
        await eventually(lambda: len(one.assigned) == len(two.assigned) == 2, DELIVERY)
        assert not one.assigned & two.assigned
        await send(producer, topic, numbered(40))
        got = await asyncio.gather(poll_all(one, 20), poll_all(two, 20))
    assert sorted(message.body for part in got for message in part) == sorted(numbered(40))
    assert {message.queue for message in got[0]}.isdisjoint({message.queue for message in got[1]})


@pytest.mark.feature("I7")
async def test_what_an_exception_leaves_unhandled_comes_again(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "again", 1), cluster.unique("g")
    async with cluster.producer() as producer:
        await send(producer, topic, numbered(10))
    handled: list[bytes] = []
    with pytest.raises(ZeroDivisionError):
        async with lite(cluster, group, topic) as consumer, asyncio.timeout(DELIVERY):
            async for message in consumer:
                if message.body == b"5":
                    raise ZeroDivisionError
                handled.append(message.body)
    assert handled == numbered(5)
    async with lite(cluster, group, topic) as consumer:
        assert [message.body for message in await poll_all(consumer, 5)] == numbered(5, start=5)


@pytest.mark.feature("I8", "I7")
async def test_only_what_was_committed_is_behind_a_group_that_commits_by_itself(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "commits", 1), cluster.unique("g")
    async with cluster.producer() as producer:
        await send(producer, topic, numbered(10))
    async with lite(cluster, group, topic, auto_commit=False) as consumer:
        (queue,) = consumer.assigned
        messages = await poll_all(consumer, 10)
        assert await consumer.committed(queue) in (None, 0)
        await consumer.commit(messages[3])
        assert await consumer.committed(queue) == 4
        await consumer.commit({queue: 2})
        assert await consumer.committed(queue) == 2
    async with lite(cluster, group, topic, auto_commit=False) as consumer:
        assert [message.body for message in await poll_all(consumer, 8)] == numbered(8, start=2)
        await consumer.commit([queue])
        assert await consumer.committed(queue) == 10
        await consumer.seek(queue, 7)
        await poll_all(consumer, 3)
    async with lite(cluster, group, topic, auto_commit=False) as consumer:
        assert await consumer.poll(timeout=0.5) == [], "a seek alone commits nothing"


@pytest.mark.feature("I2", "I3")
async def test_assigned_queues_alone_are_read(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "assigned", 4), cluster.unique("g")
    async with cluster.producer() as producer, lite(cluster, group) as consumer:
        queues = sorted(await consumer.queues(topic))
        assert len(queues) == 4
        await consumer.assign(queues[1:2])
        assert consumer.assigned == frozenset(queues[1:2])
        for queue in queues:
            await send(producer, topic, [b"%d" % queue.queue_id], queue=queue)
        assert [message.queue for message in await poll_all(consumer, 1)] == queues[1:2]
        await consumer.assign(queues[:2])
        assert [message.queue for message in await poll_all(consumer, 1)] == queues[:1], "the other one has kept its place"
        with pytest.raises(rmq.ClientStateError, match="assigned queues"):
            await consumer.subscribe(topic)
        with pytest.raises(rmq.ConfigError, match="does not exist"):
            await consumer.assign([rmq.MessageQueue(topic, queues[0].broker_name, 77)])
        assert consumer.assigned == frozenset(queues[:2])
        await consumer.assign([])
        assert not consumer.assigned


@pytest.mark.feature("I2")
async def test_assigned_queues_can_be_filtered(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "filtered", 1)
    async with cluster.producer() as producer, lite(cluster, cluster.unique("g")) as consumer:
        await send(producer, topic, [b"1"], tag="red")
        await send(producer, topic, [b"2"], tag="blue")
        await consumer.assign(await consumer.queues(topic), "blue")
        assert [message.body for message in await poll_all(consumer, 1)] == [b"2"]
        assert await consumer.poll(timeout=0.3) == []


@pytest.mark.feature("I5", "I9")
async def test_a_queue_goes_on_where_it_is_told(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "seek", 1)
    async with cluster.producer() as producer, lite(cluster, cluster.unique("g"), topic) as consumer:
        await send(producer, topic, numbered(5))
        await asyncio.sleep(0.05)
        middle = time.time()
        await asyncio.sleep(0.05)
        await send(producer, topic, numbered(5, start=5))
        (queue,) = consumer.assigned
        await poll_all(consumer, 10)
        await consumer.seek(queue, 8)
        assert consumer.position(queue) == 8
        assert [message.body for message in await poll_all(consumer, 2)] == [b"8", b"9"]
        await consumer.seek_to_begin(queue)
        assert (await consumer.poll(1, timeout=DELIVERY))[0].body == b"0"
        await consumer.seek_to_end(queue)
        assert await consumer.poll(timeout=0.3) == []
        await eventually(lambda: True)
        await consumer.seek(queue, await consumer.search_offset(queue, middle))
        assert [message.body for message in await poll_all(consumer, 5)] == numbered(5, start=5)
        for offset in (11, -1):
            with pytest.raises(rmq.ConfigError, match="offset"):
                await consumer.seek(queue, offset)


@pytest.mark.feature("I9")
async def test_the_offset_of_a_time_is_that_of_the_first_message_since_then(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "times", 1)
    async with cluster.producer() as producer, lite(cluster, cluster.unique("g"), topic) as consumer:
        for body in numbered(6):
            await send(producer, topic, [body])
            await asyncio.sleep(0.03)
        messages = await poll_all(consumer, 6)
        (queue,) = consumer.assigned
        stored = [message.store_timestamp for message in messages]
        for at in sorted({moment + shift for moment in stored for shift in (-20, -1, 0, 1)}):
            assert await consumer.search_offset(queue, at / 1000) == sum(moment < at for moment in stored), at - stored[0]
        assert await consumer.search_offset(queue, time.time() + 3600) == 6


@pytest.mark.feature("U11")
async def test_a_message_that_is_given_back_comes_again_and_is_a_dead_letter_in_the_end(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "back", 1), cluster.unique("g")
    async with cluster.producer() as producer, lite(cluster, group, topic, retries=True, max_reconsume_times=1) as consumer:
        await send(producer, topic, numbered(3), tag="red")
        for message in await poll_all(consumer, 3):
            if message.body == b"1":
                await consumer.send_back(message, 1)
            if message.body == b"2":
                await consumer.send_back(message, -1)
        (again,) = await poll_all(consumer, 1)
        assert (again.body, again.topic, again.tag, again.reconsume_times) == (b"1", topic, "red", 1)
        assert again.queue.topic == f"%RETRY%{group}"
        await consumer.send_back(again)
        await consumer.commit(again)
        assert await consumer.committed(again.queue) == again.queue_offset + 1
    async with lite(cluster, cluster.unique("g"), f"%DLQ%{group}") as reader:
        dead = await poll_all(reader, 2)
    assert {(message.body, message.origin_topic) for message in dead} == {(b"1", topic), (b"2", topic)}


@pytest.mark.feature("U11", "I3")
async def test_what_would_not_come_again_is_not_given_back(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "kept", 1), cluster.unique("g")
    async with cluster.producer() as producer:
        await send(producer, topic, numbered(1))
    async with lite(cluster, group, topic) as consumer:
        (message,) = await poll_all(consumer, 1)
        with pytest.raises(rmq.ClientStateError, match="retries=True"):
            await consumer.send_back(message)
        with pytest.raises(rmq.ConfigError, match="delay_level"):
            await consumer.send_back(message, 19)
        with pytest.raises(rmq.ConfigError, match="no received message"):
            await consumer.send_back(message.to_message())  # type: ignore[arg-type]
        assert await consumer.committed(message.queue) in (None, 0), "it was not lost"
    with pytest.raises(rmq.ClientClosedError):
        await consumer.send_back(message)
    async with lite(cluster, cluster.unique("g"), retries=True) as consumer:
        with pytest.raises(rmq.ClientStateError, match="retries=True"):
            await consumer.assign([message.queue])


@pytest.mark.feature("I15")
async def test_name_servers_change_while_it_runs(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "moved", 1)
    async with cluster.producer() as producer, lite(cluster, cluster.unique("g"), topic) as consumer:
        dead = "127.0.0.1:1"
        assert consumer.update_name_servers([dead])
        await send(producer, topic, numbered(1))
        assert len(await poll_all(consumer, 1)) == 1, "brokers are known without them"
        assert consumer.update_name_servers(cluster.name_servers)
        assert not consumer.update_name_servers(cluster.name_servers)
        assert (await consumer.ping()).ok
        with pytest.raises(rmq.ConfigError):
            consumer.update_name_servers("")
    assert consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY
    with pytest.raises(rmq.ClientClosedError):
        consumer.update_name_servers(dead)


@pytest.mark.feature("I6")
async def test_a_paused_queue_is_silent(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "paused", 2)
    async with cluster.producer() as producer, lite(cluster, cluster.unique("g"), topic) as consumer:
        quiet, other = sorted(consumer.assigned)
        consumer.pause(quiet)
        assert consumer.paused() == {quiet}
        for queue in (quiet, other):
            await send(producer, topic, [b"%d" % queue.queue_id], queue=queue)
        assert [message.queue for message in await poll_all(consumer, 1)] == [other]
        assert await consumer.poll(timeout=0.5) == []
        consumer.resume(quiet)
        assert [message.queue for message in await poll_all(consumer, 1)] == [quiet]


@pytest.mark.feature("I11")
async def test_what_waits_is_bounded(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "bounded", 4)
    async with cluster.producer() as producer:
        for start in range(0, 400, 50):
            await producer.send_batch([rmq.Message(topic, b"%d" % number) for number in range(start, start + 50)])
    async with lite(cluster, cluster.unique("g"), topic, pull_threshold_for_all=60, pull_batch_size=10) as consumer:
        await eventually(lambda: consumer.backlog > 60, DELIVERY)
        await asyncio.sleep(0.3)
        assert consumer.backlog <= 60 + 4 * 10, "one pull of each queue may be on its way when the limit is reached"
        assert len(await poll_all(consumer, 400)) == 400


@pytest.mark.feature("I10", "I1")
async def test_added_queues_are_found_and_told(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "grows", 1)
    told: list[tuple[str, int, int]] = []
    consumer = lite(
        cluster,
        cluster.unique("g"),
        topic,
        poll_name_server_interval=1.0,
        message_queue_listener=lambda topic, queues, owned: told.append((topic, len(queues), len(owned))),
    )
    async with consumer:
        await cluster.create_topic(topic, 3)
        await eventually(lambda: len(consumer.assigned) == 3, DELIVERY)
        await eventually(lambda: told[-1] == (topic, 3, 3), DELIVERY)


@pytest.mark.feature("I1")
def test_a_blocking_loop_ends_where_its_program_says(cluster: Cluster) -> None:
    topic = asyncio.run(new_topic(cluster, "blocking", 1))
    group = cluster.unique("g")
    with aiorocketmq.sync.Producer(cluster.name_servers, group="p") as producer:
        for body in numbered(12):
            producer.send(rmq.Message(topic, body))

    def consumer() -> aiorocketmq.sync.LitePullConsumer:
        return aiorocketmq.sync.LitePullConsumer(cluster.name_servers, group=group, topics=topic, start_from=FIRST)

    handled = []
    with consumer() as first:
        for message in first:
            handled.append(message.body)
            if len(handled) == 4:
                break
        assert first.poll(2, timeout=DELIVERY)[0].body == b"4", "what the loop has not begun"
    with pytest.raises(ZeroDivisionError), consumer() as second:
        for message in second:
            if message.body == b"8":
                raise ZeroDivisionError
            handled.append(message.body)
    with consumer() as third:
        assert [message.body for message in third.poll(10, timeout=DELIVERY)] == numbered(4, start=8)
    assert handled == numbered(4) + numbered(2, start=6)


@pytest.mark.feature("I1", "I7")
async def test_members_that_come_and_go_lose_nothing_and_keep_the_order(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "churn", 4), cluster.unique("g")
    seen: dict[rmq.MessageQueue, list[int]] = {}
    sent = 0
    done = asyncio.Event()

    async def member(name: str, count: int) -> None:
        async with lite(cluster, group, topic, instance_name=name, auto_commit_interval=1.0) as consumer:
            while count > 0 and not done.is_set():
                for message in await consumer.poll(8, timeout=0.5):
                    seen.setdefault(message.queue, []).append(message.queue_offset)
                    count -= 1

    async def members(name: str) -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            await member(f"{name}{turn}", 40)

    async with cluster.producer() as producer, asyncio.timeout(120):
        groups = [asyncio.create_task(members(name)) for name in "abc"]
        for _ in range(20):
            await producer.send_batch([rmq.Message(topic, b"%d" % number) for number in range(10)])
            await asyncio.sleep(0.1)
            sent += 10
        await eventually(lambda: sum(len(set(offsets)) for offsets in seen.values()) == sent, 60)
        done.set()
        await asyncio.gather(*groups)
    for queue, offsets in seen.items():
        news = [offset for number, offset in enumerate(offsets) if offset not in offsets[:number]]
        assert news == sorted(news), queue
    repeated = sum(len(offsets) - len(set(offsets)) for offsets in seen.values())
    assert repeated <= sent // 4, "what is in hand when a queue moves may come again, and not more"
