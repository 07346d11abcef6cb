"""Name servers: the choice sticks, goes on to the next after a failure, and follows a list that changes while running."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.errors import ConfigError, NoNameServerError
from aiorocketmq.protocol.codes import RequestCode
from tests.support.virtual_loop import virtual_time
from tests.wire.world import FakeProducer, World, route

ROUTE = RequestCode.GET_ROUTEINFO_BY_TOPIC


def three() -> tuple[World, list[str]]:
    world = World()
    world.routes["orders"] = route()
    addresses = [f"ns{number}:9876" for number in range(3)]
    for address in addresses:
        world.make_name_server(address)
    return world, addresses


@pytest.mark.feature("L1", "L6")
@virtual_time
async def test_the_choice_sticks_and_goes_on_after_a_failure() -> None:
    world, addresses = three()
    instance = world.instance(name_servers=";".join(addresses))
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(100)
    [chosen] = [address for address in addresses if world.network.peers[address].requests]
    assert instance.remoting.name_servers[0] == chosen
    peer = world.network.peers[chosen]
    peer.refuse = True
    peer.drop()
    await asyncio.sleep(0.1)
    before = asyncio.get_running_loop().time()
    assert await instance.routes.update("orders"), "the failure is hidden by the next one"
    assert asyncio.get_running_loop().time() - before < 0.1
    assert instance.remoting.name_servers[0] != chosen
    assert instance.remoting.counters.name_server_switches == 1
    peer.refuse = False
    asked = len(peer.requests)
    await asyncio.sleep(100)
    assert len(peer.requests) == asked, "the new choice sticks as well"
    assert peer.connections, "that it is back is noticed, for those who ask"
    await instance.stop()


@pytest.mark.feature("L6")
@virtual_time
async def test_all_name_servers_down_names_all_of_them() -> None:
    world, addresses = three()
    for address in addresses:
        world.network.peers[address].refuse = True
    instance = world.instance(name_servers=addresses and ";".join(addresses))
    await instance.start()
    with pytest.raises(NoNameServerError) as failure:
        await instance.routes.publish_info_or_fetch("orders", timeout=3)
    assert all(address in str(failure.value) for address in addresses)
    world.network.peers[addresses[1]].refuse = False
    assert (await instance.routes.publish_info_or_fetch("orders", timeout=3)).queues, "nothing of the failure is remembered"
    await instance.stop()


@pytest.mark.feature("L8")
@virtual_time
async def test_the_list_changes_while_running() -> None:
    world, _addresses = three()
    instance = world.instance(name_servers="ns0:9876")
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(1)
    assert world.network.peers["ns0:9876"].connections
    assert instance.update_name_servers("ns1:9876;ns2:9876")
    await asyncio.sleep(1)
    assert not world.network.peers["ns0:9876"].connections, "the connection to the removed one is closed"
    fresh = [request.at for address in ("ns1:9876", "ns2:9876") for request in world.network.peers[address].of(ROUTE)]
    assert fresh == pytest.approx([1.0], abs=0.01), "routes are refreshed at once"
    assert not instance.update_name_servers(["ns2:9876", "ns1:9876"]), "the same list in another order is no change"
    with pytest.raises(ConfigError, match="empty"):
        instance.update_name_servers("")
    with pytest.raises(ConfigError, match="nonsense"):
        instance.update_name_servers("nonsense")
    await instance.stop()


@pytest.mark.feature("L9")
@virtual_time
async def test_a_name_is_dialled_anew_at_each_connect() -> None:
    world, _ = three()
    instance = world.instance(name_servers="ns0:9876")
    await instance.start()
    await instance.routes.update("orders")
    world.network.peers["ns0:9876"].drop()
    await asyncio.sleep(0.1)
    await instance.routes.update("orders")
    assert [address for _, address in world.network.dialled] == ["ns0:9876", "ns0:9876"], "the name, not an address it had"
    await instance.stop()
