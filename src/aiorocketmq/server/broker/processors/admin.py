"""Administration of topics, groups, offsets and settings (Java: `AdminBrokerProcessor`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from aiorocketmq.errors import BrokerError, InvalidNameError, RocketMQError, broker_error
from aiorocketmq.model import names
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.parsing import number_or_none
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies import (
    ConsumerOffsetWrapper,
    CreateTopicListRequestBody,
    KVTable,
    ResetOffsetBody,
    SubscriptionGroupConfig,
    SubscriptionGroupList,
    SubscriptionGroupWrapper,
    TopicConfig,
    TopicConfigWrapper,
    TopicList,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_admin import (
    CreateTopicRequestHeader,
    DeleteSubscriptionGroupRequestHeader,
    DeleteTopicRequestHeader,
    GetAllSubscriptionGroupRequestHeader,
    GetAllSubscriptionGroupResponseHeader,
    GetAllTopicConfigRequestHeader,
    GetAllTopicConfigResponseHeader,
    GetBrokerConfigResponseHeader,
    GetSubscriptionGroupConfigRequestHeader,
    GetTopicConfigRequestHeader,
)
from aiorocketmq.protocol.headers_client import ResetOffsetRequestHeader
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.server.broker.processors.monitor import MonitorProcessor
from aiorocketmq.server.broker.searching import search_offset
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Handler, failure, guarded
from aiorocketmq.server.settings import format_settings, parse_settings

_CHANGEABLE: Final = frozenset({"autoCreateTopicEnable", "autoCreateSubscriptionGroup", "brokerPermission", "longPollingEnable"})
_PAGE: Final = 2000
"""Topics or groups in one answer when the asker does not say."""


class AdminProcessor:
    """Handlers for administrators.

    Args:
        state: The broker.
        when_registered: Calls back once the name servers know of all changed topics.
    """

    def __init__(self, state: BrokerState, when_registered: Callable[[Callable[[], None]], None]) -> None:
        self._state = state
        self._when_registered = when_registered
        self._monitor = MonitorProcessor(state)

    def handlers(self) -> dict[int, Handler]:
        """Handlers by request code."""
        plain: dict[int, Handler] = {
            RequestCode.UPDATE_AND_CREATE_TOPIC: self._put_topic,
            RequestCode.UPDATE_AND_CREATE_TOPIC_LIST: self._put_topics,
            RequestCode.DELETE_TOPIC_IN_BROKER: self._delete_topic,
            RequestCode.GET_TOPIC_CONFIG: self._topic_config,
            RequestCode.GET_ALL_TOPIC_CONFIG: self._topic_configs,
            RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER: self._system_topics,
            RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: self._put_group,
            RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: self._put_groups,
            RequestCode.DELETE_SUBSCRIPTIONGROUP: self._delete_group,
            RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG: self._group_config,
            RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG: self._group_configs,
            RequestCode.INVOKE_BROKER_TO_RESET_OFFSET: self._reset_offset,
            RequestCode.GET_ALL_CONSUMER_OFFSET: self._all_offsets,
            RequestCode.GET_BROKER_CONFIG: self._get_settings,
            RequestCode.UPDATE_BROKER_CONFIG: self._update_settings,
            RequestCode.GET_BROKER_RUNTIME_INFO: self._runtime_info,
        }
        return {code: guarded(handler) for code, handler in plain.items()} | self._monitor.handlers()

    def _answer_when_stored(self, request: RemotingCommand, channel: Channel, *, registered: bool = False) -> None:
        """Answer once the changes of this tick are committed and, if wanted, known to the name servers."""

        def stored(error: RocketMQError | None) -> None:
            if isinstance(error, BrokerError):
                channel.reply(request, failure(request, error))
            elif registered:
                self._when_registered(partial(channel.reply, request, RemotingCommand.response(request)))
            else:
                channel.reply(request, RemotingCommand.response(request))

        self._state.store.after_commit(stored)

    # -- topics -------------------------------------------------------------------------------------------------------

    def _put_topic(self, request: RemotingCommand, channel: Channel) -> None:
        header = CreateTopicRequestHeader.from_ext(request.ext_fields)
        known = self._state.topics.get(header.topic)
        attributes = dict(known.attributes) if known is not None else {}
        self._create(
            TopicConfig(
                topic_name=header.topic,
                read_queue_nums=header.read_queue_nums,
                write_queue_nums=header.write_queue_nums,
                perm=header.perm,
                topic_filter_type=header.topic_filter_type,
                topic_sys_flag=header.topic_sys_flag or 0,
                order=header.order,
                attributes=_changed_attributes(attributes, header.attributes or ""),
            )
        )
        self._answer_when_stored(request, channel, registered=True)

    def _put_topics(self, request: RemotingCommand, channel: Channel) -> None:
        for topic in CreateTopicListRequestBody.decode(request.body).topic_config_list:
            self._create(topic)
        self._answer_when_stored(request, channel, registered=True)

    def _create(self, topic: TopicConfig) -> None:
        name = topic.topic_name
        try:
            names.check_topic(name)
        except InvalidNameError as error:
            raise broker_error(ResponseCode.INVALID_PARAMETER, error.message) from None
        if self._state.topics.is_system(name):
            raise broker_error(ResponseCode.INVALID_PARAMETER, f"The topic[{name}] is conflict with system topic.")
        if not 0 <= topic.read_queue_nums <= 65535 or not 0 <= topic.write_queue_nums <= 65535 or not 0 <= topic.perm <= 15:
            raise broker_error(
                ResponseCode.INVALID_PARAMETER,
                f"topic[{name}]: {topic.read_queue_nums} read queues, {topic.write_queue_nums} write queues or perm {topic.perm} "
                "is out of range",
            )
        self._state.topics.put(topic)

    def _delete_topic(self, request: RemotingCommand, channel: Channel) -> None:
        header = DeleteTopicRequestHeader.from_ext(request.ext_fields)
        state = self._state
        if not header.topic:
            raise broker_error(ResponseCode.INVALID_PARAMETER, "The specified topic is blank.")
        if state.topics.is_system(header.topic):
            raise broker_error(ResponseCode.INVALID_PARAMETER, f"The topic[{header.topic}] is conflict with system topic.")
        state.topics.delete(header.topic)
        state.offsets.drop(topic=header.topic)
        self._answer_when_stored(request, channel)

        def wake(error: RocketMQError | None) -> None:
            state.polling.wake(header.topic)

        state.store.after_commit(wake)

    def _topic_config(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetTopicConfigRequestHeader.from_ext(request.ext_fields)
        return RemotingCommand.response(request, body=self._state.topics.require(header.topic).encode())

    def _topic_configs(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetAllTopicConfigRequestHeader.from_ext(request.ext_fields)
        topics = list(self._state.topics)
        start = max(0, header.topic_seq)
        page = topics[start : start + (header.max_topic_num or _PAGE)]
        body = TopicConfigWrapper({topic.topic_name: topic for topic in page}, self._state.topics.version)
        return RemotingCommand.response(request, header=GetAllTopicConfigResponseHeader(len(topics)), body=body.encode())

    def _system_topics(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        topics = [topic.topic_name for topic in self._state.topics if self._state.topics.is_system(topic.topic_name)]
        return RemotingCommand.response(request, body=TopicList(topics).encode())

    # -- groups -------------------------------------------------------------------------------------------------------

    def _put_group(self, request: RemotingCommand, channel: Channel) -> None:
        self._put(SubscriptionGroupConfig.decode(request.body))
        self._answer_when_stored(request, channel)

    def _put_groups(self, request: RemotingCommand, channel: Channel) -> None:
        for group in SubscriptionGroupList.decode(request.body).group_config_list:
            self._put(group)
        self._answer_when_stored(request, channel)

    def _put(self, group: SubscriptionGroupConfig) -> None:
        try:
            names.check_group(group.group_name)
        except InvalidNameError as error:
            raise broker_error(ResponseCode.INVALID_PARAMETER, error.message) from None
        self._state.groups.put(group)

    def _delete_group(self, request: RemotingCommand, channel: Channel) -> None:
        header = DeleteSubscriptionGroupRequestHeader.from_ext(request.ext_fields)
        self._state.groups.delete(header.group_name)
        if header.clean_offset:
            self._state.offsets.drop(group=header.group_name)
        self._answer_when_stored(request, channel)

    def _group_config(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetSubscriptionGroupConfigRequestHeader.from_ext(request.ext_fields)
        return RemotingCommand.response(request, body=self._state.groups.require(header.group).encode())

    def _group_configs(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetAllSubscriptionGroupRequestHeader.from_ext(request.ext_fields)
        groups = list(self._state.groups)
        start = max(0, header.group_seq)
        page = groups[start : start + (header.max_group_num or _PAGE)]
        body = SubscriptionGroupWrapper({group.group_name: group for group in page}, {}, self._state.groups.version)
        return RemotingCommand.response(request, header=GetAllSubscriptionGroupResponseHeader(len(groups)), body=body.encode())

    # -- offsets ------------------------------------------------------------------------------------------------------

    def _reset_offset(self, request: RemotingCommand, channel: Channel) -> None:
        """Set the offsets of a group; its next pulls are told of them (6.10)."""
        header = ResetOffsetRequestHeader.from_ext(request.ext_fields)
        state = self._state
        topic = state.topics.require(header.topic)
        state.groups.require(header.group)
        queues = range(topic.read_queue_nums) if header.queue_id < 0 else [header.queue_id]
        table: dict[MessageQueue, int] = {}
        for queue_id in queues:
            table[MessageQueue(header.topic, state.config.name, queue_id)] = self._reset_target(header, queue_id)
        for queue, offset in table.items():
            state.offsets.reset(header.group, header.topic, queue.queue_id, offset)

        def stored(error: RocketMQError | None) -> None:
            if isinstance(error, BrokerError):
                channel.reply(request, failure(request, error))
                return
            channel.reply(request, RemotingCommand.response(request, body=ResetOffsetBody(table).encode()))
            state.polling.wake(header.topic)

        state.store.after_commit(stored)

    def _reset_target(self, header: ResetOffsetRequestHeader, queue_id: int) -> int:
        store = self._state.store
        low, high = store.bounds(header.topic, queue_id)
        if header.offset is not None and header.offset >= 0:
            if not low <= header.offset <= high + 1:
                raise broker_error(
                    ResponseCode.SYSTEM_ERROR, f"The target offset {header.offset} is not in the range [{low}, {high}] of queue {queue_id}"
                )
            return header.offset
        return high if header.timestamp < 0 else search_offset(store, header.topic, queue_id, header.timestamp)

    def _all_offsets(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        table = {f"{topic}@{group}": dict(queues) for topic, group, queues in self._state.offsets.items()}
        return RemotingCommand.response(request, body=ConsumerOffsetWrapper(table).encode())

    # -- the broker itself --------------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, str]:
        state = self._state
        config = state.config
        return {
            "autoCreateSubscriptionGroup": _text(config.auto_create_groups),
            "autoCreateTopicEnable": _text(config.auto_create_topics),
            "brokerClusterName": config.cluster,
            "brokerId": str(config.broker_id),
            "brokerName": config.name,
            "brokerPermission": str(state.perm),
            "brokerRole": "ASYNC_MASTER",
            "defaultTopicQueueNums": str(config.default_topic_queues),
            "enablePropertyFilter": "false",
            "flushDiskType": "SYNC_FLUSH" if config.flush == "sync" else "ASYNC_FLUSH",
            "listenPort": state.address.rpartition(":")[2],
            "longPollingEnable": _text(config.long_polling),
            "maxMessageSize": str(config.max_message_size),
            "messageDelayLevel": " ".join(f"{seconds:g}s" for seconds in config.delay_levels),
            "namesrvAddr": ";".join(config.name_servers),
            "regionId": config.region_id,
            "timerWheelEnable": "true",
        }

    def _get_settings(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetBrokerConfigResponseHeader(self._state.topics.version.encode().decode())
        return RemotingCommand.response(request, header=header, body=format_settings(self._settings()))

    def _update_settings(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        changes = parse_settings(request.body, self._settings(), _CHANGEABLE)
        config = self._state.config
        perm = changes.get("brokerPermission", str(self._state.perm))
        number = number_or_none(perm, 0, int(Permission.READ | Permission.WRITE | Permission.INHERIT))
        if number is None:
            raise broker_error(ResponseCode.INVALID_PARAMETER, f"brokerPermission {perm[:20]!r} is no permission")
        self._state.perm = number
        config.auto_create_topics = changes.get("autoCreateTopicEnable", _text(config.auto_create_topics)) == "true"
        config.auto_create_groups = changes.get("autoCreateSubscriptionGroup", _text(config.auto_create_groups)) == "true"
        config.long_polling = changes.get("longPollingEnable", _text(config.long_polling)) == "true"
        return RemotingCommand.response(request)

    def _runtime_info(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        return RemotingCommand.response(request, body=KVTable(self._monitor.runtime_info()).encode())


def _text(switch: bool) -> str:
    return "true" if switch else "false"


def _changed_attributes(attributes: dict[str, str], changes: str) -> dict[str, str]:
    """Apply `+name=value,-name` to a topic's attributes (2.9).

    Raises:
        BrokerError: Code 29, the text cannot be read.
    """
    for change in changes.split(","):
        sign, rest = change.strip()[:1], change.strip()[1:]
        name, separator, value = rest.partition("=")
        if not sign:
            continue
        if sign == "+" and name and separator:
            attributes[name] = value
        elif sign == "-" and name and not separator:
            attributes.pop(name, None)
        else:
            raise broker_error(ResponseCode.INVALID_PARAMETER, f"the attribute change {change[:60]!r} is neither +name=value nor -name")
    return attributes
