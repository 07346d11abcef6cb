"""A connection that asks by raw frames and keeps what the server asks meanwhile: no code of the client under test."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

V5_5_0 = 513
"""The version that requests claim, unless they say otherwise."""


@dataclass(slots=True)
class Frame:
    """A request or an answer as it came: the header as JSON, and the body."""

    header: dict[str, Any]
    body: bytes

    @property
    def is_answer(self) -> bool:
        return bool(self.header["flag"] & 1)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        code: Request code.
        fields: Its header; values that are None are left out.
        body: Its body.
        version: What the peer claims to be.
        oneway: No answer is expected.
    """

    code: int
    fields: Mapping[str, object] = field(default_factory=dict)
    body: bytes = b""
    version: int = V5_5_0
    oneway: bool = False

    def encode(self, opaque: int) -> bytes:
        """The frame."""
        texts = {name: _text(value) for name, value in self.fields.items() if value is not None}
        header = {
            "code": self.code, "language": "JAVA", "version": self.version, "opaque": opaque, "flag": 2 if self.oneway else 0,
            "serializeTypeCurrentRPC": "JSON", "extFields": texts,
        }  # fmt: skip
        encoded = json.dumps(header, ensure_ascii=False).encode()
        return struct.pack(">ii", 4 + len(encoded) + len(self.body), len(encoded)) + encoded + self.body


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Line:
    """One connection; blocking, for one thread."""

    def __init__(self, address: str, *, timeout: float = 30.0) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._timeout = timeout
        self._received = bytearray()
        self._answers: dict[int, Frame] = {}
        self._opaque = 0
        self.address = "{}:{}".format(*self._socket.getsockname()[:2])
        self.asked: list[Frame] = []
        """What the server asked, in the order in which it came."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, ask: Ask) -> Frame | None:
        """Send a request and wait for its answer; None for a one-way request."""
        number = self.send(ask)
        return None if ask.oneway else self.answer(number)

    def send(self, ask: Ask) -> int:
        """Send a request; answers its number."""
        self._opaque += 1
        self._socket.sendall(ask.encode(self._opaque))
        return self._opaque

    def answer(self, number: int) -> Frame:
        """Wait for the answer to a request."""
        while number not in self._answers:
            self._read(self._timeout)
        return self._answers.pop(number)

    def answered(self, number: int) -> bool:
        """Whether the answer is there; looks at what came, and waits for nothing."""
        self.listen(0.0)
        return number in self._answers

    def listen(self, seconds: float) -> None:
        """Take in what comes within a time."""
        until = time.monotonic() + seconds
        while True:
            try:
                self._read(max(0.0001, until - time.monotonic()))
            except (TimeoutError, BlockingIOError):
                return

    def _read(self, timeout: float) -> None:
        self._socket.settimeout(timeout)
        chunk = self._socket.recv(1 << 20)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self._received += chunk
        while len(self._received) >= 4:
            (length,) = struct.unpack_from(">i", self._received)
            if len(self._received) < 4 + length:
                return
            self._take(bytes(self._received[4 : 4 + length]))
            del self._received[: 4 + length]

    def _take(self, frame: bytes) -> None:
        header_length = struct.unpack_from(">I", frame)[0] & 0xFFFFFF
        taken = Frame(json.loads(frame[4 : 4 + header_length]), frame[4 + header_length :])
        if taken.is_answer:
            self._answers[taken.header["opaque"]] = taken
        else:
            self.asked.append(taken)
