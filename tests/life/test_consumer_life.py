"""Random lives of a consumer group under virtual time: whatever happens to it, its promises hold and nothing is left behind.

A life is a list of steps: messages, members that come and go, subscriptions that change, topics that grow and shrink, listeners that
fail, hang or end strangely, requests and answers that are lost, late or refused, connections that break, calls that are cancelled. What
must hold all the time is checked by the brokers (`tests/life/brokers.py`); at the end all faults are over, and then every message has to be
handled or dead-lettered, every queue to have one owner, and after the last stop no task, timer, lock or member may be left.

`LIVES=5000 pytest tests/life/test_consumer_life.py` tries more of them; `SEED=n` others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final
from unittest import mock

import pytest

import aiorocketmq as rmq
from aiorocketmq.client import manager
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.codes import RequestCode
from tests.life.brokers import BROKERS, CODES, FAULTS, GROUP, RETRY, Fault, GroupWorld
from tests.support.virtual_loop import VirtualTimeLoop, run_virtual
from tests.wire.world import NAME_SERVER

TOPICS: Final = ("orders", "bills")
MEMBERS: Final = 3
STEPS: Final = 14
LIVES: Final = int(os.environ.get("LIVES", "400"))
SEED: Final = int(os.environ.get("SEED", "1"))
PATIENCE: Final = 400.0
"""Virtual seconds that any call, and the recovery at the end, may take: a multiple of every interval of the client."""
STOP_WITHIN: Final = 15.0
TRIES: Final = 2
HOST: Final = "192.0.2.1"
MODES: Final = ("ok", "ok", "slow", "fail", "retry", "base exception", "cancels itself", "hang", "mixed", "mixed", "nonsense")

Step = tuple[str, tuple[Any, ...]]
Maker = Callable[[], Step]
"""Makes a step by chance."""


class Life:
    """One life: the world, its members, and what is done to them."""

    def __init__(self, *, ordered: bool, calm: bool) -> None:
        self.ordered = ordered
        self.world = GroupWorld(TOPICS)
        self.members: dict[int, rmq.PushConsumer] = {}
        self.mode = "ok"
        self.release = asyncio.Event()
        self._made = 0
        self._names: dict[int, str] = {}
        self._calm = calm

    # --- steps ------------------------------------------------------------------------------------------------------------------

    def steps(self, chance: random.Random) -> Iterator[Step]:
        """What happens in this life."""
        calm: list[tuple[int, Maker]] = [
            (6, lambda: ("send", (chance.choice(TOPICS), chance.choice(BROKERS), chance.randrange(2), chance.randint(1, 6)))),
            (5, lambda: ("start", (chance.randrange(MEMBERS),))),
            (3, lambda: ("stop", (chance.randrange(MEMBERS),))),
            (5, lambda: ("wait", (chance.choice([0.0, 0.01, 0.2, 0.6, 1.0, 3.0, 11.0, 25.0, 70.0]),))),
            (1, lambda: ("suspend", (chance.randrange(MEMBERS),))),
            (2, lambda: ("resume", (chance.randrange(MEMBERS),))),
        ]
        wild: list[tuple[int, Maker]] = [
            (2, lambda: ("subscribe", (chance.randrange(MEMBERS), chance.choice(TOPICS)))),
            (2, lambda: ("unsubscribe", (chance.randrange(MEMBERS), chance.choice(TOPICS)))),
            (4, lambda: ("listener", (chance.choice(MODES),))),
            (7, lambda: ("fault", (chance.choice(BROKERS), chance.choice(CODES), chance.choice(FAULTS), chance.choice([0.5, 4, 20, 90])))),
            (1, lambda: ("locks", (chance.choice(BROKERS), chance.choice(TOPICS), chance.choice([40.0, 70.0])))),
            (2, lambda: ("trim", (chance.choice(TOPICS), chance.choice(BROKERS), chance.randrange(2)))),
            (2, lambda: ("silence", (chance.choice(BROKERS), chance.choice([1.0, 6.0, 40.0])))),
            (2, lambda: ("cut", (chance.choice(BROKERS),))),
            (2, lambda: ("resize", (chance.choice(TOPICS), chance.choice(BROKERS), chance.randint(1, 3)))),
            (
                4,
                lambda: (
                    "cancelled",
                    (
                        chance.choice(["start", "stop", "subscribe", "unsubscribe"]),
                        chance.randrange(MEMBERS),
                        chance.choice(TOPICS),
                        chance.choice([0.0, 0.001, 0.3, 2.0]),
                    ),
                ),
            ),
        ]
        kinds = calm if self._calm else calm + wild
        makers = [make for _, make in kinds]
        weights = [weight for weight, _ in kinds]
        yield "start", (0,)
        for _ in range(chance.randint(3, STEPS)):
            yield chance.choices(makers, weights)[0]()

    async def take(self, step: Step) -> None:
        """Do one step."""
        name, arguments = step
        await getattr(self, f"_{name}")(*arguments)

    async def _send(self, topic: str, broker: str, queue: int, count: int) -> None:
        for _ in range(count):
            self.world.send(topic, broker, queue)

    async def _start(self, number: int) -> None:
        if number not in self.members:
            consumer = self._make(number)
            self.members[number] = consumer
            try:
                await self._bounded(consumer.start(), PATIENCE, f"start of {number}")
            except rmq.RocketMQError:
                self.members.pop(number, None)

    async def _stop(self, number: int) -> None:
        consumer = self.members.pop(number, None)
        if consumer is not None:
            await self._bounded(consumer.stop(), STOP_WITHIN, f"stop of {number}")

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _suspend(self, number: int) -> None:
        if (consumer := self._running(number)) is not None:
            consumer.suspend()

    async def _resume(self, number: int) -> None:
        if (consumer := self._running(number)) is not None:
            consumer.resume()

    async def _subscribe(self, number: int, topic: str) -> None:
        if (consumer := self._running(number)) is not None:
            with contextlib.suppress(rmq.RocketMQError):
                await self._bounded(consumer.subscribe(topic, self._listener(consumer)), PATIENCE, f"subscribe of {number}")

    async def _unsubscribe(self, number: int, topic: str) -> None:
        self.world.calm = False
        if (consumer := self._running(number)) is not None:
            with contextlib.suppress(rmq.RocketMQError):
                await self._bounded(consumer.unsubscribe(topic), PATIENCE, f"unsubscribe of {number}")

    async def _listener_mode(self, mode: str) -> None:
        self.mode = mode
        self.world.calm = False
        if mode != "hang":
            self.release.set()
            self.release = asyncio.Event()

    async def _fault(self, broker: str, code: int, kind: str, seconds: float) -> None:
        self.world.calm = False
        self.world.brokers[broker].faults[code] = Fault(kind, asyncio.get_running_loop().time() + seconds)
        self.world.brokers[broker].unlocks_lost |= code == RequestCode.UNLOCK_BATCH_MQ

    async def _locks(self, broker: str, topic: str, seconds: float) -> None:
        """No lock is renewed for a while, and then there is something to do."""
        await self._fault(broker, RequestCode.LOCK_BATCH_MQ, "lost request", seconds + 20)
        await asyncio.sleep(seconds)
        await self._send(topic, broker, 0, 3)

    async def _trim(self, topic: str, broker: str, queue: int) -> None:
        """The broker deletes all that it has, read or not; what comes next shows where the log begins."""
        self.world.calm = False
        if queue >= self.world.brokers[broker].queues[topic]:
            return
        await self._send(topic, broker, queue, 2)
        await asyncio.sleep(0.1)
        self.world.brokers[broker].trim(MessageQueue(topic, broker, queue))
        await self._send(topic, broker, queue, 2)

    async def _silence(self, broker: str, seconds: float) -> None:
        self.world.calm = False
        peer = self.world.brokers[broker].peer
        peer.silent = self.world.brokers[broker].unlocks_lost = True
        self.world.brokers[broker].later(seconds, lambda: setattr(peer, "silent", False))

    async def _cut(self, broker: str) -> None:
        self.world.calm = False
        self.world.brokers[broker].peer.drop()
        self.world.brokers[broker].unlocks_lost = True
        await asyncio.sleep(0)
        self.world.brokers[broker].forget_lost()

    async def _resize(self, topic: str, broker: str, queues: int) -> None:
        self.world.calm = False
        self.world.brokers[broker].queues[topic] = queues
        self.world.publish()

    async def _cancelled(self, name: str, number: int, topic: str, after: float) -> None:
        self.world.calm = False
        arguments = (number, topic) if name in ("subscribe", "unsubscribe") else (number,)
        call = asyncio.ensure_future(self.take((name, arguments)))
        await asyncio.wait([call], timeout=after)
        call.cancel()
        done, _ = await asyncio.wait([call], timeout=PATIENCE)
        if not done:
            self.world.broke(f"{name} of {number} does not end when it is cancelled")

    # --- members ----------------------------------------------------------------------------------------------------------------

    def _running(self, number: int) -> rmq.PushConsumer | None:
        consumer = self.members.get(number)
        return consumer if consumer is not None and consumer.state is rmq.client.ServiceState.RUNNING else None

    def _make(self, number: int) -> rmq.PushConsumer:
        self._made += 1
        consumer = rmq.PushConsumer(
            NAME_SERVER,
            group=GROUP,
            ordered=self.ordered,
            start_from=rmq.StartFrom.FIRST,
            instance_name=f"member-{number}-{self._made}",
            client_ip=HOST,
            concurrency=4,
            max_reconsume_times=TRIES,
            consume_timeout=20.0,
            await_termination_when_shutdown=3.0,
        )
        self._names[id(consumer)] = f"member-{number}-{self._made}"
        for topic in TOPICS:
            consumer.listen(topic)(self._listener(consumer))
        return consumer

    def _listener(self, consumer: rmq.PushConsumer) -> Callable[[rmq.ReceivedMessage], Awaitable[Any]]:
        world, client = self.world, f"{HOST}@{self._names[id(consumer)]}"

        async def handle(message: rmq.ReceivedMessage) -> Any:
            queue = message.queue
            call = world.begin(client, queue, [message.body.decode()], ordered=self.ordered)
            try:
                outcome = await self._behave(message.body)
                if outcome is None:
                    world.handled(queue, [message.queue_offset])
                return outcome
            finally:
                world.end(call, ordered=self.ordered)

        return handle

    async def _behave(self, body: bytes) -> Any:
        mode = self.mode
        if mode == "mixed":
            mode = ("ok", "mixed slow", "fail")[int(body[1:]) * 7 % 3]
        match mode:
            case "mixed slow":
                await asyncio.sleep(0.5 + int(body[1:]) % 7)
            case "slow":
                await asyncio.sleep(5.0)
            case "fail":
                raise ValueError("the listener fails")
            case "retry":
                return rmq.Retry(delay_level=1)
            case "base exception":
                raise BaseException("no Exception")
            case "cancels itself":
                raise asyncio.CancelledError
            case "hang":
                await self.release.wait()
            case "nonsense":
                await asyncio.sleep(0)
        return None

    async def _bounded(self, call: Any, seconds: float, what: str) -> None:
        task = asyncio.ensure_future(call)
        try:
            done, _ = await asyncio.wait([task], timeout=seconds)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            self.world.broke(f"{what} has not ended after {seconds:g} s")
            task.cancel()
            await asyncio.wait([task], timeout=PATIENCE)
        elif not task.cancelled():
            task.result()

    # --- the end ----------------------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """All faults are over: everything is handled, by exactly one owner of each queue."""
        self.world.heal()
        await self._listener_mode("ok")
        for number in list(self.members):
            if self._running(number) is None:
                await self._stop(number)
        await self._start(MEMBERS)
        for number in list(self.members):
            await self._resume(number)
            for topic in TOPICS:
                await self._subscribe(number, topic)
        for _ in range(int(PATIENCE)):
            if self._settled():
                break
            await asyncio.sleep(1.0)
        if left := self.world.unfinished(TOPICS):
            self.world.broke(f"never handled: {left[:5]} ({len(left)})")
        if missing := self._unowned():
            self.world.broke(f"not owned by exactly one member: {missing}")

    def _unowned(self) -> list[str]:
        owners: dict[rmq.MessageQueue, int] = {}
        for consumer in self.members.values():
            for queue in consumer.assigned:
                owners[queue] = owners.get(queue, 0) + 1
        wanted = {queue for topic in (*TOPICS, RETRY) for queue in self.world.queues(topic)}
        return [f"{queue}: {owners.get(queue, 0)}" for queue in sorted(wanted | owners.keys()) if owners.get(queue, 0) != (queue in wanted)]

    def _settled(self) -> bool:
        return not (self.world.unfinished(TOPICS) or self.world.coming_back or self._unowned())

    async def leave(self) -> None:
        """Everybody stops; nothing may be left."""
        for number in list(self.members):
            await self._stop(number)
        await asyncio.sleep(1.0)
        for broker in self.world.brokers.values():
            broker.forget_lost()  # who has said goodbye to a broker that did not hear it is gone with the connection
            if broker.members:
                self.world.broke(f"still members of {broker.name}: {sorted(broker.members)}")
            held = {queue: owner for queue in broker.locks if (owner := broker.holder(queue)) is not None}
            if broker.unlocks_lost:  # of a queue that is no more nobody asks for the lock again
                held = {queue: owner for queue, owner in held.items() if queue.queue_id < broker.queues[queue.topic]}
            if held:
                self.world.broke(f"still locked: {held}")
        self.world.master.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if tasks:
            self.world.broke(f"tasks left: {tasks}")
        known = {timer for broker in self.world.brokers.values() for timer in broker.timers}
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        timers = [timer for timer in loop._scheduled if not timer.cancelled() and timer not in known]  # type: ignore[attr-defined]
        if timers:
            self.world.broke(f"timers left: {timers}")
        for timer in known:
            timer.cancel()


_STEP_NAMES = {"listener": "listener_mode"}


async def live(seed: int, *, ordered: bool, calm: bool) -> tuple[list[str], list[Step]]:
    """One life; answers the broken promises and what happened."""
    random.seed(seed)  # clients shuffle and jitter
    chance = random.Random(seed)
    unhandled: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unhandled.append(str(context)))
    life = Life(ordered=ordered, calm=calm)
    taken: list[Step] = []
    with mock.patch.object(manager.shared, "make", life.world.make_instance):
        for step in life.steps(chance):
            taken.append(step)
            await life.take((_STEP_NAMES.get(step[0], step[0]), step[1]))
            if life.world.broken:
                break
        else:
            await life.recover()
        await life.leave()
    return [*life.world.broken, *unhandled], taken


@pytest.mark.feature("F2", "F30", "F32", "F44", "G1", "G2", "G10", "G13")
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("calm", [True, False], ids=["calm", "wild"])
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "concurrent"])
def test_a_life_keeps_its_promises(ordered: bool, calm: bool, part: int) -> None:
    for number in range(part, LIVES // 4, 10):
        seed = SEED * 1_000_000 + number
        broken, taken = run_virtual(live(seed, ordered=ordered, calm=calm))
        assert not broken, f"seed {seed}: {broken}\n" + "\n".join(map(repr, taken))
