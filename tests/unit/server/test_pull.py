"""Pulls (protocol.md 6.4) and long polling (6.5)."""

from __future__ import annotations

import asyncio
import gc

import pytest

from aiorocketmq.model.enums import ConsumeType, MessageModel
from aiorocketmq.model.filters import build_subscription
from aiorocketmq.protocol.bodies import ConsumerData, HeartbeatData, SubscriptionGroupConfig, TopicConfig
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.message_codec import decode_messages
from aiorocketmq.server.broker.reading import SCAN_WINDOW, _parsed
from tests.unit.server.harness import BrokerBench, FakeChannel, MakeBench, pull_header, settle


async def fill(bench: BrokerBench, count: int, tag: str = "", size: int = 10) -> None:
    for number in range(count):
        await bench.send("t", b"%d" % number + bytes(size), properties=f"TAGS\x01{tag}\x02" if tag else "")


def found(answer: RemotingCommand) -> list[int]:
    return [message.queue_offset for message in decode_messages(answer.body, broker_name="", max_body=0)]


@pytest.mark.parametrize(
    ("offset", "code", "following"),
    [
        (0, ResponseCode.SUCCESS, 3),
        (2, ResponseCode.SUCCESS, 3),
        (3, ResponseCode.PULL_NOT_FOUND, 3),
        (4, ResponseCode.PULL_OFFSET_MOVED, 3),
        (-1, ResponseCode.PULL_OFFSET_MOVED, 0),
    ],
)
async def test_offsets(bench: BrokerBench, offset: int, code: int, following: int) -> None:
    await fill(bench, 3)
    answer = await bench.pull("t", offset)
    assert (answer.code, answer.ext_fields["nextBeginOffset"]) == (code, str(following))
    assert (answer.ext_fields["minOffset"], answer.ext_fields["maxOffset"], answer.ext_fields["suggestWhichBrokerId"]) == ("0", "3", "0")
    if code == 0:
        assert found(answer) == list(range(offset, 3))


@pytest.mark.parametrize(("offset", "code"), [(0, ResponseCode.PULL_NOT_FOUND), (5, ResponseCode.PULL_OFFSET_MOVED)])
async def test_empty_queues(bench: BrokerBench, offset: int, code: int) -> None:
    bench.state.topics.put(TopicConfig("t", 4, 4))
    answer = await bench.pull("t", offset)
    assert (answer.code, answer.ext_fields["nextBeginOffset"]) == (code, "0")


async def test_a_pull_commits_an_offset_only_when_it_says_so(bench: BrokerBench) -> None:
    await fill(bench, 3)
    await bench.pull("t", 0, commit=2)
    await settle()
    assert bench.state.offsets.query("readers", "t", 0) == 2
    await bench.pull("t", 2)
    await settle()
    assert bench.state.offsets.query("readers", "t", 0) == 2, "the number that it carries without the bit means nothing"


async def test_how_much_one_pull_gets(bench: BrokerBench) -> None:
    await fill(bench, 40)
    assert found(await bench.pull("t", 0, count=5)) == list(range(5))
    assert found(await bench.pull("t", 0, count=1000)) == list(range(32))
    await fill(bench, 3, size=200_000)
    answer = await bench.pull("t", 40)
    assert (found(answer), answer.ext_fields["nextBeginOffset"]) == ([40], "41"), "256 KiB, but at least one message"


async def test_tags(bench: BrokerBench) -> None:
    for tag in ("A", "B", "", "C", "A"):
        await fill(bench, 1, tag)
    assert found(await bench.pull("t", 0, tags="A || C")) == [0, 3, 4]
    nothing = await bench.pull("t", 0, tags="Z")
    assert (nothing.code, nothing.ext_fields["nextBeginOffset"]) == (ResponseCode.PULL_RETRY_IMMEDIATELY, "5")
    assert found(await bench.pull("t", 0, tags="*")) == [0, 1, 2, 3, 4]


async def test_a_selective_filter_moves_on_window_by_window(make_bench: MakeBench) -> None:
    bench = make_bench(recent_bytes=20_000)  # most of it is read from the database
    await fill(bench, SCAN_WINDOW + 10, "A")
    await fill(bench, 1, "B")
    first = await bench.pull("t", 0, tags="B")
    assert (first.code, first.ext_fields["nextBeginOffset"]) == (ResponseCode.PULL_RETRY_IMMEDIATELY, str(SCAN_WINDOW))
    assert found(await bench.pull("t", SCAN_WINDOW, tags="B")) == [SCAN_WINDOW + 10]


@pytest.mark.feature("F18")
async def test_sql_filters(bench: BrokerBench) -> None:
    for price in ("5", "50", "", "x", "500"):
        await bench.send("t", b"m", properties=f"price\x01{price}\x02TAGS\x01A\x02")
    assert found(await bench.pull("t", kind="SQL92", tags="price > 10")) == [1, 4]
    assert found(await bench.pull("t", kind="SQL92", tags="price IS NULL AND TAGS = 'A'")) == [2]
    assert found(await bench.pull("t", kind="SQL92", tags="NOT (price = 5)")) == [1, 4]
    nothing = await bench.pull("t", kind="SQL92", tags="price > 1000")
    assert (nothing.code, nothing.ext_fields["nextBeginOffset"]) == (ResponseCode.PULL_RETRY_IMMEDIATELY, "5")


@pytest.mark.feature("F19")
async def test_the_flag_of_filter_classes_means_nothing(bench: BrokerBench) -> None:
    await fill(bench, 1)
    assert (await bench.pull("t", class_filter=True)).code == 0


async def test_checks_in_order(bench: BrokerBench) -> None:
    await fill(bench, 1)
    assert (await bench.pull("missing")).code == ResponseCode.TOPIC_NOT_EXIST
    assert (await bench.pull("t", queue_id=4)).code == ResponseCode.INVALID_PARAMETER
    for kind, expression in (("SQL92", "a > "), ("SQL92", ""), ("XPATH", "a")):
        assert (await bench.pull("t", kind=kind, tags=expression)).code == ResponseCode.SUBSCRIPTION_PARSE_FAILED
    assert (await bench.pull("t", tags="||")).code == ResponseCode.SUBSCRIPTION_PARSE_FAILED
    assert (await bench.pull("t", inline=False)).code == ResponseCode.SUBSCRIPTION_NOT_EXIST
    bench.state.topics.put(TopicConfig("t", 4, 4, 2))
    refused = await bench.pull("t")
    assert (refused.code, refused.ext_fields["forbiddenType"]) == (ResponseCode.NO_PERMISSION, "3")
    bench.state.groups.put(SubscriptionGroupConfig("readers", consume_enable=False))
    refused = await bench.pull("t")
    assert (refused.code, refused.ext_fields["forbiddenType"]) == (ResponseCode.NO_PERMISSION, "2")
    bench.state.perm = 2
    refused = await bench.pull("t")
    assert (refused.code, refused.ext_fields["forbiddenType"]) == (ResponseCode.NO_PERMISSION, "1")


async def test_unknown_groups_when_they_are_not_made(make_bench: MakeBench) -> None:
    bench = make_bench(auto_create_groups=False)
    await fill(bench, 1)
    assert (await bench.pull("t")).code == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST


async def test_subscriptions_of_heartbeats(bench: BrokerBench) -> None:
    await fill(bench, 2, "A")
    await fill(bench, 1, "B")
    data = ConsumerData(
        "readers", ConsumeType.CONSUME_PASSIVELY, MessageModel.BROADCASTING, subscription_data_set=[build_subscription("t", "B", 5)]
    )
    bench.state.clients.register_consumer(data, FakeChannel(), "c", 3, 479)  # type: ignore[arg-type]
    assert found(await bench.pull("t", inline=False, version=5)) == [2]
    assert (await bench.pull("t", inline=False, version=6)).code == ResponseCode.SUBSCRIPTION_NOT_LATEST
    assert (await bench.pull("BenchmarkTest", inline=False)).code == ResponseCode.SUBSCRIPTION_NOT_EXIST
    bench.state.groups.put(SubscriptionGroupConfig("readers", consume_broadcast_enable=False))
    refused = await bench.pull("t", inline=False)
    assert (refused.code, refused.ext_fields["forbiddenType"]) == (ResponseCode.NO_PERMISSION, "4")


async def test_a_pull_may_commit(bench: BrokerBench) -> None:
    await fill(bench, 3)
    await bench.pull("t", 2, commit=2)
    await settle()
    assert bench.state.offsets.query("readers", "t", 0) == 2
    assert bench.state.offsets.pulled("readers", "t", 0) == 3


async def test_a_reset_is_told_once(bench: BrokerBench) -> None:
    await fill(bench, 3)
    bench.state.offsets.reset("readers", "t", 0, 1)
    assert not bench.state.offsets.commit("readers", "t", 0, 3), "an old commit must not undo the reset"
    moved = await bench.pull("t", 3)
    assert (moved.code, moved.ext_fields["nextBeginOffset"]) == (ResponseCode.PULL_OFFSET_MOVED, "1")
    assert found(await bench.pull("t", 1)) == [1, 2]
    assert bench.state.offsets.commit("readers", "t", 0, 3)


# -- long polling -----------------------------------------------------------------------------------------------------


async def parked(bench: BrokerBench, **fields: object) -> FakeChannel:
    await fill(bench, 1)
    channel = FakeChannel()
    bench.state.monotonic = asyncio.get_running_loop().time
    bench.park(pull_header("t", 1, suspend=15_000, **fields), channel)  # type: ignore[arg-type]
    return channel


async def test_a_message_wakes_a_waiting_pull(bench: BrokerBench) -> None:
    channel = await parked(bench)
    assert len(bench.state.polling) == 1
    await bench.send("t", b"other queue", queue_id=1)
    assert channel.replies == []
    await bench.send("t", b"this queue")
    assert [found(answer) for answer in channel.replies] == [[1]]
    assert len(bench.state.polling) == 0
    await bench.send("t")
    assert len(channel.replies) == 1


async def test_only_matching_tags_wake_it(bench: BrokerBench) -> None:
    channel = await parked(bench, tags="A")
    await fill(bench, 3, "B")
    assert channel.replies == []
    await fill(bench, 1, "A")
    assert [found(answer) for answer in channel.replies] == [[4]]


@pytest.mark.feature("F18", "F13")
async def test_only_messages_that_the_filter_lets_through_wake_a_pull(bench: BrokerBench) -> None:
    channel = await parked(bench, kind="SQL92", tags="price > 10")
    await bench.send("t", b"cheap", properties="price\x015\x02")
    assert channel.replies == [] and len(bench.state.polling) == 1
    await bench.send("t", b"dear", properties="price\x0150\x02")
    assert [found(answer) for answer in channel.replies] == [[2]]


async def test_a_new_filter_ends_the_wait_of_pulls_and_decides_what_they_get(bench: BrokerBench) -> None:
    member = FakeChannel()

    async def subscribe(tags: str, version: int) -> None:
        subscription = build_subscription("t", tags, version)
        consumer = ConsumerData("readers", ConsumeType.CONSUME_PASSIVELY, MessageModel.CLUSTERING, subscription_data_set=[subscription])
        await bench.ask(RequestCode.HEART_BEAT, None, HeartbeatData("c", [], [consumer]).encode(), channel=member)

    await subscribe("A", 5)
    waiting = await parked(bench, inline=False, version=5)
    await fill(bench, 1, "B")
    await subscribe("A", 6)
    assert waiting.replies == []
    await subscribe("B", 7)
    assert [found(answer) for answer in waiting.replies] == [[1]]


async def test_the_deadline_ends_it(bench: BrokerBench) -> None:
    await fill(bench, 1)
    channel = FakeChannel()
    bench.state.monotonic = asyncio.get_running_loop().time
    bench.park(pull_header("t", 1, suspend=30), channel)
    answer = await channel.answer()
    assert (answer.code, answer.ext_fields["nextBeginOffset"]) == (ResponseCode.PULL_NOT_FOUND, "1")


async def test_a_closed_connection_is_not_answered(bench: BrokerBench) -> None:
    channel = await parked(bench)
    channel.closed = True
    await bench.send("t")
    assert channel.replies == [] and len(bench.state.polling) == 0


async def test_one_arrival_wakes_all_and_an_answer_that_fails_harms_none(bench: BrokerBench) -> None:
    first, second = await parked(bench), FakeChannel()
    bench.park(pull_header("t", 1, suspend=15_000, group="others"), second)
    bench.state.topics._stored._table.pop("t")
    bench.state.polling.wake("t")
    assert len(first.replies) == len(second.replies) == 1


async def test_many_short_waits_do_not_pile_up(bench: BrokerBench) -> None:
    await fill(bench, 1)
    bench.state.monotonic = asyncio.get_running_loop().time
    channel = FakeChannel()
    for number in range(1, 501):
        bench.park(pull_header("t", number, suspend=15_000), channel)
        await bench.send("t")
    await settle()
    assert len(channel.replies) == 500
    assert len(bench.state.polling._deadlines) < 100


async def test_long_subscriptions_are_not_kept(bench: BrokerBench) -> None:
    await bench.send("t")
    _parsed.cache_clear()
    long = " || ".join(f"tag{number}" for number in range(1000))
    assert (await bench.pull("t", tags=long)).code == ResponseCode.PULL_RETRY_IMMEDIATELY
    assert _parsed.cache_info().currsize == 0
    assert (await bench.pull("t", tags="a || b")).code == ResponseCode.PULL_RETRY_IMMEDIATELY
    assert _parsed.cache_info().currsize == 1


async def test_a_pull_with_a_slow_filter_ends_where_it_is(bench: BrokerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(bench, 40)
    assert (await bench.pull("t", tags="a = 1", kind="SQL92")).ext_fields["nextBeginOffset"] == "40"
    monkeypatch.setattr("aiorocketmq.server.broker.reading._FILTER_TIME", 0.0)
    answer = await bench.pull("t", tags="a = 1", kind="SQL92")
    assert (answer.code, answer.ext_fields["nextBeginOffset"]) == (ResponseCode.PULL_RETRY_IMMEDIATELY, "16")
    answer = await bench.pull("t", 32, tags="a = 1", kind="SQL92")
    assert answer.ext_fields["nextBeginOffset"] == "40"


async def test_a_filter_that_takes_too_long_to_read_is_refused(bench: BrokerBench) -> None:
    await fill(bench, 1)
    long = " OR ".join(f"a = {number}" for number in range(2000))
    answer = await bench.pull("t", tags=long, kind="SQL92")
    assert answer.code == ResponseCode.SUBSCRIPTION_PARSE_FAILED
    assert f"has {len(long)} characters, this server takes 16384 at most" in (answer.remark or "")


@pytest.mark.feature("F18", "F13")
async def test_filters_of_waiting_pulls_take_a_bounded_part_of_memory(bench: BrokerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiorocketmq.server.broker.reading._MUCH_TO_FILTER", 200_000)
    await fill(bench, 1)
    bench.state.monotonic = asyncio.get_running_loop().time
    long = " OR ".join(f"price = {number}" for number in range(100, 200))

    def waits(expression: str, offset: int = 1) -> bool:
        header = pull_header("t", offset, suspend=15_000, kind="SQL92", tags=expression)
        return bench.handle(RemotingCommand.request(RequestCode.PULL_MESSAGE, header), FakeChannel()) is None

    assert all(waits(long) for _ in range(100)), "those of one consumer share a filter"
    assert [waits(f"{long} OR a = {number}") for number in range(200)].count(True) in range(130, 150)
    assert waits("price > 10"), "those of usual length wait all the same"
    await bench.send("t", properties="price\x01150\x02")
    for _ in range(100):
        await settle()
    assert len(bench.state.polling) == 0
    gc.collect()  # channels and their sessions know each other
    assert waits(f"{long} OR a = 199", 2), "little is left of them"
