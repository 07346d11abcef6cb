"""Custom headers: dataclasses that turn into the string map `extFields` and back (Java: `CommandCustomHeader` and its annotations).

A subclass declares typed fields in snake case; on the wire they are camel case, or what `wire("name")` says. A field with a default may be
missing on the wire; None is left out when written. Integers are checked to fit in 64 bits, and a value that does not parse raises
`ProtocolError` naming header, field and value.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self, Union, get_args, get_origin, get_type_hints

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.parsing import number_or_none
from aiorocketmq.protocol.record import Record

_MISSING: Final = dataclasses.MISSING


def wire(name: str, default: Any = _MISSING) -> Any:
    """Declare a field whose name on the wire is not the camel case of its Python name."""
    if default is _MISSING:
        return dataclasses.field(metadata={"wire": name})
    return dataclasses.field(default=default, metadata={"wire": name})


def camel_case(name: str) -> str:
    """`max_msg_nums` → `maxMsgNums`."""
    head, *tail = name.split("_")
    return head + "".join([word[:1].upper() + word[1:] for word in tail])


@dataclass(frozen=True, slots=True)
class _Field:
    attribute: str
    name: str
    kind: type
    required: bool


def _kind_of(owner: type, attribute: str, hint: Any) -> type:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if hint not in (str, int, bool):
        raise TypeError(f"{owner.__name__}.{attribute} is {hint!r}; headers hold str, int and bool only")
    return hint  # type: ignore[no-any-return]


_fields: Final[dict[type, tuple[_Field, ...]]] = {}


def _fields_of(owner: type[Header]) -> tuple[_Field, ...]:
    known = _fields.get(owner)
    return known if known is not None else _fields.setdefault(owner, _read_fields(owner))


def _read_fields(owner: type[Header]) -> tuple[_Field, ...]:
    hints = get_type_hints(owner)
    return tuple(
        _Field(
            field.name,
            field.metadata.get("wire") or camel_case(field.name),
            _kind_of(owner, field.name, hints[field.name]),
            field.default is _MISSING,
        )
        for field in dataclasses.fields(owner)
    )


def parse_int(text: str, where: str) -> int:
    """Parse a decimal integer of at most 64 bits as Java's `Long.parseLong` does; `where` names it in the error."""
    value = number_or_none(text)
    if value is None:
        raise ProtocolError(f"{where} is {text[:40]!r}, not an integer of 64 bits")
    return value


@dataclass(slots=True, repr=False, eq=False)
class Header(Record):
    """Base of all custom headers.

    Attributes:
        CODE: Request code that the header belongs to, or None for response headers and headers of several codes.
    """

    CODE: ClassVar[int | None] = None

    def to_ext(self) -> dict[str, str]:
        """The string map of the wire; None is left out."""
        ext: dict[str, str] = {}
        for field in _fields_of(type(self)):
            value = getattr(self, field.attribute)
            if value is None:
                continue
            if field.kind is bool:
                ext[field.name] = "true" if value else "false"
            else:
                ext[field.name] = str(int(value)) if field.kind is int else value
        return ext

    @classmethod
    def from_ext(cls, ext: Mapping[str, str]) -> Self:
        """Read the string map of the wire; unknown names are ignored.

        Raises:
            ProtocolError: A required field is missing, or a value does not parse.
        """
        values: dict[str, Any] = {}
        for field in _fields_of(cls):
            text = ext.get(field.name)
            if text is None:
                if field.required:
                    raise ProtocolError(f"{cls.__name__}: the field {field.name!r} is missing")
            elif field.kind is str:
                values[field.attribute] = text
            elif field.kind is bool:
                values[field.attribute] = text.lower() == "true"
            else:
                values[field.attribute] = parse_int(text, f"{cls.__name__}: the field {field.name!r}")
        return cls(**values)


@dataclass(slots=True, kw_only=True, repr=False, eq=False)
class RpcHeader(Header):
    """Base of request headers that also carry the common routing fields.

    Attributes:
        bname: Broker name that is meant; needed for static topics.
        ns: Namespace (version 2) of the client.
        nsd: True when the resource names already hold the namespace.
        oway: Reserved.
    """

    bname: str | None = None
    ns: str | None = None
    nsd: bool | None = None
    oway: bool | None = None


@dataclass(slots=True, kw_only=True, repr=False, eq=False)
class TopicHeader(RpcHeader):
    """Base of request headers about one topic.

    Attributes:
        lo: False when the queue id is a physical one (static topics).
    """

    lo: bool | None = None
