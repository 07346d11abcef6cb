"""When queues are shared out anew: by a timer, and at once when a broker or a consumer asks for it (Java: `RebalanceService`).

How they are shared out is the consumers' own business. Feature G1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from aiorocketmq.client.ports import ConsumerPort
from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.statelog import StateLog

logger = logging.getLogger("aiorocketmq.client")


class RebalanceService:
    """Runs a rebalance of all consumers of the instance.

    Args:
        scheduler: Makes its one task.
        consumers: Says who takes part.
        interval: Seconds between two rounds that nothing asked for.
        min_interval: Seconds between two rounds in any case, and before the next round when one was not balanced.

    Attributes:
        rounds: Rounds done.
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
        self._timers: set[asyncio.TimerHandle] = set()
        self._log = StateLog(logger)

    def start(self) -> None:
        """Start the timer; the first round comes after `interval`, or when asked for."""
        self._scheduler.service("rebalance", self._run)

    async def stop(self) -> None:
        """End the service; a round that is under way is cancelled."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        await self._scheduler.end("rebalance")

    def wake(self) -> None:
        """Ask for a round now; it begins at once, or `min_interval` after the last one began."""
        self._asked.set()

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
        wait = self.interval
        while True:
            try:
                async with asyncio.timeout(wait):
                    await self._asked.wait()
            except TimeoutError:
                pass  # nobody asked: the timer's own round
            too_early = last + self.min_interval - clock()
            if too_early > 0:
                await asyncio.sleep(too_early)
            # Cleared before the round: what is asked for while it runs is a reason for one more.
            self._asked.clear()
            last = clock()
            wait = self.interval if await self._round() else self.min_interval

    async def _round(self) -> bool:
        self.rounds += 1
        consumers = {consumer.group: consumer for consumer in self._consumers()}
        balanced = True
        outcomes = await self._scheduler.gather("rebalance", {group: consumer.rebalance() for group, consumer in consumers.items()})
        for group, outcome in outcomes.items():
            if isinstance(outcome, Exception):
                balanced = False
                self._log.failed(
                    group, "rebalance of consumer group %s failed: %s: %s", group, type(outcome).__name__, outcome, exc_info=outcome
                )
            else:
                balanced = balanced and outcome
                self._log.worked(group, "rebalance of consumer group %s works again", group)
        return balanced
