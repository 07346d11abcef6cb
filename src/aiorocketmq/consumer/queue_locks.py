"""The brokers' locks on the queues of an ordered consumer (Java: `RebalanceImpl.lock`, `unlock`). Features F30, G10, bar P7."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.consumer.saving import by_broker
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
    """Takes, renews and gives back locks, at all brokers at the same time.

    Args:
        instance: Finds and asks brokers.
        scheduler: Makes the tasks.
        group: The consumer group.

    Attributes:
        log: What fails and lasts.
    """

    def __init__(self, instance: ClientInstance, scheduler: Scheduler, group: str) -> None:
        self._instance = instance
        self._scheduler = scheduler
        self._group = group
        self.log = StateLog(logger)

    async def take(self, queues: Collection[MessageQueue]) -> tuple[set[MessageQueue], set[MessageQueue]]:
        """Lock queues, or renew their locks; never raises for a broker.

        Returns:
            The queues that are locked now, and those that another member has locked. Queues of brokers that did not answer are in neither.
        """
        granted: set[MessageQueue] = set()
        refused: set[MessageQueue] = set()

        async def of_broker(broker: str, own: list[MessageQueue]) -> None:
            found = self._instance.find_broker_address_in_subscribe(broker, 0, True)
            if found is None:
                return
            try:
                answer = await self._instance.broker_api.lock_batch(found.address, self._group, self._instance.client_id, own)
            except RocketMQError as error:
                self.log.failed(broker, "queues of broker %s cannot be locked now: %s", broker, error)
                return
            self.log.worked(broker, "queues of broker %s can be locked again", broker)
            granted.update(answer.intersection(own))
            refused.update(set(own) - answer)

        await self._scheduler.gather(
            "lock", {broker: of_broker(broker, own) for broker, own in by_broker(queues, self._instance.routes.broker_of).items()}
        )
        return granted, refused

    async def give_back(self, queues: Collection[MessageQueue], *, oneway: bool = True) -> None:
        """Unlock queues; never raises for a broker: a lock that cannot be given back runs out by itself.

        Args:
            queues: The queues.
            oneway: False waits for the brokers' answers.
        """

        async def of_broker(broker: str, own: list[MessageQueue]) -> None:
            found = self._instance.find_broker_address_in_subscribe(broker, 0, True)
            if found is None:
                return
            try:
                await self._instance.broker_api.unlock_batch(found.address, self._group, self._instance.client_id, own, oneway=oneway)
            except RocketMQError as error:
                logger.info("queues of broker %s were not unlocked, their locks run out by themselves: %s", broker, error)

        await self._scheduler.gather(
            "unlock", {broker: of_broker(broker, own) for broker, own in by_broker(queues, self._instance.routes.broker_of).items()}
        )
