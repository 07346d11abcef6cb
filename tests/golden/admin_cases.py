"""Every record of administration with something in every field, for Java to read (`java/AdminRecords.java`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from typing import Any, NamedTuple, get_args, get_origin

from aiorocketmq.model.filters import SubscriptionData, build_subscription
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import (
    admin_access,
    admin_brokers,
    admin_containers,
    admin_ha,
    admin_lite,
    admin_queues,
    admin_topics,
    bodies_access,
    bodies_admin,
    headers_access,
    headers_admin,
)
from aiorocketmq.protocol.beans import Bean
from aiorocketmq.protocol.header import Header, RpcHeader, TopicHeader
from aiorocketmq.protocol.record import Record, fields_of

JAVA_NAMES = {
    "UserRequestHeader": "UpdateUserRequestHeader",
    "AclRequestHeader": "UpdateAclRequestHeader",
    "ListAclRequestHeader": "ListAclsRequestHeader",
    "GetBrokerAclConfigResponseHeader": "GetBrokerAclConfigResponseHeader",
    "TopicConfigWrapper": "TopicConfigAndMappingSerializeWrapper",
    "MessageRequestModes": "MessageRequestModeSerializeWrapper",
    "TimerMetrics": "TimerMetrics$TimerMetricsSerializeWrapper",
    "AclConfig": "AclConfig",
    "HAClientRuntimeInfo": "HARuntimeInfo$HAClientRuntimeInfo",
    "HAConnectionRuntimeInfo": "HARuntimeInfo$HAConnectionRuntimeInfo",
    "ReplicaIdentity": "BrokerReplicasInfo$ReplicaIdentity",
    "ReplicasInfo": "BrokerReplicasInfo$ReplicasInfo",
    "PolicyInfo": "AclInfo$PolicyInfo",
    "PolicyEntryInfo": "AclInfo$PolicyEntryInfo",
    "TimerMetric": "TimerMetrics$Metric",
}
NOT_IN_JAVA = {
    "SetCommitLogReadModeRequestHeader", "SwitchTimerEngineRequestHeader",  # bare fields there
    "ColdDataFlowInfo", "ColdRead",  # made by hand there
    "ConsumerOffsetWrapper", "DelayOffsetWrapper", "PlainAccessConfig", "ClientGroup",
}  # fmt: skip
WORDS = {
    "language": "PYTHON", "topicFilterType": "MULTI_TAG", "topicQueueMappingInfoMap": {}, "topicQueueMappingDetailMap": {},
    "groupRetryPolicy": {"type": "EXPONENTIAL", "exponentialRetryPolicy": {"initial": 1, "max": 2, "multiplier": 3}},
    "subscriptionDataSet": [{"topic": "orders", "expressionType": "TAG", "expression": "red", "version": 7}],
    "orderTopicConf": "x", "rmqVersion": "x",
}  # fmt: skip
HEADER_MODULES = (headers_admin, headers_access, admin_access, admin_brokers, admin_containers, admin_ha, admin_lite, admin_topics)
BODY_MODULES = (bodies_admin, bodies_access, admin_access, admin_brokers, admin_ha, admin_lite, admin_queues, admin_topics)


class AdminCase(NamedTuple):
    """A record for Java to read, and the text that is handed over."""

    kind: str
    java: str
    record: Record
    text: str

    def line(self) -> str:
        return f"{self.kind} {self.java} {self.text}"


def _kinds(modules: Any, base: type[Record]) -> list[type[Record]]:
    found = {item for module in modules for item in vars(module).values() if isinstance(item, type) and issubclass(item, base)}
    return sorted(found - {Header, RpcHeader, TopicHeader, Bean}, key=lambda item: item.__name__)


def sample(hint: Any, name: str = "") -> Any:
    """A value of a type."""
    if name in WORDS:
        return WORDS[name]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (list, set):
        return origin([sample(arguments[0])])
    if origin is dict:
        return {sample(arguments[0]): sample(arguments[1])}
    if isinstance(hint, type) and issubclass(hint, Record):
        return filled(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return list(hint)[-1]
    plain: dict[Any, Any] = {
        str: "x", int: 7, bool: True, float: 1.5, MessageQueue: MessageQueue("orders", "broker-a", 1),
        SubscriptionData: build_subscription("orders", "red || blue", 7),
    }  # fmt: skip
    return plain[hint]


def filled(kind: type[Record]) -> Record:
    """A record with something in every field."""
    return kind(**{each.attribute: sample(each.hint, each.name) for each in fields_of(kind)})


def admin_cases() -> Iterator[AdminCase]:
    """All of them."""
    for kind in _kinds(HEADER_MODULES, Header):
        if kind.__name__ not in NOT_IN_JAVA:
            header = filled(kind)
            assert isinstance(header, Header)
            yield AdminCase("header", JAVA_NAMES.get(kind.__name__, kind.__name__), header, json.dumps(header.to_ext()))
    for kind in _kinds(BODY_MODULES, Bean):
        if kind.__name__ not in NOT_IN_JAVA:
            body = filled(kind)
            assert isinstance(body, Bean)
            yield AdminCase("body", JAVA_NAMES.get(kind.__name__, kind.__name__), body, body.encode().decode())
