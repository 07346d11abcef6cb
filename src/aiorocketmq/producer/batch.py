"""Several messages in one request (Java: `MessageBatch`). Features A15, U8.

Nothing is split here: a batch is stored by one broker in one queue with consecutive offsets, or not at all, and callers count on that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from aiorocketmq.errors import InvalidMessageError
from aiorocketmq.model import properties as props
from aiorocketmq.model.message import Message
from aiorocketmq.model.names import is_retry_topic
from aiorocketmq.protocol.compression import Compressor
from aiorocketmq.protocol.message_codec import BatchEncoder, decode_batch

ID_FIELD: Final = f"{props.UNIQ_KEY}\x01"
"""What stands before the id in a property text."""


class EncodedBatch:
    """A batch as one request carries it.

    Attributes:
        topic: Topic of all its messages.
        message_ids: Their ids, joined by commas.
        body: The encoded messages.
        properties: Property text of the request itself.
        sharding_key: The key of all its messages, or None.
    """

    __slots__ = ("body", "message_ids", "properties", "sharding_key", "topic")

    def __init__(self, topic: str, message_ids: str, body: bytes, properties: str, sharding_key: str | None) -> None:
        self.sharding_key = sharding_key
        self.topic = topic
        self.message_ids = message_ids
        self.body = body
        self.properties = properties


def check_batch(messages: Any, *, any_queue: bool = True) -> None:
    """Refuse what brokers cannot store as one batch.

    Args:
        messages: The messages.
        any_queue: No queue was chosen, so that their sharding keys, if any, have to agree on one.

    Raises:
        InvalidMessageError: There is no message, or they differ in topic, `wait_store_ok` or sharding key, ask for a delay, or go to a
            retry topic.
    """
    if not isinstance(messages, Sequence):
        raise InvalidMessageError(f"the messages of a batch are a {type(messages).__name__}, not a list", hint="give a list of messages")
    if not messages:
        raise InvalidMessageError("a batch without messages cannot be sent", hint="give at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, Message):
            raise InvalidMessageError(f"item {index} of the batch is a {type(message).__name__}, not a Message")
        if message.topic != messages[0].topic:
            raise InvalidMessageError(
                f"the batch mixes the topics {messages[0].topic!r} and {message.topic!r}", hint="send one batch per topic"
            )
        if message.wait_store_ok != messages[0].wait_store_ok:
            raise InvalidMessageError("the batch mixes messages with and without wait_store_ok", hint="send one batch for each")
        if any_queue and message.sharding_key != messages[0].sharding_key:
            raise InvalidMessageError(
                f"the batch mixes the sharding keys {messages[0].sharding_key!r} and {message.sharding_key!r}",
                hint="each key has its own queue: send one batch for each, or give queue=",
            )
        if message.goes_alone:
            what = "a delay" if message.delayed else "a priority" if message.priority is not None else "light queues"
            raise InvalidMessageError(f"message {index} of the batch asks for {what}, which batches cannot have", hint="send it by itself")
    if is_retry_topic(messages[0].topic):
        raise InvalidMessageError(f"a batch cannot go to the retry topic {messages[0].topic!r}", hint="send the messages one by one")


def build_batch(messages: Any, next_ids: Callable[[int], list[str]], *, any_queue: bool = True) -> EncodedBatch:
    """Check and encode a batch; every message gets an id of its own.

    Args:
        messages: The messages.
        next_ids: Makes as many ids as wanted.
        any_queue: No queue was chosen for it.

    Raises:
        InvalidMessageError: The messages do not fit together, see `check_batch`, or one of them is not legal.
    """
    if not isinstance(messages, Sequence) or not messages or not isinstance(messages[0], Message) or is_retry_topic(messages[0].topic):
        check_batch(messages)
    first: Message = messages[0]
    topic, wait_store_ok, sharding_key = first._topic, first._wait_store_ok, first._sharding_key
    ids = next_ids(len(messages))
    common = common_text(wait_store_ok, None)
    bare, width = bare_texts(ids, common)
    encoder = BatchEncoder()
    for index, item in enumerate(messages):
        if not isinstance(item, Message):
            check_batch(messages)
        message: Message = item
        if message._topic != topic or message._wait_store_ok != wait_store_ok or (any_queue and message._sharding_key != sharding_key):
            check_batch(messages, any_queue=any_queue)
        if message._simple and message._tag is None:
            text = bare[index * width : (index + 1) * width]
        else:
            if message.delayed or (message._rare and message.goes_alone):
                check_batch(messages, any_queue=any_queue)
            text = f"{ID_FIELD}{ids[index]}{message._rest}".encode()
        encoder.add(message._flag, message._body, text)
    return EncodedBatch(topic, ",".join(ids), encoder.encoded(), common, sharding_key)


def packed_batch(batch: bytes, compressor: Compressor) -> tuple[bytes, int]:
    """An encoded batch with its bodies compressed, each by itself, and the flags for that; as it is, with 0, when that is no smaller.

    Brokers give every message of a batch the system flag of the request: either all of them are compressed or none is (U8).
    """
    encoder = BatchEncoder()
    for flag, body, properties in decode_batch(batch):
        encoder.add(flag, compressor.compress(body), properties)
    packed = encoder.encoded()
    return (packed, compressor.flags) if len(packed) < len(batch) else (batch, 0)


def common_text(wait_store_ok: bool, tag: str | None) -> str:
    """Property text of a batch: what is the same for all its messages."""
    text = f"{props.WAIT}\x01{'true' if wait_store_ok else 'false'}\x02"
    return text if tag is None else f"{text}{props.TAGS}\x01{tag}\x02"


def bare_texts(ids: list[str], common: str) -> tuple[bytes, int]:
    """The property texts of messages that have only an id and what all of their batch have.

    Args:
        ids: One id or more, all of the same length, in ASCII.
        common: The text of the other properties.

    Returns:
        The texts in UTF-8, back to back, and the length of each.
    """
    after = f"\x02{common}"
    texts = f"{ID_FIELD}{(after + ID_FIELD).join(ids)}{after}".encode()
    return texts, len(texts) // len(ids)
