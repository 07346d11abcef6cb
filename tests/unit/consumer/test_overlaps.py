"""What else happens while a queue is taken over, consumed, buried, saved or given up; and everything the second time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from aiorocketmq.client.scheduler import Scheduler
from aiorocketmq.consumer.assigned import AssignedQueue, QueueState
from aiorocketmq.consumer.calling import Caller, Stretch
from aiorocketmq.consumer.listener import Listener
from aiorocketmq.consumer.queues import Reason
from aiorocketmq.consumer.topic_routes import MISSING_ROUTE_FIRST, TopicRoutes
from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry
from aiorocketmq.protocol.bodies import UnlockBatchRequestBody
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.message_codec import decode_messages
from tests.support.memory_transport import Handler, PeerConnection
from tests.support.waiting import eventually
from tests.unit.consumer.test_pulling import SETTLED, Seen
from tests.unit.consumer.test_queue_life import second_broker
from tests.unit.consumer.world import GROUP, QUEUE, TOPIC, ScriptedBroker, consuming, record, virtual_time
from tests.wire.world import route

OTHER_TOPIC = "bills"


def now() -> float:
    return asyncio.get_running_loop().time()


def slowly(handler: Handler, seconds: float) -> Handler:
    """The same answer, later."""

    async def answer(request: RemotingCommand, connection: PeerConnection) -> Any:
        await asyncio.sleep(seconds)
        return handler(request, connection)

    return answer


# --- taking over ------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("G2", "F16")
@virtual_time
async def test_one_refused_start_offset_does_not_keep_those_behind_it_waiting() -> None:
    broker = ScriptedBroker()
    broker.world.routes[TOPIC] = route(60)
    query = broker._query_offset
    asked: list[str] = []

    def refuse_one(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        if request.ext_fields["topic"] == TOPIC:
            asked.append(request.ext_fields["queueId"])
            if asked[-1] == asked[0]:
                return RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, "scripted")
        return query(request, connection)

    broker.peer.on(RequestCode.QUERY_CONSUMER_OFFSET, refuse_one)
    async with consuming(broker, Seen()) as runtime:
        await asyncio.sleep(SETTLED)
        assert sum(queue.topic == TOPIC for queue in runtime.rebalancer.assigned) == 59
        others = [number for number in asked if number != asked[0]]
        assert asked[:60].count(asked[0]) == 1 and len(others) == len(set(others)) == 59, "all in the first round"


@pytest.mark.feature("G2")
@virtual_time
async def test_queues_that_are_wanted_while_their_broker_is_asked_for_others_come_next() -> None:
    broker = ScriptedBroker()
    second_broker(broker, 1)
    broker.world.routes[OTHER_TOPIC], broker.world.routes[TOPIC] = broker.world.routes[TOPIC], route(1)
    query = broker._query_offset
    broker.peer.on(RequestCode.QUERY_CONSUMER_OFFSET, slowly(query, 0.4))
    async with consuming(broker, Seen()) as runtime:
        await asyncio.sleep(SETTLED)
        runtime.subscriptions_table.add(Listener(OTHER_TOPIC, Seen(), 1), "*", 99)
        table, take_over = runtime.queues, runtime.rebalancer._take_over
        first, late = (MessageQueue(OTHER_TOPIC, "broker-a", number) for number in (0, 1))
        table.want(first)
        lanes = take_over.begin(["broker-a"])
        await asyncio.sleep(0.2)
        table.want(late)  # another round, of topics on other brokers as well
        assert take_over.begin(["broker-a"]) == lanes
        await asyncio.wait(lanes)
        assert {first, late} <= runtime.rebalancer.assigned.keys()
        assert table.waiting == {}


@pytest.mark.feature("G10", "F30")
@virtual_time
async def test_lock_that_comes_when_the_queue_is_not_wanted_any_more_is_given_back() -> None:
    broker = ScriptedBroker()
    broker.peer.on(RequestCode.LOCK_BATCH_MQ, slowly(broker._lock, 0.5))
    async with consuming(broker, Seen(), ordered=True) as runtime:
        await eventually(lambda: QUEUE in runtime.queues.waiting)
        await asyncio.sleep(0.1)
        runtime.queues.not_wanted([runtime.queues.waiting[QUEUE]])
        runtime.subscriptions_table.remove(TOPIC)
        await asyncio.sleep(1.0)
        granted = broker.peer.of(RequestCode.LOCK_BATCH_MQ)[0].at + 0.5
        last = broker.peer.of(RequestCode.UNLOCK_BATCH_MQ)[-1]
        assert QUEUE in UnlockBatchRequestBody.decode(last.command.body).mq_set
        assert last.at >= granted, "an unlock that came before the lock was granted leaves it to nobody else for a minute"


# --- consuming ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("F30")
@virtual_time
async def test_a_thread_begins_no_other_call_when_the_queue_was_taken_away_during_one() -> None:
    assigned = AssignedQueue(QUEUE, now())
    assigned.own(ProcessQueue(QUEUE, 0), now(), valid_until=now() + 30)
    calls: list[bytes] = []

    def listener(message: ReceivedMessage) -> None:
        calls.append(message.body)
        assigned.begin_release(now())

    messages = decode_messages(record(TOPIC, 0, b"0") + record(TOPIC, 1, b"1"), broker_name="broker-a", max_body=100, queue=QUEUE)
    caller = Caller(GROUP, Scheduler("test"), SimpleNamespace(), 1, 1)
    stretch = Stretch(assigned, Listener(TOPIC, listener, 1), lambda message: None, messages)
    called = caller._call((stretch, messages[0]))
    assert (called.calls, calls, assigned.state) == (1, [b"0"], QueueState.RELEASING)


@pytest.mark.feature("F27")
@virtual_time
async def test_each_message_that_nobody_takes_is_tried_again_here_at_its_own_time() -> None:
    broker = ScriptedBroker()
    broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.SYSTEM_ERROR, "scripted")
    broker.peer.answer(RequestCode.SEND_MESSAGE_V2, ResponseCode.NO_PERMISSION, "scripted")
    tries: dict[bytes, list[float]] = {b"first": [], b"second": []}

    async def listener(message: ReceivedMessage) -> Retry | None:
        tries[message.body].append(now())
        return Retry() if len(tries[message.body]) == 1 else None

    async with consuming(broker, listener):
        broker.append(b"first")
        await asyncio.sleep(SETTLED)
        broker.append(b"second")
        await asyncio.sleep(10)
    for times in tries.values():
        assert len(times) == 2
        assert times[1] - times[0] == pytest.approx(5.0, abs=0.1)


@pytest.mark.feature("F12", "F10")
@virtual_time
async def test_a_full_queue_pulls_again_when_it_is_half_empty() -> None:
    broker = ScriptedBroker()
    broker.append(*[b"x"] * 100)
    consumed: list[float] = []

    async def listener(message: ReceivedMessage) -> None:
        await asyncio.sleep(0.004)
        consumed.append(now())

    async with consuming(broker, listener, pull_threshold_for_queue=10, pull_batch_size=12, concurrency=1):
        await eventually(lambda: len(consumed) >= 12)
        # Full with 12 at the first pull: 5 are left when the seventh is done. The next look would come after 50 ms.
        following = [at for at in broker.pull_times if at > consumed[0]]
        assert following[0] == pytest.approx(consumed[6], abs=0.002)


@pytest.mark.feature("F29")
@virtual_time
async def test_a_burial_that_ends_after_its_queue_was_taken_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    broker = ScriptedBroker()
    broker.append(b"bad")
    back = broker.peer._handlers[RequestCode.CONSUMER_SEND_MSG_BACK]
    broker.peer.on(RequestCode.CONSUMER_SEND_MSG_BACK, slowly(back, 1.0))

    async def listener(message: ReceivedMessage) -> None:
        raise ValueError("scripted")

    async with consuming(broker, listener, ordered=True, max_reconsume_times=0) as runtime:
        await broker.peer.wait_for(RequestCode.CONSUMER_SEND_MSG_BACK)
        assigned = runtime.rebalancer.assigned[QUEUE]
        runtime.queues.release([assigned], Reason.OUTDATED)
        await asyncio.sleep(2.0)
        assert assigned.state is QueueState.GONE and not assigned.in_service
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


# --- the end, and routes ------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("F44", "G13", "F30")
@virtual_time
async def test_stop_unlocks_a_queue_only_when_its_offset_is_saved() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    saved: list[float] = []

    async def save(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        await asyncio.sleep(0.3)
        if request.ext_fields["topic"] == TOPIC:
            saved.append(now())
        return broker._update_offset(request, connection)

    async with consuming(broker, seen, ordered=True):
        await asyncio.sleep(SETTLED)
        assert seen.bodies == [b"0"]
        broker.peer.on(RequestCode.UPDATE_CONSUMER_OFFSET, save)
    [unlock] = broker.peer.of(RequestCode.UNLOCK_BATCH_MQ)
    assert saved and unlock.at >= saved[-1], "the next owner reads the offset as soon as it has the lock"


@virtual_time
async def test_a_topic_that_is_missing_again_is_asked_for_as_soon_as_the_first_time() -> None:
    known: set[str] = set()
    asked: list[float] = []
    routes = SimpleNamespace(topics=lambda: tuple(known), refresh_soon=lambda topic: asked.append(now()))
    watched = TopicRoutes(SimpleNamespace(routes=routes), SimpleNamespace(topics=(TOPIC,)), GROUP)  # type: ignore[arg-type]
    scheduler = Scheduler("test")
    watched.watch(scheduler)
    for _ in range(2):
        await asyncio.sleep(30)
        assert 3 < len(asked) < 10, "with growing pauses"
        known.add(TOPIC)
        await asyncio.sleep(2 * MISSING_ROUTE_FIRST)
        known.clear()
        asked.clear()
        began = now()
        await asyncio.sleep(3 * MISSING_ROUTE_FIRST)
        assert [at - began for at in asked][:2] == pytest.approx([asked[0] - began, asked[0] - began + MISSING_ROUTE_FIRST], abs=0.1)
        assert asked[0] - began <= MISSING_ROUTE_FIRST + 0.1
    await scheduler.stop()
