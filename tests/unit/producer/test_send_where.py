"""Where sends go: by the message's own key, past brokers that are too old, to the queues that are left, and when a broker is gone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from aiorocketmq.errors import (
    BrokerNotFoundError,
    InvalidMessageError,
    MessageRefusedError,
    NoPermissionError,
    NotSupportedByBrokerError,
    SendError,
    SendTimeoutError,
    TopicNotFoundError,
)
from aiorocketmq.model.message import Message
from aiorocketmq.model.properties import decode_properties
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer import Producer
from aiorocketmq.producer.selectors import SelectByHash, hash_index
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import SendMessageRequestHeaderV2
from tests.support.memory_transport import PeerConnection
from tests.support.virtual_loop import virtual_time
from tests.support.waiting import eventually
from tests.unit.producer.world import BATCH, SEND, TOPIC, Broker, SendWorld, now
from tests.wire.world import heartbeat_answer

KEYED = Message(TOPIC, b"x", sharding_key="key")


async def send_in_every_way(producer: Producer, message: Message, **options: Any) -> None:
    await producer.send(message, **options)
    await producer.send_nowait(message, **options)
    await producer.send_oneway(message, **options)
    await asyncio.sleep(0.01)


# -- the message's own key -------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("A20", "B6")
@pytest.mark.parametrize("auto_batch", [False, True])
def test_the_message_s_own_key_chooses_its_queue(world: SendWorld, auto_batch: bool) -> None:
    @virtual_time
    async def check() -> None:
        (broker,) = world.route_to("broker-a", queues=8)
        async with world.producer(topics=[TOPIC], auto_batch=auto_batch) as producer:
            await send_in_every_way(producer, KEYED)
            futures = [producer.send_nowait(KEYED) for _ in range(3)]
            await asyncio.gather(*futures)
            assert {header.queue_id for header in broker.headers} == {hash_index("key", 8)}
            await producer.send_batch([KEYED, KEYED])
            assert broker.headers[-1].queue_id == hash_index("key", 8)
            broker.sends.clear()
            await send_in_every_way(producer, KEYED, sharding_key="other")
            assert {header.queue_id for header in broker.headers} == {hash_index("other", 8)}
            broker.sends.clear()
            await send_in_every_way(producer, KEYED, queue=MessageQueue(TOPIC, "broker-a", 5))
            await producer.send_batch([KEYED, Message(TOPIC, b"y")], queue=MessageQueue(TOPIC, "broker-a", 5))
            assert {header.queue_id for header in broker.headers} == {5}

    check()


@pytest.mark.feature("A15", "A20")
@virtual_time
async def test_a_batch_has_one_key(world: SendWorld) -> None:
    world.route_to("broker-a")
    async with world.producer() as producer:
        for other in (Message(TOPIC, b"y"), Message(TOPIC, b"y", sharding_key="other")):
            for messages in ([KEYED, other], [other, KEYED]):
                with pytest.raises(InvalidMessageError, match="mixes the sharding keys"):
                    await producer.send_batch(messages)


@pytest.mark.feature("B4")
@virtual_time
async def test_queues_with_values_of_enums_become_plain(world: SendWorld) -> None:
    class Name(str):
        def __str__(self) -> str:
            return "WRONG"

    (broker,) = world.route_to("broker-a", queues=8)
    async with world.producer(group=Name("group"), topics=[Name(TOPIC)]) as producer:
        result = await producer.send(Message(TOPIC, b"x"), queue=MessageQueue(Name(TOPIC), Name("broker-a"), 5))
        assert [type(part) for part in result.queue] == [str, str, int] and result.queue == MessageQueue(TOPIC, "broker-a", 5)
        await producer.send(Message(TOPIC, b"x"), sharding_key=Name("key"))
        await producer.send(Message(TOPIC, b"x"), selector=SelectByHash(Name("key")))
    assert [header.queue_id for header in broker.headers] == [5, hash_index("key", 8), hash_index("key", 8)]
    assert {header.producer_group for header in broker.headers} == {"group"}
    assert all("WRONG" not in (header.properties or "") for header in broker.headers)


# -- brokers without timers ------------------------------------------------------------------------------------------------------------


def has_version(broker: Broker, number: int) -> None:
    """Have a broker answer heartbeats as one of this version."""

    def answer(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        response = heartbeat_answer(request, connection)
        response.version = number
        return response

    broker.peer.on(RequestCode.HEART_BEAT, answer)


V4_9_7, V5_0_0 = 407, 413
LATER = [{"delay": 5.0}, {"deliver_at": 2e9}]


@pytest.mark.feature("A18")
@pytest.mark.parametrize("listener", [True, False])
@pytest.mark.parametrize("fields", LATER)
def test_a_delay_by_time_is_refused_where_no_timers_are(world: SendWorld, fields: dict[str, Any], listener: bool) -> None:
    @virtual_time
    async def check() -> None:
        (broker,) = world.route_to("broker-a")
        has_version(broker, V4_9_7)
        message = Message(TOPIC, b"x", **fields)
        async with world.producer(enable_heartbeat_channel_event_listener=listener) as producer:
            for sending in (producer.send(message), producer.send_oneway(message), producer.send_nowait(message), producer.send(message)):
                with pytest.raises(NotSupportedByBrokerError, match="V4_9_7") as caught:
                    await sending
                assert caught.value.broker == "broker-a" and "delay_level" in caught.value.hint and not caught.value.maybe_stored
            assert not broker.sends and now() < 0.5
            assert (await producer.send(Message(TOPIC, b"x", delay_level=3))).ok
            has_version(broker, V5_0_0)
            await asyncio.sleep(31)
            assert (await producer.send(message)).ok

    check()


@pytest.mark.feature("B27")
@virtual_time
async def test_a_priority_goes_only_to_brokers_that_look_at_it(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    has_version(broker, 492)  # V5_4_0_SNAPSHOT, which has timers
    message = Message(TOPIC, b"x", priority=7)
    async with world.producer(auto_batch=True, topics=[TOPIC]) as producer:
        with pytest.raises(NotSupportedByBrokerError, match="V5_4_0_SNAPSHOT and does not look at priorities") as caught:
            await producer.send(message)
        assert caught.value.feature == "priority messages" and not broker.sends
        assert (await producer.send(Message(TOPIC, b"x", delay=5.0))).ok
        broker.sends.clear()
        has_version(broker, 493)
        await asyncio.sleep(31)
        assert (await producer.send(message)).ok
        ((_, header, request),) = broker.sends
        assert request.code == SEND and decode_properties(header.properties or "")["_SYS_MSG_PRIORITY_"] == "7"
        choices: list[dict[str, Any]] = [{"queue": MessageQueue(TOPIC, "broker-a", 0)}, {"sharding_key": "s"}, {"selector": min}]
        for choice in choices:
            with pytest.raises(InvalidMessageError, match="a priority exclude"):
                await producer.send(message, **choice)


@pytest.mark.feature("A18")
@virtual_time
async def test_a_delay_by_time_goes_to_the_broker_that_has_timers(world: SendWorld) -> None:
    old, new = world.route_to("broker-a", "broker-b")
    has_version(old, V4_9_7)
    has_version(new, V5_0_0)
    async with world.producer() as producer:
        for broker in (old, new):
            await producer.send(Message(TOPIC, b"warm"), queue=MessageQueue(TOPIC, broker.name, 0))
            broker.sends.clear()
        for _ in range(6):
            assert (await producer.send(Message(TOPIC, b"x", delay=5.0))).queue.broker_name == "broker-b"
    assert not old.sends and len(new.sends) == 6


@pytest.mark.feature("A18", "P6")
@virtual_time
async def test_a_version_that_nobody_tells_ends_at_the_deadline(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.peer.answer(RequestCode.HEART_BEAT, 1, "scripted")
    async with world.producer() as producer:
        with pytest.raises(SendTimeoutError, match="waiting for the version of broker-a") as caught:
            await producer.send(Message(TOPIC, b"x", delay=5.0), timeout=1.0)
        assert not caught.value.maybe_stored and not broker.sends and now() <= 1.0 + 1e-6
        sending = asyncio.ensure_future(producer.send(Message(TOPIC, b"y", delay=5.0)))
        await asyncio.sleep(0.5)
        has_version(broker, V5_0_0)
        assert (await sending).ok and broker.stored == [b"y"]


@pytest.mark.feature("A18", "P9")
@virtual_time
async def test_why_a_version_is_not_known_is_told(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        later = Message(TOPIC, b"x", delay=5.0)
        broker.peer.answer(RequestCode.HEART_BEAT, 16, "not for you")
        for sending in (
            producer.send(later, timeout=1.0),
            producer.send_nowait(later, timeout=1.0),
            producer.send_oneway(later, timeout=0.1),
        ):
            with pytest.raises(SendTimeoutError, match="heartbeat: code 16 from broker-a:10911: not for you") as caught:
                await sending
            assert caught.value.code == 16 and "credentials" in caught.value.hint and len(caught.value.attempts) == 1
            assert isinstance(caught.value.cause, NoPermissionError) and not caught.value.maybe_stored
        broker.peer.on(RequestCode.HEART_BEAT, lambda request, connection: connection.reset())
        with pytest.raises(SendTimeoutError, match="heartbeat: the connection to broker-a:10911 was lost"):
            await producer.send(later, timeout=1.0)
    assert not broker.sends


@pytest.mark.feature("A18")
@virtual_time
async def test_a_broker_that_does_not_tell_its_version_counts_as_too_old(world: SendWorld) -> None:
    mute, new = world.route_to("broker-a", "broker-b")
    has_version(mute, 0)
    has_version(new, V5_0_0)
    later = Message(TOPIC, b"x", delay=5.0)
    async with world.producer() as producer:
        for _ in range(4):
            assert (await producer.send(later)).queue.broker_name == "broker-b"
        sending = producer.send_nowait(later, queue=MessageQueue(TOPIC, "broker-a", 0))
        given_up = producer.send_nowait(later, queue=MessageQueue(TOPIC, "broker-a", 0))
        given_up.cancel()
        with pytest.raises(NotSupportedByBrokerError, match="does not tell its version") as caught:
            await sending
        assert caught.value.broker == "broker-a" and "delay_level" in caught.value.hint
        assert not mute.sends and now() < 0.5
        assert producer._dispatcher is not None and not producer._dispatcher.window.messages


# -- selectors -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B6", "P9")
@pytest.mark.parametrize("auto_batch", [False, True])
def test_a_selector_cannot_be_async(world: SendWorld, auto_batch: bool) -> None:
    async def choose(queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
        return queues[0]

    @virtual_time
    async def check() -> None:
        world.route_to("broker-a")
        async with world.producer(topics=[TOPIC], auto_batch=auto_batch) as producer:
            for send in (producer.send, producer.send_nowait, producer.send_oneway):
                with pytest.raises(InvalidMessageError, match="gave a coroutine, not a queue") as caught:
                    await send(Message(TOPIC, b"x"), selector=choose)  # type: ignore[operator]
                assert "async def" in caught.value.hint

    check()


# -- a topic that shrinks --------------------------------------------------------------------------------------------------------------


def shrink(broker: Broker, queues: int, code: int) -> None:
    """Have a broker refuse the queues that it does not have any more."""
    refused = itertools.count(1)

    def take(request: RemotingCommand, connection: PeerConnection) -> Any:
        header = SendMessageRequestHeaderV2.from_ext(request.ext_fields)
        if header.queue_id < queues:
            return broker._take(request, connection)
        if next(refused) > 500:
            return None  # virtual time stands still for who asks on and on: an answer that does not come lets it pass
        text = (
            f"request queueId[{header.queue_id}] is illegal, TopicConfig [topicName={TOPIC}, writeQueueNums={queues}] Producer: 127.0.0.1"
        )
        return RemotingCommand.response(request, code, text)

    for request_code in (SEND, BATCH):
        broker.peer.on(request_code, take)


@pytest.mark.feature("B7", "B10")
@pytest.mark.parametrize("code", [29, 1])
@pytest.mark.parametrize("lag", [0.0, 1.0])
@pytest.mark.parametrize("options", [{}, {"sharding_key": "keys"}, {"selector": lambda queues, message: queues[-1]}])
@pytest.mark.parametrize("auto_batch", [False, True])
def test_sends_follow_a_topic_with_fewer_queues(world: SendWorld, code: int, lag: float, options: dict[str, Any], auto_batch: bool) -> None:
    @virtual_time
    async def check() -> None:
        (broker,) = world.route_to("broker-a", queues=8)
        fields = {"retry_times_when_send_failed": 0, "retry_times_when_send_async_failed": 0, "auto_batch": auto_batch}
        async with world.producer(**fields) as producer:
            await producer.send(Message(TOPIC, b"warm"))
            shrink(broker, 2, code)
            if lag:
                asyncio.get_running_loop().call_later(lag, lambda: world.route_to("broker-a", queues=2))
            else:
                world.route_to("broker-a", queues=2)
            sends: list[Any] = [producer.send_nowait(Message(TOPIC, b"%d" % number), **options) for number in range(20)]
            sends += [producer.send(Message(TOPIC, b"s"), **options)]
            if not options:
                sends += [producer.send_batch([Message(TOPIC, b"b")])]
            results = await asyncio.gather(*sends)
            assert all(result.ok and result.queue.queue_id < 2 for result in results) and now() <= lag + 1.0
            assert not producer._policies.sync.codes & {29}

    check()


@pytest.mark.feature("B4")
@pytest.mark.parametrize("code", [29, 1])
def test_a_queue_that_the_caller_chose_and_is_no_more_is_told(world: SendWorld, code: int) -> None:
    @virtual_time
    async def check() -> None:
        (broker,) = world.route_to("broker-a", queues=8)
        shrink(broker, 2, code)
        async with world.producer() as producer:
            with pytest.raises(SendError, match="fewer queues now") as caught:
                await producer.send(Message(TOPIC, b"x"), queue=MessageQueue(TOPIC, "broker-a", 7))
            assert caught.value.code == code and not caught.value.maybe_stored

    check()


@pytest.mark.feature("B4", "B18")
@virtual_time
async def test_a_batch_whose_queue_is_no_more_is_taken_apart(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a", queues=8)
    async with world.producer(auto_batch=True, topics=[TOPIC], batch_max_bytes=1024 * 1024) as producer:
        await producer.send(Message(TOPIC, b"warm"))
        broker.stored.clear()
        shrink(broker, 2, 29)
        world.route_to("broker-a", queues=2)
        gone = MessageQueue(TOPIC, "broker-a", 7)
        asked: list[bytes] = []

        def choose(queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
            asked.append(message.body)
            return queues[-1]

        large = bytes(300 * 1024)
        fixed = producer.send_nowait(Message(TOPIC, b"fixed"), queue=gone)
        chosen = [producer.send_nowait(Message(TOPIC, body), selector=choose) for body in (b"a", large, b"c", b"d")]
        asyncio.get_running_loop().call_later(0.010, chosen[2].cancel)  # when it has left
        with pytest.raises(SendError, match="fewer queues now") as caught:
            await fixed
        assert not caught.value.maybe_stored and not caught.value.retriable
        results = await asyncio.gather(*chosen, return_exceptions=True)
        assert [result.queue.queue_id for result in results if isinstance(result, SendResult)] == [1, 1, 1]
        assert broker.stored == [b"a", large, b"d"] and asked[4:] == [b"a", large, b"d"]
        assert len({result.message_id for result in results if isinstance(result, SendResult)}) == 3
        assert producer._dispatcher is not None and producer._accumulator is not None
        assert not producer._dispatcher.window.messages and not producer._dispatcher.window.bytes and not producer._accumulator.held


@pytest.mark.feature("P6", "B18")
@virtual_time
async def test_a_batch_that_is_taken_apart_keeps_its_doubt(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a", queues=8)
    async with world.producer(auto_batch=True, topics=[TOPIC]) as producer:
        await producer.send(Message(TOPIC, b"warm"))
        broker.answers = [1]
        sends = [producer.send_nowait(Message(TOPIC, b"x"), selector=lambda queues, message: queues[-1]) for _ in range(3)]
        asyncio.get_running_loop().call_later(0.02, shrink, broker, 0, 29)
        for error in await asyncio.gather(*sends, return_exceptions=True):
            assert isinstance(error, SendError) and error.maybe_stored and len(error.attempts) == 2


@pytest.mark.feature("B4")
@virtual_time
async def test_a_queue_has_a_number_and_a_selector_can_be_called(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    for auto_batch in (False, True):
        async with world.producer(topics=[TOPIC], auto_batch=auto_batch) as producer:
            for number in (-1, 2**31):  # a broker would take any queue for the first
                queue = MessageQueue(TOPIC, "broker-a", number)
                for options in ({"queue": queue}, {"selector": lambda queues, message, queue=queue: queue}):
                    with pytest.raises(InvalidMessageError, match="queue_id"):
                        await producer.send(Message(TOPIC, b"x"), **options)
                with pytest.raises(InvalidMessageError, match="queue_id"):
                    await producer.send_batch([Message(TOPIC, b"x")], queue=queue)
            for selector in ("broker-a", 0):
                with pytest.raises(InvalidMessageError, match="which cannot be called"):
                    await producer.send(Message(TOPIC, b"x"), selector=selector)  # type: ignore[arg-type]
    assert not broker.sends


@pytest.mark.feature("P6")
@virtual_time
async def test_a_broker_that_refuses_every_queue_ends_the_send_at_its_deadline(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a", queues=8)
    shrink(broker, 0, 29)
    async with world.producer() as producer:
        with pytest.raises(SendError) as caught:
            await producer.send(Message(TOPIC, b"x"), timeout=2.0)
        assert not caught.value.maybe_stored and "is illegal" in str(caught.value) and now() <= 2.0 + 1e-6
        assert len(broker.peer.of(SEND)) < 30


@pytest.mark.feature("B15", "K17")
@virtual_time
async def test_a_topic_that_does_not_exist_is_asked_for_as_long_as_a_send_waits_for_it(world: SendWorld) -> None:
    world.route_to("broker-a")

    def asked() -> int:
        return sum(each.command.ext_fields["topic"] == "nowhere" for each in world.name_server.of(RequestCode.GET_ROUTEINFO_BY_TOPIC))

    async with world.producer(topics=[TOPIC]) as producer:
        with pytest.raises(TopicNotFoundError):
            await producer.send(Message("nowhere", b"x"))
        await asyncio.sleep(1)
        before = asked()
        await asyncio.sleep(100)
        assert before and asked() == before, "and not by every refresh of the routes"
        with pytest.raises(TopicNotFoundError):
            await producer.send(Message("nowhere", b"x"))
        world.route_to("broker-a", topic="nowhere")
        assert (await producer.send(Message("nowhere", b"x"))).ok
        before = asked()
        await asyncio.sleep(100)
        assert asked() > before, "one that exists is kept fresh"


# -- brokers that are gone -------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("P6")
@virtual_time
async def test_a_dead_broker_is_told_from_an_unknown_topic(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await producer.send(Message(TOPIC, b"x"))
        assert len(await producer.fetch_publish_message_queues(TOPIC)) == 4
        broker.down()
        del world.routes[TOPIC]
        with pytest.raises(BrokerNotFoundError, match="'broker-a'") as caught:
            await producer.fetch_publish_message_queues(TOPIC)
        assert "brokers run" in caught.value.hint
        with pytest.raises(TopicNotFoundError, match="'nowhere'") as unknown:
            await producer.fetch_publish_message_queues("nowhere")
        assert "create the topic" in unknown.value.hint
        target = producer._dispatcher.targets[TOPIC]  # type: ignore[union-attr]
        target.put(None)
        producer._life.instance.routes._topics.clear()  # type: ignore[union-attr]  # as when nobody used the topic for a while
        with pytest.raises(BrokerNotFoundError, match="none of its brokers") as sent:
            await producer.send(Message(TOPIC, b"x"), timeout=1.0)
        assert "brokers run" in sent.value.hint and not sent.value.maybe_stored


@pytest.mark.feature("B7", "K17")
@virtual_time
async def test_a_broker_that_fails_and_leaves_the_route_leaves_no_trace(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b", queues=1)
    async with world.producer() as producer:
        for broker in (one, two):
            await producer.send(Message(TOPIC, b"warm"), queue=MessageQueue(TOPIC, broker.name, 0))
        one.down()
        for _ in range(10):
            await producer.send(Message(TOPIC, b"x"))
        dispatcher = producer._dispatcher
        assert dispatcher is not None
        assert list(dispatcher._lobbies.by_address) == [one.address] and dispatcher.usual
        world.route_to("broker-b", queues=1)
        await asyncio.sleep(31)
        assert not dispatcher._lobbies.by_address
        dials = len(world.network.dialled)
        await producer.send(Message(TOPIC, b"x"))
        await asyncio.sleep(5)
        assert len(world.network.dialled) == dials


@virtual_time
async def test_a_dead_broker_is_not_dialled_for_every_message(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b", queues=1)
    async with world.producer() as producer:
        for broker in (one, two):
            await producer.send(Message(TOPIC, b"warm"), queue=MessageQueue(TOPIC, broker.name, 0))
        one.down()
        dials = len(world.network.dialled)
        for _ in range(1000):
            await producer.send(Message(TOPIC, b"x"))
            await asyncio.sleep(0.01)
        assert len(world.network.dialled) - dials <= 45  # in ten seconds, heartbeats included
        await eventually(lambda: not producer._dispatcher._lobbies.by_address, 5)  # type: ignore[union-attr]


@pytest.mark.feature("P6", "A18")
@virtual_time
async def test_what_only_the_broker_can_see_is_the_caller_s_mistake_all_the_same(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    broker.always = 13
    async with world.producer() as producer:
        with pytest.raises(InvalidMessageError, match="remark 13") as caught:
            await producer.send(Message(TOPIC, b"x", delay=1e8))
        assert isinstance(caught.value, MessageRefusedError) and caught.value.code == 13 and not caught.value.maybe_stored


# -- tries that were none --------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("B8")
@virtual_time
async def test_a_try_that_never_left_does_not_count(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(retry_times_when_send_async_failed=0) as producer:
        await producer.send(Message(TOPIC, b"warm"))
        first, second = producer.send_nowait(Message(TOPIC, b"a")), producer.send_nowait(Message(TOPIC, b"b"))
        channel = world.instances[0].remoting.channel(broker.address)
        assert channel is not None
        channel.abort()
        await asyncio.wait([first, second])
        first.exception()  # it may have left
        assert second.result().ok


@pytest.mark.feature("O12")
@virtual_time
async def test_no_topic_uses_the_connection_that_a_broker_has_given_up(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    world.route_to("broker-a", topic="other")
    async with world.producer(retry_times_when_send_failed=0) as producer:
        for topic in (TOPIC, "other"):
            await producer.send(Message(topic, b"w"))
        await asyncio.sleep(0.5)
        old = world.instances[0].remoting.channel(broker.address)
        assert old is not None
        broker.answers = [None, 1500, 0, None]
        slow = producer.send_nowait(Message(TOPIC, b"a"))
        await asyncio.sleep(0.1)
        assert (await producer.send(Message(TOPIC, b"b"))).ok and old.pending == 1
        other = producer.send_nowait(Message("other", b"c"))
        await asyncio.sleep(0.01)
        assert old.pending == 1
        slow.cancel()
        other.cancel()
        await producer.stop(0)
