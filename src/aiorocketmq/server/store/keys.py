"""The words by which a message can be found (Java: `IndexService.buildIndex`)."""

from __future__ import annotations

from collections.abc import Mapping

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model import properties as props
from aiorocketmq.protocol.message_codec import decode_message


def encode_text(text: str) -> bytes:
    """UTF-8 as Java writes it: what has no encoding becomes '?'."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def index_keys(properties: Mapping[str, str]) -> tuple[str, ...]:
    """The unique id of a message and each of its keys."""
    unique = properties.get(props.UNIQ_KEY, "")
    text = f"{unique} {keys}" if (keys := properties.get(props.KEYS)) else unique
    if not text.isascii():
        text = encode_text(text).decode("utf-8", "replace")  # the index takes proper Unicode only
    return tuple(dict.fromkeys(text.split()))


def recall_key(properties: Mapping[str, str]) -> tuple[str, ...]:
    """The key by which a parked message is found when its producer takes it back (Java: `TIMER_DEL_UNIQKEY`)."""
    topic, unique = properties.get(props.REAL_TOPIC), properties.get(props.UNIQ_KEY)
    return (encode_text(f"{topic}+{unique}").decode("utf-8", "replace"),) if topic and unique else ()


def keys_of_record(record: bytes) -> tuple[str, ...]:
    """All keys by which a stored message may be found; none when it cannot be read."""
    try:
        properties = decode_message(record, broker_name="", max_body=0).properties
    except ProtocolError:
        return ()
    return (*index_keys(properties), *recall_key(properties))
