"""`Producer.recall()` against scripted brokers: what it asks, and what it refuses before it asks."""

from __future__ import annotations

from typing import Any

import pytest

from aiorocketmq.errors import (
    BrokerError,
    BrokerNotFoundError,
    ClientStateError,
    ConfigError,
    InvalidNameError,
    NoPermissionError,
    NotSupportedByBrokerError,
)
from aiorocketmq.model.recall import RecallHandle
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import RecallMessageRequestHeader
from tests.support.virtual_loop import virtual_time
from tests.unit.producer.world import TOPIC, SendWorld

pytestmark = pytest.mark.feature("A19")

HANDLE = RecallHandle(TOPIC, "broker-a", 1_700_000_000_001, "ID").encode()


def as_version(world: SendWorld, version: int) -> None:
    """Let the broker say that it has this version."""
    peer = world.broker().peer
    before = peer._handlers[RequestCode.HEART_BEAT]

    def answer(request: RemotingCommand, connection: Any) -> Any:
        told = before(request, connection)
        told.version = version
        return told

    peer.on(RequestCode.HEART_BEAT, answer)


@virtual_time
async def test_the_request_and_its_answer(world: SendWorld) -> None:
    (broker, other) = world.route_to("broker-a", "broker-b")
    broker.peer.on(RequestCode.RECALL_MESSAGE, lambda request, _: RemotingCommand.response(request, header={"msgId": "ID"}))
    async with world.producer() as producer:
        assert await producer.recall(TOPIC, HANDLE) == "ID"  # without a send before
    (asked,) = broker.peer.of(RequestCode.RECALL_MESSAGE)
    header = RecallMessageRequestHeader.from_ext(asked.command.ext_fields)
    assert (header.topic, header.recall_handle, header.producer_group, header.bname) == (TOPIC, HANDLE, "producers", "broker-a")
    assert not other.peer.of(RequestCode.RECALL_MESSAGE)


@virtual_time
async def test_what_is_refused_before_anything_is_asked(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    producer = world.producer()
    with pytest.raises(ClientStateError):
        await producer.recall(TOPIC, HANDLE)
    cases: list[tuple[str, Any, type[Exception], str]] = [
        ("a b", HANDLE, InvalidNameError, "topic"),
        ("other", HANDLE, ConfigError, f"belongs to topic '{TOPIC}', not to 'other'"),
        (TOPIC, "nonsense", ConfigError, "is none"),
        (TOPIC, None, ConfigError, "is none"),
        ("%RETRY%g", HANDLE, ConfigError, "cannot be taken back"),
    ]
    async with producer:
        for topic, handle, error, words in cases:
            with pytest.raises(error, match=words):
                await producer.recall(topic, handle)
        with pytest.raises(ConfigError, match="timeout"):
            await producer.recall(TOPIC, HANDLE, timeout=-1)
        with pytest.raises(BrokerNotFoundError, match="broker-z"):
            await producer.recall(TOPIC, RecallHandle(TOPIC, "broker-z", 1, "ID").encode())
        with pytest.raises(BrokerNotFoundError, match="route of topic 'missing'"):
            await producer.recall("missing", RecallHandle("missing", "broker-z", 1, "ID").encode())
    assert not broker.peer.of(RequestCode.RECALL_MESSAGE)


@virtual_time
async def test_a_broker_that_is_too_old_is_not_asked(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    as_version(world, 476)  # V5_3_2_SNAPSHOT
    async with world.producer(topics=[TOPIC]) as producer:
        with pytest.raises(NotSupportedByBrokerError, match="'broker-a' has version V5_3_2_SNAPSHOT") as caught:
            await producer.recall(TOPIC, HANDLE)
    assert (caught.value.broker, caught.value.broker_version) == ("broker-a", "V5_3_2_SNAPSHOT") and caught.value.hint
    assert not broker.peer.of(RequestCode.RECALL_MESSAGE)


@virtual_time
async def test_what_the_broker_refuses(world: SendWorld) -> None:
    (broker,) = world.route_to("broker-a")
    cases: list[tuple[int, str, type[Exception], str]] = [
        (ResponseCode.NO_PERMISSION, "operation is forbidden", NoPermissionError, "recallMessageEnable"),
        (ResponseCode.ILLEGAL_OPERATION, "timestamp invalid", BrokerError, "delivered already"),
        (ResponseCode.SYSTEM_ERROR, "execute error", BrokerError, ""),
        (ResponseCode.REQUEST_CODE_NOT_SUPPORTED, "no", NotSupportedByBrokerError, "5.3.2"),
    ]
    async with world.producer() as producer:
        for code, remark, error, hint in cases:
            broker.peer.answer(RequestCode.RECALL_MESSAGE, code, remark)
            with pytest.raises(error) as caught:
                await producer.recall(TOPIC, HANDLE)
            assert hint in (getattr(caught.value, "hint", "") or "")
            if isinstance(caught.value, BrokerError):
                assert (caught.value.code, caught.value.remark, caught.value.topic) == (code, remark, TOPIC)
