"""Control of a running push consumer: flow control, suspending, live subscriptions, start and stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster
from tests.support.push import Gate, Inbox, new_topic, numbered, owns, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST


async def send_many(producer: rmq.Producer, topic: str, bodies: list[bytes], queue: rmq.MessageQueue | None = None) -> None:
    for start in range(0, len(bodies), 50):
        await producer.send_batch([rmq.Message(topic, body) for body in bodies[start : start + 50]], queue=queue)


@pytest.mark.feature("F10", "F12")
@pytest.mark.parametrize("limit", ["count", "size", "span"])
async def test_slow_listener_bounds_what_is_cached(cluster: Cluster, limit: str) -> None:
    topic = await new_topic(cluster, "slow", 1)
    gate, inbox = Gate(), Inbox()
    limits = {
        "count": {"pull_threshold_for_queue": 40},
        "size": {"pull_threshold_size_for_queue": 20_000},
        "span": {"consume_concurrently_max_span": 60},
    }[limit]
    consumer = rmq.PushConsumer(
        cluster.name_servers,
        group=cluster.unique("g"),
        start_from=FIRST,
        concurrency=2,
        pull_batch_size=16,
        **limits,  # type: ignore[arg-type]
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        if limit != "span" or message.queue_offset == 0:
            await gate()
        inbox.take(message)

    async with cluster.producer() as producer:
        await send_many(producer, topic, [b"%03d" % number + b"x" * 400 for number in range(300)])
        async with consumer:
            counter = f"by_{limit}"
            await eventually(lambda: getattr(consumer.flow_control, counter) >= 3)
            held = consumer.backlog
            await asyncio.sleep(0.2)
            assert consumer.backlog <= held
            if limit == "count":
                assert 40 < held <= 40 + 16  # one batch above the limit at most
            if limit == "size":
                assert 20_000 / 700 < held <= 20_000 / 400 + 16
            gate.open()
            await inbox.has(300)
    assert len(set(inbox.bodies)) == 300


@pytest.mark.feature("F11")
async def test_limit_of_a_topic_is_divided_by_its_queues(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "whole", 2)
    gate, inbox = Gate(), Inbox()
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, concurrency=1, pull_batch_size=8, pull_threshold_for_topic=40
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        await gate()
        inbox.take(message)

    async with cluster.producer() as producer:
        for queue_id in range(2):
            await send_many(producer, topic, numbered(100, 100 * queue_id), rmq.MessageQueue(topic, cluster.broker_name, queue_id))
        async with consumer:
            await eventually(lambda: consumer.flow_control.by_count >= 6)
            assert 40 < consumer.backlog <= 40 + 2 * 8
            gate.open()
            await inbox.has(200)


@pytest.mark.feature("F8", "F9")
async def test_pull_interval_paces_the_pulls(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "pace", 1)
    inbox = Inbox()
    clock = asyncio.get_running_loop().time
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, pull_batch_size=8, pull_interval=0.2)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)

    async with cluster.producer() as producer:
        await send_many(producer, topic, numbered(40))
        async with consumer:
            await inbox.has(1)
            first = clock()
            await inbox.has(40)
            assert clock() - first >= 0.7  # four pulls after the first one


@pytest.mark.feature("F36")
async def test_suspend_and_resume(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "pause", 1)
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(3))
        await inbox.has(3)
        consumer.suspend()
        await send(producer, topic, numbered(1, 3))  # may come through the pull that is already parked
        await asyncio.sleep(0.3)
        seen = len(inbox)
        await send(producer, topic, numbered(3, 4))
        await asyncio.sleep(0.5)
        assert len(inbox) == seen
        consumer.resume()
        await inbox.has(7)
    assert inbox.counts == dict.fromkeys(numbered(7), 1)


@pytest.mark.feature("F21")
async def test_topics_come_and_go_while_running(cluster: Cluster) -> None:
    first, second = await new_topic(cluster, "live", 1), await new_topic(cluster, "later", 1)
    inbox, later, replaced = Inbox(), Inbox(), Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)
    consumer.listen(first, "A")(inbox.take)
    async with cluster.producer() as producer, consumer:
        await send(producer, first, [b"1"], tag="A")
        await inbox.has(1)
        await consumer.subscribe(second, later.take)
        await send(producer, second, [b"2"])
        await later.has(1)
        # Another filter and listener for a topic that is consumed already.
        await consumer.subscribe(first, replaced.take, "B")
        await owns(consumer, first, 1)
        await asyncio.sleep(0.2)
        await send(producer, first, [b"not for B"], tag="A")
        await send(producer, first, [b"3"], tag="B")
        await replaced.has(1)
        await consumer.unsubscribe(second)
        await owns(consumer, second, 0)
        await send(producer, second, [b"nobody listens"])
        await asyncio.sleep(0.3)
        with pytest.raises(rmq.ClientStateError, match="subscribe"):
            consumer.listen(cluster.unique("t"))(inbox.take)
    assert inbox.bodies == [b"1"]
    assert later.bodies == [b"2"]
    assert replaced.bodies == [b"3"]


@pytest.mark.feature("F21", "K4")
async def test_topic_created_after_the_start_is_consumed(cluster: Cluster) -> None:
    topic = cluster.unique("unborn")
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)
    consumer.listen(topic)(inbox.take)
    async with cluster.producer() as producer, consumer:
        await cluster.create_topic(topic, 1)
        await send(producer, topic, [b"here"])
        await inbox.has(1)


@pytest.mark.feature("F6")
async def test_workers_follow_the_backlog_and_resize(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "workers", 1)
    gate, inbox = Gate(), Inbox()
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, concurrency=(2, 6), adjust_thread_pool_interval=0.1
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        await gate()
        inbox.take(message)

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(40))
        await eventually(lambda: consumer.workers == 6)
        await eventually(lambda: gate.waiting == 6)
        gate.open()
        await inbox.has(40)
        await eventually(lambda: consumer.workers == 2)
        consumer.resize(4)
        assert consumer.workers == 4
        with pytest.raises(rmq.ConfigError, match="concurrency"):
            consumer.resize(0)


@pytest.mark.feature("F42", "F40", "N5")
async def test_statistics_and_running_info(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "stats", 1), cluster.unique("g")
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        inbox.take(message)
        return rmq.Retry(delay_level=18) if message.body == b"9" else None

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(10))
        await inbox.has(10)
        await eventually(lambda: consumer.backlog == 0)
        assert consumer.instance is not None
        port = consumer.instance.clients.consumers[group]
        info = port.running_info(True)
        rates = consumer.instance.stats.rates(group, topic)
        assert (rates.ok, rates.failed, rates.pulled) == (9, 1, 10)
        queue = rmq.MessageQueue(topic, cluster.broker_name, 0)
        assert info.mq_table[queue].commit_offset == 10
        assert info.status_table[topic].consume_failed_msgs == 1
        assert info.properties["PROP_CONSUMEORDERLY"] == "false"
        assert int(info.properties["PROP_CONSUMER_START_TIMESTAMP"]) > 0
        assert info.jstack is not None
        assert "test_statistics_and_running_info" in info.jstack


@pytest.mark.feature("F44")
async def test_second_start_and_use_after_stop(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "life", 1)
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"))
    consumer.listen(topic)(Inbox().take)
    assert await consumer.start() is consumer
    assert await consumer.start() is consumer
    assert consumer.state is rmq.ServiceState.RUNNING
    await consumer.stop()
    await consumer.stop()
    assert consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY
    with pytest.raises(rmq.ClientClosedError, match="was stopped"):
        await consumer.start()
    with pytest.raises(rmq.ClientClosedError, match="was stopped"):
        await consumer.subscribe(topic, Inbox().take)
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@pytest.mark.feature("F44")
@pytest.mark.skipif(sys.platform == "win32", reason="sends itself a signal")
async def test_run_ends_with_a_signal_and_a_second_one_does_not_wait(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "signal", 1)
    gate = Gate()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        await gate()

    async with cluster.producer() as producer:
        await send(producer, topic, [b"stuck"])
        running = asyncio.ensure_future(consumer.run())
        await eventually(lambda: gate.waiting == 1)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert not running.done()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 5.0)
    assert consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY


async def test_start_without_a_name_server_says_so(caplog: pytest.LogCaptureFixture) -> None:
    consumer = rmq.PushConsumer("127.0.0.1:1", group="g")
    consumer.listen("t")(Inbox().take)
    for _ in range(2):  # it can be tried again
        with pytest.raises(rmq.NoNameServerError, match=r"127\.0\.0\.1:1"):
            await consumer.start(timeout=0.2)
        assert consumer.state is rmq.ServiceState.START_FAILED
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    async with consumer:
        assert "127.0.0.1:1 refused the connection" in caplog.text
