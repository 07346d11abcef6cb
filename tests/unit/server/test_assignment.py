"""Queues that the embedded broker shares out, and modes that administrators set."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.core.allocate import AllocateAveragely
from aiorocketmq.core.strategies import AllocateAveragelyByCircle
from aiorocketmq.errors import ConnectError
from aiorocketmq.model.enums import MessageModel, MessageRequestMode
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, QueueMapping, TopicRouteData
from aiorocketmq.protocol.bodies import ConsumerData, HeartbeatData, TopicConfig, encode_topic_route
from aiorocketmq.protocol.bodies_client import (
    QueryAssignmentRequestBody,
    QueryAssignmentResponseBody,
    SetMessageRequestModeRequestBody,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.tasks import TaskSet
from aiorocketmq.server.broker.processors.assignment import popped
from aiorocketmq.server.broker.topic_queues import Queues, TopicQueues
from tests.unit.server.harness import BrokerBench, FakeChannel, MakeBench

pytestmark = pytest.mark.feature("G11")

TOPIC, GROUP = "orders", "readers"
PULL, POP = MessageRequestMode.PULL, MessageRequestMode.POP


def queues(count: int, name: str = "broker-a") -> list[MessageQueue]:
    return [MessageQueue(TOPIC, name, number) for number in range(count)]


async def joined(bench: BrokerBench, *clients: str) -> None:
    for number, client in enumerate(clients):
        consumer = ConsumerData(GROUP, subscription_data_set=[SubscriptionData(TOPIC)])
        beat = HeartbeatData(client, [], [consumer]).encode()
        await bench.ask(RequestCode.HEART_BEAT, None, beat, channel=FakeChannel(f"127.0.0.1:{50100 + number}"))


async def asked(
    bench: BrokerBench, client: str, strategy: str = "AVG", model: MessageModel = MessageModel.CLUSTERING, topic: str = TOPIC
) -> dict[MessageQueue, MessageRequestMode | None] | None:
    body = QueryAssignmentRequestBody(topic, GROUP, client, strategy, model)
    answer = await bench.ask(RequestCode.QUERY_ASSIGNMENT, None, body.encode())
    assert answer.code == 0
    told = QueryAssignmentResponseBody.decode(answer.body).message_queue_assignments
    return {each.message_queue: each.mode for each in told if each.message_queue} if told is not None else None


async def set_mode(
    bench: BrokerBench, mode: MessageRequestMode, shared: int = 0, topic: str = TOPIC, group: str = GROUP
) -> RemotingCommand:
    body = SetMessageRequestModeRequestBody(topic, group, mode, shared)
    return await bench.ask(RequestCode.SET_MESSAGE_REQUEST_MODE, None, body.encode())


def with_topic(bench: BrokerBench, count: int = 5) -> BrokerBench:
    bench.state.topics.put(TopicConfig(TOPIC, count, count))
    return bench


@pytest.mark.parametrize("strategy", [AllocateAveragely(), AllocateAveragelyByCircle()])
async def test_members_get_what_they_would_work_out_by_themselves(make_bench: MakeBench, strategy: Any) -> None:
    bench = with_topic(make_bench())
    await joined(bench, "b", "a", "c")
    for client in "abc":
        wanted = strategy.allocate(GROUP, client, queues(5), ["a", "b", "c"])
        assert await asked(bench, client, strategy.name) == dict.fromkeys(wanted, PULL)
    assert await asked(bench, "stranger", strategy.name) == {}
    assert await asked(bench, "a", model=MessageModel.BROADCASTING) == dict.fromkeys(queues(5), PULL)


async def test_what_cannot_be_told_is_no_empty_share(make_bench: MakeBench) -> None:
    bench = with_topic(make_bench())
    assert await asked(bench, "a") is None, "no member"
    await joined(bench, "a")
    assert await asked(bench, "a", "CONSISTENT_HASH") is None
    assert await asked(bench, "a", topic="unknown") is None
    assert await asked(bench, "a", model=MessageModel.BROADCASTING, topic="unknown") is None
    assert await asked(bench, "a", topic="%LMQ%light") == {MessageQueue("%LMQ%light", "broker-a", 0): PULL}
    bench.state.topics.put(TopicConfig(TOPIC, 5, 5, perm=2))
    assert await asked(bench, "a") is None, "nothing that can be read"


async def test_modes_are_set_for_a_group_on_a_topic_and_last(make_bench: MakeBench, tmp_path: Path) -> None:
    bench = with_topic(make_bench(path=tmp_path / "store.db"))
    await joined(bench, "a", "b")
    assert (await set_mode(bench, POP)).code == 0
    assert await asked(bench, "a") == {MessageQueue(TOPIC, "broker-a", -1): POP}
    retry = f"%RETRY%{GROUP}"
    assert await asked(bench, "a", topic=retry) == {MessageQueue(retry, "broker-a", 0): PULL}
    listed = json.loads((await bench.ask(RequestCode.GET_ALL_MESSAGE_REQUEST_MODE)).body)
    assert listed["messageRequestModeMap"][TOPIC][GROUP] == {
        "topic": TOPIC, "consumerGroup": GROUP, "mode": "POP", "popShareQueueNum": 0,
    }  # fmt: skip
    await bench.close()
    again = make_bench(path=tmp_path / "store.db")
    await joined(again, "a", "b")
    assert await asked(again, "a") == {MessageQueue(TOPIC, "broker-a", -1): POP}
    assert (await set_mode(again, PULL)).code == 0
    assert await asked(again, "a") == dict.fromkeys(queues(3), PULL)


@pytest.mark.parametrize(
    ("topic", "group", "auto", "code", "remark"),
    [
        ("%RETRY%readers", GROUP, True, ResponseCode.NO_PERMISSION, "retry topic is not allowed to set mode"),
        ("unknown", GROUP, True, ResponseCode.TOPIC_NOT_EXIST, "topic[unknown] not exist"),
        (TOPIC, "unknown", False, ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, "subscription group does not exist"),
    ],
)
async def test_a_mode_of_what_does_not_exist_is_refused(
    make_bench: MakeBench, topic: str, group: str, auto: bool, code: int, remark: str
) -> None:
    bench = with_topic(make_bench(auto_create_groups=auto))
    answer = await set_mode(bench, POP, topic=topic, group=group)
    assert (answer.code, answer.remark) == (code, remark)
    body = b'{"topic":"orders","consumerGroup":"readers","mode":"PUSH","popShareQueueNum":0}'
    assert (await bench.ask(RequestCode.SET_MESSAGE_REQUEST_MODE, None, body)).code == 1


def test_pop_shares() -> None:
    average = AllocateAveragely()

    def share(client: str, count: int, members: int, shared: int) -> list[int]:
        names = [f"m{number}" for number in range(members)]
        return [queue.queue_id for queue in popped(average, GROUP, client, queues(count), names, shared)]

    assert set(share("m0", 4, 3, 0)) == {-1}
    assert set(share("m0", 4, 3, 2)) == {-1}, "with everybody else"
    assert share("m0", 6, 3, 1) == [0, 1, 2, 3]
    assert share("m2", 6, 3, 1) == [4, 5, 0, 1]
    assert share("x", 6, 3, 1) == []
    assert [share(f"m{number}", 2, 5, 1) for number in range(5)] == [[0], [1], [0], [1], [0]]


class NameServer:
    """Answers a broker's questions for routes."""

    def __init__(self, answer: TopicRouteData | int | Exception) -> None:
        self.answer = answer
        self.asked = 0

    async def ask(self, request: RemotingCommand, timeout: float) -> RemotingCommand:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, int):
            return RemotingCommand.response(request, self.answer, "scripted")
        return RemotingCommand.response(request, body=encode_topic_route(self.answer, topic=TOPIC))


async def found(known: TopicQueues, topic: str = TOPIC) -> Queues | None:
    future: asyncio.Future[Queues | None] = asyncio.get_running_loop().create_future()
    at_hand = known.find(topic, future.set_result)
    return at_hand.queues if at_hand is not None else await future


async def test_the_queues_of_other_brokers_come_from_name_servers(make_bench: MakeBench) -> None:
    bench = with_topic(make_bench(name_servers=("ns:9876",)), 2)
    brokers = tuple(BrokerData("c", name, {0: f"{name}:1"}) for name in ("broker-a", "broker-b"))
    mapping = (QueueMapping("broker-b", "__global__", 2, 1, {0: 0}),)
    server = NameServer(TopicRouteData((QueueData("broker-a", 2, 2), QueueData("broker-b", 1, 1)), brokers, mappings=mapping))
    tasks = TaskSet()
    known = TopicQueues(bench.state, server.ask, tasks.spawn)
    everything = (*queues(2), *queues(1, "broker-b"))
    assert await asyncio.gather(found(known), found(known)) == [everything] * 2
    assert await found(known) == everything
    assert server.asked == 1, "members ask at the same time"
    bench.clock.advance(2)
    server.answer = ConnectError("gone")
    assert await found(known) == everything, "what was told last"
    assert await found(known, "unknown") is None
    server.answer = ResponseCode.TOPIC_NOT_EXIST
    assert await found(known) is None
    server.answer = ConnectError("gone")
    assert await found(known) == tuple(queues(2)), "its own ones, when nothing was ever told"
    server.answer = TopicRouteData((QueueData("broker-a", -1, 2),), brokers)
    assert await found(known) == tuple(queues(2)), "nonsense is no answer"
    await tasks.stop()
