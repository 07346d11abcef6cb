"""The offsets of a group are set from outside while a member takes a queue over, consumes it, or gives it up."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.beans import to_json
from aiorocketmq.protocol.bodies import ResetOffsetBody
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.memory_transport import PeerConnection
from tests.unit.consumer.test_pulling import SETTLED, Seen
from tests.unit.consumer.world import GROUP, QUEUE, TOPIC, ScriptedBroker, consuming, virtual_time
from tests.wire.world import CLIENT_ID

FIELDS = {"topic": TOPIC, "group": GROUP, "timestamp": "0", "isForce": "false", "queueId": "-1"}
OTHER = QUEUE.__class__("bills", "broker-a", 0)
NO_OFFSET = b'{"offsetTable":[{"topic":"orders","brokerName":"broker-a","queueId":0}]}'
FORMS = {
    "map": ResetOffsetBody({QUEUE: 1, OTHER: 3}).encode(),
    "list": fastjson.dumps({"offsetTable": [{**to_json(QUEUE), "offset": 1}, {**to_json(OTHER), "offset": 3}]}),
    "keys of 5.x": b'{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"orders"}:1}}',
}


@pytest.mark.feature("F37", "N3")
@pytest.mark.parametrize("form", FORMS)
@virtual_time
async def test_table_of_each_form_is_read(form: str) -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0", b"1", b"2")
    async with consuming(broker, seen):
        await asyncio.sleep(SETTLED)
        assert seen.bodies == [b"0", b"1", b"2"]
        broker.peer.push_oneway(RequestCode.RESET_CONSUMER_CLIENT_OFFSET, FIELDS, FORMS[form])
        await asyncio.sleep(3)
        assert seen.bodies == [b"0", b"1", b"2", b"1", b"2"]
        first = next(iter(broker.peer.of(RequestCode.UPDATE_CONSUMER_OFFSET)))
        assert first.command.ext_fields["commitOffset"] == "1"


@pytest.mark.feature("N3")
@pytest.mark.parametrize("body", [b"", b"{}", b'{"offsetTable":null}', b"{", b'{"offsetTable":[1]}', NO_OFFSET, b"\xff"])
@pytest.mark.parametrize("group", [GROUP, "stranger"])
@virtual_time
async def test_what_cannot_be_read_or_says_nothing_changes_nothing(body: bytes, group: str) -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0", b"1")
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        before = dict(runtime.queues.assigned)
        broker.peer.push_oneway(RequestCode.RESET_CONSUMER_CLIENT_OFFSET, FIELDS | {"group": group}, body)
        negative = ResetOffsetBody({QUEUE: -1}).encode()
        broker.peer.push_oneway(RequestCode.RESET_CONSUMER_CLIENT_OFFSET, FIELDS | {"group": group}, negative)
        broker.peer.push_oneway(RequestCode.RESET_CONSUMER_CLIENT_OFFSET, FIELDS | {"topic": "bills"}, FORMS["map"])
        await asyncio.sleep(3)
        assert runtime.queues.assigned == before
        assert seen.bodies == [b"0", b"1"]


@pytest.mark.feature("F37")
@virtual_time
async def test_queue_that_is_being_taken_over_begins_where_it_was_reset_to() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(*[b"%d" % number for number in range(6)])
    held: list[tuple[RemotingCommand, PeerConnection]] = []
    broker.peer.on(RequestCode.QUERY_CONSUMER_OFFSET, lambda request, connection: held.append((request, connection)))
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(1)
        assert QUEUE in runtime.queues.waiting
        runtime.reset_offsets({QUEUE: 4})
        for request, connection in held:
            connection.send(RemotingCommand.response(request, header={"offset": "1"}))
        await asyncio.sleep(3)
        assert seen.bodies == [b"4", b"5"]
    assert broker.offsets[TOPIC] == 6


@pytest.mark.feature("F37", "F32")
@pytest.mark.parametrize("ordered", [False, True])
@virtual_time
async def test_queue_that_is_being_given_up_is_saved_where_it_was_reset_to(ordered: bool) -> None:
    broker = ScriptedBroker()
    broker.append(b"0", b"1", b"2")

    async def listener(message: ReceivedMessage) -> None:
        await asyncio.sleep(3 if message.body == b"2" else 0)

    async with consuming(broker, listener, ordered=ordered, concurrency=1) as runtime:
        await asyncio.sleep(SETTLED)
        broker.members = ["another"]
        runtime.instance.rebalance.wake()
        await asyncio.sleep(0.3)
        assert QUEUE in runtime.queues.releasing
        runtime.reset_offsets({QUEUE: 1})
        await asyncio.sleep(5)
        assert runtime.queues.releasing == {}
        assert broker.offsets[TOPIC] == 1


@pytest.mark.feature("F37")
@virtual_time
async def test_reset_that_comes_while_another_one_is_saved_counts() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0", b"1", b"2")
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        save = broker._update_offset

        def late(request: RemotingCommand, connection: PeerConnection) -> None:
            asyncio.get_running_loop().call_later(0.5, lambda: connection.send(save(request, connection)))

        broker.peer.on(RequestCode.UPDATE_CONSUMER_OFFSET, late)
        runtime.reset_offsets({QUEUE: 1})
        await asyncio.sleep(0.4)
        runtime.reset_offsets({QUEUE: 2})
        await asyncio.sleep(5)
        assert seen.bodies == [b"0", b"1", b"2", b"2"]


@pytest.mark.feature("F37", "F26", "F28")
@pytest.mark.parametrize("overdue", [False, True])
@virtual_time
async def test_message_that_fails_after_a_reset_is_not_given_back_as_well(overdue: bool) -> None:
    broker = ScriptedBroker()
    broker.append(b"0")
    calls = 0

    async def listener(message: ReceivedMessage) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.sleep(100 if overdue else 3)
            raise ValueError("scripted")

    async with consuming(broker, listener, consume_timeout=4.0, await_termination_when_shutdown=0.1) as runtime:
        await asyncio.sleep(1)
        runtime.reset_offsets({QUEUE: 0})
        await asyncio.sleep(20)
        assert calls == 2
        assert not broker.peer.of(RequestCode.CONSUMER_SEND_MSG_BACK)


@pytest.mark.feature("F37")
@virtual_time
async def test_other_queues_and_members_are_left_alone() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0")
    broker.members = ["another"]
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        runtime.reset_offsets({QUEUE: 0, OTHER: 5})
        await asyncio.sleep(2)
        assert not runtime.queues.waiting and not runtime.queues.assigned
        assert not broker.peer.of(RequestCode.UPDATE_CONSUMER_OFFSET)
        broker.members = [CLIENT_ID]
        runtime.close()
        runtime.reset_offsets({QUEUE: 0})


@pytest.mark.feature("F37")
@pytest.mark.parametrize("remark", ["OFFSET_RESET", "the offset is too small", None])
@virtual_time
async def test_reset_that_is_told_to_a_pull_which_was_given_up_counts(remark: str | None) -> None:
    """A broker of 5.x tells of it once, by the next answer to any pull of the queue."""
    broker, seen = ScriptedBroker(), Seen()
    broker.append(b"0", b"1", b"2")
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(SETTLED)
        given_up = broker.parked()
        runtime.reset_offsets({QUEUE: 3})
        await asyncio.sleep(SETTLED)
        assert len(broker.parked()) > len(given_up) > 0
        request, connection = given_up[0]
        answer = broker.pull_answer(request, ResponseCode.PULL_OFFSET_MOVED, 1)
        answer.remark = remark
        connection.send(answer)
        await asyncio.sleep(SETTLED)
        assert seen.bodies == [b"0", b"1", b"2", *([b"1", b"2"] if remark == "OFFSET_RESET" else [])]
    assert broker.offsets[TOPIC] == 3
