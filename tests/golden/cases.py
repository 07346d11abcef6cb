"""What this library writes, in fixed values, for Java to read: `regenerate.py` hands it to Java, `test_java_view.py` checks what Java saw.

Everything is written with both JSON codecs, because their bytes differ (raw UTF-8 or escapes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from aiorocketmq.model.enums import ConsumeType, MessageModel, SerializeType
from aiorocketmq.model.filters import build_subscription
from aiorocketmq.model.properties import encode_properties
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol import bodies, jsoncodec
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.compression import ZLIB_FLAGS, compress
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.headers_client import SendMessageRequestHeaderV2
from aiorocketmq.protocol.message_codec import BatchItem, encode_stored_message
from aiorocketmq.protocol.templates import PullTemplate, SendTemplate
from tests.support.records import encode_batch

BODY = bytes(range(256))
PROPERTIES = {"KEYS": "k1 k2", "unicode": "中文 🚀 é", "quotes": 'a"b\\c/d\te', "blank": " "}
LONG_PROPERTIES = {"pad": "中" * 1500, "UNIQ_KEY": "7F0000010001000000000000ABCD0001"}
BORN = 1_700_000_000_123
STORED = 1_700_000_000_456
FIRST = MessageQueue("orders", "broker-a", 0)
SECOND = MessageQueue("orders", "broker-a", 1)


class Case(NamedTuple):
    """One thing for Java to read."""

    kind: str
    name: str
    data: bytes

    def line(self) -> str:
        """The line of standard input that hands it over."""
        return f"{self.kind} {self.name} {self.data.hex()}"


def _frames(codec: str) -> Iterator[Case]:
    for kind in SerializeType:
        name = f"{kind.name}-{codec}"
        send = SendTemplate("orders", "%RETRY%orders", "TBW102", 4, "broker-a", serialize_type=kind)
        properties = encode_properties(PROPERTIES)
        yield Case("frame", f"send-template-{name}", send.frame(5, 3, ZLIB_FLAGS, BORN, -7, properties, BODY))
        yield Case("frame", f"send-long-{name}", send.frame(6, 3, 0, BORN, 0, encode_properties(LONG_PROPERTIES), BODY))
        batch = encode_batch([BatchItem(0, b"x", b"")])
        yield Case("frame", f"send-batch-{name}", send.frame(7, 3, 0, BORN, 0, "", batch, batch=True))
        header = SendMessageRequestHeaderV2(
            "orders", "orders", "TBW102", 4, 3, 0, BORN, 1, properties, 2, False, 16, False, "broker-a"
        )  # fmt: skip
        slow = RemotingCommand.request(RequestCode.SEND_MESSAGE_V2, header, BODY, serialize_type=kind)
        slow.opaque = 8
        yield Case("frame", f"send-slow-{name}", encode(slow))
        pull = PullTemplate(
            "workers", "orders", 2, "broker-a", max_msg_nums=32, max_msg_bytes=262144, suspend_timeout_millis=15000,
            sub_version=BORN, subscription="TagA || 中文", expression_type="TAG", serialize_type=kind,
        )  # fmt: skip
        yield Case("frame", f"pull-{name}", pull.frame(2**31 - 1, 123456789012, 7, -1))
        answer = RemotingCommand.response(slow, 17, 'topic "中文" does not exist', {"MSG_REGION": "é"})
        yield Case("frame", f"response-{name}", encode(answer))


def _bodies(codec: str) -> Iterator[Case]:
    subscription = build_subscription("orders", "TagA || 中文", BORN)
    consumer = bodies.ConsumerData(
        "workers", ConsumeType.CONSUME_PASSIVELY, MessageModel.CLUSTERING, "CONSUME_FROM_FIRST_OFFSET", [subscription]
    )
    yield Case("body", f"HeartbeatData-{codec}", bodies.HeartbeatData("c@1", [bodies.ProducerData("orders")], [consumer]).encode())
    broker = BrokerData("DefaultCluster", "broker-a", {0: "10.1.2.3:10911", 1: "10.1.2.4:10911"})
    route = TopicRouteData((QueueData("broker-a", 8, 4, 6, 0),), (broker,), "broker-a:4")
    yield Case("body", f"TopicRouteData-strict-{codec}", bodies.encode_topic_route(route))
    yield Case("body", f"TopicRouteData-loose-{codec}", bodies.encode_topic_route(route, strict=False))
    cluster = bodies.ClusterInfo({"broker-a": broker}, {"DefaultCluster": ["broker-a"]})
    yield Case("body", f"ClusterInfo-{codec}", cluster.encode())
    yield Case("body", f"LockBatchRequestBody-{codec}", bodies.LockBatchRequestBody("workers", "c@1", [FIRST, SECOND]).encode())
    yield Case("body", f"LockBatchResponseBody-{codec}", bodies.LockBatchResponseBody([FIRST]).encode())
    yield Case("body", f"TopicStatsTable-{codec}", bodies.TopicStatsTable({FIRST: bodies.TopicOffset(1, 4, BORN)}).encode())
    yield Case("body", f"ConsumeStats-{codec}", bodies.ConsumeStats({FIRST: bodies.OffsetWrapper(10, 7, 8, BORN)}, 1.5).encode())
    yield Case("body", f"ResetOffsetBody-{codec}", bodies.ResetOffsetBody({FIRST: 5}).encode())
    info = bodies.ConsumerRunningInfo(
        properties={"PROP_CONSUMER_START_TIMESTAMP": str(BORN)},
        subscription_set=[subscription],
        mq_table={FIRST: bodies.ProcessQueueInfo(commit_offset=3, locked=True)},
        status_table={"orders": bodies.ConsumeStatus(pull_tps=2.5)},
    )
    yield Case("body", f"ConsumerRunningInfo-{codec}", info.encode())
    config = bodies.SubscriptionGroupConfig("workers", retry_max_times=3)
    yield Case("body", f"SubscriptionGroupConfig-{codec}", config.encode())
    yield Case("body", f"TopicConfig-{codec}", bodies.TopicConfig("orders", 8, 4, 6).encode())
    yield Case("body", f"TopicList-{codec}", bodies.TopicList(["orders", "bills"]).encode())
    yield Case("body", f"KVTable-{codec}", bodies.KVTable({"k": "中文"}).encode())


def _record(name: str, topic: str, born_ip: bytes, store_ip: bytes, body: bytes = BODY, sys_flag: int = 0) -> Case:
    data = encode_stored_message(
        topic, body, encode_properties(PROPERTIES).encode(), queue_id=3, queue_offset=2**40, commit_log_offset=2**50, flag=-42,
        sys_flag=sys_flag, born_timestamp=BORN, born_ip=born_ip, born_port=54321, store_timestamp=STORED, store_ip=store_ip,
        store_port=10911, reconsume_times=2, prepared_transaction_offset=77,
    )  # fmt: skip
    return Case("record", name, data)


V4 = bytes((10, 1, 2, 3))
V6 = bytes.fromhex("20010db800000000000000000000ffff")


def _records() -> Iterator[Case]:
    yield _record("v4", "orders", V4, V4)
    yield _record("v6", "orders", V6, V6)
    yield _record("v6-born", "orders", V6, V4)
    yield _record("v6-store", "orders", V4, V6)
    yield _record("topic-127", "t" * 127, V4, V4)
    yield _record("zlib", "orders", V4, V4, compress(BODY * 17), ZLIB_FLAGS)
    items = [BatchItem(index - 1, b"item %d" % index, encode_properties({"index": str(index), "u": "中"}).encode()) for index in range(3)]
    yield Case("batch", "three", encode_batch(items))


def long_topic_record() -> Case:
    """A record of the second form, which only 5.x reads."""
    return _record("topic-207", "%RETRY%" + "g" * 200, V4, V4)


def all_cases(version: str) -> list[Case]:
    """Everything for one Java version; bodies and JSON headers once with each codec that is installed."""
    cases: list[Case] = []
    for codec, enabled in (("std", False), ("orjson", True)):
        if enabled and not jsoncodec.HAVE_ORJSON:
            continue
        jsoncodec.use_orjson(enabled)
        cases += [*_frames(codec), *_bodies(codec)]
    jsoncodec.use_orjson(jsoncodec.HAVE_ORJSON)
    cases += _records()
    if version.startswith("5"):
        cases.append(long_topic_record())
    return cases
