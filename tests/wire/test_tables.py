"""Who lives on an instance, who shares it, and how many connections that takes."""

from __future__ import annotations

import asyncio
import os

import pytest

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.manager import InstanceManager
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import ConfigError, GroupAlreadyRegisteredError
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.remoting.client import RemotingClient
from tests.support.virtual_loop import run_virtual, virtual_time
from tests.wire.world import CLIENT_ID, MASTER, NAME_SERVER, FakeAdmin, FakeConsumer, FakeProducer, World, other_tasks, route


def manager_of(world: World) -> InstanceManager:
    def make(config: ClientConfig, client_id: str, *, index: int) -> ClientInstance:
        return ClientInstance(config, client_id, index=index, remoting=RemotingClient(config, connector=world.network.connector))

    return InstanceManager(make)


CONFIG = ClientConfig(name_servers=NAME_SERVER, client_ip="192.0.2.1")


@pytest.mark.feature("K2")
@virtual_time
async def test_ten_producers_share_one_instance_and_one_connection_per_address() -> None:
    world = World()
    world.routes["orders"] = route()
    manager = manager_of(world)
    instances = [manager.acquire(CONFIG) for _ in range(10)]
    assert len(set(map(id, instances))) == 1
    instance = instances[0]
    producers = [FakeProducer(group=f"group-{number}", topics=["orders"]) for number in range(10)]
    for producer in producers:
        await instance.register_producer(producer)
        await instance.start()
    await instance.heartbeat.send_all()
    await asyncio.gather(*(instance.remoting.connect(MASTER) for _ in range(10)))
    await asyncio.sleep(40)
    assert world.name_server.accepted == 1
    assert world.master.accepted == 1
    for producer in producers[:9]:
        await instance.unregister_producer(producer)
        await manager.release(instance)
        assert instance.state is ServiceState.RUNNING
    await instance.unregister_producer(producers[9])
    await manager.release(instance)
    assert instance.state is ServiceState.SHUTDOWN_ALREADY
    assert not other_tasks()
    assert not world.master.connections


@pytest.mark.feature("K1")
@virtual_time
async def test_client_ids() -> None:
    manager = manager_of(World())
    one = manager.acquire(CONFIG)
    address, name = one.client_id.split("@")
    assert address == "192.0.2.1"
    pid, _, unique = name.partition("#")
    assert int(pid) == os.getpid()
    assert len(unique) == 16
    int(unique, 16)
    assert manager.acquire(CONFIG, keep_default_name=True).client_id == "192.0.2.1@DEFAULT"
    assert manager.acquire(CONFIG.replace(instance_name="mine")).client_id == "192.0.2.1@mine"
    assert manager.acquire(CONFIG.replace(instance_name="mine", unit_name="u1")).client_id == "192.0.2.1@mine@u1"
    stream = CONFIG.replace(instance_name="mine", unit_name="u1", enable_stream_request_type=True)
    assert manager.acquire(stream).client_id == "192.0.2.1@mine@u1@STREAM"
    assert [manager.acquire(CONFIG.replace(instance_name=name)).index for name in ("a", "b")] == [5, 6]


@pytest.mark.feature("K1")
def test_the_default_name_is_another_one_in_each_event_loop() -> None:
    manager = manager_of(World())

    async def client_id() -> str:
        return manager.acquire(CONFIG).client_id

    assert run_virtual(client_id()) != run_virtual(client_id())


@pytest.mark.feature("L15", "K2")
@virtual_time
async def test_other_name_servers_or_settings_make_another_instance() -> None:
    manager = manager_of(World())
    one = manager.acquire(CONFIG)
    assert manager.acquire(CONFIG) is one
    assert manager.acquire(CONFIG.replace(name_servers="other:9876")) is not one
    slower = manager.acquire(CONFIG.replace(heartbeat_broker_interval=60))
    assert slower is not one
    assert slower.client_id != one.client_id


@virtual_time
async def test_one_instance_name_with_two_settings_is_refused_and_names_the_field() -> None:
    manager = manager_of(World())
    manager.acquire(CONFIG.replace(instance_name="mine"))
    with pytest.raises(ConfigError, match=r"instance_name 'mine' is in use with other settings: heartbeat_broker_interval"):
        manager.acquire(CONFIG.replace(instance_name="mine", heartbeat_broker_interval=60))


@virtual_time
async def test_a_failed_instance_is_not_handed_out_again() -> None:
    manager = manager_of(World())
    config = CONFIG.replace(tls=True, instance_name="mine")
    instance = manager.acquire(config)
    instance.state = ServiceState.START_FAILED
    fresh = manager.acquire(config)
    assert fresh is not instance
    await manager.release(instance)
    await manager.release(fresh)
    assert manager.acquire(config) is not fresh


@pytest.mark.feature("B26")
@virtual_time
async def test_a_forked_child_gets_an_instance_of_its_own() -> None:
    pid = 100
    manager = InstanceManager(pid=lambda: pid)
    parent = manager.acquire(CONFIG)
    pid = 101
    child = manager.acquire(CONFIG)
    assert child is not parent
    assert child.client_id.startswith("192.0.2.1@101#")


def test_closed_loops_are_forgotten() -> None:
    manager = manager_of(World())

    async def leak() -> None:
        manager.acquire(CONFIG)

    run_virtual(leak())
    run_virtual(leak())
    assert len(manager._loops) == 1


@pytest.mark.feature("B24")
@virtual_time
async def test_a_group_is_refused_twice_with_its_name() -> None:
    instance = World().instance()
    producer, consumer, admin = FakeProducer("orders"), FakeConsumer("orders"), FakeAdmin("orders")
    await instance.register_producer(producer)
    await instance.register_consumer(consumer)
    await instance.register_admin(admin)
    with pytest.raises(GroupAlreadyRegisteredError, match="producer group 'orders'") as refused:
        await instance.register_producer(FakeProducer("orders"))
    assert CLIENT_ID in str(refused.value)
    with pytest.raises(GroupAlreadyRegisteredError, match="consumer group 'orders'"):
        await instance.register_consumer(FakeConsumer("orders"))
    with pytest.raises(GroupAlreadyRegisteredError, match="admin client group 'orders'"):
        await instance.register_admin(FakeAdmin("orders"))
    # Who was refused has nothing to take back.
    await instance.unregister_producer(FakeProducer("orders"))
    await instance.unregister_consumer(FakeConsumer("orders"))
    await instance.unregister_admin(FakeAdmin("orders"))
    assert (instance.clients.producers["orders"], instance.clients.consumers["orders"]) == (producer, consumer)
    assert instance.clients.admins["orders"] is admin
    await instance.unregister_producer(producer)
    await instance.unregister_consumer(consumer)
    await instance.unregister_admin(admin)
    await instance.register_producer(producer)
    await instance.unregister_producer(producer)
    await instance.stop()


@pytest.mark.feature("K18")
@virtual_time
async def test_a_client_that_comes_later_is_told_what_is_known() -> None:
    world = World()
    world.routes["orders"] = route(1)
    instance = world.instance()
    await instance.register_producer(FakeProducer("first", ["orders"]))
    await instance.start()
    await asyncio.sleep(1)
    producer, consumer = FakeProducer("second", ["orders", "unknown"]), FakeConsumer(topics=["orders", "unknown"])
    await instance.register_producer(producer)
    await instance.register_consumer(consumer)
    assert [topic for topic, _ in producer.told] == ["orders"]
    assert consumer.told == [("orders", (MessageQueue("orders", "broker-a", 0),))]
    await instance.stop()


@virtual_time
async def test_the_statistics_of_a_group_leave_with_it() -> None:
    instance = World().instance()
    await instance.start()
    leaver, stayer = FakeConsumer("leaver"), FakeConsumer("stayer")
    for consumer in (leaver, stayer):
        await instance.register_consumer(consumer)
        for topic in ("orders", "bills"):
            instance.stats.counters(consumer.group, topic).consumed(3, 1.0)
    await instance.unregister_consumer(leaver)
    assert set(instance.stats._counters) == {("stayer", "orders"), ("stayer", "bills")}
    await instance.register_consumer(leaver)  # it comes back, and begins anew
    assert instance.stats.counters("leaver", "orders").ok == 0
    await instance.stop()
