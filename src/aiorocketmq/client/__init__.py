"""The client instance: the runtime that all producers, consumers and admin clients of a process and event loop share."""

from __future__ import annotations

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.model.enums import ServiceState

__all__ = ["ClientInstance", "ServiceState"]
