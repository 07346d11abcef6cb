"""The life of a push consumer, seen from outside, against a scripted broker on virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.client import manager
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.memory_transport import PeerConnection
from tests.unit.consumer.world import GROUP, QUEUE, TOPIC, ScriptedBroker, virtual_time
from tests.wire.world import CLIENT_ID, NAME_SERVER, other_tasks


def make(**fields: Any) -> rmq.PushConsumer:
    consumer = rmq.PushConsumer(NAME_SERVER, group=GROUP, start_from=rmq.StartFrom.FIRST, **fields)

    @consumer.listen(TOPIC)
    async def handle(message: rmq.ReceivedMessage) -> None: ...

    return consumer


@pytest.mark.feature("F44", "K12")
@virtual_time
async def test_start_and_stop_leave_nothing(broker: ScriptedBroker) -> None:
    consumer = make()
    assert (consumer.state, consumer.client_id, consumer.assigned) == (rmq.ServiceState.CREATE_JUST, "", frozenset())
    async with consumer:
        assert consumer.state is rmq.ServiceState.RUNNING
        assert consumer.client_id == CLIENT_ID
        await asyncio.sleep(2)
        assert len(consumer.assigned) == 2
        assert consumer.offsets() == {}
        broker.append(b"0")
        await asyncio.sleep(0.1)
        assert consumer.offsets(TOPIC) == {QUEUE: 1}
        assert consumer.failed_queues() == {}
    assert consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY
    goodbyes = [request.command.ext_fields for request in broker.peer.of(RequestCode.UNREGISTER_CLIENT)]
    assert GROUP in {fields.get("consumerGroup") for fields in goodbyes}
    assert other_tasks() == set()
    assert broker.peer.connections == []


@virtual_time
async def test_stop_before_and_during_the_start(broker: ScriptedBroker) -> None:
    never = make()
    await never.stop()
    with pytest.raises(rmq.ClientClosedError, match="was stopped"):
        await never.start()
    broker.world.name_server.latency = 0.3
    consumer = make()
    starting = asyncio.ensure_future(consumer.start())
    await asyncio.sleep(0.4)
    await consumer.stop()
    with pytest.raises(rmq.ClientClosedError, match="while it was being started"):
        await starting
    assert consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY
    assert other_tasks() == set()


@virtual_time
async def test_cancelled_start_undoes_itself(broker: ScriptedBroker) -> None:
    broker.world.name_server.latency = 0.3
    consumer = make()
    starting = asyncio.ensure_future(consumer.start())
    await asyncio.sleep(0.4)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert consumer.state is rmq.ServiceState.START_FAILED
    assert other_tasks() == set()
    assert broker.peer.connections == []


@pytest.mark.feature("F50", "K2")
@virtual_time
async def test_second_consumer_of_a_group_is_refused_and_the_first_one_lives_on(broker: ScriptedBroker) -> None:
    async with make() as first:
        second = make()
        with pytest.raises(rmq.GroupAlreadyRegisteredError, match=GROUP):
            await second.start()
        await asyncio.sleep(2)
        assert len(first.assigned) == 2
        assert first.instance is not None
        assert GROUP in first.instance.clients.consumers
    assert other_tasks() == set()


@virtual_time
async def test_cancelled_stop_goes_on(broker: ScriptedBroker) -> None:
    gate = asyncio.Event()
    broker.append(b"0")
    consumer = rmq.PushConsumer(NAME_SERVER, group=GROUP, start_from=rmq.StartFrom.FIRST)

    @consumer.listen(TOPIC)
    async def handle(message: rmq.ReceivedMessage) -> None:
        await gate.wait()

    await consumer.start()
    await asyncio.sleep(2)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await consumer.stop()
    gate.set()
    await consumer.stop()
    assert broker.offsets[TOPIC] == 1
    assert other_tasks() == set()


@virtual_time
async def test_run_ends_when_it_is_cancelled_or_stopped_elsewhere(broker: ScriptedBroker) -> None:
    consumer = make()
    running = asyncio.ensure_future(consumer.run())
    await asyncio.sleep(2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY
    other = make()
    running = asyncio.ensure_future(other.run())
    await asyncio.sleep(2)
    await other.stop()
    await running
    assert other_tasks() == set()


@virtual_time
async def test_one_signal_ends_all_consumers_of_the_program_that_run(broker: ScriptedBroker) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    consumers = [make(instance_name=name) for name in ("one", "two")]
    running = [asyncio.ensure_future(consumer.run()) for consumer in consumers]
    await asyncio.sleep(3)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*running), 10)
    assert {consumer.state for consumer in consumers} == {rmq.ServiceState.SHUTDOWN_ALREADY}
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@virtual_time
async def test_consumer_that_ends_first_leaves_the_signals_to_the_others(broker: ScriptedBroker) -> None:
    before = signal.getsignal(signal.SIGTERM)
    consumers = [make(instance_name=name) for name in ("one", "two")]
    running = [asyncio.ensure_future(consumer.run()) for consumer in consumers]
    await asyncio.sleep(3)
    for end in (0, 1):
        await consumers[end].stop()
        await running[end]
        if not end:
            signal.raise_signal(signal.SIGINT)
            await asyncio.wait_for(running[1], 10)
    assert signal.getsignal(signal.SIGTERM) == before


@virtual_time
async def test_consumer_that_has_lost_its_only_listener_does_not_start(broker: ScriptedBroker) -> None:
    consumer = make()
    await consumer.unsubscribe(TOPIC)
    with pytest.raises(rmq.ListenerError, match="no listener"):
        await consumer.start()


@pytest.fixture
def no_garbage() -> Iterator[None]:
    gc.collect()
    yield
    gc.collect()


@pytest.mark.usefixtures("no_garbage")
def test_consumer_that_is_dropped_without_a_stop_warns() -> None:
    consumer = make()
    consumer._life.state = rmq.ServiceState.RUNNING
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del consumer
        gc.collect()
    assert any(issubclass(warning.category, ResourceWarning) and GROUP in str(warning.message) for warning in caught)


def test_live_calls_need_a_running_consumer() -> None:
    consumer = make()
    consumer.suspend()
    consumer.resume()
    assert (consumer.workers, consumer.backlog) == (0, 0)
    with pytest.raises(rmq.ClientClosedError):
        consumer.resize(3)
    assert consumer.offsets() == {}


@pytest.mark.feature("F44")
@pytest.mark.parametrize("ordered", [False, True])
def test_stop_inside_a_listener_does_not_wait_for_itself(broker: ScriptedBroker, ordered: bool) -> None:
    @virtual_time
    async def run() -> None:
        broker.append(b"0", b"1")
        consumer = rmq.PushConsumer(NAME_SERVER, group=GROUP, start_from=rmq.StartFrom.FIRST, ordered=ordered, concurrency=1)
        got: list[bytes] = []

        @consumer.listen(TOPIC)
        async def handle(message: rmq.ReceivedMessage) -> None:
            got.append(message.body)
            assert consumer.in_listener
            await consumer.stop()

        before = asyncio.get_running_loop().time()
        await asyncio.wait_for(consumer.run(), 20)
        assert asyncio.get_running_loop().time() - before < 5
        assert not consumer.in_listener
        assert got == [b"0"]
        assert broker.offsets[TOPIC] == 1, "its message is consumed"
        assert other_tasks() == set()

    run()


@virtual_time
async def test_failed_start_can_be_tried_again_with_the_same_listeners(broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = make()
    first = make()
    await first.start()
    for _ in range(2):
        with pytest.raises(rmq.GroupAlreadyRegisteredError):
            await consumer.start()
        assert consumer.state is rmq.ServiceState.START_FAILED
    await first.stop()
    async with consumer:
        await asyncio.sleep(2)
        assert QUEUE in consumer.assigned
    assert consumer.state is rmq.ServiceState.SHUTDOWN_ALREADY
    failed = make()
    async with make():
        with pytest.raises(rmq.GroupAlreadyRegisteredError):
            await failed.start()
    await failed.stop()
    async with failed:
        assert failed.state is rmq.ServiceState.RUNNING
    assert other_tasks() == set()


@virtual_time
async def test_start_that_fails_before_it_began_gives_the_instance_back(broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("scripted")

    consumer = make()
    with monkeypatch.context() as patched:
        patched.setattr("aiorocketmq.consumer.member.store_of", fail)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="scripted"):
                await consumer.start()
    assert [share.users for table in manager.shared._loops.values() for share in table.shares.values()] == []
    await asyncio.wait_for(consumer.stop(), 3)
    assert other_tasks() == set()


@virtual_time
async def test_listen_without_brackets_says_what_is_missing(broker: ScriptedBroker) -> None:
    consumer = make()

    async def handle(message: rmq.ReceivedMessage) -> None: ...

    with pytest.raises(rmq.ListenerError, match=r"handle.*@consumer\.listen\("):
        consumer.listen(handle)  # type: ignore[arg-type]


@pytest.mark.feature("F20")
@pytest.mark.parametrize("code", [rmq.SubscriptionError.default_code, 1])
def test_filter_that_the_broker_cannot_evaluate_is_refused_at_the_start(broker: ScriptedBroker, code: int) -> None:
    @virtual_time
    async def run() -> None:
        broker.peer.answer(RequestCode.CHECK_CLIENT_CONFIG, code, "the broker's words")
        consumer = rmq.PushConsumer(NAME_SERVER, group=GROUP)

        async def handle(message: rmq.ReceivedMessage) -> None: ...

        consumer.listen(TOPIC, rmq.SQL("price > 1"))(handle)
        with pytest.raises(rmq.SubscriptionError, match="the broker's words"):
            await consumer.start()
        async with make() as other:
            with pytest.raises(rmq.SubscriptionError, match="the broker's words"):
                await other.subscribe("other", handle, rmq.SQL("price > 1"))
            assert not any(topic == "other" for topic in other._subscriptions.topics)
        broker.peer.answer(RequestCode.CHECK_CLIENT_CONFIG)
        async with consumer:
            assert consumer.state is rmq.ServiceState.RUNNING
        assert other_tasks() == set()

    broker.world.routes["other"] = broker.world.routes[TOPIC]
    run()


@pytest.mark.feature("F20")
@pytest.mark.parametrize(("expression", "words"), [("price >", "column 8"), ("price > 1", "newer brokers")])
def test_a_filter_that_does_not_compile_is_refused_with_the_place_of_the_mistake(
    broker: ScriptedBroker, expression: str, words: str
) -> None:
    @virtual_time
    async def run() -> None:
        broker.peer.answer(RequestCode.CHECK_CLIENT_CONFIG, rmq.SubscriptionError.default_code, "the broker's words")
        consumer = rmq.PushConsumer(NAME_SERVER, group=GROUP)
        consumer.listen(TOPIC, rmq.SQL(expression))(lambda message: None)
        with pytest.raises(rmq.SubscriptionError, match=f"the broker's words.*{words}") as caught:
            await consumer.start()
        assert (caught.value.topic, caught.value.code) == (TOPIC, 23)

    run()


@pytest.mark.feature("F18", "F20")
@virtual_time
async def test_words_that_the_broker_does_not_know_are_refused(broker: ScriptedBroker) -> None:
    def answer(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        told = RemotingCommand.response(request)
        told.version = version
        return told

    broker.peer.on(RequestCode.CHECK_CLIENT_CONFIG, answer)
    version = 438  # V5_1_3_SNAPSHOT
    consumer = rmq.PushConsumer(NAME_SERVER, group=GROUP)
    consumer.listen(TOPIC, rmq.SQL("name CONTAINS 'x' OR name ENDSWITH 'y'"))(lambda message: None)
    with pytest.raises(rmq.NotSupportedByBrokerError, match="V5_1_3_SNAPSHOT and does not know CONTAINS and ENDSWITH") as caught:
        await consumer.start()
    assert caught.value.broker_version == "V5_1_3_SNAPSHOT" and caught.value.hint
    assert not broker.pulls
    async with make() as other:
        with pytest.raises(rmq.NotSupportedByBrokerError):
            await other.subscribe(TOPIC, lambda message: None, rmq.SQL("name STARTSWITH 'x'"))
        assert other._subscriptions.get(TOPIC).is_tag
        version = 439
        await other.subscribe(TOPIC, lambda message: None, rmq.SQL("name STARTSWITH 'x'"))


@pytest.mark.feature("F45")
@virtual_time
async def test_message_queue_listener_hears_of_subscribed_topics_only(broker: ScriptedBroker) -> None:
    told: list[str] = []
    async with make(message_queue_listener=lambda topic, queues, owned: told.append(topic)):
        await asyncio.sleep(2)
    assert set(told) == {TOPIC}


@pytest.mark.feature("K12")
@virtual_time
async def test_new_consumer_of_a_group_says_hello_after_the_goodbye_of_the_one_before(broker: ScriptedBroker) -> None:
    order: list[str] = []
    heartbeat = broker.peer._handlers[RequestCode.HEART_BEAT]

    def hello(request: RemotingCommand, connection: PeerConnection) -> Any:
        if GROUP.encode() in request.body:
            order.append("hello")
        return heartbeat(request, connection)

    def goodbye(request: RemotingCommand, connection: PeerConnection) -> None:
        def answer() -> None:
            order.append("goodbye")
            connection.send(RemotingCommand.response(request))

        asyncio.get_running_loop().call_later(0.5, answer)

    keeper = rmq.PushConsumer(NAME_SERVER, group="keeper")
    keeper.listen(TOPIC)(lambda message: None)
    async with keeper, make():
        await asyncio.sleep(2)
        broker.peer.on(RequestCode.HEART_BEAT, hello)
        broker.peer.on(RequestCode.UNREGISTER_CLIENT, goodbye)
        assert keeper.instance is not None
        leaving = asyncio.ensure_future(keeper.instance.unregister_consumer(keeper.instance.clients.consumers[GROUP]))
        await asyncio.sleep(0.1)
        async with make():
            assert order[:2] == ["goodbye", "hello"]
        await leaving
