"""Records that are bodies, to JSON objects and back (Java: bean serialisation of fastjson, `RemotingSerializable`).

A bean declares typed fields in snake case; in JSON they are camel case, or what `header.wire("name")` says. A missing or null field
takes its default; a field of the wrong type raises `ProtocolError` that names its path. Unknown fields are ignored, because newer
servers add some. Supported types: str, int, float, bool, enums (by name), beans, `MessageQueue`, `SubscriptionData`, and lists, sets
and dictionaries of these; keys may be str, int or `MessageQueue`. Limits (see `limits`) are checked by `check`, which servers call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final, Self, get_args, get_origin

from aiorocketmq.errors import ConfigError, ProtocolError
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.parsing import INT64_MAX, number_or_none
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.limits import Items, Limit, Name, QueueId
from aiorocketmq.protocol.record import Field, Record, field, fields_of, split_hint, wire

__all__ = ["Bean", "check", "decode_object", "field", "from_json", "to_json", "wire"]

Reader = Callable[[Any, str], Any]

_MOST_TAGS: Final = 16 * 1024
_NAME: Final = split_hint(Name)[1]
_QUEUE_ID: Final = split_hint(QueueId)[1]


def _wrong(path: str, value: Any, wanted: str) -> ProtocolError:
    return ProtocolError(f"{path} is {str(value)[:60]!r}, not {wanted}")


def _read_str(value: Any, path: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise _wrong(path, value, "a string")


def _read_int(value: Any, path: str) -> int:
    if type(value) is int:
        return value
    if isinstance(value, str) and (number := number_or_none(value)) is not None:
        return number
    if isinstance(value, float) and abs(value) < INT64_MAX:
        return int(value)
    raise _wrong(path, value, "an integer")


def _read_float(value: Any, path: str) -> float:
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise _wrong(path, value, "a number")


def _read_bool(value: Any, path: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise _wrong(path, value, "true or false")


def _object(value: Any, path: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, value, "an object")
    return value


def _read_queue(value: Any, path: str) -> MessageQueue:
    if isinstance(value, MessageQueue):
        return value
    # An object in key position that has more or fewer fields than a queue arrives as a tuple of pairs.
    fields = dict(value) if type(value) is tuple and all(type(pair) is tuple and len(pair) == 2 for pair in value) else value
    fields = _object(fields, path)
    return MessageQueue(
        _read_str(fields.get("topic"), f"{path}.topic"),
        _read_str(fields.get("brokerName"), f"{path}.brokerName"),
        _read_int(fields.get("queueId", 0), f"{path}.queueId"),
    )


def _read_subscription(value: Any, path: str) -> SubscriptionData:
    fields = _object(value, path)
    tags = _list(fields.get("tagsSet") or [], f"{path}.tagsSet")
    codes = _list(fields.get("codeSet") or [], f"{path}.codeSet")
    if len(tags) > _MOST_TAGS or len(codes) > _MOST_TAGS:
        raise ProtocolError(f"{path} has {max(len(tags), len(codes))} tags; at most {_MOST_TAGS} are allowed")
    return SubscriptionData(
        topic=_read_str(fields.get("topic"), f"{path}.topic"),
        expression=_read_str(fields.get("subString") or "*", f"{path}.subString"),
        tags=frozenset(_read_str(tag, f"{path}.tagsSet") for tag in tags),
        codes=frozenset(_read_int(code, f"{path}.codeSet") for code in codes),
        version=_read_int(fields.get("subVersion") or 0, f"{path}.subVersion"),
        expression_type=_read_str(fields.get("expressionType") or "TAG", f"{path}.expressionType"),
    )


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(path, value, "a list")
    return value


def _read_any(value: Any, path: str) -> Any:
    """Take a part as it is, but for its depth: what is stored must be writable again."""
    level = [value]
    for _ in range(fastjson.MAX_DEPTH):
        level = [item for each in level for item in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())]
        if not level:
            return value
    raise ProtocolError(f"{path} is nested deeper than {fastjson.MAX_DEPTH} levels")


def subscription_json(data: SubscriptionData) -> dict[str, Any]:
    """The JSON object of a subscription."""
    return {
        "classFilterMode": False,
        "codeSet": sorted(data.codes),
        "expressionType": data.expression_type,
        "subString": data.expression,
        "subVersion": data.version,
        "tagsSet": sorted(data.tags),
        "topic": data.topic,
    }


_READERS: Final[dict[Any, Reader]] = {
    str: _read_str,
    int: _read_int,
    float: _read_float,
    bool: _read_bool,
    MessageQueue: _read_queue,
    SubscriptionData: _read_subscription,
    Any: _read_any,
}


def _reader(hint: Any) -> Reader:
    known = _READERS.get(hint)
    if known is None:
        known = _READERS[hint] = _make_reader(hint)
    return known


def _make_reader(hint: Any) -> Reader:
    plain, limit = split_hint(hint)
    if isinstance(limit, Items):
        return _limited(_reader(plain), limit)
    if plain is not hint:
        return _reader(plain)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (list, set, frozenset, tuple):
        item = _reader(arguments[0])
        return lambda value, path: origin([item(each, f"{path}[{index}]") for index, each in enumerate(_list(value, path))])
    if origin is dict:
        key, item = _reader(arguments[0]), _reader(arguments[1])
        return lambda value, path: {
            key(name, f"key of {path}"): item(each, f"{path}[{name!s:.60}]")
            for name, each in _object(value, path).items()
            if each is not None
        }
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_reader(hint)
    if isinstance(hint, type) and issubclass(hint, Bean):
        return lambda value, path: _read_bean(hint, _object(value, path), path)
    raise TypeError(f"{hint!r} has no JSON form")


def _limited(read: Reader, limit: Items) -> Reader:
    def read_few(value: Any, path: str) -> Any:
        if (problem := limit.problem(value)) is not None:
            raise ProtocolError(f"{path} {problem}")
        return read(value, path)

    return read_few


def _enum_reader(hint: type[Enum]) -> Reader:
    # An enum whose values are strings is named by its values on the wire, any other by its member names.
    members = {member.value if isinstance(member.value, str) else member.name: member for member in hint}

    def read(value: Any, path: str) -> Any:
        try:
            return members[value]
        except (KeyError, TypeError):
            raise _wrong(path, value, f"one of {', '.join(members)}") from None

    return read


_Entry = tuple[str, str, Reader, Any, "Callable[[], Any] | None", bool]  # attribute, name in JSON, reader, default, factory, required

_entries: Final[dict[type, tuple[_Entry, ...]]] = {}


def _reader_of(each: Field) -> Reader:
    read = _reader(each.hint)
    return _limited(read, each.limit) if isinstance(each.limit, Items) else read


def _fields(owner: type[Bean]) -> tuple[_Entry, ...]:
    known = _entries.get(owner)
    if known is None:
        known = _entries[owner] = tuple(
            (each.attribute, each.name, _reader_of(each), each.default, each.factory, each.required) for each in fields_of(owner)
        )
    return known


def _read_bean(owner: type[Bean], value: dict[Any, Any], path: str) -> Any:
    bean = owner.__new__(owner)
    for attribute, name, read, default, factory, required in _fields(owner):
        item = value.get(name)
        if item is not None:
            setattr(bean, attribute, read(item, f"{path}.{name}"))
        elif required:
            raise ProtocolError(f"{path}.{name} is missing")
        else:
            setattr(bean, attribute, default if factory is None else factory())
    return bean


def check(value: Any, path: str) -> None:
    """Check the limits of a body's fields and of everything in it.

    Raises:
        ConfigError: A value is outside the limits of its field; the text names the path.
    """
    if isinstance(value, Bean):
        for each in fields_of(type(value)):
            item = getattr(value, each.attribute)
            if item is not None:
                _check_field(each.limit, item, f"{path}.{each.name}")
    elif isinstance(value, MessageQueue):
        _check_field(_NAME, value.topic, f"{path}.topic")
        _check_field(_NAME, value.broker_name, f"{path}.brokerName")
        _check_field(_QUEUE_ID, value.queue_id, f"{path}.queueId")
    elif isinstance(value, SubscriptionData):
        _check_field(_NAME, value.topic, f"{path}.topic")
        _check_field(None, value.version, f"{path}.subVersion")
    elif isinstance(value, dict):
        for key, item in value.items():
            check(key, f"key of {path}")
            check(item, f"{path}[{key!s:.60}]")
    elif isinstance(value, list | set | frozenset | tuple):
        _check_all(value, path)
    elif type(value) is int and not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise ConfigError(f"{path} is {str(value)[:40]}, not an integer of 64 bits")


def _check_all(values: Iterable[Any], path: str) -> None:
    for index, item in enumerate(values):
        check(item, f"{path}[{index}]")


def _check_field(limit: Limit | None, value: Any, path: str) -> None:
    if limit is None or isinstance(limit, Items):
        check(value, path)
    elif (problem := limit.problem(value)) is not None:
        raise ConfigError(f"{path} {problem}")


def to_json(value: Any) -> Any:
    """Turn beans, queues, enums and containers into what `fastjson.dumps` takes; None fields are left out."""
    if isinstance(value, Bean):
        out = {}
        for each in _fields(type(value)):
            item = getattr(value, each[0])
            if item is not None:
                out[each[1]] = to_json(item)
        return out
    if isinstance(value, MessageQueue):
        return {"brokerName": value.broker_name, "queueId": value.queue_id, "topic": value.topic}
    if isinstance(value, SubscriptionData):
        return subscription_json(value)
    if isinstance(value, Enum):
        return value.value if isinstance(value.value, str) else value.name
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((to_json(item) for item in value), key=str)
    return value


def from_json(hint: Any, value: Any, path: str) -> Any:
    """Read a parsed JSON value as the type `hint`.

    Raises:
        ProtocolError: The value does not fit; the text names the path.
    """
    return _reader(hint)(value, path)


def decode_object(data: bytes, path: str, max_dialect: int | None = None) -> dict[Any, Any]:
    """Parse a body that must be an object.

    Raises:
        ProtocolError: It does not parse, or is something else.
    """
    if not data:
        raise ProtocolError(f"{path}: the body is empty")
    try:
        return _object(fastjson.loads(data, max_dialect), path)
    except ProtocolError as error:
        raise ProtocolError(f"{path}: {error.message}") from None


class Bean(Record):
    """Base of bodies and their parts."""

    def encode(self) -> bytes:
        """The body's bytes, in the dialect that Java peers read."""
        return fastjson.dumps(to_json(self))

    @classmethod
    def decode(cls, data: bytes, *, max_dialect: int | None = None) -> Self:
        """Read a body.

        Args:
            data: Its bytes.
            max_dialect: Bytes of the longest body that is taken when it is not strict JSON, which takes longer to read; None for any.

        Raises:
            ProtocolError: It does not parse, or a field has the wrong type; the text names the field.
        """
        return _read_bean(cls, decode_object(data, cls.__name__, max_dialect), cls.__name__)  # type: ignore[no-any-return]
