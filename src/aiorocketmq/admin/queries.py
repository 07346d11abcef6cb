"""Messages found by their keys and ids (Java: `MQAdminImpl.queryMessage`, `viewMessage`, `queryMessageByUniqKey`).

Brokers look both up in one index, where hashes may collide: what is no match is left out here. The mark of a query by id is never sent:
all that brokers take from it is a limit, which is given anyway, and those up to 4.9.3 sign requests without it, later ones with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from aiorocketmq.admin.messages import MessageOperations
from aiorocketmq.errors import BrokerError, ConfigError, ProtocolError, QueryNotFoundError
from aiorocketmq.model.checks import milliseconds, whole
from aiorocketmq.model.names import check_topic
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.model.parsing import INT64_MAX
from aiorocketmq.model.properties import UNIQ_KEY
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.headers_client import QueryMessageRequestHeader, ViewMessageRequestHeader

_KEY: Final = "K"
_UNIQUE_ID: Final = "U"
_MAX_FOUND: Final = 1024
_MAX_OF_ID: Final = 32
"""Messages of one id at most: a send that was tried again is stored more than once."""
_FOUND: Final = (int(ResponseCode.SUCCESS), int(ResponseCode.QUERY_NOT_FOUND))
_NOT_THERE: Final = "can not find message"


class QueryOperations(MessageOperations):
    """What an admin client finds by keys and ids."""

    async def query_messages(
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

    async def view_message(self, topic: str, message_id: str) -> ReceivedMessage:
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

        async def ask(name: str, address: str) -> list[ReceivedMessage]:
            answer = await self._calls().call(address, RequestCode.QUERY_MESSAGE, header, topic=topic, broker=name, accept=_FOUND)
            return self._decoded(answer.body, name) if answer.code == ResponseCode.SUCCESS else []

        def join(answers: Mapping[str, list[ReceivedMessage]]) -> tuple[ReceivedMessage, ...]:
            messages = [message for each in answers.values() for message in each if message.topic == topic]
            return tuple(sorted(messages, key=lambda message: (message.store_timestamp, message.commit_log_offset)))

        return await self._each(f"query of topic {topic}", await self._addresses(topic), ask, join)

    async def _at_offset(self, topic: str, text: str) -> ReceivedMessage | None:
        """The message of an offset id; None where it is none of this topic's brokers, as for nearly all ids of senders.

        Only brokers of the topic are asked, whatever address the id holds: it may come from anywhere, and brokers may be known by name.
        """
        try:
            place = OffsetMessageId.decode(text)
        except ProtocolError:
            return None
        for name, address in (await self._addresses(topic)).items():
            if place.offset < 0 or address.rpartition(":")[2] != str(place.port):
                continue
            header = ViewMessageRequestHeader(place.offset, topic)
            try:
                answer = await self._calls().call(address, RequestCode.VIEW_MESSAGE_BY_ID, header, topic=topic, broker=name)
                messages = self._decoded(answer.body, name)
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
