"""A producer in flight and a push consumer in one process, as fast as they go, for minutes; everything that could grow is sampled.

The listeners stand still for a moment again and again, so that flow control has something to do. Every message carries its number: none
may be lost, and what comes twice is counted.
"""

from __future__ import annotations

import asyncio
import gc
import struct
from collections.abc import Callable
from typing import Any, Final

import aiorocketmq as rmq
from benchmarks.growth import probe
from benchmarks.growth.measured import load

_PATIENCE: Final = 60.0
_LOOK: Final = 0.05
"""Seconds between two looks at the limits."""
_RESUME_LOOK: Final = 0.01
_NUMBER: Final = struct.Struct(">q")


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
        ahead = self._ahead
        if number != self.next:
            ahead.add(number)
            return
        self.next += 1
        while self.next in ahead:
            ahead.remove(self.next)
            self.next += 1


class Soak:
    """One soak. Mutable: it counts.

    Args:
        request: See `measure()`.
        producer: The producer.
        consumer: The consumer; its listener is set here.
    """

    def __init__(self, request: dict[str, Any], producer: rmq.Producer, consumer: rmq.PushConsumer) -> None:
        self._request = request
        self._producer = producer
        self._consumer = consumer
        self._loop = asyncio.get_running_loop()
        self._padding = b"x" * (request["size"] - _NUMBER.size)
        self._ledger = Ledger()
        self._moving = asyncio.Event()
        self._moving.set()
        self._unanswered = 0
        self._begun = 0
        self._received = 0
        self._failures: dict[str, int] = {}
        self._until = 0.0
        self._credit_from = 0.0
        self._resuming: asyncio.TimerHandle | None = None
        self._highest = {"unanswered": 0, "queue_messages": 0, "queue_bytes": 0, "pulls": 0, "backlog": 0}
        self._held: dict[str, int] = {"backlog": 0, "rate": 0}
        consumer.listen(request["topic"])(self._handle)

    # Hot: sends and deliveries.

    async def _handle(self, message: rmq.ReceivedMessage) -> None:
        if not self._moving.is_set():
            await self._moving.wait()
        self._received += 1
        self._ledger.come(_NUMBER.unpack_from(message.body)[0])

    def _fill(self) -> None:
        """Send until the window is full, the backlog long enough, or the rate's share used up."""
        request = self._request
        now = self._loop.time()
        self._resuming = None
        while self._unanswered < request["window"] and now < self._until:
            if self._begun - self._received >= request["backlog"]:
                self._pause("backlog")
                return
            if self._begun >= (now - self._credit_from) * request["max_rate"]:
                self._pause("rate")
                return
            self._send()

    def _pause(self, why: str) -> None:
        self._held[why] += 1
        self._resuming = self._loop.call_later(_RESUME_LOOK, self._fill)

    def _send(self) -> None:
        number = self._begun
        self._begun += 1
        self._unanswered += 1
        message = rmq.Message(self._request["topic"], _NUMBER.pack(number) + self._padding)
        self._producer.send_nowait(message).add_done_callback(lambda future: self._answered(number, future))

    def _answered(self, number: int, future: asyncio.Future[rmq.SendResult]) -> None:
        self._unanswered -= 1
        error = future.exception()
        if error is not None:
            name = type(error).__name__
            self._failures[name] = self._failures.get(name, 0) + 1
            self._ledger.come(number)
        if self._resuming is None:
            self._fill()

    # What is sampled.

    def _look(self) -> None:
        """Note the highest values of everything that has a limit."""
        pulls = 0
        highest = self._highest
        for assigned in _assigned(self._consumer):
            highest["queue_messages"] = max(highest["queue_messages"], assigned.messages.count)
            highest["queue_bytes"] = max(highest["queue_bytes"], assigned.messages.size)
            pulls += assigned.puller._call.in_flight
        highest["pulls"] = max(highest["pulls"], pulls)
        highest["unanswered"] = max(highest["unanswered"], self._unanswered)
        highest["backlog"] = max(highest["backlog"], self._begun - self._received)

    def _sample(self, began: float) -> dict[str, Any]:
        return {
            "seconds": self._loop.time() - began,
            "halted": not self._moving.is_set(),
            "sent": self._begun,
            "received": self._received,
            "unanswered": self._unanswered,
            "backlog": self._begun - self._received,
            "unfinished": self._consumer.backlog,
            **probe.holdings(),
            "objects": len(gc.get_objects()),
        }

    # The run.

    async def run(self, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Work for the time that the request names, then take what is left of the backlog."""
        request = self._request
        began = self._credit_from = self._loop.time()
        self._until = began + request["seconds"]
        meter = probe.Meter()
        samples: list[dict[str, Any]] = []
        watch = asyncio.create_task(self._watch())
        halts = asyncio.create_task(self._halt_again_and_again())
        self._fill()
        try:
            while self._loop.time() < self._until:
                await asyncio.sleep(request["interval"])
                samples.append(self._sample(began))
                tell(samples[-1])
            seconds, cpu_seconds, received = meter.seconds, meter.cpu_seconds, self._received
        finally:
            halts.cancel()
            self._moving.set()
        await self._drain()
        watch.cancel()
        return {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "received_in_time": received,
            "sent": self._begun,
            "failures": self._failures,
            "received": self._received,
            "twice": self._ledger.twice,
            "lost": self._begun - self._ledger.count,
            "highest": self._highest,
            "held": self._held,
            "flow_control": _flow_control(self._consumer),
            "samples": samples,
        }

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(_LOOK)

    async def _halt_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self._request["halt_every"])
            self._moving.clear()
            await asyncio.sleep(self._request["halt"])
            self._moving.set()

    async def _drain(self) -> None:
        """Until everything sent is answered and has come; gives up when nothing comes any more."""
        last, since = -1, self._loop.time()
        while self._unanswered or self._ledger.next < self._begun:
            if self._received != last:
                last, since = self._received, self._loop.time()
            if self._loop.time() - since > _PATIENCE:
                return
            await asyncio.sleep(_LOOK)


async def measure(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run a soak.

    Args:
        request: `name_servers`, `topic`, `group`; `seconds` of load, `interval` between samples; `size` of a body, `window` of unanswered
            sends, `backlog` of messages sent and not received, `max_rate` per second; `halt_every` and `halt`, seconds between and of the
            listeners' halts; `queue_limit`, unfinished messages of a queue at which the consumer holds back.
        tell: Called with each sample.
    """
    consumer = rmq.PushConsumer(
        request["name_servers"],
        group=request["group"],
        start_from=rmq.StartFrom.FIRST,
        pull_threshold_for_queue=request["queue_limit"],
    )
    async with load.producer(request["name_servers"], request["group"] + "_p", request["window"]) as producer:
        soak = Soak(request, producer, consumer)
        async with consumer:
            return await soak.run(tell)


def _assigned(consumer: rmq.PushConsumer) -> list[Any]:
    """The owned queues with their pull loops; there is no public view of single pulls."""
    runtime = consumer._runtime
    return list(runtime.rebalancer.assigned.values()) if runtime is not None else []


def _flow_control(consumer: rmq.PushConsumer) -> dict[str, int]:
    control = consumer.flow_control
    return {"by_count": control.by_count, "by_size": control.by_size, "by_span": control.by_span}
