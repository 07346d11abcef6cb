"""The order settings of topics: on how many queues of which brokers ordered messages go (Java: `createOrUpdateOrderConf`). Feature Q21."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from aiorocketmq.admin.kernel import Family
from aiorocketmq.errors import ConfigError, ProtocolError
from aiorocketmq.model.checks import whole
from aiorocketmq.model.names import check_topic

if TYPE_CHECKING:
    from aiorocketmq.admin.name_servers import NameServerValues
    from aiorocketmq.admin.partial import Partial

_NAMESPACE: Final = "ORDER_TOPIC_CONFIG"
_MAX_QUEUES: Final = 65535


class TopicOrder(Family):
    """The order settings that name servers keep of topics: producers send to these queues, whether their brokers are there or not."""

    async def get(self, topic: str) -> dict[str, int] | None:
        """On how many queues of which brokers a topic is ordered; None where nothing is set (101).

        Raises:
            InvalidNameError: The name is not legal.
            ProtocolError: What is set cannot be read.
            RocketMQError: No name server answered without an error.

        Cancelling it is safe.
        """
        text = await self._values().get(_NAMESPACE, self._key(topic))
        return None if text is None else _read(topic, text)

    async def set(self, topic: str, queues: Mapping[str, int]) -> Partial[None]:
        """Order a topic on so many queues of each broker, at every name server (100).

        Args:
            topic: The topic.
            queues: Broker name → queues, 1 to 65535.

        Raises:
            InvalidNameError: The name is not legal.
            ConfigError: There is no broker, or a name or number cannot be.
            RocketMQError: No name server has taken it.

        Cancelling it may leave some name servers without it; calling it again is safe.
        """
        key = self._key(topic)
        if not isinstance(queues, Mapping) or not queues:
            raise ConfigError(f"queues {queues!r} is no mapping, or empty", hint='write {"broker-a": 4}')
        for broker, count in queues.items():
            if not isinstance(broker, str) or not broker or any(char in broker for char in ":;"):
                raise ConfigError(f"broker {broker!r} is no name", hint="give a broker's name, as clusters.brokers() tells it")
            whole(f"queues of {broker}", count, 1, _MAX_QUEUES)
        return await self._values().put(_NAMESPACE, key, ";".join(f"{broker}:{count}" for broker, count in sorted(queues.items())))

    async def delete(self, topic: str) -> Partial[None]:
        """Order a topic no more, at every name server; nothing happens where nothing is set (102).

        Raises:
            InvalidNameError: The name is not legal.
            RocketMQError: No name server has done it.

        Cancelling it may leave some name servers with it; calling it again is safe.
        """
        return await self._values().delete(_NAMESPACE, self._key(topic))

    def _values(self) -> NameServerValues:
        from aiorocketmq.admin.name_servers import NameServerValues  # for those who ask

        return NameServerValues(self._kernel)

    def _key(self, topic: str) -> str:
        check_topic(topic)
        return self._kernel.names.wrap(topic)


def _read(topic: str, text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in filter(None, text.split(";")):
        broker, _, count = part.partition(":")
        if not broker or not count.isascii() or not count.isdecimal():
            raise ProtocolError(f"the order settings of topic {topic!r} are {text[:200]!r}", hint="set them anew, or delete them")
        found[broker] = int(count)
    return found
