"""Administration of clusters by families of operations, joined in `AdminClient` (Java: `DefaultMQAdminExt`).

Every record is imported with its family, when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiorocketmq.admin.admin import AdminClient
    from aiorocketmq.admin.partial import Partial
    from aiorocketmq.admin.results.access import Policy, User
    from aiorocketmq.admin.results.brokers import BrokerInfo
    from aiorocketmq.admin.results.groups import ClientConnection, ConsumeProgress, GroupConnections, GroupSettings, QueueProgress
    from aiorocketmq.admin.results.messages import QueueRead
    from aiorocketmq.admin.results.topics import QueueStats, TopicSettings, TopicStats

__all__ = [
    "AdminClient",
    "BrokerInfo",
    "ClientConnection",
    "ConsumeProgress",
    "GroupConnections",
    "GroupSettings",
    "Partial",
    "Policy",
    "QueueProgress",
    "QueueRead",
    "QueueStats",
    "TopicSettings",
    "TopicStats",
    "User",
]

if not TYPE_CHECKING:  # a checker takes the imports above

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from aiorocketmq.names import ADMIN, find

        value = globals()[name] = find(__name__, name, ADMIN[name])
        return value
