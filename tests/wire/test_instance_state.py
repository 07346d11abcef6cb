"""The life of an instance: its states, starts and stops in any order, and what is left behind: nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import threading

import pytest

from aiorocketmq.client.discovery import AddressService
from aiorocketmq.config import TLS, ClientConfig
from aiorocketmq.errors import ClientClosedError, ClientStateError, ConfigError, ForkedClientError, NoNameServerError
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.protocol.codes import RequestCode
from tests.support.virtual_loop import virtual_time
from tests.wire.world import CLIENT_ID, FakeConsumer, FakeProducer, World, other_tasks, route


def dead_address_service() -> AddressService:
    async def get(host: str, port: int, request: bytes) -> bytes:
        raise ConnectionRefusedError(111, "Connection refused")

    return AddressService(ClientConfig(), http_get=get)


@virtual_time
async def test_states_of_a_plain_life() -> None:
    instance = World().instance()
    assert instance.state is ServiceState.CREATE_JUST
    await instance.start()
    assert instance.state is ServiceState.RUNNING
    await instance.stop()
    assert instance.state is ServiceState.SHUTDOWN_ALREADY


@virtual_time
async def test_identity() -> None:
    instance = World().instance()
    assert (instance.client_id, instance.index, instance.boot_timestamp) == (CLIENT_ID, 0, 1_700_000_000_000)


@virtual_time
async def test_a_second_start_does_nothing() -> None:
    instance = World().instance()
    await instance.start()
    tasks = instance.scheduler.running
    await instance.start()
    assert instance.scheduler.running == tasks
    await instance.stop()


@virtual_time
async def test_starts_at_the_same_time_share_one() -> None:
    instance = World().instance()
    await asyncio.gather(*(instance.start() for _ in range(10)))
    assert instance.state is ServiceState.RUNNING
    assert sum("refresh routes" in name for name in instance.scheduler.running) == 1
    await instance.stop()


@virtual_time
async def test_a_failed_start_says_why_and_the_next_start_says_that_it_failed_before() -> None:
    instance = World().instance(name_servers=None, address_service=dead_address_service())
    with pytest.raises(NoNameServerError, match=r"no name server is configured.*jmenv\.tbsite\.net.*Connection refused") as first:
        await instance.start()
    assert "NAMESRV_ADDR" in first.value.hint
    assert instance.state is ServiceState.START_FAILED
    with pytest.raises(ClientStateError, match="was created before, and failed to start: NoNameServerError") as second:
        await instance.start()
    assert CLIENT_ID in str(second.value)
    with pytest.raises(ClientStateError, match=CLIENT_ID):
        await instance.register_producer(FakeProducer())
    assert not other_tasks()
    await instance.stop()
    assert instance.state is ServiceState.START_FAILED


@virtual_time
async def test_every_caller_of_a_start_that_fails_gets_the_reason() -> None:
    instance = World().instance(name_servers=None, address_service=dead_address_service())
    outcomes = await asyncio.gather(instance.start(), instance.start(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NoNameServerError, NoNameServerError]


@virtual_time
async def test_of_several_starts_the_most_patient_one_says_how_long_the_address_service_is_asked() -> None:
    clock = asyncio.get_running_loop().time
    instance = World().instance(name_servers=None, address_service=dead_address_service())
    starts = [asyncio.ensure_future(instance.start(patience)) for patience in (1.0, 10.0, 2.0)]
    await asyncio.sleep(5)
    assert not any(start.done() for start in starts)
    outcomes = await asyncio.gather(*starts, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NoNameServerError] * 3
    assert clock() == pytest.approx(10.0, abs=1.0)


@virtual_time
async def test_unreadable_tls_files_fail_the_start() -> None:
    instance = World().instance(tls=TLS(ca_file="/nowhere/ca.pem"))
    with pytest.raises(ConfigError, match=r"/nowhere/ca\.pem"):
        await instance.start()
    assert instance.state is ServiceState.START_FAILED
    assert not other_tasks()


@pytest.mark.feature("K2")
@virtual_time
async def test_a_start_does_not_need_a_live_name_server() -> None:
    world = World()
    world.name_server.refuse = True
    instance = world.instance()
    await instance.start()
    assert instance.state is ServiceState.RUNNING
    with pytest.raises(NoNameServerError, match="ns:9876"):
        await instance.routes.publish_info_or_fetch("orders", timeout=3.0)
    assert asyncio.get_running_loop().time() <= 3.0
    await instance.stop()


@virtual_time
async def test_a_silent_name_server_is_named_within_the_timeout() -> None:
    world = World()
    world.name_server.silent = True
    instance = world.instance(mq_client_api_timeout=1.0)
    await instance.start()
    began = asyncio.get_running_loop().time()
    with pytest.raises(NoNameServerError, match="ns:9876"):
        await instance.routes.publish_info_or_fetch("orders", timeout=3.0)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.0, abs=0.05)
    await instance.stop()


@virtual_time
async def test_stop_is_idempotent_and_leaves_nothing_behind() -> None:
    threads = set(threading.enumerate())
    world = World()
    world.routes["orders"] = route()
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.register_consumer(FakeConsumer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(35)
    assert world.name_server.connections
    assert world.master.connections
    await asyncio.gather(instance.stop(), instance.stop())
    await instance.stop()
    assert not other_tasks()
    assert not world.name_server.connections
    assert not world.master.connections
    assert set(threading.enumerate()) == threads
    timers = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert not timers
    gc.collect()


@virtual_time
async def test_stop_before_start_and_start_after_stop() -> None:
    instance = World().instance()
    await instance.stop()
    assert instance.state is ServiceState.SHUTDOWN_ALREADY
    with pytest.raises(ClientClosedError, match=CLIENT_ID):
        await instance.start()
    with pytest.raises(ClientClosedError):
        await instance.register_consumer(FakeConsumer())


@virtual_time
async def test_stop_during_a_start_ends_the_start() -> None:
    async def never(host: str, port: int, request: bytes) -> bytes:
        await asyncio.sleep(2)
        return b""

    instance = World().instance(name_servers=None, address_service=AddressService(ClientConfig(), http_get=never))
    starting = asyncio.ensure_future(instance.start())
    await asyncio.sleep(1)
    await instance.stop()
    with pytest.raises(ClientClosedError):
        await starting
    assert instance.state is ServiceState.SHUTDOWN_ALREADY
    assert not other_tasks()


@virtual_time
async def test_cancelling_one_of_two_starts_does_not_disturb_the_other() -> None:
    async def slow(host: str, port: int, request: bytes) -> bytes:
        await asyncio.sleep(2)
        return b"HTTP/1.1 200 OK\r\n\r\nns:9876"

    instance = World().instance(name_servers=None, address_service=AddressService(ClientConfig(), http_get=slow))
    one, other = asyncio.ensure_future(instance.start()), asyncio.ensure_future(instance.start())
    await asyncio.sleep(1)
    one.cancel()
    await other
    assert one.cancelled()
    assert instance.state is ServiceState.RUNNING
    await instance.stop()


@virtual_time
async def test_cancelling_a_stop_leaves_it_going_on() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(2)
    world.master.silent = True
    stopping = asyncio.ensure_future(instance.stop())
    await asyncio.sleep(0.1)
    stopping.cancel()
    await asyncio.sleep(5)
    assert not other_tasks()
    assert not world.master.connections


@pytest.mark.feature("K12")
@virtual_time
async def test_stop_says_goodbye_to_all_connected_brokers_within_about_a_second() -> None:
    world = World()
    world.routes["orders"] = route(addrs={0: "broker-a:10911", 1: "slave:10911"})
    slave = world.make_broker("slave:10911")
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.register_consumer(FakeConsumer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(2)
    slave.silent = True
    began = asyncio.get_running_loop().time()
    await instance.stop()
    assert asyncio.get_running_loop().time() - began < 1.25
    for broker in (world.master, slave):
        fields = [request.command.ext_fields for request in broker.of(RequestCode.UNREGISTER_CLIENT)]
        groups = [(field["clientID"], field.get("producerGroup"), field.get("consumerGroup")) for field in fields]
        assert (CLIENT_ID, None, "consumers") in groups
        assert (CLIENT_ID, "producers", None) in groups
        assert (CLIENT_ID, "CLIENT_INNER_PRODUCER", None) in groups


@pytest.mark.feature("B26")
@virtual_time
async def test_use_in_a_forked_child_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = World().instance()
    await instance.start()
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(ForkedClientError, match=f"made in process {parent}") as refused:
        instance.check_running()
    assert "after the fork" in refused.value.hint
    with pytest.raises(ForkedClientError):
        await instance.start()
    with pytest.raises(ForkedClientError):
        await instance.register_producer(FakeProducer())
    monkeypatch.undo()
    await instance.stop()


@virtual_time
async def test_check_running_names_each_state() -> None:
    instance = World().instance()
    with pytest.raises(ClientStateError, match="not started yet"):
        instance.check_running()
    await instance.start()
    instance.check_running()
    await instance.stop()
    with pytest.raises(ClientClosedError, match="was stopped"):
        instance.check_running()


@virtual_time
async def test_health_shows_what_is_going_on() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(2)
    health = instance.health()
    assert health.state is ServiceState.RUNNING
    assert health.name_servers == ("ns:9876",)
    assert health.topics == ("orders",)
    assert health.brokers == ("broker-a:10911",)
    assert health.heartbeats.sent == 1
    assert health.routes.changes == 1
    assert (health.route_locks_given_up, health.heartbeat_locks_given_up) == (0, 0)
    assert {task.name: task.runs for task in health.tasks}["refresh routes"] == 1
    assert CLIENT_ID in repr(instance)
    await instance.stop()
