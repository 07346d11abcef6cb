"""How sends end: by one way out, whatever is raised and whenever the producer stops, with all room given back."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

import aiorocketmq
from aiorocketmq.errors import ClientClosedError, ConfigError, RocketMQError, SendError
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer import Producer, blocking
from aiorocketmq.producer.accumulator import Accumulator
from aiorocketmq.producer.send import SendState
from aiorocketmq.protocol.bodies_client import ProducerData
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.message_codec import BatchEncoder
from aiorocketmq.protocol.templates import SendTemplate
from tests.support.virtual_loop import virtual_time
from tests.unit.producer.batching import start
from tests.unit.producer.world import SEND, TOPIC, Broker, SendWorld, now
from tests.wire.world import heartbeats

interpreted = pytest.mark.skipif(aiorocketmq.compiled, reason="methods of compiled objects cannot be replaced")


def room(producer: Producer) -> tuple[int, int]:
    """Messages and bytes in the window."""
    dispatcher = producer._dispatcher
    assert dispatcher is not None
    return dispatcher.window.messages, dispatcher.window.bytes


def left_behind(producer: Producer) -> list[str]:
    """Names of the tables of a producer that are not empty."""
    dispatcher = producer._dispatcher
    assert dispatcher is not None
    left = [f"{target.topic} {place}" for target in dispatcher.targets.values() for place in target.places if place]
    left += [f"{target.topic} task" for target in dispatcher.targets.values() if target.task or target.renewal]
    return left + [f"lobby {address}" for address in dispatcher._lobbies.by_address]


async def outcome(sending: Any) -> BaseException:
    """The error that a send ends with."""
    try:
        await sending
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("it did not fail")


class Hook:
    """An RPC hook that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error

    def before_request(self, address: str, request: RemotingCommand) -> None:
        if self.error is not None and request.code in (SEND, RequestCode.SEND_BATCH_MESSAGE):
            raise self.error

    def after_response(self, address: str, request: RemotingCommand, response: RemotingCommand) -> None:
        pass


ERRORS = [ValueError("mine"), KeyError("mine"), StopIteration("mine"), asyncio.CancelledError("mine"), SystemExit(3), MemoryError()]


# -- whatever is raised ----------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B5", "B17")
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("warm", [True, False])
def test_whatever_a_selector_raises_is_told_and_gives_the_room_back(world: SendWorld, error: BaseException, warm: bool) -> None:
    def select(queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
        raise error

    @virtual_time
    async def check() -> None:
        world.route_to("broker-a")
        async with world.producer(max_in_flight=2) as producer:
            if warm:
                await producer.send(Message(TOPIC, b"warm"))
            for _ in range(3):
                for sending in (
                    producer.send(Message(TOPIC, b"x"), selector=select),
                    producer.send_oneway(Message(TOPIC, b"x"), selector=select),
                    producer.send_nowait(Message(TOPIC, b"x"), selector=select),
                ):
                    caught = await outcome(sending)
                    assert caught is error or (isinstance(error, StopIteration) and repr(error) in str(caught))
            assert room(producer) == (0, 0)
            assert (await producer.send(Message(TOPIC, b"ok"))).ok

    check()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_hook_raises_is_told_and_gives_the_room_back(world: SendWorld, error: BaseException) -> None:
    @virtual_time
    async def check() -> None:
        world.route_to("broker-a")
        hook = Hook(error)
        world.on_instance = lambda instance: instance.remoting.add_hook(hook)
        async with world.producer(max_in_flight=2, topics=[TOPIC]) as producer:
            for _ in range(2):  # before there is a connection, and with one
                for sending in (
                    producer.send(Message(TOPIC, b"x")),
                    producer.send_batch([Message(TOPIC, b"x")]),
                    producer.send_nowait(Message(TOPIC, b"x")),
                ):
                    caught = await outcome(sending)
                    assert caught is error or (isinstance(error, StopIteration) and repr(error) in str(caught))
            assert room(producer) == (0, 0) and not left_behind(producer)
            hook.error = None
            assert (await producer.send(Message(TOPIC, b"ok"))).ok

    check()


@interpreted
@virtual_time
async def test_a_fault_of_ours_on_the_way_out_costs_one_send_and_no_room(world: SendWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.route_to("broker-a")
    async with world.producer(max_in_flight=2) as producer:
        await producer.send(Message(TOPIC, b"warm"))
        with monkeypatch.context() as patched:
            patched.setattr(SendTemplate, "frame", _raise)
            for _ in range(3):
                for sending in (producer.send(Message(TOPIC, b"x")), producer.send_nowait(Message(TOPIC, b"x"))):
                    assert isinstance(await outcome(sending), RuntimeError)
        assert room(producer) == (0, 0) and (await producer.send(Message(TOPIC, b"ok"))).ok


def _raise(*_: object, **__: object) -> Any:
    raise RuntimeError("a fault")


@interpreted
@virtual_time
async def test_a_fault_of_ours_on_the_way_back_leaves_doubt_and_no_room(world: SendWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.route_to("broker-a")
    async with world.producer(max_in_flight=2) as producer:
        await producer.send(Message(TOPIC, b"warm"))
        with monkeypatch.context() as patched:
            patched.setattr("aiorocketmq.producer.send.SendResult", _raise)
            for sending in (producer.send(Message(TOPIC, b"x")), producer.send_nowait(Message(TOPIC, b"x"))):
                caught = await outcome(sending)
                assert isinstance(caught, SendError) and caught.maybe_stored and "a fault" in str(caught)
        assert room(producer) == (0, 0) and world.in_flight == 0 and (await producer.send(Message(TOPIC, b"ok"))).ok


@interpreted
@pytest.mark.feature("B18")
@pytest.mark.parametrize("where", ["encode", "alone"])
def test_a_fault_in_a_batch_is_told_to_all_in_it(world: SendWorld, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    @virtual_time
    async def check() -> None:
        producer, made = await start(world, max_in_flight=8)
        async with producer:
            with monkeypatch.context() as patched:
                patched.setattr(BatchEncoder, "add", _raise)
                patched.setattr(Accumulator, "alone", _raise)
                futures = [producer.send_nowait(Message(TOPIC, b"%d" % number)) for number in range(4 if where == "encode" else 1)]
                done, pending = await asyncio.wait(futures, timeout=1.0)
                assert not pending and all(isinstance(future.exception(), RuntimeError) for future in done)
            assert room(producer) == (0, 0) and producer._accumulator is not None and producer._accumulator.held == 0
            assert (await producer.send(Message(TOPIC, b"ok"))).ok and made.bodies == [b"ok"]

    check()
    gc.collect()  # the errors hold the frames that raised them, and these the batch


@virtual_time
async def test_an_answer_that_comes_after_the_end_changes_nothing(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await producer.send(Message(TOPIC, b"warm"))
        broker.always = None
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()
        operation = blocking.begin(reply, producer, False, Message(TOPIC, b"x"), None, None, None, None)
        assert operation is not None
        operation.cancel()
        assert operation.state is SendState.ENDED and room(producer) == (0, 0)
        operation.on_response(RemotingCommand(0))
        operation.cancel()
        assert room(producer) == (0, 0) and not reply.done()


# -- stopping --------------------------------------------------------------------------------------------------------------------------


async def silent(broker: Broker, producer: Producer) -> None:
    await producer.send(Message(TOPIC, b"warm"))
    broker.always = None


async def dead(broker: Broker, producer: Producer) -> None:
    await producer.send(Message(TOPIC, b"warm"))
    broker.down()
    await asyncio.sleep(0.1)


async def nowhere(broker: Broker, producer: Producer) -> None:
    del broker


async def refusing(broker: Broker, producer: Producer) -> None:
    await producer.send(Message(TOPIC, b"warm"))
    broker.always = 2


@pytest.mark.feature("B24")
@pytest.mark.parametrize("auto_batch", [False, True])
@pytest.mark.parametrize("trouble", [silent, dead, nowhere, refusing], ids=lambda trouble: trouble.__name__)
def test_a_stop_without_patience_ends_everything_and_tells(
    world: SendWorld, trouble: Callable[[Broker, Producer], Any], auto_batch: bool
) -> None:
    @virtual_time
    async def check() -> None:
        if trouble is nowhere:
            world.name_server.refuse = True
        (broker,) = world.route_to("broker-a")
        producer = world.producer(
            max_in_flight=4, auto_batch=auto_batch, retry_times_when_send_failed=99, retry_times_when_send_async_failed=99
        )
        await producer.start()
        await trouble(broker, producer)
        sends: list[asyncio.Future[Any]] = [producer.send_nowait(Message(TOPIC, b"%d" % number), timeout=60) for number in range(3)]
        sends += [asyncio.ensure_future(producer.send(Message(TOPIC, b"s"), timeout=60)) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert not any(sending.done() for sending in sends)
        begin = now()
        await producer.stop(timeout=0)
        await asyncio.sleep(0)
        for sending in sends:
            caught = await outcome(sending)
            assert isinstance(caught, RocketMQError)
            on_the_wire = trouble is silent and not isinstance(caught, ClientClosedError)
            assert caught.maybe_stored is on_the_wire
        assert now() - begin <= 1.1 and producer.state is ServiceState.SHUTDOWN_ALREADY
        assert room(producer) == (0, 0) and not left_behind(producer) and world.in_flight == 0
        await asyncio.sleep(1.0)
        assert len(asyncio.all_tasks()) == 1

    check()


@pytest.mark.feature("B24", "P9")
@virtual_time
async def test_a_stop_does_not_end_the_sends_of_others_on_the_same_connections(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(group="other") as other:
        producer = world.producer()
        await producer.start()
        await silent(broker, producer)
        mine, theirs = (each.send_nowait(Message(TOPIC, b"x"), timeout=2.0) for each in (producer, other))
        await broker.peer.wait_for(SEND, 3)
        await producer.stop(timeout=0)
        caught = await outcome(mine)
        assert isinstance(caught, SendError) and caught.maybe_stored and "was stopped" in str(caught)
        assert len(world.instances) == 1 and world.in_flight == 1 and not theirs.done()
        broker.always = 0
        with suppress(SendError):
            await theirs


@virtual_time
async def test_a_stop_that_is_cancelled_ends_everything_at_once(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    producer = world.producer()
    await producer.start()
    await silent(broker, producer)
    sending = producer.send_nowait(Message(TOPIC, b"x"), timeout=60)
    stopping = asyncio.ensure_future(producer.stop(30.0))
    await asyncio.sleep(1.0)
    assert not stopping.done()
    stopping.cancel()
    caught = await outcome(sending)
    assert isinstance(caught, SendError) and caught.maybe_stored and now() < 2.5
    assert isinstance(await outcome(stopping), asyncio.CancelledError)
    await asyncio.sleep(2.0)
    assert room(producer) == (0, 0) and len(asyncio.all_tasks()) == 1


@virtual_time
async def test_a_wrong_time_out_stops_all_the_same_and_is_told(world: SendWorld) -> None:
    world.route_to("broker-a")
    for timeout in (-1, "soon", float("nan"), float("inf"), True):
        producer = world.producer()
        await producer.start()
        with pytest.raises(ConfigError, match="timeout"):
            await producer.stop(timeout)  # type: ignore[arg-type]
        assert producer.state is ServiceState.SHUTDOWN_ALREADY and not left_behind(producer)


# -- starting --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["silent", "black_hole"])
def test_a_start_that_is_cut_off_leaves_nothing_and_can_be_tried_again(world: SendWorld, trouble: str) -> None:
    @virtual_time
    async def check() -> None:
        world.route_to("broker-a")
        setattr(world.name_server, trouble, True)
        producer = world.producer(topics=[TOPIC])
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await producer.start()
            assert producer.state is ServiceState.START_FAILED
            await asyncio.sleep(4.0)
            assert len(asyncio.all_tasks()) == 1
        setattr(world.name_server, trouble, False)
        async with producer:
            assert (await producer.send(Message(TOPIC, b"x"))).ok

    check()


@pytest.mark.feature("K2")
@virtual_time
async def test_producers_without_a_group_of_their_own_live_side_by_side(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    world.route_to("broker-a", topic="other")
    one, two = (world.producer(group="DEFAULT_PRODUCER") for _ in range(2))

    def goodbyes() -> int:
        said = broker.peer.of(RequestCode.UNREGISTER_CLIENT)
        return [request.command.ext_fields.get("producerGroup") for request in said].count("DEFAULT_PRODUCER")

    await one.start()
    async with two:
        assert (await one.send(Message(TOPIC, b"1"))).ok and (await two.send(Message("other", b"2"))).ok
        assert len(world.instances) == 1
        await one.stop()
        assert not goodbyes()
        world.route_to("broker-a", topic="other", queues=1)
        await asyncio.sleep(31)
        assert {(await two.send(Message("other", b"3"))).queue.queue_id for _ in range(3)} == {0}
    assert goodbyes() == 1
    assert heartbeats(broker.peer)[-1].producer_data_set.count(ProducerData("DEFAULT_PRODUCER")) == 1
