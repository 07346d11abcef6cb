"""What a client knows of name servers, brokers, routes and background work, as things fail and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from aiorocketmq.client.examine import LOOP_FAILED_FOR, MISSED_FOR, Own, examine
from aiorocketmq.client.health import Health, HealthStatus, TaskHealth
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.errors import RocketMQError
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from tests.support.virtual_loop import virtual_time
from tests.wire.world import MASTER, SLAVE, FakeProducer, World, heartbeat_answer, route

BEAT = RequestCode.HEART_BEAT


def look(instance: ClientInstance, topics: Collection[str] | None = ("orders",), **own: Any) -> Health:
    loop = asyncio.get_running_loop()
    return examine("client", ServiceState.RUNNING, instance, loop, lambda: Own(topics=topics, **own))


async def started(world: World, **fields: Any) -> ClientInstance:
    instance = world.instance(**fields)
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(2)
    return instance


@pytest.mark.feature("U2")
@virtual_time
async def test_all_is_well() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = await started(world)
    health = look(instance)
    assert (health.status, health.reasons) == (HealthStatus.HEALTHY, ())
    [server], [broker], [found] = health.name_servers, health.brokers, health.routes
    assert (server.address, server.in_use, server.connected, server.reachable, server.failures) == ("ns:9876", True, True, True, 0)
    assert server.answered_ago is not None and 0 <= server.answered_ago <= 2
    assert (broker.name, broker.broker_id, broker.address, broker.connected, broker.reachable) == ("broker-a", 0, MASTER, True, True)
    assert broker.version.startswith("V5_")
    assert broker.heartbeat_ago == pytest.approx(1.0, abs=0.1)
    assert (found.topic, found.known, found.brokers, found.write_queues, found.error) == ("orders", True, ("broker-a",), 4, "")
    assert {task.name for task in health.tasks} >= {"refresh routes", "clean brokers and heartbeat", "rebalance"}
    requests = len(world.master.requests) + len(world.name_server.requests)
    await asyncio.sleep(0)
    assert len(world.master.requests) + len(world.name_server.requests) == requests, "nobody was asked"
    await instance.stop()
    assert look(instance).reasons == (f"client instance {instance.client_id} was stopped",)


@pytest.mark.feature("U2", "L6")
@virtual_time
async def test_a_name_server_that_dies_and_the_next_one() -> None:
    world = World()
    world.routes["orders"] = route()
    world.make_name_server("other:9876")
    instance = await started(world, name_servers="ns:9876;other:9876")
    first, second = instance.remoting.name_servers
    assert [server.reachable for server in look(instance).name_servers] == [True, None], "the second one was not needed yet"
    peer = world.network.peers[first]
    peer.refuse = True
    peer.drop()
    await asyncio.sleep(0.1)
    health = look(instance)
    assert health.status is HealthStatus.DEGRADED
    assert [text for text in health.reasons if first in text and "cannot be reached" in text]
    await asyncio.sleep(60)
    health = look(instance)
    states = {server.address: (server.in_use, server.reachable) for server in health.name_servers}
    assert states == {first: (False, False), second: (True, True)}
    [dead] = [server for server in health.name_servers if server.address == first]
    assert dead.failures >= 1
    assert dead.error
    peer.refuse = False
    await asyncio.sleep(31)
    assert instance.remoting.name_servers[0] == second, "the choice sticks"
    assert [server.reachable for server in look(instance).name_servers] == [True, True], "it is looked for"
    assert look(instance).ok
    peer.refuse = True
    peer.drop()
    await asyncio.sleep(1)
    assert not look(instance).ok
    instance.update_name_servers([second])
    assert look(instance).ok, "one that is not used any more is no trouble"
    await instance.stop()


@virtual_time
async def test_without_name_servers_and_routes_it_is_down() -> None:
    world = World()
    world.name_server.refuse = True
    instance = await started(world)
    health = look(instance)
    assert health.status is HealthStatus.DOWN
    assert health.reasons[0] == "no name server can be reached"
    world.name_server.refuse = False
    world.routes["orders"] = route()
    await asyncio.sleep(30)
    assert look(instance).ok
    await instance.stop()


@pytest.mark.feature("U2")
@virtual_time
async def test_a_broker_that_dies_and_comes_back() -> None:
    world = World()
    world.routes["orders"] = route(addrs={0: MASTER, 1: SLAVE})
    world.make_broker(SLAVE)
    instance = await started(world)
    assert [broker.broker_id for broker in look(instance).brokers] == [0], "producers do not need slaves"
    assert [broker.reachable for broker in look(instance, subscribed=True).brokers] == [True, None]
    world.master.refuse = True
    world.master.drop()
    await asyncio.sleep(0.01)
    health = look(instance)
    assert health.status is HealthStatus.DOWN, "all masters are gone"
    assert health.reasons[0] == "no broker can be reached"
    assert f"broker broker-a (master, {MASTER}) cannot be reached" in health.reasons[1]
    assert look(instance, subscribed=True).status is HealthStatus.DEGRADED, "consumers may read from the slave"
    await asyncio.sleep(60)
    assert "cannot connect" in look(instance).brokers[0].error or "refused" in look(instance).brokers[0].error
    world.master.refuse = False
    await asyncio.sleep(31)
    assert look(instance).ok
    await instance.stop()


@virtual_time
async def test_a_connection_that_was_closed_on_purpose_is_no_trouble() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = await started(world, client_channel_max_idle_time=50, heartbeat_broker_interval=300, poll_name_server_interval=300)
    await asyncio.sleep(60)
    health = look(instance)
    assert [broker.connected for broker in health.brokers] == [False]
    assert [broker.reachable for broker in health.brokers] == [None]
    assert [(server.connected, server.reachable) for server in health.name_servers] == [(False, True)]
    assert health.ok
    await instance.stop()


@virtual_time
async def test_a_connection_that_a_server_closed_because_nobody_used_it_is_no_trouble() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = await started(
        world, client_channel_max_idle_time=1000, heartbeat_broker_interval=300, poll_name_server_interval=300
    )  # fmt: skip
    await asyncio.sleep(118)
    world.master.drop()
    world.name_server.drop()
    await asyncio.sleep(1)
    health = look(instance)
    assert [broker.reachable for broker in health.brokers] == [None]
    assert [(server.connected, server.reachable) for server in health.name_servers] == [(False, True)]
    assert health.ok
    await instance.stop()


@virtual_time
async def test_a_broker_that_is_silent_is_not_reachable_though_it_is_connected() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = await started(world, client_close_socket_if_timeout=False)
    world.master.on(BEAT, lambda request, connection: None)
    await asyncio.sleep(35)
    [broker] = look(instance).brokers
    assert (broker.connected, broker.reachable) == (True, False)
    assert "HEART_BEAT" in broker.error
    world.master.on(BEAT, heartbeat_answer)
    await instance.probe(MASTER, 3.0)
    assert look(instance).ok, "what a ping has seen counts, too"
    world.master.on(BEAT, lambda request, connection: None)
    with pytest.raises(RocketMQError):
        await instance.probe(MASTER, 1.0)
    assert not look(instance).ok
    await instance.stop()


@virtual_time
async def test_only_the_brokers_of_the_clients_own_topics_count() -> None:
    world = World()
    world.routes["orders"] = route()
    world.routes["bills"] = route(addrs={0: "broker-b:10911"}, name="broker-b")
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders", "bills"]))
    await instance.start()
    await asyncio.sleep(5)
    assert look(instance).ok
    assert [broker.name for broker in look(instance).brokers] == ["broker-a"]
    assert look(instance, ["bills"]).status is HealthStatus.DOWN, "nobody lives at broker-b"
    both = look(instance, None)
    assert [broker.reachable for broker in both.brokers] == [True, False]
    assert both.status is HealthStatus.DEGRADED
    assert both.routes[0].topic == "bills"
    await instance.stop()


@pytest.mark.feature("U2")
@virtual_time
async def test_a_broker_that_is_lost_is_missed_though_the_name_servers_leave_it_out() -> None:
    world = World()
    other = world.make_broker("broker-b:10911")
    alone, both = route(), TopicRouteData(
        (QueueData("broker-a", 4, 4, 6), QueueData("broker-b", 4, 4, 6)),
        (BrokerData("DefaultCluster", "broker-a", {0: MASTER}), BrokerData("DefaultCluster", "broker-b", {0: "broker-b:10911"})),
    )  # fmt: skip
    world.routes["orders"] = both
    instance = await started(world)
    assert [broker.name for broker in look(instance).brokers] == ["broker-a", "broker-b"]
    other.refuse = True
    other.drop()
    world.routes["orders"] = alone
    await asyncio.sleep(31)
    health = look(instance)
    assert [(broker.name, broker.reachable, broker.routed) for broker in health.brokers] == [
        ("broker-a", True, True),
        ("broker-b", False, False),
    ]
    [reason] = health.reasons
    assert reason.startswith("broker broker-b (master, broker-b:10911) cannot be reached, and the name servers leave it out: ")
    assert look(instance, ["bills"]).ok, "no broker of theirs"
    await asyncio.sleep(MISSED_FOR)
    assert look(instance).ok, "it was taken away"
    other.refuse = False
    world.routes["orders"] = both
    await asyncio.sleep(61)
    world.routes["orders"] = alone
    await asyncio.sleep(31)
    assert look(instance).ok, "one that was not lost is not missed"
    assert [broker.name for broker in look(instance).brokers] == ["broker-a"]
    world.routes["orders"] = both
    await asyncio.sleep(61)
    other.refuse = True
    other.drop()
    world.routes["orders"] = alone
    await asyncio.sleep(31)
    assert not look(instance).ok
    other.refuse = False
    world.routes["orders"] = both
    await asyncio.sleep(61)
    assert [broker.routed for broker in look(instance).brokers] == [True, True]
    assert look(instance).ok
    await instance.stop()


@virtual_time
async def test_a_topic_without_a_route() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = await started(world)
    assert look(instance, ["orders", "new", "%RETRY%g"]).ok, "a topic may come to life with its first message"
    health = look(instance, ["orders", "new", "%RETRY%g"], subscribed=True)
    assert [found.topic for found in health.routes] == ["new", "orders"]
    [reason] = health.reasons
    assert "topic 'new' has no route, so nothing of it is consumed" in reason
    await instance.stop()


@virtual_time
async def test_a_route_that_is_not_told_any_more() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = await started(world)
    world.name_server.answer(RequestCode.GET_ROUTEINFO_BY_TOPIC, ResponseCode.SYSTEM_ERROR, "out of order")
    await asyncio.sleep(31)
    health = look(instance)
    assert "out of order" in health.routes[0].error
    assert health.ok, "the route that is known is good for a while"
    await asyncio.sleep(30)
    health = look(instance)
    [reason] = health.reasons
    assert "the route of topic 'orders' could not be refreshed for 6" in reason and "out of order" in reason
    assert health.routes[0].age is not None and health.routes[0].age > 30
    assert health.name_servers[0].reachable is True, "it has answered"
    world.name_server.on(RequestCode.GET_ROUTEINFO_BY_TOPIC, world.answer_route)
    await asyncio.sleep(30)
    assert look(instance).ok
    await instance.stop()


def task(health: Health, name: str) -> TaskHealth:
    return next(each for each in health.tasks if each.name == name)


@virtual_time
async def test_background_work_that_fails_hangs_or_is_cut_off() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = await started(world)
    broken, hanging, loops = True, asyncio.Event(), 0

    def work() -> None:
        if broken:
            raise ValueError("no luck")

    async def loop() -> None:
        nonlocal loops
        loops += 1
        if loops == 1:
            raise ValueError("once")
        await asyncio.sleep(1000)

    instance.scheduler.every("try", 5.0, work)
    instance.scheduler.every("hang", 5.0, hanging.wait)
    instance.scheduler.service("go on", loop)
    await asyncio.sleep(6)
    health = look(instance)
    assert health.status is HealthStatus.DEGRADED
    assert health.reasons == ("background work 'try' fails: ValueError: no luck", "background work 'go on' fails: ValueError: once")
    broken = False
    await asyncio.sleep(LOOP_FAILED_FOR)
    health = look(instance)
    assert (task(health, "try").failing, task(health, "try").failures, task(health, "try").error) == (False, 1, "ValueError: no luck")
    assert (task(health, "go on").failing, task(health, "go on").runs) == (False, 2)
    assert task(health, "hang").overdue == pytest.approx(26.0)
    assert health.reasons == ("background work 'hang' is 26 s late",)
    hanging.set()
    await asyncio.sleep(5)
    assert look(instance).ok
    await instance.stop()


@virtual_time
async def test_credentials_that_no_broker_takes() -> None:
    world = World()
    world.routes["orders"] = route()
    world.master.answer(BEAT, 16, "User:app is not found.")
    instance = await started(world)
    health = look(instance)
    assert health.status is HealthStatus.DOWN
    assert health.reasons[0].startswith("the brokers do not accept the credentials: ")
    assert health.brokers[0].reachable is True, "it has answered"
    world.master.on(BEAT, heartbeat_answer)
    await asyncio.sleep(30)
    assert look(instance).ok
    world.master.answer(BEAT, 1, "out of order")
    await asyncio.sleep(30)
    health = look(instance)
    assert health.status is HealthStatus.DEGRADED
    [reason] = health.reasons
    assert reason.startswith(f"broker broker-a (master, {MASTER}) refuses heartbeats: ") and "out of order" in reason
    await instance.stop()
