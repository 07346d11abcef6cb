"""Slow and failing brokers are avoided (Java: `MQFaultStrategy` and its detector thread). Features B19, B20."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.scheduler import Scheduler, TaskRecord
from aiorocketmq.core.fault import FaultTable
from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.errors import BrokerError, RocketMQError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer.send import SendOperation
from aiorocketmq.producer.settings import ProducerSettings

PROBE_INTERVAL: Final = 3.0
"""Seconds between two looks for brokers to probe (Java: `startDetector`)."""

logger = logging.getLogger("aiorocketmq.producer")


class Avoidance:
    """What one producer remembers of its tries, and its probes.

    Args:
        settings: `latency_max`, `not_available_duration`, `start_detector_enable`, `detect_timeout` and `detect_interval`.
        instance: Its routes and connections are used for probes.

    Attributes:
        table: The brokers that are spared.
    """

    def __init__(self, settings: ProducerSettings, instance: ClientInstance) -> None:
        self.table = FaultTable(settings.latency_max, settings.not_available_duration)
        self._settings = settings
        self._instance = instance
        self._clock = asyncio.get_running_loop().time
        self._scheduler = Scheduler(f"producer {settings.group}")
        if settings.start_detector_enable:
            self._scheduler.every("probe brokers", PROBE_INTERVAL, self._probe_all)

    def select(self, publish: TopicPublishInfo, last_broker: str | None) -> MessageQueue:
        """The queue for a message that may go anywhere."""
        return self.table.select(publish, last_broker, self._clock())

    def note(self, operation: SendOperation, error: RocketMQError | None) -> None:
        """A try of an operation has ended, well or with an error."""
        now = self._clock()
        latency = max(0.0, now - operation.sent_at)
        if error is None:
            self.table.note(operation.broker_name, latency, now)
            return
        # Without probes nothing but another send would ever show that the broker can be reached again.
        reachable = not (isinstance(error, BrokerError) or self._settings.start_detector_enable)
        self.table.note(operation.broker_name, latency, now, failed=True, reachable=reachable)

    def avoided(self) -> list[str]:
        """The brokers that are left out now."""
        now = self._clock()
        return [name for name, spared in self.table.spared.items() if spared.until > now or not spared.reachable]

    @property
    def records(self) -> list[TaskRecord]:
        """How the probes go."""
        return list(self._scheduler.records.values())

    async def _probe_all(self) -> None:
        names = self.table.due(self._clock(), self._settings.detect_interval)
        if names:
            await self._scheduler.gather("probe", {name: self._probe(name) for name in names})

    async def _probe(self, name: str) -> None:
        address = self._instance.find_broker_address_in_publish(name)
        if address is None:
            self.table.forget(name)
            return
        try:
            await self._instance.probe(address, self._settings.detect_timeout)
        except RocketMQError as error:
            logger.debug("broker %s at %s was not reached by a probe: %s", name, address, error)
        else:
            self.table.probed(name, self._clock())

    async def stop(self) -> None:
        """Probe no more."""
        await self._scheduler.stop()
