"""Saving what is consumed, for the timer, for queues that are given up, and at a stop (Java: `RebalanceImpl.destroy`, `persistAll`).

All brokers at the same time, within one deadline: one that is silent delays nobody else, and nothing that a store raises gets lost or stops
who has called.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.offset_store import LocalFileOffsetStore, OffsetStore, RemoteBrokerOffsetStore

if TYPE_CHECKING:
    from aiorocketmq.client.scheduler import Scheduler
    from aiorocketmq.model.queue import MessageQueue

logger = logging.getLogger("aiorocketmq.consumer")


def by_broker(queues: Iterable[MessageQueue], broker_of: Callable[[MessageQueue], str]) -> dict[str, list[MessageQueue]]:
    """Queues by the name of the broker that has them."""
    table: dict[str, list[MessageQueue]] = defaultdict(list)
    for queue in queues:
        table[broker_of(queue)].append(queue)
    return table


class OffsetSaver:
    """Saves through a store, which may be the user's own.

    Args:
        store: Keeps the offsets.
        scheduler: Makes the tasks, one for each broker.
        group: The consumer group, for the log.
        broker_of: Name of the broker that has a queue.

    Attributes:
        log: What fails and lasts.
    """

    def __init__(self, store: OffsetStore, scheduler: Scheduler, group: str, broker_of: Callable[[MessageQueue], str]) -> None:
        self._broker_of = broker_of
        self.store = store
        self._scheduler = scheduler
        self._group = group
        self.log = StateLog(logger)

    def follow(self, refresh: Callable[[MessageQueue], None]) -> None:
        """Let `refresh` note what is consumed of a queue at the moment when the brokers' store sends it."""
        if isinstance(self.store, RemoteBrokerOffsetStore):
            self.store.refresh = refresh

    def note(self, queues: Iterable[AssignedQueue]) -> None:
        """Tell the store what is consumed now; nothing is sent. Never raises."""
        for assigned in queues:
            offset = assigned.messages.commit_offset
            if offset >= 0:
                try:
                    self.store.update_offset(assigned.queue, offset, increase_only=True)
                except Exception as error:  # noqa: BLE001 - a store of the user's own
                    self._failed(f"offset of {assigned.queue}", error)

    def put(self, queue: MessageQueue, offset: int) -> None:
        """Tell the store an offset as it is, forward or backward; nothing is sent. Never raises."""
        try:
            self.store.update_offset(queue, offset, increase_only=False)
        except Exception as error:  # noqa: BLE001 - a store of the user's own
            self._failed(f"offset of {queue}", error)

    def reset(self, queue: MessageQueue, offset: int) -> None:
        """Tell the store where the group has to go on; never raises."""
        try:
            self.store.update_and_freeze_offset(queue, offset)
        except Exception as error:  # noqa: BLE001 - a store of the user's own
            self._failed(f"offset of {queue}", error)

    def forget(self, queue: MessageQueue) -> None:
        """The queue is owned no more; never raises."""
        try:
            self.store.remove_offset(queue)
        except Exception as error:  # noqa: BLE001 - a store of the user's own
            self._failed(f"offset of {queue}", error)

    async def commit(self, offsets: Mapping[MessageQueue, int]) -> None:
        """Save offsets as they are, forward or backward, and wait until the store has them; all brokers at the same time.

        Raises:
            RocketMQError: A broker refused, or could not be reached; or the file cannot be written.
        """
        store = self.store
        if not isinstance(store, RemoteBrokerOffsetStore):
            for queue, offset in offsets.items():
                store.update_offset(queue, offset, increase_only=False)
            if isinstance(store, LocalFileOffsetStore):
                store.save()
                return
            for queue in offsets:
                await store.persist(queue)
            return

        async def at(own: Collection[MessageQueue]) -> None:
            for queue in own:
                await store.update_consume_offset_to_broker(queue, offsets[queue])

        works = {broker: at(own) for broker, own in by_broker(offsets, self._broker_of).items()}
        for outcome in (await self._scheduler.gather("commit", works)).values():
            if isinstance(outcome, Exception):
                raise outcome

    async def of_each(
        self, name: str, queues: Iterable[MessageQueue], ask: Callable[[MessageQueue], Awaitable[int]]
    ) -> dict[MessageQueue, int]:
        """Ask something of each of some queues, all brokers at the same time; raises the first error of one of them."""

        async def of_broker(own: list[MessageQueue]) -> dict[MessageQueue, int]:
            return {queue: await ask(queue) for queue in own}

        found: dict[MessageQueue, int] = {}
        works = {broker: of_broker(own) for broker, own in by_broker(queues, self._broker_of).items()}
        for outcome in (await self._scheduler.gather(name, works)).values():
            if isinstance(outcome, Exception):
                raise outcome
            found |= outcome
        return found

    async def persist_all(self, queues: Collection[MessageQueue], deadline: float) -> None:
        """Save the offsets of all queues of the consumer where they have changed; never raises.

        Args:
            queues: All queues that are owned or being given up.
            deadline: Loop time at which it ends in any case.
        """
        await self._bounded("offsets", self.store.persist_all(queues), deadline)

    async def persist(self, queues: Collection[MessageQueue], deadline: float) -> None:
        """Save the offsets of some queues for certain, as far as that is possible; never raises.

        Args:
            queues: The queues.
            deadline: Loop time at which it ends in any case.
        """
        works = {broker: self._of_broker(broker, own, deadline) for broker, own in by_broker(queues, self._broker_of).items()}
        if len(works) == 1:
            await next(iter(works.values()))
        elif works:
            await self._scheduler.gather("save offsets", works)

    async def persist_at_stop(
        self, queues: Collection[MessageQueue], deadline: float, then: Callable[[Collection[MessageQueue]], Awaitable[None]]
    ) -> None:
        """As `persist()`, at the end of the consumer.

        Args:
            queues: All queues.
            deadline: Loop time at which the saving ends in any case.
            then: Called with the queues of each broker when they are saved, or cannot be.
        """
        if not hasattr(self.store, "persist_queues"):
            await self._bounded("offsets", self.store.persist_all(queues, confirm=True), deadline)

        async def of_broker(broker: str, own: list[MessageQueue]) -> None:
            if hasattr(self.store, "persist_queues"):
                await self._of_broker(broker, own, deadline)
            await then(own)

        await self._scheduler.gather(
            "save offsets and unlock", {broker: of_broker(broker, own) for broker, own in by_broker(queues, self._broker_of).items()}
        )

    async def _of_broker(self, broker: str, queues: list[MessageQueue], deadline: float) -> None:
        several = getattr(self.store, "persist_queues", None)
        if several is not None:
            await self._bounded(f"offsets of broker {broker}", several(queues, deadline), deadline)
            return
        for queue in queues:
            if not await self._bounded(f"offset of {queue}", self.store.persist(queue), deadline):
                break

    async def _bounded(self, what: str, work: Awaitable[None], deadline: float) -> bool:
        """Wait for the store; False when there is no time left."""
        try:
            async with asyncio.timeout_at(deadline):
                await work
        except TimeoutError:
            if asyncio.get_running_loop().time() < deadline:
                self.log.failed("store", "%s of group %s cannot be saved: the store timed out", what, self._group)
                return True
            self.log.failed("time", "%s of group %s were not saved in time; messages may come again", what, self._group)
            return False
        except Exception as error:  # noqa: BLE001 - a store of the user's own: its errors are told, and the queue goes on its way
            self._failed(what, error)
        else:
            self.log.worked("store", "offsets of group %s can be saved again", self._group)
            self.log.worked("time", "offsets of group %s are saved in time again", self._group)
        return True

    def _failed(self, what: str, error: Exception) -> None:
        text = "%s of group %s cannot be saved: %s: %s"
        self.log.failed("store", text, what, self._group, type(error).__name__, error, exc_info=error)
