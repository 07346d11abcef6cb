"""Clusters and their brokers (Java: `examineBrokerClusterInfo`). Feature Q29."""

from __future__ import annotations

from aiorocketmq.admin.kernel import Family
from aiorocketmq.admin.results.brokers import BrokerInfo


class Clusters(Family):
    """What an admin client finds out about clusters."""

    async def list(self) -> tuple[str, ...]:
        """Names of all clusters, sorted (106).

        Raises:
            NoNameServerError: No name server can be reached.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        return tuple(sorted({broker.cluster for broker in await self._kernel.brokers()}))

    async def brokers(self) -> tuple[BrokerInfo, ...]:
        """All brokers that the name server knows, sorted by cluster and name (106).

        Raises:
            NoNameServerError: No name server can be reached.
            RocketMQError: The name server did not answer, or answered with an error.

        Cancelling it is safe.
        """
        return await self._kernel.brokers()
