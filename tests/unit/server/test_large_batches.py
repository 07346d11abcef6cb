"""Batches of very many small messages: stored together or not at all, and others do not wait for them."""

from __future__ import annotations

import threading

from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import SendMessageRequestHeader
from aiorocketmq.protocol.message_codec import BatchItem, decode_message
from tests.support.records import encode_batch
from tests.support.waiting import eventually
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, settle

COUNT = 20_000


def batch(bodies: list[bytes]) -> bytes:
    return encode_batch([BatchItem(0, body, b"") for body in bodies])


def header(topic: str = "t") -> dict[str, str]:
    made = SendMessageRequestHeader("p", topic, "TBW102", 1, 0, 0, NOW, 0, "", reconsume_times=0)
    return made.to_v2().to_ext()


async def test_a_large_batch_is_stored_in_order_between_other_messages(bench: BrokerBench) -> None:
    await bench.send("t", b"before")
    answer = await bench.ask(RequestCode.SEND_BATCH_MESSAGE, header(), batch([b"%d" % number for number in range(COUNT)]))
    assert (answer.code, answer.ext_fields["queueOffset"]) == (0, "1")
    assert len(set(answer.ext_fields["msgId"].split(","))) == COUNT
    await bench.send("t", b"after")
    queue = bench.state.store.queue("t", 0)
    assert queue is not None and (queue.min_offset, queue.next_offset) == (0, COUNT + 2)
    bodies = [decode_message(row.record, broker_name="", max_body=0).stored_body for row in bench.state.store.read(queue, 0, COUNT + 2)]
    assert bodies == [b"before", *(b"%d" % number for number in range(COUNT)), b"after"]
    assert queue.first_recent_offset == COUNT + 1, "the batch does not drive everything else out of memory one by one"
    for number in range(30):
        await bench.send("t", b"%d" % number)
    assert [row.record is not None for row in bench.state.store.read(queue, queue.next_offset - 5, 5)] == [True] * 5


async def test_a_damaged_batch_is_refused(bench: BrokerBench) -> None:
    answer = await bench.ask(RequestCode.SEND_BATCH_MESSAGE, header(), batch([b"x"] * COUNT)[:-1])
    assert answer.code == ResponseCode.MESSAGE_ILLEGAL
    assert bench.state.store.queue("t", 0) is None


async def test_the_loop_goes_on_meanwhile(bench: BrokerBench) -> None:
    gate = threading.Event()
    bench.state.store.workers.submit(gate.wait)  # the batch is made on this thread, not before the gate opens
    channel = FakeChannel()
    try:
        assert bench.handle(RemotingCommand.request(RequestCode.SEND_BATCH_MESSAGE, header(), batch([b"x"] * COUNT)), channel) is None
        assert (await bench.send("other", b"x")).code == 0
        assert channel.replies == [], "a send that came later was answered earlier"
    finally:
        gate.set()
    await eventually(lambda: channel.replies)
    assert channel.replies[0].code == 0


async def test_a_topic_that_goes_meanwhile(bench: BrokerBench) -> None:
    await bench.send("t", b"x")
    channel = FakeChannel()
    bench.handle(RemotingCommand.request(RequestCode.SEND_BATCH_MESSAGE, header(), batch([b"x"] * COUNT)), channel)
    bench.state.topics.delete("t")
    await settle(8)
    await eventually(lambda: channel.replies)
    await settle()
    assert channel.replies[0].code == 0 and "t" in bench.state.topics
    assert bench.state.store.bounds("t", 0) == (0, COUNT)
