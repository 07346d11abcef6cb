"""Members of a group with different subscriptions are found."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.consumer.group_check import differences
from aiorocketmq.model.filters import SQL, SubscriptionData, build_subscription
from aiorocketmq.protocol.bodies import Connection, ConsumerConnection
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.unit.consumer.test_pulling import Seen
from tests.unit.consumer.world import RETRY, TOPIC, ScriptedBroker, consuming, virtual_time
from tests.wire.world import CLIENT_ID


def subscriptions(**topics: str | SQL) -> list[SubscriptionData]:
    return [build_subscription(topic, expression, 1) for topic, expression in topics.items()]


def test_differences_are_named_by_topic() -> None:
    ours = subscriptions(same="A || B", filtered="A", typed="x", ours="*")
    theirs = {each.topic: each for each in subscriptions(same="A || B", filtered="B", typed=SQL("x"), theirs="*")}
    found = differences(ours, theirs)
    assert set(found) == {"filtered", "typed", "ours", "theirs"}
    assert found["filtered"] == "the filter of topic filtered is 'A' here, 'B' at another member"


@virtual_time
async def test_other_subscription_of_another_member_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    broker, seen = ScriptedBroker(), Seen()
    members = [CLIENT_ID]
    table = {each.topic: each for each in (build_subscription(TOPIC, "TagB", 2), build_subscription(RETRY, "*", 2))}

    def connections(request: RemotingCommand, _: object) -> RemotingCommand:
        body = ConsumerConnection([Connection(client_id=each) for each in members], dict(table))
        return RemotingCommand.response(request, body=body.encode())

    broker.peer.on(RequestCode.GET_CONSUMER_CONNECTION_LIST, connections)
    async with consuming(broker, seen, expression="TagA") as runtime:
        await asyncio.sleep(31)
        assert runtime.group_check.conflicts == {}, "alone in the group: the broker is only behind"
        members.append("10.0.0.7@other")
        await asyncio.sleep(61)
        assert set(runtime.group_check.conflicts) == {TOPIC}
        table[TOPIC] = build_subscription(TOPIC, "TagA", 3)
        await asyncio.sleep(21)
        assert runtime.group_check.conflicts == {}, "over when the members agree again"
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    text = errors[0].getMessage()
    for part in ("'TagA'", "'TagB'", TOPIC, "10.0.0.7@other", CLIENT_ID):
        assert part in text


@virtual_time
async def test_broker_that_cannot_tell_is_no_problem() -> None:
    broker, seen = ScriptedBroker(), Seen()
    broker.peer.answer(RequestCode.GET_CONSUMER_CONNECTION_LIST, body=b"not json")
    async with consuming(broker, seen) as runtime:
        await asyncio.sleep(31)
        assert runtime.group_check.conflicts == {}
