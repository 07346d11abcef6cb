"""The pull consumer: single pulls, the offsets of a group, and the queues of its members."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from pathlib import Path

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from tests.behaviour.stored import stored
from tests.support.clusters import Cluster
from tests.support.push import DELIVERY, new_topic, numbered, send
from tests.support.waiting import eventually


def pulling(cluster: Cluster, group: str, *topics: str, **fields: object) -> rmq.PullConsumer:
    return rmq.PullConsumer(cluster.name_servers, group=group, topics=topics, **fields)  # type: ignore[arg-type]


async def queues_of(consumer: rmq.PullConsumer, topic: str) -> tuple[rmq.MessageQueue, ...]:
    """The queues of a topic that a broker makes by itself, and tells its name servers of a moment later."""
    async with asyncio.timeout(DELIVERY):
        while True:
            with contextlib.suppress(rmq.TopicNotFoundError):
                return await consumer.queues(topic)
            await asyncio.sleep(0.05)


@pytest.mark.feature("J1", "J3")
async def test_a_queue_is_read_pull_by_pull_and_its_offset_kept(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "pulled", 1), cluster.unique("g")
    async with cluster.producer() as producer, pulling(cluster, group, topic) as consumer:
        await send(producer, topic, numbered(10))
        await stored(cluster, topic, 10)
        (queue,) = consumer.assigned
        assert await consumer.committed(queue) is None
        assert (await consumer.min_offset(queue), await consumer.max_offset(queue)) == (0, 10)
        result = await consumer.pull(queue, 2, max_messages=3)
        assert result.status is rmq.PullStatus.FOUND
        assert [message.body for message in result] == numbered(3, start=2)
        assert (result.next_offset, result.min_offset, result.max_offset) == (5, 0, 10)
        await consumer.commit({queue: result.next_offset})
        assert await consumer.committed(queue) == 5
        assert await consumer.lag() == {queue: 5}
        await consumer.commit(result.messages[0])
        assert await consumer.committed(queue) == 3, "it goes back, too"
        assert len(await consumer.pull(queue, 0)) == 10
    async with pulling(cluster, group, topic) as consumer:
        assert await consumer.committed(queue) == 3, "nothing was saved that was not told"


@pytest.mark.feature("J1")
async def test_what_a_pull_meets(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "met", 1)
    async with cluster.producer() as producer, pulling(cluster, cluster.unique("g")) as consumer:
        (queue,) = await consumer.queues(topic)
        await send(producer, topic, [b"1"], tag="red")
        await send(producer, topic, [b"2"], tag="blue")
        await stored(cluster, topic, 2)
        blue = await consumer.pull(queue, 0, expression="blue")
        assert ([message.body for message in blue], blue.next_offset) == ([b"2"], 2)
        wide = await consumer.pull(queue, 0, expression=rmq.SQL("TAGS = 'blue'"))
        assert [message.body for message in wide] == [b"2"]
        red = await consumer.pull(queue, 0, expression="red || green")
        assert [message.body for message in red] == [b"1"]
        none = await consumer.pull(queue, 0, expression="green")
        assert (none.status, len(none), none.next_offset) == (rmq.PullStatus.NO_MATCHED_MSG, 0, 2)
        new = await consumer.pull(queue, 2)
        assert (new.status, new.next_offset) == (rmq.PullStatus.NO_NEW_MSG, 2)
        beyond = await consumer.pull(queue, 77)
        assert (beyond.status, beyond.next_offset, beyond.max_offset) == (rmq.PullStatus.OFFSET_ILLEGAL, 2, 2)


@pytest.mark.feature("J2")
async def test_a_pull_waits_for_a_message_as_long_as_it_is_told(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "waited", 1)
    async with cluster.producer() as producer, pulling(cluster, cluster.unique("g")) as consumer:
        (queue,) = await consumer.queues(topic)
        waiting = asyncio.ensure_future(consumer.pull(queue, 0, wait=20.0))
        assert (await consumer.pull(queue, 0)).status is rmq.PullStatus.NO_NEW_MSG, "others need not wait for it"
        assert not waiting.done()
        await send(producer, topic, [b"1"])
        assert [message.body for message in await asyncio.wait_for(waiting, DELIVERY)] == [b"1"]
        begun = time.monotonic()
        assert not await consumer.pull(queue, 1, wait=0.5)
        assert 0.4 < time.monotonic() - begun < 8.0
        cut_off = asyncio.ensure_future(consumer.pull(queue, 1, wait=60.0))
        await asyncio.sleep(0)
        cut_off.cancel()
        left = asyncio.ensure_future(consumer.pull(queue, 1, wait=60.0))
        await asyncio.sleep(0.1)
    with pytest.raises(rmq.ClientClosedError):
        await left


@pytest.mark.feature("J4")
async def test_members_share_the_queues_out_and_hear_of_changes(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "shared", 4), cluster.unique("g")
    told: list[tuple[str, int, int]] = []
    listener = lambda name, queues, owned: told.append((name, len(queues), len(owned)))  # noqa: E731
    async with pulling(cluster, group, topic, message_queue_listener=listener) as one:
        assert one.assigned == frozenset(await one.queues(topic))
        assert told == [(topic, 4, 4)]
        async with pulling(cluster, group, topic, instance_name="two") as two:
            await eventually(lambda: len(one.assigned) == len(two.assigned) == 2, DELIVERY)
            assert not one.assigned & two.assigned
            assert told[-1] == (topic, 4, 2)
        await eventually(lambda: len(one.assigned) == 4, DELIVERY)
        await one.unsubscribe(topic)
        assert not one.assigned
        await one.subscribe(topic)
        assert len(one.assigned) == 4


@pytest.mark.feature("J1", "J3")
async def test_bad_input_is_told(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "bad", 1)
    consumer = pulling(cluster, cluster.unique("g"), topic)
    nowhere = rmq.MessageQueue(topic, "nowhere", 0)
    with pytest.raises(rmq.ClientStateError, match="not started"):
        await consumer.pull(nowhere, 0)
    async with consumer:
        (queue,) = consumer.assigned
        unknown = rmq.MessageQueue(topic, queue.broker_name, 77)
        for wrong in (nowhere, unknown):
            with pytest.raises(rmq.ConfigError, match="does not exist"):
                await consumer.pull(wrong, 0)
            with pytest.raises(rmq.ConfigError, match="does not exist"):
                await consumer.commit({queue: 1, wrong: 1})
        assert await consumer.committed(queue) is None, "all or nothing"
        with pytest.raises(rmq.TopicNotFoundError):
            await consumer.pull(rmq.MessageQueue(cluster.unique("none"), queue.broker_name, 0), 0)
        for bad in ({"offset": -1}, {"offset": 1.5}, {"max_messages": 0}, {"wait": 500}, {"expression": 5}, {"timeout": 0}):
            with pytest.raises(rmq.ConfigError):
                await consumer.pull(queue, **{"offset": 0} | bad)  # type: ignore[arg-type]
        with pytest.raises(rmq.ConfigError, match="MessageQueue"):
            await consumer.pull(topic, 0)  # type: ignore[arg-type]
        with pytest.raises(rmq.ConfigError, match="commit"):
            await consumer.commit([queue])  # type: ignore[arg-type]
        assert not await consumer.pull(queue, 0)
    with pytest.raises(rmq.ClientClosedError):
        await consumer.pull(queue, 0)


@pytest.mark.feature("J5")
async def test_a_message_is_sent_back_to_the_retry_topic_of_a_group(cluster: Cluster) -> None:
    topic, group, other = await new_topic(cluster, "back", 1), cluster.unique("g"), cluster.unique("h")
    async with cluster.producer() as producer, pulling(cluster, group, topic) as consumer, pulling(cluster, other) as theirs:
        await send(producer, topic, numbered(3))
        await stored(cluster, topic, 3)
        (queue,) = consumer.assigned
        first, second, third = await consumer.pull(queue, 0)
        await consumer.send_back(first, 1)
        await consumer.send_back(second, -1)
        await consumer.send_back(third, 1, group=other)
        for reader, retried in ((consumer, first), (theirs, third)):
            (retry,) = await queues_of(reader, f"%RETRY%{reader.group}")
            (again,) = await reader.pull(retry, 0, wait=DELIVERY)
            assert (again.body, again.topic, again.reconsume_times) == (retried.body, topic, 1)
        (dead,) = await queues_of(consumer, f"%DLQ%{group}")
        (buried,) = await consumer.pull(dead, 0, wait=DELIVERY)
        assert (buried.body, buried.origin_topic) == (second.body, topic)
        with pytest.raises(rmq.ConfigError, match="delay_level"):
            await consumer.send_back(first, 19)


@pytest.mark.feature("J6")
async def test_a_function_is_called_for_each_queue_of_a_member(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "planned", 4), cluster.unique("g")
    seen: dict[str, list[rmq.ReceivedMessage]] = {"one": [], "two": []}

    async def plan(name: str, consumer: rmq.PullConsumer) -> None:
        async def work(queue: rmq.MessageQueue) -> float | None:
            assert queue in consumer.assigned
            result = await consumer.pull(queue, await consumer.committed(queue) or 0, max_messages=3)
            seen[name] += result
            await consumer.commit({queue: result.next_offset})
            return 0 if result else 0.05

        await consumer.schedule(topic, work)

    async with cluster.producer() as producer, pulling(cluster, group) as one, pulling(cluster, group, instance_name="two") as two:
        await send(producer, topic, numbered(20))
        await plan("one", one)
        await eventually(lambda: len(seen["one"]) == 20, DELIVERY)
        await plan("two", two)
        await eventually(lambda: len(one.assigned) == len(two.assigned) == 2, DELIVERY)
        await send(producer, topic, numbered(20, start=20))
        await eventually(lambda: len(seen["one"] + seen["two"]) >= 40, DELIVERY)
        assert {message.queue for message in seen["two"]} <= two.assigned
    bodies = [message.body for each in seen.values() for message in each]
    assert sorted(bodies) == sorted(numbered(40)), "a queue that moves is read on from what was committed"


@pytest.mark.feature("J6")
async def test_a_scheduled_function_that_runs_ends_before_the_consumer(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "ended", 1), cluster.unique("g")
    begun, go_on, calls = asyncio.Event(), asyncio.Event(), 0

    async def work(queue: rmq.MessageQueue) -> None:
        nonlocal calls
        calls += 1
        result = await consumer.pull(queue, await consumer.committed(queue) or 0, wait=20.0)
        begun.set()
        await go_on.wait()
        await consumer.commit({queue: result.next_offset})

    consumer = pulling(cluster, group)
    await consumer.schedule(topic, work, every=0)
    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(1))
        async with asyncio.timeout(DELIVERY):
            await begun.wait()
        stopping = asyncio.ensure_future(consumer.stop())
        await asyncio.sleep(0.1)
        assert not stopping.done()
        go_on.set()
        await stopping
    assert calls == 1
    async with pulling(cluster, group, topic) as consumer:
        (queue,) = consumer.assigned
        assert await consumer.committed(queue) == 1
        await consumer.schedule(topic, work, every=0)
        await eventually(lambda: calls == 2, DELIVERY)
        begun.clear()
        await asyncio.sleep(0.05)
    assert not begun.is_set(), "a pull that waits is cut off by a stop"


@pytest.mark.feature("J6")
async def test_a_scheduled_function_that_fails_is_called_again(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    topic = await new_topic(cluster, "failed", 1)
    at: list[float] = []

    async def work(queue: rmq.MessageQueue) -> object:
        at.append(time.monotonic())
        if len(at) == 1:
            raise ZeroDivisionError
        if len(at) == 2:
            return "soon"
        await consumer.stop()
        return None

    consumer = pulling(cluster, cluster.unique("g"))
    async with consumer:
        for odd, every in ((7, 0.2), (work, -1)):
            with pytest.raises(rmq.ConfigError):
                await consumer.schedule(topic, odd, every=every)  # type: ignore[arg-type]
        await consumer.schedule(topic, work, every=0.0)
        await eventually(lambda: consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY, DELIVERY)
    assert len(at) == 3
    assert at[1] - at[0] >= 0.9
    assert at[2] - at[1] >= 0.9
    assert "ZeroDivisionError" in caplog.text
    with pytest.raises(rmq.ClientClosedError):
        await consumer.schedule(topic, work)


@pytest.mark.feature("J6")
def test_a_blocking_program_is_called_on_threads(cluster: Cluster) -> None:
    topic, group = asyncio.run(new_topic(cluster, "threads", 2)), cluster.unique("g")
    got: list[bytes] = []
    done = threading.Event()

    def work(queue: rmq.MessageQueue) -> None:
        result = consumer.pull(queue, consumer.committed(queue) or 0)
        got.extend(message.body for message in result)
        consumer.commit({queue: result.next_offset})
        if len(got) == 20:
            done.set()

    with (
        aiorocketmq.sync.Producer(cluster.name_servers, group=cluster.unique("p")) as producer,
        aiorocketmq.sync.PullConsumer(cluster.name_servers, group=group) as consumer,
    ):
        consumer.schedule(topic, work, every=0.05)
        for body in numbered(20):
            producer.send(rmq.Message(topic, body))
        assert done.wait(DELIVERY)
    assert sorted(got) == sorted(numbered(20))


@pytest.mark.feature("J1", "J2", "J3")
def test_a_blocking_program_pulls(cluster: Cluster) -> None:
    topic = asyncio.run(new_topic(cluster, "blocking", 1))
    group = cluster.unique("g")
    with (
        aiorocketmq.sync.Producer(cluster.name_servers, group=cluster.unique("p")) as producer,
        aiorocketmq.sync.PullConsumer(cluster.name_servers, group=group, topics=topic) as consumer,
    ):
        producer.send(rmq.Message(topic, b"1"))
        (queue,) = consumer.assigned
        result = consumer.pull(queue, 0, wait=5.0)
        assert [message.body for message in result] == [b"1"]
        consumer.commit({queue: result.next_offset})
        assert consumer.committed(queue) == 1


@pytest.mark.feature("J6")
def test_a_blocking_call_that_runs_ends_before_the_consumer(cluster: Cluster) -> None:
    topic, group = asyncio.run(new_topic(cluster, "held", 1)), cluster.unique("g")
    begun, go_on = threading.Event(), threading.Event()

    def work(queue: rmq.MessageQueue) -> None:
        begun.set()
        go_on.wait(DELIVERY)
        consumer.commit({queue: 1})

    with aiorocketmq.sync.PullConsumer(cluster.name_servers, group=group) as consumer:
        consumer.schedule(topic, work)
        assert begun.wait(DELIVERY)
        timer = threading.Timer(0.2, go_on.set)
        timer.start()
    timer.join()
    with aiorocketmq.sync.PullConsumer(cluster.name_servers, group=group, topics=topic) as consumer:
        (queue,) = consumer.assigned
        assert consumer.committed(queue) == 1
        consumer.schedule(topic, lambda _: consumer.stop())
        deadline = time.monotonic() + DELIVERY
        while consumer.state is not rmq.ServiceState.SHUTDOWN_ALREADY and time.monotonic() < deadline:
            time.sleep(0.02)
    assert consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY


@pytest.mark.feature("J3")
async def test_a_group_that_broadcasts_keeps_its_offsets_in_a_file(cluster: Cluster, tmp_path: Path) -> None:
    topic, group = await new_topic(cluster, "file", 2), cluster.unique("g")
    fields = {"message_model": rmq.MessageModel.BROADCASTING, "local_offset_store_dir": tmp_path}
    async with cluster.producer() as producer, pulling(cluster, group, topic, **fields) as consumer:
        await send(producer, topic, numbered(4))
        await stored(cluster, topic, 4)
        assert len(consumer.assigned) == 2
        queue = min(consumer.assigned)
        assert await consumer.committed(queue) is None
        await consumer.commit({queue: 2})
        (message,) = await consumer.pull(queue, 0, max_messages=1)
        with pytest.raises(rmq.ClientStateError, match="broadcasts"):
            await consumer.send_back(message)
    async with pulling(cluster, group, topic, **fields) as consumer:
        assert await consumer.committed(queue) == 2
