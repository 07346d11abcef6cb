"""What a consumer promises beside the main thing: its own retries, its own lengths, its own store, and figures that add up."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from aiorocketmq.consumer.runtime import PushRuntime
from aiorocketmq.model.enums import ConsumeResult, MessageModel, StartFrom
from aiorocketmq.model.properties import decode_properties
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import Suspend
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.sysflag import PullSysFlag
from tests.unit.consumer.test_failures import accept_sends
from tests.unit.consumer.test_pulling import SETTLED
from tests.unit.consumer.world import QUEUE, RETRY, TOPIC, ScriptedBroker, consuming, virtual_time
from tests.wire.world import CLIENT_ID


def figures(runtime: PushRuntime) -> tuple[int, int]:
    """Messages consumed and failed, as the statistics tell them."""
    runtime._report_stats()
    rates = runtime.instance.stats.rates("workers", TOPIC)
    return rates.ok, rates.failed


@pytest.mark.feature("F15", "F24")
@pytest.mark.parametrize("start_from", StartFrom)
def test_a_group_without_offsets_gets_its_retries_wherever_it_starts(start_from: StartFrom) -> None:
    @virtual_time
    async def run() -> None:
        broker, seen = ScriptedBroker(), []
        broker.peer.answer(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, header={"offset": "1"})
        broker.append(b"old")
        broker.append(b"comes back", topic=RETRY, properties=f"RETRY_TOPIC\x01{TOPIC}\x02".encode(), reconsume_times=1)

        async def listener(message: ReceivedMessage) -> None:
            seen.append(message.body)

        async with consuming(broker, listener, start_from=start_from):
            await asyncio.sleep(SETTLED)
        assert sorted(seen) == ([b"comes back", b"old"] if start_from is StartFrom.FIRST else [b"comes back"])

    run()


@pytest.mark.feature("F7", "G16")
def test_a_broadcasting_consumer_leaves_the_offsets_of_the_brokers_alone(tmp_path: Path) -> None:
    @virtual_time
    async def run() -> None:
        broker = ScriptedBroker()

        async def listener(message: ReceivedMessage) -> None: ...

        options = {"message_model": MessageModel.BROADCASTING, "local_offset_store_dir": tmp_path}
        async with consuming(broker, listener, **options) as runtime:
            for number in range(3):
                broker.append(b"%d" % number)
                await asyncio.sleep(SETTLED)
            assert runtime.offsets() == {QUEUE: 3}
        assert len(broker.pulls) > 3
        assert not any(int(pull.ext_fields["sysFlag"]) & PullSysFlag.COMMIT_OFFSET for pull in broker.pulls)
        assert broker.offsets == {}

    run()


@pytest.mark.feature("F7", "G16")
def test_a_broadcasting_consumer_goes_on_behind_what_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    @virtual_time
    async def run() -> None:
        broker = ScriptedBroker()

        async def listener(message: ReceivedMessage) -> object:
            return ConsumeResult.RECONSUME_LATER if message.body == b"1" else None

        options = {"message_model": MessageModel.BROADCASTING, "local_offset_store_dir": tmp_path}
        async with consuming(broker, listener, **options) as runtime:
            broker.append(b"0", b"1", b"2")
            await asyncio.sleep(SETTLED)
            assert runtime.offsets() == {QUEUE: 3}
            assert runtime.queues.assigned[QUEUE].messages.count == 0

    run()
    assert len([record for record in caplog.records if "a broadcasting group has no retries" in record.message]) == 1


@pytest.mark.feature("F25")
@virtual_time
async def test_a_message_that_comes_back_again_keeps_the_id_of_the_first() -> None:
    broker = ScriptedBroker()
    broker.append(b"bad", properties=b"ORIGIN_MESSAGE_ID\x01the first\x02")
    broker.peer.answer(RequestCode.CONSUMER_SEND_MSG_BACK, ResponseCode.SYSTEM_ERROR, "scripted")
    accept_sends(broker)

    async def listener(message: ReceivedMessage) -> object:
        return ConsumeResult.RECONSUME_LATER

    async with consuming(broker, listener):
        await asyncio.sleep(SETTLED)
    (sent,) = broker.peer.of(RequestCode.SEND_MESSAGE_V2)
    assert decode_properties(sent.command.ext_fields["i"])["ORIGIN_MESSAGE_ID"] == "the first"


@pytest.mark.feature("F3", "F29")
@virtual_time
async def test_a_suspension_lasts_as_long_as_the_listener_says() -> None:
    broker, calls = ScriptedBroker(), []
    broker.append(b"x")
    clock = asyncio.get_running_loop().time

    async def listener(message: ReceivedMessage) -> object:
        calls.append(clock())
        return {1: Suspend(3.0), 2: Suspend()}.get(len(calls))

    async with consuming(broker, listener, ordered=True, suspend_current_queue_time=0.5):
        await asyncio.sleep(SETTLED + 4.0)
    assert [later - earlier for earlier, later in itertools.pairwise(calls)] == pytest.approx([3.0, 0.5], abs=0.01)


@pytest.mark.feature("G10")
@virtual_time
async def test_a_suspended_queue_is_let_go_at_once() -> None:
    broker = ScriptedBroker()
    broker.append(b"x")

    async def listener(message: ReceivedMessage) -> object:
        return Suspend(30.0)

    async with consuming(broker, listener, ordered=True) as runtime:
        await asyncio.sleep(SETTLED)
        broker.members = ["0@first", CLIENT_ID]
        runtime.instance.rebalance.wake()
        await asyncio.sleep(2.0)
        assert not runtime.queues.assigned.keys() & {QUEUE} and not runtime.queues.releasing
        assert broker.peer.of(RequestCode.UNLOCK_BATCH_MQ), "the other member waits for the lock"


@pytest.mark.feature("F40")
@virtual_time
async def test_every_message_is_reported_once() -> None:
    broker = ScriptedBroker()
    broker.append(b"good", b"bad", b"good")

    async def listener(message: ReceivedMessage) -> object:
        return ConsumeResult.RECONSUME_LATER if message.body == b"bad" else None

    async with consuming(broker, listener) as runtime:
        await asyncio.sleep(SETTLED)
        assert figures(runtime) == (2, 1)
        assert figures(runtime) == (2, 1), "a second report has nothing new to tell"


@pytest.mark.feature("F28", "F40")
@pytest.mark.parametrize("fails", [False, True])
def test_what_comes_of_a_message_of_another_member_is_not_counted(fails: bool) -> None:
    @virtual_time
    async def run() -> None:
        broker, go_on = ScriptedBroker(), asyncio.Event()
        broker.append(b"0", b"1")

        async def listener(messages: list[ReceivedMessage]) -> object:
            await go_on.wait()
            return ConsumeResult.RECONSUME_LATER if fails else None

        async with consuming(broker, listener, batch=2) as runtime:
            await asyncio.sleep(SETTLED)
            broker.members = ["0@first", CLIENT_ID]
            runtime.instance.rebalance.wake()
            await asyncio.sleep(3.0)
            assert QUEUE not in runtime.queues.assigned and not runtime.queues.releasing
            go_on.set()
            await asyncio.sleep(1.0)
            assert figures(runtime) == (0, 0), "its new owner gets it, and counts it"
        assert not broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)

    run()
