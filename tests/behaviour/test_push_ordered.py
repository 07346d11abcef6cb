"""Ordered consuming: order per queue, retries in place, manual commits, one owner at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.push import Gate, Inbox, new_topic, numbered, owns, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST


@pytest.mark.feature("F2", "G10", "A20")
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_each_queue_is_consumed_in_order_one_call_at_a_time(cluster: Cluster, kind: str) -> None:
    topic = await new_topic(cluster, "order", 4)
    lock = threading.Lock()
    by_queue: dict[int, list[int]] = defaultdict(list)
    busy: set[int] = set()
    overlaps: list[int] = []
    count = 0
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, ordered=True)

    def enter(message: rmq.ReceivedMessage) -> None:
        with lock:
            if message.queue.queue_id in busy:
                overlaps.append(message.queue.queue_id)
            busy.add(message.queue.queue_id)

    def leave(message: rmq.ReceivedMessage) -> None:
        nonlocal count
        with lock:
            busy.discard(message.queue.queue_id)
            by_queue[message.queue.queue_id].append(int(message.body))
            count += 1

    async def handle_async(message: rmq.ReceivedMessage) -> None:
        enter(message)
        await asyncio.sleep(0.001)
        leave(message)

    def handle(message: rmq.ReceivedMessage) -> None:
        enter(message)
        leave(message)

    consumer.listen(topic)(handle_async if kind == "async" else handle)
    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(200), sharding_key=lambda body: f"key{int(body) % 10}")
        await eventually(lambda: count == 200, 30)
    assert not overlaps
    for numbers in by_queue.values():
        assert numbers == sorted(numbers)
    assert sum(map(len, by_queue.values())) == 200


@pytest.mark.feature("F29", "F2")
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_failed_message_blocks_its_queue_and_is_tried_again_in_place(cluster: Cluster, kind: str) -> None:
    topic = await new_topic(cluster, "place", 1)
    inbox = Inbox()
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, ordered=True, suspend_current_queue_time=0.05
    )

    def handle(message: rmq.ReceivedMessage) -> rmq.Suspend | None:
        inbox.take(message)
        if message.body == b"2" and message.reconsume_times == 0:
            raise ValueError("not yet")
        if message.body == b"2" and message.reconsume_times < 3:
            return rmq.Suspend(0.02)
        return None

    async def handle_async(message: rmq.ReceivedMessage) -> rmq.Suspend | None:
        return handle(message)

    consumer.listen(topic)(handle_async if kind == "async" else handle)
    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(5))
        await inbox.has(8)
        await eventually(lambda: consumer.backlog == 0)
    assert inbox.bodies == [b"0", b"1", b"2", b"2", b"2", b"2", b"3", b"4"]
    # The same object comes again, so all four entries of it show its last count.
    assert inbox.messages[2].reconsume_times == 3


@pytest.mark.feature("F29", "F23")
async def test_ordered_message_that_fails_too_often_goes_to_the_dead_letter_topic(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "odead", 1)
    group = cluster.unique("g")
    inbox, dead = Inbox(), Inbox()
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=FIRST, ordered=True, max_reconsume_times=2, suspend_current_queue_time=0.02
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)
        if message.body == b"1":
            raise ValueError("poison")

    undertaker = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("u"), start_from=FIRST)
    undertaker.listen(f"%DLQ%{group}")(dead.take)
    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(3))
        await inbox.has(5)
        await eventually(lambda: consumer.backlog == 0)
        async with undertaker:
            await dead.has(1)
    assert inbox.bodies == [b"0", b"1", b"1", b"1", b"2"]
    assert dead.bodies == [b"1"]


@pytest.mark.feature("F3")
async def test_manual_commit_and_rollback(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "manual", 1)
    inbox = Inbox()
    rolled_back = False
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, ordered=True, auto_commit=False, suspend_current_queue_time=0.02
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.ConsumeResult:
        nonlocal rolled_back
        inbox.take(message)
        if message.body == b"1":
            return rmq.ConsumeResult.COMMIT
        if message.body == b"4" and not rolled_back:
            rolled_back = True
            return rmq.ConsumeResult.ROLLBACK
        return rmq.ConsumeResult.COMMIT if message.body == b"5" else rmq.ConsumeResult.SUCCESS

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(6))
        await eventually(lambda: inbox.bodies[-1:] == [b"5"])
        await eventually(lambda: consumer.backlog == 0)
    assert inbox.bodies == [b"0", b"1", b"2", b"3", b"4", b"2", b"3", b"4", b"5"]


@pytest.mark.feature("F30", "G10", "F44")
async def test_second_member_takes_over_only_after_the_first_has_ended(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "owner", 2)
    group = cluster.unique("g")
    gate, inbox = Gate(), Inbox()
    order: list[str] = []

    def member(name: str) -> rmq.PushConsumer:
        consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST, ordered=True, instance_name=f"{group}-{name}")

        @consumer.listen(topic)
        async def handle(message: rmq.ReceivedMessage) -> None:
            order.append(f"{name} begins {message.body.decode()}")
            if message.body == b"0":
                await gate()
            inbox.take(message)
            order.append(f"{name} ends {message.body.decode()}")

        return consumer

    first, second = member("a"), member("b")
    queue = rmq.MessageQueue(topic, cluster.broker_name, 1)
    async with cluster.producer() as producer, first:
        await owns(first, topic, 2)
        await send(producer, topic, numbered(2), queue=queue)
        await eventually(lambda: gate.waiting == 1)
        async with second:
            # The second member gets queue 1 by the allocation, but not the lock while the listener of the first runs on it.
            await owns(first, topic, 1)
            await asyncio.sleep(1.0)
            assert order == ["a begins 0"]
            gate.open()
            await inbox.has(2)
            await owns(second, topic, 1)
    assert inbox.bodies == numbered(2)
    assert order[:2] == ["a begins 0", "a ends 0"]
    assert order[2:] == ["b begins 1", "b ends 1"]
