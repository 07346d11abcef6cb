"""What crosses between the Java client and ours, and how the two sides write the same thing down."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiorocketmq as rmq
from tests.support.line_program import LineProgram
from tests.support.waiting import eventually

MIB = 1024 * 1024

# All byte values, compressible: 4 MiB - 1 must still be under the broker's limit with its properties.
_RAMP = bytes(range(256)) * 4


def body_of(size: int) -> bytes:
    """A body of a given size."""
    return (_RAMP * (size // len(_RAMP) + 1))[:size]


@dataclass(frozen=True)
class Letter:
    """A message without anything that only one of the clients knows."""

    body: bytes
    tag: str | None = None
    keys: tuple[str, ...] = ()
    flag: int = 0
    properties: dict[str, str] = field(default_factory=dict)

    def as_message(self, topic: str) -> rmq.Message:
        """For our producer."""
        return rmq.Message(topic, self.body, tag=self.tag, keys=self.keys, flag=self.flag, properties=self.properties)

    def as_request(self, topic: str) -> dict[str, Any]:
        """For the Java producer."""
        request: dict[str, Any] = {
            "topic": topic,
            "body": base64.b64encode(self.body).decode(),
            "flag": self.flag,
            "properties": self.properties,
        }
        if self.tag is not None:
            request["tag"] = self.tag
        if self.keys:
            request["keys"] = list(self.keys)
        return request

    def kept_of(self, properties: dict[str, str]) -> dict[str, str]:
        """Of the properties of a received message, those that this letter had."""
        return {name: properties[name] for name in self.properties if name in properties}


LETTERS = (
    *(Letter(body_of(size)) for size in (1, 4095, 4096, 4097, MIB, 4 * MIB - 1)),
    Letter(
        bytes(range(256)),
        tag="TagÄ",
        keys=("key-1", "ключ"),
        flag=-7,
        properties={"größe": "übergroß ☃", "🚀": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🎈", "two words": "a b"},
    ),
    Letter("ein Text – ひらがな".encode(), tag="TagB", properties={"long": "x" * 10_000}),
)


def letter_of_java(told: dict[str, Any], sent: Letter) -> Letter:
    """What the Java consumer received, as far as `sent` says something."""
    keys = tuple(told["keys"].split(" ")) if told.get("keys") else ()
    return Letter(base64.b64decode(told["body"]), told.get("tag"), keys, told["flag"], sent.kept_of(told["properties"]))


def letter_of_python(message: rmq.ReceivedMessage, sent: Letter) -> Letter:
    """What our consumer received, as far as `sent` says something."""
    return Letter(message.body, message.tag, message.keys, message.flag, sent.kept_of(message.properties))


async def collect_from_java(
    peer: LineProgram, consumer: str, enough: Callable[[list[dict[str, Any]]], bool], timeout: float
) -> list[dict[str, Any]]:
    """Take what a Java consumer has received until it is enough."""
    taken: list[dict[str, Any]] = []

    async def poll() -> bool:
        taken.extend((await peer.call("received", id=consumer))["messages"])
        return enough(taken)

    await eventually(poll, timeout, interval=0.05, message=f"enough messages at the Java consumer {consumer}")
    return taken
