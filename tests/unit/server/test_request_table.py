"""The layer in front of handlers: permissions, counts, who asks, and what an error answers."""

from __future__ import annotations

from typing import Any

import pytest

from aiorocketmq.errors import broker_error
from aiorocketmq.protocol.bodies import HeartbeatData, ProducerData
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.header import RpcHeader
from aiorocketmq.protocol.headers_client import GetMinOffsetRequestHeader
from aiorocketmq.server.dispatch import Action, Count, Need, Request, Resource, session_of
from tests.unit.server.harness import BrokerBench, FakeChannel, settle
from tests.unit.server.test_client_processor import heartbeat

pytestmark = pytest.mark.feature("O4")


async def test_every_need_is_asked_for_by_name(bench: BrokerBench) -> None:
    asked: list[tuple[Action, Resource, str]] = []

    def permit(request: Request[Any, Any], need: Need, name: str) -> None:
        asked.append((need.action, need.resource, name))
        if name == "secret":
            raise broker_error(ResponseCode.NO_PERMISSION, f"{request.session.client_id} may not")

    bench.table.permit = permit
    channel = FakeChannel()
    await bench.ask(RequestCode.HEART_BEAT, None, heartbeat("me", "orders", group="readers"), channel=channel)
    assert asked == [(Action.SUB, Resource.GROUP, "readers"), (Action.SUB, Resource.TOPIC, "orders")]
    await settle()
    topics = len(bench.state.topics)
    answer = await bench.ask(RequestCode.DELETE_TOPIC_IN_BROKER, {"topic": "secret"}, channel=channel)
    assert (answer.code, answer.remark) == (ResponseCode.NO_PERMISSION, "me may not")
    assert asked[-1] == (Action.DELETE, Resource.TOPIC, "secret") and len(bench.state.topics) == topics
    await bench.ask(RequestCode.GET_BROKER_CONFIG, channel=channel)
    assert asked[-1] == (Action.GET, Resource.CLUSTER, "")


def test_every_operation_says_what_it_needs(bench: BrokerBench) -> None:
    free = {code for code, row in bench.table.operations.items() if not row.needs}
    assert free == {RequestCode.UNREGISTER_CLIENT}


async def test_requests_are_counted_by_what_became_of_them(bench: BrokerBench) -> None:
    code = RequestCode.GET_TOPIC_CONFIG
    assert (await bench.ask(code, {"topic": "BenchmarkTest"})).code == 0
    assert (await bench.ask(code, {"topic": "missing"})).code == ResponseCode.TOPIC_NOT_EXIST
    assert (await bench.ask(code, {})).code == ResponseCode.SYSTEM_ERROR
    assert (await bench.ask(code, {"topic": "x\udcff"})).code == ResponseCode.INVALID_PARAMETER
    assert bench.table.counts[code] == Count(handled=2, refused=2, failed=1)


async def test_a_value_outside_its_limits_is_named(bench: BrokerBench) -> None:
    answer = await bench.ask(RequestCode.GET_MIN_OFFSET, GetMinOffsetRequestHeader("t", 0).to_ext() | {"queueId": "-1"})
    assert answer.remark == "the field 'queueId' is -1; integers from 0 to 65534 are allowed"
    answer = await bench.ask(99999)
    assert (answer.code, answer.remark) == (ResponseCode.REQUEST_CODE_NOT_SUPPORTED, " request type 99999 not supported")


async def test_a_session_knows_who_asks(bench: BrokerBench) -> None:
    channel = FakeChannel("[::1]:50001")
    await bench.ask(RequestCode.HEART_BEAT, None, heartbeat("me", "orders", group="readers"), channel=channel)
    session = session_of(channel)  # type: ignore[arg-type]
    assert (session.client_id, session.producer_groups, session.consumer_groups) == ("me", {"p"}, {"readers"})
    assert session.host == (bytes(15) + b"\1", 50001) and session.address == "[::1]:50001"
    await bench.ask(RequestCode.UNREGISTER_CLIENT, {"clientID": "me", "consumerGroup": "readers"}, channel=channel)
    assert session.consumer_groups == set()


async def test_a_connection_has_not_any_number_of_groups(bench: BrokerBench) -> None:
    channel = FakeChannel()
    codes = []
    for start in range(0, 2000, 200):
        data = HeartbeatData("me", [ProducerData(f"g{number}") for number in range(start, start + 200)])
        codes.append((await bench.ask(RequestCode.HEART_BEAT, RpcHeader(), data.encode(), channel=channel)).code)
    assert codes == [0] * 5 + [ResponseCode.INVALID_PARAMETER] * 5
    assert len(bench.state.clients.producers) == 1000
