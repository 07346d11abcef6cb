from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ProtocolError
from aiorocketmq.protocol.compression import ZLIB_FLAGS, compress, decompress, inflater
from aiorocketmq.protocol.sysflag import MessageSysFlag


@pytest.mark.feature("A10", "A12")
@given(st.binary(max_size=5000), st.integers(0, 9))
def test_round_trip(body: bytes, level: int) -> None:
    assert decompress(compress(body, level), ZLIB_FLAGS, 5000) == body


@pytest.mark.feature("A12")
def test_old_clients_name_no_kind() -> None:
    assert ZLIB_FLAGS == 0x301
    assert decompress(compress(b"x"), MessageSysFlag.COMPRESSED, 10) == b"x"


def test_what_is_not_compressed_comes_back_as_it_is() -> None:
    body = b"x" * 10
    assert decompress(body, MessageSysFlag.COMPRESSION_ZLIB, 1) is body


def test_limit_is_exact() -> None:
    body = compress(b"x" * 1000)
    assert len(decompress(body, ZLIB_FLAGS, 1000)) == 1000
    with pytest.raises(ProtocolError, match="more than 999 bytes"):
        decompress(body, ZLIB_FLAGS, 999)


def test_a_bomb_costs_no_memory() -> None:
    bomb = compress(bytes(48 * 1024 * 1024), 1)
    tracemalloc.start()
    with pytest.raises(ProtocolError, match="more than 1048576 bytes"):
        decompress(bomb, ZLIB_FLAGS, 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("body", [b"", b"nonsense", compress(b"hello" * 100)[:-8], compress(b"hello" * 100)[:10]])
def test_damaged(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="damaged"):
        decompress(body, ZLIB_FLAGS, 10_000)


def test_wrong_checksum() -> None:
    data = bytearray(compress(b"hello" * 100))
    data[-1] ^= 1
    with pytest.raises(ProtocolError, match="damaged"):
        decompress(bytes(data), ZLIB_FLAGS, 10_000)


@pytest.mark.parametrize(("bits", "name"), [(0x100, "LZ4"), (0x200, "ZSTD"), (0x400, "kind 4"), (0x700, "kind 7")])
def test_other_kinds_are_named(bits: int, name: str) -> None:
    with pytest.raises(ProtocolError, match=name) as caught:
        decompress(zlib.compress(b"x"), MessageSysFlag.COMPRESSED | bits, 100)
    assert caught.value.hint


def test_inflater_is_shared_per_limit() -> None:
    assert inflater(77) is inflater(77)
    with pytest.raises(ProtocolError, match="more than 77"):
        inflater(77)(compress(b"x" * 78), ZLIB_FLAGS)
