"""The brokers' locks on the queues of an ordered consumer (Java: `RebalanceImpl.lock`, `unlock`). Features F30, G10."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.errors import RocketMQError
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance

LOCK_MAX_LIVE_TIME: Final = 30.0
"""Seconds for which a lock is relied on without a renewal."""
BROKER_LOCK_TIME: Final = 60.0
"""Seconds after which brokers give an unrenewed lock to others."""

logger = logging.getLogger("aiorocketmq.consumer")


class QueueLocks:
    """Takes, renews and gives back locks.

    Args:
        instance: Finds and asks brokers.
        group: The consumer group.
    """

    def __init__(self, instance: ClientInstance, group: str) -> None:
        self._instance = instance
        self._group = group
        self._held: set[MessageQueue] = set()
        self._log = StateLog(logger)

    async def take(self, queues: Collection[MessageQueue]) -> tuple[set[MessageQueue], set[MessageQueue]]:
        """Lock queues, or renew their locks; never raises.

        Returns:
            The queues that are locked now, and those that another member has locked. Queues of brokers that did not answer are in neither.
        """
        granted: set[MessageQueue] = set()
        refused: set[MessageQueue] = set()
        for broker, own in _by_broker(queues).items():
            found = self._instance.find_broker_address_in_subscribe(broker, 0, True)
            if found is None:
                continue
            try:
                answer = await self._instance.broker_api.lock_batch(found.address, self._group, self._instance.client_id, own)
            except RocketMQError as error:
                self._log.failed(broker, "queues of broker %s cannot be locked now: %s", broker, error)
                continue
            self._log.worked(broker, "queues of broker %s can be locked again", broker)
            granted.update(answer.intersection(own))
            refused.update(set(own) - answer)
        self._held |= granted
        self._held -= refused
        return granted, refused

    async def give_back(self, queues: Collection[MessageQueue], *, oneway: bool = True) -> None:
        """Unlock queues; never raises: a lock that cannot be given back runs out by itself.

        Args:
            queues: The queues.
            oneway: False waits for the brokers' answers.
        """
        self._held.difference_update(queues)
        for broker, own in _by_broker(queues).items():
            found = self._instance.find_broker_address_in_subscribe(broker, 0, True)
            if found is None:
                continue
            try:
                await self._instance.broker_api.unlock_batch(found.address, self._group, self._instance.client_id, own, oneway=oneway)
            except RocketMQError as error:
                logger.info("queues of broker %s were not unlocked, their locks run out by themselves: %s", broker, error)

    async def give_back_all(self) -> None:
        """Unlock whatever is locked, for certain where a broker answers."""
        await self.give_back(tuple(self._held), oneway=False)


def _by_broker(queues: Collection[MessageQueue]) -> dict[str, list[MessageQueue]]:
    table: dict[str, list[MessageQueue]] = defaultdict(list)
    for queue in queues:
        table[queue.broker_name].append(queue)
    return table
