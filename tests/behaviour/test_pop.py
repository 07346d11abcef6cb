"""The POP consumer: messages that are invisible until they are acknowledged, given back, or their time is over."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from aiorocketmq.consumer.start_offset import Committed
from aiorocketmq.model.receipt import Receipt
from tests.support.clusters import Cluster
from tests.support.popping import lacks_pop, popper, receive_all
from tests.support.push import DELIVERY, new_topic, numbered, send
from tests.support.waiting import eventually


@pytest.mark.feature("H1", "H2", "H3", "H7", "H13")
async def test_what_is_acknowledged_does_not_come_again(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "pop"), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    bodies = numbered(100)
    async with cluster.producer() as producer:
        await send(producer, topic, bodies)
    async with popper(cluster, group, topic) as consumer:
        messages = await receive_all(consumer, 100, invisible=5.0)
        assert Counter(message.body for message in messages) == Counter(bodies)
        assert {message.topic for message in messages} == {topic}
        for message in messages:
            receipt = Receipt.decode(message.receipt_handle or "")
            assert (receipt.broker_name, receipt.queue_id, receipt.offset) == (*message.queue[1:], message.queue_offset)
        await consumer.ack(messages[0])
        await consumer.ack(messages[1:40])
        await asyncio.gather(*[consumer.ack(message) for message in messages[40:]])
        assert await consumer.receive(wait=9.0) == [], "their time is over, and nobody wants them again"
    async with popper(cluster, group, topic) as consumer:
        assert await consumer.receive(wait=1.0) == []


@pytest.mark.feature("H4", "H7", "H8")
async def test_what_is_given_back_comes_again_soon_and_what_is_kept_longer_does_not(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "back", 1), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    async with cluster.producer() as producer:
        await send(producer, topic, [b"back", b"kept"])
    async with popper(cluster, group, topic) as consumer:
        messages = {message.body: message for message in await receive_all(consumer, 2, invisible=8.0)}
        before = messages[b"back"].receipt_handle
        await consumer.change_invisible(messages[b"back"], 1.0)
        await consumer.change_invisible(messages[b"kept"], 60.0)
        assert messages[b"back"].receipt_handle != before
        (again,) = await receive_all(consumer, 1, invisible=20.0)
        assert (again.body, again.topic, again.reconsume_times) == (b"back", topic, 1)
        assert again.queue_offset == 0 and Receipt.decode(again.receipt_handle or "").kind == "1"
        assert again.message_id == messages[b"back"].message_id
        assert int(again.properties["1ST_POP_TIME"]) >= int(messages[b"back"].properties["1ST_POP_TIME"])
        await consumer.ack([again, messages[b"kept"]])
        assert await consumer.receive(wait=7.0) == []


@pytest.mark.feature("H2", "H12")
async def test_a_late_unknown_or_foreign_message_is_refused_before_anything_is_sent(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "late", 1), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    async with cluster.producer() as producer:
        await send(producer, topic, numbered(3))
    async with popper(cluster, group, topic) as consumer, popper(cluster, group + "b", topic) as other:
        foreign = await receive_all(other, 3)
        late, good, kept = await receive_all(consumer, 3, invisible=3.0)
        await consumer.change_invisible(kept, 30.0)
        await consumer.ack(good)
        with pytest.raises(rmq.ReceiptError, match=f"was received by group '{group}b'"):
            await consumer.ack(foreign[0])
        with pytest.raises(rmq.ReceiptError, match="is no message"):
            await consumer.ack("a handle")  # type: ignore[arg-type]
        again = await receive_all(consumer, 1, invisible=30.0)
        assert again[0].body == late.body
        with pytest.raises(rmq.ReceiptError, match=r"1 of 3 messages could not be acknowledged: the invisible time of 3 s .* is over"):
            await consumer.ack([late, *again, kept])
        with pytest.raises(rmq.ReceiptError, match="is over"):
            await consumer.change_invisible(late, 5.0)
        await other.ack(foreign)
        await other.ack(foreign)  # twice does no harm
        assert await consumer.receive(wait=2.0) == []
    async with (
        rmq.LitePullConsumer(cluster.name_servers, group=cluster.unique("lite"), topics=[topic], start_from=rmq.StartFrom.FIRST) as pulled,
        popper(cluster, group, topic) as consumer,
    ):
        (message, *_) = await pulled.poll(timeout=DELIVERY)
        with pytest.raises(rmq.ReceiptError, match="has no receipt"):
            await consumer.ack(message)
        message.set_property("POP_CK", "1 2 3")
        with pytest.raises(rmq.ReceiptError, match="the receipt '1 2 3' is none"):
            await consumer.ack(message)


@pytest.mark.feature("H1")
async def test_a_group_begins_once_though_it_hears_of_the_topic_again_meanwhile(
    embedded_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, group = await new_topic(embedded_cluster, "begin", 1), embedded_cluster.unique("g")
    reads: list[rmq.MessageQueue] = []
    sent = asyncio.Event()

    async def stored(self: Committed, queue: rmq.MessageQueue) -> int:
        found = await read(self, queue)
        reads.append(queue)
        if len(reads) > 1:
            await sent.wait()
            return found
        entry = self._instance.routes.entry(topic)
        assert entry is not None
        self._instance.clients.route_changed(topic, entry)  # as when a second broker has the topic now
        for _ in range(50):
            if len(reads) > 1:
                break
            await asyncio.sleep(0.002)
        return found

    read = Committed.stored
    monkeypatch.setattr(Committed, "stored", stored)
    async with popper(embedded_cluster, group, topic, start_from=rmq.StartFrom.LAST) as consumer, embedded_cluster.producer() as producer:
        await send(producer, topic, [b"first"])
        sent.set()
        (message,) = await consumer.receive(wait=DELIVERY)
        assert message.body == b"first"
        await consumer.ack(message)
    assert len(reads) == 1


@pytest.mark.feature("H1", "H5")
async def test_a_waiting_receive_gets_what_is_sent_and_may_be_cancelled(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "wait", 2), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    async with popper(cluster, group, topic, start_from=rmq.StartFrom.LAST) as consumer, cluster.producer() as producer:
        cut_off = [asyncio.create_task(consumer.receive(wait=20.0)) for _ in range(8)]
        await asyncio.sleep(0.3)
        for task in cut_off:
            task.cancel()
        waiting = asyncio.create_task(consumer.receive(wait=DELIVERY, invisible=60.0))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await send(producer, topic, [b"now"])
        (message,) = await waiting
        assert message.body == b"now" and message.reconsume_times == 0
        await consumer.ack(message)
        stopped = asyncio.create_task(consumer.receive(wait=DELIVERY))
        await asyncio.sleep(0.1)
        await consumer.stop()
        assert await stopped == []
        with pytest.raises(rmq.ClientClosedError):
            await consumer.receive()
        with pytest.raises(rmq.ClientClosedError):
            await consumer.ack(message)


@pytest.mark.feature("H10")
async def test_messages_in_order_come_when_those_before_are_acknowledged(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "order", 1), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    async with cluster.producer() as producer:
        await send(producer, topic, numbered(6))
    async with popper(cluster, group, topic, ordered=True) as consumer:
        first = await consumer.receive(3, invisible=30.0)
        assert [message.body for message in first] == numbered(3)
        assert await consumer.receive(3, wait=0.5) == [], "the queue is not free"
        await consumer.ack(first[:2])
        assert await consumer.receive(3, wait=0.5) == []
        await consumer.change_invisible(first[2], 1.0)
        again = await receive_all(consumer, 1, max_messages=1)
        assert [(message.body, message.reconsume_times) for message in again] == [(b"2", 1)]
        await consumer.ack(again)
        rest = await receive_all(consumer, 3)
        assert [message.body for message in rest] == numbered(3, 3)
        await consumer.ack(rest)
        assert await consumer.receive(wait=0) == []


@pytest.mark.feature("H1", "H13")
async def test_filters_and_several_topics_and_where_a_group_begins(cluster: Cluster) -> None:
    one, two, group = await new_topic(cluster, "one", 2), await new_topic(cluster, "two", 1), cluster.unique("g")
    if await lacks_pop(cluster, one, group):
        return
    async with cluster.producer() as producer:
        await send(producer, one, numbered(4), tag="A")
        consumer = rmq.PopConsumer(cluster.name_servers, group=group, topics={one: "A"})
        async with consumer:
            await consumer.subscribe(two, "B || AaAa")
            assert consumer.topics == (one, two)
            assert await consumer.receive(wait=0.5) == [], "what was there before does not count"
            await send(producer, one, [b"x"], tag="B")
            await send(producer, one, [b"y"], tag="A")
            await send(producer, two, [b"BBBB has the same hash"], tag="BBBB")
            await send(producer, two, [b"z"], tag="AaAa")
            messages = await receive_all(consumer, 2)
            assert sorted(message.body for message in messages) == [b"y", b"z"]
            await consumer.ack(messages)
            await consumer.unsubscribe(two)
            await send(producer, two, [b"nobody"], tag="B")
            assert await consumer.receive(wait=1.0) == []


@pytest.mark.feature("H13")
def test_the_blocking_twin_receives_and_acknowledges(cluster: Cluster) -> None:
    group = cluster.unique("g")
    topic = asyncio.run(new_topic(cluster, "sync", 2))
    if asyncio.run(lacks_pop(cluster, topic, group)):
        return
    with cluster.sync_producer() as producer:
        for body in numbered(5):
            producer.send(rmq.Message(topic, body))
    with aiorocketmq.sync.PopConsumer(cluster.name_servers, group=group, topics=topic, start_from=rmq.StartFrom.FIRST) as consumer:
        messages: list[rmq.ReceivedMessage] = []
        while len(messages) < 5:
            messages += consumer.receive(wait=5.0)
        consumer.change_invisible(messages[0], 30.0)
        consumer.ack(messages)
        assert consumer.receive(wait=0) == []


@pytest.mark.feature("H13")
async def test_tools_see_the_member(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "seen", 1), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    async with popper(cluster, group, topic) as consumer, cluster.admin() as admin:
        assert consumer.health().status is rmq.HealthStatus.HEALTHY
        connections = await admin.groups.clients(group)
        assert [each.client_id for each in connections.clients] == [consumer.client_id]
    await eventually(lambda: consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY)


@pytest.mark.feature("H13")
async def test_a_stop_leaves_nothing_invisible_that_was_on_its_way(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "onway"), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    done, bodies = Counter[bytes](), numbered(1500)
    async with cluster.producer() as producer:
        await send(producer, topic, bodies)
    first = popper(cluster, group, topic, instance_name=f"{group}-a")
    await first.start()

    async def work() -> None:
        while first.state is rmq.ServiceState.RUNNING:
            messages = await first.receive()
            if messages:
                await first.ack(messages)
                done.update(message.body for message in messages)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    await eventually(lambda: len(done) >= 200, DELIVERY, interval=0)
    await first.stop()
    await asyncio.gather(*workers)
    async with popper(cluster, group, topic, instance_name=f"{group}-b") as second:
        async with asyncio.timeout(DELIVERY):  # shorter than the invisible time
            while len(done) < len(bodies):
                messages = await second.receive(wait=2.0)
                await second.ack(messages)
                done.update(message.body for message in messages)
    assert done == Counter(bodies), "nothing twice"


async def test_a_filter_that_changes_counts_at_once_for_who_waits(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "refilter", 1), cluster.unique("g")
    if await lacks_pop(cluster, topic, group):
        return
    async with cluster.producer() as producer, popper(cluster, group) as consumer:
        await consumer.subscribe(topic, "a")
        waiting = asyncio.create_task(consumer.receive(wait=30.0))
        await asyncio.sleep(0.5)
        await consumer.subscribe(topic, "b")
        began = asyncio.get_running_loop().time()
        await producer.send(rmq.Message(topic, b"wanted", tag="b"))
        assert [message.body for message in await waiting] == [b"wanted"]
        assert asyncio.get_running_loop().time() - began < 8.0, "not only with the next question"
