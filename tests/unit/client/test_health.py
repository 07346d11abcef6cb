"""The values that tell how a client is, and what is said of clients that do not run."""

from __future__ import annotations

import dataclasses
import json

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from aiorocketmq.client.examine import at_rest, some
from aiorocketmq.client.health import BrokerHealth, Health, HealthStatus, NameServerHealth, QueueHealth, RouteHealth, TaskHealth
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.model.queue import MessageQueue


def queue_health(number: int = 0, *, position: int = 3, end: int | None = 10) -> QueueHealth:
    return QueueHealth(MessageQueue("orders", "broker-a", number), True, "", position, end, 1, 0.5, 2.0, False, False, "")


FULL = Health(
    HealthStatus.DEGRADED,
    ("one thing", "another thing"),
    "consumer of group 'workers'",
    ServiceState.RUNNING,
    "id",
    (NameServerHealth("ns:9876", True, False, False, 4.0, 2, "refused"),),
    (BrokerHealth("broker-a", 0, "a:10911", True, True, "V5_5_0", 3.0, "", False),),
    (RouteHealth("orders", True, None, ("broker-a",), 4, 4, 9.0, ""),),
    (queue_health(0), queue_health(1, end=None), queue_health(2, position=12)),
    (TaskHealth("refresh routes", 30.0, 3, 1, 2.0, False, 0.0, "boom"),),
    {"orders": "the filter differs"},
)


def test_it_reads_as_a_sentence() -> None:
    assert str(FULL) == "consumer of group 'workers' is degraded: one thing; another thing"
    assert str(Health(HealthStatus.HEALTHY, (), "producer 'p'", ServiceState.RUNNING)) == "producer 'p' is healthy"


def test_the_lag_is_that_of_the_queues_of_which_it_is_known() -> None:
    assert [queue.lag for queue in FULL.queues] == [7, None, 0]
    assert FULL.lag == 7
    assert queue_health(position=-1).lag is None
    assert Health(HealthStatus.HEALTHY, (), "producer 'p'", ServiceState.RUNNING).lag is None


def test_it_can_be_written_as_json() -> None:
    told = json.loads(json.dumps(FULL.as_dict()))
    assert told.keys() == {spec.name for spec in dataclasses.fields(Health)} | {"ok", "lag"}
    assert (told["status"], told["state"], told["ok"], told["lag"]) == ("degraded", "RUNNING", False, 7)
    assert told["name_servers"][0]["error"] == "refused"
    assert told["queues"][0]["queue"] == {"topic": "orders", "broker_name": "broker-a", "queue_id": 0}
    assert [queue["lag"] for queue in told["queues"]] == [7, None, 0]


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.status = HealthStatus.HEALTHY  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.queues[0].stuck = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (ServiceState.CREATE_JUST, "was not started yet"),
        (ServiceState.START_FAILED, "has failed to start"),
        (ServiceState.SHUTDOWN_ALREADY, "was stopped"),
        (ServiceState.RUNNING, "is being started"),
    ],
)
def test_a_client_that_does_not_run_is_down(state: ServiceState, text: str) -> None:
    health = at_rest("producer 'p'", state)
    assert (health.status, health.reasons) == (HealthStatus.DOWN, (f"the client {text}",))


@pytest.mark.feature("U2")
def test_clients_of_both_kinds_can_be_asked_before_their_start_and_without_an_event_loop() -> None:
    for package in (rmq, aiorocketmq.sync):
        clients = (
            package.Producer("127.0.0.1:1", group="p"),
            package.TransactionProducer("127.0.0.1:1", group="p", check=lambda message: rmq.TransactionState.UNKNOWN),
            package.PushConsumer("127.0.0.1:1", group="c"),
            package.AdminClient("127.0.0.1:1"),
        )
        for client in clients:
            assert client.health().status is rmq.HealthStatus.DOWN
            assert client.health().reasons == ("the client was not started yet",)


def test_many_names_are_cut_short() -> None:
    assert some("queue", ["a"]) == "queue a"
    assert some("queue", ["a", "b", "c"]) == "queues a, b, c"
    assert some("queue", ["a", "b", "c", "d", "e"]) == "queues a, b, c and 2 more"
