"""Administration against scripted peers: which broker is asked what, and what becomes of its answer."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from aiorocketmq.admin import AdminClient, ConsumeProgress, QueueProgress, QueueStats, TopicSettings
from aiorocketmq.client import manager
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import (
    BrokerNotFoundError,
    ClientClosedError,
    ClientStateError,
    ConfigError,
    GroupNotExistError,
    NoNameServerError,
    NoPermissionError,
    PartialError,
    RemotingError,
    RequestTimeoutError,
    RouteError,
    TopicNotFoundError,
    UsageError,
)
from aiorocketmq.model.enums import Permission, ServiceState
from aiorocketmq.model.parsing import moment
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, QueueMapping, TopicRouteData
from aiorocketmq.producer import Producer
from aiorocketmq.protocol.bodies import (
    ClusterInfo,
    Connection,
    ConsumerConnection,
    ConsumeStats,
    OffsetWrapper,
    TopicConfig,
    TopicOffset,
    TopicStatsTable,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.client import RemotingClient
from tests.support.memory_transport import ScriptedPeer
from tests.support.virtual_loop import virtual_time
from tests.unit.consumer.world import record
from tests.wire.world import NAME_SERVER, World, heartbeats

TOPIC = "orders"
ODD: tuple[Any, ...] = (None, "T", b"T", ["T"], object())
"""What is neither a number, nor a queue, nor a switch."""


def instances() -> list[Any]:
    """What the clients of this event loop have left."""
    return [share for loop, table in manager.shared._loops.items() if loop is asyncio.get_running_loop() for share in table.shares.values()]


class AdminWorld(World):
    """Two brokers in one cluster, and what the name server says of them."""

    def __init__(self) -> None:
        super().__init__()
        self.brokers: dict[str, ScriptedPeer] = {}
        self.table: dict[str, BrokerData] = {}
        self.name_server.on(RequestCode.GET_BROKER_CLUSTER_INFO, self._cluster_info)
        for name in ("broker-a", "broker-b"):
            self.add(name)

    def add(self, name: str, cluster: str = "one", addresses: dict[int, str] | None = None) -> None:
        address = f"{name}.{cluster}:10911"
        self.brokers[name] = self.make_broker(address)
        self.table[name] = BrokerData(cluster, name, {0: address} if addresses is None else addresses)

    def _cluster_info(self, request: RemotingCommand, _: Any) -> RemotingCommand:
        clusters: dict[str, list[str]] = {}
        for name, broker in self.table.items():
            clusters.setdefault(broker.cluster, []).append(name)
        return RemotingCommand.response(request, body=ClusterInfo(self.table, clusters).encode())

    def lead(self, topic: str, *names: str, queues: int = 4) -> None:
        self.routes[topic] = TopicRouteData(
            tuple(QueueData(name, queues, queues) for name in names), tuple(self.table[name] for name in names)
        )

    def make_instance(self, config: ClientConfig, client_id: str, *, index: int) -> ClientInstance:
        return ClientInstance(config, client_id, index=index, remoting=RemotingClient(config, connector=self.network.connector))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> AdminWorld:
    made = AdminWorld()
    monkeypatch.setattr(manager.shared, "make", made.make_instance)
    return made


@virtual_time
async def test_a_topic_is_created_on_every_master_and_awaited_in_the_route(world: AdminWorld) -> None:
    for name, peer in world.brokers.items():
        peer.answer(RequestCode.UPDATE_AND_CREATE_TOPIC, remark=f"made by {name}")
    asyncio.get_running_loop().call_later(0.5, world.lead, TOPIC, "broker-a")
    asyncio.get_running_loop().call_later(1.0, world.lead, TOPIC, "broker-a", "broker-b")
    async with AdminClient(NAME_SERVER) as admin:
        assert await admin.topics.create(TOPIC, attributes={"message.type": "FIFO"}, order=True) == ("broker-a", "broker-b")
        assert 0.99 <= asyncio.get_running_loop().time() < 1.3
    for peer in world.brokers.values():
        (request,) = peer.of(RequestCode.UPDATE_AND_CREATE_TOPIC)
        fields = request.command.ext_fields
        assert (fields["topic"], fields["defaultTopic"], fields["readQueueNums"], fields["perm"]) == (TOPIC, "TBW102", "4", "6")
        assert (fields["attributes"], fields["order"]) == ("+message.type=FIFO", "true")


@virtual_time
async def test_a_route_that_never_comes_is_said_so(world: AdminWorld) -> None:
    for peer in world.brokers.values():
        peer.answer(RequestCode.UPDATE_AND_CREATE_TOPIC)
    world.lead(TOPIC, "broker-a")
    async with AdminClient(NAME_SERVER) as admin:
        with pytest.raises(RouteError, match="was created, but the name server does not route to it everywhere after 2 s"):
            await admin.topics.create(TOPIC, wait=2.0, exist_ok=True)
        assert await admin.topics.create(TOPIC, wait=0, permission=Permission.READ, exist_ok=True) == ("broker-a", "broker-b")


@virtual_time
async def test_several_clusters_ask_for_a_name(world: AdminWorld) -> None:
    world.add("broker-c", "two")
    world.brokers["broker-c"].answer(RequestCode.UPDATE_AND_CREATE_TOPIC)
    async with AdminClient(NAME_SERVER) as admin:
        with pytest.raises(ConfigError, match=r"2 clusters.*one, two"):
            await admin.topics.create(TOPIC, wait=0)
        assert await admin.topics.create(TOPIC, cluster="two", wait=0) == ("broker-c",)
        assert await admin.topics.create(TOPIC, broker="broker-c", wait=0) == ("broker-c",)
        assert await admin.topics.create(TOPIC, broker="broker-c.two:10911", wait=0) == ("broker-c.two:10911",)
        assert await admin.topics.create(TOPIC, cluster="two", broker="broker-c", wait=0) == ("broker-c",)
        assert await admin.topics.create(TOPIC, cluster="two", broker="broker-c.two:10911", wait=0) == ("broker-c.two:10911",)
        asked = len(world.brokers["broker-c"].of(RequestCode.UPDATE_AND_CREATE_TOPIC))
        for broker in ("broker-c", "broker-c.two:10911", "nobody"):
            with pytest.raises(ConfigError, match=f"broker '{broker}' is not in cluster 'one'.*broker-a, broker-b"):
                await admin.topics.create(TOPIC, cluster="one", broker=broker, wait=0)
        assert len(world.brokers["broker-c"].of(RequestCode.UPDATE_AND_CREATE_TOPIC)) == asked == 5
        brokers = await admin.clusters.brokers()
    assert [(broker.cluster, broker.name, broker.master) for broker in brokers] == [
        ("one", "broker-a", "broker-a.one:10911"),
        ("one", "broker-b", "broker-b.one:10911"),
        ("two", "broker-c", "broker-c.two:10911"),
    ]


@virtual_time
async def test_a_cluster_without_masters_is_no_place_for_a_topic(world: AdminWorld) -> None:
    for name in list(world.table):
        world.table[name] = BrokerData("one", name, {1: f"{name}-slave:10911"})
    async with AdminClient(NAME_SERVER) as admin:
        with pytest.raises(BrokerNotFoundError, match="master"):
            await admin.topics.create(TOPIC)


@virtual_time
async def test_a_broker_that_refuses_does_not_hide_what_the_others_did(world: AdminWorld) -> None:
    world.brokers["broker-a"].answer(RequestCode.UPDATE_AND_CREATE_TOPIC, ResponseCode.NO_PERMISSION, "not you")
    world.brokers["broker-b"].answer(RequestCode.UPDATE_AND_CREATE_TOPIC)
    async with AdminClient(NAME_SERVER) as admin:
        with pytest.raises(PartialError, match=r"1 of 2 servers failed: broker-a: .*not you") as caught:
            await admin.topics.create(TOPIC)
        assert caught.value.result == ("broker-b",)
        assert [*caught.value.errors] == ["broker-a"] and isinstance(caught.value.errors["broker-a"], NoPermissionError)
        copied = pickle.loads(pickle.dumps(caught.value))
        assert copied.result == ("broker-b",) and str(copied) == str(caught.value)
        world.brokers["broker-b"].answer(RequestCode.UPDATE_AND_CREATE_TOPIC, ResponseCode.SYSTEM_ERROR, "nor me")
        with pytest.raises(NoPermissionError, match="broker-a: not you"):  # all failed: the first error as it is
            await admin.topics.create(TOPIC)
    assert len(world.brokers["broker-b"].of(RequestCode.UPDATE_AND_CREATE_TOPIC)) == 2


@virtual_time
async def test_what_the_other_brokers_told_is_not_thrown_away(world: AdminWorld) -> None:
    world.lead(TOPIC, "broker-a", "broker-b")
    world.brokers["broker-a"].silent = True
    queue = MessageQueue(TOPIC, "broker-b", 0)
    answering = world.brokers["broker-b"]
    answering.answer(RequestCode.GET_TOPIC_STATS_INFO, body=TopicStatsTable({queue: TopicOffset(3, 10, 0)}).encode())
    answering.answer(RequestCode.GET_CONSUME_STATS, body=ConsumeStats({queue: OffsetWrapper(10, 7, 9, 5000)}, 1.5).encode())
    members = ConsumerConnection([Connection("c1", "192.0.2.7:5", "PYTHON", 479)], {}, "CONSUME_PASSIVELY", "CLUSTERING", None)
    answering.answer(RequestCode.GET_CONSUMER_CONNECTION_LIST, body=members.encode())
    async with AdminClient(NAME_SERVER) as admin:
        with pytest.raises(PartialError) as stats:
            await admin.topics.stats(TOPIC)
        with pytest.raises(PartialError) as progress:
            await admin.groups.lag("workers")
        with pytest.raises(PartialError) as connections:
            await admin.groups.clients("workers")
    assert stats.value.result.messages == 7
    assert progress.value.result.lag == 3
    assert [client.client_id for client in connections.value.result.clients] == ["c1"]
    for caught in (stats, progress, connections):
        assert isinstance(caught.value.errors["broker-a"], RequestTimeoutError) and caught.value.cause is caught.value.errors["broker-a"]


@virtual_time
async def test_a_group_that_one_broker_does_not_know_is_on_the_other(world: AdminWorld) -> None:
    world.brokers["broker-a"].answer(RequestCode.GET_CONSUME_STATS, ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, "no such group")
    stats = ConsumeStats({MessageQueue(TOPIC, "broker-b", 0): OffsetWrapper(10, 7, 9, 5000)}, 1.5)
    world.brokers["broker-b"].answer(RequestCode.GET_CONSUME_STATS, body=stats.encode())
    async with AdminClient(NAME_SERVER) as admin:
        assert (await admin.groups.lag("workers")).lag == 3


class _Log:
    """A queue whose messages were stored at these times, on a broker that answers search_offset by another rule than it should."""

    def __init__(self, peer: ScriptedPeer, times: list[int], guess: Callable[[int], int], first: int = 0) -> None:
        self.times = dict(enumerate(times, first))
        self.low, self.high = first, first + len(times)
        self.reads = 0
        peer.on(RequestCode.PULL_MESSAGE, self._pull)
        peer.on(
            RequestCode.SEARCH_OFFSET_BY_TIMESTAMP,
            lambda request, _: RemotingCommand.response(request, header={"offset": str(guess(int(request.ext_fields["timestamp"])))}),
        )

    def _pull(self, request: RemotingCommand, _: Any) -> RemotingCommand:
        self.reads += 1
        begin, count = int(request.ext_fields["queueOffset"]), int(request.ext_fields["maxMsgNums"])
        header = {"suggestWhichBrokerId": "0", "minOffset": str(self.low), "maxOffset": str(self.high)}
        if not self.low <= begin < self.high:
            header["nextBeginOffset"] = str(self.low if begin < self.low else self.high)
            return RemotingCommand.response(request, ResponseCode.PULL_OFFSET_MOVED, header=header)
        end = min(begin + count, self.high)
        header["nextBeginOffset"] = str(end)
        body = b"".join(record(TOPIC, offset, b"x", stored_at=self.times[offset]) for offset in range(begin, end))
        return RemotingCommand.response(request, header=header, body=body)


STORED = [1000, 1000, 2000, 3000, 3000, 3000, 3000, 4000]


@pytest.mark.parametrize("first", [0, 100])
@pytest.mark.parametrize("wanted", [0, 999, 1000, 1001, 1400, 1600, 2000, 2999, 3000, 3001, 4000, 4001, 10**9])
@pytest.mark.parametrize("rule", ["lower bound", "nearest", "any of the same time", "last", "first", "beyond"])
@virtual_time
async def test_search_offset_is_the_first_message_since_then(world: AdminWorld, rule: str, wanted: int, first: int) -> None:
    right = first + sum(time < wanted for time in STORED)
    last = first + len(STORED) - 1
    guesses: dict[str, Callable[[int], int]] = {
        "lower bound": lambda _: right,
        "nearest": lambda at: first + min(range(len(STORED)), key=lambda number: abs(STORED[number] - at)),
        "any of the same time": lambda at: min(right + STORED.count(at) // 2, last),
        "last": lambda _: last,
        "first": lambda _: first,
        "beyond": lambda _: last + 1,
    }
    world.lead(TOPIC, "broker-a")
    log = _Log(world.brokers["broker-a"], STORED, guesses[rule], first)
    async with AdminClient(NAME_SERVER) as admin:
        assert await admin.offsets.search(MessageQueue(TOPIC, "broker-a", 0), wanted / 1000) == right
    assert log.reads <= (2 if rule == "lower bound" else 5)


@virtual_time
async def test_search_offset_in_an_empty_queue(world: AdminWorld) -> None:
    world.lead(TOPIC, "broker-a")
    _Log(world.brokers["broker-a"], [], lambda _: 7, 7)
    async with AdminClient(NAME_SERVER) as admin:
        assert await admin.offsets.search(MessageQueue(TOPIC, "broker-a", 0), 5.0) == 7
        for at in (float("nan"), float("inf"), True, "now", None):
            with pytest.raises(ConfigError, match="is no time"):
                await admin.offsets.search(MessageQueue(TOPIC, "broker-a", 0), at)  # type: ignore[arg-type]


@virtual_time
async def test_a_topic_whose_brokers_are_gone_is_not_an_unknown_one(world: AdminWorld) -> None:
    world.lead(TOPIC, "broker-a", "broker-b")
    async with AdminClient(NAME_SERVER) as admin:
        assert await admin.topics.route(TOPIC)
        del world.routes[TOPIC]
        for call in (admin.topics.route, admin.topics.stats, admin.topics.queues):
            with pytest.raises(BrokerNotFoundError, match="none of its brokers, 'broker-a', 'broker-b'") as caught:
                await call(TOPIC)
            assert "create the topic first" not in str(caught.value)
        with pytest.raises(TopicNotFoundError, match="create the topic first"):
            await admin.topics.route("never")


@virtual_time
async def test_a_ping_asks_the_name_server_and_every_master(world: AdminWorld) -> None:
    async with AdminClient(NAME_SERVER) as admin:
        result = await admin.ping()
        assert result.ok and [*result.brokers] == ["broker-a", "broker-b"]
        assert all(0 <= seconds < 1 for seconds in result.brokers.values())
        told = [data for peer in world.brokers.values() for data in heartbeats(peer)]
        assert told and not any(data.producer_data_set or data.consumer_data_set for data in told), "it registers nobody"
        world.brokers["broker-b"].silent = True
        began = asyncio.get_running_loop().time()
        result = await admin.ping(timeout=0.5)
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.5, abs=0.1)
        assert not result.ok and [*result.brokers] == ["broker-a"] and isinstance(result.errors["broker-b"], RequestTimeoutError)
        world.brokers["broker-a"].silent = True
        with pytest.raises(RequestTimeoutError):
            await admin.ping(timeout=0.5)
        world.name_server.silent = True
        with pytest.raises(NoNameServerError):
            await admin.ping(timeout=0.5)
        with pytest.raises(ConfigError, match="timeout"):
            await admin.ping(timeout=0)
    with pytest.raises(ClientClosedError):
        await admin.ping()


@virtual_time
async def test_a_ping_reaches_known_brokers_without_a_name_server(world: AdminWorld) -> None:
    world.lead(TOPIC, "broker-a")
    producer = Producer(NAME_SERVER, group="p", topics=[TOPIC])
    with pytest.raises(ClientStateError, match="not started"):
        await producer.ping()
    async with producer:
        world.name_server.silent = True
        result = await producer.ping(timeout=0.5)
        assert not result.ok and [*result.brokers] == ["broker-a"]
        assert isinstance(result.errors["name server"], NoNameServerError)


@virtual_time
async def test_statistics_of_all_brokers_are_joined(world: AdminWorld) -> None:
    world.lead(TOPIC, "broker-a", "broker-b")
    for number, (name, peer) in enumerate(world.brokers.items()):
        table = TopicStatsTable({MessageQueue(TOPIC, name, 0): TopicOffset(number, 10, number * 1000)})
        peer.answer(RequestCode.GET_TOPIC_STATS_INFO, body=table.encode())
    async with AdminClient(NAME_SERVER) as admin:
        stats = await admin.topics.stats(TOPIC)
    assert stats.queues == {
        MessageQueue(TOPIC, "broker-a", 0): QueueStats(0, 10, None),
        MessageQueue(TOPIC, "broker-b", 0): QueueStats(1, 10, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
    }
    assert stats.messages == 19


@virtual_time
async def test_a_slave_stands_in_for_a_master_that_is_down(world: AdminWorld) -> None:
    slave = world.make_broker("broker-a-slave:10911")
    world.table["broker-a"] = BrokerData("one", "broker-a", {2: "nowhere:1", 1: "broker-a-slave:10911"})
    world.lead(TOPIC, "broker-a")
    slave.answer(RequestCode.GET_TOPIC_STATS_INFO, body=TopicStatsTable().encode())
    async with AdminClient(NAME_SERVER) as admin:
        assert (await admin.topics.stats(TOPIC)).messages == 0


@virtual_time
async def test_progress_and_members_are_joined_over_brokers(world: AdminWorld) -> None:
    offline, online = world.brokers.values()
    for name, peer in world.brokers.items():
        stats = ConsumeStats({MessageQueue(TOPIC, name, 0): OffsetWrapper(10, 7, 9, 5000)}, 1.5)
        peer.answer(RequestCode.GET_CONSUME_STATS, body=stats.encode())
    offline.answer(RequestCode.GET_CONSUMER_CONNECTION_LIST, ResponseCode.CONSUMER_NOT_ONLINE, "nobody")
    members = ConsumerConnection([Connection("c1", "192.0.2.7:5", "PYTHON", 479)], {}, "CONSUME_NEWLY", "CLUSTERING", None)
    online.answer(RequestCode.GET_CONSUMER_CONNECTION_LIST, body=members.encode())
    async with AdminClient(NAME_SERVER) as admin:
        progress = await admin.groups.lag("workers")
        connections = await admin.groups.clients("workers")
    state = QueueProgress(10, 7, 9, datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC))
    assert progress == ConsumeProgress("workers", {MessageQueue(TOPIC, name, 0): state for name in world.brokers}, 3.0)
    assert (progress.lag, state.lag, state.in_flight, progress.topics) == (6, 3, 2, (TOPIC,))
    assert [(client.client_id, client.language, client.version) for client in connections.clients] == [("c1", "PYTHON", "V5_3_3")]
    assert connections.consume_type is None, "a kind that is not known here"


@virtual_time
async def test_a_group_without_offsets_is_an_error(world: AdminWorld) -> None:
    for peer in world.brokers.values():
        peer.answer(RequestCode.GET_CONSUME_STATS, body=ConsumeStats().encode())
    async with AdminClient(NAME_SERVER) as admin:
        with pytest.raises(GroupNotExistError, match="no broker has an offset of group 'nobody'"):
            await admin.groups.lag("nobody")


@virtual_time
async def test_a_changed_topic_is_awaited_until_the_route_has_the_change(world: AdminWorld) -> None:
    config = TopicConfig(TOPIC, 4, 4, topic_filter_type="MULTI_TAG", topic_sys_flag=3, attributes={"a": "b", "c": "d"})
    for peer in world.brokers.values():
        peer.answer(RequestCode.UPDATE_AND_CREATE_TOPIC)
        peer.answer(RequestCode.GET_TOPIC_CONFIG, body=config.encode())
    world.lead(TOPIC, "broker-a", "broker-b", queues=4)
    asyncio.get_running_loop().call_later(0.5, lambda: world.lead(TOPIC, "broker-a", "broker-b", queues=8))
    async with AdminClient(NAME_SERVER) as admin:
        updated = await admin.topics.update(TOPIC, queues=8, attributes={"a": None, "e": "f"})
        assert updated.require()["broker-b"] == TopicSettings(
            TOPIC, 8, 8, Permission.READ | Permission.WRITE, order=False, attributes={"c": "d", "e": "f"}
        )
        (put,) = world.brokers["broker-a"].of(RequestCode.UPDATE_AND_CREATE_TOPIC)
        fields = put.command.ext_fields
        assert (fields["attributes"], fields["topicFilterType"], fields["topicSysFlag"]) == ("-a,+e=f", "MULTI_TAG", "3")
        assert 0.49 <= asyncio.get_running_loop().time() < 0.8, "the old route leads to both brokers, but not to the new queues"
        assert len(await admin.topics.queues(TOPIC)) == 16


@virtual_time
async def test_a_read_that_waits_for_messages_gets_an_answer_that_comes_late(world: AdminWorld) -> None:
    world.lead(TOPIC, "broker-a")

    async def hold(request: RemotingCommand) -> RemotingCommand:
        assert request.ext_fields["suspendTimeoutMillis"] == "10000"
        await asyncio.sleep(11)  # brokers may answer some seconds late
        header = {"suggestWhichBrokerId": "0", "nextBeginOffset": "1", "minOffset": "0", "maxOffset": "1"}
        return RemotingCommand.response(request, header=header, body=record(TOPIC, 0, b"late"))

    world.brokers["broker-a"].on(RequestCode.PULL_MESSAGE, lambda request, _: hold(request))
    async with AdminClient(NAME_SERVER, mq_client_api_timeout=3.0) as admin:
        read = await admin.messages.read(MessageQueue(TOPIC, "broker-a", 0), 0, wait=10.0)
        assert [message.body for message in read.messages] == [b"late"]


@virtual_time
async def test_a_read_with_a_filter_gives_what_matches_though_brokers_compare_hashes_only(world: AdminWorld) -> None:
    world.lead(TOPIC, "broker-a")
    bodies = {"Aa": b"wanted", "BB": b"same hash in Java", "": b"no tag"}
    records = [record(TOPIC, at, body, f"TAGS\x01{tag}\x02".encode() if tag else b"") for at, (tag, body) in enumerate(bodies.items())]
    limits = {"suggestWhichBrokerId": "0", "nextBeginOffset": "3", "minOffset": "0", "maxOffset": "3"}
    world.brokers["broker-a"].answer(RequestCode.PULL_MESSAGE, header=limits, body=b"".join(records))
    queue = MessageQueue(TOPIC, "broker-a", 0)
    async with AdminClient(NAME_SERVER) as admin:
        assert [message.body for message in (await admin.messages.read(queue, 0, expression="Aa")).messages] == [b"wanted"]
        assert [message.body for message in (await admin.messages.read(queue, 0)).messages] == list(bodies.values())


@virtual_time
async def test_queues_that_cannot_be_read_are_not_listed(world: AdminWorld) -> None:
    datas = (QueueData("broker-b", 2, 2, int(Permission.WRITE)), QueueData("broker-a", 1, 3, int(Permission.READ)))
    world.routes[TOPIC] = TopicRouteData(datas, tuple(world.table.values()))
    async with AdminClient(NAME_SERVER) as admin:
        assert await admin.topics.queues(TOPIC) == (MessageQueue(TOPIC, "broker-a", 0),)


@virtual_time
async def test_a_broker_that_moved_is_looked_up_again_after_a_failure(world: AdminWorld) -> None:
    world.lead(TOPIC, "broker-a")
    queue = MessageQueue(TOPIC, "broker-a", 0)
    world.brokers["broker-a"].answer(RequestCode.GET_MAX_OFFSET, header={"offset": "5"})
    async with AdminClient(NAME_SERVER) as admin:
        assert await admin.offsets.max(queue) == 5
        world.brokers["broker-a"].refuse = True
        world.brokers["broker-a"].drop()
        moved = world.make_broker("moved:10911")
        moved.answer(RequestCode.GET_MAX_OFFSET, header={"offset": "6"})
        world.table["broker-a"] = BrokerData("one", "broker-a", {0: "moved:10911"})
        world.lead(TOPIC, "broker-a")
        with pytest.raises(RemotingError):
            await admin.offsets.max(queue)
        assert await admin.offsets.max(queue) == 6
        with pytest.raises(BrokerNotFoundError, match="broker-z"):
            await admin.offsets.max(MessageQueue(TOPIC, "broker-z", 0))
        with pytest.raises(ConfigError, match="time zone"):
            await admin.offsets.search(queue, datetime(2026, 1, 1))


def test_times_of_the_wire() -> None:
    assert moment(0) is None
    assert moment(-1) is None
    assert moment(1500) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


@virtual_time
async def test_two_starts_at_once_are_one(world: AdminWorld) -> None:
    admin = AdminClient(NAME_SERVER)
    await asyncio.gather(admin.start(), admin.start())
    assert admin.state is ServiceState.RUNNING
    await admin.stop()
    assert not instances()


@pytest.mark.parametrize("steps", range(6))
@virtual_time
async def test_a_stop_during_the_start_stops_it(world: AdminWorld, steps: int) -> None:
    admin = AdminClient(NAME_SERVER)
    starting = asyncio.create_task(admin.start())
    for _ in range(steps):
        await asyncio.sleep(0)
    await admin.stop()
    await asyncio.gather(starting, return_exceptions=True)
    assert admin.state is ServiceState.SHUTDOWN_ALREADY
    assert not instances()


@virtual_time
async def test_a_start_that_is_cut_off_may_be_tried_again(world: AdminWorld) -> None:
    admin = AdminClient(NAME_SERVER)
    starting = asyncio.create_task(admin.start())
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert not instances()
    async with admin:
        assert admin.state is ServiceState.RUNNING
    assert not instances()


@virtual_time
async def test_what_is_no_argument_is_refused_by_name(world: AdminWorld) -> None:
    queue: Any = MessageQueue(TOPIC, "broker-a", 0)
    attributes: list[Any] = ["a=b", 5, ["a"], {"a": 1}, {1: "a"}, {"a": "b,c"}, {"": "a"}]
    async with AdminClient(NAME_SERVER) as made:
        admin: Any = made
        calls: list[tuple[str, Any]] = [
            *(("^queue .* is no MessageQueue", call(odd)) for odd in ODD for call in (admin.offsets.max, admin.offsets.min)),
            *(("queue .* is no MessageQueue", admin.messages.read(odd, 0)) for odd in ODD),
            *(("queue .* is no MessageQueue", admin.offsets.search(odd, 0)) for odd in ODD),
            *(("^at ", admin.offsets.search(queue, odd)) for odd in (*ODD, True, float("nan"), float("inf"), 10**20)),
            *(("^offset ", admin.messages.read(queue, odd)) for odd in (*ODD, 1.5, -1, 2**63)),
            *(("^count ", admin.messages.read(queue, 0, count=odd)) for odd in (*ODD, 0, 33, 1.5)),
            *(("^wait ", admin.messages.read(queue, 0, wait=odd)) for odd in (*ODD, -1, 61, float("nan"))),
            *(("^permission ", admin.topics.create(TOPIC, permission=odd)) for odd in (*ODD, 6, float("nan"))),
            *(("^broker ", admin.topics.create(TOPIC, broker=odd)) for odd in ("", 5, b"b", ["b"])),
            *(("^cluster ", admin.topics.create(TOPIC, cluster=odd)) for odd in ("", 5, b"b", ["b"])),
            *(("^order ", admin.topics.create(TOPIC, order=odd)) for odd in (*ODD, 1)),
            *(("^wait ", admin.topics.create(TOPIC, wait=odd)) for odd in (*ODD, -1, float("nan"))),
            *(("^queues ", admin.topics.create(TOPIC, queues=odd)) for odd in (*ODD, True, 0, 65536, 1.5)),
            *(("^attributes ", admin.topics.create(TOPIC, attributes=odd)) for odd in attributes),
            *(("^topic ", admin.groups.lag("workers", topic=odd)) for odd in ("", "a b", 5, b"t")),
        ]  # fmt: skip
        for text, call in calls:
            with pytest.raises(UsageError, match=text):
                await call
    assert not any(peer.of(RequestCode.UPDATE_AND_CREATE_TOPIC) for peer in world.brokers.values())


@pytest.mark.feature("G12")
@virtual_time
async def test_a_logical_queue_is_asked_for_where_it_is(world: AdminWorld) -> None:
    logical = [MessageQueue(TOPIC, "__syslo__global__", number) for number in range(2)]
    for number, name in enumerate(world.brokers):
        answer = partial(RemotingCommand.response, header={"offset": str(number + 7)})
        for code in (RequestCode.GET_MAX_OFFSET, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP):
            world.brokers[name].on(code, lambda request, _, answer=answer: answer(request))

    def place(*names: str) -> None:
        world.lead(TOPIC, "broker-a", "broker-b")
        mappings = tuple(QueueMapping(name, "__global__", 2, 1, {number: 0}) for number, name in enumerate(names))
        world.routes[TOPIC] = replace(world.routes[TOPIC], mappings=mappings)

    async with AdminClient(NAME_SERVER) as admin:
        place("broker-a", "broker-b")
        assert await admin.topics.queues(TOPIC) == tuple(logical)
        assert [await admin.offsets.max(queue) for queue in logical] == [7, 8]
        place("broker-b", "broker-a")
        assert [await admin.offsets.max(queue) for queue in logical] == [8, 7]
        assert await admin.offsets.search(logical[0], 1.0) == 8, "it is not looked for in the gaps that moves leave"
        assert world.brokers["broker-b"].of(RequestCode.PULL_MESSAGE) == []
        place("broker-gone", "broker-a")
        with pytest.raises(BrokerNotFoundError, match="broker-gone"):
            await admin.offsets.max(logical[0])


@virtual_time
async def test_who_has_deleted_a_topic_is_told_when_another_broker_has_not(world: AdminWorld) -> None:
    for peer in world.brokers.values():
        peer.answer(RequestCode.GET_TOPIC_CONFIG, body=TopicConfig(TOPIC, 4, 4).encode())
    world.brokers["broker-a"].answer(RequestCode.DELETE_TOPIC_IN_BROKER)
    world.brokers["broker-b"].answer(RequestCode.DELETE_TOPIC_IN_BROKER, ResponseCode.NO_PERMISSION, "not you")
    async with AdminClient(NAME_SERVER) as admin:
        with pytest.raises(PartialError, match="1 of 2 servers failed: broker-b: ") as caught:
            await admin.topics.delete(TOPIC)
    assert caught.value.result == ("broker-a",)
