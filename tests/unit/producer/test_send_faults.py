"""Sends when something is missing, slow or broken: retries, deadlines, and the truth about what may be stored."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from aiorocketmq.errors import (
    BrokerBusyError,
    BrokerNotFoundError,
    ConnectionLostError,
    NoNameServerError,
    NoPermissionError,
    ProtocolError,
    RequestTimeoutError,
    RouteError,
    SendError,
    SendRefusedError,
    SendTimeoutError,
    SendUnreachableError,
    TooManyRequestsError,
    TopicNotFoundError,
    WrongProtocolError,
)
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer import Producer
from aiorocketmq.producer.settings import DEFAULT_RETRY_RESPONSE_CODES
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.remoting.channel import Channel
from tests.support.virtual_loop import virtual_time
from tests.unit.producer.world import SEND, TOPIC, Broker, SendWorld, now

ON_TIME = 0.05
"""What the channel's timer may be late on a clock that otherwise is exact."""


async def connect(producer: Producer, *brokers: Broker) -> None:
    """Have a connection to each of the brokers, so that none is passed over."""
    for broker in brokers:
        await producer.send(Message(TOPIC, b"warm"), queue=MessageQueue(TOPIC, broker.name, 0))
        broker.sends.clear()
        broker.stored.clear()
    await asyncio.sleep(0)  # `send()` may go on while the answer is still being received: let that end first


# -- retries ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B8", "B10")
@pytest.mark.parametrize("code", sorted(DEFAULT_RETRY_RESPONSE_CODES))
def test_each_retry_code_is_tried_again_on_another_broker(world: SendWorld, code: int) -> None:
    @virtual_time
    async def check() -> None:
        one, two = world.route_to("broker-a", "broker-b")
        async with world.producer() as producer:
            await connect(producer, one, two)
            one.always = code
            for _ in range(6):
                result = await producer.send(Message(TOPIC, b"x"))
                assert result.queue.broker_name == "broker-b"
        assert one.sends and not one.stored and len(two.stored) == 6

    check()


@pytest.mark.feature("B10")
@pytest.mark.parametrize("code", [3, 13, 29, 26, 4711])
def test_other_codes_are_final(world: SendWorld, code: int) -> None:
    @virtual_time
    async def check() -> None:
        one, two = world.route_to("broker-a", "broker-b")
        one.always = two.always = code
        async with world.producer() as producer:
            with pytest.raises(SendError) as caught:
                await producer.send(Message(TOPIC, b"x"))
        assert len(one.sends) + len(two.sends) == 1
        assert caught.value.code == code and len(caught.value.attempts) == 1
        assert caught.value.maybe_stored is (code == 4711)

    check()


@pytest.mark.feature("B10")
@virtual_time
async def test_codes_can_be_added_and_left_out(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(retry_response_codes=[13]) as producer:
        broker.answers = [13, 0, 2, 215, 0, 13, 0]
        assert (await producer.send(Message(TOPIC, b"x"))).ok
        with pytest.raises(SendError):
            await producer.send(Message(TOPIC, b"x"))
        producer.add_retry_response_code(215)
        assert (await producer.send(Message(TOPIC, b"x"))).ok
        assert (await producer.send(Message(TOPIC, b"x"))).ok, "those of before count still"


@pytest.mark.feature("B8")
@virtual_time
async def test_tries_are_counted_and_told(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b")
    one.always = two.always = 2
    async with world.producer(retry_times_when_send_failed=2) as producer:
        await connect_busy(producer, one, two)
        with pytest.raises(SendError) as caught:
            await producer.send(Message(TOPIC, b"x"))
    error = caught.value
    assert len(one.sends) + len(two.sends) == 3
    assert len(error.attempts) == 2 and all("code 2" in line and "(broker-" in line for line in error.attempts)
    assert ["2 times" in line for line in error.attempts].count(True) == 1
    assert isinstance(error.cause, BrokerBusyError) and error.code == 2 and error.broker in ("broker-a", "broker-b")
    assert error.retriable and not error.maybe_stored and error.hint == BrokerBusyError.hint
    assert "3 tries" in str(error) and TOPIC in str(error)


async def connect_busy(producer: Producer, *brokers: Broker) -> None:
    answers = [broker.always for broker in brokers]
    for broker in brokers:
        broker.always = 0
    await connect(producer, *brokers)
    for broker, answer in zip(brokers, answers, strict=True):
        broker.always = answer


@pytest.mark.feature("B8")
@virtual_time
async def test_the_number_of_tries_can_be_set(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.always = 2
    for retries in (0, 1, 4):
        broker.sends.clear()
        async with world.producer(retry_times_when_send_failed=retries, retry_times_when_send_async_failed=retries + 1) as producer:
            with pytest.raises(SendError):
                await producer.send(Message(TOPIC, b"x"))
            assert len(broker.sends) == retries + 1
            with pytest.raises(SendError):
                await producer.send_nowait(Message(TOPIC, b"x"))
            assert len(broker.sends) == 2 * retries + 3


@pytest.mark.feature("B8")
@virtual_time
async def test_the_sole_broker_is_given_a_pause_before_the_next_try(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.answers = [2, 2, 0]
    async with world.producer() as producer:
        assert (await producer.send(Message(TOPIC, b"x"))).ok
    first, second, third = broker.times
    assert 0.05 <= second - first <= 0.1 and 0.1 <= third - second <= 0.2


@pytest.mark.feature("B8", "B9")
@pytest.mark.parametrize("nowait", [False, True])
def test_a_lost_connection_is_tried_again_on_another_broker(world: SendWorld, nowait: bool) -> None:
    @virtual_time
    async def check() -> None:
        one, two = world.route_to("broker-a", "broker-b", queues=1)
        async with world.producer() as producer:
            await connect(producer, one, two)
            one.always = None
            results = []
            for _ in range(2):  # one of the two goes to broker-a first
                sending = (
                    producer.send_nowait(Message(TOPIC, b"x")) if nowait else asyncio.ensure_future(producer.send(Message(TOPIC, b"x")))
                )
                await asyncio.sleep(0.01)
                if not sending.done():
                    one.peer.drop()
                results.append(await sending)
            assert now() < 0.1
        assert {result.queue.broker_name for result in results} == {"broker-b"} and len(one.sends) == 1

    check()


@pytest.mark.feature("B4", "B5")
@pytest.mark.parametrize("how", ["queue", "selector", "sharding_key"])
def test_a_fixed_queue_is_sent_to_only_once(world: SendWorld, how: str) -> None:
    @virtual_time
    async def check() -> None:
        one, two = world.route_to("broker-a", "broker-b", queues=1)
        one.always = two.always = 2
        queue = MessageQueue(TOPIC, "broker-a", 0)
        fixed = {"queue": queue, "selector": lambda queues, message: queue, "sharding_key": "b"}[how]
        async with world.producer() as producer:
            with pytest.raises(SendError) as caught:
                await producer.send(Message(TOPIC, b"x"), **{how: fixed})
        assert len(one.sends) == 1 and not two.sends and caught.value.code == 2

    check()


@pytest.mark.feature("B5", "B9")
@virtual_time
async def test_a_fixed_queue_without_waiting_is_tried_again_on_its_broker(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b", queues=1)
    one.answers = [2, 2, 0]
    async with world.producer() as producer:
        result = await producer.send_nowait(Message(TOPIC, b"x"), queue=MessageQueue(TOPIC, "broker-a", 0))
    assert result.queue.broker_name == "broker-a" and len(one.sends) == 3 and not two.sends


@pytest.mark.feature("B11")
@virtual_time
async def test_a_status_that_is_not_ok_stands_unless_told_otherwise(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b")
    one.always = two.always = 10
    async with world.producer() as producer:
        assert (await producer.send(Message(TOPIC, b"x"))).status is SendStatus.FLUSH_DISK_TIMEOUT
    assert len(one.sends) + len(two.sends) == 1


@pytest.mark.feature("B11")
@virtual_time
async def test_a_status_that_is_not_ok_can_be_tried_again_on_another_broker(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b", queues=1)
    one.always = 10
    async with world.producer(retry_another_broker_when_not_store_ok=True) as producer:
        await connect(producer, one, two)
        for _ in range(4):
            result = await producer.send(Message(TOPIC, b"x"))
            assert result.ok and result.queue.broker_name == "broker-b"
        assert one.sends
        two.always = 2
        assert (await producer.send(Message(TOPIC, b"x"))).status is SendStatus.FLUSH_DISK_TIMEOUT


@pytest.mark.feature("O12")
@virtual_time
async def test_a_broker_that_goes_away_is_asked_once_more_on_a_new_connection(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(retry_times_when_send_failed=0) as producer:
        await connect(producer, broker)
        broker.answers = [1500, 0]
        assert (await producer.send(Message(TOPIC, b"x"))).ok
        assert broker.peer.accepted == 2
        broker.answers = [1500, 1500]
        with pytest.raises(SendError) as caught:
            await producer.send(Message(TOPIC, b"x"))
        assert caught.value.code == 1500 and not caught.value.maybe_stored


@virtual_time
async def test_too_many_requests_fail_at_once(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.always = None
    async with world.producer(client_async_semaphore_value=3, topics=[TOPIC]) as producer:
        producer.send_nowait(Message(TOPIC, b"1"), timeout=60).add_done_callback(lambda future: future.exception())
        await broker.peer.wait_for(SEND)
        waiting = [producer.send_nowait(Message(TOPIC, b"x"), timeout=60) for _ in range(3)]
        with pytest.raises(SendError) as caught:
            await waiting[-1]
        assert isinstance(caught.value.cause, TooManyRequestsError) and not caught.value.maybe_stored
        for future in waiting[:-1]:
            future.cancel()
        await producer.stop(0.001)


# -- deadlines -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B1", "P6")
@pytest.mark.parametrize("kind", ["send", "nowait", "batch", "queue"])
@pytest.mark.parametrize("timeout", [None, 0.7])
def test_a_silent_broker_ends_the_send_at_its_deadline(world: SendWorld, kind: str, timeout: float | None) -> None:
    @virtual_time
    async def check() -> None:
        one, two = world.route_to("broker-a", "broker-b")
        one.always = two.always = None
        async with world.producer() as producer:
            begin = now()
            with pytest.raises(SendTimeoutError) as caught:
                if kind == "send":
                    await producer.send(Message(TOPIC, b"x"), timeout=timeout)
                elif kind == "nowait":
                    await producer.send_nowait(Message(TOPIC, b"x"), timeout=timeout)
                elif kind == "batch":
                    await producer.send_batch([Message(TOPIC, b"x")], timeout=timeout)
                else:
                    await producer.send(Message(TOPIC, b"x"), timeout=timeout, queue=MessageQueue(TOPIC, "broker-a", 0))
            assert abs(now() - begin - (timeout or 3.0)) < ON_TIME
            assert world.in_flight == 0
        error = caught.value
        assert error.maybe_stored and len(error.attempts) == 1 and isinstance(error.cause, RequestTimeoutError)
        assert "waiting for the answer of broker-" in str(error) and ":10911" in str(error)

    check()


@pytest.mark.feature("B1")
@virtual_time
async def test_one_try_can_be_given_less_than_the_whole_time(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b", queues=1)
    async with world.producer(send_msg_max_timeout_per_request=0.5) as producer:
        await connect(producer, one, two)
        one.always = None
        begin = now()
        results = [await producer.send(Message(TOPIC, b"x")) for _ in range(2)]
        assert {result.queue.broker_name for result in results} == {"broker-b"} and one.sends
        assert abs(now() - begin - 0.5 * len(one.sends)) < ON_TIME
        two.always = None
        one.sends.clear()
        two.sends.clear()
        with pytest.raises(SendError) as caught:
            await producer.send(Message(TOPIC, b"x"))
        assert caught.value.maybe_stored and len(one.sends) + len(two.sends) == 3


@pytest.mark.feature("B1", "B3")
@virtual_time
async def test_one_try_of_a_send_that_is_not_waited_for_can_be_given_less_as_well(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b", queues=1)
    async with world.producer(send_msg_max_timeout_per_request=0.5) as producer:
        await connect(producer, one, two)
        one.always = None
        begin = now()
        results = [await producer.send_nowait(Message(TOPIC, b"x")) for _ in range(2)]
        assert {result.queue.broker_name for result in results} == {"broker-b"} and one.sends
        assert abs(now() - begin - 0.5 * len(one.sends)) < ON_TIME


@pytest.mark.feature("B1", "B9")
@virtual_time
async def test_a_dead_broker_is_dialled_less_and_less_often_while_sends_pass_it_by(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b")
    async with world.producer() as producer:
        await connect(producer, one, two)
        two.down()
        await asyncio.sleep(0.1)
        counters = world.instances[0].remoting.counters
        before = counters.connect_failures
        for _ in range(1000):
            await producer.send(Message(TOPIC, b"x"))
            await asyncio.sleep(0.005)
        assert 5 <= counters.connect_failures - before <= 40, "pauses of some 0.4 s, and not of 0.04 s"
        two.up()
        for _ in range(400):
            await producer.send(Message(TOPIC, b"x"))
            await asyncio.sleep(0.005)
        assert two.sends, "and it is found again"


@pytest.mark.feature("B1")
@virtual_time
async def test_the_time_of_one_try_ends_with_that_of_the_send(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b", queues=1)
    async with world.producer(send_msg_max_timeout_per_request=0.5) as producer:
        await connect(producer, one, two)
        one.always = two.always = None
        begin = now()
        with pytest.raises(SendTimeoutError):
            await producer.send(Message(TOPIC, b"x"), timeout=0.8)
        assert now() - begin == pytest.approx(0.8, abs=ON_TIME)


@pytest.mark.feature("B1", "B9")
@virtual_time
async def test_a_pause_that_would_outlast_the_send_is_not_waited_for(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await connect(producer, broker)
        broker.always = ResponseCode.SYSTEM_BUSY
        begin = now()
        with pytest.raises(SendRefusedError) as caught:
            await producer.send(Message(TOPIC, b"x"), timeout=0.04)  # the shortest pause after a refusal is 0.05 s
        assert caught.value.code == ResponseCode.SYSTEM_BUSY and now() - begin < 0.01


@pytest.mark.feature("B1")
@virtual_time
async def test_a_send_whose_time_ran_out_while_the_loop_stood_still_does_not_leave(
    world: SendWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(topics=[TOPIC]) as producer:
        remoting = world.instances[0].remoting
        connect_at_once = remoting.connect

        async def and_stand_still(address: str, timeout: float | None = None) -> Channel:
            channel = await connect_at_once(address, timeout)
            if address == broker.address:
                asyncio.get_running_loop()._virtual_now += 10.0  # type: ignore[attr-defined]
            return channel

        monkeypatch.setattr(remoting, "connect", and_stand_still)
        with pytest.raises(SendError) as caught:
            await producer.send(Message(TOPIC, b"x"), timeout=1.0)
        await asyncio.sleep(1)
        assert not broker.sends and not caught.value.maybe_stored


@pytest.mark.feature("B1")
@virtual_time
async def test_the_deadline_holds_over_several_tries(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.always = 2
    broker.delay = 0.4
    async with world.producer(retry_times_when_send_failed=100) as producer:
        begin = now()
        with pytest.raises(SendError) as caught:
            await producer.send(Message(TOPIC, b"x"))
        assert now() - begin <= 3.0 + ON_TIME
        assert len(caught.value.attempts) + sum("times" in line for line in caught.value.attempts) >= 2


@pytest.mark.feature("P6")
@pytest.mark.parametrize("hang", ["black_hole", "refuse"])
@pytest.mark.parametrize("fixed", [False, True])
def test_an_unreachable_broker_ends_the_send_at_its_deadline(world: SendWorld, hang: str, fixed: bool) -> None:
    @virtual_time
    async def check() -> None:
        (broker,) = world.route_to("broker-a")
        setattr(broker.peer, hang, True)
        kind = SendUnreachableError if hang == "refuse" else SendTimeoutError  # the class tells a refused connection from no answer
        queue = MessageQueue(TOPIC, "broker-a", 0) if fixed else None
        async with world.producer() as producer:
            begin = now()
            with pytest.raises(kind) as caught:
                await producer.send(Message(TOPIC, b"x"), queue=queue, timeout=2.0)
            assert abs(now() - begin - 2.0) < 1e-6
            with pytest.raises(kind):
                await producer.send_oneway(Message(TOPIC, b"x"), queue=queue, timeout=1.0)
            assert abs(now() - begin - 3.0) < 1e-6
        error = caught.value
        assert not error.maybe_stored and not broker.sends
        assert "connecting to broker-a (broker-a:10911)" in str(error)
        if hang == "refuse":
            assert "brokerIP1" in error.hint and "times" in error.attempts[0]

    check()


# -- outages ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B7", "B8")
@virtual_time
async def test_a_broker_that_is_gone_for_a_second_costs_no_send(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await connect(producer, broker)
        broker.down()
        begin = now()
        sends = [asyncio.ensure_future(producer.send(Message(TOPIC, b"x"))), producer.send_nowait(Message(TOPIC, b"y"))]
        sends.append(asyncio.ensure_future(producer.send(Message(TOPIC, b"z"), queue=MessageQueue(TOPIC, "broker-a", 0))))
        await asyncio.sleep(1.0)
        assert not any(send.done() for send in sends)
        broker.up()
        results = await asyncio.gather(*sends)
        assert all(result.ok for result in results) and now() - begin <= 2.1
    assert sorted(broker.stored) == [b"x", b"y", b"z"]


@virtual_time
async def test_attempts_to_connect_are_spaced_and_few(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.peer.refuse = True
    async with world.producer(topics=[TOPIC]) as producer:
        sends = [producer.send_nowait(Message(TOPIC, b"x"), timeout=20.0) for _ in range(500)]
        begin = now()
        await asyncio.sleep(9.5)
        tasks = len(asyncio.all_tasks())
        dials = [at for at, address in world.network.dialled if address == broker.address]
        # Heartbeats dial too, at 1 s.
        assert 9 <= len(dials) <= 26 and tasks < 25
        gaps = [second - first for first, second in itertools.pairwise(dials)]
        assert max(gaps) <= 1.0 + 1e-6
        broker.up()
        await asyncio.gather(*sends)
        assert now() - begin < 10.6
    assert len(broker.stored) == 500


@pytest.mark.feature("B8")
@virtual_time
async def test_sends_that_are_nearly_out_of_time_let_the_others_go_first(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a", queues=1)
    chosen = MessageQueue(TOPIC, "broker-a", 0)
    broker.peer.refuse = True
    async with world.producer() as producer:
        sends = [producer.send_nowait(Message(TOPIC, b"old"))]
        sends.append(producer.send_nowait(Message(TOPIC, b"old, queue chosen"), queue=chosen))
        await asyncio.sleep(2.3)
        sends.append(producer.send_nowait(Message(TOPIC, b"new, queue chosen"), queue=chosen))
        sends.append(producer.send_nowait(Message(TOPIC, b"new")))
        broker.up()
        await asyncio.gather(*sends)
    assert broker.stored == [b"old, queue chosen", b"new, queue chosen", b"new", b"old"]


@pytest.mark.feature("B2")
@virtual_time
async def test_parked_messages_leave_in_the_order_of_the_calls(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a", queues=1)
    broker.peer.refuse = True
    async with world.producer() as producer:
        first = [producer.send_nowait(Message(TOPIC, b"%d" % number)) for number in range(50)]
        await asyncio.sleep(0.5)
        second = [producer.send_nowait(Message(TOPIC, b"%d" % number)) for number in range(50, 100)]
        broker.up()
        await asyncio.gather(*first, *second)
    assert broker.stored == [b"%d" % number for number in range(100)]


@pytest.mark.feature("B7")
@virtual_time
async def test_a_dead_broker_is_passed_over_while_another_is_connected(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b")
    async with world.producer() as producer:
        await connect(producer, one, two)
        one.down()
        begin = now()
        for _ in range(200):
            assert (await producer.send(Message(TOPIC, b"x"))).queue.broker_name == "broker-b"
        assert now() - begin < 0.01
        one.up()
        await asyncio.sleep(2.0)
        results = [await producer.send(Message(TOPIC, b"x")) for _ in range(3)]
        await asyncio.sleep(1.0)
        results = [await producer.send(Message(TOPIC, b"x")) for _ in range(20)]
        assert {result.queue.broker_name for result in results} == {"broker-a", "broker-b"}


@pytest.mark.feature("B7")
@virtual_time
async def test_a_broker_that_swallows_connections_delays_the_first_send_by_a_second_at_most(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b")
    one.peer.black_hole = True
    for _ in range(4):
        async with world.producer() as producer:
            begin = now()
            assert (await producer.send(Message(TOPIC, b"x"))).queue.broker_name == "broker-b"
            assert now() - begin <= 1.0 + 1e-6
    assert len(two.stored) == 4


@virtual_time
async def test_a_broker_with_a_new_address_is_found_during_the_send(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await connect(producer, broker)
        broker.down()
        sending = asyncio.ensure_future(producer.send(Message(TOPIC, b"x")))
        await asyncio.sleep(0.3)
        moved = world.brokers["broker-a"] = Broker(world, "broker-a", "elsewhere:10911")
        world.route_to("broker-a")
        assert (await sending).ok and moved.stored == [b"x"]


# -- routes ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("P6")
@virtual_time
async def test_an_unknown_topic_is_told_at_once(world: SendWorld) -> None:
    async with world.producer() as producer:
        for _ in range(2):
            with pytest.raises(TopicNotFoundError) as caught:
                await producer.send(Message("nowhere", b"x"))
            assert not caught.value.maybe_stored and "nowhere" in str(caught.value) and "create the topic" in caught.value.hint
        assert now() < 0.1
        # It is not asked for again by itself.
        await asyncio.sleep(0.5)
        asked = len(world.name_server.of(RequestCode.GET_ROUTEINFO_BY_TOPIC))
        await asyncio.sleep(100)
        assert len(world.name_server.of(RequestCode.GET_ROUTEINFO_BY_TOPIC)) == asked


@pytest.mark.feature("P6", "L6")
@virtual_time
async def test_a_dead_name_server_is_told_at_the_deadline(world: SendWorld) -> None:
    world.name_server.refuse = True
    async with world.producer() as producer:
        begin = now()
        with pytest.raises(NoNameServerError) as caught:
            await producer.send(Message(TOPIC, b"x"))
        assert now() - begin <= 3.0 + ON_TIME
        assert not caught.value.maybe_stored and "ns:9876" in str(caught.value)


@pytest.mark.feature("L6")
@virtual_time
async def test_a_name_server_that_comes_up_during_the_send_is_enough(world: SendWorld) -> None:
    world.route_to("broker-a")
    world.name_server.refuse = True
    async with world.producer() as producer:
        sends = [producer.send_nowait(Message(TOPIC, b"x")) for _ in range(100)]
        await asyncio.sleep(1.0)
        assert len(asyncio.all_tasks()) < 20
        world.name_server.refuse = False
        results = await asyncio.gather(*sends)
        assert all(result.ok for result in results) and now() < 2.5


@virtual_time
async def test_dead_name_servers_do_not_matter_to_known_topics(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await connect(producer, broker)
        world.name_server.refuse = True
        world.name_server.drop()
        for _ in range(40):
            await asyncio.sleep(10)
            assert (await producer.send(Message(TOPIC, b"x"))).ok


@pytest.mark.feature("P6")
@virtual_time
async def test_a_topic_that_cannot_be_written_is_told_in_time(world: SendWorld) -> None:
    world.route_to("broker-a", perm=4)
    async with world.producer() as producer:
        with pytest.raises(RouteError, match="can be written") as caught:
            await producer.send(Message(TOPIC, b"x"))
        assert now() <= 3.0 + ON_TIME and not caught.value.maybe_stored


@virtual_time
async def test_a_topic_that_vanishes_with_its_broker_is_waited_for(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await connect(producer, broker)
        known = world.routes.pop(TOPIC)
        broker.down()
        sending = asyncio.ensure_future(producer.send(Message(TOPIC, b"x")))
        await asyncio.sleep(1.0)
        world.routes[TOPIC] = known
        broker.up()
        assert (await sending).ok and now() < 2.1


@pytest.mark.feature("B4", "P6")
@virtual_time
async def test_a_queue_of_an_unknown_broker_is_told_at_once(world: SendWorld) -> None:
    world.route_to("broker-a")
    async with world.producer() as producer:
        with pytest.raises(BrokerNotFoundError, match="broker-x"):
            await producer.send(Message(TOPIC, b"x"), queue=MessageQueue(TOPIC, "broker-x", 0))
        assert now() < 0.1


# -- the truth about doubt -------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("P9")
@pytest.mark.parametrize(
    ("codes", "stored"), [([2, 2, 2], False), ([14, 17, 16], False), ([1, 2, 2], True), ([2, 2, 1], True), ([4711], True), ([29], False)]
)
def test_doubt_is_told_when_any_try_leaves_some(world: SendWorld, codes: list[int | None], stored: bool) -> None:
    @virtual_time
    async def check() -> None:
        (broker,) = world.route_to("broker-a")
        broker.answers = list(codes)
        async with world.producer() as producer:
            with pytest.raises(SendError) as caught:
                await producer.send(Message(TOPIC, b"x"))
        assert caught.value.maybe_stored is stored

    check()


@pytest.mark.feature("P9")
@virtual_time
async def test_a_connection_lost_under_way_leaves_doubt(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.always = None
    async with world.producer(retry_times_when_send_failed=0) as producer:
        sending = asyncio.ensure_future(producer.send(Message(TOPIC, b"x")))
        await broker.peer.wait_for(SEND)
        broker.down()
        with pytest.raises(SendError) as caught:
            await sending
        assert caught.value.maybe_stored and isinstance(caught.value.cause, ConnectionLostError)


@pytest.mark.feature("P9")
@virtual_time
async def test_doubt_survives_an_outage_after_it(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.always = None
    async with world.producer() as producer:
        sending = asyncio.ensure_future(producer.send(Message(TOPIC, b"x")))
        await broker.peer.wait_for(SEND)
        broker.down()
        with pytest.raises(SendTimeoutError) as caught:
            await sending
        assert caught.value.maybe_stored and len(caught.value.attempts) == 2


@pytest.mark.feature("P9")
@virtual_time
async def test_an_answer_without_its_fields_leaves_doubt(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.extra = {"queueOffset": "many"}
    async with world.producer() as producer:
        with pytest.raises(SendError) as caught:
            await producer.send(Message(TOPIC, b"x"))
    assert caught.value.maybe_stored and isinstance(caught.value.cause, ProtocolError) and len(broker.sends) == 1


@pytest.mark.feature("P9", "B10")
@virtual_time
async def test_no_permission_is_told_with_its_hint(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.always = 16
    async with world.producer(retry_response_codes=()) as producer:
        with pytest.raises(SendError, match="check the topic's permission") as caught:
            await producer.send(Message(TOPIC, b"x"))
    assert isinstance(caught.value.cause, NoPermissionError) and not caught.value.retriable


@virtual_time
async def test_a_peer_that_speaks_http_is_named(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")

    def answer(*_: object) -> None:
        for connection in broker.peer.connections:
            connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    broker.peer.on(SEND, answer)
    async with world.producer(enable_heartbeat_channel_event_listener=False) as producer:
        with pytest.raises(SendError, match="HTTP") as caught:
            await producer.send(Message(TOPIC, b"x"))
        assert isinstance(caught.value.cause, WrongProtocolError) and len(caught.value.attempts) == 1


@virtual_time
async def test_a_broker_that_closes_every_connection_at_once_is_not_asked_in_a_hurry(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.peer.on(SEND, lambda request, connection: connection.reset())
    async with world.producer(enable_heartbeat_channel_event_listener=False) as producer:
        with pytest.raises(SendError) as caught:
            await producer.send(Message(TOPIC, b"x"))
        assert caught.value.maybe_stored and len(broker.peer.of(SEND)) == 3 and now() > 0.05


@virtual_time
async def test_callers_that_waited_together_get_errors_of_their_own(world: SendWorld) -> None:
    async with world.producer() as producer:
        outcomes = await asyncio.gather(*(producer.send(Message("nowhere", b"x")) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(outcome, TopicNotFoundError) and outcome.topic == "nowhere" for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 5 and len({str(outcome) for outcome in outcomes}) == 1


@pytest.mark.feature("B8")
@virtual_time
async def test_a_broker_that_refuses_is_not_asked_again_at_once_because_the_other_is_gone(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b", queues=1)
    async with world.producer() as producer:
        await connect(producer, one, two)
        one.down()
        await asyncio.sleep(0.01)
        two.always = 2
        with pytest.raises(SendError) as caught:
            await producer.send(Message(TOPIC, b"x"))
        gaps = [second - first for first, second in itertools.pairwise(two.times)]
        assert len(two.sends) == 3 and min(gaps) >= 0.05
        assert len(caught.value.attempts) <= 3


@pytest.mark.feature("K17")
@virtual_time
async def test_sends_follow_a_broker_whose_address_changes_while_it_is_connected(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await connect(producer, broker)
        await producer.send(Message(TOPIC, b"old"))
        moved = world.brokers["broker-a"] = Broker(world, "broker-a", "elsewhere:10911")
        world.route_to("broker-a")
        await asyncio.sleep(31)
        await producer.send(Message(TOPIC, b"new"))
    assert broker.stored == [b"old"] and moved.stored == [b"new"]
