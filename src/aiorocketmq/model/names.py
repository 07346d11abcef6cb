"""Rules for topic and group names and the derived retry and dead-letter topics.

Java: `Validators`, `TopicValidator`, `MixAll`, `KeyBuilder`. Features P1-P4.
"""

from __future__ import annotations

import re
from typing import Final

from aiorocketmq.errors import InvalidNameError
from aiorocketmq.wording import shown

MAX_TOPIC_LENGTH: Final = 127
MAX_GROUP_LENGTH: Final = 120
MAX_DERIVED_TOPIC_LENGTH: Final = 255
"""Limit of `%RETRY%` and `%DLQ%` topics."""
RETRY_PREFIX: Final = "%RETRY%"
DLQ_PREFIX: Final = "%DLQ%"
LMQ_PREFIX: Final = "%LMQ%"
"""What the topic names of light queues begin with."""
AUTO_CREATE_TOPIC_KEY: Final = "TBW102"
"""Topic whose route and settings new topics inherit (Java: `AUTO_CREATE_TOPIC_KEY_TOPIC`)."""
DEFAULT_PRODUCER_GROUP: Final = "DEFAULT_PRODUCER"
DEFAULT_CONSUMER_GROUP: Final = "DEFAULT_CONSUMER"
CLIENT_INNER_PRODUCER_GROUP: Final = "CLIENT_INNER_PRODUCER"
TOOLS_CONSUMER_GROUP: Final = "TOOLS_CONSUMER"
"""The group that every broker has for tools; reading with it stores no offset."""
SYSTEM_CONSUMER_GROUP_PREFIX: Final = "CID_RMQ_SYS_"

HALF_TOPIC: Final = "RMQ_SYS_TRANS_HALF_TOPIC"
"""Where brokers keep half messages."""
OP_TOPIC: Final = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
"""Where they note which of these are committed or rolled back."""
UNDECIDED_TOPIC: Final = "TRANS_CHECK_MAX_TIME_TOPIC"
"""Where they put those that nobody decided."""
NOT_ALLOWED_SEND_TOPICS: Final = frozenset(
    {
        "SCHEDULE_TOPIC_XXXX",
        HALF_TOPIC,
        OP_TOPIC,
        UNDECIDED_TOPIC,
        "SELF_TEST_TOPIC",
        "OFFSET_MOVED_EVENT",
    }
)
SYSTEM_TOPICS: Final = NOT_ALLOWED_SEND_TOPICS | {
    AUTO_CREATE_TOPIC_KEY,
    "BenchmarkTest",
    "RMQ_SYS_TRACE_TOPIC",
    "CHECKPOINT_TOPIC",
}
SYSTEM_TOPIC_PREFIX: Final = "rmq_sys_"

_ILLEGAL = re.compile(r"[^%|a-zA-Z0-9_-]")
_ALLOWED_TEXT = "letters, digits, '%', '|', '_' and '-'"


def _check(kind: str, name: object, limit: int) -> None:
    if not isinstance(name, str):
        raise InvalidNameError(f"{kind} {shown(name)} is a {type(name).__name__}, not a string")
    if not name or name.isspace():
        raise InvalidNameError(f"{kind} is empty", hint=f"give a name of {_ALLOWED_TEXT}")
    bad = _ILLEGAL.search(name)
    if bad:
        raise InvalidNameError(f"{kind} {shown(name)} contains {bad.group()!r}", hint=f"only {_ALLOWED_TEXT} are allowed")
    if len(name) > limit:
        raise InvalidNameError(f"{kind} {name[:32]!r}... has {len(name)} characters, the limit is {limit}")


def is_retry_topic(topic: str) -> bool:
    return topic.startswith(RETRY_PREFIX)


def is_dlq_topic(topic: str) -> bool:
    return topic.startswith(DLQ_PREFIX)


def check_topic(topic: str) -> None:
    """Raise `InvalidNameError` unless the topic name is legal (P1)."""
    derived = isinstance(topic, str) and (is_retry_topic(topic) or is_dlq_topic(topic))
    _check("topic", topic, MAX_DERIVED_TOPIC_LENGTH if derived else MAX_TOPIC_LENGTH)


def is_legal(topic: str) -> bool:
    """Whether `check_topic()` takes the name."""
    try:
        check_topic(topic)
    except InvalidNameError:
        return False
    return True


def check_send_topic(topic: str) -> None:
    """Raise `InvalidNameError` unless clients may send to the topic (P1, P3)."""
    check_topic(topic)
    if topic in NOT_ALLOWED_SEND_TOPICS:
        raise InvalidNameError(f"topic {topic!r} is reserved for the broker: sending to it is not allowed", hint="use a topic of your own")


def check_group(group: str) -> None:
    """Raise `InvalidNameError` unless the group name is legal (P2)."""
    _check("group", group, MAX_GROUP_LENGTH)


def is_system_topic(topic: str) -> bool:
    """True for topics that brokers own (P4)."""
    return topic in SYSTEM_TOPICS or topic.startswith(SYSTEM_TOPIC_PREFIX)


def is_system_group(group: str) -> bool:
    """True for groups that brokers own."""
    return group.startswith(SYSTEM_CONSUMER_GROUP_PREFIX)


def retry_topic(group: str) -> str:
    """Topic to which failed messages of a group come back (Java: `MixAll.getRetryTopic`)."""
    return RETRY_PREFIX + group


def pop_retry_topic(group: str, topic: str, *, v2: bool = False) -> str:
    """Topic to which messages of `topic` come back that a group took and did not acknowledge (Java: `KeyBuilder.buildPopRetryTopic`)."""
    return f"{RETRY_PREFIX}{group}{'+' if v2 else '_'}{topic}"


def dlq_topic(group: str) -> str:
    """Topic in which messages end that failed too often (Java: `MixAll.getDLQTopic`)."""
    return DLQ_PREFIX + group


def java_hash(text: str) -> int:
    """Java's `String.hashCode()`: signed 32 bits over UTF-16 code units."""
    value = 0
    if text.isascii():
        for code in text.encode("ascii"):
            value = (value * 31 + code) & 0xFFFFFFFF
    else:
        units = text.encode("utf-16-be", "surrogatepass")
        for index in range(0, len(units), 2):
            value = (value * 31 + (units[index] << 8 | units[index + 1])) & 0xFFFFFFFF
    return value - 0x100000000 if value & 0x80000000 else value
