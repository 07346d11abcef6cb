"""This library reads what Java wrote, field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.model.names import java_hash
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.model.properties import decode_properties, encode_properties
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import bodies, jsoncodec
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.headers_client import (
    CheckTransactionStateRequestHeader,
    ConsumerSendMsgBackRequestHeader,
    EndTransactionRequestHeader,
    PullMessageRequestHeader,
    PullMessageResponseHeader,
    SendMessageRequestHeader,
    SendMessageRequestHeaderV2,
    SendMessageResponseHeader,
    UpdateConsumerOffsetRequestHeader,
)
from aiorocketmq.protocol.message_codec import body_crc, decode_batch, decode_message, encode_stored_message
from tests.support.records import encode_batch

VERSIONS = ("5.5.0", "4.9.7")


def golden(kind: str) -> list[Any]:
    """The values of one kind, as test parameters."""
    found = []
    for version in VERSIONS:
        for line in (Path(__file__).parent / f"java-{version}.jsonl").read_text("utf-8").splitlines():
            item = json.loads(line)
            if item["kind"] == kind:
                found.append(pytest.param(item, id=f"{version}-{item['name'] or 'empty'}".encode("ascii", "backslashreplace").decode()))
    assert found
    return found


@pytest.fixture
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "orjson" and not jsoncodec.HAVE_ORJSON:
        pytest.skip("orjson is not installed")
    for name in ("loads", "dumps", "quote"):  # restored after the test
        monkeypatch.setattr(jsoncodec, name, getattr(jsoncodec, name))
    jsoncodec.use_orjson(request.param == "orjson")
    return str(request.param)


HEADERS = {
    "send-v2": SendMessageRequestHeaderV2,
    "send-v1": SendMessageRequestHeader,
    "pull": PullMessageRequestHeader,
    "pull-response": PullMessageResponseHeader,
    "send-response": SendMessageResponseHeader,
    "oneway": UpdateConsumerOffsetRequestHeader,
    "send-back": ConsumerSendMsgBackRequestHeader,
    "end-transaction": EndTransactionRequestHeader,
    "end-transaction-check": EndTransactionRequestHeader,
    "check-transaction": CheckTransactionStateRequestHeader,
}


@pytest.mark.feature("O1", "O2", "O3", "O4", "O5")
@pytest.mark.parametrize("codec", ["std", "orjson"], indirect=True)
@pytest.mark.parametrize("item", golden("frame"))
def test_frame(item: dict[str, Any], codec: str) -> None:
    data = bytes.fromhex(item["frame"])
    (command,) = FrameReceiver().feed(data)
    assert command.serialize_type.name == item["type"]
    assert (command.code, command.language, command.version) == (item["code"], item["language"], item["version"])
    assert (command.opaque, command.flag, command.remark) == (item["opaque"], item["flag"], item["remark"])
    assert command.ext_fields == item["ext"]
    assert command.body.hex() == item["body"]
    (again,) = FrameReceiver().feed(encode(command))
    assert again == command
    header = HEADERS.get(item["name"].rpartition("-")[0])
    if header:
        assert header.from_ext(command.ext_fields).to_ext() == item["ext"]


def test_send_header_fields() -> None:
    item = next(param.values[0] for param in golden("frame") if param.values[0]["name"] == "send-v2-JSON")
    header = SendMessageRequestHeaderV2.from_ext(item["ext"])
    assert (header.producer_group, header.topic, header.default_topic) == ("orders", "%RETRY%orders", "TBW102")
    assert (header.default_topic_queue_nums, header.queue_id, header.sys_flag) == (4, 3, 0x301)
    assert (header.born_timestamp, header.flag, header.reconsume_times, header.max_reconsume_times) == (1700000000123, -7, 1, 16)
    assert header.unit_mode is False
    assert header.batch is False
    assert decode_properties(header.properties or "")["unicode"] == "中文 🚀 é"
    assert header.to_v1().to_v2() == header


@pytest.mark.feature("C4", "N1")
@pytest.mark.parametrize("version", VERSIONS)
def test_transaction_headers_are_written_as_java_writes_them(version: str) -> None:
    known = {param.values[0]["name"]: param.values[0]["ext"] for param in golden("frame") if str(param.id).startswith(version)}
    newer: dict[str, Any] = {"topic": "orders", "bname": "broker-a"} if version == "5.5.0" else {}
    transaction_id = "7F0000010001000000000000ABCD0001"
    end = EndTransactionRequestHeader("pay", 5, 9876543210, 8, transaction_id, False, transaction_id, **newer)
    assert end.to_ext() == known["end-transaction-JSON"]
    answer = EndTransactionRequestHeader("pay", 5, 9876543210, 12, transaction_id, True, transaction_id, **newer)
    assert answer.to_ext() == known["end-transaction-check-JSON"]
    check = CheckTransactionStateRequestHeader.from_ext(known["check-transaction-JSON"])
    assert (check.tran_state_table_offset, check.commit_log_offset, check.transaction_id) == (5, 9876543210, transaction_id)
    assert check.topic == ("RMQ_SYS_TRANS_HALF_TOPIC" if newer else None)


@pytest.mark.feature("A7", "A8", "A9", "A12", "A23")
@pytest.mark.parametrize("item", golden("stored"))
def test_stored_message(item: dict[str, Any]) -> None:
    record = bytes.fromhex(item["record"])
    message = decode_message(record, broker_name="broker-a", max_body=1 << 20)
    assert message.topic == item["topic"]
    assert message.queue == MessageQueue(item["topic"], "broker-a", item["queueId"])
    assert message.body.hex() == item["body"]
    assert (message.flag, message.sys_flag, message.queue_offset) == (item["flag"], item["sysFlag"], item["queueOffset"])
    assert (message.commit_log_offset, message.store_size) == (item["commitLogOffset"], item["storeSize"])
    assert (message.born_timestamp, message.store_timestamp) == (item["bornTimestamp"], item["storeTimestamp"])
    assert (message.reconsume_times, message.prepared_transaction_offset) == (item["reconsumeTimes"], item["preparedTransactionOffset"])
    assert message.body_crc == item["bodyCRC"]
    assert message.properties == item["properties"]
    assert message.tag == item["tags"]
    assert message.offset_message_id == item["offsetMsgId"]
    assert message.message_id == item["properties"]["UNIQ_KEY"]
    assert message.born_host.endswith(f":{item['bornPort']}")
    assert message.store_host.endswith(f":{item['storePort']}")


@pytest.mark.feature("A7", "A8")
@pytest.mark.parametrize("item", golden("stored"))
def test_stored_message_is_written_like_java(item: dict[str, Any]) -> None:
    record = bytes.fromhex(item["record"])
    message = decode_message(record, broker_name="b", max_body=1 << 20)
    raw_body = message._body
    assert body_crc(raw_body) == item["bodyCRC"]
    again = encode_stored_message(
        message.topic,
        raw_body,
        message._raw_properties,
        queue_id=message.queue.queue_id,
        queue_offset=message.queue_offset,
        commit_log_offset=message.commit_log_offset,
        born_timestamp=message.born_timestamp,
        born_ip=message._born_ip,
        born_port=message._born_port,
        store_timestamp=message.store_timestamp,
        store_ip=message._store_ip,
        store_port=message._store_port,
        flag=message.flag,
        sys_flag=message.sys_flag,
        reconsume_times=message.reconsume_times,
        prepared_transaction_offset=message.prepared_transaction_offset,
    )
    assert again == record


@pytest.mark.feature("A15")
@pytest.mark.parametrize("item", golden("batch"))
def test_batch(item: dict[str, Any]) -> None:
    data = bytes.fromhex(item["data"])
    items = decode_batch(data)
    assert [{"flag": each.flag, "body": each.body.hex(), "properties": each.properties.decode()} for each in items] == item["items"]
    assert encode_batch(items) == data


@pytest.mark.feature("A3")
@pytest.mark.parametrize("item", golden("properties"))
def test_properties(item: dict[str, Any]) -> None:
    assert decode_properties(item["text"]) == item["parsed"]
    assert decode_properties(item["text"].encode()) == item["parsed"]
    assert decode_properties(encode_properties(item["parsed"])) == item["parsed"]


@pytest.mark.feature("A20", "B6", "F17")
@pytest.mark.parametrize("item", golden("hash"))
def test_string_hash(item: dict[str, Any]) -> None:
    assert java_hash(item["name"]) == item["hash"]


@pytest.mark.feature("A6")
@pytest.mark.parametrize("item", golden("message-id"))
def test_offset_message_id(item: dict[str, Any]) -> None:
    id_ = OffsetMessageId(item["name"], item["port"], item["offset"])
    assert id_.encode() == item["id"]
    assert OffsetMessageId.decode(item["id"]) == id_


@pytest.mark.parametrize("codec", ["std", "orjson"], indirect=True)
@pytest.mark.parametrize("item", golden("body"))
def test_body(item: dict[str, Any], codec: str) -> None:
    data = bytes.fromhex(item["data"])
    if item["name"] == "TopicRouteData":
        route = bodies.decode_topic_route(data)
        assert route.order_topic_conf == "broker-a:4"
        assert route.broker_datas[0].broker_addrs == {0: "10.1.2.3:10911", 1: "10.1.2.4:10911"}
        assert (route.queue_datas[0].read_queue_nums, route.queue_datas[0].write_queue_nums, route.queue_datas[0].perm) == (8, 4, 6)
        for strict in (True, False):
            assert bodies.decode_topic_route(bodies.encode_topic_route(route, strict=strict)) == route
        return
    kind: Any = getattr(bodies, item["name"])
    body = kind.decode(data)
    assert kind.decode(body.encode()) == body
    CHECKS[item["name"]](body)


def _first() -> MessageQueue:
    return MessageQueue("orders", "broker-a", 0)


def _check_heartbeat(body: bodies.HeartbeatData) -> None:
    assert body.client_id == "10.1.2.3@4711#1"
    assert [producer.group_name for producer in body.producer_data_set] == ["orders"]
    (consumer,) = body.consumer_data_set
    (subscription,) = consumer.subscription_data_set
    assert subscription.tags == {"TagA", "中文"}
    assert subscription.codes == {2598919, 646394}
    assert consumer.consume_from_where == "CONSUME_FROM_FIRST_OFFSET"


def _check_running_info(body: bodies.ConsumerRunningInfo) -> None:
    # 4.9.7 writes the second queue's state as a reference to the first's.
    assert body.mq_table.keys() == {_first(), MessageQueue("orders", "broker-a", 1)}
    assert all(info.commit_offset == 3 and info.locked for info in body.mq_table.values())
    assert body.status_table["orders"].pull_tps == 2.5
    assert body.properties == {"PROP_CONSUMER_START_TIMESTAMP": "1700000000000"}


CHECKS: dict[str, Any] = {
    "HeartbeatData": _check_heartbeat,
    "ConsumerRunningInfo": _check_running_info,
    "ClusterInfo": lambda body: _equal(body.broker_addr_table["broker-a"].broker_addrs, {0: "10.1.2.3:10911", 1: "10.1.2.4:10911"}),
    "LockBatchRequestBody": lambda body: _equal(body.mq_set, [_first(), MessageQueue("orders", "broker-a", 1)]),
    "LockBatchResponseBody": lambda body: _equal(body.lock_ok_mq_set, [_first()]),
    "TopicStatsTable": lambda body: _equal({offset.max_offset for offset in body.offset_table.values()}, {4}),
    "ConsumeStats": lambda body: _equal(body.offset_table[_first()].consumer_offset, 7),
    "ResetOffsetBody": lambda body: _equal(body.offset_table, {_first(): 5}),
    "ConsumerConnection": lambda body: _equal(body.connection_set[0].language, "PYTHON"),
    "SubscriptionGroupConfig": lambda body: _equal((body.group_name, body.retry_max_times), ("workers", 16)),
    "TopicConfig": lambda body: _equal((body.read_queue_nums, body.write_queue_nums, body.perm), (8, 4, 6)),
    "QueryCorrectionOffsetBody": lambda body: _equal(body.correction_offsets, {0: 2, 1: 3}),
}


def _equal(actual: object, expected: object) -> None:
    assert actual == expected
