"""Sends when everything works: what goes over the wire, what comes back, and where messages go."""

from __future__ import annotations

import asyncio
import random
import re
import zlib
from collections.abc import Sequence

import pytest

import aiorocketmq as rmq
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import InvalidMessageError, InvalidNameError, RouteError, TopicNotFoundError
from aiorocketmq.model.enums import CompressionType, SendStatus, SerializeType
from aiorocketmq.model.message import Message
from aiorocketmq.model.properties import decode_properties
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer import prepare as prepare_module
from aiorocketmq.producer.selectors import hash_index
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import ONEWAY_FLAG, RemotingCommand
from aiorocketmq.protocol.compression import decompress
from aiorocketmq.protocol.message_codec import decode_batch
from tests.support.packages import need
from tests.support.virtual_loop import virtual_time
from tests.support.waiting import eventually
from tests.unit.producer.world import BATCH, SEND, TOPIC, SendWorld, queue_of

# -- the request -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("A1", "A3", "B1", "B21")
@virtual_time
async def test_the_request_has_the_short_header_with_every_field(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        message = Message(
            TOPIC,
            b"body",
            tag="T",
            keys=["k1", "k2"],
            properties={"user": "wert €"},
            flag=-7,
            wait_store_ok=False,
            buyer_id="b",
            delay_level=3,
        )
        result = await producer.send(message)
    (header,) = broker.headers
    assert (header.producer_group, header.topic, header.default_topic, header.default_topic_queue_nums) == ("producers", TOPIC, "TBW102", 4)
    assert (header.flag, header.sys_flag, header.batch, header.unit_mode, header.broker_name) == (-7, 0, False, False, "broker-a")
    assert decode_properties(header.properties or "") == {
        "UNIQ_KEY": result.message_id,
        "WAIT": "false",
        "TAGS": "T",
        "KEYS": "k1 k2",
        "DELAY": "3",
        "BUYER_ID": "b",
        "user": "wert €",
    }
    assert broker.sends[0][2].code == SEND and broker.stored == [b"body"]


@pytest.mark.feature("A18")
@virtual_time
async def test_timers_go_out_as_milliseconds(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await producer.send(Message(TOPIC, b"x", delay=1.5))
        await producer.send(Message(TOPIC, b"x", deliver_at=1_700_000_000.25))
    one, two = (decode_properties(header.properties or "") for header in broker.headers)
    assert one["TIMER_DELAY_MS"] == "1500" and two["TIMER_DELIVER_MS"] == "1700000000250"


@pytest.mark.feature("B25")
@virtual_time
async def test_unit_mode_and_creation_settings_are_told(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(unit_mode=True, create_topic_key="MyTemplate", default_topic_queue_nums=7) as producer:
        await producer.send(Message(TOPIC, b"x"))
    (header,) = broker.headers
    assert (header.unit_mode, header.default_topic, header.default_topic_queue_nums) == (True, "MyTemplate", 7)


@pytest.mark.feature("O2", "O3", "B21")
@virtual_time
async def test_the_binary_header_carries_the_same_fields(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    seen: list[dict[str, str]] = []
    for kind in SerializeType:
        async with world.producer(serialize_type=kind) as producer:
            await producer.send(Message(TOPIC, b"x", flag=3), queue=MessageQueue(TOPIC, "broker-a", 1))
        request = broker.sends[-1][2]
        assert request.serialize_type is kind
        seen.append({name: value for name, value in request.ext_fields.items() if name not in "gi"})
    assert seen[0] == seen[1]


@virtual_time
async def test_the_same_message_can_be_sent_twice_and_gets_two_ids(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    message = Message(TOPIC, b"x", properties={"a": "b"})
    async with world.producer() as producer:
        first, second = await producer.send(message), await producer.send(message)
    assert first.message_id != second.message_id and message.properties == {"a": "b"}
    assert re.fullmatch("[0-9A-F]{32}", first.message_id)
    assert len(broker.stored) == 2


# -- the answer ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("A22", "A24")
@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, SendStatus.SEND_OK),
        (10, SendStatus.FLUSH_DISK_TIMEOUT),
        (11, SendStatus.SLAVE_NOT_AVAILABLE),
        (12, SendStatus.FLUSH_SLAVE_TIMEOUT),
    ],
)
def test_every_status_of_a_stored_message(world: SendWorld, code: int, status: SendStatus) -> None:
    @virtual_time
    async def check() -> None:
        (broker,) = world.route_to("broker-a")
        broker.always = code
        broker.extra = {"transactionId": "tx", "recallHandle": "handle", "MSG_REGION": "eu", "TRACE_ON": "false"}
        async with world.producer() as producer:
            result = await producer.send(Message(TOPIC, b"x"))
        assert result.status is status and result.ok is (code == 0)
        assert result.queue == queue_of(broker.headers[0]) and result.queue_offset == 0
        assert result.offset_message_id == f"{1:032X}"
        assert (result.transaction_id, result.recall_handle, result.region_id, result.trace_on) == ("tx", "handle", "eu", False)
        assert len(broker.sends) == 1

    check()


@pytest.mark.feature("A22")
@virtual_time
async def test_the_result_names_the_queue_that_the_broker_chose(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.extra = {"queueId": "77", "batchUniqId": "the batch"}
    async with world.producer() as producer:
        result = await producer.send(Message(TOPIC, b"x"))
    assert result.queue == MessageQueue(TOPIC, "broker-a", 77) and result.message_id == "the batch"


# -- where messages go -----------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B7")
@virtual_time
async def test_queues_take_turns(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b", queues=3)
    async with world.producer() as producer:
        for name in ("broker-a", "broker-b"):  # a broker without a connection is passed over
            await producer.send(Message(TOPIC, b"x"), queue=MessageQueue(TOPIC, name, 0))
        one.sends.clear()
        two.sends.clear()
        for _ in range(12):
            await producer.send(Message(TOPIC, b"x"))
    counts: dict[MessageQueue, int] = {}
    for header in one.headers + two.headers:
        counts[queue_of(header)] = counts.get(queue_of(header), 0) + 1
    assert len(counts) == 6 and set(counts.values()) == {2}


@pytest.mark.feature("B4")
@virtual_time
async def test_a_given_queue_is_taken(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b")
    queue = MessageQueue(TOPIC, "broker-b", 3)
    async with world.producer() as producer:
        result = await producer.send(Message(TOPIC, b"1"), queue=queue)
        assert (await producer.send_nowait(Message(TOPIC, b"2"), queue=queue)).queue == queue
        await producer.send_oneway(Message(TOPIC, b"3"), queue=queue)
        assert (await producer.send_batch([Message(TOPIC, b"4")], queue=queue)).queue == queue
    assert result.queue == queue and not one.sends and len(two.sends) == 4
    assert {queue_of(header) for header in two.headers} == {queue}


@pytest.mark.feature("B4")
@pytest.mark.parametrize("queue", [MessageQueue("other", "broker-a", 0), "queue", (TOPIC, "broker-a", 0)])
def test_a_queue_of_another_topic_is_refused(world: SendWorld, queue: object) -> None:
    @virtual_time
    async def check() -> None:
        (broker,) = world.route_to("broker-a")
        async with world.producer() as producer:
            with pytest.raises(InvalidMessageError, match="does not belong"):
                await producer.send(Message(TOPIC, b"x"), queue=queue)  # type: ignore[arg-type]
        assert not broker.sends

    check()


@pytest.mark.feature("B5")
@virtual_time
async def test_a_selector_chooses_by_queues_and_message(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    seen: list[tuple[list[int], bytes]] = []

    def last(queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
        seen.append(([queue.queue_id for queue in queues], message.body))
        return queues[-1]

    async with world.producer() as producer:
        await producer.send(Message(TOPIC, b"1"), selector=last)
        await producer.send_nowait(Message(TOPIC, b"2"), selector=last)
        await producer.send_oneway(Message(TOPIC, b"3"), selector=last)
    assert seen == [([0, 1, 2, 3], body) for body in (b"1", b"2", b"3")]
    assert [header.queue_id for header in broker.headers] == [3, 3, 3]


@pytest.mark.feature("B5")
@virtual_time
async def test_a_selector_that_gives_nonsense_is_named(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        for wrong in (None, 3, MessageQueue("other", "broker-a", 0)):
            with pytest.raises(InvalidMessageError, match="the selector gave"):
                await producer.send(Message(TOPIC, b"x"), selector=lambda queues, message, wrong=wrong: wrong)  # type: ignore[misc]
        with pytest.raises(ZeroDivisionError):
            await producer.send(Message(TOPIC, b"x"), selector=lambda queues, message: 1 / 0)  # type: ignore[arg-type,return-value]
        assert (await producer.send(Message(TOPIC, b"x"))).ok
    assert len(broker.sends) == 1


@pytest.mark.feature("B6", "A20")
@virtual_time
async def test_a_sharding_key_goes_where_java_puts_it_and_is_stored(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a", queues=7)
    async with world.producer() as producer:
        for key in ("order-1", "polygenelubricants", "中文", "a"):
            result = await producer.send(Message(TOPIC, b"x"), sharding_key=key)
            assert result.queue.queue_id == hash_index(key, 7)
            assert decode_properties(broker.headers[-1].properties or "")["__SHARDINGKEY"] == key
        await producer.send(Message(TOPIC, b"x", sharding_key="stored only"))
    assert decode_properties(broker.headers[-1].properties or "")["__SHARDINGKEY"] == "stored only"


@virtual_time
async def test_only_one_way_to_fix_the_queue_is_allowed(world: SendWorld) -> None:
    world.route_to("broker-a")
    async with world.producer() as producer:
        with pytest.raises(InvalidMessageError, match="exclude each other"):
            await producer.send(Message(TOPIC, b"x"), queue=MessageQueue(TOPIC, "broker-a", 0), sharding_key="k")
        with pytest.raises(InvalidMessageError, match="sharding_key"):
            await producer.send(Message(TOPIC, b"x"), sharding_key="")


# -- routes ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B13")
@virtual_time
async def test_a_new_topic_takes_the_route_of_the_default_topic(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a", topic="TBW102", queues=8)
    async with world.producer(default_topic_queue_nums=2) as producer:
        for _ in range(8):
            await producer.send(Message("brand_new", b"x"))
    assert {header.queue_id for header in broker.headers} == {0, 1}
    assert {(header.topic, header.default_topic) for header in broker.headers} == {("brand_new", "TBW102")}


@pytest.mark.feature("B14")
@virtual_time
async def test_brokers_that_cannot_be_written_get_nothing(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b")
    route = world.routes[TOPIC]
    queues = tuple(type(data)(data.broker_name, 4, 4, 4 if data.broker_name == "broker-a" else 6) for data in route.queue_datas)
    world.routes[TOPIC] = type(route)(queues, route.broker_datas)
    async with world.producer() as producer:
        for _ in range(8):
            await producer.send(Message(TOPIC, b"x"))
    assert not one.sends and len(two.sends) == 8


@pytest.mark.feature("B15")
@virtual_time
async def test_preloaded_topics_are_known_before_the_first_send(world: SendWorld) -> None:
    world.route_to("broker-a")
    async with world.producer(topics=[TOPIC]) as producer:
        asked = len(world.name_server.of(RequestCode.GET_ROUTEINFO_BY_TOPIC))
        assert asked
        await producer.send(Message(TOPIC, b"x"))
        assert len(world.name_server.of(RequestCode.GET_ROUTEINFO_BY_TOPIC)) == asked


@pytest.mark.feature("B15")
@virtual_time
async def test_the_queues_of_a_topic_can_be_asked_for(world: SendWorld) -> None:
    world.route_to("broker-a", queues=2)
    world.route_to("broker-a", topic="read_only", perm=4)
    async with world.producer() as producer:
        assert await producer.fetch_publish_message_queues(TOPIC) == tuple(MessageQueue(TOPIC, "broker-a", number) for number in range(2))
        with pytest.raises(TopicNotFoundError):
            await producer.fetch_publish_message_queues("unknown")
        with pytest.raises(RouteError, match="can be written"):
            await producer.fetch_publish_message_queues("read_only")
        with pytest.raises(InvalidNameError):
            await producer.fetch_publish_message_queues("a b")


# -- one-way and batches ---------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B3")
@virtual_time
async def test_one_way_messages_are_marked_and_awaited_by_nobody(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        assert await producer.send_oneway(Message(TOPIC, b"x")) is None  # type: ignore[func-returns-value]
        await broker.peer.wait_for(SEND)
        assert broker.sends[0][2].flag == ONEWAY_FLAG
        await eventually(lambda: world.in_flight == 0)  # the heartbeat on the new connection is answered
        # The two kinds of sends have prepared frames of their own.
        await producer.send(Message(TOPIC, b"x"))
        await producer.send_oneway(Message(TOPIC, b"x"))
        await producer.send(Message(TOPIC, b"x"))
    assert [request.flag for _, _, request in broker.sends] == [ONEWAY_FLAG, 0, ONEWAY_FLAG, 0]


@pytest.mark.feature("B3", "O14")
@virtual_time
async def test_one_way_messages_in_a_row_leave_the_loop_its_turns(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await producer.send(Message(TOPIC, b"warm"))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        for body, fewest in ((bytes(3000), 45), (b"x", 3)):
            broker.sends.clear()
            turns = 0
            for _ in range(1000):
                await producer.send_oneway(Message(TOPIC, body))
            assert turns >= fewest and len(broker.sends) > 600, "what was sent long ago has arrived meanwhile"
        counting.cancel()
        await broker.peer.wait_for(SEND, 2001)


@pytest.mark.feature("A15")
@virtual_time
async def test_a_batch_is_one_request_with_an_id_for_each_message(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        messages = [Message(TOPIC, b"body %d" % number, tag="t", keys=f"k{number}", flag=number) for number in range(3)]
        result = await producer.send_batch(messages)
    assert broker.sends[0][2].code == BATCH and broker.headers[0].batch is True
    assert decode_properties(broker.headers[0].properties or "") == {"WAIT": "true"}
    items = decode_batch(broker.stored[0])
    assert [(item.flag, item.body) for item in items] == [(number, b"body %d" % number) for number in range(3)]
    told = [decode_properties(item.properties) for item in items]
    assert ",".join(properties["UNIQ_KEY"] for properties in told) == result.message_id
    assert [properties["KEYS"] for properties in told] == ["k0", "k1", "k2"]


# -- compression -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("A10")
@virtual_time
async def test_bodies_are_compressed_from_the_threshold_on(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await producer.send(Message(TOPIC, b"x" * 4095))
        await producer.send(Message(TOPIC, b"x" * 4096))
    assert [header.sys_flag for header in broker.headers] == [0, 0x301]
    assert broker.stored[0] == b"x" * 4095 and zlib.decompress(broker.stored[1]) == b"x" * 4096


@pytest.mark.feature("A10")
@virtual_time
async def test_a_body_that_compression_would_grow_goes_as_it_is(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    noise = random.Random(1).randbytes(5000)
    async with world.producer() as producer:
        await producer.send(Message(TOPIC, noise))
    assert broker.headers[0].sys_flag == 0 and broker.stored == [noise]


@pytest.mark.feature("A10")
@virtual_time
async def test_threshold_and_level_can_be_set(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    body = b"abc" * 1000
    async with world.producer(compress_msg_body_over_howmuch=100, compress_level=9) as producer:
        await producer.send(Message(TOPIC, body))
        await producer.send_batch([Message(TOPIC, body)])
    assert broker.stored[0] == zlib.compress(body, 9) and broker.headers[1].sys_flag == 0


@pytest.mark.feature("A10")
@virtual_time
async def test_big_bodies_are_compressed_in_a_thread_and_keep_their_turn(world: SendWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "COMPRESS_IN_THREAD", 1000)
    (broker,) = world.route_to("broker-a", queues=1)
    async with world.producer(compress_msg_body_over_howmuch=100, topics=[TOPIC]) as producer:
        bodies = [b"1" * 5000, b"2", b"3" * 2000, b"4"]
        futures = [producer.send_nowait(Message(TOPIC, body)) for body in bodies]
        assert not broker.sends
        await asyncio.gather(*futures)
    assert [zlib.decompress(body) if len(body) > 1 else body for body in broker.stored] == bodies
    assert [header.sys_flag for header in broker.headers] == [0x301, 0, 0x301, 0]


@pytest.mark.feature("A10")
@virtual_time
async def test_a_big_body_that_compression_would_grow_goes_as_it_is(world: SendWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "COMPRESS_IN_THREAD", 1000)
    (broker,) = world.route_to("broker-a")
    noise = random.Random(1).randbytes(5000)
    async with world.producer(topics=[TOPIC]) as producer:
        await producer.send(Message(TOPIC, noise))
    assert broker.headers[0].sys_flag == 0 and broker.stored == [noise]


@pytest.mark.feature("A11")
@pytest.mark.parametrize("kind", CompressionType)
@virtual_time
async def test_the_kind_of_compression_is_chosen(world: SendWorld, kind: CompressionType) -> None:
    need(kind)
    (broker,) = world.route_to("broker-a")
    body = b"rocket" * 1000
    async with world.producer(compress_type=kind) as producer:
        await producer.send(Message(TOPIC, body))
    flags = broker.headers[0].sys_flag
    assert flags == 0x1 | kind.value << 8
    assert len(broker.stored[0]) < 1000 and decompress(broker.stored[0], flags, 6000) == body


@pytest.mark.feature("A11")
@pytest.mark.parametrize("in_thread", [False, True])
@virtual_time
async def test_the_bodies_of_a_batch_are_compressed_when_that_is_wanted(
    world: SendWorld, in_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_thread:
        monkeypatch.setattr(prepare_module, "COMPRESS_IN_THREAD", 1000)
    (broker,) = world.route_to("broker-a")
    noise = random.Random(1).randbytes(6000)
    async with world.producer(compress_batches=True, topics=[TOPIC]) as producer:
        await producer.send_batch([Message(TOPIC, b"x" * 3000, tag="t"), Message(TOPIC, b"y"), Message(TOPIC, b"z" * 3000, flag=7)])
        await producer.send_batch([Message(TOPIC, noise)])
        await producer.send_batch([Message(TOPIC, b"x" * 1000)] * 3)
    items = decode_batch(broker.stored[0])
    assert [header.sys_flag for header in broker.headers] == [0x301, 0, 0]  # noise grows, and three times 1000 bytes are too few
    assert [zlib.decompress(item.body) for item in items] == [b"x" * 3000, b"y", b"z" * 3000] and items[2].flag == 7
    assert decode_properties(items[0].properties)["TAGS"] == "t"
    assert decode_batch(broker.stored[1])[0].body == noise


# -- refused before anything is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.feature("B12", "A4")
@virtual_time
async def test_empty_and_oversized_bodies_are_refused(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        with pytest.raises(InvalidMessageError, match="is empty"):
            await producer.send(Message(TOPIC, b""))
        with pytest.raises(InvalidMessageError, match="4194305 bytes, the limit max_message_size is 4194304"):
            await producer.send(Message(TOPIC, b"x" * (4 * 1024 * 1024 + 1)))
        with pytest.raises(InvalidMessageError, match="is empty"):
            await producer.send_batch([Message(TOPIC, b"x"), Message(TOPIC, b"")])
        with pytest.raises(InvalidMessageError, match="the limit max_message_size"):
            await producer.send_batch([Message(TOPIC, b"x" * 2_100_000)] * 2)
        assert not broker.sends
        assert (await producer.send(Message(TOPIC, b"x" * 4 * 1024 * 1024))).ok


@pytest.mark.feature("A15")
@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "without messages"),
        ([Message("a", b"x"), Message("b", b"x")], "mixes the topics"),
        ([Message("a", b"x"), Message("a", b"x", wait_store_ok=False)], "wait_store_ok"),
        ([Message("a", b"x", delay_level=1)], "delay"),
        ([Message("a", b"x", delay=1)], "delay"),
        ([Message("%RETRY%g", b"x")], "retry topic"),
        (["x"], "not a Message"),
    ],
)
def test_messages_that_are_no_batch_are_refused(world: SendWorld, messages: list[Message], words: str) -> None:
    @virtual_time
    async def check() -> None:
        async with world.producer() as producer:
            with pytest.raises(InvalidMessageError, match=words):
                await producer.send_batch(messages)

    check()


@pytest.mark.feature("P1", "P3")
@virtual_time
async def test_illegal_topics_are_refused(world: SendWorld) -> None:
    async with world.producer() as producer:
        for topic in ("", "a b", "x" * 128, "SCHEDULE_TOPIC_XXXX"):
            with pytest.raises(InvalidNameError):
                await producer.send(Message(topic, b"x"))
            with pytest.raises(InvalidNameError):
                await producer.send_batch([Message(topic, b"x")])
        with pytest.raises(InvalidMessageError, match="not a Message"):
            await producer.send(b"x")  # type: ignore[arg-type]


# -- hooks -----------------------------------------------------------------------------------------------------------------------------


class RecordingHook:
    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self.broken = False

    def before_request(self, address: str, command: RemotingCommand) -> None:
        if self.broken and command.code == SEND:
            raise RuntimeError("the hook is broken")
        command.ext_fields["signed"] = "yes"

    def after_response(self, address: str, request: RemotingCommand, response: RemotingCommand) -> None:
        self.seen.append((address, request.code, response.code))
        if self.broken:
            raise RuntimeError("the hook is broken")


@pytest.mark.feature("O15")
@virtual_time
async def test_hooks_see_and_change_every_send(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    hook = RecordingHook()
    world.on_instance = lambda instance: instance.remoting.add_hook(hook)
    async with world.producer() as producer:
        await producer.send(Message(TOPIC, b"x"))
        await producer.send_batch([Message(TOPIC, b"x")])
        await producer.send_oneway(Message(TOPIC, b"x"))
        await broker.peer.wait_for(SEND, 2)
        hook.broken = True
        with pytest.raises(RuntimeError, match="the hook is broken"):
            await producer.send(Message(TOPIC, b"x"))
        # On the way back a broken hook is logged, and the message is stored all the same.
        assert (await producer.send_batch([Message(TOPIC, b"x")])).ok
    assert [request.ext_fields["signed"] for _, _, request in broker.sends] == ["yes"] * 4
    told = [entry for entry in hook.seen if entry[1] in (SEND, BATCH)]
    assert told == [(broker.address, SEND, 0), (broker.address, BATCH, 0), (broker.address, BATCH, 0)]


def test_a_body_limit_that_no_frame_can_carry_is_refused() -> None:
    async def check() -> None:
        with pytest.raises(rmq.ConfigError, match="max_message_size"):
            rmq.Producer("a:1", max_message_size=16 * 1024 * 1024)
        rmq.Producer(config=ClientConfig(name_servers="a:1", frame_max_length=64 * 1024 * 1024), max_message_size=16 * 1024 * 1024)

    asyncio.run(check())
