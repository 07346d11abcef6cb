"""Queues that a scripted broker shares out, on virtual time: late, wrong and missing answers, and what members do without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest

from aiorocketmq.consumer.runtime import PushRuntime
from aiorocketmq.consumer.settings import PushSettings
from aiorocketmq.core.strategies import AllocateAveragelyByCircle, AllocateConsistentHash
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import MessageModel, MessageRequestMode
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, QueueMapping, TopicRouteData
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.bodies_client import MessageQueueAssignment, QueryAssignmentRequestBody, QueryAssignmentResponseBody
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.waiting import eventually
from tests.unit.consumer.test_pulling import Seen
from tests.unit.consumer.world import GROUP, QUEUE, RETRY, TOPIC, ScriptedBroker, consuming, virtual_time
from tests.wire.world import CLIENT_ID, MASTER, heartbeat_answer, route

PULL, POP = MessageRequestMode.PULL, MessageRequestMode.POP

pytestmark = pytest.mark.feature("G11")


def numbered(*ids: int, topic: str = TOPIC) -> list[MessageQueue]:
    return [MessageQueue(topic, "broker-a", number) for number in ids]


class SharingBroker(ScriptedBroker):
    """A broker that shares queues out.

    Attributes:
        assigned: What falls to the consumer of `TOPIC`; None is an answer without a list, a code refuses.
        mode: Mode of all of them.
        delays: Seconds before the next answers; past any time-out when infinite.
    """

    def __init__(self, queues: int = 4) -> None:
        super().__init__()
        self.world.routes[TOPIC] = route(queues)
        self.assigned: list[MessageQueue] | int | None = numbered(*range(queues))
        self.mode = PULL
        self.delays: list[float] = []
        self.peer.on(RequestCode.QUERY_ASSIGNMENT, self._assign)

    def asked(self, topic: str = TOPIC) -> list[float]:
        """When it was asked for the queues of a topic."""
        requests = self.peer.of(RequestCode.QUERY_ASSIGNMENT)
        return [each.at for each in requests if QueryAssignmentRequestBody.decode(each.command.body).topic == topic]

    def _assign(self, request: RemotingCommand, connection: Any) -> RemotingCommand | None:
        body = QueryAssignmentRequestBody.decode(request.body)
        if isinstance(self.assigned, int):
            return RemotingCommand.response(request, self.assigned, "scripted")
        queues = [MessageQueue(RETRY, "broker-a", 0)] if body.topic == RETRY else self.assigned
        mode = PULL if body.topic == RETRY else self.mode
        told = None if queues is None else [MessageQueueAssignment(message_queue=queue, mode=mode) for queue in queues]
        answer = RemotingCommand.response(request, body=QueryAssignmentResponseBody(message_queue_assignments=told).encode())
        if body.topic == TOPIC and self.delays:
            asyncio.get_running_loop().call_later(min(self.delays.pop(0), 1e6), partial(connection.send, answer))
            return None
        return answer


def sharing(broker: ScriptedBroker, seen: Seen, **settings: Any) -> AbstractAsyncContextManager[PushRuntime]:
    return consuming(broker, seen, client_rebalance=False, **settings)


def owned(runtime: PushRuntime) -> set[int]:
    return {queue.queue_id for queue in runtime.rebalancer.assigned if queue.topic == TOPIC}


@virtual_time
async def test_broker_says_which_queues_fall_to_this_member_and_takes_them_away() -> None:
    broker, seen = SharingBroker(), Seen()
    broker.members = [CLIENT_ID, "zz@other"]
    broker.assigned = numbered(1, 3)  # no share that a client would work out
    async with sharing(broker, seen, allocate=AllocateAveragelyByCircle()) as runtime:
        await eventually(lambda: owned(runtime) == {1, 3})
        asked = QueryAssignmentRequestBody.decode(broker.peer.of(RequestCode.QUERY_ASSIGNMENT)[0].command.body)
        assert (asked.consumer_group, asked.client_id, asked.strategy_name, asked.message_model) == (
            GROUP, CLIENT_ID, "AVG_BY_CIRCLE", MessageModel.CLUSTERING,
        )  # fmt: skip
        await eventually(lambda: MessageQueue(RETRY, "broker-a", 0) in runtime.rebalancer.assigned)
        broker.assigned = numbered(0, 3)
        broker.peer.push_oneway(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, {"consumerGroup": GROUP})
        await eventually(lambda: owned(runtime) == {0, 3})
        broker.assigned = []
        runtime.instance.rebalance.wake()
        await eventually(lambda: owned(runtime) == set())


@virtual_time
async def test_newcomer_lets_the_others_let_go_when_the_broker_shares_as_the_members_would() -> None:
    broker, seen = SharingBroker(), Seen()
    broker.members, broker.assigned = [CLIENT_ID, "zz@other"], numbered(0, 1)
    async with sharing(broker, seen) as runtime:
        await asyncio.sleep(1.5)
        assert owned(runtime) == set()
        await eventually(lambda: owned(runtime) == {0, 1}, 2)


@virtual_time
async def test_members_of_both_kinds_share_the_queues_without_a_doubt() -> None:
    """What the broker says and what a client works out is the same, so it does not matter who asked."""
    for given, expected in ([CLIENT_ID, "zz@other"], {0, 1}), (["0@other", CLIENT_ID], {2, 3}):
        by_broker, by_members, seen = SharingBroker(), ScriptedBroker(), Seen()
        by_broker.members = by_members.members = given
        by_broker.assigned = numbered(*expected)
        by_members.world.routes[TOPIC] = route(4)
        async with sharing(by_broker, seen) as runtime:
            await eventually(lambda: owned(runtime) == expected)  # noqa: B023
        async with consuming(by_members, seen) as runtime:
            await eventually(lambda: owned(runtime) == expected)  # noqa: B023
            assert by_members.peer.of(RequestCode.QUERY_ASSIGNMENT) == []


@virtual_time
async def test_broker_that_is_too_old_leaves_the_queues_to_the_members_and_is_asked_again_when_it_is_newer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker, seen = SharingBroker(), Seen()
    broker.assigned = ResponseCode.REQUEST_CODE_NOT_SUPPORTED
    broker.append(b"0")
    async with sharing(broker, seen) as runtime:
        await eventually(lambda: owned(runtime) == {0, 1, 2, 3})
        await asyncio.sleep(100)
        assert set(seen.bodies) == {b"0"}
        assert len(broker.asked()) == 1
        assert [each.levelname for each in caplog.records if "topic orders" in each.getMessage()] == ["WARNING"]
        assert "the members share them out by themselves" in caplog.text
        broker.assigned = numbered(2)

        def newer(request: RemotingCommand, _: object) -> RemotingCommand:
            answer = heartbeat_answer(request)
            answer.version += 1
            return answer

        broker.peer.on(RequestCode.HEART_BEAT, newer)
        await eventually(lambda: owned(runtime) == {2}, 80)


@virtual_time
async def test_old_broker_beside_a_new_one_is_passed_over() -> None:
    broker, seen = SharingBroker(), Seen()
    old = broker.world.make_broker("broker-b:10911")
    old.answer(RequestCode.QUERY_ASSIGNMENT, ResponseCode.REQUEST_CODE_NOT_SUPPORTED, "old")
    broker.world.routes[TOPIC] = TopicRouteData(
        (QueueData("broker-a", 4, 4), QueueData("broker-b", 0, 0)),
        (BrokerData("c", "broker-a", {0: MASTER}), BrokerData("c", "broker-b", {0: "broker-b:10911"})),
    )
    broker.assigned = numbered(1)
    old.answer(RequestCode.GET_CONSUMER_LIST_BY_GROUP, ResponseCode.SYSTEM_ERROR, "nobody")
    async with sharing(broker, seen) as runtime:
        while not old.of(RequestCode.QUERY_ASSIGNMENT):  # whom it asks first is by chance
            broker.peer.answer(RequestCode.GET_CONSUMER_LIST_BY_GROUP, ResponseCode.SYSTEM_ERROR, "nobody")
            await asyncio.sleep(1)
        assert owned(runtime) == {1}


@virtual_time
async def test_late_broker_is_waited_for_longer_and_longer() -> None:
    broker, seen = SharingBroker(), Seen()
    broker.assigned = numbered(1)
    broker.delays = [2.5, 2.5, 2.5]
    async with sharing(broker, seen) as runtime:
        await eventually(lambda: owned(runtime) == {1}, 10)
        first, second, third = broker.asked()[:3]
        assert (round(second - first, 1), round(third - second, 1)) == (1.0, 2.0)


@virtual_time
async def test_members_share_out_what_no_broker_told_in_time_until_one_does() -> None:
    broker, seen = SharingBroker(), Seen()
    broker.assigned = numbered(1)
    broker.delays = [1e9] * 5
    async with sharing(broker, seen) as runtime:
        await eventually(lambda: owned(runtime) == {0, 1, 2, 3}, 10)
        assert len(broker.asked()) == 3
        await eventually(lambda: owned(runtime) == {1}, 90)


@virtual_time
async def test_broker_that_has_answered_before_and_is_late_changes_nothing() -> None:
    broker, seen = SharingBroker(), Seen()
    broker.assigned = numbered(1)
    async with sharing(broker, seen) as runtime:
        await eventually(lambda: owned(runtime) == {1})
        broker.delays = [1e9] * 10
        for _ in range(6):
            await asyncio.sleep(10)
            assert owned(runtime) == {1}


@pytest.mark.parametrize("answer", [ResponseCode.SYSTEM_ERROR, ResponseCode.NO_PERMISSION, None])
def test_broker_with_nothing_to_say_is_asked_again_and_the_members_do_without_it_meanwhile(answer: int | None) -> None:
    @virtual_time
    async def run() -> None:
        broker, seen = SharingBroker(), Seen()
        broker.assigned = answer
        async with sharing(broker, seen) as runtime:
            await eventually(lambda: owned(runtime) == {0, 1, 2, 3}, 10)
            broker.assigned = numbered(2, 3)
            await eventually(lambda: owned(runtime) == {2, 3}, 30)
            broker.assigned = answer
            await asyncio.sleep(60)
            assert owned(runtime) == {2, 3}, "it has answered before: what it said last holds"

    run()


@virtual_time
async def test_queues_that_are_in_no_route_are_left_out_and_the_route_is_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    broker, seen = SharingBroker(), Seen()
    broker.assigned = [*numbered(1, 7), MessageQueue("other", "broker-a", 0), MessageQueue(TOPIC, "broker-x", 0)]
    async with sharing(broker, seen) as runtime:
        await eventually(lambda: owned(runtime) == {1})
        assert "that are in no route" in caplog.text
        broker.world.routes[TOPIC] = route(8)
        broker.assigned = numbered(1, 7)
        await eventually(lambda: owned(runtime) == {1, 7}, 5)
        broker.assigned = numbered(99)
        runtime.instance.rebalance.wake()
        await asyncio.sleep(5)
        assert owned(runtime) == {1, 7}, "an answer without any known queue is no answer"


@virtual_time
async def test_members_consume_what_no_broker_has_named_right_from_the_start() -> None:
    broker, seen = SharingBroker(), Seen()
    broker.assigned = numbered(99)
    async with sharing(broker, seen) as runtime:
        await eventually(lambda: owned(runtime) == {0, 1, 2, 3}, 10)


@virtual_time
async def test_members_share_out_the_logical_queues_of_a_static_topic() -> None:
    """A broker would name the queues that it has for them."""
    broker, seen = SharingBroker(), Seen()
    static = route(4)
    mapping = QueueMapping("broker-a", "__global__", 2, 1, {0: 0, 1: 3})
    broker.world.routes[TOPIC] = TopicRouteData(static.queue_datas, static.broker_datas, mappings=(mapping,))
    async with sharing(broker, seen) as runtime:
        await eventually(lambda: owned(runtime) == {0, 1})
        assert {queue.broker_name for queue in runtime.rebalancer.assigned if queue.topic == TOPIC} == {"__syslo__global__"}
        assert broker.asked() == []
        assert broker.asked(RETRY) != []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"messageQueueAssignments":7}', b'{"messageQueueAssignments":[{"messageQueue":3}]}',
     b'{"messageQueueAssignments":[{"messageQueue":{"topic":"orders","brokerName":"broker-a","queueId":0},"mode":"GUESS"}]}'],
)  # fmt: skip
def test_nonsense_is_no_answer(body: bytes) -> None:
    @virtual_time
    async def run() -> None:
        broker, seen = SharingBroker(), Seen()
        broker.peer.on(RequestCode.QUERY_ASSIGNMENT, lambda request, _: RemotingCommand.response(request, body=body))
        async with sharing(broker, seen) as runtime:
            await eventually(lambda: owned(runtime) == {0, 1, 2, 3}, 10)

    run()


@virtual_time
async def test_assignments_without_a_queue_or_a_mode_are_read_as_java_reads_them() -> None:
    broker, seen = SharingBroker(), Seen()
    told = {"messageQueueAssignments": [{"mode": "PULL"}, {"messageQueue": {"topic": TOPIC, "brokerName": "broker-a", "queueId": 2}}]}

    def answer(request: RemotingCommand, _: object) -> RemotingCommand:
        return RemotingCommand.response(request, body=fastjson.dumps(told))

    broker.peer.on(RequestCode.QUERY_ASSIGNMENT, answer)
    async with sharing(broker, seen) as runtime:
        await eventually(lambda: owned(runtime) == {2})


@virtual_time
async def test_member_that_the_broker_forgot_says_hello_before_it_gives_its_queues_up() -> None:
    broker, seen = SharingBroker(), Seen()
    async with sharing(broker, seen) as runtime:
        await eventually(lambda: owned(runtime) == {0, 1, 2, 3})
        broker.members, broker.assigned = ["zz@other"], []

        def welcome(request: RemotingCommand, _: object) -> RemotingCommand:
            broker.members, broker.assigned = [CLIENT_ID, "zz@other"], numbered(0, 1)
            return heartbeat_answer(request)

        broker.peer.on(RequestCode.HEART_BEAT, welcome)
        runtime.instance.rebalance.wake()
        await eventually(lambda: owned(runtime) == {0, 1})
        assert QUEUE in runtime.rebalancer.assigned


@virtual_time
async def test_mode_of_the_queues_comes_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    popped: list[tuple[str, frozenset[MessageQueue]]] = []
    monkeypatch.setattr(PushRuntime, "pop", lambda self, topic, queues: popped.append((topic, queues)))
    broker, seen = SharingBroker(), Seen()
    async with sharing(broker, seen) as runtime:
        await eventually(lambda: owned(runtime) == {0, 1, 2, 3})
        assert dict(popped) == {RETRY: frozenset(), TOPIC: frozenset()}
        broker.mode, broker.assigned = POP, numbered(-1)
        runtime.instance.rebalance.wake()
        await eventually(lambda: owned(runtime) == set())
        assert dict(popped) == {RETRY: frozenset(), TOPIC: frozenset(numbered(-1))}
        broker.mode = PULL  # all queues of a broker cannot be pulled at once
        broker.assigned = numbered(-1, 2)
        runtime.instance.rebalance.wake()
        await eventually(lambda: owned(runtime) == {2})
        assert dict(popped)[TOPIC] == frozenset()
        broker.assigned = ResponseCode.REQUEST_CODE_NOT_SUPPORTED
        runtime.instance.rebalance.wake()
        await eventually(lambda: owned(runtime) == {0, 1, 2, 3})
        assert dict(popped)[TOPIC] == frozenset()


@pytest.mark.feature("H11", "G11")
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ordered": True}, "client_rebalance=False is given with ordered=True"),
        ({"message_model": MessageModel.BROADCASTING}, "with message_model=BROADCASTING"),
        ({"allocate": AllocateConsistentHash()}, "'CONSISTENT_HASH', which no broker has"),
    ],
)
def test_what_brokers_cannot_share_out_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PushSettings(group=GROUP, client_rebalance=False, **fields)


def test_client_rebalance_is_true_or_false() -> None:
    make: Callable[..., PushSettings] = partial(PushSettings, group=GROUP)
    assert not make().asks_brokers
    assert make(client_rebalance=False).asks_brokers
    with pytest.raises(ConfigError, match="client_rebalance"):
        make(client_rebalance="no")
