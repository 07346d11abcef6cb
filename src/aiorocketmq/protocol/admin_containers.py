"""Broker containers: processes that hold several brokers (902, 903; Java: `AddBrokerRequestHeader`, `RemoveBrokerRequestHeader`).

From 5.0 on.
"""

from __future__ import annotations

from typing import ClassVar

from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header
from aiorocketmq.protocol.limits import BrokerId, Name, Word

__all__ = ["AddBrokerRequestHeader", "RemoveBrokerRequestHeader"]


class AddBrokerRequestHeader(Header):
    """Let a container start a broker (902); `config_path` is a file on the container's machine."""

    CODE: ClassVar[int | None] = RequestCode.ADD_BROKER

    config_path: Word


class RemoveBrokerRequestHeader(Header):
    """Let a container stop a broker (903)."""

    CODE: ClassVar[int | None] = RequestCode.REMOVE_BROKER

    broker_name: Name
    broker_cluster_name: Name
    broker_id: BrokerId
