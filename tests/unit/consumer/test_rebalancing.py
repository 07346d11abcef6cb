"""Taking queues over and giving them up, against a scripted broker on virtual time: offsets, members, locks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from aiorocketmq.model.enums import StartFrom
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.bodies import LockBatchResponseBody, UnlockBatchRequestBody
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.waiting import eventually
from tests.unit.consumer.test_pulling import SETTLED, Seen
from tests.unit.consumer.world import GROUP, QUEUE, RETRY, TOPIC, ScriptedBroker, consuming, virtual_time
from tests.wire.world import CLIENT_ID, route


@pytest.mark.feature("G13", "G14", "F16")
@virtual_time
async def test_failed_offset_query_never_leads_to_a_guess_or_a_commit() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(*[b"%d" % number for number in range(10)])
    broker.offsets[TOPIC] = 6
    broker.peer.answer(RequestCode.QUERY_CONSUMER_OFFSET, ResponseCode.SYSTEM_ERROR, "scripted")
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(30)
        assert broker.pulls == []
        assert runtime.rebalancer.assigned == {}
        assert broker.peer.of(RequestCode.UPDATE_CONSUMER_OFFSET) == []
        tries = broker.peer.times(RequestCode.QUERY_CONSUMER_OFFSET)
        assert len(tries) >= 25, "asked again every second"
        broker.peer.silent = True  # no answer at all is no better
        await asyncio.sleep(10)
        broker.peer.silent = False
        broker.peer.on(RequestCode.QUERY_CONSUMER_OFFSET, broker._query_offset)
        await asyncio.sleep(8)
        assert seen.bodies == [b"6", b"7", b"8", b"9"]
    assert broker.offsets[TOPIC] == 10


@virtual_time
async def test_offset_that_was_only_read_is_not_written_back() -> None:
    """Another member may commit a higher one between our reading and our saving."""
    broker, seen = ScriptedBroker(), Seen()
    broker.append(*[b"x"] * 3)
    broker.offsets[TOPIC] = 3
    async with consuming(broker, seen):
        await asyncio.sleep(SETTLED)
        broker.offsets[TOPIC] = 50
        await asyncio.sleep(20)
    assert broker.offsets[TOPIC] == 50


@pytest.mark.feature("F15", "F16")
@pytest.mark.parametrize(
    ("start", "expected"),
    [(StartFrom.FIRST, [b"2", b"3", b"4"]), (StartFrom.LAST, []), (StartFrom.TIMESTAMP, [b"4"])],
)
def test_new_group_starts_by_its_rule_and_its_retry_topic_at_the_beginning(start: StartFrom, expected: list[bytes]) -> None:
    @virtual_time
    async def run() -> None:
        broker, seen = ScriptedBroker(), Seen()
        broker.append(*[b"%d" % number for number in range(4)])
        broker.append(b"4", stored_at=200_000)
        broker.append(b"failed before", topic=RETRY, properties=f"RETRY_TOPIC\x01{TOPIC}\x02".encode(), reconsume_times=1)
        broker.min_offset = 2
        searched: list[dict[str, str]] = []

        def search(request: RemotingCommand, _: object) -> RemotingCommand:
            searched.append(request.ext_fields)
            return RemotingCommand.response(request, header={"offset": "4"})

        broker.peer.on(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, search)
        # The retry queue holds everything from offset 0.
        original = broker._pull

        def pull(request: RemotingCommand, connection: object) -> RemotingCommand | None:
            broker.min_offset = 2 if request.ext_fields["topic"] == TOPIC else 0
            return original(request, connection)  # type: ignore[arg-type]

        broker.peer.on(RequestCode.PULL_MESSAGE, pull)
        async with consuming(broker, seen, start_from=start, start_timestamp=123.456 if start is StartFrom.TIMESTAMP else None):
            await asyncio.sleep(SETTLED)
            assert sorted(seen.bodies) == sorted([*expected, b"failed before"])
            if searched:
                assert searched[0]["timestamp"] == "123456"
        if start is StartFrom.LAST:
            assert broker.offsets[TOPIC] == 5, "saved, so that a restart does not skip what comes in between"

    run()


@pytest.mark.feature("G1", "N2")
@virtual_time
async def test_notice_of_a_broker_rebalances_at_once() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.world.routes[TOPIC] = route(2)
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        assert {queue for queue in runtime.rebalancer.assigned if queue.topic == TOPIC} == {QUEUE, QUEUE._replace(queue_id=1)}
        broker.members = [CLIENT_ID, "zz@later"]
        broker.peer.push_oneway(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, {"consumerGroup": GROUP})
        await asyncio.sleep(0.1)
        assert {queue for queue in runtime.rebalancer.assigned if queue.topic == TOPIC} == {QUEUE}


@pytest.mark.feature("G2", "F32")
@virtual_time
async def test_empty_share_drops_the_queues_and_saves_what_was_consumed() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0", b"1")
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        assert seen.bodies == [b"0", b"1"]
        broker.offsets[TOPIC] = 0
        broker.members = ["0@first", CLIENT_ID]
        runtime.instance.rebalance.wake()
        await asyncio.sleep(1.5)
        assert runtime.rebalancer.assigned == {}
        assert broker.offsets[TOPIC] == 2
        pulls = len(broker.pulls)
        broker.append(b"2")
        await asyncio.sleep(20)
        assert len(broker.pulls) == pulls
        assert seen.bodies == [b"0", b"1"]


@virtual_time
async def test_dropped_queue_ignores_results_and_commits_nothing() -> None:
    broker, release = ScriptedBroker(), asyncio.Event()
    broker.append(b"0", b"1")
    broker.offsets[TOPIC] = 0

    async def listener(message: ReceivedMessage) -> None:
        await release.wait()

    async with consuming(broker, listener) as runtime:
        await asyncio.sleep(SETTLED)
        broker.members = ["0@first", CLIENT_ID]
        runtime.instance.rebalance.wake()
        await asyncio.sleep(1.5)
        release.set()
        await asyncio.sleep(20)
    assert broker.offsets[TOPIC] == 0
    assert broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK) == []


@virtual_time
async def test_member_that_the_broker_forgot_says_hello_before_it_decides() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        broker.members = ["zz@other"]
        beats = len(broker.peer.of(RequestCode.HEART_BEAT))

        def welcome(request: RemotingCommand, _: object) -> RemotingCommand:
            broker.members = [CLIENT_ID, "zz@other"]
            return RemotingCommand.response(request)

        broker.peer.on(RequestCode.HEART_BEAT, welcome)
        runtime.instance.rebalance.wake()
        await asyncio.sleep(1.5)
        assert len(broker.peer.of(RequestCode.HEART_BEAT)) > beats
        assert QUEUE in runtime.rebalancer.assigned


@virtual_time
async def test_unknown_members_leave_everything_as_it_is() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        broker.peer.answer(RequestCode.GET_CONSUMER_LIST_BY_GROUP, ResponseCode.SYSTEM_ERROR, "no consumer for this group")
        runtime.instance.rebalance.wake()
        await asyncio.sleep(5)
        assert QUEUE in runtime.rebalancer.assigned


@virtual_time
async def test_failing_strategy_leaves_everything_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        name = "BROKEN"
        broken = False

        def allocate(self, group: str, client_id: str, queues: object, client_ids: object) -> list[MessageQueue]:
            if self.broken:
                raise ZeroDivisionError
            return [QUEUE]

    broker, seen, strategy = ScriptedBroker(), Seen(), Broken()
    async with consuming(broker, seen, allocate=strategy) as runtime:
        await asyncio.sleep(SETTLED)
        strategy.broken = True
        runtime.instance.rebalance.wake()
        await asyncio.sleep(2)
        assert QUEUE in runtime.rebalancer.assigned
    assert "strategy BROKEN failed" in caplog.text


@pytest.mark.feature("G9")
@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (["abc"], "abc"), (None, "NoneType"), ([QUEUE, MessageQueue(TOPIC, "broker-a", 7)], "7"), ([QUEUE, 3], "3"),
        (5, "int"), ([[]], "list"), (asyncio.CancelledError(), "CancelledError"), (GeneratorExit(), "GeneratorExit"),
    ],
)  # fmt: skip
def test_strategy_that_answers_nonsense_is_told_and_may_come_to_its_senses(
    answer: object, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd:
        name = "ODD"
        odd = True

        def allocate(self, group: str, client_id: str, queues: list[MessageQueue], client_ids: list[str]) -> object:
            if not self.odd:
                return list(queues)
            if isinstance(answer, BaseException):
                raise answer
            queues.clear()
            client_ids.clear()
            return answer

    @virtual_time
    async def run() -> None:
        broker, seen, strategy = ScriptedBroker(), Seen(), Odd()
        broker.append(b"0")
        async with consuming(broker, seen, allocate=strategy) as runtime:
            await asyncio.sleep(SETTLED)
            assert runtime.rebalancer.assigned == {}
            assert "strategy ODD failed" in caplog.text
            assert word in caplog.text
            strategy.odd = False
            await eventually(lambda: seen.bodies == [b"0"], 5)

    run()


@virtual_time
async def test_strategy_with_a_list_of_its_own_may_answer_with_queues_of_other_topics_too(caplog: pytest.LogCaptureFixture) -> None:
    class Listed:
        name = "CONFIG"

        def allocate(self, *_: object) -> list[MessageQueue]:
            return [QUEUE, MessageQueue(RETRY, "broker-a", 0), MessageQueue("other", "broker-b", 3)]

    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    async with consuming(broker, seen, allocate=Listed()) as runtime:
        await eventually(lambda: seen.bodies == [b"0"], 5)
        assert set(runtime.rebalancer.assigned) == {QUEUE, MessageQueue(RETRY, "broker-a", 0)}
        assert runtime.queues.waiting == {}
    assert caplog.records == []


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit(), ZeroDivisionError()])
def test_message_queue_listener_that_raises_is_told(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def listener(*_: object) -> None:
        raise error

    @virtual_time
    async def run() -> None:
        broker, seen = ScriptedBroker(), Seen()
        broker.append(b"0")
        async with consuming(broker, seen, message_queue_listener=listener):
            await eventually(lambda: seen.bodies == [b"0"], 5)
            await asyncio.sleep(1)
        assert "message_queue_listener of group" in caplog.text

    run()


@pytest.mark.feature("G9")
@virtual_time
async def test_message_queue_listener_hears_of_a_topic_that_is_subscribed_again() -> None:
    broker, seen = ScriptedBroker(), Seen()
    heard: list[tuple[int, int]] = []

    def listener(topic: str, queues: frozenset[MessageQueue], owned: frozenset[MessageQueue]) -> None:
        if topic == TOPIC:
            heard.append((len(queues), len(owned)))

    async with consuming(broker, seen, message_queue_listener=listener) as runtime:
        await asyncio.sleep(SETTLED)
        await runtime.rebalancer.drop_topic(TOPIC)
        await runtime.rebalancer.rebalance([TOPIC])
        await asyncio.sleep(SETTLED)
    assert heard[:3] == [(1, 1), (0, 0), (1, 1)]


# --- locks -------------------------------------------------------------------------------------------------------------------


def lock_times(broker: ScriptedBroker, granted: Callable[[list[MessageQueue]], bool] = bool) -> list[float]:
    return [at for at, queues in broker.locks if granted(queues) and (not queues or QUEUE in queues)]


@pytest.mark.feature("G10", "F30")
@virtual_time
async def test_ordered_queue_is_locked_before_the_first_pull_and_renewed_every_20_s() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen, ordered=True):
        await asyncio.sleep(SETTLED + 60)
        first_pull = broker.pull_times[0]
        times = lock_times(broker)
        assert times[0] <= first_pull
        renewals = [later - earlier for earlier, later in itertools.pairwise(times[1:])]
        assert renewals == pytest.approx([20.0] * len(renewals))
        assert len(renewals) >= 2
        assert broker.peer.of(RequestCode.UNLOCK_BATCH_MQ) == []
    unlocked = broker.peer.of(RequestCode.UNLOCK_BATCH_MQ)
    assert QUEUE in UnlockBatchRequestBody.decode(unlocked[-1].command.body).mq_set


@pytest.mark.feature("G10", "F32")
@virtual_time
async def test_lock_of_a_queue_that_is_given_up_is_renewed_until_its_listener_has_ended() -> None:
    broker, release = ScriptedBroker(), asyncio.Event()
    broker.append(b"0", b"1")
    called: list[bytes] = []

    async def listener(message: ReceivedMessage) -> None:
        called.append(message.body)
        await release.wait()

    async with consuming(broker, listener, ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        broker.members = ["0@first", CLIENT_ID]
        runtime.instance.rebalance.wake()
        await asyncio.sleep(2)
        assert list(runtime.rebalancer.releasing) == [QUEUE]
        before = len(broker.locks)
        await asyncio.sleep(70)
        renewed = [at for at, queues in broker.locks[before:] if QUEUE in queues]
        assert len(renewed) >= 3, "else another member would have it while the listener still runs"
        assert [later - earlier for earlier, later in itertools.pairwise(renewed)] == pytest.approx([20.0] * (len(renewed) - 1))
        unlocks = broker.peer.of(RequestCode.UNLOCK_BATCH_MQ)
        assert not any(QUEUE in UnlockBatchRequestBody.decode(unlock.command.body).mq_set for unlock in unlocks)
        release.set()
        await asyncio.sleep(1)
        assert not runtime.rebalancer.releasing and broker.offsets[TOPIC] == 1
        before = len(broker.locks)
        await asyncio.sleep(60)
        assert not any(QUEUE in queues for _, queues in broker.locks[before:]), "and not after that"
    assert called == [b"0"]


@pytest.mark.feature("G10")
@virtual_time
async def test_queue_locked_by_another_member_is_not_pulled_and_is_tried_again_soon() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.lock_owner = "other"
    broker.append(b"0")
    async with consuming(broker, seen, ordered=True):
        await asyncio.sleep(10)
        assert broker.pulls == []
        assert len(broker.locks) >= 9, "asked again after half a second, at most once a second"
        broker.lock_owner = None
        await asyncio.sleep(SETTLED)
        assert seen.bodies == [b"0"]


@pytest.mark.feature("F30", "G10")
@virtual_time
async def test_lock_that_cannot_be_renewed_is_trusted_for_30_s_only() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen, ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        locked_at = runtime.rebalancer.assigned[QUEUE].locked_at
        broker.peer.answer(RequestCode.LOCK_BATCH_MQ, ResponseCode.SYSTEM_ERROR, "scripted")
        await asyncio.sleep(20)
        broker.append(b"still locked")
        await asyncio.sleep(0.1)
        assert seen.bodies == [b"still locked"]
        await asyncio.sleep(locked_at + 30 - asyncio.get_running_loop().time() + 0.1)
        broker.append(b"not any more")
        await asyncio.sleep(5)
        assert seen.bodies == [b"still locked"]
        broker.peer.on(RequestCode.LOCK_BATCH_MQ, broker._lock)
        await asyncio.sleep(5)
        assert seen.bodies == [b"still locked", b"not any more"]


@pytest.mark.feature("F30")
@virtual_time
async def test_queue_that_was_unlocked_too_long_is_taken_over_anew() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    async with consuming(broker, seen, ordered=True):
        await asyncio.sleep(SETTLED)
        broker.peer.answer(RequestCode.LOCK_BATCH_MQ, ResponseCode.SYSTEM_ERROR, "scripted")
        broker.append(b"1", b"2")
        await asyncio.sleep(90)
        # Another member had the queue meanwhile, and consumed up to 5.
        broker.append(*[b"by another"] * 2, b"5")
        broker.offsets[TOPIC] = 5
        broker.peer.on(RequestCode.LOCK_BATCH_MQ, broker._lock)
        await asyncio.sleep(20)
        assert seen.bodies[-1] == b"5"
        assert b"by another" not in seen.bodies


@virtual_time
async def test_lock_taken_away_by_the_broker_stops_the_queue_at_once() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen, ordered=True):
        await asyncio.sleep(SETTLED)
        broker.peer.on(
            RequestCode.LOCK_BATCH_MQ, lambda request, _: RemotingCommand.response(request, body=LockBatchResponseBody([]).encode())
        )
        await asyncio.sleep(21)
        broker.append(b"not ours")
        await asyncio.sleep(5)
        assert seen.bodies == []


@pytest.mark.feature("F44")
@virtual_time
async def test_stop_with_a_dead_broker_ends_soon() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    async with consuming(broker, seen, ordered=True):
        await asyncio.sleep(SETTLED)
        broker.peer.silent = True
        before = asyncio.get_running_loop().time()
    # 5 s for the offset, which nobody confirms, and 1 s for the goodbye.
    assert asyncio.get_running_loop().time() - before < 7


@pytest.mark.feature("F44")
@virtual_time
async def test_stop_with_a_dead_broker_and_a_hanging_listener_ends_after_the_drain_time_and_a_moment() -> None:
    broker = ScriptedBroker()
    broker.append(b"0")

    async def listener(message: ReceivedMessage) -> None:
        await asyncio.get_running_loop().create_future()

    async with consuming(broker, listener, await_termination_when_shutdown=10.0):
        await asyncio.sleep(SETTLED)
        broker.peer.silent = True
        before = asyncio.get_running_loop().time()
    assert 10.0 <= asyncio.get_running_loop().time() - before < 12.5


@virtual_time
async def test_topic_without_a_route_is_asked_for_again_and_again() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    del broker.world.routes[TOPIC]
    async with consuming(broker, seen):
        await asyncio.sleep(20)
        assert seen.bodies == []
        broker.world.routes[TOPIC] = route(1)
        await asyncio.sleep(10)
        assert seen.bodies == [b"0"]


@virtual_time
async def test_start_without_a_name_server_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    broker.world.name_server.refuse = True
    async with consuming(broker, seen):
        assert "no name server answered" in caplog.text
        await asyncio.sleep(30)
        broker.world.name_server.refuse = False
        await asyncio.sleep(12)
        assert seen.bodies == [b"0"]


@pytest.mark.feature("F32", "G1")
@virtual_time
async def test_queue_given_up_waits_a_moment_for_its_listener_and_begins_no_other_message() -> None:
    broker = ScriptedBroker()
    broker.append(*[b"%d" % number for number in range(10)])
    begun: list[bytes] = []

    async def listener(message: ReceivedMessage) -> None:
        begun.append(message.body)
        await asyncio.sleep(0.3 if len(begun) > 4 else 0)

    async with consuming(broker, listener, concurrency=2) as runtime:
        await eventually(lambda: len(begun) == 6)
        broker.members = ["0@first", CLIENT_ID]
        await runtime.rebalance()
        assert runtime.rebalancer.assigned == {}
        assert len(begun) == 6, "two were in hand"
        assert broker.offsets[TOPIC] == 6, "and are saved"


@pytest.mark.feature("G1")
@virtual_time
async def test_newcomer_lets_the_others_let_go_before_it_takes_over() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    broker.members = [CLIENT_ID, "zz@other"]
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(1.5)
        assert broker.pulls == []
        await asyncio.sleep(0.4)
        assert seen.bodies == [b"0"]
        # A member that left has saved before it said goodbye: no reason to wait.
        broker.world.routes[TOPIC] = route(2)
        await runtime.instance.routes.update(TOPIC)
        await asyncio.sleep(3)
        broker.members = [CLIENT_ID]
        before = asyncio.get_running_loop().time()
        runtime.instance.rebalance.wake()
        await asyncio.sleep(0.1)
        assert QUEUE._replace(queue_id=1) in runtime.rebalancer.assigned
        assert asyncio.get_running_loop().time() - before < 0.2


@pytest.mark.feature("G1", "G3")
@virtual_time
async def test_only_queues_of_members_that_live_are_waited_for() -> None:
    """192.0.2.1@test is the last of three; when the first one leaves, its neighbour's queue moves on to us."""
    broker, seen = ScriptedBroker(), Seen()
    broker.world.routes[TOPIC] = route(4)
    first, second = "0@first", "100@second"
    broker.members = [first, second, CLIENT_ID]
    async with consuming(broker, seen) as runtime:

        def owned() -> set[int]:
            return {queue.queue_id for queue in runtime.rebalancer.assigned if queue.topic == TOPIC}

        await eventually(lambda: owned() == {3})
        broker.members = [second, CLIENT_ID]
        before = asyncio.get_running_loop().time()
        runtime.instance.rebalance.wake()
        await asyncio.sleep(1.2)
        assert owned() == {3}, "queue 2 was the second member's, which lives"
        await eventually(lambda: owned() == {2, 3})
        assert asyncio.get_running_loop().time() - before > 1.5
        broker.members = [CLIENT_ID]
        await asyncio.sleep(1.1)
        before = asyncio.get_running_loop().time()
        runtime.instance.rebalance.wake()
        await eventually(lambda: owned() == {0, 1, 2, 3})
        assert asyncio.get_running_loop().time() - before < 0.2


@virtual_time
async def test_join_each_second_does_not_keep_a_queue_without_an_owner() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.world.routes[TOPIC] = route(8)
    broker.members = [CLIENT_ID, "zz@0"]
    async with consuming(broker, seen) as runtime:
        taken_at = None
        for number in range(1, 20):
            # Newcomers sort behind us and behind each other: our first queue stays ours all the time.
            broker.members = [CLIENT_ID, *(f"zz@{each}" for each in range(number % 3 + 1))]
            broker.peer.push_oneway(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, {"consumerGroup": GROUP})
            await asyncio.sleep(1.0)
            if QUEUE in runtime.rebalancer.assigned and taken_at is None:
                taken_at = number
        assert taken_at is not None
        assert taken_at <= 3


@pytest.mark.feature("G1", "K10")
@virtual_time
async def test_list_of_a_broker_that_was_restarted_is_not_trusted_at_once() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.world.routes[TOPIC] = route(2)
    broker.members = [CLIENT_ID, "zz@other"]
    async with consuming(broker, seen) as runtime:

        def owned() -> set[int]:
            return {queue.queue_id for queue in runtime.rebalancer.assigned if queue.topic == TOPIC}

        await eventually(lambda: owned() == {0})
        await asyncio.sleep(2)
        # The broker comes back, and we are the first to say hello.
        broker.peer.drop()
        broker.members = [CLIENT_ID]
        await asyncio.sleep(1.1)
        runtime.instance.rebalance.wake()
        await asyncio.sleep(0.5)
        assert owned() == {0}
        broker.members = [CLIENT_ID, "zz@other"]
        await asyncio.sleep(5)
        assert owned() == {0}, "the other one never lost its queue"
        broker.members = [CLIENT_ID]
        runtime.instance.rebalance.wake()
        await eventually(lambda: owned() == {0, 1})
