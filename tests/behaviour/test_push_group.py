"""Groups: sharing queues, taking over, offsets, where to start, broadcasting."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

import aiorocketmq as rmq
from aiorocketmq.consumer import LocalFileOffsetStore, ReadOffset
from tests.behaviour.stored import stored
from tests.support import raw_remoting
from tests.support.clusters import Cluster
from tests.support.push import Gate, Inbox, new_topic, numbered, owns, send
from tests.support.waiting import eventually

FIRST = rmq.StartFrom.FIRST


def member(cluster: Cluster, group: str, topic: str, inbox: Inbox, **fields: object) -> rmq.PushConsumer:
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST, **fields)  # type: ignore[arg-type]

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        inbox.take(message)

    return consumer


@pytest.mark.feature("F4", "G1", "G2", "G3", "F44", "K12")
async def test_two_members_share_the_queues_and_one_takes_over_when_the_other_stops(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "share", 4), cluster.unique("g")
    first_inbox, second_inbox = Inbox(), Inbox()
    first = member(cluster, group, topic, first_inbox)
    second = member(cluster, group, topic, second_inbox, instance_name=f"{group}-b")
    async with cluster.producer() as producer, first:
        await owns(first, topic, 4)
        async with second:
            await owns(first, topic, 2)
            await owns(second, topic, 2)
            assert not first.assigned & second.assigned
            await send(producer, topic, numbered(40))
            await eventually(lambda: len(first_inbox) + len(second_inbox) == 40)
            assert len(first_inbox) == len(second_inbox) == 20
        # It said goodbye, so this takes no time-out.
        await owns(first, topic, 4)
        await send(producer, topic, numbered(20, 40))
        await first_inbox.has(40)
    assert first_inbox.counts + second_inbox.counts == dict.fromkeys(numbered(60), 1)


@pytest.mark.feature("F44", "G1", "F32")
async def test_members_that_join_and_leave_under_load_lose_and_repeat_nothing(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "rolling", 4), cluster.unique("g")
    inbox = Inbox()
    sent = 0
    stop = asyncio.Event()

    async def produce(producer: rmq.Producer) -> None:
        nonlocal sent
        while not stop.is_set():
            await send(producer, topic, [b"%d" % sent])
            sent += 1
            await asyncio.sleep(0.004)

    async with (
        cluster.producer() as producer,
        member(cluster, group, topic, inbox, instance_name=f"{group}-a") as first,
    ):
        await owns(first, topic, 4)
        producing = asyncio.ensure_future(produce(producer))
        for _ in range(2):
            await inbox.has(len(inbox) + 50)
            async with member(cluster, group, topic, inbox, instance_name=f"{group}-b") as second:
                await owns(first, topic, 2)
                await owns(second, topic, 2)
                await inbox.has(len(inbox) + 50)
            await owns(first, topic, 4)
        stop.set()
        await producing
        await inbox.has(sent)
        await asyncio.sleep(0.3)
    assert inbox.counts == dict.fromkeys(numbered(sent), 1)


@pytest.mark.feature("G2", "G3")
async def test_member_without_a_queue_gets_nothing(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "few", 1), cluster.unique("g")
    inbox, idle = Inbox(), Inbox()
    members = [
        member(cluster, group, topic, inbox, instance_name=f"{group}-a"),
        member(cluster, group, topic, idle, instance_name=f"{group}-b"),
    ]
    async with cluster.producer() as producer, members[0], members[1]:
        await eventually(lambda: sorted(len([q for q in each.assigned if q.topic == topic]) for each in members) == [0, 1])
        await send(producer, topic, numbered(10))
        await eventually(lambda: len(inbox) + len(idle) == 10)
        await asyncio.sleep(0.5)
    assert sorted((len(inbox), len(idle))) == [0, 10]


@pytest.mark.feature("G9")
async def test_strategy_of_the_user(cluster: Cluster) -> None:
    class Reversed:
        name = "REVERSED"

        def allocate(
            self, group: str, client_id: str, queues: Sequence[rmq.MessageQueue], client_ids: Sequence[str]
        ) -> Sequence[rmq.MessageQueue]:
            return queues[::-1][client_ids.index(client_id) :: len(client_ids)]

    def ids(consumer: rmq.PushConsumer) -> set[int]:
        return {queue.queue_id for queue in consumer.assigned if queue.topic == topic}

    topic, group = await new_topic(cluster, "mine", 5), cluster.unique("g")
    first = member(cluster, group, topic, Inbox(), allocate=Reversed(), instance_name=f"{group}-a")
    second = member(cluster, group, topic, Inbox(), allocate=Reversed(), instance_name=f"{group}-b")
    async with first, second:
        await eventually(lambda: ids(first) == {4, 2, 0} and ids(second) == {3, 1})


@pytest.mark.feature("F14")
async def test_offsets_travel_with_the_pulls(cluster: Cluster) -> None:
    """Nothing else saves them here: the consumer runs on, and its timer is an hour away."""
    topic, group = await new_topic(cluster, "by_pull", 1), cluster.unique("g")
    inbox = Inbox()
    async with (
        member(cluster, group, topic, inbox, persist_consumer_offset_interval=3600.0) as consumer,
        cluster.producer() as producer,
    ):
        await send(producer, topic, numbered(7))
        await inbox.has(7)
        await eventually(lambda: consumer.backlog == 0)
        await send(producer, topic, [b"one more"])  # ends the pull that waits; the next one tells that 7 are done
        await inbox.has(8)
        committed = partial(asyncio.to_thread, raw_remoting.committed_offset, cluster.broker_address, group, topic, 0)

        async def seven() -> bool:
            return (await committed() or 0) >= 7

        await eventually(seven, 30)


@pytest.mark.feature("G13", "F44")
async def test_restart_goes_on_at_the_committed_offset(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "again", 2), cluster.unique("g")
    before, after = Inbox(), Inbox()
    async with cluster.producer() as producer:
        async with member(cluster, group, topic, before) as consumer:
            await send(producer, topic, numbered(20))
            await before.has(20)
            await eventually(lambda: consumer.backlog == 0)
        await send(producer, topic, numbered(10, 20))
        async with member(cluster, group, topic, after):
            await after.has(10)
            await asyncio.sleep(0.3)
    assert sorted(after.bodies) == numbered(10, 20)


@pytest.mark.feature("F44", "F31", "F32")
async def test_stop_waits_for_running_listeners_and_leaves_no_duplicates(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "drain", 1), cluster.unique("g")
    gate, begun, ended, after = Gate(), Inbox(), Inbox(), Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST, concurrency=4)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        begun.take(message)
        if message.body in numbered(4, 6):
            await gate()
        ended.take(message)

    async with cluster.producer() as producer:
        await send(producer, topic, numbered(20))
        await consumer.start()
        await eventually(lambda: gate.waiting == 4)
        stopping = asyncio.ensure_future(consumer.stop())
        await asyncio.sleep(0.3)
        assert not stopping.done()
        assert sorted(begun.bodies, key=int) == numbered(10)  # what was cached behind them has not begun
        gate.open()
        await stopping
        assert sorted(ended.bodies, key=int) == numbered(10)
        async with member(cluster, group, topic, after):
            await after.has(10)
            await asyncio.sleep(0.3)
    assert sorted(after.bodies) == numbered(10, 10)


@pytest.mark.feature("F31", "F44")
async def test_only_the_contiguous_prefix_is_committed(cluster: Cluster) -> None:
    """A listener that does not end in time: its message and the ones behind it come again, the ones before it do not."""
    topic, group = await new_topic(cluster, "prefix", 1), cluster.unique("g")
    gate, done, after = Gate(), Inbox(), Inbox()
    consumer = rmq.PushConsumer(cluster.name_servers, group=group, start_from=FIRST, await_termination_when_shutdown=0.2)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        if message.body == b"3":
            await gate()
        done.take(message)

    async with cluster.producer() as producer:
        await send(producer, topic, numbered(10))
        async with consumer:
            await done.has(9)
        async with member(cluster, group, topic, after):
            await after.has(7)
            await asyncio.sleep(0.3)
    assert sorted(after.bodies) == numbered(7, 3)


@pytest.mark.feature("F15", "F16", "G14")
async def test_where_a_new_group_starts(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "start", 1)
    async with cluster.producer() as producer:
        await send(producer, topic, numbered(3))
        await asyncio.sleep(1.1)
        middle = time.time() - 0.5
        await send(producer, topic, numbered(3, 3))

        async def started_with(expected: list[bytes], **fields: object) -> None:
            inbox = Inbox()
            consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), **fields)  # type: ignore[arg-type]
            consumer.listen(topic)(inbox.take)
            async with consumer:
                await owns(consumer, topic, 1)
                await inbox.has(len(expected))
                await asyncio.sleep(0.5)
            assert sorted(inbox.bodies) == expected

        # The topic is so young that all of it is in memory: brokers left to themselves would answer offset 0 whatever the mode.
        await started_with(numbered(6), start_from=FIRST)
        await started_with([], start_from=rmq.StartFrom.LAST)
        await started_with(numbered(3, 3), start_from=rmq.StartFrom.TIMESTAMP, start_timestamp=middle)
        await started_with([], start_from=rmq.StartFrom.TIMESTAMP, start_timestamp=time.time() + 3600)
        store = ZeroForNobody()
        inbox = Inbox()
        last = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.LAST, offset_store=store)
        last.listen(topic)(inbox.take)
        async with last:
            await owns(last, topic, 1)
            await send(producer, topic, [b"new"])
            await inbox.has(1)
        assert inbox.bodies == [b"new"]
        assert store.saved == {rmq.MessageQueue(topic, cluster.broker_name, 0): 7}


@pytest.mark.feature("F15", "F16", "G14")
async def test_a_start_at_the_end_of_an_empty_topic_is_remembered(cluster: Cluster) -> None:
    """The rule is not applied again after a restart: it would skip what came in between."""
    topic, group = await new_topic(cluster, "empty", 2), cluster.unique("g")
    inbox = Inbox()

    def consumer() -> rmq.PushConsumer:
        made = rmq.PushConsumer(cluster.name_servers, group=group, start_from=rmq.StartFrom.LAST)
        made.listen(topic)(inbox.take)
        return made

    async with consumer() as first:
        await owns(first, topic, 2)
    async with cluster.producer() as producer:
        await send(producer, topic, numbered(6))
    async with consumer():
        await inbox.has(6)
    assert sorted(inbox.bodies) == numbered(6)


@pytest.mark.feature("F15", "F44", "G14")
@pytest.mark.parametrize("exists", [True, False])
async def test_a_consumer_that_has_started_misses_nothing_that_is_sent_then(cluster: Cluster, exists: bool) -> None:
    topic, inbox = cluster.unique("moment"), Inbox()
    async with cluster.producer() as producer:
        if exists:
            await cluster.create_topic(topic, queues=4)
            await send(producer, topic, [b"old"] * 8)
            await stored(cluster, topic, 8)
        consumer = rmq.PushConsumer(cluster.name_servers, group=cluster.unique("g"), start_from=rmq.StartFrom.LAST)
        consumer.listen(topic)(inbox.take)
        async with consumer:
            if not exists:
                await cluster.create_topic(topic, queues=4)
            await send(producer, topic, numbered(8))
            await inbox.has(8)
            await asyncio.sleep(0.5)
        assert sorted(inbox.bodies) == numbered(8)


class ZeroForNobody:
    """An offset store of the user's own, in memory (G16)."""

    def __init__(self) -> None:
        self.offsets: dict[rmq.MessageQueue, int] = {}
        self.saved: dict[rmq.MessageQueue, int] = {}

    async def load(self) -> None: ...

    def update_offset(self, queue: rmq.MessageQueue, offset: int, *, increase_only: bool) -> None:
        self.offsets[queue] = max(offset, self.offsets.get(queue, -1)) if increase_only else offset

    def update_and_freeze_offset(self, queue: rmq.MessageQueue, offset: int) -> None:
        self.offsets[queue] = offset

    async def read_offset(self, queue: rmq.MessageQueue, where: ReadOffset) -> int:
        return self.offsets.get(queue, -1)

    async def persist_all(self, queues: object, *, confirm: bool = False) -> None:
        self.saved = {queue: offset for queue, offset in self.offsets.items() if not queue.topic.startswith("%RETRY%")}

    async def persist(self, queue: rmq.MessageQueue) -> None: ...

    def remove_offset(self, queue: rmq.MessageQueue) -> None:
        self.offsets.pop(queue, None)

    def clone_offset_table(self, topic: str | None = None) -> dict[rmq.MessageQueue, int]:
        return dict(self.offsets)


@pytest.mark.feature("G16", "G9")
async def test_offset_store_of_the_user(cluster: Cluster) -> None:
    topic = await new_topic(cluster, "store", 1)
    queue = rmq.MessageQueue(topic, cluster.broker_name, 0)
    inbox = Inbox()

    class Third(ZeroForNobody):
        async def read_offset(self, queue: rmq.MessageQueue, where: ReadOffset) -> int:
            return 3 if queue.topic == topic else -1

    store = Third()
    async with cluster.producer() as producer:
        await send(producer, topic, numbered(5))
        async with member(cluster, cluster.unique("g"), topic, inbox, offset_store=store):
            await inbox.has(2)
    assert inbox.bodies == numbered(2, 3)
    assert store.saved == {queue: 5}


@pytest.mark.feature("F4", "G15", "K1")
async def test_broadcasting_gives_everything_to_each_member_and_keeps_offsets_in_a_file(cluster: Cluster, tmp_path: Path) -> None:
    topic, group = await new_topic(cluster, "cast", 2), cluster.unique("g")
    fields = {"message_model": rmq.MessageModel.BROADCASTING}
    one, two, again = Inbox(), Inbox(), Inbox()

    def listener(inbox: Inbox, name: str) -> rmq.PushConsumer:
        return member(cluster, group, topic, inbox, instance_name=name, local_offset_store_dir=tmp_path / name, **fields)

    async with cluster.producer() as producer:
        async with listener(one, f"{group}-a") as first, listener(two, f"{group}-b"):
            await send(producer, topic, numbered(10))
            await one.has(10)
            await two.has(10)
            await eventually(lambda: first.backlog == 0)
            client_id = first.client_id
        await send(producer, topic, numbered(5, 10))
        async with listener(again, f"{group}-a") as restarted:
            assert restarted.client_id == client_id
            await again.has(5)
            await asyncio.sleep(0.2)
    assert sorted(one.bodies) == sorted(two.bodies) == numbered(10)
    assert sorted(again.bodies) == sorted(numbered(5, 10))
    path = tmp_path / f"{group}-a" / client_id / group / "offsets.json"
    assert b'"offsetTable"' in path.read_bytes()
    with pytest.raises(json.JSONDecodeError):
        json.loads(path.read_bytes())  # keys are objects, as Java's fastjson writes them
    store = LocalFileOffsetStore(path.parent)
    await store.load()
    assert sum(store.clone_offset_table(topic).values()) == 15


@pytest.mark.feature("F50")
async def test_group_lives_once_on_a_client(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "twice", 1), cluster.unique("g")
    async with member(cluster, group, topic, Inbox()):
        with pytest.raises(rmq.GroupAlreadyRegisteredError, match=group):
            await member(cluster, group, topic, Inbox()).start()


@pytest.mark.feature("F45", "F11")
async def test_changes_of_the_assignment_are_told(cluster: Cluster) -> None:
    topic, group = await new_topic(cluster, "told", 2), cluster.unique("g")
    changes: list[tuple[int, int]] = []

    def changed(of: str, queues: frozenset[rmq.MessageQueue], owned: frozenset[rmq.MessageQueue]) -> None:
        if of == topic:
            changes.append((len(queues), len(owned)))

    first = member(cluster, group, topic, Inbox(), message_queue_listener=changed, instance_name=f"{group}-a")
    async with first:
        await owns(first, topic, 2)
        async with member(cluster, group, topic, Inbox(), instance_name=f"{group}-b") as second:
            await owns(second, topic, 1)
            await owns(first, topic, 1)
        await owns(first, topic, 2)
        await eventually(lambda: changes[-1] == (2, 2))  # a queue is owned a moment before it is told
        await first.unsubscribe(topic)
        await owns(first, topic, 0)
    assert changes == [(2, 2), (2, 1), (2, 2), (0, 0)]


@pytest.mark.feature("U2")
async def test_member_with_other_subscriptions_is_found_and_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiorocketmq.consumer.member.FIRST_CHECK", 0.5)
    monkeypatch.setattr("aiorocketmq.consumer.member.CHECK_INTERVAL", 0.5)
    topic, group = await new_topic(cluster, "mixed", 1), cluster.unique("g")
    told: list[rmq.StateChange] = []

    def subscribed(tag: str) -> rmq.PushConsumer:
        consumer = rmq.PushConsumer(
            cluster.name_servers, group=group, start_from=FIRST, instance_name=f"{group}-{tag}", on_state_change=told.append
        )
        consumer.listen(topic, tag)(Inbox().take)
        return consumer

    async with subscribed("A") as first:
        await owns(first, topic, 1)
        assert first.subscription_conflicts == {}
        async with subscribed("B"):
            await eventually(lambda: "'B'" in first.subscription_conflicts.get(topic, ""))
            health = first.health()
            assert health.status is rmq.HealthStatus.DEGRADED
            assert any("different subscriptions" in reason and "'B'" in reason for reason in health.reasons)
            await eventually(lambda: rmq.StateChangeKind.SUBSCRIPTIONS_DIFFER in [change.kind for change in told])
            [change] = [change for change in told if change.kind is rmq.StateChangeKind.SUBSCRIPTIONS_DIFFER][:1]
            assert change.subjects == (topic,)
            assert "messages are lost to some of them" in change.text
