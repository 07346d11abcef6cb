"""Names in a namespace: what is wrapped, what is not, and the way back."""

from __future__ import annotations

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.namespace import Namespace
from aiorocketmq.protocol.message_codec import decode_messages, encode_stored_message

NS = Namespace("ns")


@pytest.mark.feature("L11")
@pytest.mark.parametrize(
    ("user", "wire"),
    [
        ("orders", "ns%orders"),
        ("%RETRY%g", "%RETRY%ns%g"),
        ("%DLQ%g", "%DLQ%ns%g"),
        ("other%orders", "ns%other%orders"),
    ],
)
def test_names_go_out_with_the_namespace_and_come_back_without(user: str, wire: str) -> None:
    assert NS.wrap(user) == wire
    assert NS.unwrap(wire) == user
    assert NS.wrap(wire) == wire, "it is put in once"
    assert NS.unwrap(user) == user
    assert Namespace().wrap(user) == Namespace().unwrap(user) == user


@pytest.mark.feature("L11")
@pytest.mark.parametrize(
    "name",
    [
        "TBW102",
        "RMQ_SYS_TRACE_TOPIC",
        "rmq_sys_x",
        "CID_RMQ_SYS_g",
        "CLIENT_INNER_PRODUCER",
        "TOOLS_CONSUMER",
        "DefaultCluster_REPLY_TOPIC",
        "%LMQ%light",
        "",
    ],
)
def test_what_belongs_to_brokers_and_clients_has_no_namespace(name: str) -> None:
    assert NS.wrap(name) == name
    assert NS.holds(name)


def test_a_namespace_holds_its_own_names_alone() -> None:
    assert [name for name in ("ns%a", "%RETRY%ns%g", "a", "other%a", "%RETRY%g", "nsx%a") if NS.holds(name)] == ["ns%a", "%RETRY%ns%g"]


def test_broker_words_are_told_without_the_namespace() -> None:
    assert NS.unwrap_text("topic[ns%orders] not exist, group ns%g") == "topic[orders] not exist, group g"
    assert NS.unwrap_text(None) is None
    assert Namespace().unwrap_text("a%b") == "a%b"


def test_names_that_are_too_long_with_their_namespace_are_refused() -> None:
    NS.check_topic("t" * 124)
    with pytest.raises(rmq.InvalidNameError, match="128 characters"):
        NS.check_topic("t" * 125)
    NS.check_group("g" * 117)
    with pytest.raises(rmq.InvalidNameError, match="121 characters"):
        NS.check_group("g" * 118)
    with pytest.raises(rmq.InvalidNameError):
        rmq.Producer("a:1", group="g" * 118, namespace="ns")
    with pytest.raises(rmq.InvalidNameError):
        rmq.PushConsumer("a:1", group="g" * 118, namespace="ns")


@pytest.mark.feature("L11")
def test_where_a_dead_letter_came_from_is_told_without_the_namespace() -> None:
    data = encode_stored_message(
        "%DLQ%ns%g", b"x", b"RETRY_TOPIC\x01ns%orders\x02DLQ_ORIGIN_TOPIC\x01ns%orders\x02", queue_id=0, queue_offset=0,
        commit_log_offset=0, born_timestamp=1, born_port=1, born_ip=b"\x7f\0\0\1", store_timestamp=1, store_ip=b"\x7f\0\0\1",
        store_port=10911, flag=0, sys_flag=0, reconsume_times=0, prepared_transaction_offset=0,
    )  # fmt: skip
    messages = decode_messages(data, broker_name="broker-a", max_body=1 << 20)
    NS.unwrap_messages(messages)
    (message,) = messages
    assert (message.topic, message.origin_topic) == ("%DLQ%g", "orders")
    assert {message.properties[name] for name in ("RETRY_TOPIC", "DLQ_ORIGIN_TOPIC")} == {"orders"}
