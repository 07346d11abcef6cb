"""What a client tells of itself and of the cluster it works with: `Health` without a question, `PingResult` after one.

Values only; `client/examine.py` makes them. Java has parts of this in `ConsumerRunningInfo`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.queue import MessageQueue

if TYPE_CHECKING:
    from aiorocketmq.client.heartbeat import HeartbeatCounters
    from aiorocketmq.client.route import RouteCounters
    from aiorocketmq.client.scheduler import TaskRecord
    from aiorocketmq.errors import RocketMQError

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


class HealthStatus(Enum):
    """How a client is, in one word.

    Attributes:
        HEALTHY: Nothing is wrong as far as the client can tell.
        DEGRADED: It works, but not with everything: the reasons say what somebody has to look at.
        DOWN: It does not run, or reaches nobody.
    """

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class NameServerHealth:
    """What is known of one name server.

    Attributes:
        address: `host:port`.
        in_use: It is the one that is asked first.
        connected: A connection stands.
        reachable: True when it answered last, False when it did not or its connection was lost, None when nobody has asked it yet.
        answered_ago: Seconds since its last answer; None when there was none.
        failures: Requests that it did not answer, since the start.
        error: Why it cannot be reached, "" when it can.
    """

    address: str
    in_use: bool
    connected: bool
    reachable: bool | None
    answered_ago: float | None
    failures: int
    error: str


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """What is known of one broker.

    Attributes:
        name: Its name, which a master shares with its slaves.
        broker_id: 0 for the master.
        address: `host:port`, as it is advertised.
        connected: A connection stands.
        reachable: True when a connection stands, False when it was lost, could not be made or did not carry the last heartbeat, None when
            none was needed yet.
        version: As in `V5_5_0`; "" when its heartbeat answer has not told it yet.
        heartbeat_ago: Seconds since it last answered a heartbeat; None when it has not yet.
        error: Why it cannot be reached, or what it answered to the last heartbeat that it refused; "" when neither.
        avoided: This producer leaves it out for a while, because it was slow or has failed (`send_latency_enable`).
        routed: A route names it. One that is lost, and that name servers leave out for that, is shown for half an hour more.
    """

    name: str
    broker_id: int
    address: str
    connected: bool
    reachable: bool | None
    version: str
    heartbeat_ago: float | None
    error: str
    avoided: bool
    routed: bool = True


@dataclass(frozen=True, slots=True)
class RouteHealth:
    """What is known of one topic that the client uses.

    Attributes:
        topic: Its name.
        known: Its route is known: there is a way to it.
        inherited_from: The default topic whose route stands in as long as the topic does not exist, or None.
        brokers: Names of its brokers.
        write_queues: Queues that can be written to.
        read_queues: Queues that can be read from.
        age: Seconds since a name server last told the route; None when none has.
        error: Why the last query failed, "" when it did not.
    """

    topic: str
    known: bool
    inherited_from: str | None
    brokers: tuple[str, ...]
    write_queues: int
    read_queues: int
    age: float | None
    error: str


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """Where one queue of a consumer is.

    Attributes:
        queue: The queue.
        owned: False while it falls to this consumer and cannot be consumed yet.
        waits_for: What it waits for then, such as the lock of another member.
        position: Offset of the oldest message that is not consumed; -1 when it is not owned.
        end: Offset that the broker's next message gets, as the last answer to a pull told it; None before.
        unfinished: Messages that were pulled and are not consumed yet.
        pulled_ago: Seconds since the last pull was sent; None before.
        progress_ago: Seconds since its position was last seen to move, since there was nothing to consume, or it was paused.
        stuck: No progress for longer than `stuck_after`, or given up.
        given_up: It is not consumed any more, because of a message that cannot be decoded.
        error: Why that is so, or why its pulls fail; "" when neither.
        paused: `pause()` holds it back.
    """

    queue: MessageQueue
    owned: bool
    waits_for: str
    position: int
    end: int | None
    unfinished: int
    pulled_ago: float | None
    progress_ago: float
    stuck: bool
    given_up: bool
    error: str
    paused: bool = False

    @property
    def lag(self) -> int | None:
        """Messages of the queue that are not consumed, as far as the last pull told; None when that is not known."""
        return None if self.end is None or self.position < 0 else max(self.end - self.position, 0)


@dataclass(frozen=True, slots=True)
class ListenerHealth:
    """How the calls of the listener of one topic ended, within the last minute or a little more.

    Attributes:
        topic: Its topic.
        consumed: Messages consumed.
        failed: Messages that it failed on, however often each.
        mean_seconds: Of a call, in the mean; 0.0 when there was none.
    """

    topic: str
    consumed: int
    failed: int
    mean_seconds: float


@dataclass(frozen=True, slots=True)
class TaskHealth:
    """What is known of one piece of background work.

    Attributes:
        name: What it does.
        interval: Seconds between two runs; 0 for work that goes on all the time.
        runs: Runs so far; of work that goes on all the time, its starts.
        failures: How many of them failed.
        ran_ago: Seconds since the last run began; None before the first.
        failing: The last run failed; or work that goes on all the time has failed within the last 30 s.
        overdue: Seconds beyond its time at which it should have run or ended; 0.0 when it is in time.
        error: Text of the last failure, however long ago, or "".
    """

    name: str
    interval: float
    runs: int
    failures: int
    ran_ago: float | None
    failing: bool
    overdue: float
    error: str


@dataclass(frozen=True, slots=True)
class Health:
    """How a client is: what it knows without asking anybody. Times are ages in seconds, at the moment of the call.

    Attributes:
        status: All of it in one word.
        reasons: Why it is not `HEALTHY`, a sentence each; the worst first.
        client: What it is, as in `producer 'shop'`.
        state: Where in its life the client is.
        client_id: The id under which brokers know it; "" when it does not run.
        name_servers: The name servers, the one in use first.
        brokers: The brokers of all topics in use.
        routes: The topics that the client publishes or subscribes.
        queues: Consumers: the queues that fall to it.
        tasks: The background work.
        subscription_conflicts: Consumers: topic → how another member of the group subscribes it.
        listeners: Consumers: how the calls of the listeners ended of late.
        suspended: Consumers: `suspend()` was called, or `pause()` for everything, and not `resume()`.
        sends_failed: Producers: sends that failed within the last minute, 1000 at most; what their callers did wrong does not count.
        send_failed_ago: Producers: seconds since the last one failed; None when none has.
        send_error: Producers: why it did.
        in_flight: Producers: messages that await their answers.
        in_flight_bytes: Producers: bytes of their bodies.
    """

    status: HealthStatus
    reasons: tuple[str, ...]
    client: str
    state: ServiceState
    client_id: str = ""
    name_servers: tuple[NameServerHealth, ...] = ()
    brokers: tuple[BrokerHealth, ...] = ()
    routes: tuple[RouteHealth, ...] = ()
    queues: tuple[QueueHealth, ...] = ()
    tasks: tuple[TaskHealth, ...] = ()
    subscription_conflicts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    listeners: tuple[ListenerHealth, ...] = ()
    suspended: bool = False
    sends_failed: int = 0
    send_failed_ago: float | None = None
    send_error: str = ""
    in_flight: int = 0
    in_flight_bytes: int = 0

    @property
    def ok(self) -> bool:
        """True when it is `HEALTHY`."""
        return self.status is HealthStatus.HEALTHY

    @property
    def lag(self) -> int | None:
        """Consumers: messages of the owned queues that are not consumed, as far as that is known; None when it is of no queue."""
        known = [lag for queue in self.queues if (lag := queue.lag) is not None]
        return sum(known) if known else None

    def as_dict(self) -> dict[str, Any]:
        """The same of dictionaries, lists and plain values, for `json.dumps()` in a health endpoint; with `ok` and the lags."""
        plain = {spec.name: _plain(getattr(self, spec.name)) for spec in dataclasses.fields(self)}
        for told, queue in zip(plain["queues"], self.queues, strict=True):
            told["lag"] = queue.lag
        return plain | {"ok": self.ok, "lag": self.lag}

    def __str__(self) -> str:
        return f"{self.client} is {self.status.value}" + (f": {'; '.join(self.reasons)}" if self.reasons else "")


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, MessageQueue):
        return value._asdict()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value):
        return {spec.name: _plain(getattr(value, spec.name)) for spec in dataclasses.fields(value)}
    return value


class StateChangeKind(Enum):
    """What has changed.

    Attributes:
        STATUS: `health().status` is another one; also told once after the start.
        NAME_SERVERS_LOST: Name servers cannot be reached.
        NAME_SERVERS_REGAINED: They can again.
        NAME_SERVERS_GONE: They were lost, and are not configured any more.
        BROKERS_LOST: Brokers cannot be reached.
        BROKERS_REGAINED: They can again.
        BROKERS_GONE: They were lost, and are missed no more: no route has named them for half an hour, or the client has left their topics.
        SUBSCRIPTIONS_DIFFER: Another member of the group subscribes a topic in another way.
        SUBSCRIPTIONS_AGREE: That is over.
        QUEUES_STUCK: Queues make no progress.
        QUEUES_MOVING: They do again, or fall to another member.
    """

    STATUS = "status"
    NAME_SERVERS_LOST = "name servers lost"
    NAME_SERVERS_REGAINED = "name servers regained"
    NAME_SERVERS_GONE = "name servers gone"
    BROKERS_LOST = "brokers lost"
    BROKERS_REGAINED = "brokers regained"
    BROKERS_GONE = "brokers gone"
    SUBSCRIPTIONS_DIFFER = "subscriptions differ"
    SUBSCRIPTIONS_AGREE = "subscriptions agree"
    QUEUES_STUCK = "queues stuck"
    QUEUES_MOVING = "queues moving"


@dataclass(frozen=True, slots=True)
class StateChange:
    """Something has changed in how a client is: what `on_state_change` is called with. Its `str()` is `text`.

    Attributes:
        kind: What.
        client: The client, as in `producer 'shop'`.
        subjects: What it is about: addresses, brokers, topics or queues as the text names them; with `STATUS` the client.
        text: All of it in a sentence.
        health: How the client is now.
    """

    kind: StateChangeKind
    client: str
    subjects: tuple[str, ...]
    text: str
    health: Health

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class InstanceHealth:
    """A look at an instance: counters, for tests and the curious.

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
