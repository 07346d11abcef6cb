"""The client end on an in-memory network: connecting, requests, hooks, limits, GO_AWAY, life."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from aiorocketmq.config import ClientConfig, Credentials
from aiorocketmq.errors import (
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RequestTimeoutError,
    TooManyRequestsError,
    WrongProtocolError,
)
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.signing import SigningKey, signed_content
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.client import RemotingClient
from tests.support.memory_transport import MemoryNetwork, ScriptedPeer
from tests.support.virtual_loop import virtual_time
from tests.unit.remoting.harness import PEER, records, started

ECHO = 1


def echo_peer(network: MemoryNetwork, address: str = PEER) -> ScriptedPeer:
    peer = ScriptedPeer(network, address)
    peer.on(ECHO, lambda request, _: RemotingCommand.response(request, header=request.ext_fields, body=request.body))
    return peer


@pytest.mark.feature("O6")
@virtual_time
async def test_invoke_returns_the_response_whatever_its_code() -> None:
    network = MemoryNetwork()
    echo_peer(network)
    client = await started(network)
    answer = await client.invoke(PEER, RemotingCommand.request(ECHO, {"k": "v"}, b"body"), 3.0)
    assert (answer.code, answer.ext_fields, answer.body) == (0, {"k": "v"}, b"body")
    assert (await client.invoke(PEER, RemotingCommand.request(77), 3.0)).code == 3
    await client.close()


@pytest.mark.feature("O3")
@pytest.mark.parametrize("kind", list(SerializeType))
def test_the_header_encoding_follows_the_configuration(kind: SerializeType) -> None:
    @virtual_time
    async def run() -> None:
        network = MemoryNetwork()
        peer = echo_peer(network)
        client = await started(network, serialize_type=kind)
        await client.invoke(PEER, RemotingCommand.request(ECHO), 3.0)
        assert peer.requests[0].command.serialize_type is kind
        await client.close()

    run()


@pytest.mark.feature("K2")
@virtual_time
async def test_a_hundred_callers_share_one_connect() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.latency = 0.1
    client = await started(network)
    channels = await asyncio.gather(*(client.connect(PEER) for _ in range(100)))
    assert len(set(channels)) == 1
    assert len(network.dialled) == peer.accepted == 1
    assert client.channel(PEER) is channels[0]
    await client.close()


@virtual_time
async def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.latency = 1.0
    client = await started(network)
    callers = [asyncio.ensure_future(client.connect(PEER)) for _ in range(10)]
    await asyncio.sleep(0.5)
    for caller in callers[:9]:
        caller.cancel()
    assert not (await callers[9]).closed
    assert peer.accepted == 1
    await client.close()


@pytest.mark.parametrize("steps", [1, 3])
@virtual_time
async def test_an_attempt_that_others_cancel_stands_in_nobodys_way(steps: int) -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.latency = 0.1
    client = await started(network)
    caller = asyncio.ensure_future(client.connect(PEER))
    for _ in range(steps):  # 1: before the attempt has begun
        await asyncio.sleep(0)
    [attempt] = [task for task in asyncio.all_tasks() if task.get_name() == f"connect {PEER}"]
    attempt.cancel()
    with pytest.raises(ConnectError, match=f"connecting to {PEER} was cancelled by code outside of the library"):
        await caller
    assert asyncio.get_running_loop().time() < 0.1
    assert not (await client.connect(PEER)).closed
    await client.close()


@virtual_time
async def test_an_attempt_without_callers_still_ends_well(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()
    caplog.clear()
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.latency = 1.0
    client = await started(network)
    caller = asyncio.ensure_future(client.connect(PEER))
    await asyncio.sleep(0.5)
    caller.cancel()
    await asyncio.sleep(1)
    assert client.channel(PEER) is not None
    client.close_channel(PEER)
    peer.refuse = True
    caller = asyncio.ensure_future(client.connect(PEER))
    await asyncio.sleep(0.5)
    caller.cancel()
    await asyncio.sleep(5)
    gc.collect()
    assert [record.levelname for record in records(caplog)] == ["WARNING"]  # refused
    assert "never retrieved" not in caplog.text
    await client.close()


@pytest.mark.feature("O9")
@virtual_time
async def test_a_connect_time_out_names_address_phase_and_time() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.black_hole = True
    client = await started(network)
    loop = asyncio.get_running_loop()
    with pytest.raises(ConnectError, match=r"no connection to peer:10911 within 3 s \(opening the TCP connection\)") as failed:
        await client.connect(PEER)
    assert loop.time() == 3.0
    assert not failed.value.maybe_sent
    await asyncio.sleep(1)
    with pytest.raises(ConnectError, match=r"within 0\.5 s"):
        await client.invoke(PEER, RemotingCommand.request(ECHO), 0.5)
    assert loop.time() == 4.5
    await client.close()


@virtual_time
async def test_a_caller_in_a_hurry_leaves_the_attempt_to_the_patient() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.latency = 1.0
    client = await started(network)
    patient = asyncio.ensure_future(client.connect(PEER))
    with pytest.raises(ConnectError):
        await client.connect(PEER, 0.2)
    assert not (await patient).closed
    await client.close()


@virtual_time
async def test_every_caller_gets_its_own_error_and_the_next_call_tries_again() -> None:
    network = MemoryNetwork()
    client = await started(network)
    errors = await asyncio.gather(*(client.connect(PEER) for _ in range(10)), return_exceptions=True)
    assert all(isinstance(error, ConnectError) for error in errors)
    assert len({id(error) for error in errors}) == 10
    assert "peer:10911 refused the connection" in str(errors[0])
    assert len(network.dialled) == 1
    echo_peer(network)
    assert not (await client.connect(PEER)).closed
    await client.close()


@virtual_time
async def test_a_connector_that_breaks_blocks_nothing_later(caplog: pytest.LogCaptureFixture) -> None:
    async def connector(*args: object) -> tuple[asyncio.Transport, asyncio.Protocol]:
        calls.append(args)
        raise RuntimeError("a defect")

    calls: list[object] = []
    client = RemotingClient(ClientConfig(), connector=connector)  # type: ignore[arg-type]
    await client.start()
    for _ in range(2):
        with pytest.raises(ConnectError):
            await client.connect(PEER, 0.1)
    assert len(calls) == 2
    assert "a defect" in caplog.text
    await client.close()


@pytest.mark.parametrize("address", ["", "host", "host:0", "host:70000", "unix:/tmp/x", "http://host:80", "a b:1", "::1:80"])
def test_an_impossible_address_is_never_dialled(address: str) -> None:
    @virtual_time
    async def run() -> None:
        network = MemoryNetwork()
        client = await started(network)
        with pytest.raises(ConnectError):
            await client.invoke(address, RemotingCommand.request(ECHO), 3.0)
        assert network.dialled == []
        await client.close()

    run()


@virtual_time
async def test_ipv6_addresses_are_dialled_without_brackets() -> None:
    network = MemoryNetwork()
    echo_peer(network, "[::1]:10911")
    client = await started(network)
    assert (await client.invoke("[::1]:10911", RemotingCommand.request(ECHO), 3.0)).code == 0
    await client.close()


@pytest.mark.feature("O6", "O9")
@virtual_time
async def test_a_time_out_says_what_was_asked_and_that_it_may_have_been_done() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.silent = True
    client = await started(network)
    with pytest.raises(RequestTimeoutError, match=r"peer:10911 in time: HEART_BEAT \(code 34\), 3 s") as failed:
        await client.invoke(PEER, RemotingCommand.request(34), 3.0)
    assert failed.value.maybe_sent
    assert failed.value.address == PEER
    assert asyncio.get_running_loop().time() == 3.0
    assert client.channel(PEER) is None  # silent all the while: closed
    peer.silent = False
    assert (await client.invoke(PEER, RemotingCommand.request(ECHO), 3.0)).code == 0
    await client.close()


@virtual_time
async def test_a_cancelled_invoke_leaves_the_connection_good() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    kept: list[RemotingCommand] = []
    peer.on(2, lambda request, _: kept.append(request))
    client = await started(network)
    call = asyncio.ensure_future(client.invoke(PEER, RemotingCommand.request(2), 30.0))
    await peer.wait_for(2)
    call.cancel()
    await asyncio.wait([call])
    channel = client.channel(PEER)
    assert channel is not None
    assert channel.pending == client.in_flight == 0
    peer.connections[0].send(RemotingCommand.response(kept[0]))
    assert (await client.invoke(PEER, RemotingCommand.request(ECHO, body=b"x"), 3.0)).body == b"x"
    assert client.channel(PEER) is channel
    assert client.counters.dropped_responses == 1
    await client.close()


@pytest.mark.feature("O11")
@virtual_time
async def test_a_broken_connection_fails_the_call_and_the_next_one_connects_anew() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.silent = True
    client = await started(network)
    calls = [asyncio.ensure_future(client.invoke(PEER, RemotingCommand.request(ECHO), 30.0)) for _ in range(100)]
    await peer.wait_for(ECHO, 100)
    peer.drop()
    for call in calls:
        with pytest.raises(ConnectionLostError) as lost:
            await call
        assert lost.value.maybe_sent
    assert asyncio.get_running_loop().time() < 0.01
    peer.silent = False
    assert (await client.invoke(PEER, RemotingCommand.request(ECHO), 3.0)).code == 0
    assert peer.accepted == 2
    await client.close()


@pytest.mark.parametrize("answered", [False, True])
@virtual_time
async def test_a_lost_connection_is_taken_for_a_wrong_port_only_when_nothing_ever_came(answered: bool) -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    client = await started(network)
    if answered:
        await client.invoke(PEER, RemotingCommand.request(ECHO), 3.0)
    peer.silent = True
    call = asyncio.ensure_future(client.invoke(PEER, RemotingCommand.request(ECHO), 30.0))
    await peer.wait_for(ECHO, 1 + answered)
    peer.drop()
    with pytest.raises(ConnectionLostError) as lost:
        await call
    assert ("nothing was ever received" in str(lost.value)) is not answered
    await client.close()


@pytest.mark.feature("O12")
@virtual_time
async def test_go_away_is_answered_by_one_resend_on_a_new_connection() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.on(34, lambda request, _: RemotingCommand.response(request, 1500 if len(peer.of(34)) == 1 else 0, "please go away"))
    waiting: list[RemotingCommand] = []
    peer.on(11, lambda request, _: waiting.append(request))
    client = await started(network)
    pull = asyncio.ensure_future(client.invoke(PEER, RemotingCommand.request(11), 30.0))
    await peer.wait_for(11)
    assert (await client.invoke(PEER, RemotingCommand.request(34, body=b"beat"), 3.0)).code == 0
    first, second = peer.of(34)
    assert first.connection is not second.connection
    assert first.command.opaque != second.command.opaque
    assert first.command.body == second.command.body == b"beat"
    first.connection.send(RemotingCommand.response(waiting[0]))  # what was pending on the old connection is not lost
    assert (await pull).code == 0
    await asyncio.sleep(1)
    assert len(peer.connections) == 1
    assert not client._retired  # the old connection is forgotten once it is gone
    await client.close()


@pytest.mark.feature("O12")
@virtual_time
async def test_a_second_go_away_is_the_answer() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.answer(34, 1500)
    client = await started(network)
    assert (await client.invoke(PEER, RemotingCommand.request(34), 3.0)).code == 1500
    assert len(peer.of(34)) == 2
    await client.close()


@pytest.mark.feature("O4", "O6")
@virtual_time
async def test_oneway_requests_carry_the_bit_and_wait_for_nothing() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    client = await started(network)
    await client.invoke_oneway(PEER, RemotingCommand.request(ECHO, body=b"x"), 3.0)
    (got,) = await peer.wait_for(ECHO)
    assert got.command.flag == 2
    assert client.in_flight == 0
    await client.close()


@pytest.mark.feature("O7")
@virtual_time
async def test_both_limits_refuse_without_sending() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.on(2, lambda request, _: None)
    client = await started(network, client_async_semaphore_value=2, client_oneway_semaphore_value=1)
    calls = [asyncio.ensure_future(client.invoke(PEER, RemotingCommand.request(2), 1.0)) for _ in range(2)]
    await peer.wait_for(2, 2)
    with pytest.raises(TooManyRequestsError, match="client_async_semaphore_value") as refused:
        await client.invoke(PEER, RemotingCommand.request(ECHO), 3.0)
    assert not refused.value.maybe_sent
    await asyncio.gather(*calls, return_exceptions=True)
    far = peer.connections[0].transport if peer.connections else None
    assert far is None  # silent: closed
    other = ScriptedPeer(network, "slow:1")
    other.black_hole = True
    first = asyncio.ensure_future(client.invoke_oneway("slow:1", RemotingCommand.request(2), 1.0))
    await asyncio.sleep(0.1)
    with pytest.raises(TooManyRequestsError, match="client_oneway_semaphore_value"):
        await client.invoke_oneway(PEER, RemotingCommand.request(2), 1.0)
    await asyncio.gather(first, return_exceptions=True)
    for _ in range(2):
        await client.invoke_oneway(PEER, RemotingCommand.request(2), 1.0)  # one that has left makes room
    await peer.wait_for(2, 4)
    assert [got.code for got in peer.requests] == [2] * 4, "what was refused was not sent"
    await client.close()


@virtual_time
async def test_a_full_connection_makes_invoke_wait_and_then_fail_as_not_sent() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    client = await started(network)
    channel = await client.connect(PEER)
    far = peer.connections[0].transport
    assert far is not None
    far.pause_reading()
    await client.invoke_oneway(PEER, RemotingCommand.request(ECHO, body=bytes(3_000_000)), 1.0)
    await asyncio.sleep(0.01)
    assert not channel.writable
    for call in (client.invoke, client.invoke_oneway):
        with pytest.raises(RequestTimeoutError, match="takes no more data") as failed:
            await call(PEER, RemotingCommand.request(ECHO), 1.0)
        assert not failed.value.maybe_sent
    waiting = asyncio.ensure_future(client.invoke(PEER, RemotingCommand.request(ECHO), 1.0))
    await asyncio.sleep(0.5)
    far.resume_reading()
    assert (await waiting).code == 0
    await client.close()


@pytest.mark.feature("E6", "O15")
@virtual_time
async def test_hooks_run_in_order_and_requests_are_signed_behind_them() -> None:
    class Hook:
        def __init__(self, name: str) -> None:
            self.name = name

        def before_request(self, address: str, command: RemotingCommand) -> None:
            assert "Signature" not in command.ext_fields
            command.ext_fields[self.name] = ",".join(command.ext_fields)
            calls.append(f"before {self.name} {address}")

        def after_response(self, address: str, request: RemotingCommand, response: RemotingCommand) -> None:
            calls.append(f"after {self.name} {request.code} {response.code}")

    calls: list[str] = []
    network = MemoryNetwork()
    peer = echo_peer(network)
    credentials = Credentials("user", "secret")
    client = await started(network, credentials=credentials)
    assert client.hooks == (client.signer,)
    assert client.templated
    client.add_hook(Hook("namespace"))
    client.add_hook(Hook("zone"))
    assert not client.templated
    await client.invoke(PEER, RemotingCommand.request(ECHO, body=b"x"), 3.0)
    await client.invoke_oneway(PEER, RemotingCommand.request(ECHO), 3.0)
    order = ["namespace", "zone"]
    before = [f"before {name} {PEER}" for name in order]
    assert calls == before + [f"after {name} 1 0" for name in order] + before
    for request in peer.requests:
        fields = request.command.ext_fields
        assert fields["zone"] == "namespace"
        assert SigningKey(credentials).verify(signed_content(fields, request.command.body), fields["Signature"])
    await client.close()


@pytest.mark.feature("O16")
@virtual_time
async def test_listeners_hear_of_every_connection_once() -> None:
    class Listener:
        def on_connect(self, address: str, channel: Channel) -> None:
            events.append(("connect", address, channel.closed))

        def on_close(self, address: str, channel: Channel) -> None:
            events.append(("close", address, channel.closed))

    events: list[tuple[str, str, bool]] = []
    network = MemoryNetwork()
    peer = echo_peer(network)
    client = await started(network)
    client.add_channel_listener(Listener())
    await client.connect(PEER)
    peer.drop()
    await asyncio.sleep(0.01)
    await client.connect(PEER)
    await client.close()
    assert events == [("connect", PEER, False), ("close", PEER, True)] * 2
    assert (client.counters.opened, client.counters.lost) == (2, 2)


@pytest.mark.feature("O13")
@virtual_time
async def test_a_request_beyond_the_frame_limit_is_not_sent() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    client = await started(network, frame_max_length=1000)
    with pytest.raises(ProtocolError, match="frame_max_length is 1000"):
        await client.invoke(PEER, RemotingCommand.request(ECHO, body=bytes(1000)), 3.0)
    assert peer.requests == []
    await client.close()


@virtual_time
async def test_wrong_protocol_is_named_with_its_address() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    peer.on(ECHO, lambda request, connection: connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    client = await started(network)
    with pytest.raises(WrongProtocolError, match=r"peer:10911.*HTTP"):
        await client.invoke(PEER, RemotingCommand.request(ECHO), 3.0)
    assert asyncio.get_running_loop().time() < 0.1
    await client.close()


@virtual_time
async def test_processors_answer_the_broker() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    client = await started(network)
    client.register_processor(307, lambda request, channel: RemotingCommand.response(request, body=b"info"))
    await client.connect(PEER)
    assert [answer.body for answer in await peer.push(307)] == [b"info"]
    (unknown,) = await peer.push(999)
    assert (unknown.code, unknown.remark) == (3, " request type 999 not supported")
    await client.close()


@virtual_time
async def test_nothing_works_before_start_and_after_close() -> None:
    network = MemoryNetwork()
    peer = echo_peer(network)
    client = await started(network)
    await client.connect(PEER)
    peer.silent = True
    pending = asyncio.ensure_future(client.invoke(PEER, RemotingCommand.request(ECHO), 30.0))
    await peer.wait_for(ECHO)
    hole = ScriptedPeer(network, "hole:1")
    hole.black_hole = True
    connecting = asyncio.ensure_future(client.connect("hole:1"))
    await asyncio.sleep(0.1)
    await client.close()
    with pytest.raises(ConnectionLostError, match="the client stops"):
        await pending
    with pytest.raises(ClientClosedError):
        await connecting
    with pytest.raises(ClientClosedError):
        await client.invoke(PEER, RemotingCommand.request(ECHO), 3.0)
    assert client.channel(PEER) is None
    assert peer.connections == []
    assert len(asyncio.all_tasks()) == 1
    await client.close()


@virtual_time
async def test_a_lasting_failure_is_one_warning_and_its_end_one_record(caplog: pytest.LogCaptureFixture) -> None:
    network = MemoryNetwork()
    client = await started(network)
    with caplog.at_level(logging.INFO, "aiorocketmq.remoting"):
        for _ in range(100):
            with pytest.raises(ConnectError):
                await client.connect(PEER)
        peer = echo_peer(network)
        await client.connect(PEER)
        peer.drop()
        peer.refuse = True
        await asyncio.sleep(0.1)
        for _ in range(10):
            with pytest.raises(ConnectError):
                await client.connect(PEER)
    assert [(record.levelname, record.getMessage()[:26]) for record in records(caplog)] == [
        ("WARNING", "cannot connect: peer:10911"),
        ("INFO", "connected to peer:10911"),
        ("WARNING", "cannot connect: peer:10911"),
    ], "and the next failure is another one"
    assert client.counters.connect_failures == 110
    await client.close()
