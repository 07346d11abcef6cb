"""Where the public names of the package live, for the modules that import each at its first use (`aiorocketmq`, `aiorocketmq.sync`)."""

from __future__ import annotations

from importlib import import_module

VALUES = ("errors", "model.enums", "model.queue", "model.results", "model.filters", "model.message", "model.received", "config")
"""Modules with public names, the cheapest first."""
TRANSACTIONS = ("HalfMessage", "TransactionSendResult")
DECISIONS = ("EndTransactionContext", "EndTransactionHook")
SEND_HOOKS = ("CheckForbiddenHook", "SendContext", "SendHook")
CONSUME_HOOKS = ("ConsumeContext", "ConsumeHook", "FilterHook")
SELECTORS = ("QueueSelector", "SelectByHash", "SelectByRandom", "SelectRoundRobin")
HEALTH = (
    "BrokerHealth", "Health", "HealthStatus", "ListenerHealth", "NameServerHealth", "PingResult", "QueueHealth", "RouteHealth",
    "StateChange", "StateChangeKind", "TaskHealth",
)  # fmt: skip
STRATEGIES = (
    "AllocateAveragelyByCircle", "AllocateByConfig", "AllocateByMachineRoom", "AllocateConsistentHash", "AllocateMachineRoomNearby",
    "AllocateSticky",
)  # fmt: skip
"""Ways to share queues, besides the usual one."""
RESULTS = {
    "BrokerInfo": "admin.results.brokers",
    "ClientConnection": "admin.results.groups",
    "ConsumeProgress": "admin.results.groups",
    "GroupConnections": "admin.results.groups",
    "Policy": "admin.results.access",
    "QueueProgress": "admin.results.groups",
    "QueueRead": "admin.results.messages",
    "QueueStats": "admin.results.topics",
    "TopicStats": "admin.results.topics",
    "User": "admin.results.access",
}
"""What administration tells, and where each record is: with its family."""
ADMIN = {
    **RESULTS,
    "AdminClient": "admin.admin",
    "GroupSettings": "admin.results.groups",
    "Partial": "admin.partial",
    "TopicSettings": "admin.results.topics",
}
"""Names of the package `aiorocketmq.admin`."""


def find(package: str, name: str, home: str | None) -> object:
    """The object that a public name stands for.

    Args:
        package: Package that has the name, for the error.
        name: The name.
        home: Its module below `aiorocketmq`; None looks for it in `VALUES`.

    Raises:
        AttributeError: There is no such name.
    """
    for place in VALUES if home is None else (home,):
        module = import_module(f"aiorocketmq.{place}")
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
