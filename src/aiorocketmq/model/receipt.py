"""Receipts of POP messages: what acknowledges one of them (Java: `ExtraInfoUtil`). Features H1-H4, H7.

A receipt is eight words separated by blanks: start of the check point, pop time, invisible time, revive queue, kind of topic, broker,
queue, offset. Proxies append a ninth, which means nothing to a broker.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

from aiorocketmq.errors import ConfigError
from aiorocketmq.model import names
from aiorocketmq.model.parsing import number_or_none

ORDERED: Final = 999
"""Revive queue of messages that were taken in order: they have no check point."""
NORMAL: Final = "0"
RETRY_V1: Final = "1"
RETRY_V2: Final = "2"
_WORDS: Final = 8
_NUMBERS: Final = (0, 1, 2, 3, 6, 7)


class Receipt(NamedTuple):
    """What a receipt says.

    Attributes:
        start_offset: Where the check point starts that the message belongs to.
        pop_time: When it was taken, in milliseconds since the epoch, by the broker's clock.
        invisible_time: For how many milliseconds others do not get it.
        revive_queue: Queue of the broker's own that brings it back; `ORDERED` for messages taken in order.
        kind: `NORMAL`, `RETRY_V1` or `RETRY_V2`: the topic that it was taken from.
        broker_name: The broker that has it.
        queue_id: Its queue there.
        offset: Its offset in the queue.
    """

    start_offset: int
    pop_time: int
    invisible_time: int
    revive_queue: int
    kind: str
    broker_name: str
    queue_id: int
    offset: int

    def encode(self) -> str:
        """The receipt as it goes over the wire."""
        return " ".join([str(word) for word in self])

    @classmethod
    def decode(cls, text: object) -> Self:
        """Read a receipt.

        Raises:
            ConfigError: It is none.
        """
        words = text.split(" ") if isinstance(text, str) else []
        numbers = [number_or_none(words[index]) for index in _NUMBERS] if len(words) >= _WORDS else [None]
        if None in numbers or words[4] not in (NORMAL, RETRY_V1, RETRY_V2):
            shown = repr(text) if len(repr(text)) <= 100 else f"{repr(text)[:100]}..."
            raise ConfigError(f"the receipt {shown} is none", hint="take the one of the message that was received")
        start, pop_time, invisible_time, revive_queue, queue_id, offset = (number or 0 for number in numbers)
        return cls(start, pop_time, invisible_time, revive_queue, words[4], words[5], queue_id, offset)

    @property
    def ordered(self) -> bool:
        """Whether the message was taken in order."""
        return self.revive_queue == ORDERED

    @property
    def invisible_until(self) -> int:
        """From when on others may get the message, in milliseconds since the epoch, by the broker's clock."""
        return self.pop_time + self.invisible_time

    def changed(self, pop_time: int, invisible_time: int, revive_queue: int) -> Self:
        """The receipt after the invisible time was changed: the message has a check point of its own then."""
        return self._replace(start_offset=self.offset, pop_time=pop_time, invisible_time=invisible_time, revive_queue=revive_queue)

    def topic_of(self, topic: str, group: str) -> str:
        """The topic that the message was taken from, when `topic` was asked for."""
        return real_topic(self.kind, topic, group)


def real_topic(kind: str, topic: str, group: str) -> str:
    """The topic that a kind means: the one asked for, or the group's retry topic for it.

    Raises:
        ConfigError: The kind is unknown.
    """
    if kind == NORMAL:
        return topic
    if kind in (RETRY_V1, RETRY_V2):
        return names.pop_retry_topic(group, topic, v2=kind == RETRY_V2)
    raise ConfigError(f"the kind of topic {kind[:20]!r} is unknown", hint="use 0, or 1 or 2 for a retry topic")


def kind_of(topic: str) -> str:
    """What receipts call a topic."""
    if not topic.startswith(names.RETRY_PREFIX):
        return NORMAL
    return RETRY_V2 if "+" in topic else RETRY_V1
