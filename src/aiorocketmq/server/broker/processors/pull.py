"""Pulls, short and long (Java: `PullMessageProcessor`, `DefaultMessageStore.getMessage`)."""

from __future__ import annotations

import logging
import math
import time
from functools import lru_cache, partial
from typing import Any, Final
from weakref import WeakValueDictionary

from aiorocketmq.errors import BrokerError, ConfigError, ProtocolError, broker_error
from aiorocketmq.model import properties as props
from aiorocketmq.model.enums import ExpressionType, MessageModel, Permission
from aiorocketmq.model.filters import SubscriptionData, build_subscription
from aiorocketmq.model.sql92 import Condition
from aiorocketmq.protocol.bodies import SubscriptionGroupConfig, TopicConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import PullMessageRequestHeader
from aiorocketmq.protocol.sysflag import PullSysFlag
from aiorocketmq.server.broker.long_polling import ParkedPull
from aiorocketmq.server.broker.processors.common import decode_record, filter_of
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Resource, operation
from aiorocketmq.server.store.records import QueueLog

logger = logging.getLogger("aiorocketmq.server")

MAX_MESSAGES: Final = 32
"""Messages that one pull gets at most (Java: maxTransferCountOnMessageInMemory)."""
MAX_BYTES: Final = 256 * 1024
"""Bytes that one pull gets at most, but for a first message that is larger (Java: maxTransferBytesOnMessageInMemory)."""
SCAN_WINDOW: Final = 800
"""Messages that one pull looks at, at least, for ones that match (Java: maxFilterMessageSize / 20)."""
_COLD_CHUNK: Final = 64
_FILTER_CHUNK: Final = 16
_FILTER_TIME: Final = 0.01
"""Seconds of work after which a pull with a SQL filter ends where it is: conditions are of any length, and others wait meanwhile."""
_KEPT_EXPRESSION: Final = 1024
"""Characters of the longest subscription that is kept once it is parsed: a thousand long ones would take gigabytes."""
_LONG_EXPRESSION: Final = 1024
_MUCH_TO_FILTER: Final = 4 * 1024 * 1024
"""Characters of all SQL filters that pulls wait with: each takes some fifty times as much memory."""
_MASTER: Final = "0"
"""Where to pull next: a master says itself, whatever the group prefers, as long as its slaves are not to be read from."""
_READ: Final = int(Permission.READ)
_FORBIDDEN_BROKER, _FORBIDDEN_GROUP, _FORBIDDEN_TOPIC, _FORBIDDEN_BROADCAST = "1", "2", "3", "4"


Asked = Plain[PullMessageRequestHeader]


class _Pull:
    """One pull request whose group, topic and subscription were found; mutable only by its maker."""

    __slots__ = ("codes", "condition", "group", "header", "max_messages", "offset", "queue_id", "request", "suspend", "topic")

    def __init__(
        self, request: Asked, group: SubscriptionGroupConfig, topic: TopicConfig, codes: frozenset[int], condition: Condition | None
    ) -> None:
        header = request.header
        self.request = request
        self.group = group.group_name
        self.topic = topic.topic_name
        self.codes = codes
        self.condition = condition
        self.queue_id = header.queue_id
        self.offset = header.queue_offset
        self.max_messages = max(1, min(header.max_msg_nums, MAX_MESSAGES))
        self.suspend = header.suspend_timeout_millis / 1000 if header.sys_flag & PullSysFlag.SUSPEND else 0.0
        self.header = {
            "suggestWhichBrokerId": _MASTER,
            "topicSysFlag": str(topic.topic_sys_flag),
            "groupSysFlag": str(group.group_sys_flag),
        }

    def wants(self, properties: bytes) -> bool:
        """Whether its condition lets a message with this property text through."""
        return self.condition is None or self.condition.matches(props.decode_properties(properties))


class PullProcessor:
    """Answers pulls from memory or the database, and parks those that find nothing."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state
        self._conditions: WeakValueDictionary[tuple[str, str], Condition] = WeakValueDictionary()
        """Filters of pulls that wait: those with the same text share one."""

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table."""
        needs = Need(Action.SUB, Resource.GROUP, "consumer_group"), Need(Action.SUB, Resource.TOPIC, "topic")
        return tuple(
            operation(code, PullMessageRequestHeader, self._pull, *needs)
            for code in (RequestCode.PULL_MESSAGE, RequestCode.LITE_PULL_MESSAGE)
        )

    def _pull(self, request: Asked) -> RemotingCommand | None:
        refused = self._forbidden(request)
        if refused is not None:
            return refused
        pull = self._checked(request)
        state = self._state
        header = request.header
        if header.sys_flag & PullSysFlag.COMMIT_OFFSET:
            state.offsets.commit(pull.group, pull.topic, pull.queue_id, header.commit_offset)
        answer = self._answer(pull)
        if answer.code != ResponseCode.PULL_NOT_FOUND or pull.suspend <= 0:
            return answer
        if pull.condition is not None and not self._has_room_for(pull.condition):
            return answer
        suspend = pull.suspend if state.config.long_polling else min(1.0, pull.suspend)
        wants = pull.wants if pull.condition is not None else None
        parked = ParkedPull(pull.codes, state.monotonic() + suspend, partial(self._resume, pull), request.channel, wants)
        return None if state.polling.park(pull.topic, pull.queue_id, parked) else answer

    def _resume(self, pull: _Pull) -> None:
        """A parked pull is carried out again, and answered whatever comes of it.

        The subscription is the one of now: by the old one it would go past messages that its consumer wants since then.
        """
        try:
            answer = self._answer(self._checked(pull.request))
        except (BrokerError, ProtocolError) as error:
            answer = pull.request.failure(error)
        pull.request.reply(answer)

    # -- checks, in a real broker's order (6.4) -----------------------------------------------------------------------

    def _forbidden(self, request: Asked) -> RemotingCommand | None:
        """The answer with code 16 and the reason's number, when something forbids the pull."""
        state = self._state
        header = request.header
        if not state.readable:
            return _no_permission(request, _FORBIDDEN_BROKER, f"the broker[{state.ip}] pulling message is forbidden")
        group = state.groups.require(header.consumer_group)
        if not group.consume_enable:
            return _no_permission(request, _FORBIDDEN_GROUP, f"subscription group no permission, {header.consumer_group}")
        topic = state.topics.require(header.topic)
        if not topic.perm & _READ:
            return _no_permission(request, _FORBIDDEN_TOPIC, f"the topic[{topic.topic_name}] pulling message is forbidden")
        if not group.consume_broadcast_enable and not header.sys_flag & PullSysFlag.SUBSCRIPTION:
            members = state.clients.consumer_group(header.consumer_group)
            if members is not None and members.message_model is MessageModel.BROADCASTING:
                remark = f"the consumer group[{header.consumer_group}] can not consume by broadcast way"
                return _no_permission(request, _FORBIDDEN_BROADCAST, remark)
        return None

    def _checked(self, request: Asked) -> _Pull:
        state = self._state
        group = state.groups.require(request.header.consumer_group)
        topic = state.topics.require(request.header.topic)
        queue_id = request.header.queue_id
        if queue_id >= topic.read_queue_nums:
            raise broker_error(
                ResponseCode.INVALID_PARAMETER,
                f"queueId[{queue_id}] is illegal, topic:[{topic.topic_name}] topicConfig.readQueueNums:[{topic.read_queue_nums}] "
                f"consumer:[/{request.session.address}]",
            )
        subscription = self._subscription(request.header)
        condition = self._condition(subscription)
        return _Pull(request, group, topic, subscription.codes, condition)

    def _condition(self, subscription: SubscriptionData) -> Condition | None:
        if subscription.is_tag:
            return None
        key = subscription.expression_type, subscription.expression
        known = self._conditions.get(key)
        if known is None and (known := filter_of(subscription)) is not None:
            self._conditions[key] = known
        return known

    def _has_room_for(self, condition: Condition) -> bool:
        """Whether one more pull may wait with a filter; short ones may as long as there is room for pulls."""
        if len(condition.expression) <= _LONG_EXPRESSION:
            return True
        return sum([len(text) for _, text in self._conditions]) <= _MUCH_TO_FILTER

    def _subscription(self, header: PullMessageRequestHeader) -> SubscriptionData:
        group, topic = header.consumer_group, header.topic
        if header.sys_flag & PullSysFlag.SUBSCRIPTION:
            try:
                parse = _parse_subscription if len(header.subscription or "") <= _KEPT_EXPRESSION else _parse_subscription.__wrapped__
                return parse(topic, header.subscription, header.expression_type or ExpressionType.TAG)
            except ConfigError as error:
                raise broker_error(ResponseCode.SUBSCRIPTION_PARSE_FAILED, f"parse the consumer's subscription failed: {error}") from None
        members = self._state.clients.consumer_group(group)
        if members is None:
            raise broker_error(ResponseCode.SUBSCRIPTION_NOT_EXIST, f"the consumer's group info not exist, group: {group}")
        known = members.subscriptions.get(topic)
        if known is None:
            raise broker_error(
                ResponseCode.SUBSCRIPTION_NOT_EXIST, f"the consumer's subscription not exist, group: {group}, topic: {topic}"
            )
        if known.version < header.sub_version:
            raise broker_error(ResponseCode.SUBSCRIPTION_NOT_LATEST, "the consumer's subscription not latest")
        return known

    # -- reading ------------------------------------------------------------------------------------------------------

    def _answer(self, pull: _Pull) -> RemotingCommand:
        """Read the queue (6.4): what is there, or why nothing is."""
        state = self._state
        reset = state.offsets.take_reset(pull.group, pull.topic, pull.queue_id)
        queue = state.store.queue(pull.topic, pull.queue_id)
        low, high = (queue.min_offset, queue.next_offset) if queue is not None else (0, 0)
        offset = pull.offset
        if reset >= 0:
            return self._response(pull, ResponseCode.PULL_OFFSET_MOVED, "OFFSET_RESET", reset, low, high)
        if queue is None or high == 0:
            code = ResponseCode.PULL_NOT_FOUND if offset == 0 else ResponseCode.PULL_OFFSET_MOVED
            return self._response(pull, code, "NO_MESSAGE_IN_QUEUE", 0, low, high)
        if offset < low:
            return self._response(pull, ResponseCode.PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL", low, low, high)
        if offset == high:
            return self._response(pull, ResponseCode.PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", offset, low, high)
        if offset > high:
            return self._response(pull, ResponseCode.PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY", high, low, high)
        found, following = self._read(queue, offset, pull)
        state.offsets.note_pulled(pull.group, pull.topic, pull.queue_id, following)
        if not found:
            return self._response(pull, ResponseCode.PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE", following, low, high)
        state.stats.pulled(pull.topic, pull.group, len(found))
        answer = self._response(pull, ResponseCode.SUCCESS, "FOUND", following, low, high)
        answer.body = b"".join(found) if len(found) > 1 else found[0]
        return answer

    def _read(self, queue: QueueLog, offset: int, pull: _Pull) -> tuple[list[bytes], int]:
        """Matching records from `offset` on, and the offset after the last one looked at."""
        store = self._state.store
        codes, condition = pull.codes, pull.condition
        if not codes and condition is None:
            found = [row.record for row in store.read(queue, offset, pull.max_messages, MAX_BYTES)]
            if found:
                return found, offset + len(found)
        found = []
        size = 0
        end = min(queue.next_offset, offset + max(SCAN_WINDOW, pull.max_messages))
        stop = time.thread_time() + _FILTER_TIME if condition is not None else math.inf
        while offset < end:
            chunk = store.read(queue, offset, min(end - offset, _COLD_CHUNK if condition is None else _FILTER_CHUNK), MAX_BYTES)
            for tags_code, _, record in chunk:
                if (codes and tags_code not in codes) or (condition and not condition.matches(decode_record(record).properties)):
                    offset += 1
                    continue
                size += len(record)
                if found and size > MAX_BYTES:
                    return found, offset
                found.append(record)
                offset += 1
                if len(found) >= pull.max_messages:
                    return found, offset
            if not chunk:
                if store.committing:  # its topic is being deleted, or not, as the commit will tell
                    return found, offset
                # Only a damaged database lacks rows; consumers must be able to go past the hole.
                logger.error("%s:%d: no messages from offset %d to %d", pull.topic, pull.queue_id, offset, end)
                return found, end
            if time.thread_time() >= stop:
                break
        return found, offset

    def _response(self, pull: _Pull, code: int, status: str, following: int, low: int, high: int) -> RemotingCommand:
        answer = pull.request.answer(code, status)
        answer.ext_fields = {**pull.header, "nextBeginOffset": str(following), "minOffset": str(low), "maxOffset": str(high)}
        return answer


def _no_permission(request: Asked, kind: str, remark: str) -> RemotingCommand:
    return request.answer(ResponseCode.NO_PERMISSION, remark, {"forbiddenType": kind})


@lru_cache(maxsize=1024)
def _parse_subscription(topic: str, expression: str | None, expression_type: str) -> SubscriptionData:
    if expression_type == ExpressionType.TAG:
        return build_subscription(topic, expression, 0)
    if not expression:
        raise ConfigError(f"the subscription of topic {topic} is empty: write a condition in {expression_type}")
    return SubscriptionData(topic, expression or "", expression_type=expression_type)
