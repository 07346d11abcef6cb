"""Messages read from single queues, and found by their keys and ids, without a consumer group (Java: `MQAdminImpl.queryMessage`,
`viewMessage`, `queryMessageByUniqKey`, and the pulls of `mqadmin printMsg`). Feature Q26.

Brokers look keys and ids up in one index, where hashes may collide: what is no match is left out here. The mark of a query by id is never
sent: all that brokers take from it is a limit, which is given anyway, and those up to 4.9.3 sign requests without it, later ones with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from aiorocketmq.admin.kernel import Family, check_queue
from aiorocketmq.admin.operation import Operation, Where
from aiorocketmq.admin.results.messages import QueueRead
from aiorocketmq.client.broker_api import PULL_CODES
from aiorocketmq.errors import BrokerError, ConfigError, ProtocolError, QueryNotFoundError
from aiorocketmq.model.checks import duration, milliseconds, whole
from aiorocketmq.model.filters import SQL, build_subscription
from aiorocketmq.model.names import LMQ_PREFIX, TOOLS_CONSUMER_GROUP, check_topic
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.model.parsing import INT64_MAX
from aiorocketmq.model.properties import UNIQ_KEY
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.headers_client import (
    PullMessageRequestHeader,
    PullMessageResponseHeader,
    QueryMessageRequestHeader,
    ViewMessageRequestHeader,
)
from aiorocketmq.protocol.message_codec import decode_messages
from aiorocketmq.protocol.sysflag import PullSysFlag

_LATE_ANSWER: Final = 15.0
"""Seconds that a broker's answer to a held read may be late: it looks at its held requests every 5 s."""
_KEY: Final = "K"
_UNIQUE_ID: Final = "U"
_MAX_FOUND: Final = 1024
_MAX_OF_ID: Final = 32
"""Messages of one id at most: a send that was tried again is stored more than once."""
_NOT_THERE: Final = "can not find message"

_QUERY: Final = Operation(
    "query of topic",
    RequestCode.QUERY_MESSAGE,
    Where.HOLDERS,
    lambda response: (response.code == ResponseCode.SUCCESS, response.body),
    accept=frozenset({int(ResponseCode.SUCCESS), int(ResponseCode.QUERY_NOT_FOUND)}),
)
_VIEW: Final = Operation("view a message", RequestCode.VIEW_MESSAGE_BY_ID, Where.HOLDERS, lambda response: response.body)
_READ: Final = Operation("read a queue", RequestCode.PULL_MESSAGE, Where.QUEUE, lambda response: response, accept=frozenset(PULL_CODES))


class Messages(Family):
    """What an admin client reads and finds."""

    async def read(
        self, queue: MessageQueue, offset: int, *, count: int = 32, expression: str | SQL = "*", wait: float | timedelta = 0.0
    ) -> QueueRead:
        """Read messages of a queue without a group: nobody's offsets move (11).

        Args:
            queue: The queue; queue 0 of the topic `%LMQ%name` on a broker is its light queue of that name.
            offset: First offset wanted; one that does not exist any more, or not yet, gives an empty result whose `next_offset` does.
            count: Messages at most, 1 to 32 (brokers give no more).
            expression: `*`, tags joined by `||`, or `SQL(...)`.
            wait: Seconds that the broker may wait for a message when there is none.

        Raises:
            ConfigError: A number is out of range.
            RocketMQError: The queue's broker is unknown, did not answer, or answered with an error.

        Cancelling it is safe.
        """
        check_queue(queue)
        whole("offset", offset, 0, INT64_MAX)
        whole("count", count, 1, 32)
        wait = duration("wait", wait, 0, 60)
        subscription = build_subscription(queue.topic, expression, 0)
        header = PullMessageRequestHeader(
            consumer_group=TOOLS_CONSUMER_GROUP,
            topic=queue.topic,
            queue_id=queue.queue_id,
            queue_offset=offset,
            max_msg_nums=count,
            sys_flag=PullSysFlag.build(suspend=wait > 0, subscription=True),
            commit_offset=0,
            suspend_timeout_millis=round(wait * 1000),
            sub_version=0,
            subscription=subscription.expression,
            expression_type=subscription.expression_type,
            bname=queue.broker_name,
        )
        kernel = self._kernel
        timeout = kernel.calls.default_timeout + (wait + _LATE_ANSWER if wait else 0.0)

        async def ask(address: str) -> QueueRead:
            answer = await kernel.ask_one(_READ, queue.broker_name, address, header, topic=queue.topic, timeout=timeout)
            limits = PullMessageResponseHeader.from_ext(answer.ext_fields)
            messages = self._decoded(answer.body, queue.broker_name, queue, limits.offset_delta or 0)
            if queue.topic.startswith(LMQ_PREFIX):
                for message in messages:
                    message.place_in(queue.topic)
            chosen = tuple(message for message in messages if not subscription.is_tag or subscription.matches_tag(message.tag))
            return QueueRead(chosen, limits.next_begin_offset, limits.min_offset, limits.max_offset)

        return await kernel.on_queue(queue, ask)

    async def query(
        self,
        topic: str,
        key: str,
        *,
        count: int = 64,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
    ) -> tuple[ReceivedMessage, ...]:
        """The messages of a topic that have a key, from all its brokers, in the order they were stored (12).

        Brokers note keys a moment after they have stored a message.

        Args:
            topic: The topic.
            key: One of the message's `keys`.
            count: Messages of each broker at most, 1 to 1024, the newest ones; brokers may give fewer (64 by default).
            since: Stored then or later: an aware datetime, or seconds since the epoch. None goes back as far as messages are stored.
            until: Stored then or earlier.

        Returns:
            The messages; empty when there is none.

        Raises:
            ConfigError: The key is no key, a number or a time is none, or `since` is after `until`.
            TopicNotFoundError: The name server does not know the topic.
            PartialError: Some brokers failed; its `result` has the messages of the others.
            RocketMQError: No broker answered without an error.

        Cancelling it is safe.
        """
        if not isinstance(key, str) or not key or " " in key:
            raise ConfigError(f"key {key!r} is no key", hint="give one of the message's keys: a text that is not empty and has no blank")
        whole("count", count, 1, _MAX_FOUND)
        begin = 0 if since is None else milliseconds("since", since)
        end = INT64_MAX if until is None else milliseconds("until", until)
        if begin > end:
            raise ConfigError(f"since {since!r} is after until {until!r}", hint="exchange them")
        found = await self._look_up(topic, key, count, begin, end, _KEY)
        return tuple(message for message in found if key in message.keys)

    async def view(self, topic: str, message_id: str) -> ReceivedMessage:
        """One message by its id (33, 12): that of its sender, or that of the broker that stores it.

        Args:
            topic: Its topic.
            message_id: `message_id` or `offset_message_id` of a message or of a send result.

        Returns:
            The message; the one that was stored first where a send was tried again.

        Raises:
            ConfigError: The id is no text, or empty.
            QueryNotFoundError: No broker has it, not yet, or not any more.
            TopicNotFoundError: The name server does not know the topic.
            PartialError: Some brokers failed, and the others do not have it.
            RocketMQError: No broker answered without an error.

        Cancelling it is safe.
        """
        if not isinstance(message_id, str) or not message_id:
            raise ConfigError(f"message_id {message_id!r} is no id", hint="take that of a message or of a send result")
        check_topic(topic)
        message = await self._at_offset(topic, message_id)
        if message is not None:
            return message
        found = await self._look_up(topic, message_id, _MAX_OF_ID, 0, INT64_MAX, _UNIQUE_ID)
        for message in found:
            if message.properties.get(UNIQ_KEY) == message_id:
                return message
        raise QueryNotFoundError(
            f"no message of topic {topic!r} has the id {message_id!r}",
            topic=topic,
            hint="brokers index a message a moment after it was stored, and forget it when they delete it",
        )

    async def _look_up(self, topic: str, key: str, count: int, begin: int, end: int, kind: str) -> tuple[ReceivedMessage, ...]:
        check_topic(topic)
        header = QueryMessageRequestHeader(topic, key, count, begin, end, index_type=kind)

        def join(answers: Mapping[str, list[ReceivedMessage]]) -> tuple[ReceivedMessage, ...]:
            messages = [message for each in answers.values() for message in each if message.topic == topic]
            return tuple(sorted(messages, key=lambda message: (message.store_timestamp, message.commit_log_offset)))

        async def ask(name: str, address: str) -> list[ReceivedMessage]:
            found, records = await self._kernel.ask_one(_QUERY, name, address, header, topic=topic)
            return self._decoded(records, name) if found else []

        return (await self._kernel.gather(f"query of topic {topic}", await self._kernel.holders(topic), ask)).joined(join)

    async def _at_offset(self, topic: str, text: str) -> ReceivedMessage | None:
        """The message of an offset id; None where it is none of this topic's brokers, as for nearly all ids of senders.

        Only brokers of the topic are asked, whatever address the id holds: it may come from anywhere, and brokers may be known by name.
        """
        try:
            place = OffsetMessageId.decode(text)
        except ProtocolError:
            return None
        for name, address in (await self._kernel.holders(topic)).items():
            if place.offset < 0 or address.rpartition(":")[2] != str(place.port):
                continue
            header = ViewMessageRequestHeader(place.offset, topic)
            try:
                messages = self._decoded(await self._kernel.ask_one(_VIEW, name, address, header, topic=topic), name)
            except ProtocolError:  # no message begins there
                continue
            except BrokerError as error:
                if _NOT_THERE not in error.remark:
                    raise
                continue
            for message in messages:
                if message.topic == topic and message.offset_message_id == text.upper():
                    return message
        return None

    def _decoded(self, records: bytes, broker: str, queue: MessageQueue | None = None, offset_delta: int = 0) -> list[ReceivedMessage]:
        """The messages of an answer, with the names that users know."""
        config = self._kernel.config
        messages = decode_messages(
            records,
            broker_name=broker,
            max_body=config.max_decompressed_length,
            queue=queue,
            offset_delta=offset_delta,
            read_body=config.decode_read_body,
            decompress=config.decode_decompress_body,
        )
        config.names.unwrap_messages(messages)
        return messages
