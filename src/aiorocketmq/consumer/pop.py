"""The POP consumer: messages from any queue, each acknowledged by itself (no Java twin in its client; gRPC clients: `SimpleConsumer`).

Features H1-H5, H7, H8, H10, H12, H13.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterable
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.watched import Watched
from aiorocketmq.config import ClientConfig, NameServers
from aiorocketmq.consumer.pop_member import PopMember
from aiorocketmq.consumer.settings import MAX_INVISIBLE, MIN_INVISIBLE, PopSettings
from aiorocketmq.consumer.subscriptions import Subscriptions
from aiorocketmq.consumer.topics import Topics, with_filters
from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.errors import ClientClosedError, NotSupportedByBrokerError, ReceiptError, SubscriptionError
from aiorocketmq.model.checks import duration, whole
from aiorocketmq.model.enums import ServiceState, StartFrom
from aiorocketmq.model.filters import SQL
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.wording import shown

if TYPE_CHECKING:
    from typing import Unpack

    from aiorocketmq.client.examine import Own
    from aiorocketmq.client.state_watch import StateListener
    from aiorocketmq.config.fields import ClientFields

logger = logging.getLogger("aiorocketmq.consumer")


class PopConsumer(Watched):
    """Takes messages of a group's topics, which nobody else gets for a while; each is acknowledged by itself. Needs brokers from 5.0 on.

    ```python
    async with PopConsumer("127.0.0.1:9876", group="workers", topics=["orders"]) as consumer:
        for message in await consumer.receive():
            ...
            await consumer.ack(message)
    ```

    Every member of the group gets messages of every queue: more members than queues make sense, and a slow one holds nobody up. What is not
    acknowledged while it is invisible comes again, with `reconsume_times` one higher, a few seconds after its time. It comes without end:
    brokers put no popped message into a dead-letter topic, so that a program gives up by acknowledging.

    Args:
        name_servers: `a:9876;b:9876`, a list, or a `rocketmq://` URL; left out: `NAMESRV_ADDR`, then the HTTP address service.
        group: The consumer group; all its members must have the same topics, and none may be of another kind.
        topics: What to subscribe: a topic, several, or topics with their filters, as in `{"orders": "TagA || TagB"}`.
        config: A `ClientConfig` or `rocketmq://` URL to start from.
        start_from: Where a group without offsets starts. `LAST`: after the newest message; `FIRST`: at the oldest; `TIMESTAMP`: at
            `start_timestamp`.
        start_timestamp: With `TIMESTAMP`: an aware datetime or seconds since the epoch; None is 30 minutes before the consumer was made.
        ordered: Messages of a queue are given in order: nothing more of it before all are acknowledged, or their time is over. All members
            of the group alike.
        invisible: Seconds for which received messages are invisible to others when `receive()` is not told, from 1 to 43,200.
        on_state_change: Called with a `StateChange` when brokers or name servers are lost and regained, another member subscribes in
            another way, or `health().status` is another one: a `def` on a thread of its own, an `async def` on the event loop.
        **client_fields: Fields of `ClientConfig`.

    Raises:
        ConfigError: A value cannot work; the text names it and the cure.
        InvalidNameError: The group or a topic has an illegal name.
    """

    def __init__(
        self,
        name_servers: NameServers = None,
        *,
        group: str,
        topics: Topics = (),
        config: ClientConfig | str | None = None,
        start_from: StartFrom = StartFrom.LAST,
        start_timestamp: datetime | float | None = None,
        ordered: bool = False,
        invisible: float | timedelta = 60.0,
        on_state_change: StateListener | None = None,
        **client_fields: Unpack[ClientFields],
    ) -> None:
        fields = {name: value for name, value in locals().items() if name in PopSettings.__dataclass_fields__}
        self.config = ClientConfig.from_fields(config, name_servers, client_fields)
        self._namespace = names = self.config.names
        names.check_group(group)
        self._settings: PopSettings = PopSettings(**fields | {"group": names.unwrap(group)})
        self._subscriptions = Subscriptions(self._settings.group, with_retry_topic=False, namespace=names)
        self._made_at = time.time()
        self._runtime: PopMember | None = None
        self._life = self._live(f"consumer of group {group!r}", self.config, on_state_change)
        for topic, expression in with_filters(topics).items():
            self._subscriptions.put(names.unwrap(topic), expression, epoch_ms(time.time))

    # --- topics ---------------------------------------------------------------------------------------------------------------------

    async def subscribe(self, topic: str, expression: str | SQL | None = "*") -> None:
        """Receive messages of one more topic, or give a topic another filter, before the start or while running.

        Args:
            topic: Topic name.
            expression: `*` for all messages, tags as in `TagA || TagB`, or `SQL("price > 10")`.

        Raises:
            ConfigError: The expression cannot be read.
            InvalidNameError: The topic has an illegal name.
            SubscriptionError: A broker cannot evaluate the filter; all stays as it was.
            NotSupportedByBrokerError: A broker of the topic is older than 5.0, or too old for a word of the filter; all stays as it was.
            ClientClosedError: The consumer was stopped.
            ClientStateError: The consumer runs on another event loop.

        Cancelling it leaves the topic subscribed; brokers hear of it with the next heartbeat.
        """
        self._life.check_loop()
        self._life.check_not_stopped()
        topic = self._namespace.unwrap(topic)
        before = self._subscriptions.get(topic)
        self._subscriptions.put(topic, expression, epoch_ms(time.time))
        if self._runtime is not None:
            try:
                await self._runtime.subscription_changed(topic)
            except (SubscriptionError, NotSupportedByBrokerError):
                self._subscriptions.restore(topic, before, None)
                raise

    async def unsubscribe(self, topic: str) -> None:
        """Receive no more messages of a topic; does nothing when it is not subscribed. What was received can still be acknowledged.

        Raises:
            ClientClosedError: The consumer was stopped.
            ClientStateError: The consumer runs on another event loop.
        """
        self._life.check_loop()
        self._life.check_not_stopped()
        topic = self._namespace.unwrap(topic)
        if self._subscriptions.remove(topic) and self._runtime is not None:
            await self._runtime.subscription_changed(topic)

    @property
    def topics(self) -> tuple[str, ...]:
        """The subscribed topics."""
        return self._subscriptions.topics

    # --- life -----------------------------------------------------------------------------------------------------------------------

    async def start(self, *, timeout: float | timedelta | None = None) -> Self:
        """Join the group; does nothing while it runs. Returns the consumer itself.

        A topic that does not exist yet is no error, and neither is a name server that does not answer yet.

        Args:
            timeout: Seconds to wait until a name server answers; None starts without one.

        Raises:
            NotSupportedByBrokerError: A broker of a topic is older than 5.0, and was told nothing; or it is too old for a word of a filter.
            NoNameServerError: No name server is configured, or none answered within `timeout`; the consumer can be started again.
            GroupAlreadyRegisteredError: The group has a consumer on this client instance already.
            SubscriptionError: A broker cannot evaluate a filter.
            ClientStateError: The consumer runs on another event loop.
            ClientClosedError: The consumer was stopped.

        Cancelling it undoes what was begun. After a failure it can be called again.
        """
        self._life.check_not_stopped()
        await self._life.start(self._join, self._leave, timeout)
        return self

    async def _join(self, instance: ClientInstance) -> None:
        self._runtime = member = PopMember(instance, self._settings, self._subscriptions, made_at=self._made_at)
        await member.start()
        logger.info("consumer group %s started on client %s", self.group, instance.client_id)

    async def stop(self) -> None:
        """Leave the group. Idempotent.

        A `receive()` that waits gives nothing then; what is on its way to it is given back. What is being acknowledged is waited for, up
        to a second. What was received and is not acknowledged comes again when its time is over.

        Raises:
            ClientStateError: The consumer was started on another event loop.

        Cancelling it leaves the stop going on.
        """
        self._life.check_loop()
        if self._runtime is not None:
            self._runtime.close()
        await self._life.stop(self._leave)

    async def _leave(self, instance: ClientInstance) -> None:
        if self._runtime is not None:
            await self._runtime.stop()
        self._runtime = None
        logger.info("consumer group %s stopped", self.group)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    def __del__(self) -> None:
        life = getattr(self, "_life", None)  # not there when the constructor has failed
        if life is not None and life.state is ServiceState.RUNNING:
            warnings.warn(f"consumer of group {self.group!r} was dropped without stop()", ResourceWarning, stacklevel=2, source=self)

    def _running(self) -> PopMember:
        self._life.running()
        if self._runtime is None:
            raise ClientClosedError(f"consumer of group {self.group!r} is being stopped")
        return self._runtime

    def _own_health(self) -> Own:
        assert self._runtime is not None  # it runs
        return self._runtime.own_health()

    @property
    def user_info(self) -> dict[str, str]:
        """What the program tells operators of this consumer, for example its release: `mqadmin consumerStatus` shows it. Put in what you
        like; it is read when somebody asks."""
        return self._settings.user_info

    @property
    def group(self) -> str:
        """The consumer group."""
        return self._settings.group

    @property
    def state(self) -> ServiceState:
        """Where the consumer is in its life."""
        return self._life.state

    @property
    def client_id(self) -> str:
        """The client id that brokers know; "" before the start."""
        return self._life.instance.client_id if self._life.instance is not None else ""

    @property
    def instance(self) -> ClientInstance | None:
        """The client instance, None unless running."""
        return self._life.instance

    @property
    def subscription_conflicts(self) -> dict[str, str]:
        """Topics that another member of the group subscribes in another way, with what differs; also logged, once each."""
        return dict(self._runtime.group_check.conflicts) if self._runtime is not None else {}

    # --- messages -------------------------------------------------------------------------------------------------------------------

    async def receive(
        self, max_messages: int = 32, *, wait: float | timedelta = 15.0, invisible: float | timedelta | None = None
    ) -> list[ReceivedMessage]:
        """Take messages, which nobody else gets for a while; waits for the first one. Any number of tasks may ask at the same time.

        Args:
            max_messages: At most so many, 1 to 32.
            wait: Seconds to wait for the first one; 0 does not wait.
            invisible: Seconds until a message that is not acknowledged comes again, from 1 to 43,200; None takes the consumer's.

        Returns:
            Messages, of one topic and one broker; none when nothing came in time, or the consumer is being stopped.

        Raises:
            ConfigError: A value is out of range.
            ClientStateError: The consumer does not run.
            ClientClosedError: The consumer was stopped.
            NotSupportedByBrokerError: The only brokers that could be asked are older than 5.0.
            RocketMQError: No broker could be asked. What one of them has taken for an answer that did not come comes again.

        Cancelling it loses nothing: while it waits nothing is taken, and what is on its way goes to the next `receive()`. If there is none,
        it is given back at the stop, or comes again when its invisible time is over.
        """
        limit = whole("max_messages", max_messages, 1, 32)
        patience = duration("wait", wait, 0.0)
        seconds = self._settings.invisible if invisible is None else duration("invisible", invisible, MIN_INVISIBLE, MAX_INVISIBLE)
        return await self._running().popping.take(limit, patience, seconds)

    async def ack(self, messages: ReceivedMessage | Iterable[ReceivedMessage]) -> None:
        """Tell the brokers that messages are done, and wait until they have noted it. Doing so twice does no harm.

        Many at once, in one call or in several tasks, take one request for each broker.

        Args:
            messages: One that was received, or several.

        Raises:
            ReceiptError: One was not received by a POP consumer of this group, or its invisible time is over: it was, or will be, given to
                somebody else. The others are acknowledged all the same.
            ClientStateError: The consumer does not run.
            RocketMQError: A broker refused, or did not answer; a message may be done or come again.

        Cancelling it takes nothing back.
        """
        member = self._running()
        await member.acker.ack([messages] if isinstance(messages, ReceivedMessage) else _several(messages))
        member.popping.look_again()

    async def change_invisible(self, message: ReceivedMessage, invisible: float | timedelta) -> None:
        """Let a message come again so many seconds from now on, unless it is acknowledged before: sooner to give it back, later to keep it.

        The message has another `receipt_handle` then: copies of it that were made before cannot be acknowledged any more.

        Args:
            message: One that was received.
            invisible: Seconds from now on, from 0 to 43,200; brokers give it again a few seconds after that.

        Raises:
            ConfigError: The time is out of range.
            ReceiptError: It was not received by a POP consumer of this group, or its invisible time is over.
            ClientStateError: The consumer does not run.
            RocketMQError: The broker refused, or did not answer: then the one or the other time counts.

        Cancelling it leaves the one or the other time.
        """
        seconds = duration("invisible", invisible, 0.0, MAX_INVISIBLE)
        member = self._running()
        await member.acker.change(message, seconds)


def _several(messages: object) -> list[ReceivedMessage]:
    if isinstance(messages, str | bytes) or not isinstance(messages, Iterable):
        raise ReceiptError(f"{shown(messages)} is no message", hint="give what receive() has given, one message or a list")
    return list(messages)
