"""A producer's life: states, sharing, the window at work, cancelling, stopping, and misuse."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
import warnings

import pytest

from aiorocketmq.client import manager
from aiorocketmq.errors import (
    ClientClosedError,
    ClientStateError,
    ConfigError,
    ForkedClientError,
    GroupAlreadyRegisteredError,
    NoNameServerError,
    RocketMQError,
    SendError,
    SendTimeoutError,
    WindowFullError,
)
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer import Producer
from aiorocketmq.protocol.codes import RequestCode
from tests.support.virtual_loop import run_virtual, virtual_time
from tests.support.waiting import eventually
from tests.unit.producer.world import SEND, TOPIC, SendWorld, now

# -- states ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B24")
@virtual_time
async def test_the_states_of_a_life(world: SendWorld) -> None:
    world.route_to("broker-a")
    producer = world.producer()
    assert producer.state is ServiceState.CREATE_JUST and producer.client_id == ""
    with pytest.raises(ClientStateError, match="not started"):
        await producer.send(Message(TOPIC, b"x"))
    await producer.start()
    await producer.start()
    assert producer.state is ServiceState.RUNNING and producer.client_id and len(world.instances) == 1
    assert (await producer.send(Message(TOPIC, b"x"))).ok
    await producer.stop()
    await producer.stop()
    assert producer.state is ServiceState.SHUTDOWN_ALREADY
    for call in (producer.start(), producer.send(Message(TOPIC, b"x")), producer.fetch_publish_message_queues(TOPIC)):
        with pytest.raises(ClientClosedError, match="was stopped"):
            await call
    with pytest.raises(ClientClosedError):
        producer.send_nowait(Message(TOPIC, b"x"))
    assert "producers" in repr(producer)


@pytest.mark.feature("B24")
@virtual_time
async def test_a_producer_that_was_never_started_can_be_stopped(world: SendWorld) -> None:
    producer = world.producer()
    await producer.stop()
    with pytest.raises(ClientClosedError):
        await producer.start()


@pytest.mark.feature("B24")
@virtual_time
async def test_a_failed_start_can_be_tried_again(world: SendWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAMESRV_ADDR", raising=False)
    producer = Producer(group="g", address_service_domain="127.0.0.1:1")
    with pytest.raises(NoNameServerError):
        await producer.start()
    assert producer.state is ServiceState.START_FAILED
    with pytest.raises(ClientStateError, match="not started"):
        await producer.send(Message(TOPIC, b"x"))
    with pytest.raises(NoNameServerError):
        await producer.start()
    await producer.stop()  # there is nothing to stop
    with pytest.raises(NoNameServerError):
        await producer.start()


@pytest.mark.feature("B24", "K2")
@virtual_time
async def test_a_group_has_one_producer_per_instance(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(group="one") as first, world.producer(group="two") as second:
        assert len(world.instances) == 1 and first.client_id == second.client_id
        with pytest.raises(GroupAlreadyRegisteredError, match="'one'"):
            await world.producer(group="one").start()
        await first.send(Message(TOPIC, b"x"))
        await second.send(Message(TOPIC, b"x"))
        assert broker.peer.accepted == 1
    assert world.instances[0].state is ServiceState.SHUTDOWN_ALREADY


@pytest.mark.feature("B24", "K12")
@virtual_time
async def test_the_last_producer_says_goodbye_and_leaves_nothing(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(group="leaver") as producer:
        await producer.send(Message(TOPIC, b"x"))
    goodbyes = [request.command.ext_fields for request in broker.peer.of(RequestCode.UNREGISTER_CLIENT)]
    assert any(fields.get("producerGroup") == "leaver" for fields in goodbyes)
    await eventually(lambda: not broker.peer.connections and len(asyncio.all_tasks()) == 1)


def test_dropped_without_stop_it_warns(world: SendWorld) -> None:
    async def drop() -> None:
        producer = world.producer(group="forgotten")
        await producer.start()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del producer
            gc.collect()
        assert [warning.category for warning in caught] == [ResourceWarning] and "forgotten" in str(caught[0].message)
        await manager.release(world.instances[0])

    run_virtual(drop())


def test_stopped_or_unstarted_it_does_not_warn(world: SendWorld) -> None:
    async def drop() -> None:
        async with world.producer():
            pass
        world.producer()
        gc.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_virtual(drop())
        gc.collect()


# -- misuse ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B26")
def test_another_loop_or_thread_is_told(world: SendWorld) -> None:
    caught: list[BaseException] = []

    async def main() -> None:
        world.route_to("broker-a")
        async with world.producer() as producer:

            def other_thread() -> None:
                try:
                    producer.send_nowait(Message(TOPIC, b"x"))
                except RocketMQError as error:
                    caught.append(error)
                try:
                    asyncio.run(producer.send(Message(TOPIC, b"x")))
                except RocketMQError as error:
                    caught.append(error)

            thread = threading.Thread(target=other_thread)
            thread.start()
            thread.join()

    run_virtual(main())
    assert [type(error) for error in caught] == [ClientStateError] * 2
    assert all("another event loop" in str(error) and "aiorocketmq.sync" in str(error) for error in caught)


@pytest.mark.feature("B26")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are a matter of POSIX")
def test_a_forked_child_is_told(world: SendWorld) -> None:
    async def main() -> None:
        world.route_to("broker-a")
        async with world.producer() as producer:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    producer.send_nowait(Message(TOPIC, b"x"))
                except ForkedClientError as error:
                    code = 0 if f"process {os.getppid()}" in str(error) else 2
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0  # noqa: ASYNC222 - the child ends at once
            assert (await producer.send(Message(TOPIC, b"x"))).ok

    run_virtual(main())


@pytest.mark.parametrize(
    "fields", [{"send_timeout": 3}, {"max_in_flight": 0}, {"name_servers": "nonsense"}, {"topics": "one"}, {"config": "http://a:1"}]
)
def test_wrong_settings_are_refused_at_once(world: SendWorld, fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        world.producer(**fields)


@virtual_time
async def test_codes_to_retry_must_be_numbers(world: SendWorld) -> None:
    with pytest.raises(ConfigError):
        world.producer().add_retry_response_code("2")  # type: ignore[arg-type]


@virtual_time
async def test_a_wrong_timeout_is_refused(world: SendWorld) -> None:
    world.route_to("broker-a")
    async with world.producer() as producer:
        for timeout in (0, -1, "soon", True):
            with pytest.raises(ConfigError, match="timeout"):
                await producer.send(Message(TOPIC, b"x"), timeout=timeout)  # type: ignore[arg-type]


# -- the window ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B17")
@virtual_time
async def test_send_nowait_raises_where_send_waits(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.delay = 1.0
    async with world.producer(max_in_flight=3) as producer:
        futures = [producer.send_nowait(Message(TOPIC, b"x")) for _ in range(3)]
        with pytest.raises(WindowFullError):
            producer.send_nowait(Message(TOPIC, b"x"))
        waiting = asyncio.ensure_future(producer.send(Message(TOPIC, b"y")))
        await asyncio.sleep(0.5)
        assert len(broker.sends) == 3
        assert (await waiting).ok and all(future.done() for future in futures)
        assert abs(now() - 2.0) < 0.01


@pytest.mark.feature("B17")
@virtual_time
async def test_the_window_counts_bytes(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.delay = 1.0
    async with world.producer(max_in_flight_bytes=1000) as producer:
        future = producer.send_nowait(Message(TOPIC, b"x" * 900))
        with pytest.raises(WindowFullError):
            producer.send_nowait(Message(TOPIC, b"x" * 101))
        await asyncio.gather(future, producer.send_nowait(Message(TOPIC, b"x" * 100)))


@pytest.mark.feature("B17", "P6")
@virtual_time
async def test_waiting_for_room_ends_at_the_deadline(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.always = None
    async with world.producer(max_in_flight=1) as producer:
        future = producer.send_nowait(Message(TOPIC, b"x"), timeout=5.0)
        with pytest.raises(SendTimeoutError, match="waiting for room") as caught:
            await producer.send(Message(TOPIC, b"y"), timeout=1.0)
        assert now() == 1.0 and not caught.value.maybe_stored
        with pytest.raises(SendTimeoutError):
            await future
        broker.always = 0
        assert (await producer.send(Message(TOPIC, b"z"))).ok


@pytest.mark.feature("B2", "B26")
@virtual_time
async def test_thousands_of_sends_need_no_task_each(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.delay = 1.0
    async with world.producer(max_in_flight=5000) as producer:
        futures = [producer.send_nowait(Message(TOPIC, b"x")) for _ in range(5000)]
        await asyncio.sleep(0.5)
        ours = [task for task in asyncio.all_tasks() if "_later" not in repr(task.get_coro())]
        assert len(broker.sends) == 5000 and len(ours) < 20
        results = await asyncio.gather(*futures)
    assert len({result.message_id for result in results}) == 5000


# -- cancelling ------------------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_cancelling_a_send_under_way_leaves_nothing(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(max_in_flight=10) as producer:
        await producer.send(Message(TOPIC, b"warm"))
        broker.delay = 0.5
        sends = [asyncio.ensure_future(producer.send(Message(TOPIC, b"x"))) for _ in range(10)]
        await broker.peer.wait_for(SEND, 11)
        for send in sends:
            send.cancel()
        await asyncio.gather(*sends, return_exceptions=True)
        assert all(send.cancelled() for send in sends) and world.in_flight == 0
        # The late answers reach nobody, and the window has all its room.
        broker.delay = 0.0
        results = await asyncio.gather(*(producer.send_nowait(Message(TOPIC, b"%d" % number)) for number in range(10)))
        assert sorted(result.queue_offset for result in results) == list(range(11, 21))
        await asyncio.sleep(1.0)


@virtual_time
async def test_cancelling_a_send_that_waits_takes_it_back(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.peer.refuse = True
    async with world.producer(max_in_flight=6) as producer:
        sends = [asyncio.ensure_future(producer.send(Message(TOPIC, b"x"))) for _ in range(3)]
        futures = [producer.send_nowait(Message(TOPIC, b"y")) for _ in range(3)]
        waiting_for_room = asyncio.ensure_future(producer.send(Message(TOPIC, b"z")))
        await asyncio.sleep(0.3)
        for send in (*sends, *futures, waiting_for_room):
            send.cancel()
        await asyncio.sleep(0)
        broker.up()
        assert (await producer.send(Message(TOPIC, b"only"))).ok
    assert broker.stored == [b"only"]


@virtual_time
async def test_a_cancelled_future_gives_its_room_back_with_the_answer(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.delay = 1.0
    async with world.producer(max_in_flight=1) as producer:
        future = producer.send_nowait(Message(TOPIC, b"x"))
        await broker.peer.wait_for(SEND)
        future.cancel()
        assert (await producer.send(Message(TOPIC, b"y"))).ok


@virtual_time
async def test_a_stop_that_is_cancelled_waits_for_no_answer_any_more(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    producer = world.producer(send_msg_timeout=30.0)
    await producer.start()
    await producer.send(Message(TOPIC, b"warm"))
    broker.always = None
    send = asyncio.ensure_future(producer.send(Message(TOPIC, b"x")))
    await broker.peer.wait_for(SEND, 2)
    stop = asyncio.ensure_future(producer.stop())
    await asyncio.sleep(1.0)
    assert not send.done(), "a stop waits for answers"
    stop.cancel()
    await asyncio.wait([stop])
    assert stop.cancelled()
    await asyncio.sleep(0.5)
    with pytest.raises(SendError) as caught:
        await send
    assert caught.value.maybe_stored
    await producer.stop()
    assert asyncio.get_running_loop().time() < 5.0


@virtual_time
async def test_random_cancels_never_mix_answers(world: SendWorld) -> None:
    dice = random.Random(7)
    (broker,) = world.route_to("broker-a")
    async with world.producer(max_in_flight=50) as producer:
        good = 0
        for _ in range(300):
            broker.delay = dice.choice([0.0, 0.001, 0.01])
            sends = [asyncio.ensure_future(producer.send(Message(TOPIC, b"x"))) for _ in range(5)]
            await asyncio.sleep(dice.choice([0.0, 0.001, 0.005]))
            for send in sends:
                if dice.random() < 0.5:
                    send.cancel()
            for outcome in await asyncio.gather(*sends, return_exceptions=True):
                if not isinstance(outcome, BaseException):
                    good += 1
                    stored = next(header for _, header, _ in broker.sends if outcome.message_id in (header.properties or ""))
                    assert stored.queue_id == outcome.queue.queue_id
        assert good > 300
        await asyncio.sleep(1.0)
        assert world.in_flight == 0
        assert len([producer.send_nowait(Message(TOPIC, b"x")) for _ in range(50)]) == 50


# -- stopping --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B24")
@virtual_time
async def test_stop_waits_for_answers(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.delay = 1.0
    producer = world.producer()
    await producer.start()
    futures = [producer.send_nowait(Message(TOPIC, b"x")) for _ in range(10)]
    await producer.stop()
    assert all(future.result().ok for future in futures) and abs(now() - 1.0) < 0.1


@pytest.mark.feature("B24")
@pytest.mark.parametrize("trouble", ["silent", "refuse", "no route", "no name server"])
def test_stop_is_bounded(world: SendWorld, trouble: str) -> None:
    @virtual_time
    async def check() -> None:
        (broker,) = world.route_to("broker-a", perm=4 if trouble == "no route" else 6)
        broker.always = None
        broker.peer.refuse = trouble == "refuse"
        world.name_server.refuse = trouble == "no name server"
        producer = world.producer()
        await producer.start()
        futures = [producer.send_nowait(Message(TOPIC, b"x"), timeout=60.0) for _ in range(10)]
        waiting = asyncio.ensure_future(producer.send(Message(TOPIC, b"x"), timeout=60.0, queue=MessageQueue(TOPIC, "broker-a", 0)))
        await asyncio.sleep(0.5)
        begin = now()
        await producer.stop(2.0)
        assert now() - begin <= 3.1
        for future in (*futures, waiting):
            with pytest.raises(RocketMQError) as caught:
                await future
            assert caught.value.maybe_stored is (trouble == "silent")
            assert isinstance(caught.value, SendError) or trouble.startswith("no ")
        await eventually(lambda: len(asyncio.all_tasks()) == 1)

    check()


@virtual_time
async def test_sends_that_wait_for_room_while_stopping_are_still_served(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.delay = 0.2
    producer = world.producer(max_in_flight=1)
    await producer.start()
    sends = [asyncio.ensure_future(producer.send(Message(TOPIC, b"x"))) for _ in range(5)]
    await asyncio.sleep(0)
    await producer.stop()
    assert all(result.ok for result in await asyncio.gather(*sends))


@virtual_time
async def test_a_send_that_pauses_between_tries_ends_with_the_stop(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.always = 2
    producer = world.producer(retry_times_when_send_async_failed=100)
    await producer.start()
    future = producer.send_nowait(Message(TOPIC, b"x"), timeout=60.0)
    await asyncio.sleep(5.0)
    await producer.stop(0.001)
    with pytest.raises(SendError) as caught:
        await future
    assert caught.value.code == 2 and not caught.value.maybe_stored and now() < 6.2


@virtual_time
async def test_an_instance_stopped_under_the_producer_hangs_no_send(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(topics=[TOPIC]) as producer:
        await producer.send(Message(TOPIC, b"x"))
        await world.instances[0].stop()
        for topic in (TOPIC, "another"):
            begin = now()
            with pytest.raises(RocketMQError) as caught:
                await producer.send(Message(topic, b"x"), timeout=1.0)
            assert now() - begin <= 1.0 + 1e-6 and not caught.value.maybe_stored
    assert len(broker.stored) == 1


@pytest.mark.feature("B15")
@virtual_time
async def test_a_start_does_not_fail_for_a_name_server_that_is_down(world: SendWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.name_server.refuse = True
    async with world.producer(topics=[TOPIC, "another"]) as producer:
        assert producer.state is ServiceState.RUNNING
        world.name_server.refuse = False
        world.route_to("broker-a")
        assert (await producer.send(Message(TOPIC, b"x"))).ok
    assert len([record for record in caplog.records if "without the route" in record.message]) == 1
