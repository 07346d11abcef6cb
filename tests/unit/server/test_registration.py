"""How brokers make themselves known: in parts, by change, and again when a name server has forgotten them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from aiorocketmq.protocol.bodies import TopicConfig
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.server import RemotingServer
from aiorocketmq.server.broker import registration
from aiorocketmq.server.broker.broker import Broker
from aiorocketmq.server.broker.config import BrokerConfig
from aiorocketmq.server.broker.registration import _parts
from aiorocketmq.server.dispatch import RequestTable
from aiorocketmq.server.namesrv.name_server import KeyValueTable
from aiorocketmq.server.namesrv.processor import NameServerProcessor
from aiorocketmq.server.namesrv.route_info import RouteInfo
from tests.support.waiting import eventually


class Names:
    """A name server that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.server = RemotingServer()
        self.server.default_processor = self._process
        self.forget()

    def forget(self) -> None:
        self.routes = RouteInfo(lambda: 0.0)
        self._table = RequestTable(NameServerProcessor(self.routes, KeyValueTable(None)).operations())

    def _process(self, request: RemotingCommand, channel: Channel) -> RemotingCommand | None:
        self.asked.append((request.code, len(request.body)))
        return self._table.handle(request, channel)

    def sizes(self) -> list[int]:
        """Bodies of the registrations so far."""
        return [size for code, size in self.asked if code == RequestCode.REGISTER_BROKER]


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    names = Names()
    await names.server.start()
    yield names
    await names.server.stop()


def broker_of(names: Names) -> Broker:
    return Broker(BrokerConfig(name_servers=(names.server.address,), register_interval=0.1))


async def test_many_topics_are_told_in_parts_then_by_change_and_again_when_forgotten(names: Names) -> None:
    broker = broker_of(names)
    await broker.start()
    count = len(broker.state.topics)
    for number in range(2000):
        broker.state.topics.put(TopicConfig(f"topic-{number}", attributes={"a": "b" * 400}))
    await eventually(lambda: len(names.routes.topics()) == count + 2000)
    assert max(names.sizes()) < 2 * 1024 * 1024, "no request comes near the limit of a frame"
    told = len(names.sizes())
    asked = len(names.asked)
    await eventually(lambda: len(names.asked) >= asked + 3)
    assert len(names.sizes()) == told, "what is known is not told again"
    names.forget()
    await eventually(lambda: len(names.routes.topics()) == count + 2000)
    assert len(names.sizes()) - told >= 3
    route = names.routes.route("topic-1999")
    assert route is not None
    await broker.stop()
    broker.discard()
    assert names.routes.topics() == []


async def test_a_name_server_that_is_back_is_left_in_peace(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "_RETRY_AFTER", 0.05)
    broker = Broker(BrokerConfig(name_servers=(names.server.address,), register_interval=60.0))
    await broker.start()
    await names.server.stop()
    assert broker._registration is not None
    failed = broker._registration._failed
    await eventually(lambda: failed == {names.server.address})
    names.forget()
    await names.server.start()
    await eventually(lambda: names.routes.route("BenchmarkTest") is not None and not failed)
    asked = len(names.asked)
    await asyncio.sleep(0.3)
    assert len(names.asked) == asked, "it knows all, and is not asked before its time"
    await broker.stop()
    broker.discard()


def test_parts() -> None:
    small = [TopicConfig(f"t{number}") for number in range(1700)]
    parts = list(_parts(small))
    assert [len(part) for part, _ in parts] == [800, 800, 100]
    assert [last for _, last in parts] == [False, False, True]
    large = [TopicConfig(f"t{number}", attributes={"a": "x" * 500_000}) for number in range(5)]
    assert [len(part) for part, _ in _parts(large)] == [2, 2, 1]
    assert list(_parts([])) == [([], True)]
