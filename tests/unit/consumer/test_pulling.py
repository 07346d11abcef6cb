"""The pull loop against a scripted broker, on virtual time: delays, flow control, odd answers."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.client.pull import STALLED_AFTER
from aiorocketmq.consumer.puller import SMALL_ANSWER
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.sysflag import PullSysFlag
from tests.support.memory_transport import PeerConnection
from tests.support.virtual_loop import run_virtual
from tests.support.waiting import eventually
from tests.unit.consumer.world import QUEUE, RETRY, TOPIC, ScriptedBroker, consuming, record, virtual_time
from tests.wire.world import route

# A round of the rebalance service may begin up to a second after the start.
SETTLED = 2.0


class Seen:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, message: ReceivedMessage) -> None:
        self.bodies.append(message.body)


@pytest.mark.feature("F13", "F8", "F22")
@virtual_time
async def test_pull_waits_fifteen_seconds_at_the_broker_and_asks_for_what_is_configured() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen, pull_batch_size=7, pull_batch_size_in_bytes=12345):
        await asyncio.sleep(SETTLED)
        fields = broker.pulls[0].ext_fields
        assert fields["suspendTimeoutMillis"] == "15000"
        assert (fields["maxMsgNums"], fields["maxMsgBytes"]) == ("7", "12345")
        assert int(fields["sysFlag"]) == PullSysFlag.SUSPEND
        assert "subscription" not in fields
        await asyncio.sleep(31)
    times = broker.pull_times
    assert len(times) == 3, "one after the other, each held for 15 s"
    assert times[1] - times[0] == pytest.approx(15.0)


@pytest.mark.feature("F14")
@virtual_time
async def test_consumed_offset_travels_with_the_next_pull() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0", b"1", b"2")
    async with consuming(broker, seen):
        await asyncio.sleep(SETTLED)
        broker.append(b"3" * 2 * SMALL_ANSWER)
        await asyncio.sleep(0.01)
        assert TOPIC not in {request.command.ext_fields["topic"] for request in broker.peer.of(RequestCode.UPDATE_CONSUMER_OFFSET)}
        assert broker.offsets[TOPIC] == 3
        pull = broker.pulls[-1].ext_fields
        assert (pull["queueOffset"], pull["commitOffset"], int(pull["sysFlag"])) == (
            "4",
            "3",
            PullSysFlag.SUSPEND | PullSysFlag.COMMIT_OFFSET,
        )
    assert broker.offsets[TOPIC] == 4, "the last one is saved at the stop"


@pytest.mark.feature("F14", "F8")
@pytest.mark.parametrize(("size", "committed"), [(1, "2"), (2 * SMALL_ANSWER, "1")], ids=["small: listener first", "large: pull first"])
@pytest.mark.parametrize("ordered", [False, True], ids=["concurrent", "ordered"])
def test_few_messages_are_through_their_listener_before_the_next_pull_leaves(size: int, committed: str, ordered: bool) -> None:
    """The broker works on the next pull while a large answer is decoded; a small one is there sooner, its offset leaves with that pull."""

    @virtual_time
    async def run() -> None:
        broker, seen = ScriptedBroker(), Seen()
        broker.append(b"the first one has its worker made")
        async with consuming(broker, seen, ordered=ordered):
            await asyncio.sleep(SETTLED)
            broker.append(b"x" * size)
            await asyncio.sleep(0.01)
            assert len(seen.bodies) == 2
            assert [pull.ext_fields["queueOffset"] for pull in broker.pulls] == ["0", "1", "2"]
            assert broker.pulls[-1].ext_fields["commitOffset"] == committed

    run()


@pytest.mark.feature("F12")
@pytest.mark.parametrize(
    ("code", "delay"),
    [
        (ResponseCode.FLOW_CONTROL, 0.02),
        (ResponseCode.SYSTEM_BUSY, 1.0),
        (ResponseCode.SYSTEM_ERROR, 1.0),
        (ResponseCode.NO_PERMISSION, 1.0),
    ],
)
def test_failed_pull_is_sent_again_after_its_delay(code: ResponseCode, delay: float, caplog: pytest.LogCaptureFixture) -> None:
    @virtual_time
    async def run() -> None:
        broker, seen = ScriptedBroker(), Seen()
        broker.pull_codes = [code, code]
        broker.append(b"0")
        async with consuming(broker, seen):
            await asyncio.sleep(SETTLED + 3)
        times = broker.pull_times
        assert [times[1] - times[0], times[2] - times[1]] == pytest.approx([delay, delay])
        assert seen.bodies == [b"0"]
        assert sum("fail: code" in record.getMessage() for record in caplog.records if record.levelname == "WARNING") == 1

    run()


@pytest.mark.feature("F12")
@virtual_time
async def test_broker_that_refuses_one_topic_and_serves_another_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen):
        await asyncio.sleep(SETTLED)
        broker.pull_codes = [ResponseCode.NO_PERMISSION] * 1000
        broker.append(b"1")
        caplog.clear()
        for _ in range(600):
            broker.append(b"r", topic=RETRY)
            await asyncio.sleep(0.1)
        assert sum("fail" in record.getMessage() or "work again" in record.getMessage() for record in caplog.records) <= 6
        broker.pull_codes.clear()
        await asyncio.sleep(2)
        assert seen.bodies.count(b"1") == 1


@pytest.mark.feature("O15")
@virtual_time
async def test_hook_that_fails_on_a_pull_costs_one_try(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        before = after = 0

        def before_request(self, address: str, command: RemotingCommand) -> None:
            if command.code == RequestCode.PULL_MESSAGE and self.before:
                self.before -= 1
                raise ValueError("hook")

        def after_response(self, address: str, request: RemotingCommand, response: RemotingCommand) -> None:
            if request.code == RequestCode.PULL_MESSAGE and self.after:
                self.after -= 1
                raise ValueError("hook")

    broker, seen, hook = ScriptedBroker(), Seen(), Failing()
    broker.world.routes[TOPIC] = route(2)
    async with consuming(broker, seen) as runtime:
        runtime.instance.remoting.add_hook(hook)
        await asyncio.sleep(SETTLED)
        hook.before = 1
        broker.pull_codes = [ResponseCode.SYSTEM_ERROR] * 2  # both queues wait in the service's list, and one of them fails there
        broker.append(b"0")
        await asyncio.sleep(3)
        assert len(seen.bodies) == 2
        hook.after = 1
        broker.append(b"1")
        await asyncio.sleep(3)
        assert len(seen.bodies) == 4
    assert runtime.instance.pull.restarts == 0
    assert "hook" in caplog.text


@virtual_time
async def test_answer_for_a_topic_without_subscription_is_asked_for_again() -> None:
    """Between `unsubscribe()` and `subscribe()` there may be an answer on its way."""
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        data, subscription = runtime.subscriptions_table._data, runtime.subscriptions_table.get(TOPIC)
        del data[TOPIC]
        broker.append(b"0")
        await asyncio.sleep(3)
        assert seen.bodies == []
        assert runtime.offsets(TOPIC).get(QUEUE, 0) == 0
        assert subscription is not None
        data[TOPIC] = subscription
        await asyncio.sleep(1.5)
        assert seen.bodies == [b"0"]


@pytest.mark.feature("F12", "F10")
@virtual_time
async def test_full_queue_is_looked_at_every_50_ms_and_pulls_at_once_when_it_has_room() -> None:
    broker, release = ScriptedBroker(), asyncio.Event()
    broker.append(*[b"x"] * 100)

    async def listener(message: ReceivedMessage) -> None:
        await release.wait()

    async with consuming(broker, listener, pull_threshold_for_queue=40, pull_batch_size=10, concurrency=1) as runtime:
        await asyncio.sleep(SETTLED)
        pulls = len(broker.pulls)
        counted = runtime.pulls.flow_control.by_count
        await asyncio.sleep(1.0)
        assert len(broker.pulls) == pulls
        assert runtime.pulls.flow_control.by_count - counted == pytest.approx(20, abs=1)
        cached = runtime.rebalancer.assigned[QUEUE].messages.count
        assert cached == 50
        before = asyncio.get_running_loop().time()
        release.set()
        await asyncio.sleep(0.001)
        assert broker.pull_times[-1] - before < 0.001, "it does not wait for the next look"


@pytest.mark.feature("F12", "F36")
@virtual_time
async def test_suspended_consumer_looks_every_second_and_resumes_at_once() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        runtime.suspend()
        broker.append(b"0")
        await asyncio.sleep(0.01)
        pulls = len(broker.pulls)
        await asyncio.sleep(5)
        assert len(broker.pulls) == pulls
        runtime.resume()
        await asyncio.sleep(0.01)
        assert len(broker.pulls) == pulls + 1
    assert seen.bodies == [b"0"]


@pytest.mark.feature("F34", "F17")
@virtual_time
async def test_offset_moves_on_over_messages_that_do_not_match() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(*[b"no"] * 5, properties=b"TAGS\x01BB\x02")
    async with consuming(broker, seen, expression="Aa"):
        await asyncio.sleep(SETTLED)
    assert seen.bodies == []
    assert broker.offsets[TOPIC] == 5


@pytest.mark.feature("F34")
@virtual_time
async def test_broker_that_skips_what_does_not_match_is_asked_on_without_a_pause() -> None:
    broker, seen = ScriptedBroker(), Seen()

    def skip(request: RemotingCommand, _: PeerConnection) -> RemotingCommand | None:
        offset = int(request.ext_fields["queueOffset"])
        return broker.pull_answer(request, ResponseCode.PULL_RETRY_IMMEDIATELY, offset + 800) if offset < 40_000 else None

    broker.peer.on(RequestCode.PULL_MESSAGE, skip)
    async with consuming(broker, seen, expression="Aa"):
        await asyncio.sleep(SETTLED)
        assert [int(pull.ext_fields["queueOffset"]) for pull in broker.pulls] == list(range(0, 40_800, 800))
        assert broker.pull_times[-1] - broker.pull_times[0] < 0.1


@pytest.mark.feature("F33")
@virtual_time
async def test_offset_of_deleted_messages_is_corrected_and_saved() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(*[b"%d" % number for number in range(10)])
    broker.min_offset = 7
    broker.offsets[TOPIC] = 2
    async with consuming(broker, seen):
        await asyncio.sleep(SETTLED + 2)
        assert seen.bodies == [b"7", b"8", b"9"]
        assert broker.pulls[1].ext_fields["commitOffset"] == "7"
    assert broker.offsets[TOPIC] == 10


@pytest.mark.feature("F33")
@pytest.mark.parametrize("ordered", [False, True])
@virtual_time
async def test_what_was_pulled_before_the_broker_deleted_it_is_consumed(ordered: bool) -> None:
    broker, begun, going_on = ScriptedBroker(), list[int](), asyncio.Event()
    broker.append(*[b"%d" % number for number in range(6)])

    async def listener(message: ReceivedMessage) -> None:
        begun.append(message.queue_offset)
        await going_on.wait()

    async with consuming(broker, listener, ordered=ordered, concurrency=2, pull_threshold_for_queue=3, pull_batch_size=2) as runtime:
        await asyncio.sleep(SETTLED)
        assert runtime.queues.assigned[QUEUE].messages.count == 4
        broker.append(*[b"%d" % number for number in range(6, 12)])
        broker.min_offset = 9
        going_on.set()
        await asyncio.sleep(3)
        assert sorted(begun) == [0, 1, 2, 3, 9, 10, 11]
        assert not ordered or begun == sorted(begun)
    assert broker.offsets[TOPIC] == 12


@pytest.mark.feature("F33")
@virtual_time
async def test_results_from_before_a_reset_do_not_move_the_offset() -> None:
    broker, release = ScriptedBroker(), asyncio.Event()
    broker.append(*[b"%d" % number for number in range(10)])
    begun: list[int] = []

    async def listener(message: ReceivedMessage) -> None:
        begun.append(message.queue_offset)
        if message.queue_offset == 9 and begun.count(9) == 1:
            await release.wait()

    async with consuming(broker, listener):
        await asyncio.sleep(SETTLED)
        # The broker loses its log but for two messages, as after a restore: offset 10 is beyond the end.
        del broker.logs[TOPIC][2:]
        broker.peer.drop()
        await asyncio.sleep(3)
        release.set()
        await asyncio.sleep(6)
        assert broker.offsets[TOPIC] == 2
        broker.append(b"new")
        await asyncio.sleep(0.1)
        assert begun[-1] == 2


@pytest.mark.feature("F35")
@virtual_time
async def test_suggested_slave_is_read_without_committing_there() -> None:
    broker, seen = ScriptedBroker(), Seen()
    slave = broker.world.make_broker("broker-a-slave:10911")
    addrs = {0: "broker-a:10911", 1: "broker-a-slave:10911"}
    broker.world.routes[TOPIC] = broker.world.routes[RETRY] = route(1, addrs=addrs)
    slave_pulls: list[RemotingCommand] = []

    def from_master(request: RemotingCommand, _: PeerConnection) -> RemotingCommand | None:
        if request.ext_fields["topic"] != TOPIC:
            return None
        body = record(TOPIC, 0, b"first") if request.ext_fields["queueOffset"] == "0" else b""
        return broker.pull_answer(request, 0 if body else ResponseCode.PULL_NOT_FOUND, 1, body, broker_id=1)

    def from_slave(request: RemotingCommand, _: PeerConnection) -> RemotingCommand | None:
        slave_pulls.append(request)
        if len(slave_pulls) > 1:
            return None
        return broker.pull_answer(request, 0, 2, record(TOPIC, 1, b"second"), broker_id=1)

    broker.peer.on(RequestCode.PULL_MESSAGE, from_master)
    slave.on(RequestCode.PULL_MESSAGE, from_slave)
    async with consuming(broker, seen):
        await asyncio.sleep(SETTLED)
        assert seen.bodies == [b"first", b"second"]
        assert all(not int(pull.ext_fields["sysFlag"]) & PullSysFlag.COMMIT_OFFSET for pull in slave_pulls)


@pytest.mark.feature("F35")
@virtual_time
async def test_user_can_choose_the_broker_to_read_from() -> None:
    broker, seen = ScriptedBroker(), Seen()
    slave = broker.world.make_broker("broker-a-slave:10911")
    addrs = {0: "broker-a:10911", 1: "broker-a-slave:10911"}
    broker.world.routes[TOPIC] = broker.world.routes[RETRY] = route(1, addrs=addrs)
    slave.on(RequestCode.PULL_MESSAGE, lambda request, _: None)
    async with consuming(broker, seen, connect_broker_by_user=True, default_broker_id=1):
        await asyncio.sleep(SETTLED)
    assert broker.pulls == []
    assert len(slave.of(RequestCode.PULL_MESSAGE)) >= 1


@virtual_time
async def test_unknown_subscription_is_answered_by_a_heartbeat() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.pull_codes = [ResponseCode.SUBSCRIPTION_NOT_LATEST]
    broker.append(b"0")
    async with consuming(broker, seen):
        await asyncio.sleep(0.5)
        beats = broker.peer.times(RequestCode.HEART_BEAT)
        refused_at = broker.pull_times[0]
        assert any(refused_at <= beat <= refused_at + 0.1 for beat in beats)
        await asyncio.sleep(SETTLED)
    assert seen.bodies == [b"0"]


@virtual_time
async def test_each_unknown_subscription_is_answered_by_a_heartbeat() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen):
        await asyncio.sleep(SETTLED)
        for number in range(3):
            before = len(broker.peer.of(RequestCode.HEART_BEAT))
            broker.pull_codes = [ResponseCode.SUBSCRIPTION_NOT_LATEST]
            broker.append(b"%d" % number)
            await eventually(lambda: not broker.pull_codes, 60)
            await asyncio.sleep(0.1)
            assert len(broker.peer.of(RequestCode.HEART_BEAT)) > before, f"the answer number {number}"
            await asyncio.sleep(SETTLED)
    assert seen.bodies == [b"0", b"1", b"2"]


@virtual_time
async def test_broker_that_does_not_hold_pulls_is_not_stormed() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.peer.on(RequestCode.PULL_MESSAGE, lambda request, _: broker.pull_answer(request, ResponseCode.PULL_NOT_FOUND, 0))
    async with consuming(broker, seen):
        await asyncio.sleep(SETTLED)
        before = len(broker.pulls)
        await asyncio.sleep(10)
        assert len(broker.pulls) - before <= 101


@virtual_time
async def test_peer_that_jumps_back_causes_no_second_delivery_and_no_endless_loop() -> None:
    broker, seen = ScriptedBroker(), Seen()
    answers = 0

    def pull(request: RemotingCommand, _: PeerConnection) -> RemotingCommand | None:
        nonlocal answers
        if request.ext_fields["topic"] != TOPIC:
            return None
        answers += 1
        offset = int(request.ext_fields["queueOffset"])
        if offset == 0:
            return broker.pull_answer(request, 0, 2, record(TOPIC, 0, b"a") + record(TOPIC, 1, b"b"))
        if answers < 5:  # old messages again, and an offset that goes back
            return broker.pull_answer(request, 0, 0, record(TOPIC, 0, b"a"))
        return broker.pull_answer(request, 0, 3, record(TOPIC, 1, b"b") + record(TOPIC, 2, b"c")) if offset == 2 else None

    broker.peer.on(RequestCode.PULL_MESSAGE, pull)
    async with consuming(broker, seen):
        await asyncio.sleep(SETTLED + 5)
    assert seen.bodies == [b"a", b"b", b"c"]
    assert answers < 10


def damaged(broker: ScriptedBroker) -> None:
    broker.append(b"0", b"1", b"bad", b"3", b"4")
    broken = bytearray(broker.logs[TOPIC][2])
    broken[4] ^= 0xFF  # the magic code
    broker.logs[TOPIC][2] = bytes(broken)


@virtual_time
async def test_damaged_message_stops_its_queue_after_three_tries_and_nothing_is_skipped() -> None:
    broker, seen = ScriptedBroker(), Seen()
    damaged(broker)
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED + 8)
        assert seen.bodies == [b"0", b"1"]
        assert "damaged" in str(runtime.rebalancer.assigned[QUEUE].puller.failure)
        asked = [int(pull.ext_fields["queueOffset"]) for pull in broker.pulls]
        assert asked.count(2) == 4
    assert broker.offsets[TOPIC] == 2


@virtual_time
async def test_damaged_message_is_skipped_when_the_user_says_so(caplog: pytest.LogCaptureFixture) -> None:
    broker, seen = ScriptedBroker(), Seen()
    damaged(broker)
    async with consuming(broker, seen, skip_damaged_messages=True):
        await asyncio.sleep(SETTLED + 8)
    assert seen.bodies == [b"0", b"1", b"3", b"4"]
    assert "offset 2 is damaged and is skipped" in caplog.text
    assert broker.offsets[TOPIC] == 5


@virtual_time
async def test_stalled_queue_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        puller = runtime.rebalancer.assigned[QUEUE].puller
        # A bug that forgets the pull in flight: nothing would ever wake this queue again.
        channel = puller._call._channel
        assert channel is not None
        channel.forget(puller._call._opaque)
        before = len(broker.pulls)
        broker._parked.clear()
        await asyncio.sleep(STALLED_AFTER + 6)
        assert runtime.instance.pull.restarts >= 1
        assert len(broker.pulls) > before
        broker.append(b"alive")
        await asyncio.sleep(0.1)
    assert seen.bodies == [b"alive"]
    assert "started again" in caplog.text


@virtual_time
async def test_lost_connection_is_made_again_and_pulling_goes_on() -> None:
    broker, seen = ScriptedBroker(), Seen()
    async with consuming(broker, seen):
        await asyncio.sleep(SETTLED)
        broker.peer.refuse = True
        broker.peer.drop()
        await asyncio.sleep(10)
        broker._parked.clear()
        broker.peer.refuse = False
        broker.append(b"after the fall")
        await asyncio.sleep(2)
        assert seen.bodies == [b"after the fall"]


@pytest.mark.feature("F9")
@virtual_time
async def test_pull_interval_is_kept() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(*[b"x"] * 30)
    async with consuming(broker, seen, pull_interval=0.25, pull_batch_size=10):
        await asyncio.sleep(SETTLED)
    times = broker.pull_times
    assert [times[1] - times[0], times[2] - times[1]] == pytest.approx([0.25, 0.25])


class Hook:
    """Marks requests, and counts answers to pulls."""

    def __init__(self) -> None:
        self.answers = 0

    def before_request(self, address: str, command: RemotingCommand) -> None:
        command.ext_fields["mark"] = f"to {address}"

    def after_response(self, address: str, request: RemotingCommand, response: RemotingCommand) -> None:
        self.answers += request.code == RequestCode.PULL_MESSAGE


@pytest.mark.feature("O15")
@virtual_time
async def test_hooks_see_every_pull() -> None:
    broker, seen, hook = ScriptedBroker(), Seen(), Hook()
    broker.append(b"0")
    async with consuming(broker, seen) as runtime:
        runtime.instance.remoting.add_hook(hook)
        await asyncio.sleep(SETTLED)
        broker.append(b"1")
        await asyncio.sleep(0.1)
        broker.append(b"2")
        await asyncio.sleep(0.1)
        assert broker.pulls[-1].ext_fields["mark"] == "to broker-a:10911"
        assert hook.answers >= 1
    assert seen.bodies == [b"0", b"1", b"2"]


@pytest.mark.feature("O3")
def test_both_ways_of_making_a_pull_are_equal_on_the_wire() -> None:
    async def pulls(encoding: SerializeType, *, hooked: bool) -> list[RemotingCommand]:
        broker, seen = ScriptedBroker(), Seen()
        broker.append(b"0", b"1")
        async with consuming(broker, seen, client={"serialize_type": encoding}, post_subscription_when_pull=True) as runtime:
            if hooked:
                runtime.instance.remoting.add_hook(Silent())
            await asyncio.sleep(SETTLED)
        assert seen.bodies == [b"0", b"1"]
        return broker.pulls

    class Silent:
        def before_request(self, address: str, command: RemotingCommand) -> None: ...

        def after_response(self, address: str, request: RemotingCommand, response: RemotingCommand) -> None: ...

    for encoding in SerializeType:
        plain = run_virtual(pulls(encoding, hooked=False))
        hooked = run_virtual(pulls(encoding, hooked=True))
        assert [pull.ext_fields for pull in plain] == [pull.ext_fields for pull in hooked]
        assert {pull.serialize_type for pull in plain} == {encoding}
