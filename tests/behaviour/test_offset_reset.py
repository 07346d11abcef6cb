"""Operators set the offsets of a group that consumes: brokers ask their clients for it (220), or answer their pulls with it (21)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

import aiorocketmq as rmq
from tests.support import raw_remoting
from tests.support.clusters import Cluster
from tests.support.java import LAST_OF_4
from tests.support.push import Inbox, new_topic, numbered, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST
QUICK: Final = 0.05
"""Seconds between rounds of rebalancing: a queue that begins anew waits for the next one."""
END = -1


async def ways(cluster: Cluster) -> AsyncIterator[str]:
    """The ways in which clients hear of a reset, one after the other; brokers of 4.x have one alone."""
    for switch in ("false", "true") if cluster.kind != LAST_OF_4 else ("",):
        if switch:
            await asyncio.to_thread(raw_remoting.configure_broker, cluster.broker_address, "useServerSideResetOffset", switch)
        yield switch


async def reset(cluster: Cluster, group: str, topic: str, timestamp: int) -> None:
    await asyncio.to_thread(raw_remoting.reset_offset, cluster.broker_address, group, topic, timestamp)


async def commits(cluster: Cluster, group: str, topic: str, offset: int) -> None:
    """Wait until the broker keeps this offset."""

    async def is_there() -> bool:
        return await asyncio.to_thread(raw_remoting.committed_offset, cluster.broker_address, group, topic, 0) == offset

    await eventually(is_there, 30.0, message=f"offset {offset} of {topic}")


@pytest.mark.feature("F37", "N3")
@pytest.mark.parametrize("kind", ["async", "plain", "ordered"])
async def test_group_goes_back_and_forward_as_it_is_told_while_its_listener_runs(cluster: Cluster, kind: str) -> None:
    async for _ in ways(cluster):
        await back_and_forward(cluster, kind)


async def back_and_forward(cluster: Cluster, kind: str) -> None:
    topic, group = await new_topic(cluster, "reset", 1), cluster.unique("g")
    inbox, gate = Inbox(), asyncio.Event()
    loop = asyncio.get_running_loop()
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=FIRST, ordered=kind == "ordered", concurrency=1, rebalance_min_interval=QUICK
    )

    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)
        if message.body == b"slow":
            await gate.wait()

    def handle_plain(message: rmq.ReceivedMessage) -> None:
        asyncio.run_coroutine_threadsafe(handle(message), loop).result()

    await consumer.subscribe(topic, handle_plain if kind == "plain" else handle)
    async with cluster.producer() as producer, consumer:
        # Brokers reset no group that has no offset.
        await asyncio.to_thread(raw_remoting.commit_offset, cluster.broker_address, group, topic, 0, 0)
        await send(producer, topic, numbered(6))
        await inbox.has(6)
        await send(producer, topic, [b"slow", b"behind"])
        await eventually(lambda: consumer.backlog == 2 and len(inbox) == 7)
        await reset(cluster, group, topic, 0)
        await send(producer, topic, [b"newer"])  # a pull that the broker holds hears of it when it ends
        await eventually(lambda: consumer.backlog not in (2, 3), 30.0, message="the consumer has heard of it")
        gate.set()
        await inbox.has(16)
        assert inbox.bodies[7:] == [*numbered(6), b"slow", b"behind", b"newer"]

        gate.clear()
        await send(producer, topic, [b"slow", b"skipped", b"skipped"])
        await eventually(lambda: consumer.backlog == 3 and len(inbox) == 17)
        await reset(cluster, group, topic, END)
        await send(producer, topic, [b"last"])
        await eventually(lambda: consumer.backlog <= 1, 30.0, message="the consumer has heard of it")
        gate.set()
        await inbox.has(18)
        assert inbox.bodies[16:] == [b"slow", b"last"]
    await commits(cluster, group, topic, 13)
    assert len(inbox) == 18


@pytest.mark.feature("F37", "N3")
@pytest.mark.parametrize("ordered", [False, True], ids=["concurrent", "ordered"])
async def test_reset_that_comes_while_an_earlier_pull_is_out_is_not_lost(cluster: Cluster, ordered: bool) -> None:
    """Brokers of 5.x tell of a reset once, to whichever pull ends next: also to one that this client has given up."""
    async for _ in ways(cluster):
        await told_to_a_pull_that_was_given_up(cluster, ordered=ordered)


async def told_to_a_pull_that_was_given_up(cluster: Cluster, *, ordered: bool) -> None:
    topic, group = await new_topic(cluster, "reset_told_once", 1), cluster.unique("g")
    inbox = Inbox()
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=FIRST, ordered=ordered, concurrency=1, rebalance_min_interval=QUICK
    )
    consumer.listen(topic)(inbox.take)
    queue = rmq.MessageQueue(topic, cluster.broker_name, 0)
    async with cluster.producer() as producer, consumer:
        await asyncio.to_thread(raw_remoting.commit_offset, cluster.broker_address, group, topic, 0, 0)
        await send(producer, topic, numbered(4))
        await inbox.has(4)
        await asyncio.sleep(1.0)  # the broker holds a pull by now
        await consumer.reset_offsets(datetime.now(UTC) + timedelta(hours=1))  # gives it up, and pulls anew
        await eventually(lambda: queue in consumer.assigned)
        await reset(cluster, group, topic, 0)
        await send(producer, topic, [b"newer"])
        await inbox.has(9, timeout=40.0)
        bodies = inbox.bodies[4:]
        assert [body for body in bodies if body != b"newer"] == numbered(4)
    await commits(cluster, group, topic, 5)


@pytest.mark.feature("F37", "N3")
@pytest.mark.parametrize("auto_commit", [True, False], ids=["auto", "manual"])
async def test_lite_pull_consumer_goes_on_where_it_is_told_and_commits_nothing_over_that(cluster: Cluster, auto_commit: bool) -> None:
    async for _ in ways(cluster):
        topic, group = await new_topic(cluster, "reset_lite", 1), cluster.unique("g")
        async with (
            cluster.producer() as producer,
            rmq.LitePullConsumer(
                cluster.name_servers, group=group, topics=[topic], start_from=FIRST, auto_commit=auto_commit, auto_commit_interval=1.0
            ) as consumer,
        ):
            await send(producer, topic, numbered(4))
            taken = [await anext(consumer) for _ in range(4)]
            await consumer.commit()
            await commits(cluster, group, topic, 4)
            await reset(cluster, group, topic, 0)
            await send(producer, topic, [b"newer"])
            again = [await anext(consumer)]
            if again[0].body == b"newer":  # the pull that the broker held
                again = [await anext(consumer)]
            assert again[0].body == b"0"
            await consumer.commit(taken[3])  # of before the reset
            again += [await anext(consumer) for _ in range(4)]
            assert [message.body for message in again] == [*numbered(4), b"newer"]
            await consumer.commit(again[1])
            await commits(cluster, group, topic, 2 if not auto_commit else 4)


@pytest.mark.feature("F38")
@pytest.mark.parametrize("kind", ["push", "ordered", "lite"])
async def test_program_goes_to_a_time_by_itself(cluster: Cluster, kind: str) -> None:
    topic, group = await new_topic(cluster, "to_time", 2), cluster.unique("g")
    inbox = Inbox()
    consumer: rmq.PushConsumer | rmq.LitePullConsumer
    if kind == "lite":
        consumer = rmq.LitePullConsumer(cluster.name_servers, group=group, topics=[topic], start_from=FIRST)
    else:
        consumer = rmq.PushConsumer(
            cluster.name_servers, group=group, start_from=FIRST, ordered=kind == "ordered", rebalance_min_interval=QUICK
        )
        consumer.listen(topic)(inbox.take)

    async def take(count: int) -> list[bytes]:
        """The next messages."""
        if isinstance(consumer, rmq.LitePullConsumer):
            return [(await anext(consumer)).body for _ in range(count)]
        await inbox.has(count)
        taken, inbox.messages = inbox.messages, []
        return [message.body for message in taken]

    async with cluster.producer() as producer, consumer:
        queues = [rmq.MessageQueue(topic, cluster.broker_name, number) for number in range(2)]
        await eventually(lambda: {queue for queue in consumer.assigned if queue.topic == topic} == set(queues))
        for queue in queues:
            await send(producer, topic, numbered(3), queue=queue)
        assert sorted(await take(6)) == sorted(numbered(3) * 2)
        await asyncio.sleep(0.01)
        between = time.time()
        await asyncio.sleep(0.01)
        await send(producer, topic, [b"late"], queue=queues[1])
        assert await take(1) == [b"late"]
        assert await consumer.reset_offsets(between) == {queues[0]: 3, queues[1]: 3}
        assert await take(1) == [b"late"]
        assert await consumer.reset_offsets(datetime.fromtimestamp(0, UTC), topic=topic) == dict.fromkeys(queues, 0)
        assert sorted(await take(7)) == sorted([*numbered(3) * 2, b"late"])
        assert await consumer.reset_offsets(time.time() + 3600) == {queues[0]: 3, queues[1]: 4}
        await send(producer, topic, [b"last"], queue=queues[0])
        assert await take(1) == [b"last"]
        for wrong in ("now", datetime(2026, 1, 1), time.time() * 1000, True):
            with pytest.raises(rmq.ConfigError, match="at "):
                await consumer.reset_offsets(wrong)  # type: ignore[arg-type]
        with pytest.raises(rmq.ConfigError, match="is not consumed here"):
            await consumer.reset_offsets(0, topic="elsewhere")
    with pytest.raises(rmq.ClientStateError):
        await consumer.reset_offsets(0)
    for number in range(2):
        assert await asyncio.to_thread(raw_remoting.committed_offset, cluster.broker_address, group, topic, number) == 4
