"""Where consuming begins when nothing is committed: nothing that is sent to a consumer that has started is left out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.consumer.offset_store import ReadOffset
from aiorocketmq.consumer.start_offset import Committed, StartOffsets
from aiorocketmq.core.route_table import FoundBroker
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.memory_transport import PeerConnection
from tests.support.waiting import eventually
from tests.unit.consumer.world import GROUP, QUEUE, TOPIC, ScriptedBroker, virtual_time
from tests.wire.world import NAME_SERVER, other_tasks, route

LATER = "later"
MINUTE_MS = 60_000


def from_last(got: list[bytes], *topics: str) -> rmq.PushConsumer:
    consumer = rmq.PushConsumer(NAME_SERVER, group=GROUP, start_from=rmq.StartFrom.LAST)
    for topic in topics:
        consumer.listen(topic)(appender(got))
    return consumer


def appender(got: list[bytes]) -> Callable[[Any], Any]:
    async def listener(message: rmq.ReceivedMessage) -> None:
        got.append(message.body)

    return listener


@pytest.mark.feature("F15", "F44")
@virtual_time
async def test_what_is_sent_after_the_start_is_consumed_from_the_newest_message_on(broker: ScriptedBroker) -> None:
    broker.append(b"old")
    got: list[bytes] = []
    async with from_last(got, TOPIC):
        broker.append(b"new")
        await eventually(lambda: got)
        await asyncio.sleep(2)
    assert got == [b"new"]
    assert other_tasks() == set()


@pytest.mark.feature("F15", "F45")
@virtual_time
async def test_what_is_sent_after_a_subscription_is_consumed_from_the_newest_message_on(broker: ScriptedBroker) -> None:
    got: list[bytes] = []
    broker.world.routes["bills"] = route(1)
    broker.append(b"old", topic="bills")
    async with from_last(got, TOPIC) as consumer:
        await asyncio.sleep(3)
        await consumer.subscribe("bills", appender(got))
        broker.append(b"new", topic="bills")
        await eventually(lambda: got)
        await asyncio.sleep(2)
    assert got == [b"new"]


@pytest.mark.feature("F15", "G14")
@pytest.mark.parametrize("running", [False, True])
def test_topic_that_did_not_exist_when_it_was_subscribed_is_read_from_then_on(broker: ScriptedBroker, running: bool) -> None:
    @virtual_time
    async def run() -> None:
        got: list[bytes] = []
        asked: list[int] = []

        def search(request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
            asked.append(int(request.ext_fields["timestamp"]))
            return RemotingCommand.response(request, header={"offset": "0"})

        broker.peer.on(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, search)
        before = int(time.time() * 1000)
        async with from_last(got, TOPIC, *([] if running else [LATER])) as consumer:
            if running:
                await consumer.subscribe(LATER, appender(got))
            await asyncio.sleep(5)
            broker.append(b"first", topic=LATER, stored_at=before)
            broker.world.routes[LATER] = route(1)
            await eventually(lambda: got, 20)
        assert got == [b"first"]
        (moment,) = asked
        # A broker's clock may be behind ours; but what was sent long before is not for this group.
        assert before - MINUTE_MS <= moment <= before

    run()


@pytest.mark.feature("F15", "K12")
@virtual_time
async def test_broker_that_does_not_tell_the_end_holds_a_start_up_for_three_seconds_at_most(broker: ScriptedBroker) -> None:
    broker.peer.on(RequestCode.GET_MAX_OFFSET, lambda *_: None)
    consumer = from_last([], TOPIC)
    before = asyncio.get_running_loop().time()
    await consumer.start()
    assert 2.9 <= asyncio.get_running_loop().time() - before <= 3.1
    await consumer.stop()
    assert other_tasks() == set()


@pytest.mark.feature("F44", "K12")
@virtual_time
async def test_start_that_is_cut_off_while_it_waits_for_its_queues_is_undone(broker: ScriptedBroker) -> None:
    silent = True

    def newest(request: RemotingCommand, _: PeerConnection) -> RemotingCommand | None:
        return None if silent else RemotingCommand.response(request, header={"offset": "0"})

    broker.peer.on(RequestCode.GET_MAX_OFFSET, newest)
    got: list[bytes] = []
    consumer = from_last(got, TOPIC)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await consumer.start()
    assert consumer.state is rmq.ServiceState.START_FAILED
    assert consumer.instance is None
    assert other_tasks() == set()
    silent = False
    async with consumer:
        broker.append(b"new")
        await eventually(lambda: got)


class Knowing:
    """Stands for an instance whose broker keeps a queue from `low` to 9, and for a store that has no offset of the group."""

    def __init__(self, low: int) -> None:
        self.low = low
        self.broker_api = self.routes = self

    def broker_of(self, queue: MessageQueue) -> str:
        return queue.broker_name

    def find_broker_address_in_subscribe(self, broker_name: str, broker_id: int) -> FoundBroker:
        return FoundBroker("a:1", False, 500)

    async def min_offset(self, address: str, queue: MessageQueue) -> int:
        return self.low

    async def max_offset(self, address: str, queue: MessageQueue) -> int:
        return 9

    async def read_offset(self, queue: MessageQueue, where: ReadOffset) -> int:
        return -1


@pytest.mark.feature("F15", "G14")
@pytest.mark.parametrize(
    ("start", "added", "low", "expected"),
    [
        (rmq.StartFrom.LAST, True, 0, (0, True)),
        (rmq.StartFrom.LAST, True, 5, (5, True)),
        (rmq.StartFrom.LAST, False, 0, (9, True)),
        (rmq.StartFrom.FIRST, True, 0, (0, True)),
        (rmq.StartFrom.FIRST, False, 0, (0, False)),
        (rmq.StartFrom.FIRST, False, 5, (5, True)),
    ],
)
async def test_a_start_that_a_restart_would_not_find_again_is_committed(
    start: rmq.StartFrom, added: bool, low: int, expected: tuple[int, bool]
) -> None:
    knowing: Any = Knowing(low)
    offsets = StartOffsets(knowing, Committed(knowing, knowing, GROUP), start, 0, lambda topic: None)
    assert await offsets.of(QUEUE, added=added) == expected
