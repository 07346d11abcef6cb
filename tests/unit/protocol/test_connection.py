from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.errors import ProtocolError, WrongProtocolError
from aiorocketmq.model.enums import SerializeType
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver, guess_protocol
from aiorocketmq.protocol.frame import encode

bodies = st.binary(max_size=200) | st.integers(4000, 9000).map(lambda size: bytes(range(256)) * (size // 256) + b"x" * (size % 256))
commands = st.lists(
    st.builds(
        RemotingCommand,
        code=st.integers(0, 400),
        opaque=st.integers(0, 2**31 - 1),
        ext_fields=st.dictionaries(st.sampled_from("abcdef"), st.text("xyz中", min_size=1), max_size=3),
        body=bodies,
        serialize_type=st.sampled_from(SerializeType),
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.feature("O1")
@given(commands, st.data())
def test_any_split_gives_the_same_commands(sent: list[RemotingCommand], data: st.DataObject) -> None:
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    receiver = FrameReceiver()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += receiver.feed(stream[start:end])
    assert got == sent
    assert all(type(command.body) is bytes for command in got)
    assert receiver.pending == 0
    receiver.eof()


def test_one_byte_at_a_time() -> None:
    sent = [RemotingCommand(i, opaque=i, body=b"b" * i) for i in range(3)]
    receiver = FrameReceiver()
    got = [command for byte in b"".join(map(encode, sent)) for command in receiver.feed(bytes((byte,)))]
    assert got == sent


def test_empty_chunk() -> None:
    receiver = FrameReceiver()
    assert receiver.feed(b"") == []
    receiver.feed(encode(RemotingCommand(1))[:5])
    assert receiver.feed(b"") == []
    assert receiver.pending == 5


@pytest.mark.feature("O13")
@pytest.mark.parametrize("split", [1, 3, 7, 8, 64])
@pytest.mark.parametrize(
    ("start", "text"),
    [
        (struct.pack(">iI", 16 * 1024 * 1024 + 1, 10), "length of 16777217"),
        (struct.pack(">iI", 2**31 - 1, 10), "length of 2147483647"),
        (struct.pack(">iI", -1, 10), "length of -1"),
        (struct.pack(">iI", 3, 10), "length of 3 bytes"),
        (struct.pack(">iI", 0, 0), "length of 0 bytes"),
        (struct.pack(">iI", 100, 97), "claims a header of 97"),
        (struct.pack(">iI", 100, 1), "claims a header of 1 "),
        (struct.pack(">iI", 100, 1 << 24 | 20), "claims a header of 20"),
        (struct.pack(">iI", 2 << 20, (1 << 20) + 1), "claims a header of 1048577 bytes; at most 1048576"),
        (struct.pack(">iI", 2 << 20, 1 << 24 | (1 << 20) + 1), "claims a header of 1048577 bytes; at most 1048576"),
        (struct.pack(">iI", 100, 2 << 24 | 50), "header encoding 2"),
        (struct.pack(">iI", 100, 0xFF000032), "header encoding 255"),
    ],
)
def test_bad_lengths_are_refused_from_the_first_8_bytes(start: bytes, text: str, split: int) -> None:
    receiver = FrameReceiver()
    receiver.feed(encode(RemotingCommand(1)))
    with pytest.raises(ProtocolError, match=text) as caught:
        for index in range(0, 8, split):
            receiver.feed(start[index : index + split])
    assert type(caught.value) is ProtocolError


@pytest.mark.feature("O13")
def test_largest_frame_and_one_more() -> None:
    frame = encode(RemotingCommand(1, body=b"x" * 1000))
    assert FrameReceiver(max_frame=len(frame) - 4).feed(frame)
    with pytest.raises(ProtocolError, match="legal are 4 to"):
        FrameReceiver(max_frame=len(frame) - 5).feed(frame)


def test_good_commands_before_a_bad_frame_are_salvaged() -> None:
    good = RemotingCommand(1, opaque=4)
    receiver = FrameReceiver()
    with pytest.raises(ProtocolError):
        receiver.feed(encode(good) + b"\xff" * 8)
    assert receiver.salvaged == [good]


def test_a_bad_header_is_refused() -> None:
    with pytest.raises(ProtocolError, match="does not parse"):
        FrameReceiver().feed(struct.pack(">iI", 9, 5) + b"{nope")


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"POST /x HTTP/1.1\r\n", "HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "TLS"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 or gRPC"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80", "HTTP/2 or gRPC"),
        (b"\x00\x00\x00\x04\x01\x00\x00\x00\x00", "HTTP/2 or gRPC"),
        (b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00", "HTTP/2 or gRPC"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (b"-ERR unknown command\r\n", "Redis"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_other_protocols_are_named(start: bytes, name: str, whole: bool) -> None:
    receiver = FrameReceiver()
    with pytest.raises(WrongProtocolError, match=name) as caught:
        for piece in [start] if whole else [bytes((byte,)) for byte in start]:
            receiver.feed(piece)
        receiver.eof()
    assert caught.value.hint


def test_tls_is_named_even_when_only_an_alert_comes() -> None:
    receiver = FrameReceiver()
    assert receiver.feed(b"\x15\x03\x01\x00\x02") == []
    with pytest.raises(WrongProtocolError, match="TLS"):
        receiver.eof()


def test_a_guess_is_made_only_at_the_start() -> None:
    receiver = FrameReceiver()
    with pytest.raises(ProtocolError) as caught:
        receiver.feed(encode(RemotingCommand(1)) + b"HTTP/1.1 400 Bad Request\r\n")
    assert not isinstance(caught.value, WrongProtocolError)


def test_eof_inside_a_frame() -> None:
    receiver = FrameReceiver()
    receiver.feed(encode(RemotingCommand(1, body=b"x" * 100))[:50])
    with pytest.raises(ProtocolError, match=r"50 of \d+ bytes"):
        receiver.eof()


def test_no_guess_for_our_own_frames() -> None:
    assert guess_protocol(encode(RemotingCommand(1))) is None
    assert guess_protocol(b"") is None


@given(st.binary(max_size=60))
def test_any_bytes_give_commands_or_a_protocol_error(data: bytes) -> None:
    receiver = FrameReceiver()
    try:
        receiver.feed(data)
        receiver.eof()
    except ProtocolError:
        return


@pytest.mark.feature("O13")
def test_a_claimed_length_is_not_allocated() -> None:
    receivers = [FrameReceiver() for _ in range(50)]
    tracemalloc.start()
    for receiver in receivers:
        receiver.feed(struct.pack(">iI", 16 * 1024 * 1024, 100))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 1_000_000


def test_memory_of_tiny_chunks_stays_near_the_frame() -> None:
    frame = encode(RemotingCommand(1, body=b"x" * 60_000))
    receiver = FrameReceiver()
    tracemalloc.start()
    for index in range(0, len(frame) - 2, 2):
        receiver.feed(frame[index : index + 2])
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 3 * len(frame)
    rest = frame[-(len(frame) - receiver.pending) :]
    assert receiver.feed(rest)[0].body == b"x" * 60_000
