"""Pulls, short and long (Java: `PullMessageProcessor`, `DefaultMessageStore.getMessage`)."""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from typing import Final

from aiorocketmq.errors import BrokerError, ConfigError, ProtocolError, broker_error
from aiorocketmq.model import names
from aiorocketmq.model.enums import ExpressionType, MessageModel, Permission
from aiorocketmq.model.filters import SQL, SubscriptionData, build_subscription
from aiorocketmq.protocol.bodies import SubscriptionGroupConfig, TopicConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.sysflag import PullSysFlag
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.server.broker.long_polling import ParkedPull
from aiorocketmq.server.broker.processors.common import int_field, text_field
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Handler, failure, guarded
from aiorocketmq.server.store.records import QueueLog

logger = logging.getLogger("aiorocketmq.server")

MAX_MESSAGES: Final = 32
"""Messages that one pull gets at most (Java: maxTransferCountOnMessageInMemory)."""
MAX_BYTES: Final = 256 * 1024
"""Bytes that one pull gets at most, but for a first message that is larger (Java: maxTransferBytesOnMessageInMemory)."""
SCAN_WINDOW: Final = 800
"""Messages that one pull looks at, at least, for ones that match (Java: maxFilterMessageSize / 20)."""
_COLD_CHUNK: Final = 64
_READ: Final = int(Permission.READ)
_FORBIDDEN_BROKER, _FORBIDDEN_GROUP, _FORBIDDEN_TOPIC, _FORBIDDEN_BROADCAST = "1", "2", "3", "4"


class _Pull:
    """One pull request, checked; mutable only by its maker."""

    __slots__ = ("channel", "codes", "group", "header", "max_messages", "offset", "queue_id", "request", "suspend", "topic")

    def __init__(
        self,
        request: RemotingCommand,
        channel: Channel,
        group: SubscriptionGroupConfig,
        topic: TopicConfig,
        codes: frozenset[int],
    ) -> None:
        ext = request.ext_fields
        self.request = request
        self.channel = channel
        self.group = group.group_name
        self.topic = topic.topic_name
        self.codes = codes
        self.queue_id = int_field(ext, "queueId")
        self.offset = int_field(ext, "queueOffset")
        self.max_messages = max(1, min(int_field(ext, "maxMsgNums"), MAX_MESSAGES))
        suspends = int_field(ext, "sysFlag") & PullSysFlag.SUSPEND
        self.suspend = int_field(ext, "suspendTimeoutMillis") / 1000 if suspends else 0.0
        self.header = {
            "suggestWhichBrokerId": str(group.broker_id),
            "topicSysFlag": str(topic.topic_sys_flag),
            "groupSysFlag": str(group.group_sys_flag),
        }


class PullProcessor:
    """Answers pulls from memory or the database, and parks those that find nothing."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    def handlers(self) -> dict[int, Handler]:
        """Handlers by request code."""
        return {RequestCode.PULL_MESSAGE: guarded(self._pull), RequestCode.LITE_PULL_MESSAGE: guarded(self._pull)}

    def _pull(self, request: RemotingCommand, channel: Channel) -> RemotingCommand | None:
        refused = self._forbidden(request)
        if refused is not None:
            return refused
        pull = self._checked(request, channel)
        state = self._state
        ext = request.ext_fields
        if int_field(ext, "sysFlag") & PullSysFlag.COMMIT_OFFSET and (commit := int_field(ext, "commitOffset")) >= 0:
            state.offsets.commit(pull.group, pull.topic, pull.queue_id, commit)
        answer = self._answer(pull)
        if answer.code != ResponseCode.PULL_NOT_FOUND or pull.suspend <= 0:
            return answer
        suspend = pull.suspend if state.config.long_polling else min(1.0, pull.suspend)
        parked = ParkedPull(pull.codes, state.monotonic() + suspend, partial(self._resume, pull), channel)
        return None if state.polling.park(pull.topic, pull.queue_id, parked) else answer

    def _resume(self, pull: _Pull) -> None:
        """A parked pull is carried out again, and answered whatever comes of it."""
        if pull.channel.closed:
            return
        try:
            answer = self._answer(pull)
        except (BrokerError, ProtocolError) as error:
            answer = failure(pull.request, error)
        pull.channel.reply(pull.request, answer)

    # -- checks, in a real broker's order (6.4) -----------------------------------------------------------------------

    def _forbidden(self, request: RemotingCommand) -> RemotingCommand | None:
        """The answer with code 16 and the reason's number, when something forbids the pull."""
        state = self._state
        ext = request.ext_fields
        if not state.readable:
            return _no_permission(request, _FORBIDDEN_BROKER, f"the broker[{state.address}] pulling message is forbidden")
        group_name = text_field(ext, "consumerGroup")
        group = state.groups.require(group_name)
        if not group.consume_enable:
            return _no_permission(request, _FORBIDDEN_GROUP, f"subscription group no permission, {group_name}")
        topic = state.topics.require(text_field(ext, "topic"))
        if not topic.perm & _READ:
            return _no_permission(request, _FORBIDDEN_TOPIC, f"the topic[{topic.topic_name}] pulling message is forbidden")
        if not group.consume_broadcast_enable and not int_field(ext, "sysFlag") & PullSysFlag.SUBSCRIPTION:
            members = state.clients.consumer_group(group_name)
            if members is not None and members.message_model is MessageModel.BROADCASTING:
                return _no_permission(request, _FORBIDDEN_BROADCAST, f"the consumer group[{group_name}] can not consume by broadcast way")
        return None

    def _checked(self, request: RemotingCommand, channel: Channel) -> _Pull:
        state = self._state
        ext = request.ext_fields
        group = state.groups.require(ext["consumerGroup"])
        topic = state.topics.require(ext["topic"])
        queue_id = int_field(ext, "queueId")
        if not 0 <= queue_id < topic.read_queue_nums:
            raise broker_error(
                ResponseCode.INVALID_PARAMETER,
                f"queueId[{queue_id}] is illegal, topic:[{topic.topic_name}] topicConfig.readQueueNums:[{topic.read_queue_nums}] "
                f"consumer:[{channel.address}]",
            )
        subscription = self._subscription(request, group.group_name, topic.topic_name)
        if not subscription.is_tag:
            raise broker_error(
                ResponseCode.SYSTEM_ERROR, f"The broker does not support consumer to filter message by {subscription.expression_type}"
            )
        # A retry topic holds messages of the group alone; they were filtered on their first way.
        codes = frozenset[int]() if topic.topic_name.startswith(names.RETRY_PREFIX) else subscription.codes
        return _Pull(request, channel, group, topic, codes)

    def _subscription(self, request: RemotingCommand, group: str, topic: str) -> SubscriptionData:
        ext = request.ext_fields
        version = int_field(ext, "subVersion")
        if int_field(ext, "sysFlag") & PullSysFlag.SUBSCRIPTION:
            try:
                return _parse_subscription(topic, ext.get("subscription"), ext.get("expressionType") or ExpressionType.TAG)
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
        if known.version < version:
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
        codes = pull.codes
        if not codes:
            found = [row.record for row in store.read(queue, offset, pull.max_messages, MAX_BYTES)]
            if found:
                return found, offset + len(found)
        found = []
        size = 0
        end = min(queue.next_offset, offset + max(SCAN_WINDOW, pull.max_messages))
        while offset < end:
            chunk = store.read(queue, offset, min(end - offset, _COLD_CHUNK), MAX_BYTES)
            for tags_code, _, record in chunk:
                if codes and tags_code not in codes:
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
                # Only a damaged database lacks rows; consumers must be able to go past the hole.
                logger.error("%s:%d: no messages from offset %d to %d", pull.topic, pull.queue_id, offset, end)
                return found, end
        return found, offset

    def _response(self, pull: _Pull, code: int, status: str, following: int, low: int, high: int) -> RemotingCommand:
        answer = RemotingCommand.response(pull.request, code, status)
        answer.ext_fields = {**pull.header, "nextBeginOffset": str(following), "minOffset": str(low), "maxOffset": str(high)}
        return answer


def _no_permission(request: RemotingCommand, kind: str, remark: str) -> RemotingCommand:
    return RemotingCommand.response(request, ResponseCode.NO_PERMISSION, remark, {"forbiddenType": kind})


@lru_cache(maxsize=1024)
def _parse_subscription(topic: str, expression: str | None, expression_type: str) -> SubscriptionData:
    if expression_type == ExpressionType.TAG:
        return build_subscription(topic, expression, 0)
    return build_subscription(topic, SQL(expression or ""), 0)
