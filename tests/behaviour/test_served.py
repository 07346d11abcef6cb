"""What operators ask of a running consumer through its broker: where it is, what it looks like inside, and to consume one message now."""

from __future__ import annotations

import asyncio
import time

import pytest

import aiorocketmq as rmq
from aiorocketmq.protocol.bodies import ConsumeMessageDirectlyResult, ConsumerRunningInfo, GetConsumerStatusBody
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_client import (
    ConsumeMessageDirectlyResultRequestHeader,
    GetConsumerRunningInfoRequestHeader,
    GetConsumerStatusRequestHeader,
)
from tests.support import raw_remoting
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic, numbered, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST


async def ask(cluster: Cluster, code: int, header: RpcHeader) -> bytes:
    """Ask the broker, as an operator's tool does."""
    return await asyncio.to_thread(raw_remoting.invoke, cluster.broker_address, int(code), header.to_ext())


async def running_info(cluster: Cluster, consumer: rmq.PushConsumer | rmq.LitePullConsumer) -> ConsumerRunningInfo:
    header = GetConsumerRunningInfoRequestHeader(consumer.group, consumer.client_id, True)
    return ConsumerRunningInfo.decode(await ask(cluster, RequestCode.GET_CONSUMER_RUNNING_INFO, header))


@pytest.mark.feature("F41", "N6")
@pytest.mark.parametrize("ordered", [False, True], ids=["concurrent", "ordered"])
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_message_is_consumed_now_and_its_result_told(cluster: Cluster, kind: str, ordered: bool) -> None:
    topic, group, inbox = await new_topic(cluster, "direct", 1), cluster.unique("g"), Inbox()
    answers: list[rmq.ConsumeResult | rmq.Retry | rmq.Suspend | None] = []
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, ordered=ordered, start_from=FIRST)

    def take(message: rmq.ReceivedMessage) -> rmq.ConsumeResult | rmq.Retry | rmq.Suspend | None:
        inbox.take(message)
        if message.tag == "bad" and len(inbox) > 2:
            raise ValueError("no such order")
        return answers.pop() if answers else None

    async def take_async(message: rmq.ReceivedMessage) -> rmq.ConsumeResult | rmq.Retry | rmq.Suspend | None:
        return take(message)

    await consumer.subscribe(topic, take if kind == "plain" else take_async)
    async with cluster.producer() as producer, consumer:
        sent = [await producer.send(rmq.Message(topic, b"large" * 2000, tag=tag, keys=["k"])) for tag in ("good", "bad")]
        await inbox.has(2)
        await eventually(lambda: consumer.backlog == 0)
        before = consumer.offsets(topic)

        async def consume(number: int) -> ConsumeMessageDirectlyResult:
            header = ConsumeMessageDirectlyResultRequestHeader(group, consumer.client_id, sent[number].offset_message_id, topic=topic)
            return ConsumeMessageDirectlyResult.decode(await ask(cluster, RequestCode.CONSUME_MESSAGE_DIRECTLY, header))

        for answer, result in [
            (None, "CR_SUCCESS"),
            (rmq.Retry(), "CR_LATER"),
            *([(rmq.ConsumeResult.COMMIT, "CR_COMMIT"), (rmq.ConsumeResult.ROLLBACK, "CR_ROLLBACK")] if ordered else []),
        ]:
            answers[:] = [answer]
            told = await consume(0)
            assert (told.consume_result, told.order, told.auto_commit, told.remark) == (result, ordered, True, None)
        told = await consume(1)
        assert told.consume_result == "CR_THROW_EXCEPTION" and "ValueError: no such order" in (told.remark or "")
        last = inbox.messages[-1]
        assert (last.body, last.tag, last.keys, last.queue_offset) == (b"large" * 2000, "bad", ("k",), 1)
        assert last.queue == rmq.MessageQueue(topic, cluster.broker_name, 0)
        assert consumer.offsets(topic) == before
        with pytest.raises(raw_remoting.RawAnswerError, match="not online"):
            header = ConsumeMessageDirectlyResultRequestHeader(group, "nobody", sent[0].offset_message_id, topic=topic)
            await ask(cluster, RequestCode.CONSUME_MESSAGE_DIRECTLY, header)


@pytest.mark.feature("F39", "N4")
async def test_offsets_of_all_members_or_of_one_are_told(cluster: Cluster) -> None:
    topic, group, inbox = await new_topic(cluster, "status", 1), cluster.unique("g"), Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST)
    consumer.listen(topic)(inbox.take)
    async with cluster.producer() as producer, consumer:
        await send(producer, topic, numbered(5))
        await inbox.has(5)
        await eventually(lambda: consumer.backlog == 0)
        for client, told in ((None, True), (consumer.client_id, True), ("nobody", False)):
            header = GetConsumerStatusRequestHeader(topic=topic, group=group, client_addr=client)
            body = GetConsumerStatusBody.decode(await ask(cluster, RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS, header))
            expected = {consumer.client_id: {rmq.MessageQueue(topic, cluster.broker_name, 0): 5}} if told else {}
            assert body.consumer_table == expected


@pytest.mark.feature("F40", "F43", "N5")
async def test_inner_state_is_told_with_the_words_of_the_program_and_what_its_tasks_wait_for(cluster: Cluster) -> None:
    topic, group, inbox = await new_topic(cluster, "info", 1), cluster.unique("g"), Inbox()
    pushing = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST, ordered=True)
    pushing.user_info["release"] = "2.1"
    gate = asyncio.Event()

    async def wait_for_the_bank() -> None:
        await gate.wait()

    @pushing.listen(topic, batch=8)
    async def handle(messages: list[rmq.ReceivedMessage]) -> None:
        inbox.take(messages)
        if inbox.bodies[-1] == b"slow":
            await wait_for_the_bank()

    polling = rmq.LitePullConsumer(cluster.name_servers, group=cluster.unique("lite"), topics=[topic], start_from=FIRST)
    async with cluster.producer() as producer, pushing, polling:
        await send(producer, topic, numbered(5))
        await inbox.has(5)
        assert len(await polling.poll()) > 0
        await send(producer, topic, [b"slow"])
        await inbox.has(6)
        info = await running_info(cluster, pushing)
        assert info.user_consumer_info == {"release": "2.1"}
        own = {
            "consumerGroup": group,
            "PROP_CONSUMEORDERLY": "true",
            "consumeMessageBatchMaxSize": "8",
            "PROP_CONSUME_TYPE": "CONSUME_PASSIVELY",
        }
        assert own.items() <= info.properties.items()
        assert {data.topic for data in info.subscription_set} == {topic, f"%RETRY%{group}"} == info.status_table.keys()
        queue = rmq.MessageQueue(topic, cluster.broker_name, 0)
        assert info.mq_table[queue].locked and info.mq_table[queue].last_lock_timestamp > 0
        assert info.jstack is not None
        for part in ("thread MainThread", f"task consumer {group}:consume", "in handle", "in wait_for_the_bank", "await gate.wait()"):
            assert part in info.jstack
        gate.set()

        info = await running_info(cluster, polling)
        own = {"consumerGroup": polling.group, "autoCommit": "true", "PROP_CONSUME_TYPE": "CONSUME_ACTIVELY", "language": "PYTHON"}
        assert own.items() <= info.properties.items()
        assert queue in info.mq_table
        with pytest.raises(raw_remoting.RawAnswerError, match="has no listeners"):
            result = await producer.send(rmq.Message(topic, b"x"))
            header = ConsumeMessageDirectlyResultRequestHeader(polling.group, polling.client_id, result.offset_message_id, topic=topic)
            await ask(cluster, RequestCode.CONSUME_MESSAGE_DIRECTLY, header)


@pytest.mark.feature("F46")
async def test_age_of_what_a_group_has_to_consume_is_told(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "ages", 2), cluster.unique("g")
    inbox, gate = Inbox(), asyncio.Event()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST, concurrency=1)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)
        if message.body == b"slow":
            await gate.wait()

    async with cluster.producer() as producer, consumer:
        used, empty = (rmq.MessageQueue(topic, cluster.broker_name, number) for number in (0, 1))
        assert await consumer.queues(topic) == (used, empty)
        began = time.time()
        await send(producer, topic, [b"quick", b"slow", b"behind"], queue=used)
        await eventually(lambda: consumer.backlog == 2 and len(inbox) == 2)
        assert (await consumer.lag())[used] == 2
        assert consumer.instance is not None
        await consumer.instance.clients.consumers[group].persist_offsets()

        async def told() -> rmq.QueueTimeSpan | None:
            spans = await consumer.time_spans(topic)
            assert spans.keys() == {used, empty}
            # A broker that has not placed what was just sent counts from 1970.
            return spans[used] if 0 < spans[used].delay < 86_400 else None

        span = await eventually(told, message="a delay")
        assert span is not None and span.first_stored_at is not None and span.last_stored_at is not None and span.consumed_at is not None
        assert began - 1 < span.first_stored_at.timestamp() <= span.consumed_at.timestamp() <= span.last_stored_at.timestamp()
        assert span.delay <= time.time() - began + 1
        gate.set()
        await inbox.has(3)
        with pytest.raises(rmq.TopicNotFoundError):
            await consumer.time_spans(cluster.unique("nowhere"))
