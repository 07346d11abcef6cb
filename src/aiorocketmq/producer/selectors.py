"""Ready-made queue selectors (Java: `SelectMessageQueueByHash`, `SelectMessageQueueByRandom`). Feature B6.

A selector is any callable `(queues, message) -> queue`: it gets the topic's writable queues in their fixed order and gives one of them
back. Java's third ready-made one, by machine room, always gives null; it is left out on purpose.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from aiorocketmq.errors import InvalidMessageError
from aiorocketmq.model.checks import dropped
from aiorocketmq.model.message import Message, plain_number, plain_text
from aiorocketmq.model.names import java_hash
from aiorocketmq.model.parsing import INT64_MAX, INT64_MIN
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.wording import shown

QueueSelector = Callable[[Sequence[MessageQueue], Message], MessageQueue]
"""Chooses the queue of one message, on the event loop: it must not block. Called once per send, and again when the queue is no more."""

_INT32_MIN, _INT32_MAX = -0x80000000, 0x7FFFFFFF


def hash_index(key: str | int, count: int) -> int:
    """Index of the queue that Java's hash selector takes for a key.

    Java computes `abs(key.hashCode() % count)` on 32-bit numbers. Python's absolute value cannot overflow, so the hash -2**31, whose
    absolute value does not exist in Java, lands on the same queue as there.

    Args:
        key: A string, or a number as Java's `Integer` (32 bits) or `Long` hashes it.
        count: How many queues there are, at least 1.
    """
    if isinstance(key, str):
        code = java_hash(key)
    elif _INT32_MIN <= key <= _INT32_MAX:
        code = key
    else:
        code = (key ^ ((key & 0xFFFFFFFFFFFFFFFF) >> 32)) & 0xFFFFFFFF
        code = code - 0x100000000 if code & 0x80000000 else code
    return abs(code) % count


def checked_queue(queue: Any, message: Message, what: str = "queue") -> MessageQueue:
    """A queue that was chosen for a message, with plain values.

    Raises:
        InvalidMessageError: It is none, or belongs to another topic.
    """
    if not isinstance(queue, MessageQueue) or queue.topic != message.topic:
        raise InvalidMessageError(
            f"{what} {shown(queue)} does not belong to the topic {message.topic!r} of the message",
            hint="take one of fetch_publish_message_queues(), or of those that a selector is called with",
        )
    if type(queue.broker_name) is str and type(queue.queue_id) is int and 0 <= queue.queue_id <= _INT32_MAX:
        return queue
    # Brokers take any queue for a negative number.
    number = plain_number("queue_id", queue.queue_id, 0, 0x7FFFFFFF, "the number of a queue")
    return MessageQueue(message.topic, plain_text("broker_name", queue.broker_name), number)


def checked(selector: QueueSelector, message: Message) -> Callable[[Sequence[MessageQueue]], MessageQueue]:
    """A user's selector for one message, with a check of what it gives back.

    Raises:
        InvalidMessageError: It is none.
    """
    if not callable(selector):
        raise InvalidMessageError(
            f"selector {shown(selector)} is a {type(selector).__name__}, which cannot be called",
            hint="give a function (queues, message) -> queue",
        )

    def choose(queues: Sequence[MessageQueue]) -> MessageQueue:
        queue: Any = selector(queues, message)
        if type(queue) is not MessageQueue and dropped(queue):
            raise InvalidMessageError(
                f"selector {shown(selector)} gave a coroutine, not a queue", hint="give a plain function: a selector cannot be `async def`"
            )
        return checked_queue(queue, message, "what the selector gave,")

    return choose


class SelectByHash:
    """Messages of one key go to one queue, the same that a Java producer takes for this key.

    Args:
        key: The key of every message sent with this selector; None takes each message's `sharding_key`. Numbers have at most 64 bits.

    Raises:
        InvalidMessageError: The key is neither.
    """

    __slots__ = ("_key",)

    def __init__(self, key: str | int | None = None) -> None:
        self._key = str.__str__(key) if isinstance(key, str) else key
        if key is not None and not isinstance(key, str):
            plain_number("key", key, INT64_MIN, INT64_MAX, "a string, or a whole number of at most 64 bits")

    def __call__(self, queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
        key = message.sharding_key if self._key is None else self._key
        if key is None:
            raise InvalidMessageError(
                f"SelectByHash has no key for a message of topic {message.topic!r}",
                hint="give SelectByHash(key), or Message(sharding_key=...)",
            )
        return queues[hash_index(key, len(queues))]


class SelectByRandom:
    """Every message goes to a queue chosen at random.

    Args:
        source: Random source; None makes one of its own.

    Raises:
        InvalidMessageError: It is no random source.
    """

    __slots__ = ("_source",)

    def __init__(self, source: random.Random | None = None) -> None:
        if source is not None and not callable(getattr(source, "choice", None)):
            raise InvalidMessageError(f"source {shown(source)} is a {type(source).__name__}", hint="give a random.Random, or leave it out")
        self._source = random.Random() if source is None else source

    def __call__(self, queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
        return self._source.choice(queues)


class SelectRoundRobin:
    """Messages go to the queues in turn, starting at the first; one object counts for one topic."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
        queue = queues[self._next % len(queues)]
        self._next += 1
        return queue
