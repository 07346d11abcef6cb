"""Automatic batching: what leaves together and when, and that every message keeps its own result, order and room."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiorocketmq.errors import ConfigError, InvalidMessageError, WindowFullError
from aiorocketmq.model.message import Message
from aiorocketmq.model.properties import decode_properties
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer import Producer, blocking
from aiorocketmq.producer import prepare as prepare_module
from aiorocketmq.producer.settings import ProducerSettings
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.message_codec import decode_batch
from tests.support.virtual_loop import virtual_time
from tests.unit.producer.batching import BatchBroker, bodies, in_flight, start
from tests.unit.producer.world import BATCH, SEND, TOPIC, SendWorld, now, queue_of

pytestmark = pytest.mark.feature("B18")

OVERHEAD = 22
PROPERTIES = len("UNIQ_KEY\x01\x02WAIT\x01true\x02") + 32
"""Bytes of the properties of a message that has nothing but its id."""


# -- when they leave -------------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_messages_leave_together_after_the_delay_and_each_has_its_own_result(world: SendWorld) -> None:
    producer, made = await start(world)
    async with producer:
        began = now()
        futures = [producer.send_nowait(Message(TOPIC, body, keys=f"k{body.decode()}", flag=-3)) for body in bodies(10)]
        await asyncio.sleep(0.0099)
        assert not made.broker.sends and in_flight(producer)[:2] == (10, 10)
        results = await asyncio.gather(*futures)
        assert now() - began == pytest.approx(0.010) and in_flight(producer) == (0, 0, 0)
    ((_, header, request),) = made.broker.sends
    assert request.code == BATCH and header.batch and header.queue_id is not None
    assert made.bodies == bodies(10) and {item.flag for item in made.items} == {-3}
    assert len({result.message_id for result in results}) == 10
    assert [decode_properties(item.properties)["UNIQ_KEY"] for item in made.items] == [result.message_id for result in results]
    assert [decode_properties(item.properties)["KEYS"] for item in made.items] == [f"k{number}" for number in range(10)]
    assert [result.offset_message_id for result in results] == [f"broker-a-{number}" for number in range(10)]
    assert [result.queue_offset for result in results] == list(range(10))
    assert {result.queue for result in results} == {queue_of(header)}
    assert all(result.ok and result.region_id == "DefaultRegion" and result.recall_handle is None for result in results)


FIELDS: list[dict[str, Any]] = [
    {},
    {"tag": "T"},
    {"tag": "Ä"},
    {"tag": "t" * 1000},
    {"keys": ["k1", "k2"]},
    {"properties": {"user": "wért 中"}},
    {"sharding_key": "shard"},
    {"buyer_id": "b"},
    {"wait_store_ok": False},
    {"tag": "T", "keys": "k", "properties": {"a": "b"}, "flag": 7, "wait_store_ok": False},
]


@virtual_time
async def test_every_message_keeps_its_properties(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_bytes=64 * 1024)
    made.broker.delay = 0.5
    async with producer:
        for fields in FIELDS:
            messages = [Message(TOPIC, b"%d" % number, **fields) for number in range(3)]
            messages[1] = messages[1].replace(keys="more")  # messages with and without properties of their own in one batch
            for kind in ("batch", "alone"):
                made.items.clear()
                futures = [producer.send_nowait(message) for message in messages[: 3 if kind == "batch" else 1]]
                await asyncio.sleep(0.1)
                request = made.broker.sends[-1][2]
                assert in_flight(producer)[2] == (len(request.body) if kind == "batch" else 0)  # the bytes were counted rightly
                results = await asyncio.gather(*futures)
                if kind == "batch":
                    texts = [item.properties for item in made.items]
                    assert {item.flag for item in made.items} == {messages[0].flag}
                else:
                    texts = [(made.broker.headers[-1].properties or "").encode()]
                for message, result, text in zip(messages, results, texts, strict=False):
                    assert decode_properties(text) == {"UNIQ_KEY": result.message_id} | message.wire_properties()


@virtual_time
async def test_awaited_sends_are_gathered_too(world: SendWorld) -> None:
    producer, made = await start(world)
    async with producer:
        results = await asyncio.gather(*[producer.send(Message(TOPIC, body)) for body in bodies(5)])
    assert made.sizes == [5] and [result.queue_offset for result in results] == list(range(5))


@virtual_time
async def test_a_batch_leaves_as_soon_as_the_next_message_would_not_fit(world: SendWorld) -> None:
    record = OVERHEAD + PROPERTIES + 100
    producer, made = await start(world, batch_max_bytes=5 * record + 1)
    async with producer:
        began = now()
        futures = [producer.send_nowait(Message(TOPIC, body)) for body in bodies(23, 100)]
        await asyncio.gather(*futures[:20])
        assert now() == began and made.sizes == [5] * 4
        await asyncio.gather(*futures)
        assert made.sizes == [5, 5, 5, 5, 3] and made.bodies == bodies(23, 100)
        began = now()
        await asyncio.gather(*[producer.send_nowait(Message(TOPIC, body)) for body in bodies(5, 100)])
        assert now() == began and made.sizes[5:] == [5]
    assert all(len(request.body) <= 5 * record + 1 for _, _, request in made.broker.sends)


@virtual_time
async def test_the_delay_counts_from_the_first_message_of_each_batch(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_bytes=400)
    async with producer:
        began = now()
        await asyncio.gather(*[producer.send_nowait(Message(TOPIC, b"x" * 100)) for _ in range(2)])
        await asyncio.sleep(0.005)
        assert made.sizes == [2]
        await producer.send_nowait(Message(TOPIC, b"y"))
        assert now() - began == pytest.approx(0.015)


@virtual_time
async def test_a_batch_that_the_next_message_bursts_leaves_before_it(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_bytes=1000)
    async with producer:
        futures = [producer.send_nowait(Message(TOPIC, b"x" * size)) for size in (10, 10, 850, 10)]
        await asyncio.gather(*futures)
    assert made.sizes == [2, 0, 0] and [len(body) for body in made.bodies] == [10, 10, 850, 10]


@virtual_time
async def test_a_batch_keeps_within_the_size_limit_of_messages(world: SendWorld) -> None:
    producer, made = await start(world, max_message_size=2000, batch_max_bytes=32 * 1024)
    async with producer:
        await asyncio.gather(*[producer.send_nowait(Message(TOPIC, b"x" * 100)) for _ in range(30)])
    assert made.sizes == [11, 11, 8] and all(len(request.body) <= 2000 for _, _, request in made.broker.sends)


@virtual_time
async def test_one_message_goes_as_a_plain_send(world: SendWorld) -> None:
    producer, made = await start(world)
    async with producer:
        began = now()
        result = await producer.send(Message(TOPIC, b"alone" * 1000, tag="t", flag=4, properties={"a": "ü"}))
        assert now() - began == pytest.approx(0.010) and in_flight(producer) == (0, 0, 0)
    ((_, header, request),) = made.broker.sends
    assert request.code == SEND and not header.batch and header.flag == 4
    assert header.sys_flag == 0x301 and len(request.body) < 1000  # compressed as without batching
    assert decode_properties(header.properties or "") == {"UNIQ_KEY": result.message_id, "WAIT": "true", "TAGS": "t", "a": "ü"}


@virtual_time
async def test_a_large_body_that_is_left_alone_is_compressed_in_a_thread(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_bytes=2 * 1024 * 1024)
    async with producer:
        await producer.send(Message(TOPIC, b"x" * 300_000))
    assert made.sizes == [0] and len(made.bodies[0]) < 1000 and made.broker.headers[0].sys_flag == 0x301


@virtual_time
async def test_bodies_in_a_batch_are_not_compressed(world: SendWorld) -> None:
    producer, made = await start(world)
    async with producer:
        await asyncio.gather(*[producer.send_nowait(Message(TOPIC, b"x" * 5000)) for _ in range(2)])
    assert made.sizes == [2] and made.bodies == [b"x" * 5000] * 2 and made.broker.headers[0].sys_flag == 0


@pytest.mark.feature("A11")
@pytest.mark.parametrize("in_thread", [False, True])
@virtual_time
async def test_bodies_in_a_batch_are_compressed_when_that_is_wanted(
    world: SendWorld, in_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_thread:
        monkeypatch.setattr(prepare_module, "COMPRESS_IN_THREAD", 1000)
    producer, made = await start(world, compress_batches=True)
    async with producer:
        results = await asyncio.gather(*[producer.send_nowait(Message(TOPIC, bytes([65 + n]) * 5000)) for n in range(2)])
        assert in_flight(producer) == (0, 0, 0)
    assert made.sizes == [2] and made.broker.headers[0].sys_flag == 0x301
    assert [zlib.decompress(body) for body in made.bodies] == [b"A" * 5000, b"B" * 5000]
    assert [result.queue_offset for result in results] == [0, 1]


@virtual_time
async def test_a_message_spends_at_most_half_of_its_time_waiting_for_others(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_delay=30, send_msg_timeout=2.0)
    async with producer:
        began = now()
        patient = producer.send_nowait(Message(TOPIC, b"1"))
        await asyncio.sleep(0.1)
        hurried = producer.send_nowait(Message(TOPIC, b"2"), timeout=0.4)
        await asyncio.gather(patient, hurried)
        assert now() - began == pytest.approx(0.1 + 0.2)
        began = now()
        await producer.send(Message(TOPIC, b"x"))
        assert now() - began == pytest.approx(1.0)
    assert made.sizes == [2, 0]


@virtual_time
async def test_stop_sends_what_is_gathered(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_delay=30, send_msg_timeout=100)
    began = now()
    futures = [producer.send_nowait(Message(TOPIC, body)) for body in bodies(7)]
    await producer.stop()
    assert now() - began < 0.1 and made.sizes == [7]
    assert all(future.result().ok for future in futures) and in_flight(producer) == (0, 0, 0)


@virtual_time
async def test_sends_that_get_their_room_while_the_producer_stops_go_at_once(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_delay=30, send_msg_timeout=100, max_in_flight=2)
    made.broker.delay = 1.0
    tasks = [asyncio.create_task(producer.send(Message(TOPIC, body))) for body in bodies(4)]
    await asyncio.sleep(0.5)
    assert made.sizes == [2]  # the window was full of messages that wait for others
    began = now()
    await producer.stop()
    assert now() - began == pytest.approx(1.5, abs=0.01)
    assert [(await task).ok for task in tasks] == [True] * 4 and sorted(made.bodies) == bodies(4)


@virtual_time
async def test_a_full_window_of_gathered_messages_does_not_wait_for_more(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_delay=5, send_msg_timeout=100, max_in_flight=4)
    async with producer:
        began = now()
        await asyncio.gather(*[producer.send(Message(TOPIC, body)) for body in bodies(8)])
        assert now() == began + 5  # the last four: nobody waits for room behind them
        assert made.sizes == [4, 4]
        futures = [producer.send_nowait(Message(TOPIC, b"x")) for _ in range(4)]
        with pytest.raises(WindowFullError):
            producer.send_nowait(Message(TOPIC, b"x"))
        began = now()
        await asyncio.gather(*futures)
        assert now() == began and made.sizes == [4, 4, 4]


# -- what leaves together --------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_topics_tags_queues_and_kinds_do_not_mix(world: SendWorld) -> None:
    producer, made = await start(world, topics=(TOPIC, "invoices"))
    queue = MessageQueue(TOPIC, "broker-a", 3)
    kinds: list[Callable[[], asyncio.Future[SendResult]]] = [
        lambda: producer.send_nowait(Message(TOPIC, b"0")),
        lambda: producer.send_nowait(Message("invoices", b"1")),
        lambda: producer.send_nowait(Message(TOPIC, b"2", tag="T")),
        lambda: producer.send_nowait(Message(TOPIC, b"3", wait_store_ok=False)),
        lambda: producer.send_nowait(Message(TOPIC, b"4"), queue=queue),
        lambda: asyncio.ensure_future(producer.send(Message(TOPIC, b"5"))),
        lambda: asyncio.ensure_future(producer.send(Message(TOPIC, b"6", tag="T", wait_store_ok=False), queue=queue)),
    ]
    async with producer:
        results = await asyncio.gather(*[kind() for _ in range(3) for kind in kinds])
    assert made.sizes == [3] * 7
    assert sorted(made.bodies) == sorted(b"%d" % number for number in range(7) for _ in range(3))
    for _, header, request in made.broker.sends:
        (body,) = {item.body for item in decode_batch(request.body)}
        wait, tag = ("false" if body in b"36" else "true"), ({"TAGS": "T"} if body in b"26" else {})
        assert decode_properties(header.properties or "") == {"WAIT": wait} | tag
        assert header.topic == ("invoices" if body == b"1" else TOPIC)
        if body in b"46":
            assert queue_of(header) == queue
    assert results[4].queue == results[6].queue == queue


@virtual_time
async def test_selectors_and_sharding_keys_gather_by_their_queue(world: SendWorld) -> None:
    producer, made = await start(world)
    seen: list[bytes] = []

    def last(queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
        seen.append(message.body)
        return queues[-1]

    async with producer:
        plain = [producer.send_nowait(Message(TOPIC, b"p"), queue=MessageQueue(TOPIC, "broker-a", 3))]
        selected = [producer.send_nowait(Message(TOPIC, body), selector=last) for body in (b"a", b"b")]
        keyed = [producer.send_nowait(Message(TOPIC, b"%d" % number), sharding_key=f"user-{number % 3}") for number in range(9)]
        results = await asyncio.gather(*plain, *selected, *keyed)
        alone = [await producer.send(Message(TOPIC, b"x"), sharding_key=f"user-{number}") for number in range(3)]
    assert seen == [b"a", b"b"] and [result.queue.queue_id for result in results[:3]] == [3] * 3
    assert [result.queue for result in results[3:]] == [alone[number % 3].queue for number in range(9)]
    assert len(made.broker.sends) == len({result.queue for result in results}) + 3
    for _, header, request in made.broker.sends[:-3]:
        items = decode_batch(request.body)
        numbers = [int(item.body) for item in items if item.body.isdigit()]
        assert numbers == [number for number in range(9) if results[3 + number].queue == queue_of(header)]
        for item in items:
            key = f"user-{int(item.body) % 3}" if item.body.isdigit() else None
            assert decode_properties(item.properties).get("__SHARDINGKEY") == key


@virtual_time
async def test_the_error_of_a_selector_is_the_outcome_and_is_asked_for_once(world: SendWorld) -> None:
    producer, made = await start(world, max_in_flight=1)
    calls: list[bytes] = []

    def broken(queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
        calls.append(message.body)
        raise ZeroDivisionError("mine")

    async with producer:
        with pytest.raises(ZeroDivisionError, match="mine"):
            await producer.send(Message(TOPIC, b"1"), selector=broken)
        with pytest.raises(ZeroDivisionError, match="mine"):
            await producer.send_nowait(Message(TOPIC, b"2"), selector=broken)
        with pytest.raises(InvalidMessageError, match="selector gave"):
            await producer.send(Message(TOPIC, b"3"), selector=lambda queues, message: MessageQueue("other", "b", 0))
        assert in_flight(producer) == (0, 0, 0)
    assert calls == [b"1", b"2"] and not made.broker.sends


@virtual_time
async def test_what_cannot_be_in_a_batch_goes_alone_and_at_once(world: SendWorld) -> None:
    producer, made = await start(world, topics=(TOPIC, "%RETRY%group", "%DLQ%group"), batch_max_bytes=1000)
    async with producer:
        began = now()
        await asyncio.gather(
            *[
                producer.send_nowait(message)
                for message in (
                    Message(TOPIC, b"x", delay_level=1),
                    Message(TOPIC, b"x", delay=timedelta(seconds=1)),
                    Message(TOPIC, b"x", deliver_at=datetime(2030, 1, 1, tzinfo=UTC)),
                    Message("%RETRY%group", b"x"),
                    Message("%DLQ%group", b"x"),
                    Message(TOPIC, b"x" * 1000, tag="large"),
                )
            ]
        )
        assert now() == began and in_flight(producer) == (0, 0, 0)
        await producer.send_oneway(Message(TOPIC, b"x"))
        await producer.send_batch([Message(TOPIC, b"x")] * 2)
        assert now() == began
    assert made.sizes == [0] * 7 + [2]


@virtual_time
async def test_the_first_message_of_an_unknown_topic_goes_alone_and_in_front(world: SendWorld) -> None:
    world.route_to("broker-a")
    made = BatchBroker(world.broker("broker-a"))
    async with world.producer(auto_batch=True) as producer:
        futures = [producer.send_nowait(Message(TOPIC, b"0"))]
        futures += [producer.send_nowait(Message(TOPIC, b"%d" % number), sharding_key="k") for number in (1, 2)]  # nobody knows its queue
        futures += [producer.send_nowait(Message(TOPIC, b"%d" % number)) for number in range(3, 6)]
        await asyncio.gather(*futures)
        await asyncio.gather(*[producer.send_nowait(Message(TOPIC, b"%d" % number), sharding_key="k") for number in range(6, 9)])
    assert made.sizes == [0, 0, 0, 3, 3] and made.bodies == bodies(9)


@virtual_time
async def test_a_key_keeps_its_order_when_a_large_message_comes_between(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_bytes=1000)
    queue = MessageQueue(TOPIC, "broker-a", 1)
    sizes = [10, 10, 2000, 10, 10, 400, 10, 400, 10]
    sent = [(b"%d" % number).ljust(size, b".") for number, size in enumerate(sizes)]
    async with producer:
        await asyncio.gather(*[producer.send_nowait(Message(TOPIC, body), queue=queue) for body in sent])
    assert made.bodies == sent and 0 in made.sizes and max(made.sizes) >= 3
    assert {queue_of(header) for header in made.broker.headers} == {queue}


@virtual_time
async def test_beyond_the_total_limit_messages_go_alone(world: SendWorld) -> None:
    record = OVERHEAD + PROPERTIES + 100
    producer, made = await start(world, total_batch_max_bytes=4 * record)
    made.broker.delay = 1.0
    async with producer:
        futures = [producer.send_nowait(Message(TOPIC, body)) for body in bodies(7, 100)]
        assert in_flight(producer) == (7, 700, 4 * record)
        await asyncio.sleep(0.5)
        assert made.sizes == [4, 0, 0, 0]  # the batch is not answered yet: it still counts
        futures.append(producer.send_nowait(Message(TOPIC, b"8")))
        await asyncio.sleep(0.001)
        assert made.sizes == [4, 0, 0, 0, 0]
        await asyncio.gather(*futures)
        assert in_flight(producer) == (0, 0, 0)
        await asyncio.gather(*[producer.send_nowait(Message(TOPIC, b"x")) for _ in range(2)])
    assert made.sizes == [4, 0, 0, 0, 0, 2] and made.bodies[:7] == bodies(7, 100)


@virtual_time
async def test_changed_copies_of_a_message_may_be_sent_at_once(world: SendWorld) -> None:
    producer, made = await start(world)
    message = Message(TOPIC, b"x", properties={"n": "x"})
    futures = []
    async with producer:
        for body in bodies(5):
            message = message.replace(body=body, properties={"n": body.decode()})
            futures.append(producer.send_nowait(message))
        await asyncio.gather(*futures)
    assert made.sizes == [5] and made.bodies == bodies(5)
    assert [decode_properties(item.properties)["n"] for item in made.items] == [body.decode() for body in bodies(5)]


@virtual_time
async def test_what_cannot_be_sent_is_refused_at_the_call(world: SendWorld) -> None:
    producer, made = await start(world)
    async with producer:
        good = producer.send_nowait(Message(TOPIC, b"good"))
        refused: list[tuple[Any, dict[str, Any]]] = [
            ("no message", {}),
            (Message(TOPIC, b"x" * (4 * 1024 * 1024 + 1)), {}),
            (Message(TOPIC, b"x"), {"queue": MessageQueue("other", "broker-a", 0)}),
            (Message(TOPIC, b"x"), {"queue": MessageQueue(TOPIC, "broker-a", 0), "sharding_key": "k"}),
            (Message(TOPIC, b"x"), {"sharding_key": ""}),
        ]
        for message, options in refused:
            with pytest.raises(InvalidMessageError):
                producer.send_nowait(message, **options)
        with pytest.raises(ConfigError, match="timeout"):
            producer.send_nowait(Message(TOPIC, b"x"), timeout=0)
        assert (await good).ok and in_flight(producer)[2] == 0
    assert made.sizes == [0]


# -- the rest --------------------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_the_way_of_the_blocking_classes_is_gathered_and_can_be_cancelled(world: SendWorld) -> None:
    producer, made = await start(world, max_in_flight=3)
    async with producer:
        loop = asyncio.get_running_loop()
        replies = [loop.create_future() for _ in range(4)]
        handles = [
            blocking.begin(reply, producer, False, Message(TOPIC, body), None, None, None, None)
            for reply, body in zip(replies, bodies(4), strict=True)
        ]
        assert handles[2] is not None and handles[3] is None
        await asyncio.gather(*replies[:3])
        assert made.sizes == [3]
        replies = [loop.create_future() for _ in range(3)]
        handles = [
            blocking.begin(reply, producer, False, Message(TOPIC, body), None, None, None, None)
            for reply, body in zip(replies, bodies(3), strict=True)
        ]
        assert handles[1] is not None
        handles[1].cancel()
        await asyncio.gather(replies[0], replies[2])
        assert not replies[1].done() and in_flight(producer) == (0, 0, 0)
    assert made.sizes == [3, 2] and made.bodies[3:] == [b"0", b"2"]


@virtual_time
async def test_there_is_one_timer_for_a_key_and_none_for_a_message(world: SendWorld) -> None:
    producer, made = await start(world)
    async with producer:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        timers, tasks = len(loop._scheduled), len(asyncio.all_tasks())  # type: ignore[attr-defined]
        futures = [producer.send_nowait(Message(TOPIC, b"%d" % number, tag="AB"[number % 2])) for number in range(100)]
        assert len(loop._scheduled) == timers + 2 and len(asyncio.all_tasks()) == tasks  # type: ignore[attr-defined]
        await asyncio.gather(*futures)
    assert made.sizes == [50, 50]


def test_defaults_are_those_of_java() -> None:
    settings = ProducerSettings()
    assert settings.auto_batch is False and settings.batch_max_delay == 0.010
    assert settings.batch_max_bytes == 32 * 1024 and settings.total_batch_max_bytes == 32 * 1024 * 1024
    assert ProducerSettings(batch_max_delay=timedelta(seconds=30)).batch_max_delay == 30.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auto_batch", 1),
        ("batch_max_delay", 0),
        ("batch_max_delay", 0.0009),
        ("batch_max_delay", 30.001),
        ("batch_max_delay", "10ms"),
        ("batch_max_bytes", 0),
        ("batch_max_bytes", 2 * 1024 * 1024 + 1),
        ("batch_max_bytes", 1.5),
        ("total_batch_max_bytes", 0),
        ("total_batch_max_bytes", True),
    ],
)
def test_a_wrong_value_is_named_with_its_cure(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Producer("127.0.0.1:9876", **{name: value})
    assert name in str(caught.value) and caught.value.hint


def test_without_auto_batch_nothing_is_gathered(world: SendWorld) -> None:
    @virtual_time
    async def check() -> None:
        (broker,) = world.route_to("broker-a")
        async with world.producer() as producer:
            began = now()
            await asyncio.gather(*[producer.send_nowait(Message(TOPIC, b"x")) for _ in range(3)])
            assert now() == began
        assert [request.code for _, _, request in broker.sends] == [RequestCode.SEND_MESSAGE_V2] * 3

    check()
