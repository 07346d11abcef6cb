"""What clients of one instance owe each other, and what an answer means that is not the usual one."""

from __future__ import annotations

import pytest

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.manager import InstanceManager
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import RouteError, TopicNotFoundError
from aiorocketmq.model.enums import SendStatus, ServiceState
from aiorocketmq.model.names import DEFAULT_PRODUCER_GROUP
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.remoting.client import RemotingClient
from tests.support.virtual_loop import virtual_time
from tests.wire.test_inner_producer import STORED
from tests.wire.world import NAME_SERVER, FakeProducer, World, heartbeats, route

CONFIG = ClientConfig(name_servers=NAME_SERVER)


def manager_of(world: World) -> InstanceManager:
    def make(config: ClientConfig, client_id: str, *, index: int) -> ClientInstance:
        return ClientInstance(config, client_id, index=index, remoting=RemotingClient(config, connector=world.network.connector))

    return InstanceManager(make)


@pytest.mark.feature("K1", "K2")
@virtual_time
async def test_an_instance_that_has_ended_leaves_its_name_to_nobody() -> None:
    shared = manager_of(World())
    first = shared.acquire(CONFIG)
    assert shared.acquire(CONFIG) is first
    other = shared.acquire(CONFIG.replace(unit_name="u"))
    await shared.release(first)
    await shared.release(first)
    (table,) = shared._loops.values()
    assert list(table.names) == [other.config], "names of configurations that nobody uses would add up"
    again = shared.acquire(CONFIG)
    assert again.client_id != first.client_id
    for instance in (again, other):
        await shared.release(instance)
    assert not table.names and not table.shares


@pytest.mark.feature("K1")
@virtual_time
async def test_nobody_joins_an_instance_that_was_stopped() -> None:
    shared = manager_of(World())
    first = shared.acquire(CONFIG)
    await first.start()
    await first.stop()
    second = shared.acquire(CONFIG)
    assert second is not first and second.state is ServiceState.CREATE_JUST
    await second.start()
    await shared.release(first)
    assert second.state is ServiceState.RUNNING, "the end of the old one is none of its business"
    await shared.release(second)


@pytest.mark.feature("K12")
@virtual_time
async def test_the_nameless_producers_say_goodbye_with_the_last_of_them() -> None:
    world = World()
    world.routes["orders"] = world.routes["bills"] = route()
    instance = world.instance()
    await instance.start()
    one, other = FakeProducer(DEFAULT_PRODUCER_GROUP, ["orders"]), FakeProducer(DEFAULT_PRODUCER_GROUP, ["bills"])
    for producer in (one, other):
        await instance.register_producer(producer)
    await instance.routes.update_all()
    await instance.heartbeat.send_all()
    await instance.unregister_producer(one)
    assert not world.master.of(RequestCode.UNREGISTER_CLIENT)
    assert instance.clients.topics() == {"bills"}
    await instance.heartbeat.send_all()
    assert DEFAULT_PRODUCER_GROUP in [producer.group_name for producer in heartbeats(world.master)[-1].producer_data_set]
    await instance.unregister_producer(one)
    assert not world.master.of(RequestCode.UNREGISTER_CLIENT), "it has left already"
    await instance.unregister_producer(other)
    (goodbye,) = world.master.of(RequestCode.UNREGISTER_CLIENT)
    assert goodbye.command.ext_fields["producerGroup"] == DEFAULT_PRODUCER_GROUP
    await instance.stop()


@pytest.mark.feature("B13")
@virtual_time
async def test_a_known_topic_without_queues_is_not_taken_for_one_that_never_was() -> None:
    world = World()
    world.routes["orders"] = route(perm=4)
    instance = world.instance()
    await instance.start()
    with pytest.raises(RouteError, match="no queue that can be written"):
        await instance.routes.publish_info_or_fetch("orders")
    del world.routes["orders"]  # as a name server that has just started
    with pytest.raises(RouteError, match="no queue that can be written") as caught:
        await instance.routes.publish_info_or_fetch("orders")
    assert not isinstance(caught.value, TopicNotFoundError)
    await instance.stop()


@pytest.mark.feature("K16", "A24")
@pytest.mark.parametrize("code", [ResponseCode.FLUSH_DISK_TIMEOUT, ResponseCode.SLAVE_NOT_AVAILABLE, ResponseCode.FLUSH_SLAVE_TIMEOUT])
def test_a_message_that_is_stored_not_everywhere_is_not_sent_again(code: ResponseCode) -> None:
    @virtual_time
    async def run() -> None:
        world = World()
        world.routes["orders"] = route(1)
        world.master.answer(RequestCode.SEND_MESSAGE_V2, code, header=STORED)
        instance = world.instance()
        await instance.start()
        result = await instance.inner_producer.send("orders", b"body", {"UNIQ_KEY": "ID"})
        assert result.status is SendStatus(int(code))
        assert len(world.master.of(RequestCode.SEND_MESSAGE_V2)) == 1
        await instance.stop()

    run()
