"""Pulls, short and long (Java: `PullMessageProcessor`, `DefaultMessageStore.getMessage`)."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from aiorocketmq.errors import BrokerError, ConfigError, ProtocolError, broker_error
from aiorocketmq.model import properties as props
from aiorocketmq.model.enums import ExpressionType, MessageModel, Permission
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.sql92 import Condition
from aiorocketmq.protocol.bodies import SubscriptionGroupConfig, TopicConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import PullMessageRequestHeader
from aiorocketmq.protocol.sysflag import PullSysFlag
from aiorocketmq.server.broker.long_polling import ParkedPull
from aiorocketmq.server.broker.reading import matching, subscription_of
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Resource, operation

MAX_MESSAGES: Final = 32
"""Messages that one pull gets at most (Java: maxTransferCountOnMessageInMemory)."""
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
        self._filters = state.filters

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
        if header.sys_flag & PullSysFlag.COMMIT_OFFSET and state.topics.standing(pull.topic) is not None:
            state.offsets.commit(pull.group, pull.topic, pull.queue_id, header.commit_offset)
        answer = self._answer(pull)
        if answer.code != ResponseCode.PULL_NOT_FOUND or pull.suspend <= 0:
            return answer
        if pull.condition is not None and not self._filters.has_room_for(pull.condition):
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
        condition = self._filters.condition(subscription)
        return _Pull(request, group, topic, subscription.codes, condition)

    def _subscription(self, header: PullMessageRequestHeader) -> SubscriptionData:
        group, topic = header.consumer_group, header.topic
        if header.sys_flag & PullSysFlag.SUBSCRIPTION:
            try:
                subscription = subscription_of(topic, header.subscription, header.expression_type or ExpressionType.TAG)
            except ConfigError as error:
                raise broker_error(ResponseCode.SUBSCRIPTION_PARSE_FAILED, f"parse the consumer's subscription failed: {error}") from None
            self._state.clients.note_pulled(group, subscription, header.subscription, self._state.now_ms())
            return subscription
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
        found, following = matching(state.store, queue, offset, pull.max_messages, pull.codes, pull.condition)
        if not found:
            return self._response(pull, ResponseCode.PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE", following, low, high)
        state.stats.pulled(pull.topic, pull.group, len(found))
        answer = self._response(pull, ResponseCode.SUCCESS, "FOUND", following, low, high)
        answer.body = b"".join(found) if len(found) > 1 else found[0]
        return answer

    def _response(self, pull: _Pull, code: int, status: str, following: int, low: int, high: int) -> RemotingCommand:
        self._state.offsets.note_pulled(pull.group, pull.topic, pull.queue_id, following)
        answer = pull.request.answer(code, status)
        answer.ext_fields = {**pull.header, "nextBeginOffset": str(following), "minOffset": str(low), "maxOffset": str(high)}
        return answer


def _no_permission(request: Asked, kind: str, remark: str) -> RemotingCommand:
    return request.answer(ResponseCode.NO_PERMISSION, remark, {"forbiddenType": kind})
