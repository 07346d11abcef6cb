"""Messages for later are taken back (protocol.md 6.7)."""

from __future__ import annotations

import pytest

from aiorocketmq.model.recall import RecallHandle
from aiorocketmq.protocol.bodies import TopicConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import RecallMessageRequestHeader
from tests.unit.server.harness import NOW, BrokerBench, MakeBench, settle

pytestmark = pytest.mark.feature("A19")


async def recall(bench: BrokerBench, topic: str, handle: str) -> RemotingCommand:
    return await bench.ask(RequestCode.RECALL_MESSAGE, RecallMessageRequestHeader(topic=topic, recall_handle=handle))


async def send_later(bench: BrokerBench, unique: str, seconds: int = 10, topic: str = "t") -> str:
    answer = await bench.send(topic, unique.encode(), properties=f"TIMER_DELAY_SEC\x01{seconds}\x02UNIQ_KEY\x01{unique}\x02")
    return answer.ext_fields["recallHandle"]


async def deliver(bench: BrokerBench, seconds: float) -> None:
    bench.clock.advance(seconds)
    bench.schedule.look()
    await settle()


@pytest.mark.parametrize("started", [True, False])
async def test_what_was_taken_back_is_not_delivered(bench: BrokerBench, started: bool) -> None:
    if started:
        bench.schedule.start()
    handles = [await send_later(bench, f"ID{number}") for number in range(3)]
    answer = await recall(bench, "t", handles[1])
    assert (answer.code, answer.ext_fields) == (0, {"msgId": "ID1", "MSG_REGION": "DefaultRegion"})
    assert len(bench.state.store.scheduled_between(0, NOW * 2)) == 2
    again = await recall(bench, "t", handles[1])
    assert (again.code, again.ext_fields["msgId"]) == (0, "ID1"), "as on a real broker"
    if not started:
        bench.schedule.start()  # as after a restart
    await deliver(bench, 11)
    assert await bench.bodies("t") == [b"ID0", b"ID2"]
    assert not (bench.schedule._due or bench.schedule._known)


@pytest.mark.parametrize(("after", "said"), [(10_000, 9_001), (10_400, 10_001)])
async def test_the_handle_says_when_the_timer_of_a_real_broker_would_run_out(bench: BrokerBench, after: int, said: int) -> None:
    answer = await bench.send("t", b"x", properties=f"TIMER_DELIVER_MS\x01{NOW + after}\x02UNIQ_KEY\x01ID\x02")
    assert RecallHandle.decode(answer.ext_fields["recallHandle"]) == ("t", "broker-a", NOW + said, "ID")


async def test_far_ones_too(bench: BrokerBench) -> None:
    bench.schedule.start()
    handle = await send_later(bench, "far", 3600)
    await send_later(bench, "kept", 3600)
    assert (await recall(bench, "t", handle)).code == 0
    await deliver(bench, 3601)
    assert await bench.bodies("t") == [b"kept"]


async def test_equal_ids_of_several_topics_are_told_apart(bench: BrokerBench) -> None:
    handle = await send_later(bench, "ID", topic="t")
    await send_later(bench, "ID", topic="u")
    assert (await recall(bench, "t", handle)).code == 0
    bench.schedule.start()
    await deliver(bench, 11)
    assert (await bench.bodies("t"), await bench.bodies("u")) == ([], [b"ID"])


async def test_what_cannot_be_taken_back(bench: BrokerBench) -> None:
    handle = await send_later(bench, "ID")
    right = RecallHandle.decode(handle)
    bench.state.topics.put(TopicConfig("other"))
    wrong = {
        ("t", "nonsense"): (604, "recall handle is invalid"),
        ("other", handle): (604, "topic not match"),
        ("missing", handle): (ResponseCode.TOPIC_NOT_EXIST, "not exist"),
        ("t", right._replace(broker_name="broker-b").encode()): (604, "broker service not available"),
        ("t", right._replace(deliver_ms=NOW).encode()): (604, "timestamp invalid"),
        ("t", right._replace(deliver_ms=NOW + 4 * 86_400_000).encode()): (604, "timestamp invalid"),
    }
    for (topic, given), (code, words) in wrong.items():
        answer = await recall(bench, topic, given)
        assert answer.code == code and words in (answer.remark or "") and answer.ext_fields["MSG_REGION"] == "DefaultRegion"
    bench.schedule.start()
    await deliver(bench, 11)
    assert (await recall(bench, "t", handle)).code == ResponseCode.ILLEGAL_OPERATION, "it is delivered"
    assert await bench.bodies("t") == [b"ID"]


async def test_it_can_be_switched_off_and_needs_a_writable_broker(make_bench: MakeBench) -> None:
    bench = make_bench(recall_messages=False)
    refused = await recall(bench, "t", await send_later(bench, "ID"))
    assert (refused.code, refused.remark) == (ResponseCode.NO_PERMISSION, "recall failed, operation is forbidden")
    writable = make_bench()
    handle = await send_later(writable, "ID")
    writable.state.perm = 4
    assert (await recall(writable, "t", handle)).code == ResponseCode.SERVICE_NOT_AVAILABLE


async def test_a_commit_that_fails_is_told_and_the_message_comes(bench: BrokerBench) -> None:
    bench.schedule.start()
    handle = await send_later(bench, "ID")
    bench.state.store.inject_error = "disk full"
    refused = await recall(bench, "t", handle)
    bench.state.store.inject_error = ""
    assert refused.code == ResponseCode.SERVICE_NOT_AVAILABLE
    await deliver(bench, 11)
    assert await bench.bodies("t") == [b"ID"]
