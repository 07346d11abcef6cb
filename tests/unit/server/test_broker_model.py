"""The embedded broker against a model of plain dictionaries, under random requests, failing commits, kills, restarts, and time that passes.

Requests of one tick are asked together; then their fate is chosen: the commit succeeds, it fails, one of them is poisoned, or the broker
dies. The answers say what became of each, and the model follows the answers. What was acknowledged must be readable, in order; what failed
must be absent; offsets never go back but by a reset or a lower commit; memory equals the database; nothing parked is left at rest.

`BROKER_SEQUENCES=5000 pytest tests/unit/server/test_broker_model.py` tries more sequences.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aiorocketmq.protocol.bodies import SubscriptionGroupConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_admin import CreateTopicRequestHeader, DeleteTopicRequestHeader
from aiorocketmq.protocol.headers_client import ResetOffsetRequestHeader, SendMessageRequestHeader, UpdateConsumerOffsetRequestHeader
from aiorocketmq.protocol.message_codec import BatchItem, decode_message, decode_messages
from aiorocketmq.server.broker.retention import Retention
from tests.support.records import encode_batch
from tests.support.virtual_loop import VirtualTimeLoop
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, assert_memory_is_the_database, pull_header, settle

TOPICS = st.sampled_from(["a", "b"])
QUEUES = st.integers(0, 1)
GROUP = "readers"
DELAYS = (5.0, 70.0)
RETENTION = 600.0
PATIENCE = 130.0  # after which everything that was tried again must be done
Name = tuple[str, int]


class LoopClock:
    """The clocks of a broker, as the loop's virtual time shows them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    @property
    def ms(self) -> int:
        return NOW + round(self._loop.time() * 1000)

    @property
    def seconds(self) -> float:
        return self._loop.time()


@dataclass
class Queue:
    """One queue of the model: bodies from offset 0 on, when each was stored, and the smallest offset kept."""

    bodies: list[bytes] = field(default_factory=list)
    stored: list[float] = field(default_factory=list)
    low: int = 0

    def add(self, body: bytes, now: float) -> None:
        self.bodies.append(body)
        self.stored.append(now)


@dataclass(eq=False)
class Asked:
    """A request, and what it means for the model when it succeeds."""

    channel: FakeChannel
    topic: str
    poison: bool
    handle: Callable[[], None]
    applies: Callable[[RemotingCommand], None]


@dataclass(eq=False)
class Waiting:
    """A pull that waits for messages."""

    channel: FakeChannel
    name: Name
    offset: int
    deadline: float


class BrokerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("aiorocketmq.server").setLevel(logging.CRITICAL + 1)
        self.loop = VirtualTimeLoop()
        self.folder = tempfile.TemporaryDirectory()
        self.topics: dict[str, int] = {}
        self.queues: dict[Name, Queue] = {}
        self.offsets: dict[Name, int] = {}
        self.resets: dict[Name, int] = {}
        self.delayed: list[tuple[float, Name, bytes]] = []  # acknowledged, not delivered
        self.asked: list[Asked] = []
        self.waiting: list[Waiting] = []
        self.count = 0
        self.highest = -1
        self.trouble_until = 0.0
        self.lapsed: set[str] = set()  # topics that did not exist all the time
        self.run(self.open())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def open(self) -> None:
        self.bench = BrokerBench(Path(self.folder.name) / "b.db", delay_levels=DELAYS, recent_bytes=1500)
        self.bench.clock = LoopClock(self.loop)  # type: ignore[assignment]
        self.bench.state.groups.find(GROUP)
        state = self.bench.state
        self.retention = Retention(state.store, lambda: self.bench.clock.ms, max_age=RETENTION, max_bytes=None, interval=10.0)
        self.bench.schedule.start()
        self.retention.start()
        await self.quiet()

    async def quiet(self) -> None:
        """Until every commit under way has ended."""
        await settle()
        while self.bench.state.store._armed:
            await settle()

    def stop(self) -> None:
        self.bench.schedule.stop()
        self.retention.stop()
        self.bench.state.polling.stop()
        self.waiting.clear()
        self.asked.clear()

    def teardown(self) -> None:
        self.stop()
        self.bench.state.store.abandon()
        self.loop.close()
        self.folder.cleanup()
        logging.getLogger("aiorocketmq.server").setLevel(logging.NOTSET)

    # -- requests -----------------------------------------------------------------------------------------------------

    def ask(
        self, code: int, topic: str, header: Any, body: bytes, applies: Callable[[RemotingCommand], None], *, poison: bool = False
    ) -> None:
        channel = FakeChannel()

        def handle() -> None:
            request = RemotingCommand.request(code, header, body)
            store = self.bench.state.store
            store.begin()
            answer = self.bench.table.handle(request, channel)  # type: ignore[arg-type]
            if poison:
                store.put_setting("poison", "\udcff", "{}")
            store.end()
            if answer is not None:
                channel.reply(request, answer)

        self.asked.append(Asked(channel, topic, poison, handle, applies))

    async def handle_all(self) -> None:
        """All that was asked for is handled in one turn of the loop, and committed, or not, with its end."""
        for asked in self.asked:
            asked.handle()

    def body(self) -> bytes:
        self.count += 1
        return b"%d" % self.count + b"." * (self.count % 7 * 60)

    def send_header(self, topic: str, queue_id: int, properties: str = "") -> SendMessageRequestHeader:
        return SendMessageRequestHeader("p", topic, "TBW102", 2, queue_id, 0, NOW, 0, properties, reconsume_times=0)

    def stored(self, name: Name, bodies: list[bytes]) -> Callable[[RemotingCommand], None]:
        def apply(answer: RemotingCommand) -> None:
            self.topics.setdefault(name[0], 2)
            queue = self.queues.setdefault(name, Queue())
            assert int(answer.ext_fields["queueOffset"]) == len(queue.bodies), "offsets are given in order, without holes"
            places = [int(message_id[-16:], 16) for message_id in answer.ext_fields["msgId"].split(",")]
            assert places == sorted(set(places)) and places[0] > self.highest, "an offset of the log is given once"
            self.highest = places[-1]
            for body in bodies:
                queue.add(body, self.loop.time())

        return apply

    @rule(topic=TOPICS, queue_id=QUEUES, count=st.integers(1, 4))
    def send(self, topic: str, queue_id: int, count: int) -> None:
        for _ in range(count):
            body = self.body()
            header = self.send_header(topic, queue_id).to_v2()
            self.ask(RequestCode.SEND_MESSAGE_V2, topic, header, body, self.stored((topic, queue_id), [body]))

    @rule(topic=TOPICS, queue_id=QUEUES, count=st.integers(2, 5))
    def send_batch(self, topic: str, queue_id: int, count: int) -> None:
        bodies = [self.body() for _ in range(count)]
        data = encode_batch([BatchItem(0, body, b"") for body in bodies])
        header = self.send_header(topic, queue_id).to_v2()
        self.ask(RequestCode.SEND_BATCH_MESSAGE, topic, header, data, self.stored((topic, queue_id), bodies))

    @rule(topic=TOPICS, queue_id=QUEUES, level=st.integers(1, 2))
    def send_delayed(self, topic: str, queue_id: int, level: int) -> None:
        body, due = self.body(), self.loop.time() + DELAYS[level - 1]

        def apply(answer: RemotingCommand) -> None:
            self.topics.setdefault(topic, 2)
            self.delayed.append((due, (topic, queue_id), body))

        header = self.send_header(topic, queue_id, f"DELAY\x01{level}\x02").to_v2()
        self.ask(RequestCode.SEND_MESSAGE_V2, topic, header, body, apply)

    @rule(topic=TOPICS)
    def send_poisoned(self, topic: str) -> None:
        """What a request wrote besides cannot be stored: its message and the topic it makes must not be either."""
        body = self.body()
        header = self.send_header(topic, 0).to_v2()
        # The first write of the unit is the topic's, where that is made; a message before any write is stored by itself.
        makes = self.bench.state.topics.get(topic) is None
        self.ask(RequestCode.SEND_MESSAGE_V2, topic, header, body, self.stored((topic, 0), [body]), poison=makes)

    @rule(topic=TOPICS, queues=st.integers(2, 3), poison=st.booleans())
    def create(self, topic: str, queues: int, poison: bool) -> None:
        header = CreateTopicRequestHeader(topic, "TBW102", queues, queues, 6, "SINGLE_TAG", 0, False)
        self.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, topic, header, b"", lambda answer: self.topics.update({topic: queues}), poison=poison)

    @rule(topic=TOPICS, poison=st.booleans())
    def delete(self, topic: str, poison: bool) -> None:
        def apply(answer: RemotingCommand) -> None:
            self.topics.pop(topic, None)
            self.lapsed.add(topic)
            for table in (self.queues, self.offsets, self.resets):
                for name in [name for name in table if name[0] == topic]:
                    del table[name]  # type: ignore[attr-defined]

        self.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic, DeleteTopicRequestHeader(topic), b"", apply, poison=poison)

    @rule(poison=st.booleans())
    def put_group(self, poison: bool) -> None:
        body = SubscriptionGroupConfig(GROUP).encode()
        self.ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, "", None, body, lambda answer: None, poison=poison)

    @rule(topic=TOPICS, queue_id=QUEUES, offset=st.integers(0, 20))
    def commit(self, topic: str, queue_id: int, offset: int) -> None:
        def apply(answer: RemotingCommand) -> None:
            if "reset" not in (answer.remark or ""):
                self.offsets[topic, queue_id] = offset

        self.ask(RequestCode.UPDATE_CONSUMER_OFFSET, topic, UpdateConsumerOffsetRequestHeader(GROUP, topic, queue_id, offset), b"", apply)

    @rule(topic=TOPICS, queue_id=QUEUES)
    def reset(self, topic: str, queue_id: int) -> None:
        low, _ = self.bench.state.store.bounds(topic, queue_id)

        def apply(answer: RemotingCommand) -> None:
            self.offsets[topic, queue_id] = self.resets[topic, queue_id] = low

        header = ResetOffsetRequestHeader(topic, GROUP, -1, False, offset=low, queue_id=queue_id)
        self.ask(RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, topic, header, b"", apply)

    # -- their fate ---------------------------------------------------------------------------------------------------

    def follow(self) -> None:
        poisoned: set[str] = set()  # who builds on a poisoned request may be refused with it, nobody else
        for asked in self.asked:
            (answer,) = asked.channel.replies
            if asked.poison:
                poisoned.add(asked.topic)
            if answer.code == 0:
                assert not asked.poison
                asked.applies(answer)
            else:
                assert {asked.topic, ""} & poisoned or answer.code == ResponseCode.TOPIC_NOT_EXIST, f"{answer.code} {answer.remark}"
        self.asked.clear()

    @rule()
    def succeed(self) -> None:
        async def work() -> None:
            await self.handle_all()
            await self.quiet()

        self.run(work())
        self.follow()

    @precondition(lambda self: self.asked)
    @rule()
    def fail(self) -> None:
        async def work() -> None:
            self.bench.state.store.inject_error = "injected"
            await self.handle_all()
            await self.quiet()
            self.bench.state.store.inject_error = ""

        self.run(work())
        for asked in self.asked:
            written = [answer for answer in asked.channel.replies if answer.code == 0 and "reset" not in (answer.remark or "")]
            assert len(asked.channel.replies) == 1 and not written, "nothing may be acknowledged when nothing is written"
        self.asked.clear()

    @rule()
    def crash(self) -> None:
        async def work() -> None:
            await self.handle_all()
            self.bench.state.store.abandon()

        self.run(work())
        for table in (self.bench.state.topics, self.bench.state.groups):
            table._stored._pending.clear()  # of the dead
        self.stop()
        self.resets.clear()  # they live in memory
        self.run(self.open())

    @rule()
    def restart(self) -> None:
        async def work() -> None:
            await self.handle_all()
            assert await self.bench.state.store.close() is None

        self.run(work())
        self.follow()  # what came before is committed and answered
        self.stop()
        self.resets.clear()
        self.run(self.open())

    # -- time ---------------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.asked)
    @rule(seconds=st.sampled_from([1.0, 6.0, 75.0, PATIENCE, RETENTION, RETENTION + 50]))
    def pass_time(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            # In steps, so that nothing is delivered and expires between two looks.
            self.run(asyncio.sleep(min(100.0, end - self.loop.time())))
            self.all_is_as_the_model_says()

    @precondition(lambda self: not self.asked)
    @rule(seconds=st.sampled_from([6.0, 75.0]))
    def pass_time_in_trouble(self, seconds: float) -> None:
        """Nothing can be written meanwhile: what is due waits, and is done afterwards."""
        self.trouble(seconds)

    @precondition(lambda self: not self.asked and self.delayed)
    @rule()
    def trouble_when_something_is_due(self) -> None:
        self.trouble(max(1.0, self.delayed[0][0] + 1 - self.loop.time()))
        self.run(asyncio.sleep(PATIENCE + 1))

    def trouble(self, seconds: float) -> None:
        self.bench.state.store.inject_error = "injected"
        self.run(asyncio.sleep(seconds))
        self.run(self.quiet())
        self.bench.state.store.inject_error = ""
        self.trouble_until = self.loop.time()

    # -- pulls --------------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.asked)
    @rule(topic=TOPICS, queue_id=QUEUES, back=st.integers(-2, 12))
    def pull(self, topic: str, queue_id: int, back: int) -> None:
        low, high = self.bench.state.store.bounds(topic, queue_id)
        offset = max(0, high - back)
        answer = self.run(self.bench.ask(RequestCode.PULL_MESSAGE, pull_header(topic, offset, queue_id=queue_id, group=GROUP)))
        name = (topic, queue_id)
        if topic not in self.topics:
            assert answer.code == ResponseCode.TOPIC_NOT_EXIST
        elif name in self.resets:
            assert (answer.code, answer.ext_fields["nextBeginOffset"]) == (ResponseCode.PULL_OFFSET_MOVED, str(self.resets.pop(name)))
        elif low <= offset < high:
            found = decode_messages(answer.body, broker_name="", max_body=0)
            assert answer.code == 0 and found[0].queue_offset == offset
            bodies = self.queues[name].bodies
            assert [(each.queue_offset, each.stored_body) for each in found] == [
                (offset + index, bodies[offset + index]) for index in range(len(found))
            ]
        else:
            assert answer.code == (ResponseCode.PULL_NOT_FOUND if offset == high else ResponseCode.PULL_OFFSET_MOVED)

    @precondition(lambda self: not self.asked)
    @rule(topic=TOPICS, queue_id=QUEUES, times=st.lists(st.sampled_from([15.0, 30.0, 1e12]), min_size=1, max_size=3))
    def pull_and_wait(self, topic: str, queue_id: int, times: list[float]) -> None:
        if topic not in self.topics or (topic, queue_id) in self.resets:
            return
        _, high = self.bench.state.store.bounds(topic, queue_id)

        async def park(seconds: float) -> None:
            channel = FakeChannel()
            self.bench.park(pull_header(topic, high, queue_id=queue_id, group=GROUP, suspend=int(seconds * 1000)), channel)
            self.waiting.append(Waiting(channel, (topic, queue_id), high, self.loop.time() + min(seconds, 120.0)))

        for seconds in times:
            self.run(park(seconds))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def close_connection(self, data: st.DataObject) -> None:
        pull = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(pull)
        pull.channel.closed = True
        self.bench.state.polling.cancel_all(pull.channel)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Let the model follow what was delivered: the due messages of topics that exist, each once."""
        now = self.loop.time()
        for name in [(topic, queue_id) for topic in ("a", "b") for queue_id in (0, 1)]:
            known = self.queues.get(name, Queue())
            for body, stored in self.records(name)[len(known.bodies) - known.low :]:
                entry = next((each for each in self.delayed if each[1:] == (name, body)), None)
                assert entry is not None, f"{body!r} is in {name}, where nobody sent it, or it is there twice"
                assert entry[0] <= now + 0.01, "before its time"
                self.delayed.remove(entry)
                self.queues.setdefault(name, known).add(body, stored)
        # What is overdue for longer than any pause between two tries went with its topic, or is lost.
        for entry in [each for each in self.delayed if each[0] + PATIENCE < now and self.trouble_until + PATIENCE < now]:
            assert entry[1][0] in self.lapsed, f"{entry} was never delivered"
            self.delayed.remove(entry)

    def records(self, name: Name) -> list[tuple[bytes, float]]:
        """What can be read of a queue: bodies, and when they were stored."""
        store = self.bench.state.store
        queue = store.queue(*name)
        records = store.read(queue, queue.min_offset, 10_000) if queue is not None else []
        bodies = [decode_message(each.record, broker_name="", max_body=0).stored_body for each in records]
        return [(body, (each.store_timestamp - NOW) / 1000) for body, each in zip(bodies, records, strict=True)]

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        if self.asked:
            return
        self.run(self.quiet())
        self.expire()
        self.deliver()
        assert {
            topic.topic_name: topic.write_queue_nums for topic in self.bench.state.topics if topic.topic_name in ("a", "b")
        } == self.topics
        for topic in ("a", "b"):
            for queue_id in (0, 1):
                name = (topic, queue_id)
                queue = self.queues.get(name, Queue())
                assert self.bench.state.store.bounds(*name) == (queue.low, len(queue.bodies))
                assert [body for body, _ in self.records(name)] == queue.bodies[queue.low :]
                assert self.bench.state.offsets.query(GROUP, topic, queue_id) == self.offsets.get(name, -1)
        assert_memory_is_the_database(self.bench)
        self.look_after_pulls()

    def expire(self) -> None:
        """The smallest offset moves up, past what is old enough, and soon past all of that."""
        now = self.loop.time()
        for name, queue in self.queues.items():
            low, _ = self.bench.state.store.bounds(*name)
            assert queue.low <= low <= len(queue.bodies)
            assert all(stored <= now - RETENTION + 0.01 for stored in queue.stored[queue.low : low]), "too early"
            if self.trouble_until + 60 < now:
                assert all(stored > now - RETENTION - 60 for stored in queue.stored[low:]), "too late"
            queue.low = low

    def look_after_pulls(self) -> None:
        for pull in list(self.waiting):
            queue = self.queues.get(pull.name, Queue())
            over = len(queue.bodies) != pull.offset or pull.name[0] not in self.topics or pull.name in self.resets
            answered = bool(pull.channel.replies)
            assert len(pull.channel.replies) <= 1
            if over or self.loop.time() > pull.deadline + 0.01:
                assert answered, f"{pull} waits for ever"
            if answered:
                if pull.channel.replies[0].remark == "OFFSET_RESET":
                    self.resets.pop(pull.name, None)
                self.waiting.remove(pull)
        assert len(self.bench.state.polling) == len(self.waiting)


TestBrokerModel = BrokerMachine.TestCase
TestBrokerModel.settings = settings(
    max_examples=int(os.environ.get("BROKER_SEQUENCES", "80")),
    stateful_step_count=30,
    deadline=None,
    derandomize="BROKER_SEQUENCES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
