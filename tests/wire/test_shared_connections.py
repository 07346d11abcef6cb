"""The public clients on one instance: one connection per address, one heartbeat for all of them, one goodbye for each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

import aiorocketmq as rmq
from aiorocketmq.client import manager
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.client import RemotingClient
from tests.support.virtual_loop import virtual_time
from tests.wire.world import MASTER, NAME_SERVER, World, heartbeats, other_tasks, route


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which the process's own manager makes the instances."""
    made = World()

    def make(config: ClientConfig, client_id: str, *, index: int) -> ClientInstance:
        return ClientInstance(config, client_id, index=index, remoting=RemotingClient(config, connector=made.network.connector))

    monkeypatch.setattr(manager, "shared", manager.InstanceManager(make))
    return made


@pytest.mark.feature("K2", "K8", "K12")
def test_ten_producers_use_one_connection_per_address(world: World) -> None:
    @virtual_time
    async def run() -> None:
        world.routes["orders"] = route()
        world.master.on(
            RequestCode.SEND_MESSAGE_V2,
            lambda request, _: RemotingCommand.response(
                request, header={"msgId": "C0000201000029FF0000000000000001", "queueId": request.ext_fields["e"], "queueOffset": "0"}
            ),
        )
        async with AsyncExitStack() as stack:
            producers = [await stack.enter_async_context(rmq.Producer(NAME_SERVER, group=f"group-{number}")) for number in range(10)]
            results = await asyncio.gather(*(producer.send(rmq.Message("orders", b"x")) for producer in producers))
            assert [result.status for result in results] == [rmq.SendStatus.SEND_OK] * 10
            await asyncio.sleep(35)
            assert world.name_server.accepted == 1
            assert world.master.accepted == 1
            groups = {producer.group_name for producer in heartbeats(world.master)[-1].producer_data_set}
            assert groups == {f"group-{number}" for number in range(10)} | {"CLIENT_INNER_PRODUCER"}
            assert {address for _, address in world.network.dialled} == {NAME_SERVER, MASTER}
        goodbyes = {request.command.ext_fields["producerGroup"] for request in world.master.of(RequestCode.UNREGISTER_CLIENT)}
        assert goodbyes == groups
        assert not other_tasks()
        assert not world.master.connections
        assert not world.name_server.connections

    run()


@pytest.mark.feature("B24")
def test_a_second_producer_of_a_group_is_refused_and_the_first_goes_on(world: World) -> None:
    @virtual_time
    async def run() -> None:
        world.routes["orders"] = route()
        async with rmq.Producer(NAME_SERVER, group="orders") as first:
            second = rmq.Producer(NAME_SERVER, group="orders")
            with pytest.raises(rmq.GroupAlreadyRegisteredError, match="'orders'"):
                await second.start()
            assert first.state is rmq.ServiceState.RUNNING
            async with rmq.Producer(NAME_SERVER, group="orders", instance_name="other"):
                pass
        assert not other_tasks()

    run()
