"""What operators ask of the members of a group, through the broker: new offsets, and where they are."""

from __future__ import annotations

import pytest

from aiorocketmq.errors import ConnectionLostError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.bodies import GetConsumerStatusBody, ResetOffsetBody, SubscriptionGroupConfig
from aiorocketmq.protocol.codes import LanguageCode, RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import GetConsumerStatusRequestHeader, ResetOffsetRequestHeader
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel
from tests.unit.server.test_admin_processor import create
from tests.unit.server.test_client_processor import beat, commit, heartbeat

pytestmark = pytest.mark.feature("N3", "N4", "F37", "F39")

QUEUE = MessageQueue("t", "broker-a", 0)


async def prepared(bench: BrokerBench) -> None:
    """A topic with three messages, of which group g has consumed some; members are asked to set offsets."""
    assert (await create(bench, "t", 1)).code == 0
    for _ in range(3):
        await bench.send("t")
        bench.clock.advance(1)
    bench.state.groups.put(SubscriptionGroupConfig("g"))
    assert (await commit(bench, "g", 2)).code == 0
    changed = await bench.ask(RequestCode.UPDATE_BROKER_CONFIG, None, b"useServerSideResetOffset=false\n")
    assert changed.code == 0 and not bench.state.config.server_side_reset


async def member(bench: BrokerBench, client_id: str = "me") -> FakeChannel:
    channel = FakeChannel()
    await beat(bench, channel, heartbeat(client_id, "t"))
    channel.sent.clear()
    return channel


def reset(bench: BrokerBench, stamp: int, *, force: bool = True, group: str = "g", language: int = LanguageCode.PYTHON) -> RemotingCommand:
    header = ResetOffsetRequestHeader("t", group, stamp, force, -1, 1)
    request = RemotingCommand.request(RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, header)
    request.language = language
    answer = bench.table.handle(request, FakeChannel())  # type: ignore[arg-type]
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("stamp", "force", "offset"), [(-1, True, 3), (NOW + 1000, True, 1), (NOW + 1000, False, 1), (-1, False, 2), (0, True, 0)]
)
async def test_members_are_asked_to_set_offsets(bench: BrokerBench, stamp: int, force: bool, offset: int) -> None:
    await prepared(bench)
    channels = [await member(bench, "one"), await member(bench, "two")]
    channels[0].sent.clear()
    answer = reset(bench, stamp, force=force)
    assert (answer.code, ResetOffsetBody.decode(answer.body).offset_table) == (0, {QUEUE: offset})
    for channel in channels:
        [told] = channel.sent
        assert (told.code, told.is_oneway, told.ext_fields["topic"], told.ext_fields["group"]) == (220, True, "t", "g")
        assert ResetOffsetBody.decode(told.body).offset_table == {QUEUE: offset}
    assert bench.state.offsets.query("g", "t", 0) == 2, "a member that takes it over saves it"
    assert (await bench.pull("t", 2, group="g")).code == 0


async def test_members_get_the_list_when_the_operator_says_that_they_are_of_c(bench: BrokerBench) -> None:
    await prepared(bench)
    channel = await member(bench)
    assert ResetOffsetBody.decode(reset(bench, 0, language=LanguageCode.CPP).body).offset_table == {QUEUE: 0}
    table = {"offsetTable": [{"brokerName": "broker-a", "queueId": 0, "topic": "t", "offset": 0}]}
    assert fastjson.loads(channel.sent[0].body) == table


async def test_a_group_that_is_not_there_is_not_reset(bench: BrokerBench) -> None:
    await prepared(bench)
    offline = reset(bench, 0)
    assert offline.code == ResponseCode.CONSUMER_NOT_ONLINE and "not online" in (offline.remark or "")
    unknown = reset(bench, 0, group="stranger")
    assert unknown.code == ResponseCode.SYSTEM_ERROR and "<stranger> not exist" in (unknown.remark or "")


def ask(bench: BrokerBench, client: str | None = None) -> tuple[FakeChannel, RemotingCommand | None]:
    admin = FakeChannel()
    request = RemotingCommand.request(RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS, GetConsumerStatusRequestHeader("t", "g", client))
    return admin, bench.table.handle(request, admin)  # type: ignore[arg-type]


async def test_members_are_asked_where_they_are(bench: BrokerBench) -> None:
    await prepared(bench)
    channels = [await member(bench, name) for name in ("one", "two", "three", "four")]
    admin, answer = ask(bench)
    assert answer is None
    for number, channel in enumerate(channels):
        question, waiter = channel.sent[-1], channel.waiters[-1]
        assert (question.code, question.ext_fields["topic"], question.ext_fields["group"]) == (221, "t", "g")
        assert not admin.replies
        if number == 0:
            waiter.on_response(RemotingCommand.response(question, body=GetConsumerStatusBody({QUEUE: 5}).encode()))
        elif number == 1:
            waiter.on_response(RemotingCommand.response(question, 1, "no", body=GetConsumerStatusBody({QUEUE: 6}).encode()))
        elif number == 2:
            waiter.on_error(ConnectionLostError("gone"))
        else:
            waiter.on_response(RemotingCommand.response(question, body=b"{"))
    [told] = admin.replies
    assert GetConsumerStatusBody.decode(told.body).consumer_table == {"one": {QUEUE: 5}}


async def test_one_member_is_asked_where_it_is(bench: BrokerBench) -> None:
    await prepared(bench)
    channels = [await member(bench, name) for name in ("one", "two")]
    admin, _ = ask(bench, "two")
    assert not channels[0].waiters
    question = channels[1].sent[-1]
    channels[1].waiters[-1].on_response(RemotingCommand.response(question, body=GetConsumerStatusBody({QUEUE: 5}).encode()))
    assert GetConsumerStatusBody.decode(admin.replies[0].body).consumer_table == {"two": {QUEUE: 5}}
    admin, _ = ask(bench, "stranger")
    assert GetConsumerStatusBody.decode(admin.replies[0].body).consumer_table == {}


async def test_a_group_without_members_cannot_be_asked(bench: BrokerBench) -> None:
    _, answer = ask(bench)
    assert answer is not None and answer.code == ResponseCode.SYSTEM_ERROR and "online" in (answer.remark or "")
