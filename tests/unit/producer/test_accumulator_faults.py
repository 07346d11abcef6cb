"""Automatic batching when something is cancelled, refused or late: the outcome of every message, and its room."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.errors import BrokerError, RouteError, SendError, SendRefusedError, SendTimeoutError
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from tests.support.virtual_loop import virtual_time
from tests.unit.producer.batching import bodies, in_flight, start, start_on
from tests.unit.producer.world import TOPIC, SendWorld, now

pytestmark = pytest.mark.feature("B18")

ON_TIME = 0.05
"""What the channel's timer may be late on a clock that otherwise is exact."""


# -- cancelling ------------------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_cancelled_message_does_not_leave(world: SendWorld) -> None:
    producer, made = await start(world)
    async with producer:
        futures = [producer.send_nowait(Message(TOPIC, body)) for body in bodies(4)]
        task = asyncio.create_task(producer.send(Message(TOPIC, b"task")))
        await asyncio.sleep(0)
        futures[1].cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert in_flight(producer) == (0, 0, 0)
    assert made.sizes == [3] and made.bodies == [b"0", b"2", b"3"]
    assert [result.queue_offset for result in results if isinstance(result, SendResult)] == [0, 1, 2]


@virtual_time
async def test_when_all_are_cancelled_nothing_is_sent(world: SendWorld) -> None:
    producer, made = await start(world)
    async with producer:
        for future in [producer.send_nowait(Message(TOPIC, body)) for body in bodies(4)]:
            future.cancel()
        await asyncio.sleep(0.02)
        assert in_flight(producer) == (0, 0, 0)
        last, gone = producer.send_nowait(Message(TOPIC, b"last")), producer.send_nowait(Message(TOPIC, b"gone"))
        gone.cancel()
        assert (await last).ok and in_flight(producer) == (0, 0, 0)
    assert made.sizes == [0] and made.bodies == [b"last"]


@virtual_time
async def test_after_a_cancellation_a_full_window_still_lets_the_batch_leave_at_once(world: SendWorld) -> None:
    producer, made = await start(world, max_in_flight=3, batch_max_delay=1.0)
    async with producer:
        gone, kept = (producer.send_nowait(Message(TOPIC, body)) for body in bodies(2))
        gone.cancel()
        await kept
        began = now()
        sends = [asyncio.create_task(producer.send(Message(TOPIC, body))) for body in bodies(4)]
        await asyncio.gather(*sends[:3])
        assert now() - began < 0.5, "all that fills the window waited in the batch for something that could not come"
        await sends[3]
    assert made.sizes == [0, 3, 0]


@virtual_time
async def test_cancelling_after_the_batch_has_left_changes_nothing_for_the_others(world: SendWorld) -> None:
    producer, made = await start(world)
    made.broker.delay = 1.0
    async with producer:
        futures = [producer.send_nowait(Message(TOPIC, body)) for body in bodies(3)]
        await asyncio.sleep(0.5)
        futures[0].cancel()
        assert in_flight(producer)[0] == 3
        assert [(await future).queue_offset for future in futures[1:]] == [1, 2] and in_flight(producer) == (0, 0, 0)


@virtual_time
async def test_cancelling_a_message_that_went_alone_leaves_nothing_behind(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_bytes=1000)
    made.broker.always = None
    async with producer:
        large = asyncio.create_task(producer.send(Message(TOPIC, b"x" * 2000)))
        lonely = asyncio.create_task(producer.send(Message(TOPIC, b"x")))
        await asyncio.sleep(0.5)
        assert made.sizes == [0, 0] and world.in_flight == 2
        for task in (large, lonely):
            task.cancel()
        await asyncio.gather(large, lonely, return_exceptions=True)
        assert world.in_flight == 0 and in_flight(producer) == (0, 0, 0)


@virtual_time
async def test_a_batch_that_waits_for_its_route_is_dropped_when_all_are_cancelled(world: SendWorld) -> None:
    world.name_server.refuse = True
    async with world.producer(auto_batch=True, topics=[TOPIC]) as producer:
        futures = [producer.send_nowait(Message(TOPIC, body)) for body in bodies(3)]
        await asyncio.sleep(0.5)
        for future in futures:
            future.cancel()
        (broker,) = world.route_to("broker-a")
        world.name_server.refuse = False
        await asyncio.sleep(2.4)
        assert in_flight(producer) == (0, 0, 0) and not broker.sends


# -- errors ----------------------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_an_error_reaches_every_message_as_its_own(world: SendWorld) -> None:
    producer, made = await start(world)
    made.broker.always = 13
    async with producer:
        futures = [producer.send_nowait(Message(TOPIC, body)) for body in bodies(3)]
        errors = await asyncio.gather(*futures, return_exceptions=True)
        assert in_flight(producer) == (0, 0, 0)
    assert len(made.sizes) == 1 and len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, SendError) and error.code == 13 and not error.maybe_stored
        assert error.topic == TOPIC and isinstance(error.cause, BrokerError)


@virtual_time
async def test_a_batch_is_tried_again_on_another_broker(world: SendWorld) -> None:
    producer, (one, two) = await start_on(world, ["broker-a", "broker-b"])
    one.broker.always = 2
    async with producer:
        for kind in ("send", "send_nowait"):
            for _ in range(8):
                results = await asyncio.gather(*[getattr(producer, kind)(Message(TOPIC, body)) for body in bodies(3)])
                assert {result.queue.broker_name for result in results} == {"broker-b"}
                assert len({result.message_id for result in results}) == 3
    assert one.broker.sends and not one.items and len(two.items) == 48 and set(two.sizes) == {3}


@virtual_time
async def test_a_fixed_queue_keeps_its_rules(world: SendWorld) -> None:
    producer, (one, two) = await start_on(world, ["broker-a", "broker-b"])
    one.broker.always = 2
    queue = MessageQueue(TOPIC, "broker-a", 0)
    async with producer:
        errors = await asyncio.gather(*[producer.send(Message(TOPIC, b"x"), queue=queue) for _ in range(2)], return_exceptions=True)
        assert [type(error) for error in errors] == [SendRefusedError] * 2 and one.sizes == [2]  # `send()` tries once
        one.broker.answers = [2]
        one.broker.always = 0
        results = await asyncio.gather(*[producer.send_nowait(Message(TOPIC, b"x"), queue=queue) for _ in range(2)])
    assert one.sizes == [2, 2, 2] and [result.queue for result in results] == [queue] * 2 and not two.broker.sends


@virtual_time
async def test_every_message_has_the_status_of_the_batch(world: SendWorld) -> None:
    producer, made = await start(world)
    made.broker.always = 11
    async with producer:
        results = await asyncio.gather(*[producer.send_nowait(Message(TOPIC, body)) for body in bodies(2)])
    assert [result.status for result in results] == [SendStatus.SLAVE_NOT_AVAILABLE] * 2


@virtual_time
async def test_an_answer_with_one_id_for_the_batch_gives_it_to_every_message(world: SendWorld) -> None:
    producer, made = await start(world)
    made.broker.extra = {"msgId": "one", "batchUniqId": "all"}
    async with producer:
        results = await asyncio.gather(*[producer.send_nowait(Message(TOPIC, body)) for body in bodies(3)])
    assert [result.offset_message_id for result in results] == ["one"] * 3 and len({result.message_id for result in results}) == 3


@virtual_time
async def test_without_a_route_every_message_gets_the_route_error(world: SendWorld) -> None:
    world.name_server.refuse = True
    async with world.producer(auto_batch=True, topics=[TOPIC]) as producer:
        began = now()
        futures = [producer.send_nowait(Message(TOPIC, body)) for body in bodies(2)]
        futures.append(producer.send_nowait(Message(TOPIC, b"short"), timeout=1.0))
        with pytest.raises(RouteError):
            await futures[2]
        assert now() - began == pytest.approx(1.0, abs=ON_TIME)
        errors = await asyncio.gather(*futures[:2], return_exceptions=True)
        assert all(isinstance(error, RouteError) for error in errors) and errors[0] is not errors[1]
        assert now() - began == pytest.approx(3.0, abs=ON_TIME) and in_flight(producer) == (0, 0, 0)


# -- deadlines -------------------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_every_message_has_its_own_deadline(world: SendWorld) -> None:
    producer, made = await start(world, batch_max_delay=0.5)
    made.broker.always = None
    ended: dict[bytes, float] = {}
    async with producer:
        began = now()
        futures = {}
        for body, timeout, pause in ((b"a", None, 0.1), (b"b", 2.0, 0.1), (b"c", None, 0.1), (b"d", 1.5, 0.0)):
            futures[body] = producer.send_nowait(Message(TOPIC, body), timeout=timeout)
            futures[body].add_done_callback(lambda _, body=body: ended.update({body: now() - began}))  # type: ignore[misc]
            await asyncio.sleep(pause)
        errors = await asyncio.gather(*futures.values(), return_exceptions=True)
        await asyncio.sleep(0)
        assert in_flight(producer) == (0, 0, 0)
    assert made.sizes == [4]
    for body, at in ((b"a", 3.0), (b"b", 2.1), (b"c", 3.2), (b"d", 1.8)):
        assert ended[body] == pytest.approx(at, abs=ON_TIME)
    for error, said in zip(errors, ("3.000", "2.000", "3.000", "1.500"), strict=True):
        assert isinstance(error, SendTimeoutError) and error.maybe_stored and error.broker == "broker-a"
        assert f"within {said} s" in str(error) and "waiting for the answer of broker-a" in str(error)


@virtual_time
async def test_a_message_that_timed_out_does_not_hurt_the_others(world: SendWorld) -> None:
    producer, made = await start(world)
    made.broker.delay = 1.0
    async with producer:
        short = producer.send_nowait(Message(TOPIC, b"short"), timeout=0.5)
        long = producer.send_nowait(Message(TOPIC, b"long"))
        with pytest.raises(SendTimeoutError):
            await short
        assert (await long).queue_offset == 1 and in_flight(producer) == (0, 0, 0)


@virtual_time
async def test_a_message_whose_time_ends_between_two_tries_is_told_what_went_wrong(world: SendWorld) -> None:
    producer, made = await start(world)
    made.broker.always = 2
    async with producer:
        short = producer.send_nowait(Message(TOPIC, b"short"), timeout=0.06)
        long = producer.send_nowait(Message(TOPIC, b"long"), timeout=10)
        with pytest.raises(SendTimeoutError, match="waiting before the next try") as caught:
            await short
        assert not caught.value.maybe_stored and caught.value.attempts and "code 2" in caught.value.attempts[0]
        with pytest.raises(SendError, match="3 tries"):
            await long


@virtual_time
async def test_a_stored_message_whose_time_ends_while_a_better_place_is_looked_for_is_stored(world: SendWorld) -> None:
    producer, made = await start(world, retry_another_broker_when_not_store_ok=True)
    made.broker.answers = [10, None]
    async with producer:
        short = asyncio.create_task(producer.send(Message(TOPIC, b"short"), timeout=0.5))
        long = asyncio.create_task(producer.send(Message(TOPIC, b"long")))
        assert (await short).status is SendStatus.FLUSH_DISK_TIMEOUT and (await long).status is SendStatus.FLUSH_DISK_TIMEOUT
        assert made.sizes == [2, 2]
        await asyncio.sleep(3)
        assert in_flight(producer) == (0, 0, 0)


@virtual_time
async def test_waiting_for_room_counts_in_the_deadline(world: SendWorld) -> None:
    producer, made = await start(world, max_in_flight=2)
    made.broker.always = None
    async with producer:
        first = [producer.send_nowait(Message(TOPIC, b"x")) for _ in range(2)]
        began = now()
        with pytest.raises(SendTimeoutError, match="waiting for room"):
            await producer.send(Message(TOPIC, b"y"), timeout=0.5)
        assert now() - began == pytest.approx(0.5)
        made.broker.always = 0
        second = asyncio.create_task(producer.send(Message(TOPIC, b"z")))
        assert all(isinstance(error, SendTimeoutError) for error in await asyncio.gather(*first, return_exceptions=True))
        assert (await second).ok and in_flight(producer) == (0, 0, 0)
