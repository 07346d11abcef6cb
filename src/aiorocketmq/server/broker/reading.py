"""Messages of a queue that a filter lets through, and the filters that are kept (Java: `DefaultMessageStore.getMessage`,
`ConsumerFilterManager`)."""

from __future__ import annotations

import logging
import math
import time
from functools import lru_cache
from typing import Final
from weakref import WeakValueDictionary

from aiorocketmq.errors import ConfigError, broker_error
from aiorocketmq.model.enums import ExpressionType
from aiorocketmq.model.filters import SubscriptionData, build_subscription
from aiorocketmq.model.sql92 import Condition, parse
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.message_codec import decode_message
from aiorocketmq.server.store.records import QueueLog
from aiorocketmq.server.store.store import Store

logger = logging.getLogger("aiorocketmq.server")

MAX_BYTES: Final = 256 * 1024
"""Bytes that one reading of a queue gives at most, but for a first message that is larger (Java: maxTransferBytesOnMessageInMemory)."""
SCAN_WINDOW: Final = 800
"""Messages that one reading looks at, at least, for ones that match (Java: maxFilterMessageSize / 20)."""
MAX_SQL: Final = 16 * 1024
"""Characters of a SQL expression here: what can be parsed without keeping the others waiting."""
_COLD_CHUNK: Final = 64
_FILTER_CHUNK: Final = 16
_FILTER_TIME: Final = 0.01
"""Seconds of work after which a reading with a SQL filter ends where it is: conditions are of any length, and others wait meanwhile."""
_KEPT_EXPRESSION: Final = 1024
"""Characters of the longest subscription that is kept once it is parsed: a thousand long ones would take gigabytes."""
_LONG_EXPRESSION: Final = 1024
_MUCH_TO_FILTER: Final = 4 * 1024 * 1024
"""Characters of all SQL filters that requests wait with: each takes some fifty times as much memory."""


def matching(
    store: Store, queue: QueueLog, offset: int, most: int, codes: frozenset[int] = frozenset(), condition: Condition | None = None
) -> tuple[list[bytes], int]:
    """Matching records from `offset` on, and the offset after the last one looked at.

    Args:
        store: Where the queue is.
        queue: The queue.
        offset: Where to begin, not below the queue's smallest offset.
        most: Messages at most.
        codes: Hash codes of the tags that match; empty for all.
        condition: What their properties have to fulfil.
    """
    if not codes and condition is None:
        found = [row.record for row in store.read(queue, offset, most, MAX_BYTES)]
        if found:
            return found, offset + len(found)
    found = []
    size = 0
    end = min(queue.next_offset, offset + max(SCAN_WINDOW, most))
    stop = time.thread_time() + _FILTER_TIME if condition is not None else math.inf
    while offset < end:
        chunk = store.read(queue, offset, min(end - offset, _COLD_CHUNK if condition is None else _FILTER_CHUNK), MAX_BYTES)
        for tags_code, _, record in chunk:
            if (codes and tags_code not in codes) or (condition and not _matches(condition, record)):
                offset += 1
                continue
            size += len(record)
            if found and size > MAX_BYTES:
                return found, offset
            found.append(record)
            offset += 1
            if len(found) >= most:
                return found, offset
        if not chunk:
            if store.committing:  # its topic is being deleted, or not, as the commit will tell
                return found, offset
            # Only a damaged database lacks rows; consumers must be able to go past the hole.
            logger.error("%s:%d: no messages from offset %d to %d", queue.topic, queue.queue_id, offset, end)
            return found, end
        if time.thread_time() >= stop:
            break
    return found, offset


def _matches(condition: Condition, record: bytes) -> bool:
    return condition.matches(decode_message(record, broker_name="", max_body=0).properties)


def filter_of(subscription: SubscriptionData) -> Condition | None:
    """What a subscription that is no tag expression asks of properties; None for a tag expression.

    Raises:
        BrokerError: Code 23, the expression cannot be read, or its language is unknown.
    """
    if subscription.is_tag:
        return None
    try:
        if subscription.expression_type != ExpressionType.SQL92:
            raise ConfigError(f"the filter language {subscription.expression_type!r} is unknown: use TAG or SQL92")
        if len(subscription.expression) > MAX_SQL:
            raise ConfigError(f"the SQL expression has {len(subscription.expression)} characters, this server takes {MAX_SQL} at most")
        return parse(subscription.expression)
    except ConfigError as error:
        raise broker_error(ResponseCode.SUBSCRIPTION_PARSE_FAILED, error.message, topic=subscription.topic) from None


def subscription_of(topic: str, expression: str | None, expression_type: str) -> SubscriptionData:
    """The subscription that a request brings.

    Raises:
        ConfigError: It cannot be read.
    """
    make = _parsed if len(expression or "") <= _KEPT_EXPRESSION else _parsed.__wrapped__
    return make(topic, expression, expression_type)


@lru_cache(maxsize=1024)
def _parsed(topic: str, expression: str | None, expression_type: str) -> SubscriptionData:
    if expression_type == ExpressionType.TAG:
        return build_subscription(topic, expression, 0)
    if not expression:
        raise ConfigError(f"the subscription of topic {topic} is empty: write a condition in {expression_type}")
    return SubscriptionData(topic, expression, expression_type=expression_type)


class Filters:
    """Conditions of requests that wait: those with the same text share one."""

    def __init__(self) -> None:
        self._conditions: WeakValueDictionary[tuple[str, str], Condition] = WeakValueDictionary()

    def condition(self, subscription: SubscriptionData) -> Condition | None:
        """What a subscription asks of properties; None when it only asks for tags.

        Raises:
            BrokerError: Code 23, it cannot be read.
        """
        if subscription.is_tag:
            return None
        key = subscription.expression_type, subscription.expression
        known = self._conditions.get(key)
        if known is None and (known := filter_of(subscription)) is not None:
            self._conditions[key] = known
        return known

    def has_room_for(self, condition: Condition) -> bool:
        """Whether one more request may wait with a condition; short ones may as long as there is room for requests."""
        if len(condition.expression) <= _LONG_EXPRESSION:
            return True
        return sum([len(text) for _, text in self._conditions]) <= _MUCH_TO_FILTER
