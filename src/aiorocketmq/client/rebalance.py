"""When queues are shared out anew: by a timer, and at once when a broker or a consumer asks for it (Java: `RebalanceService`).

How they are shared out is the consumers' own business. Each group has rounds of its own: none waits for another. Feature G1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from aiorocketmq.client.ports import ConsumerPort
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.statelog import StateLog

logger = logging.getLogger("aiorocketmq.client")


@dataclass(slots=True)
class _Group:
    """The rounds of one group. Mutable.

    Attributes:
        consumer: Who does them.
        began: Loop time at which the last one began.
        task: Those under way, None when nothing is left to do.
        again: One more is asked for.
    """

    consumer: ConsumerPort
    began: float
    task: asyncio.Task[None] | None = None
    again: bool = False


class RebalanceService:
    """Runs the rebalance of all consumers of the instance.

    Args:
        scheduler: Makes its task, and one for each group that has something to do.
        consumers: Says who takes part.
        interval: Seconds between two rounds that nothing asked for.
        min_interval: Seconds between two rounds of a group in any case, and before its next round when one was not balanced.

    Attributes:
        rounds: Rounds done, of all groups.
    """

    def __init__(
        self, scheduler: Scheduler, consumers: Callable[[], Collection[ConsumerPort]], *, interval: float, min_interval: float
    ) -> None:
        self.interval = interval
        self.min_interval = min_interval
        self.rounds = 0
        self._scheduler = scheduler
        self._consumers = consumers
        self._asked = asyncio.Event()
        self._groups: dict[str, _Group] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._log = StateLog(logger)

    def start(self) -> None:
        """Start the timer; the first round comes after `interval`, or when asked for."""
        self._scheduler.service("rebalance", self._run)

    async def stop(self) -> None:
        """End the service; rounds that are under way are cancelled."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        await self._scheduler.end("rebalance")
        tasks = [group.task for group in self._groups.values() if group.task is not None and group.task is not asyncio.current_task()]
        self._groups.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def wake(self) -> None:
        """Ask for a round of every group now; it begins at once, or `min_interval` after the last one began."""
        self._asked.set()

    def begin(self, consumer: ConsumerPort) -> None:
        """Begin a round of one group now, whatever the others do; `min_interval` after its last one began."""
        self._begin(consumer.group, consumer)

    def wake_later(self, delay: float) -> None:
        """Ask for a round after `delay` seconds."""

        def ask() -> None:
            self._timers.discard(timer)
            self._asked.set()

        timer = asyncio.get_running_loop().call_later(delay, ask)
        self._timers.add(timer)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        last = clock() - self.min_interval
        while True:
            try:
                async with asyncio.timeout(self.interval):
                    await self._asked.wait()
            except TimeoutError:
                pass  # nobody asked: the timer's own round
            too_early = last + self.min_interval - clock()
            if too_early > 0:
                await asyncio.sleep(too_early)
            # Cleared before the rounds: what is asked for while they run is a reason for one more.
            self._asked.clear()
            last = clock()
            consumers = {consumer.group: consumer for consumer in self._consumers()}
            for name in self._groups.keys() - consumers.keys():
                if self._groups[name].task is None:
                    del self._groups[name]
                    self._log.forget(name)
            for name, consumer in consumers.items():
                self._begin(name, consumer)

    def _begin(self, name: str, consumer: ConsumerPort) -> None:
        group = self._groups.get(name)
        if group is None or group.consumer is not consumer:
            group = self._groups[name] = _Group(consumer, asyncio.get_running_loop().time() - self.min_interval)
        if group.task is not None:
            group.again = True
            return
        group.task = self._scheduler.spawn(f"rebalance:{name}", self._rounds(name, group))

    async def _rounds(self, name: str, group: _Group) -> None:
        """Rounds of one group, until nothing is left to do."""
        clock = asyncio.get_running_loop().time
        try:
            while True:
                too_early = group.began + self.min_interval - clock()
                if too_early > 0:
                    await asyncio.sleep(too_early)
                if group.consumer not in self._consumers():
                    return
                group.again = False
                group.began = clock()
                if await self._round(name, group.consumer) and not group.again:
                    return
        finally:
            group.task = None

    async def _round(self, name: str, consumer: ConsumerPort) -> bool:
        self.rounds += 1
        try:
            balanced = await consumer.rebalance()
        except Exception as error:  # noqa: BLE001 - one group's fault is told, and is tried again
            self._log.failed(name, "rebalance of consumer group %s failed: %s: %s", name, type(error).__name__, error, exc_info=error)
            return False
        self._log.worked(name, "rebalance of consumer group %s works again", name)
        return balanced
