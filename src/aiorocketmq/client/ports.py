"""What the client instance asks of its users; it knows producers, consumers and admin clients only through these.

Java: `MQProducerInner`, `MQConsumerInner`, `MQAdminExtInner`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aiorocketmq.core.route_table import TopicPublishInfo
    from aiorocketmq.model.enums import ConsumeType, MessageModel, StartFrom
    from aiorocketmq.model.filters import SubscriptionData
    from aiorocketmq.model.queue import MessageQueue
    from aiorocketmq.model.received import ReceivedMessage
    from aiorocketmq.protocol.bodies_client import ConsumeMessageDirectlyResult, ConsumerRunningInfo
    from aiorocketmq.protocol.headers_client import CheckTransactionStateRequestHeader


class ProducerPort(Protocol):
    """A producer as the instance sees it."""

    @property
    def group(self) -> str:
        """The producer group: its key on the instance."""
        ...

    def publish_topics(self) -> Collection[str]:
        """Topics whose routes the instance keeps fresh for this producer."""
        ...

    def on_route_changed(self, topic: str, publish: TopicPublishInfo) -> None:
        """The route of one of `publish_topics()` is new or has changed. Must not block and must not raise."""
        ...


@dataclass(frozen=True, slots=True)
class TransactionCheck:
    """A broker asks how a transaction of one of our groups has ended.

    Attributes:
        address: Who asks; the answer goes there.
        header: Where the half message is; goes back with the answer.
        message: The half message, with its own topic and queue.
    """

    address: str
    header: CheckTransactionStateRequestHeader
    message: ReceivedMessage


TakeCheck = Callable[[TransactionCheck], None]
"""Takes what a broker asks; must not block and must not raise."""


class ConsumerPort(Protocol):
    """A consumer as the instance sees it."""

    @property
    def group(self) -> str:
        """The consumer group: its key on the instance."""
        ...

    @property
    def consume_type(self) -> ConsumeType: ...

    @property
    def message_model(self) -> MessageModel: ...

    @property
    def start_from(self) -> StartFrom: ...

    @property
    def unit_mode(self) -> bool: ...

    def subscriptions(self) -> Collection[SubscriptionData]:
        """What heartbeats tell brokers, and whose routes the instance keeps fresh."""
        ...

    def subscribes(self, topic: str) -> bool:
        """Whether the topic is one of `subscriptions()`, without a walk through them: it is asked for every topic."""
        ...

    def on_route_changed(self, topic: str, queues: tuple[MessageQueue, ...]) -> None:
        """The queues of a subscribed topic are new or have changed. Must not block and must not raise."""
        ...

    async def rebalance(self) -> bool:
        """Fit the owned queues to the members of the group.

        Returns:
            True when nothing is left to do; False asks for another round after the minimum interval.
        """
        ...

    async def persist_offsets(self) -> None:
        """Save what has been consumed."""
        ...

    def reset_offsets(self, offsets: Mapping[MessageQueue, int]) -> None:
        """An operator wants the group to go on elsewhere; queues that this consumer does not have are left alone. Must not block."""
        ...

    def offsets(self, topic: str | None = None) -> Mapping[MessageQueue, int]:
        """What is consumed of the queues that this consumer has, of one topic or of all."""
        ...

    def consume_directly(self, message: ReceivedMessage) -> Awaitable[ConsumeMessageDirectlyResult] | None:
        """Call a listener with a message that belongs to no queue of this consumer; None when there are no listeners.

        Raises:
            RocketMQError: There is none for this message, or the consumer stops; when it is awaited.
        """
        ...

    def adjust_workers(self) -> None:
        """Fit the number of workers to the backlog. Must not block."""
        ...

    def running_info(self, jstack: bool) -> ConsumerRunningInfo:
        """What `mqadmin consumerStatus` shows.

        Args:
            jstack: Add the stacks of the running code.
        """
        ...


class AdminPort(Protocol):
    """An admin client as the instance sees it."""

    @property
    def group(self) -> str:
        """Its key on the instance."""
        ...
