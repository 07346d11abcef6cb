"""Queues that brokers share out (Java: `RebalanceImpl.getRebalanceResultFromBroker`, and `tryQueryAssignment` of 5.0 to 5.3).

A broker from 5.0 on knows the members of a group and the queues of a topic, and says what falls to whom, and whether it is to be pulled or
popped. Where no broker of a topic can, the members share its queues out by themselves, for as long as that lasts. So they do with the
logical queues of static topics, as a broker would name the queues that it has for them. Feature G11.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiorocketmq.client.statelog import StateLog
from aiorocketmq.errors import BrokerError, RequestTimeoutError, RocketMQError, UnreachableError
from aiorocketmq.model.enums import MessageRequestMode
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import MASTER_ID
from aiorocketmq.protocol.codes import ResponseCode

if TYPE_CHECKING:
    from aiorocketmq.client.instance import ClientInstance
    from aiorocketmq.consumer.settings import ConsumerSettings

LADDER: Final = (1.0, 2.0, 3.0)
"""Seconds that a broker which has never answered gets, one try after the other."""
KNOWN: Final = (3.0,)
"""The same for one that has answered before."""
AGAIN: Final = (1.0,)
"""The same for a topic that the members share out by themselves."""
SILENT_ROUNDS: Final = 3
"""Rounds in which no broker had anything to say of a topic, and never before, until the members share it out by themselves."""
ALL_QUEUES: Final = -1
"""Queue id of an assignment that means all queues of the broker."""

logger = logging.getLogger("aiorocketmq.consumer")

Told = Mapping[MessageQueue, MessageRequestMode]
Versions = frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a broker has assigned to this member of one topic.

    Attributes:
        pulled: Queues to pull.
        popped: Queues to pop; id -1 stands for all queues of the broker.
        complete: False when the broker has named queues that the route does not have.
    """

    pulled: set[MessageQueue]
    popped: frozenset[MessageQueue]
    complete: bool


@dataclass(slots=True)
class _Topic:
    """How the questions for one topic went. Mutable.

    Attributes:
        answered: A broker has assigned its queues once.
        own: The members share it out by themselves for now.
        silent: Rounds without an answer that can be used.
        refused_by: Versions of its brokers, when all of them are too old.
    """

    answered: bool = False
    own: bool = False
    silent: int = 0
    refused_by: Versions | None = None


class Assignments:
    """Asks brokers for the queues of one member.

    Args:
        instance: Finds and asks brokers.
        settings: The consumer's settings.

    Attributes:
        log: What fails and lasts.
    """

    def __init__(self, instance: ClientInstance, settings: ConsumerSettings) -> None:
        self._instance = instance
        self._group = settings.group
        self._strategy = settings.allocate.name
        self._topics: dict[str, _Topic] = {}
        self.log = StateLog(logger)

    def left_to_us(self, topic: str) -> bool:
        """Whether no broker shares the topic out, so that its members have to."""
        state = self._topics.get(topic)
        return state is not None and state.own

    def forget(self, topic: str) -> None:
        """The topic is not subscribed any more."""
        self._topics.pop(topic, None)
        self.log.forget(topic)

    async def of(self, topic: str, near: str | None) -> Assignment | None:
        """What falls to this member; None when that cannot be told now: its queues stay as they are, or see `left_to_us()`.

        Args:
            topic: A topic with a route.
            near: Address of the broker to be asked first.
        """
        state = self._topics.setdefault(topic, _Topic())
        route = self._instance.routes.route(topic)
        if route is not None and route.mappings:
            state.own = True
            return None
        versions = self._versions(topic)
        if state.refused_by is not None and state.refused_by == versions:
            return None
        state.refused_by = None
        try:
            told = await self._ask(topic, near, KNOWN if state.answered else AGAIN if state.own else LADDER)
        except RocketMQError as error:
            refused = isinstance(error, BrokerError) and error.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED
            if refused:
                state.refused_by = versions
            self._failed(topic, state, str(error), own=refused or not state.answered)
            return None
        found = self._checked(topic, told) if told is not None else None
        if found is None or (told and not (found.pulled or found.popped)):
            state.silent += 1
            why = "it has named no queue of the route" if told else "the broker does not know the topic, the group or the strategy"
            self._failed(topic, state, why, own=not state.answered and state.silent >= SILENT_ROUNDS)
            return None
        state.answered, state.own, state.silent = True, False, 0
        if found.complete:
            self.log.worked(topic, "brokers share out topic %s of group %s again", topic, self._group)
        return found

    def _failed(self, topic: str, state: _Topic, why: str, *, own: bool) -> None:
        state.own = state.own or own
        what = "the members share them out by themselves" if state.own else "they stay as they are"
        self.log.failed(topic, "no broker shares out the queues of topic %s for group %s, %s: %s", topic, self._group, what, why)

    async def _ask(self, topic: str, near: str | None, waits: Sequence[float]) -> Told | None:
        """The first answer of a broker; brokers that are gone or too old are passed over."""
        failure: RocketMQError | None = None
        for address in self._addresses(topic, near):
            try:
                return await self._climb(address, topic, waits)
            except (BrokerError, UnreachableError) as error:
                too_old = isinstance(error, BrokerError) and error.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED
                if isinstance(error, BrokerError) and not too_old:
                    raise
                if failure is None or not too_old:
                    failure = error
        if failure is not None:
            raise failure
        return None

    async def _climb(self, address: str, topic: str, waits: Sequence[float]) -> Told | None:
        api, client_id = self._instance.broker_api, self._instance.client_id
        for wait in waits[:-1]:
            try:
                return await api.query_assignment(address, topic, self._group, client_id, self._strategy, timeout=wait)
            except RequestTimeoutError:
                logger.debug("%s has not told the queues of topic %s within %.0f s", address, topic, wait)
        return await api.query_assignment(address, topic, self._group, client_id, self._strategy, timeout=waits[-1])

    def _addresses(self, topic: str, near: str | None) -> list[str]:
        """One of each broker of the topic, in any order but for the first."""
        route = self._instance.routes.route(topic)
        datas = [data for data in route.broker_datas if data.broker_addrs] if route is not None else []
        found = [data.broker_addrs.get(MASTER_ID) or random.choice(list(data.broker_addrs.values())) for data in datas]
        random.shuffle(found)
        return sorted(found, key=lambda address: address != near)

    def _versions(self, topic: str) -> Versions:
        return frozenset(self._versions_of(topic))

    def _versions_of(self, topic: str) -> Iterator[tuple[str, int]]:
        table = self._instance.routes.broker_addrs
        route = self._instance.routes.route(topic)
        for data in route.broker_datas if route is not None else ():
            for address in data.broker_addrs.values():
                yield address, table.version(data.broker_name, address)

    def _checked(self, topic: str, told: Told) -> Assignment:
        """What is of use of an answer. The route of the broker may be newer than ours, or older."""
        known = set(self._instance.routes.subscribe_queues(topic) or ())
        brokers = {queue.broker_name for queue in known}
        pulled, popped, foreign = set(), set(), []
        for queue, mode in told.items():
            all_of_one = mode is MessageRequestMode.POP and queue.topic == topic and queue.queue_id == ALL_QUEUES
            if queue not in known and not (all_of_one and queue.broker_name in brokers):
                foreign.append(queue)
            elif mode is MessageRequestMode.POP:
                popped.add(queue)
            else:
                pulled.add(queue)
        if foreign:
            names = ", ".join(map(str, sorted(foreign)[:3]))
            text = "a broker has assigned %d queues of topic %s to a member of group %s that are in no route: %s"
            self.log.failed(topic, text, len(foreign), topic, self._group, names)
            self._instance.routes.refresh_soon(topic)
        return Assignment(pulled, frozenset(popped), not foreign)
