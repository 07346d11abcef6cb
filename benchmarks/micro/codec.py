"""Benchmarks of the codec and of the core: headers, frames, stored messages, properties, ids, batches, heartbeats, process queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.model.enums import ConsumeType, MessageModel, SerializeType, StartFrom
from aiorocketmq.model.filters import build_subscription
from aiorocketmq.model.message import Message
from aiorocketmq.model.properties import decode_properties, encode_properties
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer.batch import build_batch
from aiorocketmq.protocol.bodies import ConsumerData, HeartbeatData, ProducerData
from aiorocketmq.protocol.codes import LanguageCode, RequestCode
from aiorocketmq.protocol.command import RESPONSE_FLAG, RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.message_codec import decode_messages, encode_stored_message
from aiorocketmq.protocol.message_id import UniqueIdGenerator
from aiorocketmq.protocol.templates import SendTemplate
from benchmarks.micro.cases import Run, case

GROUP: Final = "shop_order_service"
TOPIC: Final = "shop_orders"
BROKER: Final = "broker-a"
QUEUE: Final = MessageQueue(TOPIC, BROKER, 3)
BODY: Final = b"x" * 1024
NOW_MS: Final = 1_700_000_000_000
PROPERTIES: Final = {
    "TAGS": "created",
    "KEYS": "order-4711",
    "WAIT": "true",
    "UNIQ_KEY": "C0000201A2F318B4AAC2000000000001",
    "region": "eu",
}
CHUNK: Final = 32
"""Frames of a large chunk, messages of a pull answer and of a batch."""


def order() -> Message:
    """A message as users send them: a kilobyte, a tag, a key, a property."""
    return Message(TOPIC, BODY, tag="created", keys="order-4711", properties={"region": "eu"})


def send_answer(opaque: int, kind: SerializeType) -> bytes:
    """What a broker answers to a send."""
    fields = {
        "queueId": "3",
        "TRACE_ON": "true",
        "MSG_REGION": "DefaultRegion",
        "msgId": "C000020100002A9F0000000000A1B2C3",
        "queueOffset": "123456",
    }
    command = RemotingCommand(
        0, int(LanguageCode.JAVA), 513, opaque=opaque, flag=RESPONSE_FLAG, remark=None, ext_fields=fields, serialize_type=kind
    )
    return encode(command)


def stored_messages(count: int) -> bytes:
    """The body of a pull answer."""
    properties = encode_properties(PROPERTIES | {"CLUSTER": "DefaultCluster"}).encode()
    return b"".join(
        encode_stored_message(
            TOPIC, BODY, properties, queue_id=QUEUE.queue_id, queue_offset=offset, commit_log_offset=offset * 1400, born_timestamp=NOW_MS,
            born_ip=bytes((192, 0, 2, 1)), born_port=40000, store_timestamp=NOW_MS, store_ip=bytes((192, 0, 2, 2)), store_port=10911,
        )
        for offset in range(count)
    )  # fmt: skip


def _encode_send(kind: SerializeType) -> Run:
    template = SendTemplate(GROUP, TOPIC, "TBW102", 4, BROKER, serialize_type=kind)
    text = encode_properties(PROPERTIES)
    return lambda: template.frame(4711, 3, 0, NOW_MS, 0, text, BODY)


@case("frame of a send, JSON header")
def encode_send_json() -> Run:
    return _encode_send(SerializeType.JSON)


@case("frame of a send, JSON header, without orjson", orjson=False)
def encode_send_json_std() -> Run:
    return _encode_send(SerializeType.JSON)


@case("frame of a send, binary header", orjson=False)
def encode_send_binary() -> Run:
    return _encode_send(SerializeType.ROCKETMQ)


def _decode_answers(kind: SerializeType, count: int) -> Callable[[], Run]:
    def setup() -> Run:
        receiver = FrameReceiver()
        chunk = b"".join(send_answer(opaque, kind) for opaque in range(count))
        assert len(receiver.feed(chunk)) == count
        return lambda: receiver.feed(chunk)

    return setup


for _count in (1, CHUNK):
    _what = "1 answer to a send" if _count == 1 else f"{_count} answers to sends in one chunk"
    case(f"{_what}, JSON", messages=_count, name=f"decode_answer_json_{_count}")(_decode_answers(SerializeType.JSON, _count))
    case(f"{_what}, JSON without orjson", messages=_count, orjson=False, name=f"decode_answer_json_std_{_count}")(
        _decode_answers(SerializeType.JSON, _count)
    )
    case(f"{_what}, binary", messages=_count, orjson=False, name=f"decode_answer_binary_{_count}")(
        _decode_answers(SerializeType.ROCKETMQ, _count)
    )


@case(f"{CHUNK} messages of a pull answer", messages=CHUNK, orjson=False)
def decode_pulled() -> Run:
    body = stored_messages(CHUNK)
    return lambda: decode_messages(body, broker_name=BROKER, max_body=1 << 22, queue=QUEUE)


@case(f"{CHUNK} messages into a process queue, and each finished", messages=CHUNK, orjson=False)
def process_queue() -> Run:
    messages = decode_messages(stored_messages(CHUNK), broker_name=BROKER, max_body=1 << 22, queue=QUEUE)
    first, end = messages[0].queue_offset, messages[-1].queue_offset + 1

    def run() -> None:
        queue = ProcessQueue(QUEUE, first)
        queue.put(messages, end)
        for message in messages:
            queue.finish(message)

    return run


@case(f"{CHUNK} messages of a pull answer, all properties read", messages=CHUNK, orjson=False)
def decode_pulled_properties() -> Run:
    body = stored_messages(CHUNK)

    def run() -> int:
        return sum(len(each.properties) for each in decode_messages(body, broker_name=BROKER, max_body=1 << 22, queue=QUEUE))

    return run


@case("properties to text", orjson=False)
def properties_to_text() -> Run:
    return lambda: encode_properties(PROPERTIES)


@case("properties from text", orjson=False)
def properties_from_text() -> Run:
    text = encode_properties(PROPERTIES).encode()
    return lambda: decode_properties(text)


@case("unique message id", orjson=False)
def unique_id() -> Run:
    ids = UniqueIdGenerator(bytes((192, 0, 2, 1)), 4711)
    return lambda: ids.next_id(NOW_MS)


@case(f"batch of {CHUNK} messages checked and encoded", messages=CHUNK, orjson=False)
def encode_batch() -> Run:
    messages = [order() for _ in range(CHUNK)]
    ids = UniqueIdGenerator(bytes(4), 1, 1)
    return lambda: build_batch(messages, lambda count: ids.next_ids(NOW_MS, count))


@case("the same, messages with nothing but a body", messages=CHUNK, orjson=False)
def encode_bare_batch() -> Run:
    messages = [Message(TOPIC, BODY) for _ in range(CHUNK)]
    ids = UniqueIdGenerator(bytes(4), 1, 1)
    return lambda: build_batch(messages, lambda count: ids.next_ids(NOW_MS, count))


@case("heartbeat of 1 producer and 2 consumers of 3 topics each", messages=0)
def encode_heartbeat() -> Run:
    consumers = [
        ConsumerData(
            group_name=f"{GROUP}_{number}",
            consume_type=ConsumeType.CONSUME_PASSIVELY,
            message_model=MessageModel.CLUSTERING,
            consume_from_where=StartFrom.LAST.value,
            subscription_data_set=[build_subscription(f"{TOPIC}_{topic}", "created || paid", NOW_MS) for topic in range(3)],
            unit_mode=False,
        )
        for number in range(2)
    ]
    data = HeartbeatData(client_id="192.0.2.1@4711", producer_data_set=[ProducerData(GROUP)], consumer_data_set=consumers)
    return lambda: encode(RemotingCommand.request(RequestCode.HEART_BEAT, body=data.encode()))
