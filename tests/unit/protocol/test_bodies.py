from __future__ import annotations

import dataclasses

import pytest

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.enums import ConsumeType, MessageModel
from aiorocketmq.model.filters import SQL, build_subscription
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol import (
    admin_access,
    admin_brokers,
    admin_ha,
    admin_lite,
    admin_queues,
    admin_topics,
    bodies,
    bodies_access,
    bodies_admin,
    bodies_client,
    fastjson,
)
from aiorocketmq.protocol.beans import Bean
from aiorocketmq.protocol.record import fields_of

FIRST = MessageQueue("orders", "broker-a", 0)
ROUTE = TopicRouteData(
    (QueueData("broker-a", 8, 4, 6, 0), QueueData("broker-b", 8, 4, 2, 1)),
    (BrokerData("c", "broker-a", {0: "1.2.3.4:5", 1: "1.2.3.4:6"}, True), BrokerData("c", "broker-b", {0: "1.2.3.5:5"})),
)
MODULES = (
    bodies_client, bodies_admin, bodies_access, admin_access, admin_brokers, admin_ha, admin_lite, admin_queues, admin_topics,
)  # fmt: skip
ALL = [getattr(module, name) for module in MODULES for name in module.__all__]
BEANS = [item for item in ALL if isinstance(item, type) and issubclass(item, Bean)]


@pytest.mark.parametrize("kind", BEANS, ids=lambda kind: kind.__name__)
def test_every_body_reads_what_it_writes_and_refuses_nonsense(codec: str, kind: type[Bean]) -> None:
    required = {field.attribute: 0 for field in fields_of(kind) if field.required}
    if not required:
        assert kind.decode(kind().encode()) == kind()
    for data in (b"", b"[]", b"5", b'"x"', b"{", b"\xff\xfe"):
        with pytest.raises(ProtocolError, match=kind.__name__):
            kind.decode(data)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("order", [None, "broker-a:4"])
def test_route(codec: str, strict: bool, order: str | None) -> None:
    route = dataclasses.replace(ROUTE, order_topic_conf=order)
    data = bodies.encode_topic_route(route, strict=strict)
    assert bodies.decode_topic_route(data) == route
    assert (b'{"0":"1.2.3.4:5"' in data) is strict
    assert (b'{0:"1.2.3.4:5"' in data) is not strict


def test_route_of_old_name_servers(codec: str) -> None:
    route = bodies.decode_topic_route(
        b'{"queueDatas":[{"brokerName":"b","readQueueNums":"8","writeQueueNums":8,"perm":6,"topicSynFlag":2}],"brokerDatas":null}'
    )
    assert route == TopicRouteData((QueueData("b", 8, 8, 6, 2),))
    assert bodies.decode_topic_route(b"{}") == TopicRouteData()


@pytest.mark.parametrize("addresses", [b"", b',"brokerAddrs":null', b',"brokerAddrs":{}'])
def test_a_broker_without_addresses_takes_no_other_one_with_it(codec: str, addresses: bytes) -> None:
    route = bodies.decode_topic_route(b'{"brokerDatas":[{"brokerName":"gone"%s},{"brokerName":"b","brokerAddrs":{"0":"a:1"}}]}' % addresses)
    assert [(broker.broker_name, broker.broker_addrs) for broker in route.broker_datas] == [("gone", {}), ("b", {0: "a:1"})]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "body is empty"),
        (b"[]", "not an object"),
        (b'{"queueDatas":5}', "queueDatas is '5'"),
        (b'{"queueDatas":[5]}', "queueDatas is"),
        (b'{"queueDatas":[{}]}', r"queueDatas\[0\]\.brokerName is 'None'"),
        (b'{"queueDatas":[{"brokerName":"b","readQueueNums":8,"writeQueueNums":8}]}', r"queueDatas\[0\]\.perm is 'None'"),
        (b'{"brokerDatas":[{"brokerName":"b","brokerAddrs":{"x":"y"}}]}', r"key of TopicRouteData\.brokerDatas\[0\]\.brokerAddrs is 'x'"),
        (b'{"brokerDatas":[{"brokerName":"b","brokerAddrs":[]}, 7]}', "brokerDatas is"),
    ],
)
def test_bad_routes_are_named(codec: str, data: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=f"TopicRouteData.*{text}|{text}"):
        bodies.decode_topic_route(data)


def test_cluster_info(codec: str) -> None:
    info = bodies.ClusterInfo({broker.broker_name: broker for broker in ROUTE.broker_datas}, {"c": ["broker-a", "broker-b"]})
    assert bodies.ClusterInfo.decode(info.encode()) == info
    with pytest.raises(ProtocolError, match=r"ClusterInfo\.brokerAddrTable\[b\] is '5'"):
        bodies.ClusterInfo.decode(b'{"brokerAddrTable":{"b":5}}')


@pytest.mark.feature("K8")
def test_heartbeat(codec: str) -> None:
    tag = build_subscription("orders", "TagA || 中文", 5)
    sql = build_subscription("bills", SQL("price > 10 AND name = 'é'"), 6)
    consumer = bodies.ConsumerData(
        "workers", ConsumeType.CONSUME_PASSIVELY, MessageModel.BROADCASTING, "CONSUME_FROM_TIMESTAMP", [tag, sql]
    )
    heartbeat = bodies.HeartbeatData("c@1", [bodies.ProducerData("p")], [consumer])
    assert bodies.HeartbeatData.decode(heartbeat.encode()) == heartbeat
    value = fastjson.loads(heartbeat.encode())
    assert value["clientID"] == "c@1"
    assert value["withoutSub"] is False
    assert sorted(value["consumerDataSet"][0]["subscriptionDataSet"][0]["codeSet"]) == [646394, 2598919]


@pytest.mark.feature("K9")
def test_fingerprint_follows_subscriptions_alone() -> None:
    def heartbeat(expression: str = "TagA", version: int = 1, client: str = "c", groups: tuple[str, ...] = ("g", "h")) -> int:
        consumers = [bodies.ConsumerData(group, subscription_data_set=[build_subscription("t", expression, version)]) for group in groups]
        return bodies.HeartbeatData(client, [bodies.ProducerData("p")], consumers).fingerprint()

    base = heartbeat()
    assert base != 0
    assert base == heartbeat(version=2) == heartbeat(client="d") == heartbeat(groups=("h", "g"))
    assert len({base, heartbeat("TagB"), heartbeat(groups=("g",))}) == 3


def test_running_info_with_shared_queues_of_fastjson_1(codec: str) -> None:
    queue = '{"brokerName":"broker-a","queueId":0,"topic":"orders"}'
    text = (
        f'{{"mqPopTable":{{{queue}:{{"droped":true,"waitAckCount":2}}}},"mqTable":{{{{"$ref":"$.mqPopTable.null"}}:{{"commitOffset":3}}}}}}'
    )
    info = bodies.ConsumerRunningInfo.decode(text.encode())
    assert info.mq_pop_table == {FIRST: bodies.PopProcessQueueInfo(2, True)}
    assert info.mq_table == {FIRST: bodies.ProcessQueueInfo(commit_offset=3)}


def test_object_keyed_tables(codec: str) -> None:
    status = bodies.GetConsumerStatusBody({FIRST: 5}, {"c@1": {FIRST: 6}})
    assert bodies.GetConsumerStatusBody.decode(status.encode()) == status
    assert b'{{"brokerName":"broker-a","queueId":0,"topic":"orders"}:5}' in status.encode()
    offsets = bodies.ConsumerOffsetWrapper({"orders@workers": {0: 5, 1: 6}})
    assert bodies.ConsumerOffsetWrapper.decode(offsets.encode()) == offsets
    assert bodies.ConsumerOffsetWrapper.decode(b'{"offsetTable":{"orders@workers":{0:5,"1":6}}}') == offsets


def test_topic_wrapper(codec: str) -> None:
    wrapper = bodies.TopicConfigWrapper({"orders": bodies.TopicConfig("orders", 8, 8)}, bodies.DataVersion(1, 2, 3))
    body = bodies.RegisterBrokerBody(wrapper)
    assert bodies.RegisterBrokerBody.decode(body.encode()) == body
    assert bodies.TopicConfig.decode(b'{"topicName":"t"}') == bodies.TopicConfig("t", 16, 16, 6, "SINGLE_TAG", 0, False, {})


def test_group_defaults_are_those_of_java(codec: str) -> None:
    group = bodies.SubscriptionGroupConfig.decode(b'{"groupName":"g"}')
    assert (group.retry_queue_nums, group.retry_max_times, group.which_broker_when_consume_slowly, group.consume_timeout_minute) == (
        1,
        16,
        1,
        15,
    )
    assert group.consume_enable
    assert group.consume_broadcast_enable
    assert not group.consume_message_orderly
