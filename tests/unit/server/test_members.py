"""Members, fingerprints and locks: what is forgotten, and when."""

from __future__ import annotations

from types import SimpleNamespace

from aiorocketmq.model.enums import ConsumeType, MessageModel
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.bodies import ConsumerData
from aiorocketmq.server.broker.locks import QueueLocks
from aiorocketmq.server.broker.notices import MANY, MemberNotices
from aiorocketmq.server.broker.registry import ClientRegistry
from tests.support.waiting import eventually
from tests.unit.server.harness import FakeChannel


class Bench:
    def __init__(self) -> None:
        self.now = 1000.0
        self.clients = ClientRegistry(lambda: self.now, 120.0, lambda group, lost=False: None)

    def beat(self, channel: FakeChannel, fingerprint: int, group: str = "g") -> bool:
        """One heartbeat; True when the broker calls the subscription changed."""
        changed = self.clients.fingerprint_changed(group, fingerprint)
        data = ConsumerData(group, ConsumeType.CONSUME_PASSIVELY, MessageModel.CLUSTERING, "CONSUME_FROM_FIRST_OFFSET", set(), False)  # type: ignore[arg-type]
        self.clients.register_consumer(data, channel, "me", 0, 479)  # type: ignore[arg-type]
        return changed


def test_a_fingerprint_goes_with_the_last_member() -> None:
    bench = Bench()
    first, second = FakeChannel("127.0.0.1:1"), FakeChannel("127.0.0.1:2")
    assert [bench.beat(first, 1), bench.beat(first, 1), bench.beat(first, 2)] == [False, False, True]
    bench.beat(second, 2)
    bench.clients.channel_closed(first)  # type: ignore[arg-type]
    assert bench.beat(second, 3), "one member is left, and what it said before is known"
    bench.clients.channel_closed(second)  # type: ignore[arg-type]
    assert bench.clients.consumer_group("g") is None
    assert not bench.beat(first, 4), "the group begins anew: nothing has changed"


def test_a_connection_that_names_another_client_is_another_member() -> None:
    bench, channel = Bench(), FakeChannel("127.0.0.1:1")
    bench.beat(channel, 1)
    group = bench.clients.consumer_group("g")
    assert group is not None and group.client_ids() == ["me"]
    assert bench.clients.renew_consumer("g", channel, "renamed", 0, 479)  # type: ignore[arg-type]
    assert group.client_ids() == ["renamed"], "the name by which queues are shared out is the one of now"
    assert bench.clients.consumer("g", "me") is None


def test_fingerprints_of_groups_that_never_came_to_be_are_forgotten() -> None:
    bench = Bench()
    bench.beat(FakeChannel(), 1)
    for number in range(100):
        bench.clients.fingerprint_changed(f"unknown {number}", 1)
    bench.clients.expire()
    assert list(bench.clients._fingerprints) == ["g"]


def test_locks_that_have_fallen_are_forgotten() -> None:
    now = [1000.0]
    locks = QueueLocks(lambda: now[0], 60.0)
    one, two = MessageQueue("t", "b", 0), MessageQueue("t", "b", 1)
    locks.lock("g", "a", [one])
    now[0] += 50
    locks.lock("g", "a", [two])
    locks.lock("h", "a", [one])
    now[0] += 20
    locks.expire()
    assert locks._groups == {"g": {two: ("a", 1050.0)}, "h": {one: ("a", 1050.0)}}
    assert locks.lock("g", "b", [one, two]) == [one]
    locks.unlock("h", "a", [one])
    assert "h" not in locks._groups and not locks.any_live("h")
    now[0] += 61
    locks.expire()
    assert locks._groups == {}


async def test_many_members_that_go_together_cost_no_round_each() -> None:
    groups = SimpleNamespace(get=lambda name: None)
    notices = MemberNotices(groups)  # type: ignore[arg-type]
    clients = ClientRegistry(lambda: 1000.0, 120.0, notices.changed)
    channels = [FakeChannel(f"127.0.0.1:{number}") for number in range(1000)]
    data = ConsumerData("g", ConsumeType.CONSUME_PASSIVELY, MessageModel.CLUSTERING, "CONSUME_FROM_FIRST_OFFSET", set(), False)  # type: ignore[arg-type]
    for channel in channels:
        clients.register_consumer(data, channel, channel.address, 0, 479)  # type: ignore[arg-type]
    await eventually(lambda: not notices._waiting)
    assert len(channels[-1].sent) == 1
    assert sum(len(channel.sent) for channel in channels) < 1000 + MANY * MANY
    before = len(channels[0].sent)
    for channel in channels[MANY // 2 :]:
        channel.closed = True
        clients.channel_closed(channel)  # type: ignore[arg-type]
    assert MANY // 2 <= len(channels[0].sent) - before <= MANY + 1, "few are told of each, as before"
    clients.channel_closed(channels[0])  # type: ignore[arg-type]
    assert not notices._waiting
    notices.stop()


def test_a_connection_leaves_all_of_its_groups_and_nothing_behind() -> None:
    bench, one, other = Bench(), FakeChannel("127.0.0.1:1"), FakeChannel("127.0.0.1:2")
    for group in ("a", "b"):
        bench.beat(one, 1, group)
        bench.clients.register_producer(group, one, "me", 0, 479)  # type: ignore[arg-type]
    bench.beat(other, 1, "b")
    bench.clients.unregister(one, "a", "a")  # type: ignore[arg-type]
    assert (set(bench.clients.producers), set(bench.clients.consumers)) == ({"b"}, {"b"})
    bench.clients.channel_closed(one)  # type: ignore[arg-type]
    assert (set(bench.clients.producers), set(bench.clients.consumers)) == (set(), {"b"})
    bench.clients.channel_closed(other)  # type: ignore[arg-type]
    assert not bench.clients.consumers and not bench.clients._groups


def test_of_two_connections_of_a_client_the_one_that_spoke_last_is_its_own() -> None:
    bench = Bench()
    old, new = FakeChannel("127.0.0.1:1"), FakeChannel("127.0.0.1:2")
    for channel in (old, new):
        bench.now += 1
        bench.clients.register_producer("p", channel, "me", 0, 479)  # type: ignore[arg-type]
    found = bench.clients.producer("me")
    assert found is not None and found.channel is new
    bench.now += 1
    bench.clients.register_producer("p", old, "me", 0, 479)  # type: ignore[arg-type]
    found = bench.clients.producer("me")
    assert found is not None and found.channel is old
