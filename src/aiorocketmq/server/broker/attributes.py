"""Attributes of topics: which there are, and how they change (Java: `AttributeParser`, `AttributeUtil`, `TopicAttributes`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiorocketmq.errors import BrokerError, broker_error
from aiorocketmq.model.parsing import INT64_MAX, number_or_none
from aiorocketmq.protocol.codes import ResponseCode

MESSAGE_TYPE: Final = "message.type"
MIXED: Final = "MIXED"


@dataclass(frozen=True, slots=True)
class _Attribute:
    """What an attribute may be.

    Attributes:
        values: Its values; empty where it is a number.
        most: The largest number; the smallest is -1.
        changeable: It may be set when the topic is there already.
        refused: Why a broker without the part that it is for does not take it; "" where it does.
    """

    values: frozenset[str] = frozenset()
    most: int = INT64_MAX
    changeable: bool = True
    refused: str = ""

    def allows(self, value: str) -> bool:
        if self.values:
            return value in self.values
        return number_or_none(value, -1, self.most) is not None


_KNOWN: Final[Mapping[str, _Attribute]] = {
    "queue.type": _Attribute(frozenset({"BatchCQ", "SimpleCQ"}), changeable=False),
    "cleanup.policy": _Attribute(frozenset({"DELETE", "COMPACTION"}), changeable=False),
    MESSAGE_TYPE: _Attribute(frozenset({"UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "PRIORITY", "LITE", MIXED})),
    "reserve.time": _Attribute(refused="reserve.time needs tiered storage, which this broker does not have"),
    "lite.topic.expiration": _Attribute(most=30 * 24 * 60),
}


def read_changes(text: str) -> dict[str, str]:
    """The changes of `+name=value,-name`, by name with its sign.

    Raises:
        BrokerError: Code 1, the text cannot be read.
    """
    changes: dict[str, str] = {}
    for change in text.split(",") if text else ():
        name, separator, rest = change.partition("=")
        sign = "+" if separator else "-"
        if sign not in name or (separator and not rest.strip("=")):
            raise _wrong(f"the attribute change {change[:60]!r} is neither +name=value nor -name")
        if name in changes:
            raise _wrong(f"the attribute {name[1:][:60]!r} is changed twice")
        changes[name] = rest.partition("=")[0]
    return changes


def changed(known: Mapping[str, str] | None, changes: Mapping[str, str]) -> dict[str, str]:
    """The attributes of a topic after some changes.

    Args:
        known: Those that it has; None for a new topic, which can only be given some.
        changes: New values and what is removed, by name with its sign.

    Raises:
        BrokerError: Code 1, one of the changes is not possible.
    """
    result = dict(known or {})
    seen: set[str] = set()
    for signed, value in changes.items():
        sign, name = signed[:1], signed[1:]
        if not name or "+" in name or "-" in name or sign not in ("+", "-") or name in seen:
            raise _wrong(f"the attribute change {signed[:60]!r} cannot be read, or comes twice: write +name=value or -name")
        seen.add(name)
        if sign == "-" and name not in result:
            raise _wrong(f"the topic has no attribute {name[:60]!r} that could be removed")
        _check(name, value if sign == "+" else None, new=known is None)
        if sign == "+":
            result[name] = value
        else:
            del result[name]
    return result


def _check(name: str, value: str | None, *, new: bool) -> None:
    attribute = _KNOWN.get(name)
    if attribute is None:
        raise _wrong(f"the attribute {name[:60]!r} is not supported: there are {', '.join(_KNOWN)}")
    if not new and not attribute.changeable:
        raise _wrong(f"the attribute {name!r} cannot be changed once the topic is there")
    if value is not None and not attribute.allows(value):
        allowed = f"one of {', '.join(sorted(attribute.values))}" if attribute.values else f"a number from -1 to {attribute.most}"
        raise _wrong(f"the attribute {name!r} is {value[:60]!r}, not {allowed}")
    if value is not None and attribute.refused:
        raise _wrong(attribute.refused)


def _wrong(text: str) -> BrokerError:
    return broker_error(ResponseCode.SYSTEM_ERROR, text)
