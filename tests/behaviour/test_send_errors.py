"""What users do wrong, and what goes wrong around them: one clear error, in time, and nothing lost."""

from __future__ import annotations

import asyncio
import socket

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.names import NOT_ALLOWED_SEND_TOPICS
from tests.behaviour.stored import stored
from tests.support import raw_remoting
from tests.support.clusters import Cluster
from tests.support.processes import free_port
from tests.support.starvation import within
from tests.support.waiting import eventually

MARGIN = 0.25


@pytest.mark.feature("B13")
async def test_an_unknown_topic_is_created_where_brokers_do_that(cluster: Cluster) -> None:
    topic = cluster.unique("auto")
    async with cluster.producer(default_topic_queue_nums=3) as producer:
        results = [await producer.send(rmq.Message(topic, b"%d" % number)) for number in range(6)]
    assert {result.queue.queue_id for result in results} == {0, 1, 2}
    found = await stored(cluster, topic, 6)
    assert sorted(message.body for message in found) == [b"%d" % number for number in range(6)]


@pytest.mark.feature("B13", "P6")
@pytest.mark.parametrize("kind", ["send", "nowait", "oneway", "batch"])
async def test_an_unknown_topic_is_told_where_they_do_not(cluster: Cluster, kind: str) -> None:
    topic = cluster.unique("unknown")
    async with cluster.producer(create_topic_key="NO_SUCH_TEMPLATE") as producer:
        message = rmq.Message(topic, b"x")
        with pytest.raises(rmq.TopicNotFoundError) as caught:
            if kind == "send":
                await producer.send(message)
            elif kind == "nowait":
                await producer.send_nowait(message)
            elif kind == "oneway":
                await producer.send_oneway(message)
            else:
                await producer.send_batch([message])
    assert topic in str(caught.value) and "create the topic" in caught.value.hint and not caught.value.maybe_stored


@pytest.mark.feature("P1", "P3")
@pytest.mark.parametrize("topic", sorted(NOT_ALLOWED_SEND_TOPICS))
async def test_topics_of_the_broker_are_refused(cluster: Cluster, topic: str) -> None:
    async with cluster.producer() as producer:
        with pytest.raises(rmq.InvalidNameError, match="not allowed"):
            await producer.send(rmq.Message(topic, b"x"))


@pytest.mark.feature("A2", "B12")
async def test_illegal_messages_never_leave(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("illegal"), 1)
    async with cluster.producer() as producer:
        with pytest.raises(rmq.InvalidMessageError, match="reserved"):
            rmq.Message(topic, b"x", properties={"UNIQ_KEY": "mine"})
        for body in (b"", b"x" * (4 * 1024 * 1024 + 1)):
            with pytest.raises(rmq.InvalidMessageError, match="body"):
                await producer.send(rmq.Message(topic, body))
        assert (await producer.send(rmq.Message(topic, b"good"))).ok
    (found,) = await stored(cluster, topic, 1)
    assert found.body == b"good"


@pytest.mark.feature("P9", "B10")
async def test_a_refusal_of_the_broker_is_told_with_code_and_broker(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("refused"), 2)
    async with cluster.producer() as producer:
        with pytest.raises(rmq.SendError) as caught:
            await producer.send(rmq.Message(topic, b"x"), queue=rmq.MessageQueue(topic, cluster.broker_name, 99))
    error = caught.value
    assert error.broker == cluster.broker_name and error.topic == topic and len(error.attempts) == 1
    assert error.code in (1, 29) and isinstance(error.cause, rmq.BrokerError)
    assert not (error.code == 29 and error.maybe_stored)


@pytest.mark.feature("B14", "P6")
async def test_a_topic_without_write_permission_is_told_in_time(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("readonly"), 2, perm=4)
    async with cluster.producer() as producer:
        with within(1.0 + MARGIN), pytest.raises(rmq.RouteError, match="permission"):
            await producer.send(rmq.Message(topic, b"x"), timeout=1.0)


@pytest.mark.feature("P6", "L6")
async def test_a_name_server_that_is_down(cluster: Cluster) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    async with rmq.Producer(nobody, group=cluster.unique("g")) as producer:
        with within(1.0 + MARGIN), pytest.raises(rmq.NoNameServerError) as caught:
            await producer.send(rmq.Message("any", b"x"), timeout=1.0)
        assert nobody in str(caught.value) and not caught.value.maybe_stored
    # The second of two is enough.
    topic = await cluster.create_topic(cluster.unique("second"), 1)
    async with rmq.Producer([nobody, cluster.name_servers], group=cluster.unique("g")) as producer:
        assert (await producer.send(rmq.Message(topic, b"x"))).ok


@pytest.mark.feature("P6")
async def test_no_name_server_at_all(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAMESRV_ADDR", raising=False)
    nobody = f"127.0.0.1:{free_port()}"
    producer = rmq.Producer(group=cluster.unique("g"), address_service_domain=nobody)
    for _ in range(2):  # a start that failed can be tried again
        with pytest.raises(rmq.NoNameServerError):
            await producer.start()


async def _serve(answer: bytes) -> tuple[asyncio.Server, str]:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    return server, "{}:{}".format(*server.sockets[0].getsockname()[:2])


@pytest.mark.feature("P6")
@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\x10\x00\x00\x00\x06\x00\x00\x20\x00", "HTTP/2"),
    ],
)
async def test_a_name_server_port_that_speaks_something_else(answer: bytes, word: str) -> None:
    server, address = await _serve(answer)
    async with server, rmq.Producer(address, group="wrong_port") as producer:
        with within(1.0 + MARGIN), pytest.raises(rmq.RocketMQError) as caught:
            await producer.send(rmq.Message("any", b"x"), timeout=1.0)
    assert word in str(caught.value) and address in str(caught.value)


@pytest.mark.feature("P6")
async def test_a_broker_given_as_name_server(cluster: Cluster) -> None:
    async with rmq.Producer(cluster.broker_address, group=cluster.unique("g")) as producer:
        with within(1.0 + MARGIN), pytest.raises(rmq.RocketMQError):
            await producer.send(rmq.Message(cluster.unique("any"), b"x"), timeout=1.0)


@pytest.mark.feature("P6")
async def test_a_port_that_accepts_and_stays_silent() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = "{}:{}".format(*listener.getsockname())
        async with rmq.Producer(address, group="silent_port") as producer:
            with within(1.0 + MARGIN), pytest.raises(rmq.RocketMQError) as caught:
                await producer.send(rmq.Message("any", b"x"), timeout=1.0)
            assert not caught.value.maybe_stored


@pytest.mark.feature("B8", "B7")
async def test_a_broker_that_comes_back_within_the_timeout_costs_no_send(cluster: Cluster) -> None:
    topic = await cluster.create_topic(cluster.unique("outage"), 2)
    async with cluster.producer() as producer:
        await producer.send(rmq.Message(topic, b"before"))
        dispatcher = producer._dispatcher
        assert dispatcher is not None
        await cluster.kill_broker()
        # What is written before the end of the connection is seen may be stored for all that the client knows.
        await eventually(lambda: dispatcher._channel(cluster.broker_address) is None)
        sends = [producer.send_nowait(rmq.Message(topic, b"%d" % number), timeout=60.0) for number in range(20)]
        with pytest.raises(rmq.SendUnreachableError) as caught:
            await producer.send(rmq.Message(topic, b"impatient"), timeout=0.5)
        assert not caught.value.maybe_stored and cluster.broker_address in str(caught.value)
        await cluster.start_broker()
        results = await asyncio.gather(*sends)
        probe = await asyncio.to_thread(raw_remoting.send, cluster.broker_address, topic, 0, b"probe")
        with within(2.0 + probe):
            assert (await producer.send(rmq.Message(topic, b"after"))).ok
    assert all(result.ok for result in results)
    found = {message.body for message in await stored(cluster, topic, 23)}
    assert found == {b"before", b"after", b"probe", *(b"%d" % number for number in range(20))}


@pytest.mark.feature("B24")
async def test_a_second_producer_of_a_group_is_refused(cluster: Cluster) -> None:
    group = cluster.unique("g")
    async with rmq.Producer(cluster.name_servers, group=group) as producer:
        await producer.start()
        second = rmq.Producer(cluster.name_servers, group=group)
        with pytest.raises(rmq.GroupAlreadyRegisteredError, match=group):
            await second.start()
        topic = await cluster.create_topic(cluster.unique("still"), 1)
        assert (await producer.send(rmq.Message(topic, b"x"))).ok
