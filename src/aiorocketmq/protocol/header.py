"""Custom headers: records that turn into the string map `extFields` and back (Java: `CommandCustomHeader` and its annotations).

A subclass declares typed fields in snake case; on the wire they are camel case, or what `wire("name")` says. A field with a default may be
missing on the wire; None is left out when written. Integers are checked to fit in 64 bits, and a value that does not parse raises
`ProtocolError` naming header, field and value. Limits (see `limits`) are checked when a header is written, and by servers when one is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

from aiorocketmq.errors import ConfigError, ProtocolError
from aiorocketmq.model.parsing import number_or_none
from aiorocketmq.protocol.limits import Limit, OptionalName
from aiorocketmq.protocol.record import MISSING, Record, camel_case, fields_of, wire

__all__ = ["Header", "RpcHeader", "TopicHeader", "camel_case", "parse_int", "wire"]

_Reader = tuple[str, str, type, Any, "Limit | None"]  # attribute, wire name, type, default, limit

_readers: Final[dict[type, tuple[_Reader, ...]]] = {}


def _fields(owner: type[Header]) -> tuple[_Reader, ...]:
    known = _readers.get(owner)
    if known is None:
        found = fields_of(owner)
        for each in found:
            if each.hint not in (str, int, bool):
                raise TypeError(f"{owner.__name__}.{each.attribute} is {each.hint!r}; headers hold str, int and bool only")
        known = _readers[owner] = tuple((each.attribute, each.name, each.hint, each.default, each.limit) for each in found)
    return known


def parse_int(text: str, where: str) -> int:
    """Parse a decimal integer of at most 64 bits as Java's `Long.parseLong` does; `where` names it in the error."""
    value = number_or_none(text)
    if value is None:
        raise ProtocolError(f"{where} is {text[:40]!r}, not an integer of 64 bits")
    return value


class Header(Record):
    """Base of all custom headers.

    Attributes:
        CODE: Request code that the header belongs to, or None for response headers and headers of several codes.
    """

    CODE: ClassVar[int | None] = None

    def to_ext(self) -> dict[str, str]:
        """The string map of the wire; None is left out.

        Raises:
            ConfigError: A value is outside the limits of its field.
        """
        ext: dict[str, str] = {}
        for attribute, name, kind, _, limit in _fields(type(self)):
            value = getattr(self, attribute)
            if value is None:
                continue
            if kind is bool:
                ext[name] = "true" if value else "false"
                continue
            if limit is not None and (problem := limit.problem(value)) is not None:
                raise ConfigError(f"{type(self).__name__}.{attribute} {problem}")
            ext[name] = str(int(value)) if kind is int else value
        return ext

    @classmethod
    def from_ext(cls, ext: Mapping[str, str], *, limited: bool = False) -> Self:
        """Read the string map of the wire; unknown names are ignored.

        Args:
            ext: The map.
            limited: Check the limits of the fields, too: for what is asked, not for what is answered.

        Raises:
            ProtocolError: A required field is missing, or a value does not parse.
            ConfigError: A value is outside the limits of its field.
        """
        header = cls.__new__(cls)
        for attribute, name, kind, default, limit in _fields(cls):
            text = ext.get(name)
            value: Any
            if text is None:
                if default is MISSING:
                    raise ProtocolError(f"{cls.__name__}: the field {name!r} is missing")
                value = default
            else:
                if kind is str:
                    value = text
                elif kind is bool:
                    value = text.lower() == "true"
                else:
                    value = parse_int(text, f"{cls.__name__}: the field {name!r}")
                if limited and limit is not None and (problem := limit.problem(value)) is not None:
                    raise ConfigError(f"the field {name!r} {problem}")
            setattr(header, attribute, value)
        return header


class RpcHeader(Header, kw_only=True):
    """Base of request headers that also carry the common routing fields.

    Attributes:
        bname: Broker name that is meant; needed for static topics.
        ns: Namespace (version 2) of the client.
        nsd: True when the resource names already hold the namespace.
        oway: Reserved.
    """

    bname: OptionalName | None = None
    ns: OptionalName | None = None
    nsd: bool | None = None
    oway: bool | None = None


class TopicHeader(RpcHeader, kw_only=True):
    """Base of request headers about one topic.

    Attributes:
        lo: False when the queue id is a physical one (static topics).
    """

    lo: bool | None = None
