"""What a client tells of itself and of the cluster it works with: `InstanceHealth` without a question, `PingResult` after one.

Java has parts of this in `ConsumerRunningInfo`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiorocketmq.client.heartbeat import HeartbeatCounters
    from aiorocketmq.client.route import RouteCounters
    from aiorocketmq.client.scheduler import TaskRecord
    from aiorocketmq.errors import RocketMQError
    from aiorocketmq.model.enums import ServiceState

NAME_SERVER = "name server"
"""Stands for all name servers among the errors of a `PingResult`."""


@dataclass(frozen=True)
class PingResult:
    """Who has answered a ping.

    Attributes:
        brokers: Broker name → seconds that its answer took, for every master that answered.
        errors: Broker name → why there was no answer; `"name server"` when no name server answered.
    """

    brokers: Mapping[str, float]
    errors: Mapping[str, RocketMQError]

    @property
    def ok(self) -> bool:
        """True when everyone has answered."""
        return not self.errors


@dataclass(frozen=True)
class InstanceHealth:
    """A look at an instance: for health checks, metrics and tests.

    Attributes:
        state: Its service state.
        client_id: Its client id.
        boot_timestamp: When it was made, milliseconds since the epoch.
        name_servers: The list in use.
        topics: Topics with a known route.
        brokers: Broker addresses known.
        producers: Registered producer groups, the inner one included.
        consumers: Registered consumer groups.
        heartbeats: Heartbeats sent, failed, short.
        routes: Route queries, changes, failures.
        route_locks_given_up: Route updates that did not get their lock in time.
        heartbeat_locks_given_up: Heartbeat rounds that did not get their lock in time.
        rebalances: Rebalance rounds.
        tasks: Every scheduled task with its runs and failures.
    """

    state: ServiceState
    client_id: str
    boot_timestamp: int
    name_servers: tuple[str, ...]
    topics: tuple[str, ...]
    brokers: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    heartbeats: HeartbeatCounters
    routes: RouteCounters
    route_locks_given_up: int
    heartbeat_locks_given_up: int
    rebalances: int
    tasks: tuple[TaskRecord, ...]
