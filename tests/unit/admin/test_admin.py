"""Administration against scripted peers: which broker is asked what, and what becomes of its answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from aiorocketmq.admin import AdminClient, ConsumeProgress, QueueProgress, QueueStats
from aiorocketmq.admin.results import moment
from aiorocketmq.client import manager
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import (
    BrokerNotFoundError,
    ConfigError,
    GroupNotExistError,
    NoPermissionError,
    RemotingError,
    RouteError,
    UsageError,
)
from aiorocketmq.model.enums import Permission, ServiceState
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.bodies import (
    ClusterInfo,
    Connection,
    ConsumerConnection,
    ConsumeStats,
    OffsetWrapper,
    TopicOffset,
    TopicStatsTable,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.client import RemotingClient
from tests.support.memory_transport import ScriptedPeer
from tests.support.virtual_loop import virtual_time
from tests.wire.world import NAME_SERVER, World

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
        assert await admin.create_topic(TOPIC, attributes={"message.type": "FIFO"}, order=True) == ("broker-a", "broker-b")
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
            await admin.create_topic(TOPIC, wait=2.0)
        assert await admin.create_topic(TOPIC, wait=0, permission=Permission.READ) == ("broker-a", "broker-b")


@virtual_time
async def test_several_clusters_ask_for_a_name(world: AdminWorld) -> None:
    world.add("broker-c", "two")
    world.brokers["broker-c"].answer(RequestCode.UPDATE_AND_CREATE_TOPIC)
    async with AdminClient(NAME_SERVER) as admin:
        with pytest.raises(ConfigError, match=r"2 clusters.*one, two"):
            await admin.create_topic(TOPIC, wait=0)
        assert await admin.create_topic(TOPIC, cluster="two", wait=0) == ("broker-c",)
        assert await admin.create_topic(TOPIC, broker="broker-c", wait=0) == ("broker-c",)
        assert await admin.create_topic(TOPIC, broker="broker-c.two:10911", wait=0) == ("broker-c.two:10911",)
        brokers = await admin.cluster_info()
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
            await admin.create_topic(TOPIC)


@virtual_time
async def test_the_first_refusal_is_raised_when_all_have_answered(world: AdminWorld) -> None:
    world.brokers["broker-a"].answer(RequestCode.UPDATE_AND_CREATE_TOPIC, ResponseCode.NO_PERMISSION, "not you")
    world.brokers["broker-b"].answer(RequestCode.UPDATE_AND_CREATE_TOPIC)
    async with AdminClient(NAME_SERVER) as admin:
        with pytest.raises(NoPermissionError, match="broker-a: not you"):
            await admin.create_topic(TOPIC)
    assert len(world.brokers["broker-b"].of(RequestCode.UPDATE_AND_CREATE_TOPIC)) == 1


@virtual_time
async def test_statistics_of_all_brokers_are_joined(world: AdminWorld) -> None:
    world.lead(TOPIC, "broker-a", "broker-b")
    for number, (name, peer) in enumerate(world.brokers.items()):
        table = TopicStatsTable({MessageQueue(TOPIC, name, 0): TopicOffset(number, 10, number * 1000)})
        peer.answer(RequestCode.GET_TOPIC_STATS_INFO, body=table.encode())
    async with AdminClient(NAME_SERVER) as admin:
        stats = await admin.topic_stats(TOPIC)
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
        assert (await admin.topic_stats(TOPIC)).messages == 0


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
        progress = await admin.consume_progress("workers")
        connections = await admin.group_connections("workers")
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
            await admin.consume_progress("nobody")


@virtual_time
async def test_a_broker_that_moved_is_looked_up_again_after_a_failure(world: AdminWorld) -> None:
    world.lead(TOPIC, "broker-a")
    queue = MessageQueue(TOPIC, "broker-a", 0)
    world.brokers["broker-a"].answer(RequestCode.GET_MAX_OFFSET, header={"offset": "5"})
    async with AdminClient(NAME_SERVER) as admin:
        assert await admin.max_offset(queue) == 5
        world.brokers["broker-a"].refuse = True
        world.brokers["broker-a"].drop()
        moved = world.make_broker("moved:10911")
        moved.answer(RequestCode.GET_MAX_OFFSET, header={"offset": "6"})
        world.table["broker-a"] = BrokerData("one", "broker-a", {0: "moved:10911"})
        world.lead(TOPIC, "broker-a")
        with pytest.raises(RemotingError):
            await admin.max_offset(queue)
        assert await admin.max_offset(queue) == 6
        with pytest.raises(BrokerNotFoundError, match="broker-z"):
            await admin.max_offset(MessageQueue(TOPIC, "broker-z", 0))
        with pytest.raises(ConfigError, match="time zone"):
            await admin.search_offset(queue, datetime(2026, 1, 1))


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
            *(("^queue .* is no MessageQueue", call(odd)) for odd in ODD for call in (admin.max_offset, admin.min_offset)),
            *(("queue .* is no MessageQueue", admin.read_queue(odd, 0)) for odd in ODD),
            *(("queue .* is no MessageQueue", admin.search_offset(odd, 0)) for odd in ODD),
            *(("^at ", admin.search_offset(queue, odd)) for odd in (*ODD, True, float("nan"), float("inf"), 10**20)),
            *(("^offset ", admin.read_queue(queue, odd)) for odd in (*ODD, 1.5, -1, 2**63)),
            *(("^count ", admin.read_queue(queue, 0, count=odd)) for odd in (*ODD, 0, 33, 1.5)),
            *(("^wait ", admin.read_queue(queue, 0, wait=odd)) for odd in (*ODD, -1, 61, float("nan"))),
            *(("^permission ", admin.create_topic(TOPIC, permission=odd)) for odd in (*ODD, 6, float("nan"))),
            *(("^broker ", admin.create_topic(TOPIC, broker=odd)) for odd in ("", 5, b"b", ["b"])),
            *(("^cluster ", admin.create_topic(TOPIC, cluster=odd)) for odd in ("", 5, b"b", ["b"])),
            *(("^order ", admin.create_topic(TOPIC, order=odd)) for odd in (*ODD, 1)),
            *(("^wait ", admin.create_topic(TOPIC, wait=odd)) for odd in (*ODD, -1, float("nan"))),
            *(("^queues ", admin.create_topic(TOPIC, queues=odd)) for odd in (*ODD, True, 0, 65536, 1.5)),
            *(("^attributes ", admin.create_topic(TOPIC, attributes=odd)) for odd in attributes),
            *(("^topic ", admin.consume_progress("workers", topic=odd)) for odd in ("", "a b", 5, b"t")),
        ]  # fmt: skip
        for text, call in calls:
            with pytest.raises(UsageError, match=text):
                await call
    assert not any(peer.of(RequestCode.UPDATE_AND_CREATE_TOPIC) for peer in world.brokers.values())
