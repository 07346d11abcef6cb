"""A producer in flight and a push consumer in one process, as fast as they go, for minutes; everything that could grow is sampled.

The listeners stand still for a moment again and again, so that flow control has something to do. Every message carries its number: none
may be lost, and what comes twice is counted.
"""

from __future__ import annotations

import asyncio
import gc
import struct
from collections.abc import Sequence
from typing import Any

import aiorocketmq as rmq
from benchmarks.ours.holdings import holdings
from benchmarks.ours.meter import Answer, Meter, resident_bytes

BACKLOG = 20_000
QUEUE_LIMIT = 500
MAX_RATE = 30_000
"""Messages a second at most: a broker writes up to 300 bytes for each, which is 11 GB in 20 minutes."""
HALT_EVERY, HALT = 60.0, 2.0
INTERVAL = 5.0
_PATIENCE = 60.0
_LOOK = 0.05
_RESUME_LOOK = 0.01
_NUMBER = struct.Struct(">q")
_DRIFTING = ("rss", "tasks", "timers", "descriptors", "threads", "objects")


class Ledger:
    """Which numbers have come, in memory that does not grow with their count."""

    def __init__(self) -> None:
        self.next = 0
        self.count = 0
        self.twice = 0
        self._ahead: set[int] = set()

    def come(self, number: int) -> None:
        """A number has come, or is known not to be stored."""
        if number < self.next or number in self._ahead:
            self.twice += 1
            return
        self.count += 1
        self._ahead.add(number)
        while self.next in self._ahead:
            self._ahead.remove(self.next)
            self.next += 1


class Soak:
    """One soak. Mutable: it counts."""

    def __init__(self, request: dict[str, Any], producer: rmq.Producer, consumer: rmq.PushConsumer) -> None:
        self._topic, self._window, self._seconds = request["topic"], request["window"], request["minutes"] * 60
        self._producer, self._consumer = producer, consumer
        self._loop = asyncio.get_running_loop()
        self._padding = b"x" * (request["size"] - _NUMBER.size)
        self._ledger = Ledger()
        self._moving = asyncio.Event()
        self._moving.set()
        self._unanswered = self._begun = self._received = self._failed = 0
        self._until = self._began = 0.0
        self._resuming: asyncio.TimerHandle | None = None
        self._highest = {"unanswered": 0, "waiting": 0, "pulls": 0}
        consumer.listen(self._topic)(self._handle)

    async def _handle(self, message: rmq.ReceivedMessage) -> None:
        if not self._moving.is_set():
            await self._moving.wait()
        self._received += 1
        self._ledger.come(_NUMBER.unpack_from(message.body)[0])

    def _fill(self) -> None:
        """Send until the window is full, the backlog long enough, or the rate's share used up."""
        now = self._loop.time()
        self._resuming = None
        while self._unanswered < self._window and now < self._until:
            if self._begun - self._received >= BACKLOG or self._begun >= (now - self._began) * MAX_RATE:
                self._resuming = self._loop.call_later(_RESUME_LOOK, self._fill)
                return
            number = self._begun
            self._begun += 1
            self._unanswered += 1
            future = self._producer.send_nowait(rmq.Message(self._topic, _NUMBER.pack(number) + self._padding))
            future.add_done_callback(lambda future, number=number: self._answered(number, future))  # type: ignore[misc]

    def _answered(self, number: int, future: asyncio.Future[rmq.SendResult]) -> None:
        self._unanswered -= 1
        if future.exception() is not None:
            self._failed += 1
            self._ledger.come(number)
        if self._resuming is None:
            self._fill()

    async def _watch(self) -> None:
        """Note the highest values of everything that has a limit."""
        highest = self._highest
        while True:
            info = self._consumer.instance
            highest["waiting"] = max(highest["waiting"], self._consumer.backlog)
            highest["unanswered"] = max(highest["unanswered"], self._unanswered)
            highest["pulls"] = max(highest["pulls"], (info.remoting.in_flight if info is not None else 0) - self._unanswered)
            await asyncio.sleep(_LOOK)

    async def _halt_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(HALT_EVERY)
            self._moving.clear()
            await asyncio.sleep(HALT)
            self._moving.set()

    async def run(self) -> Answer:
        """Work for the time that the request names, then take what is left of the backlog."""
        self._began = self._loop.time()
        self._until = self._began + self._seconds
        meter = Meter()
        samples: list[dict[str, float]] = []
        others = [asyncio.create_task(self._watch()), asyncio.create_task(self._halt_again_and_again())]
        self._fill()
        try:
            while self._loop.time() < self._until:
                await asyncio.sleep(INTERVAL)
                if self._moving.is_set():  # what is held meanwhile depends on how long a halt has lasted
                    held = {"rss": resident_bytes(), "objects": len(gc.get_objects()), **holdings()}
                    samples.append({"seconds": self._loop.time() - self._began, **held})
            answer = meter.answer(self._received, self._failed)
        finally:
            for other in others:
                other.cancel()
            self._moving.set()
        await self._drain()
        lost = self._begun - self._ledger.count
        more = {"received": self._received, "twice": self._ledger.twice, "lost": lost, **self._highest}
        return answer | {"more": more | {f"drift_{name}": drift(samples, name) for name in _DRIFTING}}

    async def _drain(self) -> None:
        """Until everything sent is answered and has come; gives up when nothing comes any more."""
        last, since = -1, self._loop.time()
        while (self._unanswered or self._ledger.next < self._begun) and self._loop.time() - since <= _PATIENCE:
            if self._received != last:
                last, since = self._received, self._loop.time()
            await asyncio.sleep(_LOOK)


def drift(samples: Sequence[dict[str, float]], name: str) -> float:
    """How far the straight line through the second half of the samples rises over that half (least squares)."""
    half = samples[len(samples) // 2 :]
    if len(half) < 2:
        return 0.0
    times, values = [each["seconds"] for each in half], [each[name] for each in half]
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    slope = sum((time - middle) * (value - mean) for time, value in zip(times, values, strict=True)) / sum(
        (time - middle) ** 2 for time in times
    )
    return slope * (times[-1] - times[0])


async def soak(name_servers: str, request: dict[str, Any], options: dict[str, Any]) -> Answer:
    """Run a soak of `minutes` with `window` unanswered sends; `options` are the producer's."""
    consumer = rmq.PushConsumer(name_servers, group=request["group"], start_from=rmq.StartFrom.FIRST, pull_threshold_for_queue=QUEUE_LIMIT)
    async with rmq.Producer(name_servers, group=request["group"] + "_p", **options) as producer:
        running = Soak(request, producer, consumer)
        async with consumer:
            return await running.run()
