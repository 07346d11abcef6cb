"""Messages that fail: they come again, end in the dead-letter topic, and are never lost."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import aiorocketmq as rmq
from aiorocketmq.config import ClientConfig
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.model.properties import encode_properties
from aiorocketmq.protocol.bodies import decode_topic_route
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import GetRouteInfoRequestHeader, SendMessageRequestHeaderV2
from aiorocketmq.remoting.client import RemotingClient
from tests.behaviour.stored import stored
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic, numbered, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST
SOON = rmq.Retry(delay_level=1)


@pytest.mark.feature("F1", "F23", "F24", "F26")
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_failed_message_comes_again_with_its_topic_and_count(cluster: Cluster, kind: str) -> None:
    topic = await new_topic(cluster, "retry", 1)
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    def answer(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        inbox.take(message)
        return SOON if message.reconsume_times < 2 and message.body == b"bad" else None

    async def answer_async(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        return answer(message)

    consumer.listen(topic)(answer_async if kind == "async" else answer)
    async with cluster.producer() as producer, consumer:
        await send(producer, topic, [b"bad", b"good"], tag="T")
        await eventually(lambda: inbox.counts == {b"bad": 3, b"good": 1}, 40)
        await eventually(lambda: consumer.backlog == 0)
    tries = [message for message in inbox.messages if message.body == b"bad"]
    assert [message.reconsume_times for message in tries] == [0, 1, 2]
    assert {message.topic for message in tries} == {topic}
    assert {message.tag for message in tries} == {"T"}
    assert len({message.message_id for message in tries}) == 1


@pytest.mark.feature("F23", "F24")
async def test_message_that_always_fails_ends_in_the_dead_letter_topic(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "dead", 1)
    group = cluster.unique("g")
    inbox, dead = Inbox(), Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST, max_reconsume_times=1)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry:
        inbox.take(message)
        return SOON

    undertaker = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("u"), start_from=FIRST)
    undertaker.listen(f"%DLQ%{group}")(dead.take)
    async with cluster.producer() as producer, consumer:
        await send(producer, topic, [b"poison"])
        await inbox.has(2, 40)
        await eventually(lambda: consumer.backlog == 0)
        async with undertaker:
            await dead.has(1, 40)
    assert [message.reconsume_times for message in inbox.messages] == [0, 1]
    assert dead.bodies == [b"poison"]
    assert dead.messages[0].properties["RETRY_TOPIC"] == topic


@pytest.mark.feature("F24", "F29")
@pytest.mark.parametrize("kind", ["concurrent", "ordered", "at once"])
async def test_dead_letter_says_where_it_came_from_how_often_it_failed_and_can_be_sent_again(
    cluster: Cluster, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic, group = await new_topic(cluster, "letter", 1), cluster.unique("g")
    calls = 0
    healed: list[rmq.ReceivedMessage] = []
    consumer = rmq.PushConsumer(
        cluster.name_servers,
        group=group,
        start_from=FIRST,
        max_reconsume_times=2,
        ordered=kind == "ordered",
        suspend_current_queue_time=0.1,
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        nonlocal calls
        if message.user_properties.get("healed"):
            healed.append(message)
            return None
        calls += 1
        return rmq.Retry(delay_level=-1) if kind == "at once" else SOON

    sent = rmq.Message(topic, b"letter" * 1000, tag="T", keys=["a", "b"], properties={"x": "y"}, flag=7, sharding_key="s")
    async with cluster.producer() as producer, consumer:
        await producer.send(sent)
        (dead,) = await stored(cluster, f"%DLQ%{group}", 1, timeout=60)
        failures = 1 if kind == "at once" else 3
        assert (calls, dead.reconsume_times) == (failures, failures)
        assert dead.origin_topic == topic
        assert dead.to_message() == sent
        again = dead.to_message(properties={**dead.user_properties, "healed": "yes"})
        await producer.send(again)
        await eventually(lambda: healed, 40)
    moves = [record for record in caplog.records if "is in the dead-letter topic" in record.getMessage()]
    assert [record.levelname for record in moves] == ["WARNING"]
    assert f"has failed {failures} time(s) and is in the dead-letter topic %DLQ%{group} now" in moves[0].getMessage()
    assert (healed[0].body, healed[0].origin_topic, healed[0].keys) == (sent.body, topic, ("a", "b"))


@pytest.mark.feature("F26")
async def test_message_can_be_sent_to_the_dead_letter_topic_at_once(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "bury", 1)
    group = cluster.unique("g")
    inbox, dead = Inbox(), Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry:
        inbox.take(message)
        return rmq.Retry(delay_level=-1)

    undertaker = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("u"), start_from=FIRST)
    undertaker.listen(f"%DLQ%{group}")(dead.take)
    async with cluster.producer() as producer, consumer, undertaker:
        await send(producer, topic, [b"hopeless"])
        await dead.has(1, 40)
    assert inbox.bodies == [b"hopeless"]


@pytest.mark.feature("F25", "K16")
async def test_message_that_the_broker_does_not_take_back_is_sent_to_the_retry_topic(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "fallback", 1)
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        inbox.take(message)
        if message.reconsume_times:
            return None
        message.commit_log_offset = 1 << 50  # nothing is there: the broker cannot find what it is asked to take back
        return SOON

    async with cluster.producer() as producer, consumer:
        await producer.send(rmq.Message(topic, "grüße".encode(), tag="T", keys="k", properties={"a": "b"}))
        await inbox.has(2, 40)
        await eventually(lambda: consumer.backlog == 0)
    first, second = inbox.messages
    assert (first.reconsume_times, second.reconsume_times) == (0, 1)
    assert second.topic == topic
    assert (second.body, second.tag, second.keys, second.properties["a"]) == (first.body, "T", ("k",), "b")
    assert second.message_id == first.message_id


@pytest.mark.feature("F23", "F25")
async def test_message_that_the_broker_never_takes_back_has_as_many_tries_as_any_other(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "as_many", 1), cluster.unique("g")
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST, max_reconsume_times=1)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry:
        inbox.take(message)
        message.commit_log_offset = 1 << 50  # nothing is there: the broker cannot find what it is asked to take back
        return SOON

    async with cluster.producer() as producer, consumer:
        await producer.send(rmq.Message(topic, b"x"))
        (dead,) = await stored(cluster, f"%DLQ%{group}", 1, timeout=60)
    assert [message.reconsume_times for message in inbox.messages] == [0, 1]
    assert (dead.reconsume_times, dead.origin_topic) == (2, topic)


@pytest.mark.feature("F26", "F7")
async def test_part_of_a_batch_can_be_acknowledged(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "part", 1)
    calls: list[list[tuple[bytes, int]]] = []
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.listen(topic, batch=8)
    async def handle(messages: list[rmq.ReceivedMessage]) -> rmq.Retry | None:
        calls.append([(message.body, message.reconsume_times) for message in messages])
        return rmq.Retry(delay_level=1, acknowledged=3) if messages[0].reconsume_times == 0 and len(messages) == 5 else None

    async with cluster.producer() as producer:
        await producer.send_batch([rmq.Message(topic, body) for body in numbered(5)])
        async with consumer:
            await eventually(lambda: sum(map(len, calls)) == 7, 40)
            await eventually(lambda: consumer.backlog == 0)
    assert [body for body, _ in calls[0]] == numbered(5)
    assert sorted(item for call in calls[1:] for item in call) == [(b"3", 1), (b"4", 1)]


@pytest.mark.feature("F26", "F7")
async def test_each_message_of_a_batch_gets_its_own_answer(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "each", 1)
    calls: list[list[tuple[bytes, int]]] = []
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    async def one(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        return rmq.Retry(delay_level=1) if message.body in (b"1", b"3") and message.reconsume_times == 0 else None

    @consumer.listen(topic, batch=8)
    async def handle(messages: list[rmq.ReceivedMessage]) -> list[rmq.Retry | BaseException | None]:
        calls.append([(message.body, message.reconsume_times) for message in messages])
        return await asyncio.gather(*map(one, messages), return_exceptions=True)

    async with cluster.producer() as producer:
        await producer.send_batch([rmq.Message(topic, body) for body in numbered(5)])
        async with consumer:
            await eventually(lambda: sum(map(len, calls)) == 7, 40)
            await eventually(lambda: consumer.backlog == 0)
    assert [body for body, _ in calls[0]] == numbered(5)
    assert sorted(item for call in calls[1:] for item in call) == [(b"1", 1), (b"3", 1)]


@pytest.mark.feature("F1")
async def test_raising_does_not_stop_the_consumer_and_nonsense_is_consumed(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    topic = await new_topic(cluster, "bad", 1)
    failed: set[bytes] = set()
    inbox = Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> object:
        if message.body not in failed:
            failed.add(message.body)
            if message.body == b"raise":
                raise LookupError("no such order")
            if message.body == b"cancel":
                await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0.01)
            if message.body == b"true":
                inbox.take(message)
                return True  # means nothing: consumed, and said in the log
            if message.body == b"suspend":
                return rmq.Suspend(1.0)
        inbox.take(message)
        return None

    bodies = [b"raise", b"cancel", b"true", b"suspend", b"fine"]
    async with cluster.producer() as producer, consumer:
        await send(producer, topic, bodies)
        # The broker chooses the delay of these: 10 s for the first retry.
        await eventually(lambda: set(inbox.bodies) == set(bodies), 45)
        await eventually(lambda: consumer.backlog == 0)
    assert inbox.counts == dict.fromkeys(bodies, 1)
    assert "no such order" in caplog.text
    assert "returned True" in caplog.text


@pytest.mark.feature("F28")
async def test_message_of_a_listener_that_hangs_comes_again(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "hang", 1)
    inbox = Inbox()
    release = threading.Event()
    consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=FIRST, consume_timeout=0.5)

    @consumer.listen(topic)
    def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)
        if message.body == b"hangs" and message.reconsume_times == 0:
            release.wait(60)

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, [b"hangs", b"next"])
        try:
            # It leaves the queue, so that the offset moves on behind it, and comes again after 10 s.
            await eventually(lambda: len(inbox) == 2 and consumer.backlog == 0)
            await eventually(lambda: inbox.counts[b"hangs"] == 2, 45)
        finally:
            release.set()
    assert inbox.counts == {b"hangs": 2, b"next": 1}


@pytest.mark.feature("F49", "F4")
async def test_broadcasting_drops_failed_messages(cluster: Cluster, tmp_path, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    topic = await new_topic(cluster, "drop", 1)
    inbox = Inbox()
    consumer = rmq.PushConsumer(
        cluster.name_servers,
        group=cluster.unique("g"),
        start_from=FIRST,
        message_model=rmq.MessageModel.BROADCASTING,
        local_offset_store_dir=tmp_path,
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)
        if message.body == b"0":
            raise ValueError("drop me")

    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(3))
        await inbox.has(3)
        await eventually(lambda: consumer.backlog == 0)
    assert inbox.counts == dict.fromkeys(numbered(3), 1)
    assert "is dropped" in caplog.text


@pytest.mark.feature("F24", "F29")
@pytest.mark.parametrize("ordered", [False, True])
async def test_message_without_room_for_what_brokers_add_becomes_a_dead_letter(cluster: Cluster, ordered: bool) -> None:
    """Other clients send such messages: no broker stores them a second time, with the properties that a retry adds."""
    topic, group = await new_topic(cluster, "full", 1), cluster.unique("g")
    inbox = Inbox()
    consumer = rmq.PushConsumer(
        cluster.name_servers, group=group, start_from=FIRST, max_reconsume_times=0, ordered=ordered, suspend_current_queue_time=0.1
    )

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        inbox.take(message)
        return None if message.body == b"after" else rmq.Retry()

    async with cluster.producer() as producer:
        await store_full(cluster, topic)
        await send(producer, topic, [b"after"])
        async with consumer:
            await inbox.has(2, 60)
            await eventually(lambda: consumer.backlog == 0, 30)
            dead = await stored(cluster, f"%DLQ%{group}", 1)
    assert [message.body for message in dead] == [b"full"]
    assert dead[0].properties["small"] == "kept", "the longest ones are left out where nothing else helps"


async def store_full(cluster: Cluster, topic: str) -> None:
    """What another client may send: properties that just fit into a message."""
    client = RemotingClient(ClientConfig(name_servers=cluster.name_servers))
    await client.start()
    try:
        query = RemotingCommand.request(
            RequestCode.GET_ROUTEINFO_BY_TOPIC, GetRouteInfoRequestHeader(topic, accept_standard_json_only=True)
        )
        route = decode_topic_route((await client.invoke(None, query, 10.0)).body)
        header = SendMessageRequestHeaderV2(
            producer_group="others", topic=topic, default_topic="TBW102", default_topic_queue_nums=4, queue_id=0, sys_flag=0,
            born_timestamp=epoch_ms(time.time), flag=0, properties=encode_properties({"small": "kept", "large": "v" * 32590}),
            reconsume_times=0, unit_mode=False, batch=False,
        )  # fmt: skip
        address = route.broker_datas[0].broker_addrs[0]
        answer = await client.invoke(address, RemotingCommand.request(RequestCode.SEND_MESSAGE_V2, header, b"full"), 10.0)
        assert answer.code == ResponseCode.SUCCESS, answer.remark
    finally:
        await client.close()
