"""The store against a model of plain dictionaries: any order of writes, commits, failures, crashes and restarts."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aiorocketmq.errors import RocketMQError
from aiorocketmq.protocol.message_codec import decode_message
from aiorocketmq.server.store.records import PendingMessage
from aiorocketmq.server.store.store import Store
from tests.unit.server.harness import NOW, settle

TOPICS = st.sampled_from(["a", "b"])
QUEUES = st.integers(0, 1)


class StoreMachine(RuleBasedStateMachine):
    """Committed state is what the model holds; pending changes wait for the end of a tick."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.queues: dict[tuple[str, int], list[bytes]] = {}
        self.offsets: dict[tuple[str, int], int] = {}
        self.pending: list[tuple[str, int, bytes] | str] = []  # messages, and names of dropped topics
        self.answers: list[RocketMQError | None] = []
        self.highest = -1
        self.open()

    def open(self) -> None:
        async def start() -> Store:
            store = Store(
                Path(self.folder.name) / "b.db", store_host=(b"\x7f\x00\x00\x01", 1), now_ms=lambda: NOW, recent_bytes=1200
            )  # so little memory that most reads go to the database
            store.open()
            return store

        self.store = self.loop.run_until_complete(start())

    def teardown(self) -> None:
        self.store.abandon()
        self.loop.close()
        self.folder.cleanup()

    @rule(topic=TOPICS, queue_id=QUEUES, body=st.binary(min_size=1, max_size=300), count=st.integers(1, 5))
    def append(self, topic: str, queue_id: int, body: bytes, count: int) -> None:
        for _ in range(count):
            self.store.append(PendingMessage(topic, queue_id, body, b"", done=lambda message, error: self.told(message, error)))
            self.pending.append((topic, queue_id, body))

    def told(self, message: PendingMessage, error: RocketMQError | None) -> None:
        self.answers.append(error)
        if error is None:
            assert message.physical_offset > self.highest, "an offset of the log is given once"
            self.highest = message.physical_offset

    @rule(topic=TOPICS, queue_id=QUEUES, offset=st.integers(0, 1000))
    def put_offset(self, topic: str, queue_id: int, offset: int) -> None:
        self.store.put_offset("g", topic, queue_id, offset)
        self.offsets[topic, queue_id] = offset
        self.commit()

    @rule(topic=TOPICS)
    def drop(self, topic: str) -> None:
        self.store.drop_topic(topic)
        self.pending.append(topic)

    @rule()
    def commit(self) -> None:
        self.settle()
        self.all_is_committed()

    def settle(self) -> None:
        """Until every commit has ended: a topic that is dropped after messages came for it begins one of its own."""
        while self.store._armed:
            self.loop.run_until_complete(settle())

    @rule()
    def fail(self) -> None:
        self.store.inject_error = "injected"
        self.settle()
        self.store.inject_error = ""
        assert len(self.answers) == self.sent() and None not in self.answers
        self.forget()

    @rule()
    def crash(self) -> None:
        self.store.abandon()
        self.forget()
        self.open()

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.all_is_committed()  # close() commits what is pending
        self.open()

    def all_is_committed(self) -> None:
        assert self.answers == [None] * self.sent()
        for change in self.pending:
            if isinstance(change, str):
                for name in [name for name in self.queues if name[0] == change]:
                    del self.queues[name]
            else:
                topic, queue_id, body = change
                self.queues.setdefault((topic, queue_id), []).append(body)
        self.forget()

    def sent(self) -> int:
        return sum(not isinstance(change, str) for change in self.pending)

    def forget(self) -> None:
        self.pending.clear()
        self.answers.clear()

    @invariant()
    def committed_state_is_the_models(self) -> None:
        for topic in ("a", "b"):
            for queue_id in (0, 1):
                bodies = self.queues.get((topic, queue_id), [])
                assert self.store.bounds(topic, queue_id) == (0, len(bodies))
                queue = self.store.queue(topic, queue_id)
                records = self.store.read(queue, 0, 10_000) if queue is not None else []
                assert [decode_message(each.record, broker_name="", max_body=0).stored_body for each in records] == bodies
        assert {(topic, queue_id): offset for _, topic, queue_id, offset in self.store.offsets()} == self.offsets


TestStoreModel = StoreMachine.TestCase
TestStoreModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
