"""A broker without sockets: its state, its processors, and channels that keep what they are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.header import Header
from aiorocketmq.protocol.headers_client import PullMessageRequestHeader, SendMessageRequestHeader
from aiorocketmq.protocol.message_codec import decode_messages
from aiorocketmq.protocol.sysflag import PullSysFlag
from aiorocketmq.server.broker.broker import wake_pulls
from aiorocketmq.server.broker.config import BrokerConfig
from aiorocketmq.server.broker.pop_reminders import Reminders
from aiorocketmq.server.broker.pop_revive import Revive
from aiorocketmq.server.broker.processors.ack import AckProcessor
from aiorocketmq.server.broker.processors.admin import AdminProcessor
from aiorocketmq.server.broker.processors.assignment import AssignmentProcessor
from aiorocketmq.server.broker.processors.client import ClientProcessor
from aiorocketmq.server.broker.processors.common import restore
from aiorocketmq.server.broker.processors.pop import PopProcessor
from aiorocketmq.server.broker.processors.pull import PullProcessor
from aiorocketmq.server.broker.processors.recall import RecallProcessor
from aiorocketmq.server.broker.processors.reply import ReplyProcessor
from aiorocketmq.server.broker.processors.send import SendProcessor
from aiorocketmq.server.broker.processors.transaction import TransactionProcessor
from aiorocketmq.server.broker.processors.watch import WatchProcessor
from aiorocketmq.server.broker.schedule import Schedule
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.broker.topic_queues import TopicQueues
from aiorocketmq.server.dispatch import RequestTable

NOW = 1_700_000_000_000


class FakeChannel:
    """The server's end of a connection that leads nowhere."""

    def __init__(self, address: str = "127.0.0.1:50001") -> None:
        self.address = address
        self.closed = False
        self.reading = True
        self.context: object = None
        self.replies: list[RemotingCommand] = []
        self.sent: list[RemotingCommand] = []
        self.waiters: list[Any] = []
        self._waiting: asyncio.Future[RemotingCommand] | None = None

    @property
    def writable(self) -> bool:
        return self.reading and not self.closed

    def reply(self, request: RemotingCommand, response: RemotingCommand) -> None:
        if self.closed or request.is_oneway:
            return
        self.replies.append(response)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(response)

    def send(self, *frame: bytes) -> None:
        self.sent += FrameReceiver().feed(b"".join(frame))

    def submit(self, opaque: int, frame: bytes, waiter: Any, deadline: float) -> None:
        self.send(frame)
        self.waiters.append(waiter)

    def close(self) -> None:
        self.closed = True

    async def answer(self) -> RemotingCommand:
        """The next reply."""
        self._waiting = asyncio.get_running_loop().create_future()
        return await asyncio.wait_for(self._waiting, 5)


class Clock:
    """A wall clock and a monotonic one that stand still until they are moved."""

    def __init__(self) -> None:
        self.ms = NOW
        self.seconds = time.monotonic()  # as the loop, which ends what waits

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        self.seconds += seconds


async def unreachable(request: RemotingCommand, timeout: float) -> RemotingCommand:
    """Where a broker without sockets finds its name servers."""
    raise AssertionError(f"nobody can be asked {request.code}")


class BrokerBench:
    """The processors of one broker, on a store in memory or in a file.

    Args:
        path: Database file, or None.
        settings: Fields of `BrokerConfig`.
    """

    def __init__(self, path: Path | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.changed_topics: list[str] = []
        self.state = BrokerState(
            BrokerConfig(path=path, **settings),
            "127.0.0.1",
            10911,
            now_ms=lambda: self.clock.ms,
            clients_ms=lambda: self.clock.ms,
            monotonic=lambda: self.clock.seconds,
            on_topic_change=self.changed_topics.append,
        )
        state = self.state
        state.store.open()
        state.topics.load()
        state.groups.load()
        state.offsets.load()
        state.taken.load()
        state.orders.load()
        state.request_modes.load()
        self.schedule = Schedule(state.store, lambda: self.clock.ms, partial(restore, state))
        self.revive = Revive(state, self.schedule)
        reminders = Reminders(state, self.schedule)
        self.chance = 99
        state.store.on_scheduled = self.schedule.added
        state.store.on_arrival = partial(wake_pulls, state)
        rows = [
            row
            for processor in (
                SendProcessor(state),
                RecallProcessor(state, self.schedule),
                ReplyProcessor(state),
                TransactionProcessor(state, self.schedule),
                PullProcessor(state),
                PopProcessor(state, reminders, lambda most: self.chance % most),
                WatchProcessor(state, reminders, lambda most: self.chance % most),
                AckProcessor(state, reminders),
                ClientProcessor(state),
                AdminProcessor(state, lambda callback: callback()),
                AssignmentProcessor(state, TopicQueues(state, unreachable, lambda name, work: None)),
            )
            for row in processor.operations()
        ]
        self.table = RequestTable(rows, undo=state.store.revoke)

    async def ask(
        self,
        code: int,
        header: Header | Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        channel: FakeChannel | None = None,
        version: int = 479,
        oneway: bool = False,
    ) -> RemotingCommand:
        """Ask, and wait for the answer. What the test has changed before is committed first."""
        await settle()
        channel = channel or FakeChannel()
        request = RemotingCommand.request(code, header, body, oneway=oneway)
        request.version = version
        answer = self.handle(request, channel)
        return answer if answer is not None else await channel.answer()

    def handle(self, request: RemotingCommand, channel: FakeChannel) -> RemotingCommand | None:
        """Let a request be handled as a broker does: as one unit of work."""
        self.state.store.begin()
        try:
            return self.table.handle(request, channel)  # type: ignore[arg-type]
        finally:
            self.state.store.end()

    def park(self, header: Header, channel: FakeChannel) -> None:
        """Send a pull that is expected to wait."""
        request = RemotingCommand.request(RequestCode.PULL_MESSAGE, header)
        assert self.handle(request, channel) is None

    async def send(
        self, topic: str, body: bytes = b"x", *, queue_id: int = 0, properties: str = "", channel: FakeChannel | None = None, **fields: Any
    ) -> RemotingCommand:
        """Send one message with the short header."""
        header = SendMessageRequestHeader(
            fields.pop("producer_group", "producers"), topic, fields.pop("default_topic", "TBW102"),
            fields.pop("default_topic_queue_nums", 4), queue_id, 0, NOW, 0, properties,
            reconsume_times=fields.pop("reconsume_times", 0), unit_mode=False, batch=False,
            max_reconsume_times=fields.pop("max_reconsume_times", None),
        )  # fmt: skip
        assert not fields
        return await self.ask(RequestCode.SEND_MESSAGE_V2, header.to_v2(), body, channel=channel)

    async def pull(self, topic: str, offset: int = 0, **fields: Any) -> RemotingCommand:
        return await self.ask(RequestCode.PULL_MESSAGE, pull_header(topic, offset, **fields))

    async def bodies(self, topic: str, queue_id: int = 0) -> list[bytes]:
        """Bodies of all messages of a queue."""
        answer = await self.pull(topic, queue_id=queue_id)
        return [message.stored_body for message in decode_messages(answer.body, broker_name="broker-a", max_body=0)]

    async def close(self) -> None:
        """Stop the timers and close the database."""
        self.schedule.stop()
        self.state.polling.stop()
        self.state.notices.stop()
        database = await self.state.store.close()
        if database is not None:
            database.close()


MakeBench = Callable[..., BrokerBench]


def pull_header(
    topic: str,
    offset: int = 0,
    *,
    queue_id: int = 0,
    count: int = 32,
    tags: str = "*",
    group: str = "readers",
    suspend: int = 0,
    commit: int | None = None,
    inline: bool = True,
    kind: str = "TAG",
    version: int = 0,
    class_filter: bool = False,
) -> PullMessageRequestHeader:
    flags = PullSysFlag.build(commit_offset=commit is not None, suspend=suspend > 0, subscription=inline, class_filter=class_filter)
    return PullMessageRequestHeader(group, topic, queue_id, offset, count, flags, commit or 0, suspend, version, tags, kind)


async def settle(ticks: int = 4) -> None:
    """Let the loop run what is due: commits end with their tick."""
    for _ in range(ticks):
        await asyncio.sleep(0)


def assert_memory_is_the_database(bench: BrokerBench) -> None:
    """The tables in memory show what is committed, and nothing is on its way."""
    state = bench.state
    for table, kind in ((state.topics._stored, "topic"), (state.groups._stored, "group")):
        assert {name: table._encode(value) for name, value in table._table.items()} == state.store.settings(kind)  # type: ignore[attr-defined]
        assert not table._pending  # type: ignore[attr-defined]
    in_memory = {(group, topic, queue, offset) for topic, group, queues in state.offsets.items() for queue, offset in queues.items()}
    assert in_memory == set(state.store.offsets())
    assert not state.offsets._writing and not state.offsets._resetting
    queues = {(queue.topic, queue.queue_id): (queue.key, queue.min_offset) for queue in state.store.queues()}
    rows = state.store._db.execute("SELECT topic, queue_id, id, min_offset FROM queues").fetchall()
    assert queues == {(topic, queue_id): (key, low) for topic, queue_id, key, low in rows}
    ends = state.store._db.execute(
        "SELECT topic, queue_id, max(queue_offset) + 1 FROM messages JOIN queues ON queues.id = messages.queue GROUP BY queue"
    )
    assert all(state.store.bounds(topic, queue_id)[1] == end for topic, queue_id, end in ends)
