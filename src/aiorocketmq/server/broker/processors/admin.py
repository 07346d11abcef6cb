"""Administration of topics, groups, offsets and settings (Java: `AdminBrokerProcessor`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from aiorocketmq.errors import RocketMQError, broker_error
from aiorocketmq.model import names
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.parsing import number_or_none
from aiorocketmq.protocol.bodies import (
    ConsumerOffsetWrapper,
    CreateTopicListRequestBody,
    DataVersion,
    KVTable,
    SubscriptionGroupConfig,
    SubscriptionGroupList,
    SubscriptionGroupWrapper,
    TopicConfig,
    TopicConfigWrapper,
    TopicList,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import RpcHeader
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
from aiorocketmq.protocol.settings import format_settings
from aiorocketmq.server.broker import attributes
from aiorocketmq.server.broker.processors.monitor import MonitorProcessor
from aiorocketmq.server.broker.processors.operators import OperatorProcessor
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Request, Resource, operation
from aiorocketmq.server.settings import parse_settings

_CHANGEABLE: Final = frozenset(
    {
        "autoCreateTopicEnable", "autoCreateSubscriptionGroup", "brokerPermission", "longPollingEnable", "useServerSideResetOffset",
        "enableRetryTopicV2", "popFromRetryProbability",
    }
)  # fmt: skip
_FURTHER_SYSTEM_TOPICS: Final = ("RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC", "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC")
"""Names that real brokers keep for themselves, whether they have such a topic or not."""
_FILTER_TYPES: Final = ("SINGLE_TAG", "MULTI_TAG")
MAX_QUEUES: Final = 1024
"""Queues of a topic here: as many as the largest topic that every broker has, and few enough to be looked through in one go."""
_MAX_LIST: Final = 1024 * 1024
"""Bytes of a list of topics or groups that are created together."""
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

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table."""
        topic, group = Resource.TOPIC, Resource.GROUP
        change_cluster, look_at_cluster = Need(Action.UPDATE, Resource.CLUSTER), Need(Action.GET, Resource.CLUSTER)
        list_all = Need(Action.LIST, Resource.CLUSTER)
        return (
            operation(RequestCode.UPDATE_AND_CREATE_TOPIC, CreateTopicRequestHeader, self._put_topic, Need(Action.CREATE, topic, "topic")),
            operation(
                RequestCode.UPDATE_AND_CREATE_TOPIC_LIST,
                RpcHeader,
                self._put_topics,
                Need(Action.CREATE, topic, lambda request: [each.topic_name for each in request.body.topic_config_list]),
                body=CreateTopicListRequestBody,
                max_body=_MAX_LIST,
            ),
            operation(
                RequestCode.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader, self._delete_topic, Need(Action.DELETE, topic, "topic")
            ),
            operation(RequestCode.GET_TOPIC_CONFIG, GetTopicConfigRequestHeader, self._topic_config, Need(Action.GET, topic, "topic")),
            operation(RequestCode.GET_ALL_TOPIC_CONFIG, GetAllTopicConfigRequestHeader, self._topic_configs, list_all),
            operation(RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_BROKER, RpcHeader, self._system_topics, list_all),
            operation(
                RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
                RpcHeader,
                self._put_group,
                Need(Action.CREATE, group, lambda request: (request.body.group_name,)),
                body=SubscriptionGroupConfig,
            ),
            operation(
                RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
                RpcHeader,
                self._put_groups,
                Need(Action.CREATE, group, lambda request: [each.group_name for each in request.body.group_config_list]),
                body=SubscriptionGroupList,
                max_body=_MAX_LIST,
            ),
            operation(
                RequestCode.DELETE_SUBSCRIPTIONGROUP,
                DeleteSubscriptionGroupRequestHeader,
                self._delete_group,
                Need(Action.DELETE, group, "group_name"),
            ),
            operation(
                RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG,
                GetSubscriptionGroupConfigRequestHeader,
                self._group_config,
                Need(Action.GET, group, "group"),
            ),
            operation(RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG, GetAllSubscriptionGroupRequestHeader, self._group_configs, list_all),
            operation(RequestCode.GET_ALL_CONSUMER_OFFSET, RpcHeader, self._all_offsets, list_all),
            operation(RequestCode.GET_BROKER_CONFIG, RpcHeader, self._get_settings, look_at_cluster),
            operation(RequestCode.UPDATE_BROKER_CONFIG, RpcHeader, self._update_settings, change_cluster),
            operation(RequestCode.GET_BROKER_RUNTIME_INFO, RpcHeader, self._runtime_info, look_at_cluster),
            *self._monitor.operations(),
            *OperatorProcessor(self._state).operations(),
        )

    def _answer_when_stored(self, request: Request[Any, Any], *, registered: bool = False) -> None:
        """Answer once the changes of this tick are committed and, if wanted, known to the name servers."""

        def stored(error: RocketMQError | None) -> None:
            if error is None and registered:
                self._when_registered(lambda: request.done(None))
            else:
                request.done(error)

        self._state.store.after_commit(stored)

    # -- topics -------------------------------------------------------------------------------------------------------

    def _put_topic(self, request: Plain[CreateTopicRequestHeader]) -> None:
        header = request.header
        known = self._state.topics.latest(header.topic)
        if header.topic_filter_type not in _FILTER_TYPES:
            raise broker_error(ResponseCode.SYSTEM_ERROR, f"topicFilterType = [{header.topic_filter_type}] value invalid")
        self._check_name(header.topic)
        self._put_checked(
            TopicConfig(
                topic_name=header.topic,
                read_queue_nums=header.read_queue_nums,
                write_queue_nums=header.write_queue_nums,
                perm=header.perm,
                topic_filter_type=header.topic_filter_type,
                topic_sys_flag=header.topic_sys_flag or 0,
                order=header.order,
                attributes=self._attributes(known, attributes.read_changes(header.attributes or "")),
            )
        )
        self._answer_when_stored(request, registered=True)

    def _attributes(self, known: TopicConfig | None, changes: Mapping[str, str]) -> dict[str, str]:
        """The attributes of a topic after some changes; it keeps those that are not named."""
        if changes.get(f"+{attributes.MESSAGE_TYPE}") == attributes.MIXED:
            raise broker_error(ResponseCode.INVALID_PARAMETER, "MIXED message type is not supported.")
        return attributes.changed(known.attributes if known is not None else None, changes)

    def _put_topics(self, request: Request[RpcHeader, CreateTopicListRequestBody]) -> None:
        known = self._state.topics.latest
        changed: list[TopicConfig] = []
        for topic in request.body.topic_config_list:
            old = known(topic.topic_name)
            changed.append(topic.replace(attributes=self._attributes(old, topic.attributes)))
        self._put_checked(*changed)
        self._answer_when_stored(request, registered=True)

    def _put_checked(self, *topics: TopicConfig) -> None:
        """Create or change topics; none of them when one is not legal."""
        for topic in topics:
            self._check(topic)
        for topic in topics:
            self._state.topics.put(topic)

    def _check(self, topic: TopicConfig) -> None:
        name = topic.topic_name
        self._check_name(name)
        most = max(topic.read_queue_nums, topic.write_queue_nums)
        if most > MAX_QUEUES:
            raise broker_error(
                ResponseCode.INVALID_PARAMETER, f"topic[{name}]: {most} queues are too many, this server has {MAX_QUEUES} at most"
            )

    def _check_name(self, name: str) -> None:
        names.check_topic(name)
        if self._state.topics.is_system(name):
            raise broker_error(ResponseCode.INVALID_PARAMETER, f"The topic[{name}] is conflict with system topic.")

    def _delete_topic(self, request: Plain[DeleteTopicRequestHeader]) -> None:
        header = request.header
        state = self._state
        if state.topics.is_system(header.topic):
            raise broker_error(ResponseCode.INVALID_PARAMETER, f"The topic[{header.topic}] is conflict with system topic.")
        # The topics through which its messages come back to groups that pop go with it, as with a real broker.
        retries = [
            names.pop_retry_topic(group, header.topic, v2=v2) for group in state.offsets.groups_of(header.topic) for v2 in (False, True)
        ]
        for topic in [header.topic, *(retry for retry in retries if retry in state.topics)]:
            self._forget_topic(topic)
        self._answer_when_stored(request)

    def _forget_topic(self, topic: str) -> None:
        state = self._state
        state.topics.delete(topic)
        state.offsets.drop(topic=topic)
        state.orders.forget_all(topic=topic)

        def gone(error: RocketMQError | None) -> None:
            if error is None:
                state.stats.forget(topic=topic)
                state.taken.forget_topic(topic)
            state.polling.wake(topic)
            for waiting in (state.pops, state.pop_watchers):
                waiting.wake_all(topic)

        state.store.after_commit(gone)

    def _topic_config(self, request: Plain[GetTopicConfigRequestHeader]) -> RemotingCommand:
        header = request.header
        return request.answer(body=self._state.topics.require(header.topic).encode())

    def _topic_configs(self, request: Plain[GetAllTopicConfigRequestHeader]) -> RemotingCommand:
        header = request.header
        topics = list(self._state.topics)
        start = max(0, header.topic_seq)
        page = topics[start : start + max(1, header.max_topic_num or _PAGE)]
        body = TopicConfigWrapper({topic.topic_name: topic for topic in page}, self._state.topics.version)
        return request.answer(header=GetAllTopicConfigResponseHeader(len(topics)), body=body.encode())

    def _system_topics(self, request: Plain[RpcHeader]) -> RemotingCommand:
        state = self._state
        topics = {topic.topic_name for topic in state.topics if state.topics.is_system(topic.topic_name)}
        topics.update(names.SYSTEM_TOPICS, _FURTHER_SYSTEM_TOPICS)
        topics.update((f"rmq_sys_SYNC_BROKER_MEMBER_{state.config.name}", f"rmq_sys_REVIVE_LOG_{state.config.cluster}"))
        return request.answer(body=TopicList(sorted(topics)).encode())

    # -- groups -------------------------------------------------------------------------------------------------------

    def _put_group(self, request: Request[RpcHeader, SubscriptionGroupConfig]) -> None:
        self._put(request.body)
        self._answer_when_stored(request)

    def _put_groups(self, request: Request[RpcHeader, SubscriptionGroupList]) -> None:
        for group in request.body.group_config_list:
            self._put(group)
        self._answer_when_stored(request)

    def _put(self, group: SubscriptionGroupConfig) -> None:
        names.check_group(group.group_name)
        if group.retry_queue_nums > MAX_QUEUES:
            raise broker_error(
                ResponseCode.INVALID_PARAMETER,
                f"group[{group.group_name}]: {group.retry_queue_nums} retry queues are too many, this server has {MAX_QUEUES} at most",
            )
        self._state.groups.put(group)

    def _delete_group(self, request: Plain[DeleteSubscriptionGroupRequestHeader]) -> None:
        header = request.header
        self._state.groups.delete(header.group_name)
        self._state.orders.forget_all(group=header.group_name)
        if header.clean_offset or header.remove_offset:
            self._state.offsets.drop(group=header.group_name)
        self._answer_when_stored(request)

        def gone(error: RocketMQError | None) -> None:
            if error is None:
                self._state.stats.forget(group=header.group_name)

        self._state.store.after_commit(gone)

    def _group_config(self, request: Plain[GetSubscriptionGroupConfigRequestHeader]) -> RemotingCommand:
        header = request.header
        return request.answer(body=_complete(self._state.groups.require(header.group)).encode())

    def _group_configs(self, request: Plain[GetAllSubscriptionGroupRequestHeader]) -> RemotingCommand:
        header = request.header
        groups = list(self._state.groups)
        start = max(0, header.group_seq)
        page = groups[start : start + max(1, header.max_group_num or _PAGE)]
        body = SubscriptionGroupWrapper({group.group_name: _complete(group) for group in page}, {}, self._state.groups.version)
        return request.answer(header=GetAllSubscriptionGroupResponseHeader(len(groups)), body=body.encode())

    # -- offsets ------------------------------------------------------------------------------------------------------

    def _all_offsets(self, request: Plain[RpcHeader]) -> RemotingCommand:
        offsets = self._state.offsets
        table = {f"{topic}@{group}": dict(queues) for topic, group, queues in offsets.items()}
        pulled = {f"{topic}@{group}": dict(queues) for topic, group, queues in offsets.pulled_items()}
        topics: dict[str, list[str]] = {}
        for topic, group, _ in offsets.items():
            topics.setdefault(group, []).append(topic)
        return request.answer(body=ConsumerOffsetWrapper(table, DataVersion(timestamp=self._state.now_ms()), pulled, topics).encode())

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
            "brokerRole": "SLAVE" if config.broker_id else "SYNC_MASTER" if state.store.on_commit is not None else "ASYNC_MASTER",
            "defaultTopicQueueNums": str(config.default_topic_queues),
            "enablePropertyFilter": "false",
            "flushDiskType": "SYNC_FLUSH" if config.flush == "sync" else "ASYNC_FLUSH",
            "listenPort": state.address.rpartition(":")[2],
            "enablePopMessageThreshold": _text(config.pop_threshold is not None),
            "enableRetryTopicV2": _text(config.pop_retry_v2),
            "longPollingEnable": _text(config.long_polling),
            "maxMessageSize": str(config.max_message_size),
            "messageDelayLevel": " ".join(f"{seconds:g}s" for seconds in config.delay_levels),
            "namesrvAddr": ";".join(config.name_servers),
            "popFromRetryProbability": str(config.pop_retry_first),
            "regionId": config.region_id,
            "timerWheelEnable": "true",
            "useServerSideResetOffset": _text(config.server_side_reset),
        }

    def _get_settings(self, request: Plain[RpcHeader]) -> RemotingCommand:
        header = GetBrokerConfigResponseHeader(self._state.topics.version.encode().decode())
        return request.answer(header=header, body=format_settings(self._settings()))

    def _update_settings(self, request: Plain[RpcHeader]) -> RemotingCommand | None:
        changes = parse_settings(request.body, self._settings(), _CHANGEABLE)
        config = self._state.config
        perm = changes.get("brokerPermission", str(self._state.perm))
        number = number_or_none(perm, 0, int(Permission.READ | Permission.WRITE | Permission.INHERIT))
        if number is None:
            raise broker_error(ResponseCode.INVALID_PARAMETER, f"brokerPermission {perm[:20]!r} is no permission")
        retry_first = changes.get("popFromRetryProbability", str(config.pop_retry_first))
        percent = number_or_none(retry_first, 0, 100)
        if percent is None:
            text = f"popFromRetryProbability {retry_first[:20]!r} is no number from 0 to 100"
            raise broker_error(ResponseCode.INVALID_PARAMETER, text)
        changed, self._state.perm = number != self._state.perm, number
        config.auto_create_topics = changes.get("autoCreateTopicEnable", _text(config.auto_create_topics)) == "true"
        config.auto_create_groups = changes.get("autoCreateSubscriptionGroup", _text(config.auto_create_groups)) == "true"
        config.long_polling = changes.get("longPollingEnable", _text(config.long_polling)) == "true"
        config.pop_retry_first = percent
        config.pop_retry_v2 = changes.get("enableRetryTopicV2", _text(config.pop_retry_v2)) == "true"
        config.server_side_reset = changes.get("useServerSideResetOffset", _text(config.server_side_reset)) == "true"
        if not changed:
            return request.answer()
        self._state.topics.tell_all()
        self._when_registered(lambda: request.done(None))
        return None

    def _runtime_info(self, request: Plain[RpcHeader]) -> RemotingCommand:
        return request.answer(body=KVTable(self._monitor.runtime_info()).encode())


def _complete(group: SubscriptionGroupConfig) -> SubscriptionGroupConfig:
    """A group as it is told, with the policy that it has when nobody has given it another."""
    return group if group.group_retry_policy is not None else group.replace(group_retry_policy={"type": "CUSTOMIZED"})


def _text(switch: bool) -> str:
    return "true" if switch else "false"
