"""Times and offsets: how old the messages are that a group works on, and going to what was stored at a time. Features F38, F46.

Java: `DefaultMQPushConsumerImpl.queryConsumeTimeSpan`, `resetOffsetByTimeStamp`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from aiorocketmq.consumer.saving import by_broker
from aiorocketmq.model.parsing import time_or_none
from aiorocketmq.model.progress import QueueTimeSpan
from aiorocketmq.protocol.bodies_admin import QueryConsumeTimeSpanBody
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_admin import QueryConsumeTimeSpanRequestHeader

if TYPE_CHECKING:
    from datetime import datetime

    from aiorocketmq.consumer.member import GroupMember
    from aiorocketmq.model.queue import MessageQueue

SAVED_WITHIN: Final = 3.0
"""Seconds that whoever goes to a time waits until that is saved; a broker that takes longer holds nobody up."""


async def time_spans_of(member: GroupMember, topic: str, queues: Collection[MessageQueue]) -> dict[MessageQueue, QueueTimeSpan]:
    """Ask the brokers of a topic, all at the same time.

    Args:
        member: Who asks, for its own group.
        topic: The topic.
        queues: Its queues.

    Raises:
        RocketMQError: A broker refused, or could not be reached.
    """
    api, names = member.instance.broker_api, member.instance.config.names

    async def of_broker(queue: MessageQueue) -> dict[MessageQueue, QueueTimeSpan]:
        header = QueryConsumeTimeSpanRequestHeader(topic=topic, group=member.group)
        answer = await api.call(await member.master_of(queue), RequestCode.QUERY_CONSUME_TIME_SPAN, header)
        told = QueryConsumeTimeSpanBody.decode(answer.body).consume_time_span_set
        return {
            names.unwrap_queue(each.message_queue): QueueTimeSpan(
                _moment(each.min_time_stamp),
                _moment(each.max_time_stamp),
                _moment(each.consume_time_stamp),
                max(0, each.delay_time) / 1000,
            )
            for each in told
        }

    works = {broker: of_broker(own[0]) for broker, own in by_broker(queues, member.instance.routes.broker_of).items()}
    spans: dict[MessageQueue, QueueTimeSpan] = {}
    for outcome in (await member.scheduler.gather("time spans", works)).values():
        if isinstance(outcome, Exception):
            raise outcome
        spans |= outcome
    return dict(sorted(spans.items()))


async def go_to_time(member: GroupMember, timestamp: int, topics: Collection[str], *, wait: bool) -> dict[MessageQueue, int]:
    """Go on with what was stored at a time or later, in the owned queues of some topics; gives back where each goes on.

    Args:
        member: The consumer.
        timestamp: Milliseconds since the epoch.
        topics: The topics.
        wait: Wait until it is saved; not for a listener, whose end that may wait for.

    Raises:
        RocketMQError: A broker cannot tell where; nothing is changed then.
    """

    async def offset_of(queue: MessageQueue) -> int:
        return await member.instance.broker_api.search_offset(await member.master_of(queue), queue, timestamp)

    owned = member.queues.assigned
    wanted = [queue for queue in owned if queue.topic in topics]
    found = await member.saver.of_each("offsets", wanted, offset_of)
    offsets = {queue: offset for queue, offset in found.items() if queue in owned}
    tasks = member.begin_anew(offsets)
    if tasks and wait:
        await asyncio.wait(tasks, timeout=SAVED_WITHIN)
    return offsets


def _moment(milliseconds: int) -> datetime | None:
    return time_or_none(milliseconds) if milliseconds > 0 else None
