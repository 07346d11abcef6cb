"""The queues of topics on all brokers of the cluster, as name servers tell them (Java: the broker's `TopicRouteInfoManager`)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from aiorocketmq.core.route_table import check_route, subscribe_queues_of
from aiorocketmq.errors import RocketMQError
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import TopicRouteData
from aiorocketmq.protocol.bodies_client import decode_topic_route
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import GetRouteInfoRequestHeader
from aiorocketmq.server.broker.state import BrokerState

_TIMEOUT: Final = 2.0
"""Seconds that name servers may take: members of groups wait three for what they ask."""
_FRESH: Final = 1.0
"""Seconds for which an answer is used again: the members of a group ask at the same time."""
_MOST: Final = 4096
"""Topics remembered."""

Queues = tuple[MessageQueue, ...]
Ask = Callable[[RemotingCommand, float], Awaitable[RemotingCommand]]

logger = logging.getLogger("aiorocketmq.server")


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a topic.

    Attributes:
        queues: Its queues, None when there is no such topic.
    """

    queues: Queues | None


class TopicQueues:
    """Knows, or finds out, which queues of a topic can be read. Belongs to one event loop.

    Args:
        state: The broker.
        ask: Asks name servers.
        spawn: Makes the tasks that wait for them.
    """

    def __init__(self, state: BrokerState, ask: Ask, spawn: Callable[[str, Coroutine[Any, Any, None]], object]) -> None:
        self._state = state
        self._ask_name_servers = ask
        self._spawn = spawn
        self._known: dict[str, tuple[float, Queues]] = {}
        self._asking: dict[str, list[Callable[[Queues | None], None]]] = {}

    def find(self, topic: str, later: Callable[[Queues | None], None]) -> Found | None:
        """The queues of a topic when they are known; else None, and `later` is called with them.

        Where no name server answers these are the ones that they named last, or else those of this broker.
        """
        if not self._state.config.name_servers:
            return Found(self._own(topic))
        at, queues = self._known.get(topic, (0.0, ()))
        if queues and self._state.monotonic() - at <= _FRESH:
            return Found(queues)
        waiting = self._asking.get(topic)
        if waiting is not None:
            waiting.append(later)
        else:
            self._asking[topic] = [later]
            self._spawn(f"queues of {topic}", self._ask(topic))
        return None

    async def _ask(self, topic: str) -> None:
        found: Queues | None = None
        waiting = self._asking[topic]
        try:
            found = await self._told(topic)
        except RocketMQError as error:
            known = self._known.get(topic)
            found = known[1] if known is not None else self._own(topic)
            logger.warning("broker %s: no name server told the queues of topic %s: %s", self._state.config.name, topic, error)
        finally:
            del self._asking[topic]
        for then in waiting:
            then(found)

    async def _told(self, topic: str) -> Queues | None:
        request = RemotingCommand.request(RequestCode.GET_ROUTEINFO_BY_TOPIC, GetRouteInfoRequestHeader(topic))
        answer = await self._ask_name_servers(request, _TIMEOUT)
        if answer.code == ResponseCode.TOPIC_NOT_EXIST:
            self._known.pop(topic, None)
            return None
        route = decode_topic_route(answer.body)
        check_route(topic, route)
        # Logical queues are nothing that a broker shares out: its own ones are.
        queues = subscribe_queues_of(topic, TopicRouteData(route.queue_datas, route.broker_datas))
        self._known.pop(topic, None)
        self._known[topic] = self._state.monotonic(), queues
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        return queues

    def _own(self, topic: str) -> Queues | None:
        config = self._state.topics.get(topic)
        if config is None:
            return None
        readable = config.read_queue_nums if config.perm & Permission.READ else 0
        return tuple(MessageQueue(topic, self._state.config.name, number) for number in range(readable))
