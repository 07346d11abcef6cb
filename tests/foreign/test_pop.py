"""The Java client pops messages of the embedded server, and our POP consumer shares groups with it."""

from __future__ import annotations

from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.receipt import Receipt
from tests.foreign.conftest import MqAdmin
from tests.foreign.exchange import collect_from_java
from tests.foreign.test_java_on_embedded import encoded, text_of
from tests.support.clusters import Cluster, EmbeddedTestCluster
from tests.support.line_program import LineProgram

INVISIBLE = 600_000


class Popper:
    """A Java client that pops one topic for one group."""

    def __init__(self, peer: LineProgram, cluster: Cluster, topic: str, group: str) -> None:
        self._peer = peer
        where = {"id": "p", "address": cluster.broker_address, "broker": cluster.broker_name, "group": group, "topic": topic}
        self._where: dict[str, Any] = where
        self.group = group

    async def pop(self, **how: Any) -> dict[str, Any]:
        return await self._peer.call("pop", **{"invisible": INVISIBLE, **self._where, **how})

    async def acknowledge(self, *messages: dict[str, Any]) -> str:
        receipts = [message["properties"]["POP_CK"] for message in messages]
        answer = await self._peer.call("acknowledge", receipts=receipts, **self._where)
        return str(answer["status"])

    async def change(self, message: dict[str, Any], invisible: int) -> str:
        receipt = message["properties"]["POP_CK"]
        answer = await self._peer.call("change_invisible", receipt=receipt, invisible=invisible, **self._where)
        assert answer["status"] == "OK"
        return str(answer["receipt"])


@pytest.fixture
async def patient_cluster() -> Any:
    """An embedded server whose clock can be moved without anybody else noticing."""
    cluster = EmbeddedTestCluster(pop_retry_first=0)
    yield cluster
    cluster.stop()


async def start(peer: LineProgram, cluster: Cluster, topic: str, bodies: list[str], queues: int = 2) -> Popper:
    await cluster.create_topic(topic, queues=queues)
    await peer.call("producer", id="p", group=cluster.unique("jp"), name_servers=cluster.name_servers)
    for number, body in enumerate(bodies):
        await peer.call("send", id="p", topic=topic, body=encoded(body), queue_id=number % queues, tag=body[0])
    return Popper(peer, cluster, topic, cluster.unique("jg"))


def texts(answer: dict[str, Any]) -> list[str]:
    return sorted(text_of(message) for message in answer["messages"])


@pytest.mark.feature("H1", "H2", "H3", "H4", "H8")
async def test_the_java_client_pops_acknowledges_and_gets_the_rest_again(patient_cluster: EmbeddedTestCluster, peer: LineProgram) -> None:
    cluster = patient_cluster
    popper = await start(peer, cluster, cluster.unique("pop"), ["a0", "a1", "b2", "b3", "a4"])
    answer = await popper.pop()
    assert answer["status"] == "FOUND" and texts(answer) == ["a0", "a1", "a4", "b2", "b3"]
    messages = {text_of(message): message for message in answer["messages"]}
    assert await popper.acknowledge(messages["a0"]) == "OK"
    assert await popper.acknowledge(messages["a1"], messages["b2"]) == "OK"
    renewed = Receipt.decode(await popper.change(messages["b3"], 2 * INVISIBLE))
    assert (renewed.start_offset, renewed.invisible_time, renewed.kind) == (renewed.offset, 2 * INVISIBLE, "0")
    assert (await popper.pop())["status"] != "FOUND"
    await cluster.advance(INVISIBLE / 1000)
    again = await popper.pop()
    assert texts(again) == ["a4"] and again["messages"][0]["reconsume_times"] == 1
    assert Receipt.decode(again["messages"][0]["properties"]["POP_CK"]).kind == "1"
    await cluster.advance(INVISIBLE / 1000)
    both = await popper.pop()
    assert texts(both) == ["a4", "b3"]
    assert await popper.acknowledge(*both["messages"]) == "OK"
    await cluster.advance(INVISIBLE / 1000)
    assert (await popper.pop())["status"] != "FOUND"


@pytest.mark.feature("H1")
async def test_the_java_client_waits_and_filters(patient_cluster: EmbeddedTestCluster, peer: LineProgram) -> None:
    cluster = patient_cluster
    popper = await start(peer, cluster, cluster.unique("wait"), ["a0", "b1"])
    assert texts(await popper.pop(expression="b")) == ["b1"]
    nothing = await popper.pop(expression="c", poll=300)
    assert (nothing["status"], nothing["messages"]) == ("POLLING_NOT_FOUND", [])


@pytest.mark.feature("H9")
async def test_the_java_client_pops_in_order(patient_cluster: EmbeddedTestCluster, peer: LineProgram) -> None:
    cluster = patient_cluster
    popper = await start(peer, cluster, cluster.unique("order"), ["a0", "a1", "a2"], queues=1)
    first = await popper.pop(ordered=True, count=2)
    assert texts(first) == ["a0", "a1"]
    assert (await popper.pop(ordered=True))["status"] != "FOUND"
    for message in first["messages"]:
        assert await popper.acknowledge(message) == "OK"
    second = await popper.pop(ordered=True)
    assert texts(second) == ["a2"] and second["messages"][0]["reconsume_times"] == 0
    await cluster.advance(INVISIBLE / 1000)
    third = await popper.pop(ordered=True)
    assert texts(third) == ["a2"] and third["messages"][0]["reconsume_times"] == 1


@pytest.mark.feature("H1", "Q32")
async def test_operators_see_how_far_a_group_is_that_pops(
    patient_cluster: EmbeddedTestCluster, peer: LineProgram, mqadmin: MqAdmin
) -> None:
    cluster = patient_cluster
    topic = cluster.unique("progress")
    popper = await start(peer, cluster, topic, [f"a{number}" for number in range(6)])
    async with rmq.PopConsumer(cluster.name_servers, group=popper.group, topics=[topic], start_from=rmq.StartFrom.FIRST):
        await popper.pop(count=2, queue_id=0)
        shown = await mqadmin("consumerProgress", "-n", cluster.name_servers, "-g", popper.group)
    rows = {line.split()[2]: line.split()[3:5] for line in shown.splitlines() if line.startswith(topic)}
    assert rows["0"] == ["3", "2"], shown


async def switch_to_pop(mqadmin: MqAdmin, cluster: Cluster, topic: str, group: str) -> None:
    await mqadmin("setConsumeMode", "-n", cluster.name_servers, "-b", cluster.broker_address, "-t", topic, "-g", group, "-m", "POP")


@pytest.mark.feature("H1", "H2", "H6", "H8")
async def test_the_java_push_consumer_pops_when_it_is_told_to(
    patient_cluster: EmbeddedTestCluster, peer: LineProgram, mqadmin: MqAdmin
) -> None:
    cluster = patient_cluster
    topic = cluster.unique("push")
    bodies = [f"a{number}" for number in range(40)]
    popper = await start(peer, cluster, topic, bodies[:20])
    await switch_to_pop(mqadmin, cluster, topic, popper.group)
    # The first call of its listener fails: the messages of that one come again.
    await peer.call(
        "consumer", id="c", name_servers=cluster.name_servers, topic=topic, expression="*", group=popper.group, client_rebalance=False,
        pop_invisible=60_000, failures=1,
    )  # fmt: skip
    for number, body in enumerate(bodies[20:]):
        await peer.call("send", id="p", topic=topic, body=encoded(body), queue_id=number % 2, tag="a")
    received = await collect_from_java(peer, "c", lambda taken: len(taken) >= 39, 60.0)
    await cluster.advance(70)
    received += await collect_from_java(peer, "c", lambda taken: len(taken) >= 40 - len(received), 60.0)
    assert sorted(map(text_of, received)) == sorted(bodies)
    assert all("POP_CK" in message["properties"] for message in received), "they were popped"
    kinds = {Receipt.decode(message["properties"]["POP_CK"]).kind for message in received if message["reconsume_times"]}
    assert kinds == {"1"}, "the one that failed came back through the retry topic"
    await cluster.advance(2 * INVISIBLE / 1000)
    assert (await popper.pop(poll=1_000))["status"] != "FOUND", "everything was acknowledged"
