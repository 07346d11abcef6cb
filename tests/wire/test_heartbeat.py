"""Heartbeats: to whom, when, what they carry, and what the answers change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

import pytest

from aiorocketmq.model.enums import ConsumeType, MessageModel
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.memory_transport import PeerConnection
from tests.support.virtual_loop import virtual_time
from tests.wire.world import (
    BROKER_VERSION,
    CLIENT_ID,
    MASTER,
    SLAVE,
    FakeConsumer,
    FakeProducer,
    World,
    heartbeat_answer,
    heartbeats,
    route,
)

BEAT = RequestCode.HEART_BEAT


def with_slave() -> World:
    world = World()
    world.routes["orders"] = route(addrs={0: MASTER, 1: SLAVE})
    return world


@pytest.mark.feature("K8")
@virtual_time
async def test_producers_are_told_to_masters_only() -> None:
    world = with_slave()
    slave = world.make_broker(SLAVE)
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(2)
    assert len(world.master.of(BEAT)) == 1
    assert not slave.requests
    await instance.stop()


@pytest.mark.feature("K8")
@virtual_time
async def test_consumers_are_told_to_all_brokers() -> None:
    world = with_slave()
    slave = world.make_broker(SLAVE)
    instance = world.instance()
    await instance.register_consumer(FakeConsumer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(2)
    assert len(world.master.of(BEAT)) == len(slave.of(BEAT)) == 1
    await instance.stop()


@pytest.mark.feature("K8")
@virtual_time
async def test_what_a_heartbeat_carries() -> None:
    world = with_slave()
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.register_consumer(
        FakeConsumer(topics=["orders"], message_model=MessageModel.BROADCASTING, consume_type=ConsumeType.CONSUME_ACTIVELY, unit_mode=True)
    )
    await instance.start()
    await asyncio.sleep(2)
    [beat] = heartbeats(world.master)
    assert beat.client_id == CLIENT_ID
    assert {producer.group_name for producer in beat.producer_data_set} == {"producers", "CLIENT_INNER_PRODUCER"}
    [consumer] = beat.consumer_data_set
    assert consumer.group_name == "consumers"
    assert consumer.message_model is MessageModel.BROADCASTING
    assert consumer.consume_type is ConsumeType.CONSUME_ACTIVELY
    assert consumer.consume_from_where == "CONSUME_FROM_FIRST_OFFSET"
    assert consumer.unit_mode is True
    assert consumer.subscription_data_set == [SubscriptionData("orders", version=1)]
    assert (beat.heartbeat_fingerprint, beat.without_sub) == (0, False)
    await instance.stop()


@pytest.mark.feature("K11")
@virtual_time
async def test_the_answers_are_counted_and_tell_the_versions() -> None:
    world = with_slave()
    slave = world.make_broker(SLAVE)
    instance = world.instance()
    await instance.register_consumer(FakeConsumer(topics=["orders"]))
    await instance.start()
    assert instance.routes.broker_addrs.version("broker-a", MASTER) == 0
    await asyncio.sleep(32)
    assert instance.heartbeat.counters.sent == 4
    assert instance.routes.broker_addrs.version("broker-a", MASTER) == BROKER_VERSION
    found = instance.find_broker_address_in_subscribe("broker-a", 1)
    assert found is not None
    assert (found.address, found.is_slave, found.version) == (SLAVE, True, BROKER_VERSION)
    assert len(slave.of(BEAT)) == 2
    await instance.stop()


@pytest.mark.feature("K10", "O16")
@virtual_time
async def test_a_new_channel_gets_a_heartbeat_at_once() -> None:
    world = with_slave()
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(5)
    world.master.drop()
    await asyncio.sleep(1)
    assert len(world.master.of(BEAT)) == 1
    await instance.remoting.connect(MASTER)
    await asyncio.sleep(0.1)
    assert world.master.times(BEAT)[1] == pytest.approx(6.0, abs=0.05)
    await instance.stop()


@pytest.mark.feature("K10")
@pytest.mark.parametrize("consumes", [True, False])
@virtual_time
async def test_a_new_channel_to_a_slave_gets_a_heartbeat_at_once_from_consumers_alone(consumes: bool) -> None:
    world = with_slave()
    slave = world.make_broker(SLAVE)
    instance = world.instance()
    if consumes:
        await instance.register_consumer(FakeConsumer(topics=["orders"]))
    else:
        await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(5)
    slave.drop()
    await asyncio.sleep(1)
    await instance.remoting.connect(SLAVE)
    await asyncio.sleep(0.1)
    assert slave.times(BEAT) == pytest.approx([1, 6] if consumes else [], abs=0.05)
    await instance.stop()


@pytest.mark.feature("K10", "Q63")
@virtual_time
async def test_no_heartbeat_at_once_when_switched_off_and_none_to_strangers() -> None:
    world = with_slave()
    stranger = world.make_broker("stranger:1")
    quiet = world.instance(enable_heartbeat_channel_event_listener=False)
    await quiet.register_producer(FakeProducer(topics=["orders"]))
    await quiet.start()
    await asyncio.sleep(0.5)
    await quiet.remoting.connect(MASTER)
    await asyncio.sleep(0.2)
    assert not world.master.requests
    await quiet.stop()
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(0.5)
    await instance.remoting.connect("stranger:1")
    await asyncio.sleep(0.2)
    assert not stranger.requests
    await instance.stop()


@pytest.mark.feature("K10")
@virtual_time
async def test_a_round_that_opens_the_channel_itself_beats_once() -> None:
    world = with_slave()
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(3)
    assert len(world.master.of(BEAT)) == 1
    await instance.stop()


@pytest.mark.feature("K13")
@virtual_time
async def test_a_silent_broker_delays_no_other_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    world.routes["orders"] = route(addrs={0: MASTER})
    world.routes["other"] = route(addrs={0: "b:1"}, name="broker-b")
    other = world.make_broker("b:1")
    world.master.silent = True
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders", "other"]))
    await instance.start()
    await asyncio.sleep(65)
    assert other.times(BEAT) == pytest.approx([1, 31, 61], abs=0.05)
    assert instance.heartbeat.counters.failed == 3
    warnings = [record for record in caplog.records if record.levelname == "WARNING" and "heartbeat to broker" in record.getMessage()]
    assert len(warnings) == 1
    world.master.silent = False
    await asyncio.sleep(30)
    assert caplog.text.count("heartbeat to broker broker-a at broker-a:10911 works again") == 1
    await instance.stop()


@pytest.mark.feature("K13")
@virtual_time
async def test_a_round_waits_3_s_for_the_one_before_and_then_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    world = with_slave()
    instance = world.instance(mq_client_api_timeout=10, enable_heartbeat_channel_event_listener=False, heartbeat_broker_interval=1000)
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    world.master.silent = True
    await asyncio.sleep(2)
    began = asyncio.get_running_loop().time()
    assert await instance.heartbeat.send_all() is False
    assert asyncio.get_running_loop().time() - began == pytest.approx(3.0)
    assert instance.health().heartbeat_locks_given_up == 1
    assert "the heartbeat lock was not free within 3 s" in caplog.text
    world.master.silent = False
    await asyncio.sleep(10)
    assert await instance.heartbeat.send_all() is True, "the lock was released by the round that failed"
    await instance.stop()


@pytest.mark.feature("K13")
@virtual_time
async def test_the_lock_is_free_again_when_there_was_nobody_to_tell() -> None:
    world = World()
    instance = world.instance()
    await instance.start()
    for _ in range(3):
        assert await instance.heartbeat.send_all() is True
    await instance.stop()


@pytest.mark.feature("K9", "Q63")
@virtual_time
async def test_v2_leaves_the_subscriptions_out_once_the_broker_knows_them() -> None:
    world = with_slave()
    instance = world.instance(use_heartbeat_v2=True)
    consumer = FakeConsumer(topics=["orders"])
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(32)
    full, short = heartbeats(world.master)
    assert not full.without_sub
    assert full.consumer_data_set[0].subscription_data_set
    assert full.heartbeat_fingerprint != 0
    assert short.without_sub
    assert short.heartbeat_fingerprint == full.heartbeat_fingerprint
    assert [consumer.group_name for consumer in short.consumer_data_set] == ["consumers"]
    assert short.consumer_data_set[0].subscription_data_set == []
    assert instance.heartbeat.counters.short == 1

    consumer.topics.append("more")
    await asyncio.sleep(30)
    changed = heartbeats(world.master)[-1]
    assert not changed.without_sub, "a changed subscription is told in full"
    assert changed.heartbeat_fingerprint != full.heartbeat_fingerprint
    await instance.stop()


@pytest.mark.feature("K9")
@virtual_time
async def test_v2_tells_all_again_when_the_broker_asks_or_the_channel_is_new() -> None:
    world = with_slave()
    changed = False

    def answer(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        return heartbeat_answer(request, connection, changed=changed)

    world.master.on(BEAT, answer)
    instance = world.instance(use_heartbeat_v2=True, heartbeat_broker_interval=10)
    await instance.register_consumer(FakeConsumer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(5)
    changed = True
    await asyncio.sleep(20)
    assert [beat.without_sub for beat in heartbeats(world.master)] == [False, True, False]
    changed = False
    await asyncio.sleep(20)
    assert [beat.without_sub for beat in heartbeats(world.master)][-2:] == [False, True]
    world.master.drop()
    await asyncio.sleep(0.1)
    await instance.remoting.connect(MASTER)
    await asyncio.sleep(0.1)
    assert heartbeats(world.master)[-1].without_sub is False
    assert await instance.heartbeat.send_all(full=True)
    assert heartbeats(world.master)[-1].without_sub is False
    await instance.stop()


@pytest.mark.feature("K9")
@virtual_time
async def test_v2_stays_long_with_a_broker_that_does_not_know_it() -> None:
    world = with_slave()
    world.master.on(BEAT, lambda request, connection: RemotingCommand.response(request))
    instance = world.instance(use_heartbeat_v2=True)
    await instance.register_consumer(FakeConsumer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(62)
    assert [beat.without_sub for beat in heartbeats(world.master)] == [False, False, False]
    await instance.stop()


@pytest.mark.feature("K12")
@virtual_time
async def test_unregister_comes_after_the_heartbeat_under_way() -> None:
    world = with_slave()

    async def slow(request: RemotingCommand) -> RemotingCommand:
        await asyncio.sleep(0.3)
        return heartbeat_answer(request)

    world.master.on(BEAT, lambda request, connection: slow(request))
    instance = world.instance()
    leaver = FakeProducer(topics=["orders"])
    await instance.register_producer(leaver)
    await instance.register_producer(FakeProducer("others", topics=["orders"]))
    await instance.start()
    await asyncio.sleep(1.1)
    await instance.unregister_producer(leaver)
    [goodbye] = world.master.of(RequestCode.UNREGISTER_CLIENT)
    assert goodbye.at == pytest.approx(1.3, abs=0.01)
    assert goodbye.command.ext_fields["producerGroup"] == "producers"
    await asyncio.sleep(30)
    assert {producer.group_name for producer in heartbeats(world.master)[-1].producer_data_set} == {"others", "CLIENT_INNER_PRODUCER"}
    await instance.unregister_producer(leaver)
    assert len(world.master.of(RequestCode.UNREGISTER_CLIENT)) == 1, "an unknown group says no goodbye"
    await instance.stop()


@pytest.mark.feature("K12")
@pytest.mark.parametrize("latency", [0.0, 0.1, 0.3])
@virtual_time
async def test_the_first_heartbeat_of_a_group_that_comes_back_never_overtakes_its_goodbye(latency: float) -> None:
    world = World()
    world.routes["orders"] = route()

    async def slow(request: RemotingCommand) -> RemotingCommand:
        await asyncio.sleep(latency)
        return RemotingCommand.response(request)

    world.master.on(RequestCode.UNREGISTER_CLIENT, lambda request, _: slow(request))
    instance = world.instance()
    leaver = FakeConsumer("workers", ["orders"])
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.register_consumer(leaver)
    await instance.start()
    await asyncio.sleep(2)
    leaving = asyncio.ensure_future(instance.unregister_consumer(leaver))
    await asyncio.sleep(0)
    assert not world.master.of(RequestCode.UNREGISTER_CLIENT)
    await instance.register_consumer(FakeConsumer("workers", ["orders"]))
    before = len(world.master.of(BEAT))
    assert await instance.heartbeat.send_all(full=True)
    await leaving
    [goodbye] = world.master.of(RequestCode.UNREGISTER_CLIENT)
    [hello] = world.master.of(BEAT)[before:]
    assert hello.at >= goodbye.at + latency, "the goodbye is answered before the group is announced again"
    assert [consumer.group_name for consumer in heartbeats(world.master)[-1].consumer_data_set] == ["workers"]
    await instance.stop()


@pytest.mark.feature("K12")
@virtual_time
async def test_a_heartbeat_without_an_answer_leaves_time_for_the_goodbye(caplog: pytest.LogCaptureFixture) -> None:
    world = with_slave()
    instance, leaver = world.instance(), FakeProducer(topics=["orders"])
    await instance.register_producer(leaver)
    await instance.register_producer(FakeProducer("others", topics=["orders"]))
    await instance.start()
    await asyncio.sleep(2)
    world.master.on(BEAT, lambda request, connection: None)
    world.master.on(RequestCode.UNREGISTER_CLIENT, answer_late)
    beat = asyncio.ensure_future(instance.heartbeat.send_all())
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    with caplog.at_level(logging.WARNING, "aiorocketmq"):
        await instance.unregister_producer(leaver)
    [goodbye] = world.master.of(RequestCode.UNREGISTER_CLIENT)
    assert goodbye.at - began == pytest.approx(0.5, abs=0.01), "half of its time at most goes into waiting for the heartbeat"
    assert asyncio.get_running_loop().time() - began == pytest.approx(0.8, abs=0.01), "the answer is waited for"
    assert not [record for record in caplog.records if "was not unregistered" in record.getMessage()]
    await beat
    world.master.on(RequestCode.UNREGISTER_CLIENT, lambda request, connection: RemotingCommand.response(request))
    await instance.stop()


async def answer_later(request: RemotingCommand) -> RemotingCommand:
    await asyncio.sleep(0.3)
    return RemotingCommand.response(request)


def answer_late(request: RemotingCommand, _: PeerConnection) -> Awaitable[RemotingCommand]:
    return answer_later(request)
