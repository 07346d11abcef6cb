"""A running lite pull consumer: a member of its group, or the reader of queues that it was told (Java: `DefaultLitePullConsumerImpl`).

`LitePullConsumer` is the face towards users; this is what lives between `start()` and `stop()`, and what the client instance sees.
Features I1, I2, I5-I8, I14.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from aiorocketmq.consumer.assigned import AssignedQueue
from aiorocketmq.consumer.member import FIRST_ROUND, GroupMember
from aiorocketmq.consumer.polling import PollService, polled
from aiorocketmq.consumer.queues import SAVE_TIME, Reason
from aiorocketmq.core.process_queue import PolledQueue
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import ConsumeType

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.consumer.service import ConsumeService
    from aiorocketmq.consumer.settings import LitePullSettings
    from aiorocketmq.consumer.subscriptions import Subscriptions
    from aiorocketmq.core.process_queue import ProcessQueue
    from aiorocketmq.model.queue import MessageQueue


class LitePullMember(GroupMember):
    """One lite pull consumer on an instance.

    Args:
        instance: The client instance.
        settings: The consumer's settings.
        subscriptions: Shared with the `LitePullConsumer`.
        made_at: When the consumer was made, seconds since the epoch.
        wanted: The queues that it was told to read; None where the group shares them out.

    Attributes:
        service: Holds the messages until they are asked for.
    """

    service: PollService
    consume_type = ConsumeType.CONSUME_ACTIVELY

    def __init__(
        self,
        instance: ClientInstance,
        settings: LitePullSettings,
        subscriptions: Subscriptions,
        *,
        made_at: float,
        wanted: frozenset[MessageQueue] | None,
    ) -> None:
        self.settings = settings
        self._wanted = wanted
        super().__init__(instance, settings, subscriptions, made_at=made_at)

    def _make_service(self) -> ConsumeService:
        self.service = PollService(self.settings.pull_threshold_for_all)
        return self.service

    def _make_messages(self, queue: MessageQueue, offset: int, commit_start: bool) -> ProcessQueue:
        return PolledQueue(queue, offset, commit_start=commit_start, auto=self.settings.auto_commit)

    def _watch(self) -> None:
        self.scheduler.every("save offsets", self.settings.auto_commit_interval, self.queues.persist)

    # --- life -------------------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See `GroupMember.start`.

        Raises:
            ConfigError: A queue that was assigned does not exist.
        """
        await self.check_exist(self._wanted or ())
        await super().start()

    def close(self) -> None:
        """See `GroupMember.close`; whoever waits for messages gets none."""
        super().close()
        self.service.close()

    async def rebalance(self) -> bool:
        """See `ConsumerPort.rebalance`; queues that were assigned are only taken up again where they were let go of."""
        if self._wanted is None:
            return await super().rebalance()
        if not self.joined or self.stopping:
            return True
        try:
            return await self._take_up(self._wanted)
        finally:
            self._settled.set()

    async def _take_up(self, wanted: frozenset[MessageQueue]) -> bool:
        for queue in wanted:
            self.queues.want(queue)
        lanes = self._take_over.begin({self._take_over.broker_of(queue) for queue in self.queues.waiting})
        if lanes:
            await asyncio.wait(lanes, timeout=FIRST_ROUND)
        for topic in {queue.topic for queue in wanted}:
            known = self.instance.routes.subscribe_queues(topic) or ()
            self.rebalancer.tell_changed(topic, frozenset(known))
        return not self.queues.waiting and all(queue in self.queues.assigned for queue in wanted)

    async def assign(self, wanted: frozenset[MessageQueue]) -> None:
        """Read these queues, and no others."""
        self._wanted = wanted
        table = self.queues
        gone = table.release([each for queue, each in table.assigned.items() if queue not in wanted], Reason.GIVEN_UP)
        table.not_wanted([each for queue, each in table.waiting.items() if queue not in wanted])
        if gone:
            await asyncio.wait(gone, timeout=FIRST_ROUND)
        # Others may have been assigned meanwhile, by another task: those count, and whoever has assigned them takes up the same.
        if not await self._take_up(self._wanted or frozenset()):
            self.instance.rebalance.wake()

    # --- ConsumerPort -------------------------------------------------------------------------------------------------------------------

    async def persist_offsets(self) -> None:
        """See `ConsumerPort.persist_offsets`: such a consumer has an interval of its own."""

    def adjust_workers(self) -> None:
        """See `ConsumerPort.adjust_workers`: there are none."""

    def _properties(self) -> dict[str, str]:
        from aiorocketmq.consumer.running_info import lite_properties  # for those who ask

        return lite_properties(self.settings)

    def begin_anew(self, offsets: Mapping[MessageQueue, int]) -> list[asyncio.Task[None]]:
        """See `GroupMember.begin_anew`: no listener has to end, so the queues stay here, paused ones paused."""
        owned = {queue: self.queues.assigned[queue] for queue in offsets if queue in self.queues.assigned}
        for queue, assigned in owned.items():
            self._go_on_at(assigned, offsets[queue])
            messages = polled(assigned)
            messages.reset_to = messages.committed = offsets[queue]
            self.saver.put(queue, offsets[queue])
        tasks = self.queues.reset({queue: offset for queue, offset in offsets.items() if queue not in owned})
        if owned:
            saved = self.saver.persist(list(owned), asyncio.get_running_loop().time() + SAVE_TIME)
            tasks.append(self.scheduler.spawn("save offsets that were reset", saved))
        return tasks

    # --- queues -------------------------------------------------------------------------------------------------------------------------

    async def seek(self, queue: MessageQueue, offset: int) -> None:
        """Go on at an offset; see `LitePullConsumer.seek`."""
        self.owned(queue)
        low, high = await self.ends(queue)
        if not low <= offset <= high:
            raise ConfigError(f"offset {offset} is not in {queue}", hint=f"it holds {low} to {high - 1}, and {high} comes next")
        self._go_on_at(self.owned(queue), offset)

    def _go_on_at(self, assigned: AssignedQueue, offset: int) -> None:
        auto, before = self.settings.auto_commit, polled(assigned)
        assigned.puller.stop()
        self.service.let_go(assigned)
        if assigned.paused:
            self.service.pause(assigned)
        assigned.messages = messages = PolledQueue(assigned.queue, offset, commit_start=auto, auto=auto)
        if auto:
            self.saver.put(assigned.queue, offset)
        else:
            messages.committed = before.committed
        self.pulls.adopt(assigned)

    # --- offsets ------------------------------------------------------------------------------------------------------------------------

    def to_commit(self, queues: Collection[MessageQueue] | None) -> dict[MessageQueue, int]:
        """Everything that was given is consumed, of some queues or of all: the offsets that say so."""
        if queues is None:
            self.service.settle()
            queues = list(self.queues.assigned)
        marks = {queue: polled(self.owned(queue)).mark() for queue in queues}
        return {queue: offset for queue, offset in marks.items() if offset >= 0}

    async def commit(self, offsets: Mapping[MessageQueue, int]) -> None:
        """Save offsets for certain; those that cannot be saved now go with the next saving.

        Raises:
            ClientStateError: A queue is not read here.
            RocketMQError: A broker refused, or could not be reached.
        """
        for queue, offset in offsets.items():
            messages = polled(self.owned(queue))
            messages.committed = offset
            messages.done_below(offset)
            self.saver.put(queue, offset)
        await self.save(offsets)
