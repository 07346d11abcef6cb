from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.offset_id import OffsetMessageId
from aiorocketmq.protocol.message_id import UniqueIdGenerator, month_bounds

NOW = int(datetime(2026, 11, 22, 13, 0, 0, 5000).timestamp() * 1000)
LOOPBACK = bytes((127, 0, 0, 1))


@pytest.mark.feature("A6")
@given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 2**63 - 1))
def test_offset_id_round_trip(ip: object, port: int, offset: int) -> None:
    id_ = OffsetMessageId(str(ip), port, offset)
    text = id_.encode()
    assert len(text) in (32, 56)
    assert OffsetMessageId.decode(text) == id_
    assert OffsetMessageId.decode(text.lower()) == id_


def test_offset_id_address() -> None:
    assert OffsetMessageId("10.0.0.1", 10911, 0).address == "10.0.0.1:10911"
    assert OffsetMessageId("::1", 10911, 0).address == "[::1]:10911"


@pytest.mark.parametrize("text", ["", "7F", "Z" * 32, "7F" * 17, "7f 0000010000000000000000000000000", " " * 32, "7F0001,7F0002" * 4])
def test_bad_offset_ids(text: str) -> None:
    with pytest.raises(ProtocolError, match="not an offset message id"):
        OffsetMessageId.decode(text)


@pytest.mark.feature("A5")
def test_layout() -> None:
    generator = UniqueIdGenerator(LOOPBACK, 0x12345, 0xCAFEBABE)
    text = generator.next_id(NOW)
    elapsed = NOW - int(datetime(2026, 11, 1).timestamp() * 1000)
    assert text == "7F000001" + "2345" + "CAFEBABE" + f"{elapsed:08X}" + "0000"
    assert generator.next_id(NOW)[-4:] == "0001"
    assert len(UniqueIdGenerator(bytes(16), 1).next_id(NOW)) == 56


@pytest.mark.feature("A5")
def test_many_ids_in_a_few_milliseconds_are_unique() -> None:
    generator = UniqueIdGenerator(LOOPBACK, 1)
    ids = {generator.next_id(NOW + index // 150_000) for index in range(300_000)}
    assert len(ids) == 300_000


@pytest.mark.feature("A5")
def test_ids_made_at_once_are_those_made_one_by_one() -> None:
    together, single = (UniqueIdGenerator(LOOPBACK, 1, 7) for _ in range(2))
    sizes = [1, 32, 65_000, 600, 3, 65_536, 70_000]  # the counter wraps within a call, and more than once
    for size in sizes:
        assert together.next_ids(NOW, size) == [single.next_id(NOW) for _ in range(size)]


@pytest.mark.feature("A5")
@pytest.mark.parametrize("more", [-1, 0, 1, 2])
def test_ids_made_at_once_may_end_at_the_end_of_the_counter(more: int) -> None:
    together, single = (UniqueIdGenerator(LOOPBACK, 1, 7) for _ in range(2))
    for size in (65_530, 6 + more, 3):
        assert together.next_ids(NOW, size) == [single.next_id(NOW) for _ in range(size)]


@pytest.mark.feature("A5")
def test_ids_stay_unique_when_the_clock_goes_back() -> None:
    generator = UniqueIdGenerator(LOOPBACK, 1)
    ids = [generator.next_id(now) for _ in range(35_000) for now in (NOW, NOW - 1000)]
    assert len(set(ids)) == len(ids)


@pytest.mark.feature("A5")
def test_month_roll_over() -> None:
    start, end = month_bounds(NOW)
    assert datetime.fromtimestamp(start / 1000) == datetime(2026, 11, 1)
    assert datetime.fromtimestamp(end / 1000) == datetime(2026, 12, 1)
    assert month_bounds(end) == (end, int(datetime(2027, 1, 1).timestamp() * 1000))
    generator = UniqueIdGenerator(LOOPBACK, 1, 0)
    last = generator.next_id(end - 1)
    first = generator.next_id(end)
    assert int(last[20:28], 16) == end - 1 - start
    assert int(first[20:28], 16) == 0
    before = generator.next_id(end - 5000)  # the clock went back over the month's start
    assert before != first


def test_salt_tells_processes_apart() -> None:
    ids = {UniqueIdGenerator(LOOPBACK, 1).next_id(NOW) for _ in range(50)}
    assert len(ids) > 45


def test_bad_ip() -> None:
    with pytest.raises(ValueError, match="4 or 16 bytes, not 3"):
        UniqueIdGenerator(b"abc", 1)
