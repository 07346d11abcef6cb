"""The lite pull consumer: what counts as given and as consumed when tasks meet, queues are paused or told anew, and brokers delete."""

from __future__ import annotations

import asyncio

import pytest

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST
TOPIC = "t"


def lite(cluster: LocalCluster, *topics: str, **fields: object) -> rmq.LitePullConsumer:
    return rmq.LitePullConsumer(cluster.name_servers, group="g", topics=topics, start_from=FIRST, **fields)  # type: ignore[arg-type]


async def send(cluster: LocalCluster, count: int, queue: rmq.MessageQueue | None = None, **fields: object) -> None:
    async with rmq.Producer(cluster.name_servers, group="p") as producer:
        for number in range(count):
            await producer.send(rmq.Message(TOPIC, b"%d" % number, **fields), queue=queue)  # type: ignore[arg-type]


@pytest.mark.feature("I1")
async def test_of_two_tasks_that_begin_to_loop_in_the_same_moment_one_is_told() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic(TOPIC, queues=1)
        consumer = await lite(cluster, TOPIC).start()

        async def loop() -> list[bytes]:
            return [message.body async for message in consumer]

        tasks = [asyncio.create_task(loop()) for _ in range(2)]
        await asyncio.sleep(0.1)
        await send(cluster, 3)
        await eventually(lambda: consumer.backlog == 0)
        await consumer.stop()
        async with asyncio.timeout(5):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(map(type, results), key=str) == [rmq.ClientStateError, list]
        assert [b"0", b"1", b"2"] in results


@pytest.mark.feature("I1", "I7")
async def test_a_loop_that_commits_now_and_then_has_done_with_its_last_message_when_it_asks_again() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic(TOPIC, queues=1)
        await send(cluster, 8)
        async with lite(cluster, TOPIC) as consumer:
            (queue,) = consumer.assigned
            await eventually(lambda: consumer.backlog == 8)
            async for message in consumer:
                if message.queue_offset == 3:
                    await consumer.commit()
                if message.queue_offset == 7:
                    break
            assert await consumer.poll(timeout=0) == []
            assert consumer.offsets() == {queue: 8}


@pytest.mark.feature("I5")
async def test_a_paused_queue_that_holds_much_leaves_the_others_alone() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic(TOPIC, queues=2)
        async with lite(cluster, TOPIC, pull_threshold_for_all=20) as consumer:
            paused, other = sorted(consumer.assigned)
            await send(cluster, 40, paused)
            await eventually(lambda: consumer.backlog > 20)
            consumer.pause(paused)
            waiting = consumer.backlog
            await send(cluster, 15, other)
            got: list[rmq.ReceivedMessage] = []
            async with asyncio.timeout(10):
                while len(got) < 15:
                    got += await consumer.poll(timeout=1)
            assert {message.queue for message in got} == {other}
            assert consumer.backlog == waiting
            await consumer.seek(paused, 5)
            assert await consumer.poll(timeout=0.2) == [], "still paused"
            consumer.resume(paused)
            assert (await consumer.poll(1, timeout=5))[0].queue_offset == 5
            await eventually(lambda: consumer.backlog == 34)


@pytest.mark.feature("I2")
async def test_of_two_assignments_at_the_same_time_one_counts() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic(TOPIC, queues=4)
        async with lite(cluster) as consumer:
            queues = sorted(await consumer.queues(TOPIC))
            await consumer.assign(queues[:1])
            await asyncio.gather(consumer.assign(queues[1:2]), consumer.assign(queues[2:3]))
            assert consumer.assigned in ({queues[1]}, {queues[2]})


@pytest.mark.feature("I2")
async def test_an_assignment_that_is_refused_changes_nothing() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic(TOPIC, queues=1)
        await send(cluster, 2, properties={"n": "3"})
        consumer = lite(cluster)
        queue = rmq.MessageQueue(TOPIC, "broker-a", 0)
        with pytest.raises(rmq.InvalidNameError):
            await consumer.assign([queue, rmq.MessageQueue("no name!", "broker-a", 0)])
        await consumer.assign([queue], rmq.SQL("n > 2"))
        async with consumer:
            with pytest.raises(rmq.SubscriptionError, match="n >>> 2"):
                await consumer.assign([queue], rmq.SQL("n >>> 2"))
            with pytest.raises(rmq.ConfigError, match="does not exist"):
                await consumer.assign([queue._replace(queue_id=7)], rmq.SQL("n > 7"))
            assert consumer.assigned == {queue}
            assert len(await consumer.poll(timeout=5)) == 2


@pytest.mark.feature("I14")
@pytest.mark.parametrize("auto", [True, False])
async def test_what_was_pulled_before_a_broker_deleted_it_is_given(auto: bool) -> None:
    async with LocalCluster(retention_age=3600, retention_interval=0.05) as cluster:
        await cluster.create_topic(TOPIC, queues=1)
        await send(cluster, 60)
        async with lite(cluster, TOPIC, pull_threshold_for_queue=10, pull_batch_size=8, auto_commit=auto) as consumer:
            (queue,) = consumer.assigned
            await eventually(lambda: consumer.backlog > 10)
            waiting = consumer.backlog
            (first,) = await consumer.poll(1)
            await cluster.advance(7200)
            await asyncio.sleep(0.3)
            await send(cluster, 2)
            got = [first]
            async with asyncio.timeout(20):
                while len(got) < waiting + 2:
                    messages = await consumer.poll(3, timeout=1)
                    if messages:
                        await consumer.commit(messages[-1])
                    got += messages
            assert [message.queue_offset for message in got] == [*range(waiting), 60, 61]
            assert await consumer.committed(queue) == 62


@pytest.mark.feature("I7", "I8")
async def test_offsets_and_times_that_cannot_be_are_refused_before_anything_is_noted() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic(TOPIC, queues=1)
        await send(cluster, 3)
        async with lite(cluster, TOPIC) as consumer:
            (queue,) = consumer.assigned
            assert await consumer.poll(2, timeout=5)
            with pytest.raises(rmq.ConfigError, match="offset"):
                await consumer.commit({queue: 1 << 70})
            await consumer.commit()
            assert await consumer.committed(queue) == consumer.position(queue)
            for at in (float("nan"), float("inf"), -float("inf"), 1e300):
                with pytest.raises(rmq.ConfigError, match="no time"):
                    await consumer.search_offset(queue, at)


@pytest.mark.feature("I6")
async def test_a_thread_without_an_event_loop_is_told_where_the_consumer_belongs() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic(TOPIC, queues=1)
        async with lite(cluster, TOPIC) as consumer:
            (queue,) = consumer.assigned
            with pytest.raises(rmq.ClientStateError, match="another event loop"):
                await asyncio.to_thread(consumer.position, queue)


@pytest.mark.feature("I1", "F20")
async def test_a_filter_that_the_broker_refuses_leaves_the_one_before() -> None:
    async with LocalCluster() as cluster, lite(cluster) as consumer:
        await cluster.create_topic(TOPIC, queues=1)
        await consumer.subscribe(TOPIC, "wanted")
        with pytest.raises(rmq.SubscriptionError):
            await consumer.subscribe(TOPIC, rmq.SQL("a > >"))
        for _ in range(2):  # a pull that waits already asks with the filter of before
            await send(cluster, 1, tag="other")
            await send(cluster, 1, tag="wanted")
            assert [message.tag for message in await consumer.poll(timeout=10)] == ["wanted"]


@pytest.mark.feature("I3", "I11")
async def test_what_waited_of_a_queue_that_is_gone_does_not_count_any_more() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic(TOPIC, queues=1)
        await send(cluster, 8)
        async with lite(cluster, pull_threshold_for_all=6) as consumer:
            for _ in range(4):
                await consumer.subscribe(TOPIC)
                await eventually(lambda: consumer.backlog == 8)
                await consumer.unsubscribe(TOPIC)
                assert consumer.backlog == 0
                assert not consumer._runtime.service.full  # type: ignore[union-attr]
            await consumer.subscribe(TOPIC)
            assert len(await consumer.poll(timeout=10)) == 8


@pytest.mark.feature("I1")
async def test_queues_take_turns_in_polls() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic(TOPIC, queues=2)
        async with lite(cluster, TOPIC) as consumer:
            for queue in sorted(consumer.assigned):
                await send(cluster, 12, queue)
            await eventually(lambda: consumer.backlog == 24)
            polls = [await consumer.poll(4, timeout=0) for _ in range(6)]
            assert [len({message.queue for message in poll}) for poll in polls] == [1] * 6
            turns = [poll[0].queue.queue_id for poll in polls]
            assert turns in ([0, 1] * 3, [1, 0] * 3)


@pytest.mark.feature("I5")
async def test_a_loop_gets_nothing_more_of_a_queue_that_it_pauses_on_the_way() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic(TOPIC, queues=2)
        async with lite(cluster, TOPIC) as consumer:
            for queue in sorted(consumer.assigned):
                await send(cluster, 5, queue)
            await eventually(lambda: consumer.backlog == 10)
            given: list[rmq.MessageQueue] = []
            async for message in consumer:
                given.append(message.queue)
                if len(given) == 2:
                    consumer.pause(message.queue)
                if len(given) == 7:
                    break
            assert len(set(given[:2])) == 1
            assert set(given[2:]) == consumer.assigned - {given[0]}
