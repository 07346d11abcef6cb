"""The push consumer: listeners of every kind, filters, batches."""

from __future__ import annotations

import asyncio
import threading

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic, numbered, owns, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST


@pytest.mark.feature("F1", "F51", "F5", "F13")
async def test_coroutine_listener_gets_every_message_once(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "async")
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        await asyncio.sleep(0)
        inbox.take(message)

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(40))
        await inbox.has(40)
    assert inbox.counts == dict.fromkeys(numbered(40), 1)
    first = inbox.messages[0]
    assert first.topic == topic
    assert first.queue.broker_name == cluster.broker_name
    assert first.reconsume_times == 0


@pytest.mark.feature("F1", "F5")
async def test_plain_listener_runs_on_worker_threads_at_most_so_many_at_a_time(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "threads")
    inbox, lock = Inbox(), threading.Lock()
    running, most, names = 0, 0, set[str]()
    full = threading.Event()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, concurrency=3)

    @consumer.listen(topic)
    def handle(message: rmq.ReceivedMessage) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            names.add(threading.current_thread().name)
            if running == 3:
                full.set()
        full.wait(10)
        with lock:
            running -= 1
            inbox.take(message)

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(24))
        await inbox.has(24)
        assert consumer.workers == 3
    assert inbox.counts == dict.fromkeys(numbered(24), 1)
    assert most == 3
    assert threading.main_thread().name not in names
    await eventually(lambda: not any(thread.name in names for thread in threading.enumerate()))


@pytest.mark.feature("F1", "F7")
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_batch_listener_gets_lists(cluster: Cluster, kind: str) -> None:
    topic = await new_topic(cluster, "batch", 1)
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    async def handle_async(messages: list[rmq.ReceivedMessage]) -> None:
        inbox.take(messages)
        messages.clear()  # a listener may do with its list what it likes

    def handle(messages: list[rmq.ReceivedMessage]) -> None:
        inbox.take(messages)

    consumer.listen(topic, batch=16)(handle_async if kind == "async" else handle)
    async with cluster.producer() as producer:
        await send(producer, topic, numbered(50))
        async with consumer:
            await inbox.has(50)
            await eventually(lambda: consumer.backlog == 0)
    assert inbox.counts == dict.fromkeys(numbered(50), 1)
    assert max(inbox.calls) == 16


@pytest.mark.feature("F17")
async def test_tags_are_compared_by_name_not_by_hash_alone(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "tags", 2)
    inbox, others = Inbox(), Inbox()
    wanted = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)
    # "Aa" and "BB" have the same Java hash: the broker lets both through.
    wanted.listen(topic, "Aa || TagC")(inbox.take)
    everything = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)
    everything.listen(topic)(others.take)
    async with cluster.producer() as producer, wanted, everything:
        for number in range(4):
            for tag in ("Aa", "BB", "TagC", "TagD", None):
                await producer.send(rmq.Message(topic, f"{tag}{number}".encode(), tag=tag))
        await others.has(20)
        await inbox.has(8)
    assert {message.tag for message in inbox.messages} == {"Aa", "TagC"}
    assert len(inbox) == 8


@pytest.mark.feature("F22")
async def test_filter_can_be_posted_with_every_pull(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "post", 1)
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, post_subscription_when_pull=True)
    consumer.listen(topic, "TagA")(inbox.take)
    async with cluster.producer() as producer, consumer:
        await send(producer, topic, [b"no"], tag="TagB")
        await send(producer, topic, [b"yes"], tag="TagA")
        await inbox.has(1)
    assert inbox.bodies == [b"yes"]


@pytest.mark.feature("F1")
async def test_one_consumer_with_listeners_of_both_kinds(cluster: Cluster) -> None:
    first, second = await new_topic(cluster, "one", 1), await new_topic(cluster, "two", 1)
    inbox, other = Inbox(), Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.listen(first)
    async def handle_first(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)

    @consumer.listen(second)
    def handle_second(message: rmq.ReceivedMessage) -> rmq.ConsumeResult:
        other.take(message)
        return rmq.ConsumeResult.SUCCESS

    async with cluster.producer() as producer, consumer:
        await send(producer, first, numbered(5))
        await send(producer, second, numbered(5, 5))
        await inbox.has(5)
        await other.has(5)
    assert sorted(inbox.bodies) == numbered(5)
    assert sorted(other.bodies) == numbered(5, 5)


@pytest.mark.feature("F13")
async def test_waiting_pull_is_answered_at_once(cluster: Cluster) -> None:
    """An idle consumer hears of a message by its parked pull; without long polling it would wait for the next poll."""
    topic = await new_topic(cluster, "park", 1)
    arrived: list[float] = []
    clock = asyncio.get_running_loop().time
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        arrived.append(clock())

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, [b"wake up"])
        await eventually(lambda: arrived)
        await owns(consumer, topic, 1)
        await asyncio.sleep(0.3)  # so that the pull is parked
        sent = clock()
        await send(producer, topic, [b"now"])
        await eventually(lambda: len(arrived) == 2)
    assert arrived[1] - sent < 2.0
