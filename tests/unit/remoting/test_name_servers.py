"""Which name server is asked: shuffled, sticky, the next one after a failure, changed while running."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.errors import NoNameServerError, TooManyRequestsError, WrongProtocolError
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.name_servers import NameServerChoice
from tests.support.memory_transport import MemoryNetwork, ScriptedPeer
from tests.support.virtual_loop import virtual_time
from tests.unit.remoting.harness import started

ROUTE = 105
THREE = ["a:9876", "b:9876", "c:9876"]


def peers(network: MemoryNetwork, addresses: list[str]) -> dict[str, ScriptedPeer]:
    made = {address: ScriptedPeer(network, address) for address in addresses}
    for address, peer in made.items():
        peer.answer(ROUTE, remark=address)
    return made


@pytest.mark.feature("L1")
def test_the_order_is_shuffled() -> None:
    first = {NameServerChoice(THREE).chosen for _ in range(200)}
    assert first == set(THREE)


@pytest.mark.feature("L6")
def test_the_choice_sticks_until_the_chosen_one_fails() -> None:
    choice = NameServerChoice(THREE)
    first, second, third = choice.candidates()
    assert choice.chosen == first
    assert not choice.failed(second, "refused")
    assert choice.chosen == first
    assert choice.failed(first, "refused")
    assert choice.candidates() == (second, third, first)
    assert not NameServerChoice(["a:1"]).failed("a:1", "refused")
    assert NameServerChoice().chosen is None


@pytest.mark.feature("L8")
def test_an_update_keeps_the_chosen_one_if_it_can() -> None:
    choice = NameServerChoice(THREE)
    kept = choice.chosen
    assert choice.update(reversed(THREE)) is None
    assert choice.update([*THREE, "d:9876"]) == frozenset()
    assert choice.chosen == kept
    assert choice.update(["d:9876"]) == frozenset(THREE)
    assert choice.chosen == "d:9876"
    assert choice.update([]) == frozenset({"d:9876"})
    assert choice.chosen is None


@pytest.mark.feature("L6")
@virtual_time
async def test_requests_stick_to_one_and_go_on_to_the_next_when_it_dies() -> None:
    network = MemoryNetwork()
    servers = peers(network, THREE)
    client = await started(network, name_servers=THREE)
    first, second, _ = client.name_servers
    for _ in range(10):
        assert (await client.invoke(None, RemotingCommand.request(ROUTE), 3.0)).remark == first
    assert len(network.dialled) == 1
    servers[first].refuse = True
    servers[first].drop()
    await asyncio.sleep(0.01)
    for _ in range(10):
        assert (await client.invoke(None, RemotingCommand.request(ROUTE), 3.0)).remark == second
    assert client.name_servers[0] == second
    assert client.counters.name_server_switches == 1
    await client.close()


@pytest.mark.feature("L6")
@virtual_time
async def test_a_frozen_name_server_leaves_time_for_the_others() -> None:
    network = MemoryNetwork()
    servers = peers(network, THREE)
    client = await started(network, name_servers=THREE)
    first, second, third = client.name_servers
    servers[first].silent = True
    servers[second].black_hole = True
    answer = await client.invoke(None, RemotingCommand.request(ROUTE), 3.0)
    assert answer.remark == third
    assert asyncio.get_running_loop().time() == pytest.approx(2.0, abs=0.01)
    await client.close()


@virtual_time
async def test_the_connection_that_breaks_under_a_request_is_no_failure_while_others_live() -> None:
    network = MemoryNetwork()
    servers = peers(network, THREE)
    client = await started(network, name_servers=THREE)
    first, second, _ = client.name_servers
    servers[first].on(ROUTE, lambda request, connection: connection.reset())
    assert (await client.invoke(None, RemotingCommand.request(ROUTE), 3.0)).remark == second
    await client.close()


@pytest.mark.feature("L6")
@virtual_time
async def test_when_all_fail_the_error_names_each_within_the_time() -> None:
    network = MemoryNetwork()
    servers = peers(network, THREE)
    servers["a:9876"].refuse = True
    servers["b:9876"].silent = True
    servers["c:9876"].black_hole = True
    client = await started(network, name_servers=THREE)
    loop = asyncio.get_running_loop()
    for call in (client.invoke, client.invoke):
        began = loop.time()
        with pytest.raises(NoNameServerError) as failed:
            await call(None, RemotingCommand.request(ROUTE), 3.0)
        assert loop.time() - began <= 3.001
        for address in THREE:
            assert address in str(failed.value)
        assert "refused" in str(failed.value)
        assert failed.value.cause is not None
    await client.close()


@virtual_time
async def test_without_any_name_server_the_error_says_how_to_give_one() -> None:
    client = await started(MemoryNetwork())
    with pytest.raises(NoNameServerError, match=r"no name server is configured.*NAMESRV_ADDR"):
        await client.invoke(None, RemotingCommand.request(ROUTE), 3.0)
    with pytest.raises(NoNameServerError):
        await client.invoke_oneway(None, RemotingCommand.request(ROUTE), 3.0)
    await client.close()


@virtual_time
async def test_ports_of_another_protocol_are_named_as_such() -> None:
    network = MemoryNetwork()
    for peer in peers(network, THREE).values():
        peer.on(ROUTE, lambda request, connection: connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    client = await started(network, name_servers=THREE)
    with pytest.raises(WrongProtocolError, match="HTTP") as failed:
        await client.invoke(None, RemotingCommand.request(ROUTE), 3.0)
    assert all(address in str(failed.value) for address in THREE)
    await client.close()


@virtual_time
async def test_our_own_limit_is_not_the_name_servers_fault() -> None:
    network = MemoryNetwork()
    servers = peers(network, THREE)
    client = await started(network, name_servers=THREE, client_async_semaphore_value=1)
    first = client.name_servers[0]
    servers[first].on(1, lambda request, _: None)
    pending = asyncio.ensure_future(client.invoke(None, RemotingCommand.request(1), 3.0))
    await servers[first].wait_for(1)
    with pytest.raises(TooManyRequestsError):
        await client.invoke(None, RemotingCommand.request(ROUTE), 3.0)
    assert client.name_servers[0] == first
    pending.cancel()
    await client.close()


@pytest.mark.feature("L8")
@virtual_time
async def test_a_live_update_is_used_at_once_and_closes_what_is_gone() -> None:
    network = MemoryNetwork()
    servers = peers(network, THREE)
    client = await started(network, name_servers=["a:9876"])
    held: list[RemotingCommand] = []
    servers["a:9876"].on(1, lambda request, _: held.append(request))
    await client.invoke(None, RemotingCommand.request(ROUTE), 3.0)
    pending = asyncio.ensure_future(client.invoke("a:9876", RemotingCommand.request(1), 30.0))
    await servers["a:9876"].wait_for(1)
    assert not client.update_name_servers(["a:9876"])
    assert client.update_name_servers(["b:9876"])
    assert (await client.invoke(None, RemotingCommand.request(ROUTE), 3.0)).remark == "b:9876"
    servers["a:9876"].connections[0].send(RemotingCommand.response(held[0]))
    assert (await pending).code == 0  # what was asked before the change is still answered
    await asyncio.sleep(1)
    assert servers["a:9876"].connections == []
    await client.close()
