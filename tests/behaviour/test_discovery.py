"""Where name servers come from, and what every request carries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

import aiorocketmq as rmq
from aiorocketmq.config.values import NameServerResolver
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.server import LocalCluster
from tests.support.clusters import Cluster
from tests.support.push import Inbox, new_topic, numbered, send

FIRST = rmq.StartFrom.FIRST


class Tap:
    """Stands between clients and the servers of a cluster, and remembers the requests."""

    def __init__(self) -> None:
        self.requests: list[RemotingCommand] = []
        self.addresses: dict[str, str] = {}

    async def put_before(self, address: str, stack: AsyncExitStack) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            host, _, port = address.rpartition(":")
            back, forth = await asyncio.open_connection(host, int(port))
            frames = FrameReceiver()

            async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, seen: FrameReceiver | None) -> None:
                try:
                    while data := await source.read(65536):
                        if seen is not None:
                            self.requests += [frame for frame in seen.feed(data) if not frame.is_response]
                        target.write(data)
                        await target.drain()
                except ConnectionError:
                    pass
                finally:
                    target.close()

            await asyncio.gather(copy(reader, forth, frames), copy(back, writer, None))

        server = await stack.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0))
        self.addresses[address] = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def codes(self) -> set[int]:
        return {request.code for request in self.requests}


@asynccontextmanager
async def tapped(cluster: Cluster) -> AsyncIterator[Tap]:
    async with AsyncExitStack() as stack:
        tap = Tap()
        for address in (cluster.name_servers, cluster.broker_address):
            await tap.put_before(address, stack)
        yield tap


@pytest.mark.feature("L12", "L10")
@pytest.mark.parametrize("serialize_type", list(rmq.SerializeType))
async def test_every_request_names_namespace_v2_and_every_route_query_the_zone(cluster: Cluster, serialize_type: rmq.SerializeType) -> None:
    topic = await new_topic(cluster, "v2")
    inbox = Inbox()
    async with tapped(cluster) as tap:
        config = rmq.ClientConfig(
            name_servers=cluster.name_servers, address_map=tap.addresses, namespace_v2="tenant", zone="east", serialize_type=serialize_type
        )
        consumer = rmq.PushConsumer(config=config, group=cluster.unique("g"), start_from=FIRST)
        consumer.listen(topic)(inbox.take)
        async with rmq.Producer(config=config, send_msg_timeout=20.0) as producer, consumer:
            await send(producer, topic, numbered(5))
            await producer.send_oneway(rmq.Message(topic, b"oneway"))
            await producer.send_batch([rmq.Message(topic, b"a"), rmq.Message(topic, b"b")])
            await inbox.has(8)
        assert {message.topic for message in inbox.messages} == {topic}
    assert {
        RequestCode.SEND_MESSAGE_V2, RequestCode.SEND_BATCH_MESSAGE, RequestCode.PULL_MESSAGE, RequestCode.HEART_BEAT,
        RequestCode.GET_ROUTEINFO_BY_TOPIC, RequestCode.UNREGISTER_CLIENT,
    } <= tap.codes()  # fmt: skip
    for request in tap.requests:
        assert (request.ext_fields.get("ns"), request.ext_fields.get("nsd")) == ("tenant", "true"), request
        is_route = request.code == RequestCode.GET_ROUTEINFO_BY_TOPIC
        assert request.ext_fields.get("__ZONE_NAME") == ("east" if is_route else None)
        assert "__ZONE_MODE" not in request.ext_fields


@pytest.mark.feature("L10")
async def test_in_zone_mode_brokers_of_other_zones_are_left_out(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "zone")
    async with rmq.AdminClient(cluster.name_servers, zone="nowhere", zone_mode=True) as admin:
        route = await admin.topics.route(topic)
    if cluster.kind == "4.9.7":  # name servers before 5.0 know no zones
        assert route.queue_datas
        return
    assert (route.queue_datas, route.broker_datas) == ((), ())
    async with rmq.Producer(cluster.name_servers, zone="nowhere", zone_mode=True) as producer:
        with pytest.raises(rmq.RouteError, match="no queue that can be written"):
            await producer.send(rmq.Message(topic, b"x"), timeout=3.0)
    async with cluster.producer(zone="nowhere") as producer:
        assert (await producer.send(rmq.Message(topic, b"x"))).ok


@pytest.mark.feature("L4")
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_resolver_gives_the_name_servers_at_the_start_and_takes_clients_elsewhere(cluster: Cluster, kind: str) -> None:
    topic, there = await new_topic(cluster, "found"), cluster.name_servers
    async with LocalCluster() as other:
        servers = other.name_servers

        def plain() -> str:
            return servers

        async def asynchronous() -> list[str]:
            return servers.split(";")

        resolver = asynchronous if kind == "async" else plain
        async with cluster_admin(resolver) as admin:
            with pytest.raises(rmq.TopicNotFoundError):
                await admin.topics.route(topic)
            servers = there

            async def moved() -> bool:
                try:
                    return bool((await admin.topics.route(topic)).queue_datas)
                except rmq.RocketMQError:
                    return False

            async with asyncio.timeout(30):
                while not await moved():  # noqa: ASYNC110 - only the name server knows
                    await asyncio.sleep(0.05)
            servers = ""  # a source that fails leaves everything as it is
            await asyncio.sleep(0.3)
            assert await moved()


def cluster_admin(resolver: NameServerResolver) -> rmq.AdminClient:
    return rmq.AdminClient(name_server_resolver=resolver, fetch_name_server_interval=0.1, mq_client_api_timeout=20.0)
