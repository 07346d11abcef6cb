"""Logical queues of static topics, consumed from brokers that hand them to each other."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.consumer.settings import PullSettings
from aiorocketmq.consumer.single_pull import SinglePulls
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.route import BrokerData, QueueData, QueueMapping, TopicRouteData
from aiorocketmq.protocol.bodies import LockBatchRequestBody
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.memory_transport import ScriptedPeer
from tests.support.waiting import eventually
from tests.unit.consumer.test_pulling import Seen
from tests.unit.consumer.world import QUEUE, RETRY, TOPIC, ScriptedBroker, consuming, record, virtual_time
from tests.wire.world import MASTER, route

OTHER = "broker-b:10911"
LOGICAL = [MessageQueue(TOPIC, "__syslo__global__", number) for number in range(2)]
PULL, SAVE = RequestCode.PULL_MESSAGE, RequestCode.UPDATE_CONSUMER_OFFSET

pytestmark = pytest.mark.feature("G12", "K20")


class TwoBrokers(ScriptedBroker):
    """The scripted broker and another one, which have one logical queue each; the other one holds every pull."""

    def __init__(self) -> None:
        super().__init__()
        self.other: ScriptedPeer = self.world.make_broker(OTHER)
        for code in (RequestCode.QUERY_CONSUMER_OFFSET, RequestCode.GET_MAX_OFFSET, RequestCode.GET_MIN_OFFSET):
            self.other.on(code, self._zero)
        self.other.on(RequestCode.GET_CONSUMER_LIST_BY_GROUP, self._consumer_list)
        self.other.on(RequestCode.LOCK_BATCH_MQ, self._lock)
        self.other.answer(RequestCode.UNLOCK_BATCH_MQ)
        self.other.answer(SAVE)
        self.other.on(PULL, lambda request, connection: None)
        self.place([0], [1])

    @staticmethod
    def _zero(request: RemotingCommand, _: object) -> RemotingCommand:
        return RemotingCommand.response(request, header={"offset": "0"})

    def place(self, first: list[int], second: list[int]) -> None:
        known = self.world.routes[TOPIC].mappings
        epoch = known[0].epoch + 1 if known else 1
        self.world.routes[TOPIC] = TopicRouteData(
            (QueueData("broker-a", 2, 2), QueueData("broker-b", 2, 2)),
            (BrokerData("c", "broker-a", {0: MASTER}), BrokerData("c", "broker-b", {0: OTHER})),
            mappings=tuple(
                QueueMapping(name, "__global__", 2, epoch, {number: number for number in own})
                for name, own in (("broker-a", first), ("broker-b", second))
            ),
        )

    def pulled(self, peer: ScriptedPeer) -> list[dict[str, str]]:
        """Pulls of the topic that a broker got."""
        return [each.command.ext_fields for each in peer.of(PULL) if each.command.ext_fields["topic"] == TOPIC]


@virtual_time
async def test_each_logical_queue_is_pulled_where_it_is_and_its_offset_is_saved_there_and_not_with_pulls() -> None:
    broker, seen = TwoBrokers(), Seen()
    broker.append(b"0", b"1")
    async with consuming(broker, seen) as runtime:
        await eventually(lambda: len(seen.bodies) == 2 and broker.pulled(broker.other))
        assert set(runtime.queues.assigned) >= set(LOGICAL)
        await asyncio.sleep(40)
        assert {(each["queueId"], each["bname"]) for each in broker.pulled(broker.peer)} == {("0", "__syslo__global__")}
        assert {each["queueId"] for each in broker.pulled(broker.other)} == {"1"}
        assert {each["commitOffset"] for each in broker.pulled(broker.peer)} == {"0"}, "it would be taken for one of the broker's own queue"
        assert {int(each["sysFlag"]) & 1 for each in broker.pulled(broker.peer)} == {0}
        saved = [each.command.ext_fields for each in broker.peer.of(SAVE) if each.command.ext_fields["topic"] == TOPIC]
        assert {(each["queueId"], each["commitOffset"]) for each in saved} == {("0", "2")}
    assert {each.command.ext_fields["queueId"] for each in broker.other.of(SAVE)} <= {"1"}


@virtual_time
async def test_a_queue_that_moves_is_pulled_at_its_new_broker_at_once_and_keeps_its_life() -> None:
    broker, seen = TwoBrokers(), Seen()
    broker.append(b"0")
    async with consuming(broker, seen) as runtime:
        await eventually(lambda: seen.bodies == [b"0"] and broker.pulled(broker.other))
        life = runtime.queues.assigned[LOGICAL[0]]
        broker.place([], [0, 1])
        before = asyncio.get_running_loop().time()
        await runtime.instance.routes.update(TOPIC)
        await eventually(lambda: "0" in {each["queueId"] for each in broker.pulled(broker.other)})
        assert asyncio.get_running_loop().time() - before < 0.1, "and not when the old broker has answered the pull that it holds"
        asked = [each for each in broker.pulled(broker.other) if each["queueId"] == "0"]
        assert [each["queueOffset"] for each in asked] == ["1"]
        assert runtime.queues.assigned[LOGICAL[0]] is life


@virtual_time
async def test_a_broker_that_has_handed_a_queue_on_says_so_and_the_route_is_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    broker, seen = TwoBrokers(), Seen()
    async with consuming(broker, seen):
        await eventually(lambda: broker.pulled(broker.other))
        broker.place([], [0, 1])

        def refuse(request: RemotingCommand, connection: object) -> RemotingCommand:
            if request.ext_fields["topic"] == TOPIC:
                return RemotingCommand.response(request, ResponseCode.NOT_LEADER_FOR_QUEUE, "not here")
            return RemotingCommand.response(request, ResponseCode.PULL_NOT_FOUND)

        broker.peer.on(PULL, refuse)
        await asyncio.sleep(16)  # the broker answers the pull that it holds
        await eventually(lambda: "0" in {each["queueId"] for each in broker.pulled(broker.other)}, 2)


@virtual_time
async def test_messages_have_the_logical_queue_and_its_offsets() -> None:
    broker, messages = TwoBrokers(), list[ReceivedMessage]()

    def answer(request: RemotingCommand, _: object) -> RemotingCommand | None:
        if request.ext_fields["topic"] != TOPIC or request.ext_fields["queueOffset"] != "0":
            return None
        header = {"suggestWhichBrokerId": "0", "nextBeginOffset": "101", "minOffset": "0", "maxOffset": "101", "offsetDelta": "100"}
        return RemotingCommand.response(request, header=header, body=record(TOPIC, 0, b"x"))

    async def take(message: ReceivedMessage) -> None:
        messages.append(message)

    broker.peer.on(PULL, answer)
    async with consuming(broker, take) as runtime:
        await eventually(lambda: messages)
        assert (messages[0].queue, messages[0].queue_offset) == (LOGICAL[0], 100)
        await eventually(lambda: runtime.offsets(TOPIC).get(LOGICAL[0]) == 101)


@virtual_time
async def test_locks_are_asked_for_where_the_queues_are() -> None:
    broker, seen = TwoBrokers(), Seen()
    async with consuming(broker, seen, ordered=True) as runtime:
        await eventually(lambda: set(runtime.queues.assigned) >= set(LOGICAL))

        def locked(peer: ScriptedPeer) -> set[MessageQueue]:
            bodies = [LockBatchRequestBody.decode(each.command.body) for each in peer.of(RequestCode.LOCK_BATCH_MQ)]
            return {queue for body in bodies for queue in body.mq_set if queue.topic == TOPIC}

        assert (locked(broker.peer), locked(broker.other)) == ({LOGICAL[0]}, {LOGICAL[1]})
        broker.place([1], [0])
        await runtime.instance.routes.update(TOPIC)
        await asyncio.sleep(25)
        assert locked(broker.peer) == locked(broker.other) == set(LOGICAL)


@virtual_time
async def test_a_failed_message_of_a_logical_queue_goes_to_the_retry_topic_itself() -> None:
    """Its place in a broker's log means nothing to the broker that has the queue now."""
    broker = TwoBrokers()
    broker.append(b"0")

    async def fail(message: object) -> None:
        raise ZeroDivisionError

    async with consuming(broker, fail):
        await eventually(lambda: broker.peer.of(RequestCode.SEND_MESSAGE_V2) or broker.peer.of(RequestCode.SEND_MESSAGE), 5)
        assert broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK) == []


@virtual_time
async def test_a_broker_that_is_gone_leaves_the_queues_of_the_other_one_alone() -> None:
    broker, seen = TwoBrokers(), Seen()
    broker.append(b"0")
    broker.other.refuse = True
    async with consuming(broker, seen):
        await eventually(lambda: seen.bodies == [b"0"], 5)


@virtual_time
async def test_the_broker_with_the_lowest_id_that_acts_for_its_master_is_used_like_one() -> None:
    """Name servers then name a slave as broker 0, and its own id is in the route no more."""
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    slave = broker.world.make_broker(OTHER)
    for code, answer in (
        (PULL, broker._pull),
        (SAVE, broker._update_offset),
        (RequestCode.GET_CONSUMER_LIST_BY_GROUP, broker._consumer_list),
    ):
        slave.on(code, answer)
    for topic in (TOPIC, RETRY):
        broker.world.routes[topic] = route(1, addrs={0: MASTER, 1: OTHER})
    async with consuming(broker, seen) as runtime:
        await eventually(lambda: seen.bodies == [b"0"])
        life = runtime.queues.assigned[QUEUE]
        broker.peer.refuse = True
        broker.peer.drop()
        for topic in (TOPIC, RETRY):
            broker.world.routes[topic] = route(1, addrs={0: OTHER})
        await asyncio.sleep(35)  # the routes are looked at every 30 s
        broker.append(b"1")
        await eventually(lambda: seen.bodies == [b"0", b"1"], 5)
        await asyncio.sleep(20)
        assert runtime.queues.assigned[QUEUE] is life
        assert "2" in {each.command.ext_fields["commitOffset"] for each in slave.of(SAVE) if each.command.ext_fields["topic"] == TOPIC}


@virtual_time
async def test_a_single_pull_finds_a_logical_queue_of_a_topic_that_nobody_has_subscribed_to() -> None:
    broker = TwoBrokers()
    broker.append(b"0")
    async with broker.instance() as instance:
        pulls = SinglePulls(instance, PullSettings(group="g"), instance.scheduler)
        result = await pulls.pull(LOGICAL[0], 0, SubscriptionData(TOPIC), limit=0, size=0, wait=0.0, timeout=3.0)
        assert [(message.body, message.queue) for message in result.messages] == [(b"0", LOGICAL[0])]
