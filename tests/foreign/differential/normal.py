"""What is the same on two servers is made the same: addresses, offsets of the log, ids that a server made, and times get a name each.

Names are given in the order of appearance, so that two servers that answer alike name alike. Nothing is left out of an answer: where one
server tells a time, the other must, too, and an offset of the log has to be the one of the same message.
"""

from __future__ import annotations

import re
import time
from typing import Any

_ID = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-F]{24})?[0-9A-F]{32}(?![0-9A-Fa-f])")
_LINK = re.compile(r"[,.]? ?\n?See https\S+ for further details\.")
_ADDRESS = re.compile(r"127\.0\.0\.1:\d{2,5}")
_TIME = re.compile(r"(?<!\d)\d{13}(?!\d)")
_A_DAY = 24 * 3600 * 1000
_OFFSETS = frozenset({"physicalOffset", "preparedOffset", "commitLogOffset", "tranStateTableOffset"})
_ENDS = frozenset({"indexLastUpdatePhyoffset"})
"""Offsets of the log that other sequences move, too."""
_VERSIONS = frozenset({"dataVersion"})
_RATES = frozenset({"topicPutTps", "consumeTps", "delayTime"})
"""Figures of now: numbers that no two servers share."""


class Normal:
    """The names of one sequence on one server; mutable.

    Args:
        broker: Address of the server that offset ids name.
        own: Ids and texts that the commands made themselves: they stay.
    """

    def __init__(self, broker: str) -> None:
        self._broker = broker
        host, _, port = broker.rpartition(":")
        self._id_prefix = "".join(f"{int(part):02X}" for part in host.split(".")) + f"{int(port):08X}"
        self._names: dict[tuple[str, object], str] = {}
        self._counts: dict[str, int] = {}
        self._own: set[str] = set()

    def call(self, kind: str, value: object) -> str:
        """The name of a value, given at its first appearance."""
        name = self._names.get((kind, value))
        if name is None:
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
            name = self._names[kind, value] = f"<{kind} {count}>"
        return name

    def keep(self, text: str) -> str:
        """An id that the commands made: it stays as it is."""
        self._own.add(text)
        return text

    def text(self, text: str) -> str:
        """A text with everything in it by name."""
        text = _ID.sub(self._id, _LINK.sub("", text))
        text = text.replace(self._broker, "<broker>")
        text = _ADDRESS.sub(lambda match: self.call("address", match[0]), text)
        return _TIME.sub(lambda match: self._time(int(match[0])) or match[0], text)

    def value(self, value: Any, name: str = "") -> Any:
        """A parsed value with everything in it by name."""
        if name in _VERSIONS:
            return "<version>" if value is not None else None
        if isinstance(value, dict):
            return {self._key(key): self.value(each, str(key)) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each, name) for each in value]
        if name in _RATES and isinstance(value, int | float) and value >= 0:
            return "<figure>"
        if name in _ENDS:
            return "<end>" if str(value).isdigit() and int(value) > 0 else value
        if name in _OFFSETS and str(value).isdigit() and (int(value) > 0 or name == "physicalOffset"):
            return self.call("place", int(value))
        if isinstance(value, bool):
            return value
        if isinstance(value, int):
            return self._time(value) or value
        return self.text(value) if isinstance(value, str) else value

    def _key(self, key: Any) -> Any:
        return self.text(key) if isinstance(key, str) else str(key)

    def _time(self, value: int) -> str:
        now = time.time() * 1000
        return "<time>" if now - _A_DAY < value < now + 40 * _A_DAY else ""

    def _id(self, match: re.Match[str]) -> str:
        text = match[0]
        if text in self._own:
            return text
        if text.startswith(self._id_prefix):
            return f"<id of {self.call('place', int(text[16:], 16))}>"
        return self.call("id", text)
