"""Turns messages into send operations: everything that can be refused is refused here, before anything is sent (Java: `Validators`).

Hot: `single()` runs once per message. Features A5, A10, A11, A15, A20, B4, B5, B12, U8; limits P1, P3.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Final

from aiorocketmq.errors import InvalidMessageError
from aiorocketmq.model.checks import duration
from aiorocketmq.model.message import Message, plain_text
from aiorocketmq.model.names import check_send_topic
from aiorocketmq.producer.attempts import SendPolicy
from aiorocketmq.producer.batch import ID_FIELD, build_batch, packed_batch
from aiorocketmq.producer.dispatcher import SendDispatcher
from aiorocketmq.producer.reply import Reply
from aiorocketmq.producer.selectors import SelectByHash, checked, checked_queue
from aiorocketmq.producer.send import SendOperation, TopicTarget
from aiorocketmq.producer.settings import ProducerSettings
from aiorocketmq.protocol.message_id import UniqueIdGenerator
from aiorocketmq.wording import shown

COMPRESS_IN_THREAD: Final = 256 * 1024
"""Bodies from this many bytes on are compressed in a thread: zlib takes some 5 ms for them, and the event loop shall not stand still."""


class Policies:
    """The kinds of sends of one producer. With a fixed queue `send()` puts a message on the wire only once, as Java does."""

    __slots__ = ("nowait", "oneway", "sync")

    def __init__(self, settings: ProducerSettings, codes: frozenset[int]) -> None:
        none: frozenset[int] = frozenset()
        per_try, watched = settings.send_msg_max_timeout_per_request, settings.send_latency_enable
        self.sync = SendPolicy(
            settings.retry_times_when_send_failed + 1,
            codes,
            resend_not_ok=settings.retry_another_broker_when_not_store_ok,
            per_try=per_try,
            fixed=SendPolicy(1, none, per_try=per_try, watched=watched),
            watched=watched,
        )
        self.nowait = SendPolicy(settings.retry_times_when_send_async_failed + 1, codes, per_try=per_try, watched=watched)
        self.oneway = SendPolicy(1, none, oneway=True)


class Preparer:
    """Makes the operations of one running producer.

    Args:
        settings: The producer's settings.
        dispatcher: Where the operations go.
        client_id: Its address becomes a part of message ids.
        pid: Process id, another part.
        clock: Tells the time of sends, on the same scale as the loop's clock, which it is when left out.

    Attributes:
        dispatcher: Where the operations go.
        pid: The process that the ids belong to.
        loop: The event loop that the producer belongs to.
        ids: Makes the ids of its messages.
    """

    __slots__ = ("_clock", "_compress_from", "_limit", "_settings", "_targets", "_timeout", "dispatcher", "ids", "loop", "pid")

    def __init__(
        self, settings: ProducerSettings, dispatcher: SendDispatcher, client_id: str, pid: int, clock: Callable[[], float] | None = None
    ) -> None:
        self.pid = pid
        self._clock: Callable[[], float] = dispatcher.loop.time if clock is None else clock
        self._settings = settings
        self.dispatcher = dispatcher
        self._targets = dispatcher.targets
        self.loop = dispatcher.loop
        self.ids = UniqueIdGenerator(_address_bytes(client_id), pid)
        self._timeout = settings.send_msg_timeout
        self._limit = settings.max_message_size
        self._compress_from = settings.compress_msg_body_over_howmuch

    def single(
        self,
        message: Any,
        policy: SendPolicy,
        timeout: float | timedelta | None,
        queue: Any,
        selector: Any,
        sharding_key: Any,
        reply: Reply,
    ) -> SendOperation:
        """The operation for one message, whose outcome goes to `reply`; the other arguments are those of `Producer.send()`.

        `Any` stands for what is checked here: the compiled form refuses a wrong type by itself, and that with less helpful words.

        Raises:
            InvalidMessageError: The message cannot be sent, or the queue does not belong to it.
            InvalidNameError: Its topic is not legal.
            ConfigError: The time-out is none.
        """
        if not isinstance(message, Message):
            raise _no_message(message)
        topic, body = message._topic, message._body
        target = self._targets.get(topic) or self._new_target(topic)
        size = len(body)
        if size > self._limit:
            raise self._too_large(topic, size)
        born_at = time.time_ns() // 1_000_000
        message_id = self.ids.next_id(born_at)
        rest = message._rest if sharding_key is None else message.rest_with(sharding_key)
        sys_flag = 0
        if self._compress_from <= size < COMPRESS_IN_THREAD:
            body, sys_flag = self._settings.compressor.pack(body)
        now = self._clock()
        operation = SendOperation(
            self.dispatcher,
            target,
            policy,
            reply,
            message_id,
            body,
            f"{ID_FIELD}{message_id}{rest}",
            sys_flag,
            message._flag,
            born_at,
            now,
            now + (self._timeout if timeout is None else duration("timeout", timeout)),
            size,
        )
        if size >= COMPRESS_IN_THREAD and size >= self._compress_from:
            operation.ready = operation.plain = False
        if queue is not None or selector is not None or sharding_key is not None or not message._anywhere:
            self._see_where_to(operation, message, queue, selector, sharding_key)
        return operation

    def _see_where_to(self, operation: SendOperation, message: Message, queue: Any, selector: Any, sharding_key: Any) -> None:
        if message.timed or message.priority is not None:
            operation.timed = True
            operation.plain = False
            if message.priority is not None and not (queue is None and selector is None and sharding_key is None):
                raise InvalidMessageError("queue, selector, sharding_key and a priority exclude each other", hint="give one of them")
        if queue is None and selector is None and sharding_key is None:
            sharding_key = message._sharding_key
        if queue is not None or selector is not None or sharding_key is not None:
            _fix_queue(operation, message, queue, selector, sharding_key)

    def batch(
        self,
        messages: Any,
        policy: SendPolicy,
        timeout: float | timedelta | None,
        queue: Any,
        reply: Reply,
    ) -> SendOperation:
        """The operation for a batch, whose outcome goes to `reply`; the other arguments are those of `Producer.send_batch()`.

        Raises:
            InvalidMessageError: The messages cannot be one batch, or are too large together.
            InvalidNameError: Their topic is not legal.
            ConfigError: The time-out is none.
        """
        born_at = time.time_ns() // 1_000_000
        batch = build_batch(messages, lambda count: self.ids.next_ids(born_at, count), any_queue=queue is None)
        target = self._targets.get(batch.topic) or self._new_target(batch.topic)
        size = len(batch.body)
        if size > self._limit:
            raise InvalidMessageError(
                f"the batch of {len(messages)} messages takes {size} bytes, the limit max_message_size is {self._limit}",
                hint="send fewer messages at a time",
            )
        body, sys_flag, ready = pack_batch(batch.body, self._settings)
        now = self._clock()
        operation = SendOperation(
            self.dispatcher,
            target,
            policy,
            reply,
            batch.message_ids,
            body,
            batch.properties,
            sys_flag,
            0,
            born_at,
            now,
            now + (self._timeout if timeout is None else duration("timeout", timeout)),
            size,
        )
        operation.batch = True
        operation.plain = False
        operation.ready = ready
        if queue is not None or batch.sharding_key is not None:
            _fix_queue(operation, messages[0], queue, None, batch.sharding_key if queue is None else None)
        return operation

    def _new_target(self, topic: str) -> TopicTarget:
        check_send_topic(topic)
        return self.dispatcher.topics.target(topic)

    def check(self, message: Any, queue: Any, selector: Any, sharding_key: Any) -> None:
        """Refuse what `single()` would refuse, as far as that can be seen without the event loop; for any thread.

        Raises:
            InvalidMessageError: The message cannot be sent, or the queue does not belong to it.
        """
        if not isinstance(message, Message):
            raise _no_message(message)
        if len(message._body) > self._limit:
            raise self._too_large(message._topic, len(message._body))
        _check_choice(queue, selector, sharding_key)
        if queue is not None:
            checked_queue(queue, message)

    def _too_large(self, topic: str, size: int) -> InvalidMessageError:
        return InvalidMessageError(
            f"the body of a message for topic {topic!r} has {size} bytes, the limit max_message_size is {self._limit}",
            hint="send less, or raise max_message_size here and maxMessageSize on the brokers",
        )


def pack_batch(batch: bytes, settings: ProducerSettings) -> tuple[bytes, int, bool]:
    """An encoded batch as it is to be sent, its system flag, and False when it is yet to be compressed, in a thread."""
    if not settings.compress_batches or len(batch) < settings.compress_msg_body_over_howmuch:
        return batch, 0, True
    if len(batch) >= COMPRESS_IN_THREAD:
        return batch, 0, False
    body, sys_flag = packed_batch(batch, settings.compressor)
    return body, sys_flag, True


def _no_message(message: object) -> InvalidMessageError:
    return InvalidMessageError(f"{shown(message)} is a {type(message).__name__}, not a Message", hint="send Message(topic, body)")


def _check_choice(queue: Any, selector: Any, sharding_key: Any) -> None:
    if (queue is not None) + (selector is not None) + (sharding_key is not None) > 1:
        raise InvalidMessageError("queue, selector and sharding_key exclude each other", hint="give one of them")


def _fix_queue(operation: SendOperation, message: Message, queue: Any, selector: Any, sharding_key: Any) -> None:
    _check_choice(queue, selector, sharding_key)
    operation.plain = False
    operation.policy = operation.policy.fixed or operation.policy
    if queue is not None:
        operation.queue = checked_queue(queue, message)
        operation.pinned = True
        return
    if sharding_key is not None:
        selector = SelectByHash(plain_text("sharding_key", sharding_key))
    assert selector is not None  # one of the three is given
    operation.select = checked(selector, message)


def _address_bytes(client_id: str) -> bytes:
    """The address in a client id as 4 or 16 bytes; random ones when it is a name."""
    try:
        return ip_address(client_id.partition("@")[0].strip("[]")).packed
    except ValueError:
        return secrets.token_bytes(4)
