"""What is told of brokers and clusters (Java: `ClusterInfo`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BrokerInfo:
    """One broker name of a cluster.

    Attributes:
        cluster: Name of the cluster.
        name: Broker name.
        addresses: Broker id → `host:port`; id 0 is the master.
    """

    cluster: str
    name: str
    addresses: Mapping[int, str]

    @property
    def master(self) -> str | None:
        """Address of the master, or None when it is down."""
        return self.addresses.get(0)
