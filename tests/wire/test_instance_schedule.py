"""When the instance does what: start order, and every scheduled task at its first delay and its interval."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

import aiorocketmq
from aiorocketmq.client.discovery import AddressService
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import RequestTimeoutError
from aiorocketmq.protocol.codes import RequestCode
from tests.support.virtual_loop import virtual_time
from tests.wire.world import NAME_SERVER, FakeConsumer, FakeProducer, World, close_to, other_tasks, route

ROUTE = RequestCode.GET_ROUTEINFO_BY_TOPIC


def address_service(calls: list[float], answers: list[bytes]) -> AddressService:
    """An address service that gives one answer after the other, the last one for ever."""

    async def get(host: str, port: int, request: bytes) -> bytes:
        calls.append(asyncio.get_running_loop().time())
        answer = answers[0] if len(answers) == 1 else answers.pop(0)
        return b"HTTP/1.1 200 OK\r\n\r\n" + answer + b"\n"

    return AddressService(ClientConfig(), http_get=get)


@pytest.mark.feature("K4", "Q57")
@virtual_time
async def test_routes_are_refreshed_after_10_ms_and_then_every_30_s() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(95)
    assert close_to(world.name_server.times(ROUTE), [0.01, 30.01, 60.01, 90.01])
    await instance.stop()


@pytest.mark.feature("K5", "Q57")
@virtual_time
async def test_the_first_heartbeat_comes_after_1_s_and_then_every_30_s() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = world.instance(enable_heartbeat_channel_event_listener=False)
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(95)
    assert close_to(world.master.times(RequestCode.HEART_BEAT), [1, 31, 61, 91])
    await instance.stop()


@pytest.mark.feature("K6", "Q57")
@virtual_time
async def test_offsets_are_persisted_after_10_s_and_then_every_5_s() -> None:
    instance = World().instance()
    consumer = FakeConsumer()
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(26)
    assert close_to(consumer.persisted_at, [10, 15, 20, 25])
    await instance.stop()


@pytest.mark.feature("K7")
@virtual_time
async def test_workers_are_adjusted_every_minute() -> None:
    instance = World().instance()
    consumer = FakeConsumer()
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(185)
    assert close_to(consumer.adjusted_at, [60, 120, 180])
    await instance.stop()


@pytest.mark.feature("K3", "L3")
@virtual_time
async def test_name_servers_are_fetched_at_start_after_10_s_and_every_2_min_when_none_is_configured() -> None:
    world, calls = World(), list[float]()
    instance = world.instance(name_servers=None, address_service=address_service(calls, [NAME_SERVER.encode()]))
    await instance.start()
    await asyncio.sleep(260)
    assert close_to(calls, [0, 10, 130, 250])
    assert instance.remoting.name_servers == (NAME_SERVER,)
    await instance.stop()


@pytest.mark.feature("K3")
@virtual_time
async def test_name_servers_are_not_fetched_when_some_are_configured() -> None:
    world, calls = World(), list[float]()
    instance = world.instance(address_service=address_service(calls, [b"other:9876"]))
    await instance.start()
    await asyncio.sleep(300)
    assert calls == []
    assert "fetch name servers" not in instance.scheduler.records
    await instance.stop()


@pytest.mark.feature("K3", "L8")
@virtual_time
async def test_a_fetched_list_that_changed_is_used_at_once_and_a_bad_answer_is_ignored() -> None:
    world, calls = World(), list[float]()
    world.routes["orders"] = route()
    other = world.make_name_server("ns2:9876")
    service = address_service(calls, [NAME_SERVER.encode(), b"garbage", b"", b"ns2:9876"])
    instance = world.instance(name_servers=None, address_service=service)
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(200)
    assert instance.remoting.name_servers == (NAME_SERVER,), "garbage and an empty answer keep the list"
    await asyncio.sleep(51)
    assert instance.remoting.name_servers == ("ns2:9876",)
    assert close_to(other.times(ROUTE)[:1], [250]), "routes are asked for at the new name server at once"
    await instance.stop()


@pytest.mark.feature("Q57")
@virtual_time
async def test_every_interval_is_configurable() -> None:
    world, calls = World(), list[float]()
    world.routes["orders"] = route()
    instance = world.instance(
        name_servers=None,
        address_service=address_service(calls, [NAME_SERVER.encode()]),
        poll_name_server_interval=7,
        heartbeat_broker_interval=timedelta(seconds=4),
        persist_consumer_offset_interval=2.5,
        adjust_thread_pool_interval=11,
        fetch_name_server_interval=3,
        rebalance_interval=6,
        enable_heartbeat_channel_event_listener=False,
    )
    consumer = FakeConsumer(topics=["orders"])
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(14)
    assert close_to(world.name_server.times(ROUTE), [0.01, 7.01])
    assert close_to(world.master.times(RequestCode.HEART_BEAT), [1, 5, 9, 13])
    assert close_to(consumer.persisted_at, [10, 12.5])
    assert close_to(consumer.adjusted_at, [11])
    assert close_to(calls, [0, 10, 13])
    assert close_to(consumer.rebalanced_at, [6, 12])
    await instance.stop()


@pytest.mark.feature("G1")
@virtual_time
async def test_consumers_are_rebalanced_every_20_s() -> None:
    instance = World().instance()
    consumer = FakeConsumer()
    await instance.register_consumer(consumer)
    await instance.start()
    await asyncio.sleep(65)
    assert close_to(consumer.rebalanced_at, [20, 40, 60])
    assert instance.health().rebalances == 3
    await instance.stop()


@pytest.mark.feature("K16")
@pytest.mark.skipif(aiorocketmq.compiled, reason="objects of compiled classes let no method be replaced")
@virtual_time
async def test_start_order(monkeypatch: pytest.MonkeyPatch) -> None:
    world, order = World(), list[str]()
    service = address_service([], [NAME_SERVER.encode()])
    instance = world.instance(name_servers=None, address_service=service)

    def note(owner: object, method: str, name: str) -> None:
        original = getattr(owner, method)

        def noted(*args: object, **kwargs: object) -> object:
            order.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, method, noted)

    note(service, "fetch", "name servers")
    note(instance.remoting, "start", "remoting")
    note(instance, "_schedule", "scheduled tasks")
    note(instance.pull, "start", "pull service")
    note(instance.rebalance, "start", "rebalance service")
    note(instance.clients, "add_producer", "inner producer")
    await instance.start()
    assert order == ["name servers", "remoting", "scheduled tasks", "pull service", "rebalance service", "inner producer"]
    assert instance.health().producers == ("CLIENT_INNER_PRODUCER",)
    await instance.stop()


@virtual_time
async def test_tasks_end_in_reverse_order_at_stop() -> None:
    instance = World().instance()
    await instance.start()
    ended: list[str] = []
    for task in other_tasks():
        task.add_done_callback(lambda done: ended.append(done.get_name().rpartition(":")[2]))
    await instance.stop()
    assert ended[:1] == ["rebalance"]
    scheduled = [name for name in ended if name in instance.scheduler.records]
    assert scheduled[-4:] == ["adjust workers", "persist offsets", "clean brokers and heartbeat", "refresh routes"]


@virtual_time
async def test_a_consumer_that_fails_keeps_no_other_and_no_later_run_from_happening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    instance = World().instance()
    bad = FakeConsumer(group="bad", failing=RequestTimeoutError("silent broker"))
    good = FakeConsumer(group="good")
    await instance.register_consumer(bad)
    await instance.register_consumer(good)
    await instance.start()
    await asyncio.sleep(61)
    assert len(bad.persisted_at) == len(good.persisted_at) == 11
    assert len(bad.adjusted_at) == len(good.adjusted_at) == 1
    assert len(bad.rebalanced_at) > 3
    warnings = [text for record in caplog.records if record.levelname == "WARNING" and "saving offsets" in (text := record.getMessage())]
    assert len(warnings) == 1, "a lasting fault is told once"
    assert "bad" in warnings[0]
    bad.failing = None
    await asyncio.sleep(5)
    assert caplog.text.count("saving offsets of consumer group bad works again") == 1
    await instance.stop()
