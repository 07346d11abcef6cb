"""Random lives of a producer under virtual time: sends of every kind, brokers in every trouble, cancels and stops at any moment.

What holds whatever happens: no send outlives its deadline, its room comes back, `maybe_stored` is never falsely False, a success is stored,
and at rest nothing is left: no task, no timer, no entry in a table. `AIOROCKETMQ_LIVES` sets how many lives are lived: 120 by default,
the same ones every time; with another number they are new ones.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from aiorocketmq.client import manager
from aiorocketmq.errors import RocketMQError, WindowFullError
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer import Producer
from aiorocketmq.producer.send import SendOperation
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import SendMessageRequestHeaderV2
from aiorocketmq.protocol.message_codec import decode_batch
from tests.support.memory_transport import PeerConnection
from tests.support.virtual_loop import VirtualTimeLoop
from tests.unit.producer.world import BATCH, SEND, TOPIC, SendWorld
from tests.wire.world import heartbeat_answer

LIVES = int(os.environ.get("AIOROCKETMQ_LIVES", "120"))
NAMES = ("broker-a", "broker-b")
LATE = 0.1
"""Seconds that an outcome may be late: timers of channels are lazy, and a batch ends messages of nearly the same deadline together."""
CODES = [0, 0, 0, 10, 1, 2, 13, 14, 16, 1500, 4711, "queue", "garbage", None]


@dataclass
class Mood:
    """How a broker answers sends. Mutable.

    Attributes:
        code: Response code; "queue" refuses the queue, "garbage" lacks a field, None says nothing.
        stores: Stores the message where its answer does not say otherwise.
        delay: Seconds before the answer.
    """

    code: Any = 0
    stores: bool = True
    delay: float = 0.0


@dataclass(eq=False)
class Sent:
    """One call.

    Attributes:
        bodies: Bodies of its messages.
        outcome: The task or future.
        deadline: When it has to have ended.
        oneway: Nobody tells whether it is stored.
    """

    bodies: list[bytes]
    outcome: asyncio.Future[Any]
    deadline: float
    oneway: bool = False
    checked: bool = False


@dataclass
class Life:
    """One loop, one world, one producer at a time. Mutable."""

    auto_batch: bool
    runner: asyncio.Runner = field(default_factory=lambda: asyncio.Runner(loop_factory=VirtualTimeLoop))
    stored: set[bytes] = field(default_factory=set)
    moods: dict[str, Mood] = field(default_factory=lambda: {name: Mood() for name in NAMES})
    sent: list[Sent] = field(default_factory=list)
    stopping: list[asyncio.Future[Any]] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.world = self.runner.run(self._world())
        self.kept = manager.shared.make
        manager.shared.make = self.world.make_instance
        self.other = self.new_producer(group="other")  # keeps the instance and its connections while the producer stops
        self.producer = self.new_producer()

    async def _world(self) -> SendWorld:
        world = SendWorld()
        world.route_to(*NAMES, queues=4)
        for name in NAMES:
            for code in (SEND, BATCH):
                world.brokers[name].peer.on(code, lambda request, connection, name=name: self._take(name, request, connection))
        return world

    def new_producer(self, **fields: Any) -> Producer:
        async def start() -> Producer:
            producer = self.world.producer(
                max_in_flight=4, max_in_flight_bytes=300, auto_batch=self.auto_batch, topics=[TOPIC], connect_timeout=1.0,
                mq_client_api_timeout=1.0, **fields,
            )  # fmt: skip
            await producer.start()
            return producer

        return self.run(start())

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def now(self) -> float:
        return self.runner.get_loop().time()

    def _take(self, name: str, request: RemotingCommand, connection: PeerConnection) -> Any:
        mood = self.moods[name]
        header = SendMessageRequestHeaderV2.from_ext(request.ext_fields)
        code, remark = mood.code, f"remark {mood.code}"
        if code == "queue":
            code, remark = 1, f"request queueId[{header.queue_id}] is illegal"
        elif code in (0, 10, "garbage") or (code in (1, 4711, None) and mood.stores):
            self.stored.update([item.body for item in decode_batch(request.body)] if request.code == BATCH else [request.body])
        if code is None:
            return None
        fields = {"msgId": "ID", "queueId": str(header.queue_id), "queueOffset": "many" if code == "garbage" else "7"}
        answer = RemotingCommand.response(request, 0 if code == "garbage" else code, remark, header=fields)

        async def later() -> RemotingCommand:
            await asyncio.sleep(mood.delay)
            return answer

        return later() if mood.delay else answer

    def close(self) -> None:
        manager.shared.make = self.kept
        self.runner.close()


def raising(queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
    raise LookupError("a selector's own")


def last(queues: Sequence[MessageQueue], message: Message) -> MessageQueue:
    return queues[-1]


HOW: dict[str, dict[str, Any]] = {
    "any": {},
    "key": {"sharding_key": "key"},
    "selector": {"selector": last},
    "raising": {"selector": raising},
    "queue": {"queue": MessageQueue(TOPIC, "broker-b", 1)},
    "no broker": {"queue": MessageQueue(TOPIC, "broker-x", 1)},
}
FIELDS: list[dict[str, Any]] = [{}, {}, {"tag": "t"}, {"sharding_key": "own"}, {"delay": 5.0}, {"delay_level": 2}]


class ProducerLife(RuleBasedStateMachine):
    """The steps of a life, and what holds after each."""

    life: Life

    @initialize(auto_batch=st.booleans())
    def begin(self, auto_batch: bool) -> None:
        self.life = Life(auto_batch)

    # -- sending -----------------------------------------------------------------------------------------------------------------------

    @rule(
        kind=st.sampled_from(["send", "send", "nowait", "nowait", "oneway", "batch"]),
        how=st.sampled_from(list(HOW)),
        fields=st.sampled_from(FIELDS),
        topic=st.sampled_from([TOPIC, TOPIC, TOPIC, "unknown"]),
        size=st.sampled_from([10, 120, 400]),
        timeout=st.sampled_from([0.3, 1.0, 3.0, None]),
        count=st.integers(1, 4),
    )
    def send(self, kind: str, how: str, fields: dict[str, Any], topic: str, size: int, timeout: float | None, count: int) -> None:
        options = {} if topic == "unknown" else HOW[how]
        for _ in range(count):
            self._send(kind, options, fields, topic, size, timeout)

    def _send(self, kind: str, options: dict[str, Any], fields: dict[str, Any], topic: str, size: int, timeout: float | None) -> None:
        life, producer = self.life, self.life.producer
        life.number += 1
        bodies = [b"%d-%d" % (life.number, part) for part in range(2 if kind == "batch" else 1)]
        bodies = [body.ljust(size, b".") for body in bodies]
        if kind == "batch":
            fields = {name: value for name, value in fields.items() if not name.startswith("delay")}
            options = {name: value for name, value in options.items() if name == "queue"}
        messages = [Message(topic, body, **fields) for body in bodies]

        async def call() -> None:
            loop = asyncio.get_running_loop()
            made: asyncio.Future[Any]
            if kind == "nowait":
                try:
                    made = producer.send_nowait(messages[0], timeout=timeout, **options)
                except (WindowFullError, RocketMQError):
                    return
            elif kind == "batch":
                made = loop.create_task(producer.send_batch(messages, timeout=timeout, **options))
            else:
                function = producer.send if kind == "send" else producer.send_oneway
                made = loop.create_task(function(messages[0], timeout=timeout, **options))
            life.sent.append(Sent(bodies, made, loop.time() + (timeout or 3.0) + LATE, kind == "oneway"))
            await asyncio.sleep(0)

        life.run(call())

    @rule(index=st.integers(0, 30))
    def cancel(self, index: int) -> None:
        waiting = [sent for sent in self.life.sent if not sent.outcome.done()]
        if waiting:

            async def call() -> None:
                waiting[index % len(waiting)].outcome.cancel()
                await asyncio.sleep(0)

            self.life.run(call())

    # -- the world ---------------------------------------------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(NAMES),
        code=st.sampled_from(CODES),
        stores=st.booleans(),
        delay=st.sampled_from([0.0, 0.0, 0.01, 0.5, 4.0]),
    )
    def mood(self, name: str, code: Any, stores: bool, delay: float) -> None:
        self.life.moods[name] = Mood(code, stores, delay)

    @rule(name=st.sampled_from(NAMES), trouble=st.sampled_from(["drop", "down", "black hole", "up", "up", "old", "new"]))
    def trouble(self, name: str, trouble: str) -> None:
        broker = self.life.world.brokers[name]

        async def call() -> None:
            if trouble == "down":
                broker.down()
            elif trouble == "drop":
                broker.peer.drop()
            elif trouble == "black hole":
                broker.peer.drop()
                broker.peer.black_hole = True
            elif trouble == "up":
                broker.peer.refuse = broker.peer.black_hole = False
            else:
                version = 407 if trouble == "old" else 513
                broker.peer.on(RequestCode.HEART_BEAT, lambda request, connection: _beat(request, version))
            await asyncio.sleep(0)

        self.life.run(call())

    @rule(names=st.sampled_from([NAMES, NAMES, NAMES[:1], NAMES[1:], ()]), queues=st.sampled_from([1, 4]), refuse=st.booleans())
    def routes(self, names: tuple[str, ...], queues: int, refuse: bool) -> None:
        world = self.life.world
        world.name_server.refuse = refuse

        async def call() -> None:
            if names:
                world.route_to(*names, queues=queues)
            else:
                world.routes.pop(TOPIC, None)

        self.life.run(call())

    @rule(seconds=st.sampled_from([0.0, 0.005, 0.05, 0.3, 1.0, 2.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.life.run(asyncio.sleep(seconds))

    # -- stopping ----------------------------------------------------------------------------------------------------------------------

    @rule(timeout=st.sampled_from([0, 0.2, None]), given_up=st.sampled_from([None, None, 0.0, 0.1]))
    def stop(self, timeout: float | None, given_up: float | None) -> None:
        life = self.life
        old = life.producer

        async def call() -> None:
            stopping = asyncio.ensure_future(old.stop(timeout))
            if given_up is not None:
                await asyncio.sleep(given_up)
                stopping.cancel()
            await asyncio.wait([stopping])
            await asyncio.sleep(0.001)
            if old.state is ServiceState.SHUTDOWN_ALREADY and old._dispatcher is not None and old._dispatcher.closed:
                assert all(sent.outcome.done() for sent in life.sent), "a send outlives the stop of its producer"

        life.run(call())
        if old.state is ServiceState.SHUTDOWN_ALREADY:
            life.run(asyncio.sleep(2.0))
            check_empty(old)
            life.producer = life.new_producer()

    # -- what holds --------------------------------------------------------------------------------------------------------------------

    @invariant()
    def the_window_counts_what_is_there(self) -> None:
        if hasattr(self, "life"):
            dispatcher = self.life.producer._dispatcher
            assert dispatcher is not None
            assert 0 <= dispatcher.window.messages <= 4 and dispatcher.window.bytes >= 0

    @invariant()
    def every_send_ends_in_time_and_tells_the_truth(self) -> None:
        if not hasattr(self, "life"):
            return
        now = self.life.now()
        for sent in self.life.sent:
            if not sent.outcome.done():
                assert now <= sent.deadline, f"{sent.bodies[0][:10]!r} should have ended at {sent.deadline}, it is {now}"
            elif not sent.checked:
                sent.checked = True
                self._check(sent)

    def _check(self, sent: Sent) -> None:
        if sent.outcome.cancelled() or sent.oneway:
            if not sent.outcome.cancelled():
                sent.outcome.exception()
            return
        error = sent.outcome.exception()
        stored = self.life.stored
        if error is None:
            assert set(sent.bodies) <= stored, "a success that no broker has stored"
        elif not getattr(error, "maybe_stored", False):
            assert not stored.intersection(sent.bodies), f"stored, and maybe_stored is False: {error}"

    def teardown(self) -> None:
        if not hasattr(self, "life"):
            return
        life = self.life
        try:
            self.every_send_ends_in_time_and_tells_the_truth()
            life.run(asyncio.sleep(4.0))  # all brokers stay as they are: deadlines alone have to end everything
            self.every_send_ends_in_time_and_tells_the_truth()
            check_empty(life.producer)
            life.run(life.producer.stop(0))
            life.run(life.other.stop(0))
            life.run(asyncio.sleep(6.0))  # answers that brokers still owe
            left = [task for task in asyncio.all_tasks(life.runner.get_loop()) if not task.done()]
            assert not left, f"tasks are left: {left}"
            timers = [handle for handle in life.runner.get_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
            assert not timers, f"timers are left: {timers}"
        finally:
            life.close()


def _beat(request: RemotingCommand, version: int) -> RemotingCommand:
    response = heartbeat_answer(request)
    response.version = version
    return response


def check_empty(producer: Producer) -> None:
    """Nothing waits in a producer, and its window has all its room."""
    dispatcher, accumulator = producer._dispatcher, producer._accumulator
    assert dispatcher is not None
    assert (dispatcher.window.messages, dispatcher.window.bytes, len(dispatcher.window._waiters)) == (0, 0, 0)
    assert accumulator is None or (accumulator.held == 0 and not accumulator._batches and accumulator._waiting == 0)
    for target in dispatcher.targets.values():
        assert not any(target.places) and target.task is None and target.renewal is None
    assert not dispatcher._timers._asking and not dispatcher._timers._waiting
    assert all(not lobby.waiting for lobby in dispatcher._lobbies.by_address.values())
    assert not dispatcher.closed or not dispatcher._lobbies.by_address
    for handle in dispatcher.loop._scheduled:  # type: ignore[attr-defined]
        owner = getattr(handle._callback, "__self__", None)
        assert handle.cancelled() or not isinstance(owner, SendOperation), "a send that has ended keeps a timer"


@pytest.mark.feature("P1", "P5", "P9")
@pytest.mark.timeout(0 if LIVES != 120 else 120)
def test_whatever_happens_every_send_ends_and_leaves_nothing() -> None:
    lives = settings(
        max_examples=LIVES,
        stateful_step_count=25,
        derandomize=LIVES == 120,
        phases=[Phase.generate] if LIVES == 120 else [Phase.generate, Phase.shrink],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(ProducerLife, settings=lives)
    gc.collect()
