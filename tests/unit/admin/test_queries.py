"""Queries against scripted peers: who is asked what, and which answers are no match."""

from __future__ import annotations

import pytest

from aiorocketmq.admin import AdminClient
from aiorocketmq.client import manager
from aiorocketmq.errors import BrokerNotFoundError, NoPermissionError, PartialError, QueryNotFoundError
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from tests.support.virtual_loop import virtual_time
from tests.unit.admin.test_admin import TOPIC, AdminWorld
from tests.unit.consumer.world import record
from tests.wire.world import NAME_SERVER

pytestmark = pytest.mark.feature("B23")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> AdminWorld:
    made = AdminWorld()
    monkeypatch.setattr(manager.shared, "make", made.make_instance)
    made.lead(TOPIC, "broker-a", "broker-b")
    return made


@virtual_time
async def test_what_shares_only_the_hash_of_a_key_is_left_out(world: AdminWorld) -> None:
    mixed = (
        record(TOPIC, 3, b"other key", b"KEYS\x01other\x02"),
        record("elsewhere", 4, b"other topic", b"KEYS\x01key\x02"),
        record(TOPIC, 5, b"late", b"KEYS\x01key\x02", stored_at=9),
    )
    world.brokers["broker-a"].answer(RequestCode.QUERY_MESSAGE, body=b"".join(mixed))
    world.brokers["broker-b"].answer(RequestCode.QUERY_MESSAGE, body=record(TOPIC, 1, b"early", b"KEYS\x01a key\x02", stored_at=2))
    async with AdminClient(NAME_SERVER) as admin:
        assert [message.body for message in await admin.messages.query(TOPIC, "key", since=1.5, until=2, count=7)] == [b"early", b"late"]
    (request,) = world.brokers["broker-a"].of(RequestCode.QUERY_MESSAGE)
    fields = request.command.ext_fields
    assert (fields["key"], fields["maxNum"], fields["beginTimestamp"], fields["endTimestamp"]) == ("key", "7", "1500", "2000")
    assert fields["indexType"] == "K"


@virtual_time
async def test_what_one_broker_found_is_kept_when_another_fails(world: AdminWorld) -> None:
    world.brokers["broker-a"].answer(RequestCode.QUERY_MESSAGE, body=record(TOPIC, 3, b"found", b"KEYS\x01key\x02"))
    world.brokers["broker-b"].answer(RequestCode.QUERY_MESSAGE, ResponseCode.NO_PERMISSION, "not you")
    async with AdminClient(NAME_SERVER) as admin:
        with pytest.raises(PartialError, match=r"1 of 2 servers failed: broker-b: .*not you") as caught:
            await admin.messages.query(TOPIC, "key")
        assert [message.body for message in caught.value.result] == [b"found"]
        world.brokers["broker-a"].answer(RequestCode.QUERY_MESSAGE, ResponseCode.NO_PERMISSION, "nor you")
        with pytest.raises(NoPermissionError):
            await admin.messages.query(TOPIC, "key")


@virtual_time
@pytest.mark.feature("M3")
async def test_an_id_never_leads_to_an_address_of_its_own_and_its_mark_is_not_sent(world: AdminWorld) -> None:
    for broker in world.brokers.values():
        broker.answer(RequestCode.QUERY_MESSAGE, ResponseCode.QUERY_NOT_FOUND, "none")
        broker.answer(RequestCode.VIEW_MESSAGE_BY_ID, ResponseCode.SYSTEM_ERROR, "can not find message by the offset, 5000")
    async with AdminClient(NAME_SERVER) as admin:
        for text, asked in ((OffsetMessageId("10.9.9.9", 80, 5000).encode(), 0), (OffsetMessageId("10.9.9.9", 10911, 5000).encode(), 1)):
            with pytest.raises(QueryNotFoundError, match=text):
                await admin.messages.view(TOPIC, text)
            for broker in world.brokers.values():
                assert len(broker.of(RequestCode.VIEW_MESSAGE_BY_ID)) == asked
        for broker in world.brokers.values():
            for request in broker.of(RequestCode.QUERY_MESSAGE):
                assert request.command.ext_fields["indexType"] == "U"
                assert "_UNIQUE_KEY_QUERY" not in request.command.ext_fields


@virtual_time
async def test_the_record_at_an_offset_is_taken_only_if_it_has_the_id(world: AdminWorld) -> None:
    for broker in world.brokers.values():
        broker.answer(RequestCode.QUERY_MESSAGE, ResponseCode.QUERY_NOT_FOUND, "none")
    world.brokers["broker-a"].answer(RequestCode.VIEW_MESSAGE_BY_ID, body=b"no record")
    world.brokers["broker-b"].answer(RequestCode.VIEW_MESSAGE_BY_ID, body=record(TOPIC, 5, b"body"))
    async with AdminClient(NAME_SERVER) as admin:
        assert (await admin.messages.view(TOPIC, OffsetMessageId("127.0.0.1", 10911, 5000).encode().lower())).body == b"body"
        with pytest.raises(QueryNotFoundError):
            await admin.messages.view(TOPIC, OffsetMessageId("127.0.0.2", 10911, 5000).encode())
        world.brokers["broker-b"].answer(RequestCode.VIEW_MESSAGE_BY_ID, ResponseCode.NO_PERMISSION, "not you")
        with pytest.raises(NoPermissionError):
            await admin.messages.view(TOPIC, OffsetMessageId("127.0.0.1", 10911, 5000).encode())


@virtual_time
async def test_of_a_send_that_was_tried_again_the_first_is_viewed(world: AdminWorld) -> None:
    properties = b"UNIQ_KEY\x01ABC\x02"
    world.brokers["broker-a"].answer(RequestCode.QUERY_MESSAGE, body=record(TOPIC, 3, b"again", properties, stored_at=5))
    world.brokers["broker-b"].answer(
        RequestCode.QUERY_MESSAGE,
        body=record(TOPIC, 9, b"hash", b"UNIQ_KEY\x01X\x02") + record(TOPIC, 1, b"first", properties, stored_at=4),
    )
    async with AdminClient(NAME_SERVER) as admin:
        assert (await admin.messages.view(TOPIC, "ABC")).body == b"first"
        world.lead(TOPIC)
        with pytest.raises(BrokerNotFoundError):
            await admin.messages.view(TOPIC, "ABC")
