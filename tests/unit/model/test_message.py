"""Messages as users write them: every field, every refusal, and the text of the wire."""

from __future__ import annotations

import copy as copying
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import InvalidMessageError, InvalidNameError, ProtocolError
from aiorocketmq.model.message import Message
from aiorocketmq.model.properties import RESERVED, decode_properties, encode_properties
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage


@pytest.mark.feature("A1")
def test_fields_and_defaults() -> None:
    message = Message("t", b"b")
    assert (message.topic, message.body, message.tag, message.keys, message.properties, message.flag) == ("t", b"b", None, (), {}, 0)
    assert message.wait_store_ok and not message.delayed
    assert message.wire_properties() == {"WAIT": "true"}
    full = Message("t", b"b", tag="T", keys=["a", "b"], properties={"p": "v"}, flag=-1, wait_store_ok=False, buyer_id="x", sharding_key="s")
    assert full.wire_properties() == {
        "p": "v",
        "TAGS": "T",
        "KEYS": "a b",
        "WAIT": "false",
        "BUYER_ID": "x",
        "__SHARDINGKEY": "s",
    }
    assert "t" in repr(full) and "1 bytes" in repr(full)


@pytest.mark.feature("A1", "A4")
def test_bodies_are_bytes_and_copied() -> None:
    buffer = bytearray(b"\x00\x01")
    message = Message("t", buffer)  # type: ignore[arg-type]
    buffer[0] = 9
    assert message.body == b"\x00\x01" and Message("t", memoryview(b"ab")).body == b"ab"  # type: ignore[arg-type]
    for body in ("text", 3, None, [1]):
        with pytest.raises(InvalidMessageError, match="not bytes"):
            Message("t", body)  # type: ignore[arg-type]


@pytest.mark.feature("A1")
def test_keys_are_words() -> None:
    assert Message("t", b"b", keys="one").keys == ("one",)
    assert Message("t", b"b", keys=(key for key in ("a", "b"))).keys == ("a", "b")
    for keys in (["a b"], [""], ["a\t"], [3], ["a\x02"], 3):
        with pytest.raises(InvalidMessageError, match="key"):
            Message("t", b"b", keys=keys)  # type: ignore[arg-type]


@pytest.mark.feature("A1")
def test_tags_are_one_word_without_bars() -> None:
    for tag in ("", " ", "a||b", 3, "a\x01"):
        with pytest.raises(InvalidMessageError, match="tag"):
            Message("t", b"b", tag=tag)  # type: ignore[arg-type]


@pytest.mark.feature("A2")
@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidMessageError, match="reserved"):
        Message("t", b"b", properties={name: "x"})


@pytest.mark.feature("A2")
def test_the_reserved_names_of_java_are_all_there() -> None:
    java = """TRACE_ON MSG_REGION KEYS TAGS WAIT DELAY RETRY_TOPIC REAL_TOPIC REAL_QID TRAN_MSG PGROUP MIN_OFFSET MAX_OFFSET BUYER_ID
        ORIGIN_MESSAGE_ID TRANSFER_FLAG CORRECTION_FLAG MQ2_FLAG RECONSUME_TIME UNIQ_KEY MAX_RECONSUME_TIMES CONSUME_START_TIME INNER_NUM
        INNER_BASE POP_CK POP_CK_OFFSET 1ST_POP_TIME TRAN_PREPARED_QUEUE_OFFSET DUP_INFO EXTEND_UNIQ_INFO INSTANCE_ID CORRELATION_ID
        REPLY_TO_CLIENT TTL ARRIVE_TIME PUSH_REPLY_TIME CLUSTER MSG_TYPE INNER_MULTI_QUEUE_OFFSET __BORNHOST TIMER_DELIVER_MS
        TIMER_DELAY_SEC TIMER_DELAY_MS TIMER_OUT_MS __CRC32#"""
    assert set(java.split()) <= RESERVED


@pytest.mark.feature("A2", "A3")
@pytest.mark.parametrize(
    "properties",
    [{"": "v"}, {" ": "v"}, {"n": ""}, {"n": None}, {"n": 3}, {3: "v"}, {"a\x01b": "v"}, {"n": "a\x02"}, {"n": b"x"}],
)
def test_properties_are_non_empty_strings(properties: dict[str, str]) -> None:
    with pytest.raises(InvalidMessageError, match="property"):
        Message("t", b"b", properties=properties)


@pytest.mark.feature("A3")
def test_a_later_change_of_the_mapping_does_not_reach_the_message() -> None:
    properties = {"a": "b"}
    message = Message("t", b"b", properties=properties)
    properties["KEYS"] = "sneaky"
    assert message.properties == {"a": "b"}


def test_flags_have_32_bits() -> None:
    assert Message("t", b"b", flag=-(2**31)).flag == -(2**31)
    for flag in (2**31, -(2**31) - 1, "1", 1.5, True):
        with pytest.raises(InvalidMessageError, match="32 bits"):
            Message("t", b"b", flag=flag)  # type: ignore[arg-type]


@pytest.mark.feature("P1")
@pytest.mark.parametrize("topic", [None, 3, b"t", ["t"]])
def test_topics_are_strings(topic: object) -> None:
    with pytest.raises(InvalidNameError, match="not a string"):
        Message(topic, b"b")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["false", None, 1])
def test_wait_store_ok_is_a_bool(value: object) -> None:
    for call in (lambda: Message("t", b"b", wait_store_ok=value), lambda: Message("t", b"b").replace(wait_store_ok=value)):  # type: ignore[arg-type]
        with pytest.raises(InvalidMessageError, match=r"wait_store_ok .* is not a bool"):
            call()


class Rude:
    """A value that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("rude")


class Nowhere(tzinfo):
    """A time zone that does not know itself."""

    def utcoffset(self, when: datetime | None) -> None:
        return None


@pytest.mark.feature("P9")
@pytest.mark.parametrize(
    "field", ["tag", "keys", "flag", "delay", "deliver_at", "delay_level", "sharding_key", "buyer_id", "wait_store_ok"]
)
@pytest.mark.parametrize(
    "value", [Rude(), [Rude()], 10**5000, -(10**5000), "x" * 1_000_000 + "\x01 "], ids=[str(number) for number in range(5)]
)
def test_a_value_that_cannot_be_shown_is_refused_in_a_short_line(field: str, value: object) -> None:
    with pytest.raises(InvalidMessageError, match=field.removesuffix("s")) as refused:
        Message("t", b"b", **{field: value})  # type: ignore[arg-type]
    assert len(str(refused.value)) < 500
    with pytest.raises(InvalidMessageError):
        Message("t", b"b", properties={"name": value})  # type: ignore[dict-item]
    with pytest.raises(InvalidNameError) as illegal:
        Message(value, b"b")  # type: ignore[arg-type]
    assert len(str(illegal.value)) < 500


def test_a_time_zone_that_does_not_know_itself_is_none() -> None:
    with pytest.raises(InvalidMessageError, match="has no time zone"):
        Message("t", b"b", deliver_at=datetime(2030, 1, 1, tzinfo=Nowhere()))


def test_properties_are_a_mapping() -> None:
    with pytest.raises(InvalidMessageError, match="not a mapping"):
        Message("t", b"b", properties=[("a", "b")])  # type: ignore[arg-type]


@pytest.mark.feature("A17", "A18")
def test_delays() -> None:
    assert Message("t", b"b", delay_level=18).wire_properties()["DELAY"] == "18"
    assert Message("t", b"b", delay=0.5).wire_properties()["TIMER_DELAY_MS"] == "500"
    assert Message("t", b"b", delay=timedelta(minutes=1)).wire_properties()["TIMER_DELAY_MS"] == "60000"
    moment = datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert Message("t", b"b", deliver_at=moment).wire_properties()["TIMER_DELIVER_MS"] == str(int(moment.timestamp() * 1000))
    assert Message("t", b"b", deliver_at=12.5).wire_properties()["TIMER_DELIVER_MS"] == "12500"
    assert Message("t", b"b", delay=1).delayed and Message("t", b"b", deliver_at=1).delayed and Message("t", b"b", delay_level=1).delayed


@pytest.mark.feature("A17", "A18")
@pytest.mark.parametrize(
    "fields",
    [
        {"delay_level": 0},
        {"delay_level": 19},
        {"delay": 0},
        {"delay": -1},
        {"deliver_at": datetime(2030, 1, 1)},
        {"delay": 1, "delay_level": 1},
        {"delay": 1, "deliver_at": 1},
        {"delay": "1"},
        {"delay": float("inf")},
        {"deliver_at": float("nan")},
        {"deliver_at": "tomorrow"},
        {"delay_level": "3"},
        {"delay_level": True},
        {"delay": True},
        {"delay": 10**400},
        {"delay": 1e17},
        {"deliver_at": -(10**400)},
        {"deliver_at": 1_900_000_000_000},
    ],
)
def test_wrong_delays_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidMessageError):
        Message("t", b"b", **fields)  # type: ignore[arg-type]


@pytest.mark.feature("A20")
@pytest.mark.parametrize("key", ["", 3, "a\x02"])
def test_wrong_sharding_keys_are_refused(key: object) -> None:
    with pytest.raises(InvalidMessageError, match="sharding_key"):
        Message("t", b"b", sharding_key=key)  # type: ignore[arg-type]
    with pytest.raises(InvalidMessageError, match="sharding_key"):
        Message("t", b"b").wire_text("ID", key)  # type: ignore[arg-type]


_words = st.text(st.characters(exclude_characters="\x01\x02", exclude_categories=["Cs"]), min_size=1, max_size=10).filter(str.strip)


@pytest.mark.feature("A3")
@given(
    tag=st.none() | _words.filter(lambda text: "||" not in text),
    keys=st.lists(_words.filter(lambda text: text.split() == [text]), max_size=3),
    properties=st.dictionaries(_words.filter(lambda name: name not in RESERVED), _words, max_size=4),
    sharding_key=st.none() | _words,
    delay_level=st.none() | st.integers(1, 18),
    wait=st.booleans(),
)
def test_the_text_of_the_wire_holds_all_properties(
    tag: str | None, keys: list[str], properties: dict[str, str], sharding_key: str | None, delay_level: int | None, wait: bool
) -> None:
    message = Message(
        "t", b"b", tag=tag, keys=keys, properties=properties, sharding_key=sharding_key, delay_level=delay_level, wait_store_ok=wait
    )
    expected = message.wire_properties() | {"UNIQ_KEY": "ID"}
    assert decode_properties(message.wire_text("ID")) == expected
    assert decode_properties(message.wire_text("ID", "other")) == expected | {"__SHARDINGKEY": "other"}


@pytest.mark.feature("A3")
def test_property_text_is_read_as_java_reads_it() -> None:
    assert decode_properties(b"a\x01b\x02c\x01d\x02") == {"a": "b", "c": "d"}
    assert decode_properties(b"a\x01b\x02c\x01d") == {"a": "b", "c": "d"}
    assert decode_properties(b"a\x01\x02\x01v\x02novalue\x02\x02a\x011\x02a\x012") == {"a": "2"}
    assert decode_properties("a\x01b\x01c\x02") == {"a": "b\x01c"}
    assert decode_properties(b"") == {}
    assert decode_properties(b"a\x01\xff\x02") == {"a": "\udcff"}
    assert encode_properties({"a": "b", "empty": ""}) == "a\x01b\x02"


# -- values that cannot change ---------------------------------------------------------------------------------------------------------


class Strange(str):
    """Text that shows itself as another one."""

    def __str__(self) -> str:
        return "WRONG"

    def __format__(self, spec: str) -> str:
        return "WRONG"


class Word(str, Enum):  # noqa: UP042 - as users write it
    TOPIC = "topic"
    PAID = "paid"
    NAME = "name"


class Level(int, Enum):
    THREE = 3


class Odd(int):
    def __str__(self) -> str:
        return "WRONG"

    def __index__(self) -> int:
        return 99


class Body(bytes):
    def __bytes__(self) -> bytes:
        return b"WRONG"


@pytest.mark.feature("A1", "A2", "A20")
@pytest.mark.parametrize("text", [lambda member: member, lambda member: Strange(member.value)])
def test_derived_values_become_plain_ones(text: Callable[[Word], Any]) -> None:
    paid = text(Word.PAID)
    message = Message(
        text(Word.TOPIC), Body(b"x"), tag=paid, keys=[paid], properties={text(Word.NAME): paid}, sharding_key=paid, buyer_id=paid
    )
    fields = [message.topic, message.tag, *message.keys, *message.properties, *message.properties.values(), message.sharding_key]
    assert fields == ["topic", "paid", "paid", "name", "paid", "paid"] and {type(field) for field in fields} == {str}
    assert (type(message.body), message.body, type(message.buyer_id)) == (bytes, b"x", str)
    wire = "UNIQ_KEY\x01ID\x02WAIT\x01true\x02TAGS\x01paid\x02KEYS\x01paid\x02__SHARDINGKEY\x01paid\x02BUYER_ID\x01paid\x02name\x01paid\x02"
    assert message.wire_text("ID") == wire == message.replace(sharding_key="other").wire_text("ID", paid)
    assert Message("t", b"x", keys=paid).keys == ("paid",)


@pytest.mark.feature("A17")
def test_derived_numbers_become_plain_ones() -> None:
    message = Message("t", b"x", delay_level=Level.THREE, flag=Odd(7))
    assert (type(message.delay_level), message.delay_level, type(message.flag), message.flag) == (int, 3, int, 7)
    assert message.wire_properties()["DELAY"] == "3"
    assert Message("t", b"x", delay_level=Odd(2)).wire_properties()["DELAY"] == "2"
    assert type(Message("t", b"x", delay=type("F", (float,), {})(1.5)).delay) is float


FIELDS: dict[str, Any] = {
    "topic": "other", "body": b"other", "tag": "T", "keys": ("k",), "properties": {"a": "b"}, "delay": 1.5, "deliver_at": 5.0,
    "delay_level": 2, "sharding_key": "s", "flag": 3, "wait_store_ok": False, "buyer_id": "b",
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_messages_do_not_change_but_copies_can(name: str) -> None:
    message = Message("t", b"x")
    text, before = message.wire_text("ID"), getattr(message, name)
    with pytest.raises((AttributeError, TypeError)):
        setattr(message, name, FIELDS[name])
    copy = message.replace(**{name: FIELDS[name]})  # type: ignore[misc]
    assert (getattr(message, name), message.wire_text("ID")) == (before, text)
    assert getattr(copy, name) == FIELDS[name] and copy != message and copy.replace(**{name: before or None} if before else {}) is not copy
    assert copy == Message(**({"topic": "t", "body": b"x"} | {name: FIELDS[name]}))


def test_properties_of_a_message_cannot_be_changed() -> None:
    message = Message("t", b"x", properties={"a": "b"})
    with pytest.raises(TypeError):
        message.properties["KEYS"] = "sneaky"  # type: ignore[index]


def test_one_delay_takes_the_place_of_the_other() -> None:
    message = Message("t", b"x", delay=1.0)
    assert message.replace(delay_level=3).delay is None and message.replace(deliver_at=9).deliver_at == 9.0
    assert not message.replace(delay=None).delayed
    with pytest.raises(InvalidMessageError, match="exclude"):
        message.replace(delay_level=3, deliver_at=9)


def test_a_changed_copy_is_checked() -> None:
    message = Message("t", b"x", tag="a")
    with pytest.raises(InvalidMessageError):
        message.replace(body=b"")
    with pytest.raises(InvalidNameError):
        message.replace(topic="a b")
    with pytest.raises(TypeError):
        message.replace(tags="b")  # type: ignore[call-arg]


@pytest.mark.parametrize("clone", [copying.copy, copying.deepcopy, lambda message: pickle.loads(pickle.dumps(message))])
def test_messages_are_copied_and_pickled(clone: Callable[[Message], Message]) -> None:
    message = Message("t", b"x", tag="T", keys="k", properties={"a": "ä"}, delay=1.5, sharding_key="s", flag=-1, wait_store_ok=False)
    other = clone(message)
    assert other == message and hash(other) == hash(message) and other.wire_text("ID") == message.wire_text("ID")
    assert message != message.replace(flag=1) and message != "t"


@pytest.mark.parametrize("text", ["\ud800", "\udca4", "a\ud83d"])
@pytest.mark.parametrize("field", ["tag", "keys", "sharding_key", "buyer_id"])
def test_text_that_utf_8_cannot_hold_is_refused(field: str, text: str) -> None:
    with pytest.raises(InvalidMessageError, match="surrogates"):
        Message("t", b"x", **{field: text})  # type: ignore[arg-type]
    for properties in ({"k": text}, {text: "v"}):
        with pytest.raises(InvalidMessageError, match="surrogates"):
            Message("t", b"x", properties=properties)
    with pytest.raises(InvalidMessageError, match="surrogates"):
        Message("t", b"x").wire_text("ID", text)
    with pytest.raises(InvalidNameError):
        Message("t" + text, b"x")


@pytest.mark.feature("A3")
def test_properties_leave_room_for_what_brokers_add() -> None:
    fixed = len("UNIQ_KEY\x01") + 56 + len("\x02WAIT\x01true\x02") + len("k\x01\x02")
    most = 32767 - 440 - 2 * len("orders") - fixed
    assert len(Message("orders", b"x", properties={"k": "v" * most}).properties["k"]) == most
    for fields in ({"k": "v" * (most + 1)}, {"k": "ü" * (most // 2 + 1)}):
        with pytest.raises(InvalidMessageError, match="the limit is 32767, of which 452 are for what brokers add") as caught:
            Message("orders", b"x", properties=fields)
        assert "body" in caught.value.hint
    almost = Message("orders", b"x", properties={"k": "v" * most})
    with pytest.raises(InvalidMessageError, match="the limit"):
        almost.wire_text("ID", "key")
    with pytest.raises(InvalidMessageError, match="the limit"):
        Message("orders", b"x", keys=["k" * 100] * 330)


@pytest.mark.feature("A4")
def test_empty_bodies_are_refused_at_once() -> None:
    for body in (b"", bytearray(), memoryview(b"")):
        with pytest.raises(InvalidMessageError, match="at least one byte"):
            Message("t", body)


@pytest.mark.feature("P1")
def test_topics_are_checked_at_once_and_remembered() -> None:
    for topic in ("", " ", "a b", "x" * 128, "ä"):
        for _ in range(2):
            with pytest.raises(InvalidNameError):
                Message(topic, b"x")
    for number in range(5000):
        assert Message(f"topic{number}", b"x").topic == f"topic{number}"


def received(properties: bytes = b"", **fields: object) -> ReceivedMessage:
    values: dict[str, object] = {
        "topic": "t",
        "body": b"body",
        "raw_properties": properties,
        "queue": MessageQueue("t", "broker-a", 3),
        "queue_offset": 7,
        "commit_log_offset": 0xED31C7AB,
        "flag": 1,
        "sys_flag": 0,
        "born_timestamp": 1_700_000_000_123,
        "born_ip": bytes([10, 0, 0, 1]),
        "born_port": 4000,
        "store_timestamp": 1_700_000_000_456,
        "store_ip": bytes([127, 0, 0, 1]),
        "store_port": 0x51AF,
        "reconsume_times": 2,
        "prepared_transaction_offset": 0,
        "store_size": 100,
        "body_crc": 5,
    }
    return ReceivedMessage(**(values | fields))  # type: ignore[arg-type]


@pytest.mark.feature("A23")
@pytest.mark.parametrize(
    ("properties", "topic"),
    [
        (b"", "t"),
        (b"RETRY_TOPIC\x01orders\x02", "orders"),
        (b"DLQ_ORIGIN_TOPIC\x01first\x02RETRY_TOPIC\x01orders\x02", "first"),
    ],
)
def test_origin_topic_is_where_it_was_sent_to(properties: bytes, topic: str) -> None:
    assert received(properties).origin_topic == topic


@pytest.mark.feature("A23")
def test_received_message_becomes_one_to_send() -> None:
    of_the_sender = b"UNIQ_KEY\x01ID\x02TAGS\x01T\x02KEYS\x01a b\x02user\x01v\x02__SHARDINGKEY\x01s\x02BUYER_ID\x01b\x02"
    message = received(of_the_sender + b"DELAY\x013\x02RETRY_TOPIC\x01o\x02")
    plain = Message("o", b"body", tag="T", keys=["a", "b"], properties={"user": "v"}, sharding_key="s", flag=1, buyer_id="b")
    assert message.to_message() == plain
    assert message.to_message(topic="other", properties=None, delay_level=4) == plain.replace(topic="other", properties=None, delay_level=4)
    assert received().to_message() == Message("t", b"body", flag=1)


def test_body_that_is_replaced_is_not_read() -> None:
    def inflate(body: bytes, sys_flag: int) -> bytes:
        raise ProtocolError("damaged")

    damaged = received(body=b"\0", inflate=inflate)
    assert damaged.to_message(body=b"whole").body == b"whole"
    with pytest.raises(ProtocolError):
        damaged.to_message()


def test_what_another_client_has_sent_may_not_be_sent_again() -> None:
    with pytest.raises(InvalidMessageError, match="tag"):
        received(b"TAGS\x01a||b\x02").to_message()
    assert received(b"TAGS\x01a||b\x02").to_message(tag="a").tag == "a"


@pytest.mark.feature("A23", "A6")
def test_what_a_received_message_shows() -> None:
    message = received(b"UNIQ_KEY\x01ID\x02TAGS\x01T\x02KEYS\x01a b\x02user\x01v\x02DELAY\x013\x02__SHARDINGKEY\x01s\x02")
    assert (message.message_id, message.tag, message.keys, message.delay_level, message.sharding_key) == ("ID", "T", ("a", "b"), 3, "s")
    assert message.user_properties == {"user": "v"} and message.transaction_id == "ID"
    assert message.offset_message_id == "7F000001000051AF00000000ED31C7AB"
    assert (message.born_host, message.store_host) == ("10.0.0.1:4000", f"127.0.0.1:{0x51AF}")
    assert message.born_at == datetime.fromtimestamp(1_700_000_000.123, UTC) and message.stored_at.microsecond == 456_000
    assert message.properties is message.properties


@pytest.mark.feature("A23", "A8")
def test_without_properties_the_broker_s_id_stands_in() -> None:
    message = received(born_ip=bytes(15) + b"\x01", store_ip=bytes(15) + b"\x02")
    assert message.message_id == message.offset_message_id and len(message.message_id) == 56
    assert (message.born_host, message.store_host) == ("[::1]:4000", f"[::2]:{0x51AF}")
    assert (message.tag, message.keys, message.delay_level, message.transaction_id) == (None, (), 0, None)


@pytest.mark.feature("A12")
def test_a_compressed_body_is_inflated_once_and_when_it_is_read() -> None:
    calls: list[bytes] = []

    def inflate(body: bytes, sys_flag: int) -> bytes:
        calls.append(body)
        return body * 2

    message = received(inflate=inflate, sys_flag=0x301)
    assert not calls and message.stored_body_size == 4
    assert message.body == b"bodybody" and message.body == b"bodybody" and calls == [b"body"]
    assert message.stored_body_size == 8


def test_a_damaged_body_is_told_at_each_read() -> None:
    def inflate(body: bytes, sys_flag: int) -> bytes:
        raise ProtocolError("damaged")

    message = received(inflate=inflate)
    for _ in range(2):
        with pytest.raises(ProtocolError):
            _ = message.body


def test_messages_may_be_derived_from_in_both_forms() -> None:
    class Order(Message):
        def __init__(self, number: int) -> None:
            super().__init__("orders", str(number).encode(), keys=str(number))
            self.number = number

    order = Order(7)
    assert (order.number, order.body, order.keys) == (7, b"7", ("7",))
    assert "KEYS\x017" in order.wire_text("ID")
    other = order.replace(body=b"8")
    assert (type(other), other.number, other.body, other.keys) == (Order, 7, b"8", ("7",))


class Routed(Message):
    """Has fields of its own, some of them in slots, one of them private."""

    __slots__ = ("__secret", "route", "unset")

    def __init__(self, route: str) -> None:
        super().__init__("orders", b"x", keys="k")
        self.route = route
        self.__secret = len(route)

    @property
    def secret(self) -> int:
        return self.__secret


class Reply(Message):
    """Refers to itself."""

    def __init__(self) -> None:
        super().__init__("orders", b"x")
        self.thread = [self]


def pickled(message: Any) -> Any:
    return pickle.loads(pickle.dumps(message))


CLONES: list[Callable[[Any], Any]] = [copying.copy, copying.deepcopy, lambda message: message.replace(), pickled]


@pytest.mark.parametrize("clone", CLONES)
def test_copies_have_the_slots_of_a_derived_class(clone: Callable[[Any], Any]) -> None:
    other = clone(Routed("north"))
    assert (type(other), other.route, other.secret, other.keys) == (Routed, "north", 5, ("k",)) and not hasattr(other, "unset")


@pytest.mark.parametrize("clone", [copying.deepcopy, pickled])
def test_a_message_that_refers_to_itself_is_copied(clone: Callable[[Any], Any]) -> None:
    other = clone(Reply())
    assert other.thread[0] is other and other.body == b"x"


@pytest.mark.parametrize("keys", [None, "", 0, False, b""])
@pytest.mark.parametrize("others", [{}, {"tag": "a"}])
def test_keys_are_checked_whatever_else_is_given(keys: Any, others: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessageError, match="key"):
        Message("t", b"x", keys=keys, **others)


def test_a_released_memoryview_is_named() -> None:
    view = memoryview(b"body")
    view.release()
    with pytest.raises(InvalidMessageError, match="released"):
        Message("t", view)


# -- priorities and light queues -------------------------------------------------------------------------------------------------------


@pytest.mark.feature("A21", "B27")
def test_priorities_and_light_queues_are_properties_of_the_system() -> None:
    message = Message("t", b"x", priority=3, light_queues=["a", "%LMQ%b-1"], buyer_id="z")
    wire = {"WAIT": "true", "BUYER_ID": "z", "_SYS_MSG_PRIORITY_": "3", "INNER_MULTI_DISPATCH": "%LMQ%a,%LMQ%b-1"}
    assert message.wire_properties() == wire
    assert (message.priority, message.light_queues, message.buyer_id) == (3, ("a", "b-1"), "z")
    assert message.goes_alone and not message.goes_anywhere
    copies = (message.replace(), copying.copy(message), pickle.loads(pickle.dumps(message)))
    assert all(each == message and each.light_queues == ("a", "b-1") for each in copies)
    changed = message.replace(priority=None, light_queues="c")
    assert (changed.priority, changed.light_queues) == (None, ("c",)) and changed.goes_anywhere and changed.goes_alone
    assert Message("t", b"x", priority=0).priority == 0 and Message("t", b"x").priority is None and Message("t", b"x").light_queues == ()
    assert not Message("t", b"x", buyer_id="z").goes_alone


@pytest.mark.feature("A21")
def test_a_light_queue_that_is_named_twice_gets_the_message_once() -> None:
    message = Message("t", b"x", light_queues=["a", "b", "%LMQ%a", "b"])
    assert message.light_queues == ("a", "b") and message.wire_properties()["INNER_MULTI_DISPATCH"] == "%LMQ%a,%LMQ%b"


@pytest.mark.feature("A21", "B27")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"priority": -1}, "priority -1 is out of range"),
        ({"priority": 2**31}, "out of range"),
        ({"priority": True}, "is a bool"),
        ({"priority": "3"}, "is a str"),
        ({"priority": 1, "delay": 5}, "priority 1 excludes"),
        ({"priority": 1, "deliver_at": 2e9}, "priority 1 excludes"),
        ({"priority": 1, "delay_level": 1}, "priority 1 excludes"),
        ({"priority": 1, "sharding_key": "s"}, "priority 1 excludes"),
        ({"light_queues": 5}, "light_queues 5 is a int"),
        ({"light_queues": b"a"}, "is a bytes"),
        ({"light_queues": [""]}, "is empty"),
        ({"light_queues": [5]}, "is a int"),
        ({"light_queues": ["a%b"]}, "holds '%'"),
    ],
)
def test_wrong_priorities_and_light_queues(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidMessageError, match=words) as caught:
        Message("t", b"x", **fields)
    assert caught.value.hint


@pytest.mark.feature("A21")
@pytest.mark.parametrize("name", ["a/b", "a,b", "ä", "x" * 123])
def test_light_queues_have_names_of_topics(name: str) -> None:
    with pytest.raises(InvalidNameError):
        Message("t", b"x", light_queues=[name])
