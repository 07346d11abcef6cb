"""The life of a queue: waiting, owned, releasing, gone. Every way out ends, and none of them lets two calls overlap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from aiorocketmq.consumer.assigned import AssignedQueue, QueueState
from aiorocketmq.core.process_queue import ProcessQueue
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.bodies import LockBatchRequestBody, LockBatchResponseBody, UnlockBatchRequestBody
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.memory_transport import PeerConnection, ScriptedPeer
from tests.support.waiting import eventually
from tests.unit.consumer.test_pulling import SETTLED, Seen
from tests.unit.consumer.world import QUEUE, RETRY, TOPIC, ScriptedBroker, consuming, virtual_time
from tests.wire.world import CLIENT_ID, MASTER, route


def now() -> float:
    return asyncio.get_running_loop().time()


def unlocked(peer: ScriptedPeer) -> set[MessageQueue]:
    requests = peer.of(RequestCode.UNLOCK_BATCH_MQ)
    return {queue for request in requests for queue in UnlockBatchRequestBody.decode(request.command.body).mq_set}


class Overlaps:
    """A listener that takes its time, and notices a second call for the same queue."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running = 0
        self.most = 0
        self.begun: list[tuple[float, MessageQueue, int]] = []

    async def __call__(self, message: ReceivedMessage) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.append((now(), message.queue, message.queue_offset))
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1


@virtual_time
async def test_states_are_never_left_for_an_earlier_one() -> None:
    assigned = AssignedQueue(QUEUE, 1.0)
    assert assigned.state is QueueState.WAITING
    assert not assigned.begin_release(2.0)
    assert assigned.valid_until == float("-inf")
    assigned.own(ProcessQueue(QUEUE, 7), 2.0, valid_until=30.0)
    assert (assigned.state, assigned.valid_until, assigned.messages.next_offset) == (QueueState.OWNED, 30.0, 7)
    assert assigned.begin_release(3.0)
    assert assigned.valid_until == float("-inf")
    assigned.extend_lock(4.0, 34.0)
    assert assigned.valid_until == float("-inf"), "a renewed lock lets no call begin while it is being released"
    assigned.end(5.0)
    assert (assigned.state, assigned.since) == (QueueState.GONE, 5.0)
    assigned.end(6.0)
    assert assigned.since == 5.0
    assert not assigned.begin_release(7.0)


# --- one call at a time, only under the lock ------------------------------------------------------------------------------------


@pytest.mark.feature("F30", "G10")
@virtual_time
async def test_queue_that_waits_for_a_worker_is_not_called_after_its_lock_was_lost() -> None:
    broker, listener = ScriptedBroker(), Overlaps(30.0)
    broker.world.routes[TOPIC] = route(2)
    broker.append(b"0")
    async with consuming(broker, listener, ordered=True, concurrency=1, await_termination_when_shutdown=0.1):
        await asyncio.sleep(5)
        assert len(listener.begun) == 1
        broker.lock_owner = "another member"
        await asyncio.sleep(40)
        assert len(listener.begun) == 1, "the other queue waited behind the only worker"


@pytest.mark.feature("F33", "F30")
@virtual_time
async def test_ordered_queue_goes_on_at_another_offset_only_when_its_listener_has_ended() -> None:
    broker, listener = ScriptedBroker(), Overlaps(20.0)
    broker.append(*[b"%d" % offset for offset in range(10)])
    async with consuming(broker, listener, ordered=True, await_termination_when_shutdown=0.1):
        await asyncio.sleep(5)
        # The broker loses its log but for two messages, as after a restore, under the listener.
        del broker.logs[TOPIC][2:]
        broker.peer.drop()
        await asyncio.sleep(5)
        broker.append(b"new")
        await asyncio.sleep(25)
        assert listener.most == 1
        assert [offset for _, _, offset in listener.begun] == [0, 2]


@pytest.mark.feature("F30", "G10")
@virtual_time
async def test_ordered_queue_that_was_unlocked_too_long_is_taken_over_only_when_its_listener_has_ended() -> None:
    broker, listener = ScriptedBroker(), Overlaps(100.0)
    broker.append(b"0", b"1")
    async with consuming(broker, listener, ordered=True, await_termination_when_shutdown=0.1) as runtime:
        await asyncio.sleep(5)
        broker.peer.answer(RequestCode.LOCK_BATCH_MQ, ResponseCode.SYSTEM_ERROR, "scripted")
        await asyncio.sleep(70)
        broker.peer.on(RequestCode.LOCK_BATCH_MQ, broker._lock)
        await asyncio.sleep(10)
        assert QUEUE in runtime.rebalancer.releasing
        await asyncio.sleep(35)
        assert listener.most == 1
        assert len(listener.begun) == 2


@pytest.mark.feature("F30")
@virtual_time
async def test_lock_that_another_member_has_had_makes_the_queue_begin_anew_however_short_that_was() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    async with consuming(broker, seen, ordered=True):
        await asyncio.sleep(SETTLED)
        assert seen.bodies == [b"0"]
        broker.lock_owner = "another member"
        await asyncio.sleep(21)
        broker.append(b"by another", b"2")
        broker.offsets[TOPIC] = 2
        broker.lock_owner = None
        await asyncio.sleep(3)
        assert seen.bodies == [b"0", b"2"]
        assert broker.offsets[TOPIC] >= 2, "what was known here before did not overwrite it"


@pytest.mark.feature("F30")
@virtual_time
async def test_full_queue_asks_for_its_lost_lock_until_it_is_answered() -> None:
    broker = ScriptedBroker()
    begun: list[float] = []

    async def listener(message: ReceivedMessage) -> None:
        begun.append(now())
        await asyncio.sleep(1)

    broker.append(*[b"x"] * 200)
    async with consuming(broker, listener, ordered=True, pull_threshold_for_queue=10, await_termination_when_shutdown=0.1):
        await asyncio.sleep(5)
        broker.peer.on(RequestCode.LOCK_BATCH_MQ, lambda request, connection: None)
        await asyncio.sleep(45)
        before = len(begun)
        broker.peer.on(RequestCode.LOCK_BATCH_MQ, broker._lock)
        back = now()
        await eventually(lambda: len(begun) > before)
        assert now() - back < 3.0


@pytest.mark.feature("F30")
@virtual_time
async def test_lock_that_is_lost_a_second_time_is_asked_for_as_soon() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen, ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        for number in range(2):
            broker.peer.answer(RequestCode.LOCK_BATCH_MQ, ResponseCode.SYSTEM_ERROR, "scripted")
            lost = runtime.rebalancer.assigned[QUEUE].locked_until
            await asyncio.sleep(lost - now() + 0.5)
            broker.append(b"%d" % number)
            await asyncio.sleep(1)
            assert len(seen.bodies) == number
            broker.peer.on(RequestCode.LOCK_BATCH_MQ, broker._lock)
            await asyncio.sleep(2)
            assert len(seen.bodies) == number + 1


@pytest.mark.feature("G10", "F32")
@virtual_time
async def test_ordered_queue_whose_message_fails_while_it_is_given_up_is_unlocked() -> None:
    broker, gate = ScriptedBroker(), asyncio.Event()
    broker.append(b"0")

    async def listener(message: ReceivedMessage) -> None:
        await gate.wait()
        raise ValueError("scripted")

    async with consuming(broker, listener, ordered=True) as runtime:
        await asyncio.sleep(3)
        broker.members = ["0@first", CLIENT_ID]
        runtime.instance.rebalance.wake()
        await asyncio.sleep(2)
        assert QUEUE not in unlocked(broker.peer)
        assert QUEUE in runtime.rebalancer.releasing
        gate.set()
        await asyncio.sleep(3)
        assert QUEUE in unlocked(broker.peer)
        assert runtime.rebalancer.releasing == {}


# --- every way out ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("F21", "F32")
@virtual_time
async def test_unsubscribing_that_is_cancelled_ends_the_queue_all_the_same() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")

    def slow(request: RemotingCommand, connection: PeerConnection) -> None:
        asyncio.get_running_loop().call_later(1.5, lambda: connection.send(broker._update_offset(request, connection)))

    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        subscription, listener = runtime.subscriptions_table.get(TOPIC), runtime.subscriptions_table.listener(TOPIC)
        assert subscription is not None
        assert listener is not None
        broker.peer.on(RequestCode.UPDATE_CONSUMER_OFFSET, slow)
        runtime.subscriptions_table.remove(TOPIC)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(runtime.subscription_changed(TOPIC), 0.5)
        assert QUEUE in runtime.rebalancer.releasing
        runtime.subscriptions_table.add(listener, "*", 99)
        await runtime.subscription_changed(TOPIC)
        broker.append(b"1")
        await asyncio.sleep(5)
        assert seen.bodies == [b"0", b"1"]
        assert runtime.rebalancer.releasing == {}


class Flaky:
    """An offset store of a user's own, which may fail or hang."""

    def __init__(self) -> None:
        self.known: dict[MessageQueue, int] = {}
        self.saved: dict[MessageQueue, int] = {}
        self.do: Callable[[], Any] = lambda: None

    async def load(self) -> None: ...

    def update_offset(self, queue: MessageQueue, offset: int, *, increase_only: bool) -> None:
        self.known[queue] = offset

    def update_and_freeze_offset(self, queue: MessageQueue, offset: int) -> None:
        self.known[queue] = offset

    async def read_offset(self, queue: MessageQueue, where: object) -> int:
        return self.saved.get(queue, -1)

    async def persist_all(self, queues: object, *, confirm: bool = False) -> None:
        self.saved.update(self.known)

    async def persist(self, queue: MessageQueue) -> None:
        waited = self.do()
        if waited is not None:
            await waited
        if queue in self.known:
            self.saved[queue] = self.known[queue]

    def remove_offset(self, queue: MessageQueue) -> None:
        self.known.pop(queue, None)

    def clone_offset_table(self, topic: str | None = None) -> dict[MessageQueue, int]:
        return dict(self.known)


@pytest.mark.feature("G16", "F32")
@pytest.mark.parametrize("how", ["raises", "times out", "hangs"])
def test_store_that_fails_ends_the_queue_all_the_same(how: str, caplog: pytest.LogCaptureFixture) -> None:
    @virtual_time
    async def run() -> None:
        broker, seen, store = ScriptedBroker(), Seen(), Flaky()
        broker.append(b"0")

        def fail() -> Any:
            if how == "hangs":
                return asyncio.get_running_loop().create_future()
            raise ConnectionError("the store is down") if how == "raises" else TimeoutError("the store is slow")

        async with consuming(broker, seen, offset_store=store) as runtime:
            await asyncio.sleep(SETTLED)
            store.do = fail
            broker.members = ["0@first", CLIENT_ID]
            runtime.instance.rebalance.wake()
            await asyncio.sleep(8)
            assert runtime.rebalancer.assigned == runtime.rebalancer.releasing == {}
            store.do = lambda: None
            broker.members = [CLIENT_ID]
            runtime.instance.rebalance.wake()
            await asyncio.sleep(2)
            assert QUEUE in runtime.rebalancer.assigned
        assert "saved" in caplog.text

    run()


@pytest.mark.feature("G16", "G10")
@virtual_time
async def test_store_that_takes_no_offset_keeps_no_lock(caplog: pytest.LogCaptureFixture) -> None:
    class Refuses(Flaky):
        def update_offset(self, queue: MessageQueue, offset: int, *, increase_only: bool) -> None:
            raise KeyError("no room")

    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    async with consuming(broker, seen, ordered=True, offset_store=Refuses()):
        await asyncio.sleep(SETTLED)
        assert seen.bodies == [b"0"]
    assert QUEUE in unlocked(broker.peer)
    assert "KeyError" in caplog.text


@pytest.mark.feature("G16")
@pytest.mark.parametrize("answer", ["5", None, 2.5, 10**30, KeyError("no room")])
def test_store_that_answers_nonsense_is_told_and_may_come_to_its_senses(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    class Odd(Flaky):
        odd = True

        async def read_offset(self, queue: MessageQueue, where: object) -> Any:
            if not self.odd:
                return 0
            if isinstance(answer, Exception):
                raise answer
            return answer

    @virtual_time
    async def run() -> None:
        broker, seen, store = ScriptedBroker(), Seen(), Odd()
        broker.append(b"0")
        async with consuming(broker, seen, offset_store=store) as runtime:
            await asyncio.sleep(SETTLED)
            assert QUEUE not in runtime.rebalancer.assigned
            assert "start offset of" in caplog.text
            store.odd = False
            await asyncio.sleep(SETTLED)
            assert seen.bodies == [b"0"]

    run()


@pytest.mark.feature("G16", "F33")
@pytest.mark.parametrize("method", ["remove_offset", "update_and_freeze_offset"])
@virtual_time
async def test_queue_ends_and_comes_back_whatever_its_store_raises(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("the store is damaged")

    broker, seen, store = ScriptedBroker(), Seen(), Flaky()
    async with consuming(broker, seen, offset_store=store) as runtime:
        broker.append(b"0")
        await asyncio.sleep(SETTLED)
        monkeypatch.setattr(store, method, fail)
        runtime.reset_offsets({QUEUE: 1})
        await asyncio.sleep(5)
        assert QUEUE in runtime.rebalancer.assigned
        assert runtime.rebalancer.releasing == {}
        monkeypatch.undo()


@pytest.mark.feature("G1", "G2")
@virtual_time
async def test_broker_that_is_silent_on_commits_delays_no_round() -> None:
    broker = ScriptedBroker()
    broker.world.routes[TOPIC] = route(32)
    async with consuming(broker, Seen()) as runtime:
        await asyncio.sleep(5)
        broker.peer.on(RequestCode.UPDATE_CONSUMER_OFFSET, lambda request, connection: None)
        for assigned in runtime.rebalancer.assigned.values():
            assigned.messages.advance(10)
        broker.members = [CLIENT_ID, "zz"]
        runtime.instance.rebalance.wake()
        await asyncio.sleep(0.9)
        assert len(runtime.rebalancer.releasing) == 16
        began = now()
        await runtime.rebalance()
        assert now() - began < 1.2
        await asyncio.sleep(6)
        assert runtime.rebalancer.releasing == {}, "given up as one, not one after the other"


@pytest.mark.feature("G2", "F16")
@virtual_time
async def test_one_refused_start_offset_keeps_no_other_queue_waiting() -> None:
    broker = ScriptedBroker()
    broker.world.routes[TOPIC] = route(8)
    query = broker._query_offset

    def refuse_one(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        if request.ext_fields["topic"] == TOPIC and request.ext_fields["queueId"] == "1":
            return RemotingCommand.response(request, ResponseCode.SYSTEM_ERROR, "scripted")
        return query(request, connection)

    broker.peer.on(RequestCode.QUERY_CONSUMER_OFFSET, refuse_one)
    async with consuming(broker, Seen()) as runtime:

        def owned() -> set[int]:
            return {queue.queue_id for queue in runtime.rebalancer.assigned if queue.topic == TOPIC}

        await asyncio.sleep(5)
        assert owned() == {0, 2, 3, 4, 5, 6, 7}
        assert "scripted" in runtime.queues.waiting[QUEUE._replace(queue_id=1)].waits_for
        broker.peer.on(RequestCode.QUERY_CONSUMER_OFFSET, query)
        await asyncio.sleep(2)
        assert owned() == set(range(8))
        assert runtime.queues.waiting == {}


@pytest.mark.feature("G1")
@virtual_time
async def test_unanswered_second_question_for_members_gives_no_queue_up() -> None:
    broker, lost = ScriptedBroker(), 0
    async with consuming(broker, Seen()) as runtime:
        await asyncio.sleep(30)
        calls = 0
        ask = broker._consumer_list

        def members(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand | None:
            nonlocal calls
            calls += 1
            broker.members = ["other"] if calls == 1 else [CLIENT_ID]
            return None if calls in (2, 3) else ask(request, connection)

        broker.peer.on(RequestCode.GET_CONSUMER_LIST_BY_GROUP, members)
        runtime.instance.rebalance.wake()
        for _ in range(200):
            await asyncio.sleep(0.1)
            lost += QUEUE not in runtime.rebalancer.assigned
        assert calls > 3
    assert lost == 0


# --- the stop ---------------------------------------------------------------------------------------------------------------------


def second_broker(broker: ScriptedBroker, queues: int) -> ScriptedPeer:
    """Another broker for `TOPIC`, with a table of offsets and locks of its own."""
    address = "broker-b:10911"
    peer = broker.world.make_broker(address)
    for code in (RequestCode.PULL_MESSAGE, RequestCode.GET_CONSUMER_LIST_BY_GROUP, RequestCode.LOCK_BATCH_MQ, RequestCode.GET_MIN_OFFSET):
        peer.on(code, broker.peer._handlers[code])
    peer.on(RequestCode.QUERY_CONSUMER_OFFSET, broker._query_offset)
    peer.on(RequestCode.UPDATE_CONSUMER_OFFSET, broker._update_offset)
    peer.answer(RequestCode.UNLOCK_BATCH_MQ)
    broker.world.routes[TOPIC] = TopicRouteData(
        (QueueData("broker-a", queues, queues), QueueData("broker-b", queues, queues)),
        (BrokerData("DefaultCluster", "broker-a", {0: MASTER}), BrokerData("DefaultCluster", "broker-b", {0: address})),
    )
    return peer


@pytest.mark.feature("F44", "G13")
@pytest.mark.parametrize("ordered", [False, True])
def test_stop_saves_and_unlocks_at_the_healthy_broker_whatever_the_other_one_does(ordered: bool) -> None:
    @virtual_time
    async def run() -> None:
        broker = ScriptedBroker()
        other = second_broker(broker, 4)
        saved: set[int] = set()

        def save(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
            if request.ext_fields["topic"] == TOPIC and request.ext_fields["commitOffset"] == "10":
                saved.add(int(request.ext_fields["queueId"]))
            return broker._update_offset(request, connection)

        other.on(RequestCode.UPDATE_CONSUMER_OFFSET, save)
        async with consuming(broker, Seen(), ordered=ordered) as runtime:
            await eventually(lambda: sum(queue.topic == TOPIC for queue in runtime.rebalancer.assigned) == 8)
            for assigned in runtime.rebalancer.assigned.values():
                assigned.messages.advance(10)
            broker.peer.silent = True
            before = now()
        assert now() - before < 5.0
        assert saved == {0, 1, 2, 3}
        if ordered:
            assert {queue.queue_id for queue in unlocked(other) if queue.topic == TOPIC} == {0, 1, 2, 3}

    run()


@pytest.mark.feature("F44", "G13")
@virtual_time
async def test_stop_saves_many_queues_of_a_slow_broker_in_time() -> None:
    broker = ScriptedBroker()
    broker.world.routes[TOPIC] = route(160)
    saved: set[str] = set()

    def save(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        if request.ext_fields["topic"] == TOPIC and request.ext_fields["commitOffset"] == "10":
            saved.add(request.ext_fields["queueId"])
        return broker._update_offset(request, connection)

    broker.peer.on(RequestCode.UPDATE_CONSUMER_OFFSET, save)
    async with consuming(broker, Seen(), ordered=True) as runtime:
        await eventually(lambda: len(runtime.rebalancer.assigned) == 161)
        for assigned in runtime.rebalancer.assigned.values():
            assigned.messages.advance(10)
        broker.peer.latency = 0.02
        before = now()
    assert len(saved) == 160
    assert len(unlocked(broker.peer)) == 161
    assert now() - before < 2.0


@pytest.mark.feature("F44")
@pytest.mark.parametrize("ordered", [False, True])
def test_stop_does_not_wait_for_a_listener_that_survives_its_cancellation(ordered: bool, caplog: pytest.LogCaptureFixture) -> None:
    @virtual_time
    async def run() -> None:
        broker, ended = ScriptedBroker(), asyncio.Event()
        broker.append(b"0")

        async def stubborn(message: ReceivedMessage) -> None:
            until = now() + 30
            while now() < until:
                try:
                    await asyncio.sleep(until - now())
                except asyncio.CancelledError:
                    continue
            ended.set()

        async with consuming(broker, stubborn, ordered=ordered, await_termination_when_shutdown=0.5):
            await asyncio.sleep(SETTLED)
            before = now()
        assert now() - before < 2.5
        assert broker.peer.of(RequestCode.UNREGISTER_CLIENT)
        assert "left behind" in caplog.text
        # Nobody else may have a queue in whose listener somebody still is: the broker takes the lock away in its own time.
        assert QUEUE not in unlocked(broker.peer)
        await ended.wait()
        assert broker.offsets.get(TOPIC, 0) == 0

    run()


@pytest.mark.feature("F44", "F29")
@virtual_time
async def test_stop_waits_for_a_burial_under_way() -> None:
    broker = ScriptedBroker()
    broker.append(b"0")

    def slow(request: RemotingCommand, connection: PeerConnection) -> None:
        asyncio.get_running_loop().call_later(1.0, connection.send, RemotingCommand.response(request))

    broker.peer.on(RequestCode.CONSUMER_SEND_MSG_BACK, slow)

    async def listener(message: ReceivedMessage) -> None:
        raise ValueError("scripted")

    async with consuming(broker, listener, ordered=True, max_reconsume_times=1, suspend_current_queue_time=0.1):
        await eventually(lambda: len(broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)) == 1)
    assert broker.offsets[TOPIC] == 1


@pytest.mark.feature("F44", "G13")
@virtual_time
async def test_offsets_are_saved_with_the_brokers_answer_at_a_stop_and_nothing_is_taken_over_any_more() -> None:
    broker, answer = ScriptedBroker(), asyncio.Event()
    broker.append(b"0")

    def query(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand | None:
        if request.ext_fields["topic"] == TOPIC and request.ext_fields["queueId"] == "1":
            asyncio.get_running_loop().call_later(1.0, lambda: connection.send(broker._query_offset(request, connection)))
            answer.set()
            return None
        return broker._query_offset(request, connection)

    broker.world.routes[TOPIC] = route(2)
    broker.peer.on(RequestCode.QUERY_CONSUMER_OFFSET, query)
    async with consuming(broker, Seen(), client={"persist_consumer_offset_interval": 100.0}) as runtime:
        await answer.wait()
        await eventually(lambda: runtime.offsets(TOPIC).get(QUEUE) == 1)
    assert QUEUE._replace(queue_id=1) not in runtime.rebalancer.assigned
    updates = [request.command for request in broker.peer.of(RequestCode.UPDATE_CONSUMER_OFFSET)]
    assert [update.is_oneway for update in updates if update.ext_fields["topic"] == TOPIC] == [False]


# --- waiting for another member ---------------------------------------------------------------------------------------------------


@pytest.mark.feature("G10")
@virtual_time
async def test_lock_of_a_member_that_was_killed_is_named_in_the_log_and_in_the_waiting_queues(caplog: pytest.LogCaptureFixture) -> None:
    broker, dead = ScriptedBroker(), "0@killed"
    broker.world.routes[TOPIC] = route(2)
    broker.members = [dead, CLIENT_ID]
    theirs = {QUEUE}

    def lock(request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        granted = [queue for queue in LockBatchRequestBody.decode(request.body).mq_set if queue not in theirs]
        return RemotingCommand.response(request, body=LockBatchResponseBody(granted).encode())

    broker.peer.on(RequestCode.LOCK_BATCH_MQ, lock)
    async with consuming(broker, Seen(), ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        broker.members = [CLIENT_ID]
        runtime.instance.rebalance.wake()
        await asyncio.sleep(10)
        waits = runtime.queues.waiting[QUEUE].waits_for
        assert dead in waits
        told = [each.getMessage() for each in caplog.records if str(QUEUE) in each.getMessage() and dead in each.getMessage()]
        assert len(told) == 1
        theirs.clear()
        await asyncio.sleep(2)
        assert QUEUE in runtime.rebalancer.assigned
        assert {queue.topic for queue in runtime.rebalancer.assigned} == {TOPIC, RETRY}
