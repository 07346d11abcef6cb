"""A running pull consumer: a member of its group that reads nothing by itself (Java: `DefaultMQPullConsumerImpl`, `RebalancePullImpl`).

`PullConsumer` is the face towards users; this is what lives between `start()` and `stop()`, and what the client instance sees. Queues are
shared out as with every other member, so that the program knows its own; where they are read is the program's business.
Features J1-J6.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiorocketmq.consumer.member import GroupMember
from aiorocketmq.consumer.schedule import Plan, Schedule
from aiorocketmq.consumer.single_pull import SinglePulls
from aiorocketmq.model.enums import ConsumeType

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.consumer.assigned import AssignedQueue
    from aiorocketmq.consumer.service import ConsumeService
    from aiorocketmq.consumer.settings import PullSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions
    from aiorocketmq.consumer.taking import FirstOffsets
    from aiorocketmq.errors import RocketMQError
    from aiorocketmq.model.queue import MessageQueue
    from aiorocketmq.protocol.bodies_client import ConsumerRunningInfo


logger = logging.getLogger("aiorocketmq.consumer")


class PullMember(GroupMember):
    """One pull consumer on an instance.

    Args:
        instance: The client instance.
        settings: The consumer's settings.
        subscriptions: Shared with the `PullConsumer`.
        made_at: When the consumer was made, seconds since the epoch.
        plans: What is called for the queues of topics; shared with the `PullConsumer`.

    Attributes:
        single: Pulls when the program asks for it.
        schedule: Calls the program.
    """

    consume_type = ConsumeType.CONSUME_ACTIVELY

    def __init__(
        self, instance: ClientInstance, settings: PullSettings, subscriptions: Subscriptions, *, made_at: float, plans: Mapping[str, Plan]
    ) -> None:
        self.settings = settings
        self._plans = plans
        super().__init__(instance, settings, subscriptions, made_at=made_at)
        self.single = SinglePulls(instance, settings, self.scheduler)
        self._known: set[MessageQueue] = set()

    def _make_service(self) -> ConsumeService:
        self.schedule = Schedule(self._plans, self.scheduler, self.settings.concurrency, self.settings.group)
        return self.schedule

    def _make_start_offsets(self, made_at: float) -> FirstOffsets:
        return _NoStart()

    def _adopt(self, assigned: AssignedQueue) -> None:
        assigned.puller = _NoPulling()
        self.schedule.begin(assigned.queue)

    def _watch(self) -> None:
        pass

    def close(self) -> None:
        """See `GroupMember.close`; pulls that wait end with an error."""
        super().close()
        self.schedule.close()
        self.single.close()
        self._known.clear()

    async def _end_work(self, force: asyncio.Event) -> float:
        idle = self.scheduler.spawn("calls end", self.schedule.idle())
        forced = self.scheduler.spawn("force", force.wait())
        limit = self.settings.await_termination_when_shutdown
        await asyncio.wait([idle, forced], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if not idle.done():
            logger.warning("group %s stops although scheduled calls are running", self.group)
        for task in (idle, forced):
            task.cancel()
        await asyncio.wait([idle, forced])
        return await super()._end_work(force)

    async def _end(self) -> None:
        await super()._end()
        self.schedule.end()

    def call_for(self, topic: str) -> None:
        """Begin to call for the owned queues of a topic."""
        for queue in list(self.queues.owned_of(topic)):
            self.schedule.begin(queue)

    # --- ConsumerPort -------------------------------------------------------------------------------------------------------------------

    async def persist_offsets(self) -> None:
        """See `ConsumerPort.persist_offsets`: what is committed is saved at once."""

    def adjust_workers(self) -> None:
        """See `ConsumerPort.adjust_workers`: there are none."""

    def running_info(self, jstack: bool) -> ConsumerRunningInfo:
        """See `ConsumerPort.running_info`; as Java's, it tells of no queue: nothing is pulled ahead."""
        info = super().running_info(jstack)
        info.mq_table = {}
        return info

    # --- queues and offsets ---------------------------------------------------------------------------------------------------------------

    async def check_known(self, *queues: MessageQueue) -> None:
        """As `check_exist()`, asking for each queue once."""
        fresh = [queue for queue in queues if queue not in self._known]
        if fresh:
            await self.check_exist(fresh)
            if not self.stopping:
                self._known.update(fresh)

    async def commit(self, offsets: Mapping[MessageQueue, int]) -> None:
        """Save offsets for certain; see `PullConsumer.commit`."""
        await self.check_known(*offsets)
        await self.save(offsets)

    async def lag(self) -> dict[MessageQueue, int]:
        """See `PullConsumer.lag`."""
        return {queue: await self._lag_of(queue) for queue in list(self.queues.assigned)}

    async def _lag_of(self, queue: MessageQueue) -> int:
        low, high = await self.ends(queue)
        committed = await self.committed(queue)
        return max(0, high - max(low, committed or 0))


class _NoStart:
    """The program says where a queue is read from; implements `FirstOffsets`."""

    async def of(self, queue: MessageQueue, *, added: bool) -> tuple[int, bool]:
        return 0, False


class _NoPulling:
    """The queue is not pulled by itself; implements `consumer.assigned.Pulling`."""

    next_offset = 0
    pulled_at = 0.0
    failure: RocketMQError | None = None
    end = -1
    failing_since = 0.0
    trouble = ""

    def start(self) -> None:
        pass

    def pull(self) -> None:
        pass

    def follow(self) -> None:
        pass

    def stop(self) -> None:
        pass
