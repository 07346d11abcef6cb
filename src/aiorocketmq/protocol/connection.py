"""Reading frames out of received bytes, without input or output (Java: `NettyDecoder`).

The way in: a chunk that holds whole frames is sliced directly; what is left of it waits for the next chunk. The first 8 bytes of a frame
are checked as soon as they are there, so no length that a peer claims is ever allocated or waited for beyond the limit.
"""

from __future__ import annotations

import struct
from typing import Final

from aiorocketmq.errors import ProtocolError, WrongProtocolError
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header_codec import MIN_BINARY_HEADER, MIN_JSON_HEADER, decode_header, decode_json

DEFAULT_MAX_FRAME: Final = 16 * 1024 * 1024

_PREFIX: Final = struct.Struct(">iI")
_HEADER_LENGTH: Final = 0xFFFFFF
# Headers that are accepted; the largest of sane peers hold properties of 32 KiB, and one of 16 MiB takes seconds and a gigabyte to parse.
_MAX_HEADER: Final = 1024 * 1024
_PREFIX_LENGTH: Final = 8
_SMALL_CHUNK: Final = 4096

_GUESSES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"HTTP", "HTTP"),
    (b"GET ", "HTTP"),
    (b"POST", "HTTP"),
    (b"PUT ", "HTTP"),
    (b"HEAD", "HTTP"),
    (b"DELE", "HTTP"),
    (b"OPTI", "HTTP"),
    (b"CONN", "HTTP"),
    (b"PATC", "HTTP"),
    (b"PRI ", "HTTP/2 or gRPC"),
    (b"SSH-", "SSH"),
    (b"PROX", "the PROXY protocol"),
    (b"\r\n\r\n", "the PROXY protocol"),
    (b"-ERR", "Redis"),
    (b"AMQP", "AMQP"),
)


def guess_protocol(start: bytes) -> str | None:
    """Name the protocol that a peer seems to speak, from its first bytes, or None."""
    for prefix, name in _GUESSES:
        if start.startswith(prefix):
            return name
    if len(start) >= 3 and start[0] in (0x14, 0x15, 0x16) and start[1] == 3 and start[2] <= 4:
        return "TLS"
    # A HTTP/2 server opens with a SETTINGS frame, or with GOAWAY, on stream 0: 24 bits of length, type 4 or 7, flags, stream id.
    if len(start) >= 8 and start[:2] == b"\0\0" and start[3] in (4, 7) and start[4] <= 1 and start[5:8] == b"\0\0\0":
        return "HTTP/2 or gRPC"
    return None


_HINTS: Final = {
    "TLS": "the peer wants TLS: set tls=True on the client, or connect without TLS to a plain port",
    "HTTP/2 or gRPC": "this looks like a RocketMQ proxy's gRPC port: use the remoting port of the name server, the broker or the proxy",
}
_DEFAULT_HINT: Final = "check that host and port are those of a RocketMQ name server, broker or proxy (remoting port)"


class FrameReceiver:
    """Turns received chunks into commands. Each connection has its own; after an error it is of no use any more.

    Args:
        max_frame: Limit of a frame in bytes, its own length field not counted.

    Attributes:
        pending: Bytes of an unfinished frame that wait for the rest.
        salvaged: After `feed` has raised: the commands of the same call that came before the bad frame.
    """

    __slots__ = ("_first", "_need", "_pieces", "max_frame", "pending", "salvaged")

    def __init__(self, max_frame: int = DEFAULT_MAX_FRAME) -> None:
        self.max_frame = max_frame
        self.salvaged: list[RemotingCommand] = []
        self._pieces: list[bytes | bytearray | memoryview] = []
        self.pending = 0
        self._need = _PREFIX_LENGTH
        self._first = True

    def feed(self, data: bytes) -> list[RemotingCommand]:
        """Take a chunk and return the commands that it completes, in order; an empty list when none is whole yet.

        Raises:
            WrongProtocolError: The very first bytes are those of another protocol.
            ProtocolError: A frame is not legal. The connection must be closed: nothing says where the next frame would begin.
        """
        total: int
        mark: int
        if not self.pending and len(data) >= _PREFIX_LENGTH:
            total, mark = _PREFIX.unpack_from(data)
            if total + 4 == len(data) and MIN_JSON_HEADER <= mark <= total - 4 and mark <= _MAX_HEADER and total <= self.max_frame:
                # The usual case: the chunk is one frame with a JSON header.
                command = decode_json(data[_PREFIX_LENGTH : _PREFIX_LENGTH + mark], data[_PREFIX_LENGTH + mark :])
                self._first = False
                return [command]
        return self._feed(data)

    def _feed(self, data: bytes) -> list[RemotingCommand]:
        commands: list[RemotingCommand] = []
        position = 0
        total: int
        mark: int
        try:
            if self.pending:
                position = self._resume(data, commands)
                if position < 0:
                    return commands
            end = len(data)
            while end - position >= _PREFIX_LENGTH:
                total, mark = _PREFIX.unpack_from(data, position)
                is_json = MIN_JSON_HEADER <= mark <= total - 4 and mark <= _MAX_HEADER and total <= self.max_frame
                if not is_json:
                    self._check(total, mark, data, position)
                stop = position + 4 + total
                if stop > end:
                    self._need = total + 4
                    break
                header_start = position + _PREFIX_LENGTH
                body_start = header_start + (mark & _HEADER_LENGTH)
                if is_json:
                    commands.append(decode_json(data[header_start:body_start], data[body_start:stop]))
                else:
                    commands.append(decode_header(mark >> 24, data[header_start:body_start], data[body_start:stop]))
                position = stop
        except ProtocolError:
            self.salvaged = commands
            raise
        if commands:
            self._first = False
        if position < end:
            # A view: the body is copied once out of the chunk, when the frame is whole.
            self._keep(memoryview(data)[position:] if position else data)
        return commands

    def eof(self) -> None:
        """Say that the peer closed.

        Raises:
            WrongProtocolError: The few bytes that came are those of another protocol.
            ProtocolError: The peer closed in the middle of a frame.
        """
        if not self.pending:
            return
        start = b"".join(self._pieces)[:16]
        guess = guess_protocol(start) if self._first else None
        if guess:
            raise _wrong_protocol(guess, start)
        raise ProtocolError(f"the connection was closed in the middle of a frame: {self.pending} of {self._need} bytes had come")

    def _check(self, total: int, mark: int, data: bytes, position: int) -> None:
        """Raise unless the first 8 bytes of a frame, which are at `position`, are legal."""
        kind, header_length = mark >> 24, mark & _HEADER_LENGTH
        least = MIN_BINARY_HEADER if kind else MIN_JSON_HEADER
        if least <= header_length <= total - 4 and header_length <= _MAX_HEADER and total <= self.max_frame and kind <= 1:
            return
        start = data[position : position + 16]
        guess = guess_protocol(start) if self._first and not position else None
        if guess:
            raise _wrong_protocol(guess, start)
        if total < 4 or total > self.max_frame:
            raise ProtocolError(f"a frame claims a length of {total} bytes; legal are 4 to {self.max_frame}", hint=_DEFAULT_HINT)
        if kind > 1:
            raise ProtocolError(f"a frame claims header encoding {kind}; legal are 0 (JSON) and 1 (ROCKETMQ)", hint=_DEFAULT_HINT)
        if _MAX_HEADER < header_length <= total - 4:
            raise ProtocolError(f"a frame claims a header of {header_length} bytes; at most {_MAX_HEADER} are accepted", hint=_DEFAULT_HINT)
        raise ProtocolError(f"a frame of {total} bytes claims a header of {header_length} bytes", hint=_DEFAULT_HINT)

    def _keep(self, data: bytes | memoryview) -> None:
        pieces = self._pieces
        self.pending += len(data)
        # Tiny chunks are gathered in one growing buffer: a list entry for every received byte would take 40 times the frame's size.
        if len(data) < _SMALL_CHUNK:
            if pieces and type(pieces[-1]) is bytearray:
                pieces[-1] += data
            else:
                pieces.append(bytearray(data))
        else:
            pieces.append(data)

    def _resume(self, data: bytes, commands: list[RemotingCommand]) -> int:
        """Go on with the unfinished frame; return where in `data` the next one begins, or -1 when it is still unfinished."""
        position = 0
        if self.pending < _PREFIX_LENGTH:
            position = min(_PREFIX_LENGTH - self.pending, len(data))
            self._keep(data[:position])
            if self.pending < _PREFIX_LENGTH:
                return -1
            start = b"".join((*self._pieces, data[position : position + 8]))
            total, mark = _PREFIX.unpack_from(start)
            self._check(total, mark, start, 0)
            self._need = total + 4
        stop = position + self._need - self.pending
        if stop > len(data):
            self._keep(memoryview(data)[position:] if position else data)
            return -1
        if stop > position:
            self._pieces.append(memoryview(data)[position:stop])
        commands.append(self._assemble())
        self._pieces = []
        self.pending = 0
        self._need = _PREFIX_LENGTH
        return stop

    def _assemble(self) -> RemotingCommand:
        pieces = self._pieces
        head = bytes(pieces[0]) if len(pieces[0]) < _SMALL_CHUNK else pieces[0]
        if len(head) >= _PREFIX_LENGTH:
            _, mark = _PREFIX.unpack_from(head)
            body_start = _PREFIX_LENGTH + (mark & _HEADER_LENGTH)
            if body_start <= len(head):
                # The usual case for a large body: the header is in the first piece, and the body is joined, that is copied, only once.
                body = b"".join((memoryview(head)[body_start:], *pieces[1:]))
                return decode_header(mark >> 24, bytes(head[_PREFIX_LENGTH:body_start]), body)
        frame = b"".join(pieces)
        _, mark = _PREFIX.unpack_from(frame)
        body_start = _PREFIX_LENGTH + (mark & _HEADER_LENGTH)
        return decode_header(mark >> 24, frame[_PREFIX_LENGTH:body_start], frame[body_start:])


def _wrong_protocol(guess: str, start: bytes) -> WrongProtocolError:
    return WrongProtocolError(
        f"the peer does not speak the RocketMQ remoting protocol but, it seems, {guess} (first bytes {start[:8].hex(' ')})",
        hint=_HINTS.get(guess, _DEFAULT_HINT),
    )
