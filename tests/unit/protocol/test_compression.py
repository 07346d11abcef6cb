from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.enums import CompressionType
from aiorocketmq.protocol import compression
from aiorocketmq.protocol.compression import LEVELS, ZLIB_FLAGS, Compressor, compress, decompress, inflater
from aiorocketmq.protocol.sysflag import MessageSysFlag
from tests.support.packages import need

KINDS = [CompressionType.LZ4, CompressionType.ZSTD]


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


@pytest.mark.parametrize(("bits", "name"), [(0x400, "kind 4"), (0x700, "kind 7")])
def test_other_kinds_are_named(bits: int, name: str) -> None:
    with pytest.raises(ProtocolError, match=name) as caught:
        decompress(zlib.compress(b"x"), MessageSysFlag.COMPRESSED | bits, 100)
    assert caught.value.hint


def test_inflater_is_shared_per_limit() -> None:
    assert inflater(77) is inflater(77)
    with pytest.raises(ProtocolError, match="more than 77"):
        inflater(77)(compress(b"x" * 78), ZLIB_FLAGS)


# -- LZ4 and ZSTD ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("A11", "A13")
@pytest.mark.parametrize("kind", CompressionType)
@pytest.mark.parametrize("body", [b"", b"x", b"hello" * 2000, bytes(range(256)) * 500])
def test_every_kind_and_level_comes_back(kind: CompressionType, body: bytes) -> None:
    need(kind)
    low, high = LEVELS[kind]
    for level in (None, low, low + 1, high):
        made = Compressor(kind, level)
        assert made.flags == 0x1 | kind.value << 8
        assert decompress(made.compress(body), made.flags, len(body)) == body


@pytest.mark.feature("A11")
@pytest.mark.parametrize("kind", CompressionType)
def test_what_would_grow_stays_as_it_is(kind: CompressionType) -> None:
    need(kind)
    made = Compressor(kind)
    assert made.pack(b"x") == (b"x", 0)
    packed, flags = made.pack(b"x" * 500)
    assert len(packed) < 100 and flags == made.flags


@pytest.mark.feature("A13")
@pytest.mark.parametrize("kind", KINDS)
def test_their_limit_is_exact_and_a_bomb_costs_no_memory(kind: CompressionType) -> None:
    need(kind)
    made = Compressor(kind)
    small, bomb = made.compress(b"x" * 1000), made.compress(bytes(64 * 1024 * 1024))
    assert len(decompress(small, made.flags, 1000)) == 1000
    with pytest.raises(ProtocolError, match="more than 999 bytes"):
        decompress(small, made.flags, 999)
    tracemalloc.start()
    with pytest.raises(ProtocolError, match=r"more than 1048576 bytes .*max_decompressed_length"):
        decompress(bomb, made.flags, 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.feature("A13")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bodies_of_theirs(kind: CompressionType) -> None:
    need(kind)
    made = Compressor(kind)
    good = made.compress(b"hello" * 100)
    for bad in (b"", b"nonsense", good[:-1], good[:9], b"\0" + good, good + b"tail of something else"):
        with pytest.raises(ProtocolError, match="damaged"):
            decompress(bad, made.flags, 10_000)


@pytest.mark.feature("A13")
@pytest.mark.parametrize("kind", KINDS)
def test_several_frames_are_one_body_within_one_limit(kind: CompressionType) -> None:
    need(kind)
    made = Compressor(kind)
    data = made.compress(b"one") + made.compress(b"two" * 100) + made.compress(b"three")
    assert decompress(data, made.flags, 308) == b"one" + b"two" * 100 + b"three"
    with pytest.raises(ProtocolError, match="more than 307 bytes"):
        decompress(data, made.flags, 307)


@pytest.mark.feature("A13")
@pytest.mark.parametrize("kind", KINDS)
def test_frames_without_end_are_no_body(kind: CompressionType) -> None:
    need(kind)
    made = Compressor(kind)
    assert decompress(made.compress(b"x") * 256, made.flags, 1000) == b"x" * 256
    with pytest.raises(ProtocolError, match="damaged: it has more than 256 frames"):
        decompress(made.compress(b"") * 257, made.flags, 1000)  # 4 MiB of them would take half a minute


@pytest.mark.feature("A13")
@pytest.mark.parametrize("kind", KINDS)
def test_a_package_that_is_missing_is_named(kind: CompressionType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_module", lambda kind: None)
    with pytest.raises(ProtocolError, match=rf"compressed with {kind.name}, whose package .*aiorocketmq\[compression\]"):
        decompress(b"x", 0x1 | kind.value << 8, 100)


@pytest.mark.feature("A11")
def test_the_blocks_of_lz4_are_independent() -> None:
    need(CompressionType.LZ4)
    packed = Compressor(CompressionType.LZ4).compress(b"x" * 100_000)
    assert packed[:4] == b"\x04\x22\x4d\x18" and packed[4] & 0x20  # else Java refuses it
