"""Records: how headers and bodies are declared, and the one place that reads their declarations (no Java twin; there it is reflection).

A record is a class with typed fields and slots, much like a dataclass, and for type checkers it is one. But there are over a hundred of
them, and a program meets a dozen: so nothing is compiled when a class is made, and its type hints are read when the first one of its
kind is encoded, decoded or checked. Limits of a field stand beside it, see `limits`.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Annotated, Any, Final, Self, Union, dataclass_transform, get_args, get_origin, get_type_hints

from aiorocketmq.protocol.limits import Limit

MISSING: Final = object()
"""Stands for a default that is not there."""


class Field:
    """One field of a record, as it is declared.

    Attributes:
        attribute: Name in Python.
        name: Name on the wire.
        default: What it is when nothing is given, `MISSING` when something must be.
        factory: Makes the default instead, or None.
        kw_only: True when it can only be given by name.
        hint: Its type, without None and without limits; `MISSING` until `fields_of` was asked.
        limit: What values are allowed, or None.
    """

    __slots__ = ("attribute", "default", "factory", "hint", "kw_only", "limit", "name")

    def __init__(self, attribute: str, name: str, default: Any, factory: Callable[[], Any] | None, kw_only: bool) -> None:
        self.attribute = attribute
        self.name = name
        self.default = default
        self.factory = factory
        self.kw_only = kw_only
        self.hint: Any = MISSING
        self.limit: Limit | None = None

    @property
    def required(self) -> bool:
        return self.default is MISSING and self.factory is None


class _Declared:
    """What `field()` and `wire()` leave in the body of a class."""

    __slots__ = ("default", "factory", "name")

    def __init__(self, name: str | None, default: Any, factory: Callable[[], Any] | None) -> None:
        self.name = name
        self.default = default
        self.factory = factory


def field(*, default_factory: Callable[[], Any]) -> Any:
    """Declare a field whose default is made anew for every record."""
    return _Declared(None, MISSING, default_factory)


def wire(name: str, *, default: Any = MISSING, default_factory: Callable[[], Any] | None = None) -> Any:
    """Declare a field whose name on the wire is not the camel case of its Python name."""
    return _Declared(name, default, default_factory)


def camel_case(name: str) -> str:
    """`max_msg_nums` → `maxMsgNums`."""
    head, *tail = name.split("_")
    return head + "".join([word[:1].upper() + word[1:] for word in tail])


@dataclass_transform(eq_default=True, field_specifiers=(field, wire))
class RecordType(type):
    """Makes the classes of records: slots and an order of the fields, and no code.

    The keyword `kw_only` of a class says that its own fields can only be given by name.
    """

    fields: tuple[Field, ...]
    positional: tuple[str, ...]
    resolved: bool

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, kw_only: bool = False) -> RecordType:
        inherited = [known for base in bases if isinstance(base, RecordType) for known in base.fields]
        own = []
        for attribute, hint in namespace.get("__annotations__", {}).items():
            if "ClassVar" in str(hint):
                continue
            default = namespace.pop(attribute, MISSING)
            factory, wire_name = None, None
            if type(default) is _Declared:
                default, factory, wire_name = default.default, default.factory, default.name
            own.append(Field(attribute, wire_name or camel_case(attribute), default, factory, kw_only))
        namespace.setdefault("__slots__", tuple(each.attribute for each in own))
        made = super().__new__(cls, name, bases, namespace)
        made.fields = (*inherited, *own)
        made.positional = tuple(each.attribute for each in made.fields if not each.kw_only)
        made.resolved = False
        return made

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, kw_only: bool = False) -> None:
        super().__init__(name, bases, namespace)


def fields_of(owner: type[Record]) -> tuple[Field, ...]:
    """The fields of a record class in the order of their declaration, inherited ones first, with hints and limits."""
    if not owner.resolved:
        hints = get_type_hints(owner, include_extras=True)
        for each in owner.fields:
            if each.hint is MISSING:  # an inherited field may be known already
                each.hint, each.limit = split_hint(hints[each.attribute])
        owner.resolved = True
    return owner.fields


def split_hint(hint: Any) -> tuple[Any, Limit | None]:
    """A type hint without None and without limits, and its limit."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Annotated:
        plain, *extras = get_args(hint)
        return plain, next(extra for extra in extras if isinstance(extra, Limit))
    return hint, None


class Record(metaclass=RecordType):
    """Base of all headers and bodies. Mutable, compared by its fields, not hashable."""

    __slots__ = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        owner = type(self)
        if len(args) > len(owner.positional):
            raise TypeError(f"{owner.__name__} takes {len(owner.positional)} values by position, {len(args)} were given")
        given = dict(zip(owner.positional, args, strict=False))
        for name, value in kwargs.items():
            if name in given:
                raise TypeError(f"{owner.__name__} got two values for {name!r}")
            given[name] = value
        for each in owner.fields:
            name = each.attribute
            if name in given:
                value = given.pop(name)
            elif each.factory is not None:
                value = each.factory()
            elif each.default is not MISSING:
                value = each.default
            else:
                raise TypeError(f"{owner.__name__} needs a value for {name!r}")
            setattr(self, name, value)
        if given:
            raise TypeError(f"{owner.__name__} has no field {next(iter(given))!r}")

    def replace(self, **changes: Any) -> Self:
        """A copy with other values in some fields."""
        return type(self)(**(self._values() | changes))

    def _values(self) -> dict[str, Any]:
        return {each.attribute: getattr(self, each.attribute) for each in type(self).fields}

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values().items())})"
