"""The second try of a send: what was never sent is no try, a broker that asks to go away is left by every topic at once, and what the first
try has stored stays stored.
"""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.message import Message
from aiorocketmq.protocol.codes import ResponseCode
from tests.support.virtual_loop import virtual_time
from tests.unit.producer.world import TOPIC, SendWorld


@pytest.mark.feature("B9")
@virtual_time
async def test_a_frame_that_never_left_was_no_try(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(retry_times_when_send_async_failed=0) as producer:
        await producer.send(Message(TOPIC, b"warm"))
        sends = [producer.send_nowait(Message(TOPIC, b"%d" % number)) for number in range(2)]
        channel = world.instances[0].remoting.channel(broker.address)
        assert channel is not None
        channel.abort()  # what was sent in this tick leaves at its end
        await asyncio.wait(sends)
        assert all(send.result().ok for send in sends), "they had no try yet, and so they may have their one"
        assert broker.peer.accepted == 2


@pytest.mark.feature("B9", "O12")
@virtual_time
async def test_all_topics_leave_a_connection_that_goes_away(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    world.route_to("broker-a", topic="other")
    async with world.producer(retry_times_when_send_failed=0) as producer:
        for topic in (TOPIC, "other"):
            await producer.send(Message(topic, b"warm"))
        await asyncio.sleep(0.5)
        await producer.send(Message("other", b"by the short way"))
        old = world.instances[0].remoting.channel(broker.address)
        assert old is not None
        broker.answers = [None, ResponseCode.GO_AWAY, 0, None]
        held = producer.send_nowait(Message(TOPIC, b"held"))  # keeps the old connection open
        await asyncio.sleep(0.1)
        assert (await producer.send(Message(TOPIC, b"told to go away"))).ok
        assert old.pending == 1
        other = producer.send_nowait(Message("other", b"after it"))
        await asyncio.sleep(0.01)
        assert old.pending == 1, "it took the short way over the connection that goes away"
        assert broker.peer.accepted == 2
        for reply in (held, other):
            reply.cancel()


@pytest.mark.feature("B9", "O12")
@virtual_time
async def test_the_word_of_a_broker_that_goes_away_is_no_try_the_first_time(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer(retry_times_when_send_failed=1) as producer:
        await producer.send(Message(TOPIC, b"warm"))
        broker.answers = [ResponseCode.GO_AWAY, ResponseCode.SYSTEM_BUSY, 0]
        assert (await producer.send(Message(TOPIC, b"x"))).ok, "it has one more try after the one that failed"


@pytest.mark.feature("O12")
@virtual_time
async def test_a_connection_that_went_away_is_closed_and_forgotten(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    async with world.producer() as producer:
        await producer.send(Message(TOPIC, b"warm"))
        broker.answers = [ResponseCode.GO_AWAY, 0]
        assert (await producer.send(Message(TOPIC, b"x"))).ok
        await asyncio.sleep(1)
        assert not world.instances[0].remoting._retired
        assert len(broker.peer.connections) == 1


@pytest.mark.feature("B11")
@virtual_time
async def test_a_message_that_is_stored_is_no_failure_when_no_better_place_answers(world: SendWorld) -> None:
    one, two = world.route_to("broker-a", "broker-b", queues=1)
    for broker in (one, two):
        broker.answers, broker.always = [10], None
    async with world.producer(retry_another_broker_when_not_store_ok=True, retry_times_when_send_failed=5) as producer:
        began = asyncio.get_running_loop().time()
        result = await producer.send(Message(TOPIC, b"x"), timeout=2.0)
        assert result.status is SendStatus.FLUSH_DISK_TIMEOUT
        assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.1), "it has waited for a better answer"
    assert len(one.sends) + len(two.sends) == 3
