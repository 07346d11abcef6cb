"""What listeners can do to the place that calls them: hang, let anything out, end their own task, stop the consumer."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from typing import Any

import pytest

from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Retry
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.memory_transport import PeerConnection
from tests.support.waiting import eventually
from tests.unit.consumer.test_pulling import SETTLED
from tests.unit.consumer.world import GROUP, QUEUE, TOPIC, ScriptedBroker, consuming, virtual_time


class Abort(BaseException):
    """What `pytest.fail()` and the like raise."""


async def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def let_out(kind: str) -> None:
    if kind == "exit":
        sys.exit(3)
    if kind == "cancel":
        await cancel_itself()
    if kind == "generator exit":
        raise GeneratorExit
    if kind == "cancelled":
        raise asyncio.CancelledError
    raise Abort


@pytest.mark.feature("F26", "F29")
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("kind", ["base", "exit", "cancel", "cancelled", "generator exit"])
def test_whatever_a_coroutine_listener_lets_out_is_a_failed_message(kind: str, ordered: bool, caplog: pytest.LogCaptureFixture) -> None:
    @virtual_time
    async def run() -> None:
        broker = ScriptedBroker()
        got: list[bytes] = []

        async def listener(message: ReceivedMessage) -> None:
            got.append(message.body)
            if message.body == b"1" and got.count(b"1") < 3:
                await let_out(kind)

        broker.append(b"0", b"1", b"2", b"3")
        async with consuming(broker, listener, ordered=ordered, await_termination_when_shutdown=1.0) as runtime:
            await asyncio.sleep(30)
            assert runtime.offsets(TOPIC) == {QUEUE: 4}
            assert runtime.service.caller.workers == 20, "workers that ended are replaced"
            back = len(broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK))
        if ordered:
            assert got == [b"0", b"1", b"1", b"1", b"2", b"3"]
        else:
            assert sorted(got) == [b"0", b"1", b"2", b"3"]
            assert back == 1
        failures = [record for record in caplog.records if "failed on" in record.getMessage()]
        assert len(failures) == (2 if ordered else 1), "one record for each"

    run()


@pytest.mark.feature("F26")
async def test_sys_exit_in_a_plain_listener_is_a_failed_message_as_well() -> None:
    broker = ScriptedBroker()
    broker.append(b"0", b"1")
    got: Counter[bytes] = Counter()

    def listener(message: ReceivedMessage) -> None:
        got[message.body] += 1
        if message.body == b"0":
            sys.exit(3)

    async with consuming(broker, listener):
        await eventually(lambda: len(broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)) == 1)
        await eventually(lambda: broker.offsets.get(TOPIC) == 2 or got == {b"0": 1, b"1": 1})


@pytest.mark.feature("F28", "F24")
@virtual_time
async def test_no_failed_message_is_swallowed_after_overdue_ones() -> None:
    """What was overdue is known by the work itself: the next work may lie at the same place in memory."""
    broker = ScriptedBroker()
    broker.append(*[b"%d" % number for number in range(300)])

    async def listener(message: ReceivedMessage) -> Any:
        if message.queue_offset % 3 == 0:
            await asyncio.sleep(0.5)
            raise ValueError("overdue, and then it fails")
        return Retry()

    async with consuming(broker, listener, consume_timeout=0.2, concurrency=20) as runtime:
        await asyncio.sleep(60)
        assert runtime.offsets(TOPIC) == {QUEUE: 300}
        back = Counter(request.command.ext_fields["offset"] for request in broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK))
        assert len(back) == 300
        assert set(back.values()) == {1}, "each is given back once"


@pytest.mark.feature("F28")
async def test_overdue_call_of_a_thread_is_given_back_once() -> None:
    broker = ScriptedBroker()
    broker.append(b"0", b"1")
    release = threading.Event()

    def listener(message: ReceivedMessage) -> Any:
        if message.body == b"0":
            release.wait(10)
            return Retry()
        return None

    async with consuming(broker, listener, consume_timeout=0.2, concurrency=2) as runtime:
        await eventually(lambda: len(broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)) == 1)
        release.set()
        await eventually(lambda: not any(runtime.service.caller.in_hand()))
        assert runtime.offsets(TOPIC) == {QUEUE: 2}
        await asyncio.sleep(0.3)
        assert len(broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)) == 1


@pytest.mark.feature("F44")
@virtual_time
async def test_queue_given_up_lets_its_failed_messages_go_back_first() -> None:
    """A message that is on its way back when the queue goes to another member would be consumed there at once, too."""
    broker = ScriptedBroker()
    broker.append(b"0")

    on_its_way: list[tuple[RemotingCommand, PeerConnection]] = []
    broker.peer.on(RequestCode.CONSUMER_SEND_MSG_BACK, lambda request, connection: on_its_way.append((request, connection)))

    async def listener(message: ReceivedMessage) -> Any:
        return Retry()

    async with consuming(broker, listener) as runtime:
        await eventually(lambda: on_its_way)
        broker.members = ["0@first", "192.0.2.1@test"]
        runtime.instance.rebalance.wake()
        await eventually(lambda: runtime.rebalancer.releasing)
        await asyncio.sleep(0.3)
        ((request, connection),) = on_its_way
        connection.send(RemotingCommand.response(request))
        await asyncio.sleep(1)
        assert runtime.rebalancer.releasing == {}
        assert broker.offsets[TOPIC] == 1


@virtual_time
async def test_workers_that_foreign_code_cancels_come_back() -> None:
    broker = ScriptedBroker()
    got: list[bytes] = []

    async def listener(message: ReceivedMessage) -> None:
        got.append(message.body)
        await asyncio.sleep(1)

    async with consuming(broker, listener, concurrency=4) as runtime:
        await asyncio.sleep(SETTLED)
        broker.append(b"0", b"1")
        await asyncio.sleep(0.5)
        for task in asyncio.all_tasks():
            if f"consumer {GROUP}:consume" in task.get_name():
                task.cancel()
        await asyncio.sleep(0.5)
        assert runtime.service.caller.workers == 4
        broker.append(b"2")
        await asyncio.sleep(3)
        assert got == [b"0", b"1", b"2"]
        assert len(broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)) == 2, "those in hand come again"


@pytest.mark.feature("F2")
@virtual_time
async def test_bounds_that_were_changed_hold_for_all_later_sizes() -> None:
    broker = ScriptedBroker()

    async def listener(message: ReceivedMessage) -> None:
        pass

    async with consuming(broker, listener, concurrency=2) as runtime:
        runtime.service.caller.resize(5, 5)
        broker.append(b"x")
        await asyncio.sleep(SETTLED)
        assert runtime.service.caller.workers == 5
        runtime.service.caller.adjust()
        assert runtime.service.caller.workers == 5
