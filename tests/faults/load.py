"""A steady load of numbered messages, and what became of each of them: what the tests with dying brokers measure and check."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiorocketmq as rmq
from tests.support.starvation import Starvation

RATE = 500


@dataclass
class History:
    """What happened to every number, with the time at which it happened (monotonic seconds).

    Attributes:
        acknowledged: Sends that were answered SEND_OK.
        brokers: The same: broker's name → the moments.
        failed: Sends that raised, with what they raised.
        delivered: First deliveries.
        calls: Begin and end of every send.
        again: Deliveries of a number that had been delivered before.
        keys: Key → its numbers, in the order of their first deliveries.
    """

    acknowledged: dict[int, float] = field(default_factory=dict)
    brokers: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    failed: dict[int, rmq.RocketMQError] = field(default_factory=dict)
    delivered: dict[int, float] = field(default_factory=dict)
    calls: list[tuple[float, float]] = field(default_factory=list)
    again: int = 0
    keys: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def deliver(self, message: rmq.ReceivedMessage, keys: int = 1) -> bool:
        """A message came to a listener; False when it came before."""
        number = int(message.body)
        if number in self.delivered:
            self.again += 1
            return False
        self.delivered[number] = time.monotonic()
        self.keys[number % keys].append(number)
        return True

    def longest_call(self, starvation: Starvation) -> float:
        """Seconds of the longest call, without what the machine kept from this process meanwhile."""
        return max(ended - began - starvation.between(began, ended) for began, ended in self.calls)

    def lost(self) -> set[int]:
        """Acknowledged, never delivered."""
        return self.acknowledged.keys() - self.delivered.keys()

    def doubtless_but_stored(self) -> set[int]:
        """Failed with 'certainly not stored', and delivered: must be none."""
        doubtless = {number for number, error in self.failed.items() if not getattr(error, "maybe_stored", True)}
        return self.delivered.keys() & doubtless

    def inversions(self) -> int:
        """First deliveries of a key after a higher number of it."""
        return sum(later < earlier for numbers in self.keys.values() for earlier, later in itertools.pairwise(numbers))

    def first_after(self, events: dict[int, float], moment: float) -> float:
        """Seconds from a moment to the first event after it."""
        return min((at - moment for at in events.values() if at >= moment), default=float("inf"))

    def longest_gap(self, events: dict[int, float], since: float, until: float) -> float:
        """Seconds of the longest time without an event, between two moments."""
        moments = [since, *sorted(at for at in events.values() if since < at < until), until]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    def text(self) -> str:
        """The figures of every run."""
        errors = Counter(type(error).__name__ for error in self.failed.values())
        return f"acknowledged {len(self.acknowledged)}, failed {dict(errors)}, lost {len(self.lost())}, again {self.again}"


class Load:
    """Sends numbers at a steady rate, each in a task of its own, as the requests of a service would.

    Args:
        producer: Started.
        topic: Where to.
        history: Takes what becomes of them.
        rate: Messages a second.
        keys: With more than 0 a number goes to the queue of its key, number % keys, and only when the one before it is stored: as ordered
            messages are sent. What fails is sent again, as no client does by itself for messages of a key.
        size: Bytes of a body.
    """

    def __init__(self, producer: rmq.Producer, topic: str, history: History, *, rate: int = RATE, keys: int = 0, size: int = 1024) -> None:
        self._producer = producer
        self._topic = topic
        self._history = history
        self._rate = rate
        self._size = size
        self._turns = [asyncio.Lock() for _ in range(keys)]
        self._sends: set[asyncio.Task[object]] = set()
        self._running = True
        self._pacer = asyncio.create_task(self._pace())

    async def _pace(self) -> None:
        send: Callable[[int], Coroutine[Any, Any, object]] = self._send_in_turn if self._turns else self._send
        began, sent = time.monotonic(), 0
        while self._running:
            while sent < (time.monotonic() - began) * self._rate:
                task = asyncio.create_task(send(sent))
                self._sends.add(task)
                task.add_done_callback(self._sends.discard)
                sent += 1
            await asyncio.sleep(0.005)

    async def _send_in_turn(self, number: int) -> None:
        async with self._turns[number % len(self._turns)]:
            stored = False
            while not stored:
                stored = await self._send(number, str(number % len(self._turns)))
                await asyncio.sleep(0.0 if stored else 0.05)

    async def _send(self, number: int, key: str | None = None) -> bool:
        history, began = self._history, time.monotonic()
        message = rmq.Message(self._topic, str(number).encode().ljust(self._size))
        try:
            result = await self._producer.send(message, sharding_key=key)
        except rmq.RocketMQError as error:
            history.failed[number] = error
            return False
        else:
            if result.status is rmq.SendStatus.SEND_OK:
                history.acknowledged[number] = history.brokers[result.queue.broker_name][number] = time.monotonic()
            return True
        finally:
            history.calls.append((began, time.monotonic()))

    async def stop(self) -> None:
        """Send no more, and wait for what is under way."""
        self._running = False
        await self._pacer
        await asyncio.gather(*self._sends)
