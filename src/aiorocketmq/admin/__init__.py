"""Administration of topics, groups, messages and brokers; `AdminClient` joins the families (Java: `DefaultMQAdminExt`)."""

from __future__ import annotations

from aiorocketmq.admin.admin import AdminClient
from aiorocketmq.admin.results import (
    BrokerInfo,
    ClientConnection,
    ConsumeProgress,
    GroupConnections,
    Policy,
    QueueProgress,
    QueueRead,
    QueueStats,
    TopicStats,
    User,
)

__all__ = [
    "AdminClient",
    "BrokerInfo",
    "ClientConnection",
    "ConsumeProgress",
    "GroupConnections",
    "Policy",
    "QueueProgress",
    "QueueRead",
    "QueueStats",
    "TopicStats",
    "User",
]
