"""The Java client works against the embedded server as against a real one."""

from __future__ import annotations

import base64
from typing import Any

from tests.foreign.exchange import collect_from_java
from tests.support.clusters import Cluster
from tests.support.line_program import LineProgram
from tests.support.waiting import eventually


def encoded(text: str) -> str:
    """A body for the Java producer."""
    return base64.b64encode(text.encode()).decode()


def text_of(told: dict[str, Any]) -> str:
    """The body that the Java consumer got."""
    return base64.b64decode(told["body"]).decode()


async def start(peer: LineProgram, cluster: Cluster, topic: str, **consumer: Any) -> None:
    """One Java producer "p" and one Java consumer "c"."""
    await peer.call("producer", id="p", group=cluster.unique("jp"), name_servers=cluster.name_servers)
    options = {"expression": "*", "group": cluster.unique("jc"), **consumer}
    await peer.call("consumer", id="c", name_servers=cluster.name_servers, topic=topic, **options)


async def test_produce_and_consume(embedded_cluster: Cluster, peer: LineProgram) -> None:
    topic = await embedded_cluster.create_topic(embedded_cluster.unique("plain"))
    await start(peer, embedded_cluster, topic)
    results = [await peer.call("send", id="p", topic=topic, body=encoded(f"m{number}"), queue_id=number % 4) for number in range(40)]
    assert {result["status"] for result in results} == {"SEND_OK"}
    received = await collect_from_java(peer, "c", lambda taken: len(taken) >= 40, 20.0)
    assert sorted(text_of(told) for told in received) == sorted(f"m{number}" for number in range(40))
    placed = {(result["message_id"], result["queue_id"], result["queue_offset"]) for result in results}
    assert {(told["message_id"], told["queue_id"], told["queue_offset"]) for told in received} == placed


async def test_topic_is_created_by_the_first_send(embedded_cluster: Cluster, peer: LineProgram) -> None:
    topic = embedded_cluster.unique("auto")
    await peer.call("producer", id="p", group=embedded_cluster.unique("jp"), name_servers=embedded_cluster.name_servers)
    assert (await peer.call("send", id="p", topic=topic, body=encoded("first")))["status"] == "SEND_OK"
    await peer.call(
        "consumer", id="c", group=embedded_cluster.unique("jc"), name_servers=embedded_cluster.name_servers, topic=topic, expression="*"
    )
    received = await collect_from_java(peer, "c", bool, 20.0)
    assert [text_of(told) for told in received] == ["first"]


async def test_tag_filter(embedded_cluster: Cluster, peer: LineProgram) -> None:
    topic = await embedded_cluster.create_topic(embedded_cluster.unique("tags"))
    await start(peer, embedded_cluster, topic, expression="TagA || TagC")
    for tag in ("TagA", "TagB", "TagC", "TagB", "TagA"):
        await peer.call("send", id="p", topic=topic, body=encoded(tag), tag=tag)
    received = await collect_from_java(peer, "c", lambda taken: len(taken) >= 3, 20.0)
    assert sorted(text_of(told) for told in received) == ["TagA", "TagA", "TagC"]


async def test_failed_message_comes_back(embedded_cluster: Cluster, peer: LineProgram) -> None:
    topic = await embedded_cluster.create_topic(embedded_cluster.unique("retry"), queues=1)
    # The Java client looks for the retry topic at its start, and only every 30 s afterwards; a new group's is made at its first heartbeat.
    group = embedded_cluster.unique("jc")
    await embedded_cluster.create_topic(f"%RETRY%{group}", queues=1)
    await start(peer, embedded_cluster, topic, group=group, failures=2)
    await peer.call("send", id="p", topic=topic, body=encoded("again"))
    (told,) = await collect_from_java(peer, "c", bool, 30.0)
    assert (text_of(told), told["reconsume_times"], told["topic"]) == ("again", 2, topic)


async def test_delayed_message(embedded_cluster: Cluster, peer: LineProgram) -> None:
    topic = await embedded_cluster.create_topic(embedded_cluster.unique("delay"), queues=1)
    await start(peer, embedded_cluster, topic)
    await peer.call("send", id="p", topic=topic, body=encoded("later"), delay_level=2)
    await peer.call("send", id="p", topic=topic, body=encoded("now"))
    received = await collect_from_java(peer, "c", lambda taken: len(taken) >= 2, 20.0)
    assert [text_of(told) for told in received] == ["now", "later"]


async def test_ordered_consumer_keeps_the_order_of_each_queue(embedded_cluster: Cluster, peer: LineProgram) -> None:
    topic = await embedded_cluster.create_topic(embedded_cluster.unique("ordered"), queues=3)
    await start(peer, embedded_cluster, topic, ordered=True, failures=1)
    for number in range(60):
        await peer.call("send", id="p", topic=topic, body=encoded(str(number)), queue_id=number % 3)
    received = await collect_from_java(peer, "c", lambda taken: len(taken) >= 60, 30.0)
    for queue in range(3):
        assert [int(text_of(told)) for told in received if told["queue_id"] == queue] == list(range(queue, 60, 3))


async def test_broadcasting(embedded_cluster: Cluster, peer: LineProgram) -> None:
    topic = await embedded_cluster.create_topic(embedded_cluster.unique("broadcast"))
    group = embedded_cluster.unique("jc")
    for name in ("a", "b"):
        await peer.call(
            "consumer", id=name, group=group, name_servers=embedded_cluster.name_servers, topic=topic, expression="*", broadcasting=True
        )
    await peer.call("producer", id="p", group=embedded_cluster.unique("jp"), name_servers=embedded_cluster.name_servers)
    for number in range(8):
        await peer.call("send", id="p", topic=topic, body=encoded(str(number)))
    for name in ("a", "b"):
        received = await collect_from_java(peer, name, lambda taken: len(taken) >= 8, 20.0)
        assert sorted(int(text_of(told)) for told in received) == list(range(8))


async def test_two_members_share_the_queues(embedded_cluster: Cluster, peer: LineProgram) -> None:
    topic = await embedded_cluster.create_topic(embedded_cluster.unique("shared"), queues=4)
    group = embedded_cluster.unique("jc")
    for name in ("a", "b"):
        await peer.call("consumer", id=name, group=group, name_servers=embedded_cluster.name_servers, topic=topic, expression="*")

    async def queues_of(name: str) -> set[int]:
        return set((await peer.call("assignment", id=name, topic=topic))["queues"])

    async def shared() -> bool:
        first, second = await queues_of("a"), await queues_of("b")
        return len(first) == len(second) == 2 and not first & second

    await eventually(shared, 30.0, interval=0.2)
