"""The lite pull consumer against a scripted broker and the embedded one: what it sends, bad input, and odd orders of calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.consumer.lite_member import LitePullMember
from aiorocketmq.consumer.settings import LitePullSettings
from aiorocketmq.consumer.subscriptions import Subscriptions
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.sysflag import PullSysFlag
from aiorocketmq.server import LocalCluster
from tests.support.waiting import eventually
from tests.unit.consumer.world import GROUP, QUEUE, TOPIC, ScriptedBroker, virtual_time
from tests.wire.world import route

FIRST = rmq.StartFrom.FIRST
V4_9_7, V5_0_0 = 407, 413


@asynccontextmanager
async def reading(broker: ScriptedBroker, **settings: Any) -> AsyncIterator[LitePullMember]:
    async with broker.instance() as instance:
        subscriptions = Subscriptions(GROUP, with_retry_topic=False)
        subscriptions.put(TOPIC, "*", 1)
        asked = LitePullSettings(group=GROUP, start_from=FIRST, **settings)
        member = LitePullMember(instance, asked, subscriptions, made_at=1_700_000_000.0, wanted=None)
        await member.start()
        try:
            yield member
        finally:
            await member.stop(asyncio.Event())


def heartbeat_answer(request: RemotingCommand, version: int) -> RemotingCommand:
    answer = RemotingCommand.response(request)
    answer.version = version
    return answer


@virtual_time
@pytest.mark.feature("I13")
@pytest.mark.parametrize(
    ("version", "code", "flag"), [(V4_9_7, RequestCode.PULL_MESSAGE, 0), (V5_0_0, RequestCode.LITE_PULL_MESSAGE, PullSysFlag.LITE_PULL)]
)
async def test_pulls_have_a_request_of_their_own_where_brokers_know_it(version: int, code: RequestCode, flag: int) -> None:
    broker = ScriptedBroker()
    broker.peer.on(RequestCode.HEART_BEAT, lambda request, _: heartbeat_answer(request, version))
    broker.append(b"1")
    async with reading(broker) as member:
        await eventually(lambda: member.service.waiting == 1)
        last = broker.peer.of(code)[-1].command.ext_fields
        assert int(last["sysFlag"]) & PullSysFlag.LITE_PULL == flag
        assert int(last["sysFlag"]) & (PullSysFlag.SUBSCRIPTION | PullSysFlag.COMMIT_OFFSET) == PullSysFlag.SUBSCRIPTION
        assert last["subscription"] == "*"


LITE = RequestCode.LITE_PULL_MESSAGE


@virtual_time
@pytest.mark.feature("I12")
async def test_pulls_are_held_as_long_as_the_settings_say() -> None:
    cases: list[tuple[dict[str, Any], int, float]] = [
        ({}, 20_000, 30.0),
        ({"broker_suspend_max_time": 3.0, "consumer_timeout_when_suspend": 12}, 3_000, 12.0),
    ]
    for settings, held, patience in cases:
        broker = ScriptedBroker()
        broker.peer.on(LITE, lambda request, _: None)
        async with reading(broker, **settings):
            await eventually(lambda broker=broker: broker.peer.of(LITE))  # type: ignore[misc]
            began = asyncio.get_running_loop().time()
            assert broker.peer.of(LITE)[-1].command.ext_fields["suspendTimeoutMillis"] == str(held)
            await eventually(lambda broker=broker: len(broker.peer.of(LITE)) > 1, 60)  # type: ignore[misc]
            assert patience <= asyncio.get_running_loop().time() - began <= patience + 5


@virtual_time
@pytest.mark.feature("I15")
@pytest.mark.parametrize("chosen", [0, 1])
async def test_master_or_slave_is_read_as_the_user_chooses(chosen: int) -> None:
    broker = ScriptedBroker()
    slave = broker.world.make_broker("broker-a-slave:10911")
    broker.world.routes[TOPIC] = route(1, addrs={0: "broker-a:10911", 1: "broker-a-slave:10911"})
    brokers = [broker.peer, slave]
    for peer in brokers:
        peer.on(LITE, lambda request, _: None)
        peer.on(RequestCode.PULL_MESSAGE, lambda request, _: None)
    async with reading(broker, connect_broker_by_user=True, default_broker_id=chosen):
        await eventually(lambda: brokers[chosen].of(LITE) or brokers[chosen].of(RequestCode.PULL_MESSAGE))
        assert not brokers[1 - chosen].of(LITE)


@virtual_time
@pytest.mark.feature("I14")
async def test_an_offset_that_the_broker_has_not_is_replaced_by_the_one_it_names() -> None:
    broker = ScriptedBroker()
    broker.append(*[b"%d" % number for number in range(6)])
    broker.min_offset, broker.offsets[TOPIC] = 4, 1
    async with reading(broker) as member:
        await eventually(lambda: member.service.waiting == 2)
        assert [message.queue_offset for message in member.service.take(9)] == [4, 5]


@virtual_time
@pytest.mark.feature("I7")
async def test_what_is_consumed_is_saved_at_the_interval() -> None:
    broker = ScriptedBroker()
    broker.append(b"1", b"2", b"3")
    async with reading(broker, auto_commit_interval=2.0) as member:
        await eventually(lambda: member.service.waiting == 3)
        member.service.take(2)
        await asyncio.sleep(5)
        assert broker.offsets.get(TOPIC) in (None, 0), "it is held"
        member.service.settle()
        await asyncio.sleep(2.5)
        assert broker.offsets[TOPIC] == 2


@virtual_time
@pytest.mark.feature("U2", "I5")
async def test_the_time_for_which_a_queue_was_paused_is_no_time_without_progress() -> None:
    broker = ScriptedBroker()
    broker.append(b"1", b"2")
    async with reading(broker, stuck_after=60.0) as member:
        await eventually(lambda: member.service.waiting == 2)
        queues = list(member.queues.assigned.values())
        member.pause(queues)
        await asyncio.sleep(600)
        assert not member.progress.queues()[0].stuck
        member.resume_queues(queues)
        await asyncio.sleep(30)
        assert not member.progress.queues()[0].stuck, "whoever paused it has had half a minute since then"
        await asyncio.sleep(40)
        assert member.progress.queues()[0].stuck


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"auto_commit_interval": 0.5}, "auto_commit_interval"),
        ({"poll_timeout": -1}, "poll_timeout"),
        ({"pull_threshold_for_all": 0}, "pull_threshold_for_all"),
        ({"consume_max_span": 0}, "consume_max_span"),
        ({"auto_commit": 1}, "auto_commit"),
        ({"pull_batch_size": 2000}, "pull_batch_size"),
        ({"topics": 7}, "topics 7"),
        ({"topics": [7]}, "topic 7"),
        ({"topics": {"a": 7}}, "subscription 7"),
        ({"stuck_after": 0}, "stuck_after"),
        ({"on_state_change": 7}, "on_state_change"),
        ({"message_queue_listener": 7}, "message_queue_listener"),
        ({"retries": 1}, "retries"),
        ({"retries": True, "message_model": rmq.MessageModel.BROADCASTING}, "retries=True"),
        ({"max_reconsume_times": -1}, "max_reconsume_times"),
        ({"broker_suspend_max_time": 0}, "broker_suspend_max_time"),
        ({"consumer_timeout_when_suspend": 60}, "consumer_timeout_when_suspend"),
        ({"broker_suspend_max_time": 30}, "not above broker_suspend_max_time"),
    ],
)
def test_a_value_that_cannot_work_is_named(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(rmq.ConfigError, match=text):
        rmq.LitePullConsumer("a:1", group="g", **fields)


@pytest.mark.feature("I3")
async def test_calls_that_do_not_fit_say_so() -> None:
    consumer = rmq.LitePullConsumer("127.0.0.1:1", group="g", topics="t")
    with pytest.raises(rmq.ClientStateError, match="not started"):
        await consumer.poll()
    with pytest.raises(rmq.ClientStateError, match="not started"):
        await anext(consumer)
    with pytest.raises(rmq.ClientStateError, match="subscribed topics"):
        await consumer.assign([QUEUE])
    with pytest.raises(rmq.ConfigError, match="no list of queues"):
        await rmq.LitePullConsumer("a:1", group="g").assign(QUEUE)  # type: ignore[arg-type]
    with pytest.raises(rmq.ConfigError, match="no MessageQueue"):
        await rmq.LitePullConsumer("a:1", group="g").assign(["t"])  # type: ignore[list-item]
    told = rmq.LitePullConsumer("a:1", group="g")
    await told.assign([])
    with pytest.raises(rmq.ClientStateError, match="assigned queues"):
        await told.unsubscribe("t")
    await consumer.stop()
    with pytest.raises(rmq.ClientClosedError):
        await consumer.poll()
    with pytest.raises(rmq.ClientClosedError):
        await consumer.subscribe("u")
    assert [message async for message in consumer] == [], "a loop over a consumer that was stopped ends"


@pytest.mark.feature("I4", "I5", "I6", "I8")
async def test_queues_of_others_and_odd_values_are_refused() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic("t", queues=1)
        async with rmq.LitePullConsumer(cluster.name_servers, group="g", topics="t", start_from=FIRST) as consumer:
            (queue,) = consumer.assigned
            other = queue._replace(queue_id=9)
            for call in (consumer.seek(other, 0), consumer.seek_to_begin(other), consumer.commit([other]), consumer.commit({other: 1})):
                with pytest.raises(rmq.ClientStateError, match="not assigned"):
                    await call
            for plain in (consumer.pause, consumer.resume, consumer.position):
                with pytest.raises(rmq.ClientStateError, match="not assigned"):
                    plain(other)
            for odd in (
                consumer.commit(7),
                consumer.commit({queue: -1}),
                consumer.poll(0),
                consumer.poll(timeout=-1),
                consumer.seek(queue, True),
            ):  # type: ignore[arg-type]
                with pytest.raises(rmq.ConfigError):
                    await odd
            with pytest.raises(rmq.ConfigError, match="time zone"):
                import datetime

                await consumer.search_offset(queue, datetime.datetime(2026, 1, 1))
            with pytest.raises(rmq.TopicNotFoundError):
                await consumer.queues("nowhere")


@pytest.mark.feature("I4")
async def test_whoever_waits_is_woken_by_a_stop_and_by_nothing_else() -> None:
    async with LocalCluster() as cluster:
        await cluster.create_topic("t", queues=1)
        consumer = rmq.LitePullConsumer(cluster.name_servers, group="g", topics="t", start_from=FIRST)
        await consumer.start()
        waiting = asyncio.create_task(consumer.poll(timeout=60))
        await asyncio.sleep(0.05)
        with pytest.raises(rmq.ClientStateError, match="two tasks"):
            await consumer.poll(timeout=0.1)
        with pytest.raises(rmq.ClientStateError, match="two tasks"):
            await anext(consumer)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        looping = asyncio.create_task(_all(consumer))
        await asyncio.sleep(0.05)
        await consumer.stop()
        assert await asyncio.wait_for(looping, 10) == []


async def _all(consumer: rmq.LitePullConsumer) -> list[rmq.ReceivedMessage]:
    return [message async for message in consumer]


@pytest.mark.feature("I1", "I2", "I7")
async def test_nothing_is_lost_by_cancelled_polls_seeks_and_pauses() -> None:
    async with LocalCluster() as cluster, rmq.Producer(cluster.name_servers, group="p") as producer:
        await cluster.create_topic("t", queues=3)
        bodies = [b"%d" % number for number in range(600)]
        for start in range(0, 600, 50):
            await producer.send_batch([rmq.Message("t", body) for body in bodies[start : start + 50]])
        seen: dict[bytes, int] = {}
        async with rmq.LitePullConsumer(cluster.name_servers, group="g", topics="t", start_from=FIRST, pull_batch_size=7) as consumer:
            step = 0
            async with asyncio.timeout(30):
                while len(seen) < 600:
                    step += 1
                    queue = sorted(consumer.assigned)[step % 3]
                    if step % 5 == 0:
                        consumer.pause(queue)
                        consumer.resume(queue)
                    elif step % 7 == 0:
                        await consumer.seek(queue, max(0, consumer.position(queue) - 3))
                    elif step % 3 == 0:
                        poll = asyncio.create_task(consumer.poll())
                        await asyncio.sleep(0)
                        poll.cancel()
                        (result,) = await asyncio.gather(poll, return_exceptions=True)
                        for message in [] if isinstance(result, BaseException) else result:
                            seen[message.body] = seen.get(message.body, 0) + 1
                    else:
                        for message in await consumer.poll(5, timeout=1):
                            seen[message.body] = seen.get(message.body, 0) + 1
            while await consumer.poll(timeout=0.3):
                pass
            assert consumer.backlog == 0
        assert seen.keys() == set(bodies)


@pytest.mark.feature("I8")
async def test_a_commit_tells_that_the_file_of_a_broadcasting_group_cannot_be_written(tmp_path: Path) -> None:
    broadcasting = rmq.MessageModel.BROADCASTING
    async with (
        LocalCluster() as cluster,
        rmq.LitePullConsumer(
            cluster.name_servers, group="g", start_from=FIRST, message_model=broadcasting, local_offset_store_dir=tmp_path / "file"
        ) as consumer,
    ):
        await cluster.create_topic("t", queues=1)
        await consumer.subscribe("t")
        (queue,) = consumer.assigned
        (tmp_path / "file").write_bytes(b"in the way")
        with pytest.raises(rmq.ConfigError, match="cannot be saved") as caught:
            await consumer.commit({queue: 0})
        assert "local_offset_store_dir" in str(caught.value)
        (tmp_path / "file").unlink()
        await consumer.commit()
        assert await consumer.committed(queue) == 0, "it went with the next one"


@pytest.mark.feature("I1")
def test_a_run_is_not_gone_on_with_on_another_loop() -> None:
    async def begin() -> tuple[LocalCluster, rmq.LitePullConsumer]:
        cluster = LocalCluster()
        await cluster.start()
        await cluster.create_topic("t", queues=1)
        consumer = await rmq.LitePullConsumer(cluster.name_servers, group="g", topics="t", start_from=FIRST).start()
        async with rmq.Producer(cluster.name_servers, group="p") as producer:
            for number in range(5):
                await producer.send(rmq.Message("t", b"%d" % number))
        await eventually(lambda: consumer.backlog == 5)
        assert (await anext(consumer)).body == b"0"
        return cluster, consumer

    async def other(consumer: rmq.LitePullConsumer) -> None:
        for _ in range(2):
            with pytest.raises(rmq.ClientStateError, match="another event loop"):
                await anext(consumer)

    async def end(cluster: LocalCluster, consumer: rmq.LitePullConsumer) -> None:
        assert (await anext(consumer)).body == b"1", "nothing was lost by it"
        await consumer.stop()
        await cluster.stop()

    with asyncio.Runner() as first:
        cluster, consumer = first.run(begin())
        with asyncio.Runner() as second:
            second.run(other(consumer))
        first.run(end(cluster, consumer))
