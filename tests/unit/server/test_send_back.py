"""Retries and dead letters (protocol.md 6.6, 6.2 step 6)."""

from __future__ import annotations

import pytest

from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies import SubscriptionGroupConfig, TopicConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import ConsumerSendMsgBackRequestHeader, SendMessageRequestHeader
from aiorocketmq.protocol.message_codec import BatchItem, decode_message
from tests.support.records import encode_batch
from tests.unit.server.harness import BrokerBench, settle

GROUP = "workers"
RETRY, DLQ = f"%RETRY%{GROUP}", f"%DLQ%{GROUP}"


async def stored_at(bench: BrokerBench, properties: str = "TAGS\x01A\x02UNIQ_KEY\x01ID\x02") -> int:
    bench.state.groups.find(GROUP)
    answer = await bench.send("t", b"body", properties=properties)
    return OffsetMessageId.decode(answer.ext_fields["msgId"]).offset


async def send_back(bench: BrokerBench, offset: int, level: int = 0, **fields: int | None) -> RemotingCommand:
    header = ConsumerSendMsgBackRequestHeader(offset, GROUP, level, **fields)  # type: ignore[arg-type]
    return await bench.ask(RequestCode.CONSUMER_SEND_MSG_BACK, header)


def newest(bench: BrokerBench, topic: str, queue_id: int = 0):  # type: ignore[no-untyped-def]
    queue = bench.state.store.queue(topic, queue_id)
    assert queue is not None
    return decode_message(bench.state.store.read(queue, queue.next_offset - 1, 1)[0].record, broker_name="", max_body=0)


async def deliver_all(bench: BrokerBench) -> None:
    bench.clock.advance(8000)
    bench.schedule._run()
    await settle()


async def test_each_failure_waits_longer(bench: BrokerBench) -> None:
    bench.schedule.start()
    offset = await stored_at(bench)
    first_id = bench.state.message_id(offset)
    for times, level in enumerate((3, 4, 5)):
        assert (await send_back(bench, offset)).code == 0
        assert bench.state.store.bounds("SCHEDULE_TOPIC_XXXX", level - 1)[1] == 1, f"failure {times} waits at level {level}"
        await deliver_all(bench)
        message = newest(bench, RETRY)
        assert message.reconsume_times == times + 1
        assert (message.properties["RETRY_TOPIC"], message.properties["ORIGIN_MESSAGE_ID"]) == ("t", first_id)
        assert (message.stored_body, message.properties["UNIQ_KEY"], message.properties["TAGS"]) == (b"body", "ID", "A")
        offset = message.commit_log_offset


async def test_the_consumer_may_choose_the_level(bench: BrokerBench) -> None:
    offset = await stored_at(bench)
    await send_back(bench, offset, 1)
    assert bench.state.store.bounds("SCHEDULE_TOPIC_XXXX", 0) == (0, 1)


@pytest.mark.parametrize(("level", "most"), [(-1, 16), (0, 0)], ids=["asked for", "too often"])
async def test_dead_letters(bench: BrokerBench, level: int, most: int) -> None:
    offset = await stored_at(bench)
    assert (await send_back(bench, offset, level, max_reconsume_times=most)).code == 0
    message = newest(bench, DLQ)
    assert (message.stored_body, message.properties["DELAY"], message.properties["RETRY_TOPIC"]) == (b"body", "0", "t")
    topic = bench.state.topics.require(DLQ)
    assert (topic.write_queue_nums, topic.perm) == (1, 6)


async def test_the_groups_own_limit_counts_without_the_clients(bench: BrokerBench) -> None:
    offset = await stored_at(bench)
    bench.state.groups.put(SubscriptionGroupConfig(GROUP, retry_max_times=0))
    await send_back(bench, offset)
    assert newest(bench, DLQ).stored_body == b"body"


async def test_a_retried_timer_message_does_not_wait_for_its_first_delay_again(bench: BrokerBench) -> None:
    bench.schedule.start()
    await stored_at(bench, "TIMER_DELAY_SEC\x01100\x02UNIQ_KEY\x01ID\x02")
    await deliver_all(bench)
    offset = newest(bench, "t").commit_log_offset
    await send_back(bench, offset, -1)
    assert newest(bench, DLQ).stored_body == b"body"


async def test_refusals(bench: BrokerBench) -> None:
    bench.state.config.auto_create_groups = False
    header = ConsumerSendMsgBackRequestHeader(0, "nobody", 0)
    assert (await bench.ask(RequestCode.CONSUMER_SEND_MSG_BACK, header)).code == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST
    bench.state.config.auto_create_groups = True
    offset = await stored_at(bench)
    assert (await send_back(bench, offset + 1)).code == ResponseCode.SYSTEM_ERROR
    bench.state.groups.put(SubscriptionGroupConfig(GROUP, retry_queue_nums=0))
    assert (await send_back(bench, offset)).code == 0
    bench.state.groups.put(SubscriptionGroupConfig(GROUP))
    bench.state.topics.put(TopicConfig(RETRY, 1, 1, perm=4))
    answer = await send_back(bench, offset)
    assert (answer.code, answer.remark) == (ResponseCode.NO_PERMISSION, f"the topic[{RETRY}] sending message is forbidden")
    bench.state.topics.put(TopicConfig(RETRY, 1, 1))
    bench.state.perm = 4
    assert (await send_back(bench, offset)).code == ResponseCode.NO_PERMISSION
    await settle()
    assert bench.state.store.queue(DLQ, 0) is None


@pytest.mark.parametrize(("times", "dead"), [(3, False), (4, True)])
async def test_retries_that_clients_send_themselves(bench: BrokerBench, times: int, dead: bool) -> None:
    bench.state.groups.find(GROUP)
    answer = await bench.send(RETRY, b"again", reconsume_times=times, max_reconsume_times=3, default_topic_queue_nums=1)
    assert answer.code == 0
    assert (bench.state.store.queue(DLQ, 0) is not None) is dead
    if dead:
        assert newest(bench, DLQ).properties["DELAY"] == "-1"


async def test_an_empty_message_is_not_given_back(bench: BrokerBench) -> None:
    header = SendMessageRequestHeader("p", "t", "TBW102", 4, 0, 0, 1, 0, "", reconsume_times=0, batch=True).to_v2()
    stored = await bench.ask(RequestCode.SEND_BATCH_MESSAGE, header, encode_batch([BatchItem(0, b"", b"")]))
    answer = await send_back(bench, OffsetMessageId.decode(stored.ext_fields["msgId"]).offset)
    assert (answer.code, answer.remark) == (ResponseCode.SYSTEM_ERROR, "MESSAGE_ILLEGAL")


async def test_the_answer_for_a_dead_message_names_the_queue_that_was_asked_for(bench: BrokerBench) -> None:
    bench.state.topics.put(TopicConfig(RETRY, 2, 2))
    bench.state.groups.find(GROUP)
    answer = await bench.send(RETRY, b"again", queue_id=1, reconsume_times=4, max_reconsume_times=3)
    assert (answer.code, answer.ext_fields["queueId"], newest(bench, DLQ).queue.queue_id) == (0, "1", 0)


async def test_retries_of_an_ordered_group_are_dead_letters_at_once(bench: BrokerBench) -> None:
    bench.state.groups.find(GROUP)
    bench.state.locks.lock(GROUP, "client", [MessageQueue("t", "broker-a", 0)])
    await bench.send(RETRY, b"again", reconsume_times=1, max_reconsume_times=16)
    assert newest(bench, DLQ).stored_body == b"again"
    bench.clock.advance(61)
    await bench.send(RETRY, b"later", reconsume_times=1, max_reconsume_times=16)
    assert newest(bench, RETRY).stored_body == b"later"
