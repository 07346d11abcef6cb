"""Topics as the owner of an embedded broker creates and changes them, past the wire (Java: `AdminBrokerProcessor`)."""

from __future__ import annotations

import asyncio

from aiorocketmq.errors import ClientStateError, ConfigError, RocketMQError
from aiorocketmq.model import names
from aiorocketmq.protocol.bodies import TopicConfig
from aiorocketmq.server.broker.registration import Registration
from aiorocketmq.server.broker.state import BrokerState


class TopicAdmin:
    """Creates what does not exist, and changes what is given; unlike request 17, which replaces whatever is there.

    Args:
        state: The broker.
        registration: Tells the name servers.
    """

    def __init__(self, state: BrokerState, registration: Registration) -> None:
        self._state = state
        self._registration = registration
        self._promises: set[asyncio.Future[None]] = set()

    async def create(self, topic: TopicConfig) -> None:
        """Create a topic; returns when it is stored and the name servers know it.

        Raises:
            InvalidNameError: The name is not legal.
            ConfigError: It exists already.
            BrokerError: It could not be stored.
        """
        names.check_topic(topic.topic_name)
        self.refuse_known(topic.topic_name)
        await self._put(topic)

    def refuse_known(self, topic: str) -> None:
        """Do nothing when a topic does not exist.

        Raises:
            ConfigError: It does.
        """
        known = self._state.topics.latest(topic)
        if known is not None:
            raise ConfigError(
                f"topic {topic!r} exists on {self._state.config.name}, with {known.write_queue_nums} queues",
                hint="update_topic() changes it; exist_ok=True leaves it as it is",
            )

    async def update(self, topic: str, *, queues: int | None, perm: int | None, order: bool | None) -> None:
        """Change what is given of a topic; returns when it is stored and the name servers know it.

        Raises:
            ConfigError: There is no such topic, or it is the broker's own.
            BrokerError: It could not be stored.
        """
        known = self._state.topics.latest(topic)
        if known is None:
            raise ConfigError(f"topic {topic!r} does not exist on {self._state.config.name}", hint="create it with create_topic()")
        if self._state.topics.is_system(topic):
            raise ConfigError(f"topic {topic!r} is the broker's own", hint="leave it as it is, and create one of another name")
        await self._put(
            known.replace(
                read_queue_nums=known.read_queue_nums if queues is None else queues,
                write_queue_nums=known.write_queue_nums if queues is None else queues,
                perm=known.perm if perm is None else perm,
                order=known.order if order is None else order,
            )
        )

    async def _put(self, topic: TopicConfig) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def registered() -> None:
            if not done.done():
                done.set_result(None)

        def stored(error: RocketMQError | None) -> None:
            if error is None:
                self._registration.when_registered(registered)
            elif not done.done():
                done.set_exception(error)

        self._promises.add(done)
        try:
            self._state.topics.put(topic)
            self._state.store.after_commit(stored)
            await done
        finally:
            self._promises.discard(done)

    def stop(self) -> None:
        """The broker ends: nobody waits any longer."""
        for done in self._promises:
            if not done.done():
                done.set_exception(ClientStateError(f"broker {self._state.config.name} was stopped meanwhile"))
