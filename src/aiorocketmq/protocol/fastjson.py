"""The JSON dialect of Java's fastjson, which brokers and name servers speak in bodies.

Beyond strict JSON it has map keys that are bare numbers (`{0:"a"}`) or whole objects (`{{"topic":"T",...}:1}`), references to objects that
were written before (`{"$ref":"$.a"}`), keys without quotes and strings in single quotes. `loads` tries the strict codec first, which reads
all but a few bodies, and falls back to a parser of its own. An object used as a key becomes a `MessageQueue` when it is one, else a
sorted tuple of pairs. Bare number keys become `int`.
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import jsoncodec

MAX_DEPTH: Final = 100
MAX_DIALECT: Final = 256 * 1024
"""Bytes that a server takes of what is not strict JSON: so much is read in a few dozen milliseconds, however it is made."""
_QUEUE_NAMES: Final = {"brokerName", "queueId", "topic"}

_BLANK: Final = re.compile(r"[ \t\r\n\f]*")
_PLAIN_STRING: Final = re.compile(r'[^"\\]*')
_SINGLE_STRING: Final = re.compile(r"[^'\\]*")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?[LSBFD]?", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_PATH_STEP: Final = re.compile(r"\.((?:[^.\[\\]|\\.)+)|\[(\d+)\]|\[\"([^\"]*)\"\]|\['([^']*)'\]")
_QUEUE_TEXT: Final = re.compile(r"MessageQueue \[topic=(.*), brokerName=(.*), queueId=(-?\d{1,10})\]", re.DOTALL)
_ESCAPES: Final = {
    "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0", "/": "/", "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip
_LITERALS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None, "NaN": None, "undefined": None}


def loads(data: bytes, max_dialect: int | None = None) -> Any:
    """Parse a body.

    Args:
        data: Its bytes.
        max_dialect: Bytes of the longest body that is taken when it is not strict JSON; None for any.

    Raises:
        ProtocolError: It is no JSON of either kind; the text names the position.
    """
    try:
        return _resolve_all(jsoncodec.loads(data)) if b'"$ref"' in data else jsoncodec.loads(data)
    except ValueError as error:
        if max_dialect is not None and len(data) > max_dialect:
            raise ProtocolError(f"the body of {len(data)} bytes is no strict JSON ({error}); at most {max_dialect} may be so") from None
        return _resolve_all(_Parser(data.decode("utf-8", "surrogateescape")).document())


def dumps(value: Any, *, strict: bool = False) -> bytes:
    """Write a body.

    Args:
        value: Dictionaries, lists, strings, numbers, booleans, None; keys are strings, integers or `MessageQueue`s.
        strict: Write number keys in quotes. `MessageQueue` keys have no strict form and are written as objects all the same.
    """
    if strict:
        value = _quoted_keys(value)
    return jsoncodec.dumps(value) if _is_strict(value) else "".join(_pieces(value)).encode("ascii")


def _is_strict(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) is str and _is_strict(item) for key, item in value.items())
    if type(value) is list:
        return all(map(_is_strict, value))
    return True


def _quoted_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key) if type(key) is int else key: _quoted_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quoted_keys(item) for item in value]
    return value


def _queue_object(queue: MessageQueue) -> dict[str, Any]:
    return {"brokerName": queue.broker_name, "queueId": queue.queue_id, "topic": queue.topic}


def _pieces(value: Any) -> list[str]:
    if isinstance(value, dict):
        out = ["{"]
        for key, item in value.items():
            if len(out) > 1:
                out.append(",")
            if isinstance(key, MessageQueue):
                out.extend(_pieces(_queue_object(key)))
            else:
                out.append(str(key) if type(key) is int else jsoncodec.std_quote(key))
            out.append(":")
            out.extend(_pieces(item))
        out.append("}")
        return out
    if isinstance(value, list):
        out = ["["]
        for item in value:
            if len(out) > 1:
                out.append(",")
            out.extend(_pieces(item))
        out.append("]")
        return out
    return [jsoncodec.std_dumps(value).decode("ascii")]


class _Parser:
    """Recursive descent over the dialect."""

    __slots__ = ("_depth", "_position", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._depth = 0

    def document(self) -> Any:
        value = self._value()
        if self._peek():
            self._fail("text follows the value")
        return value

    def _fail(self, what: str) -> NoReturn:
        position = self._position
        near = self._text[max(0, position - 20) : position + 20]
        raise ProtocolError(f"the JSON body does not parse at character {position}: {what}, near {near!r}")

    def _peek(self) -> str:
        match = _BLANK.match(self._text, self._position)
        if match:
            self._position = match.end()
        return self._text[self._position : self._position + 1]

    def _value(self) -> Any:
        start = self._peek()
        if start == "{":
            return self._object()
        if start == "[":
            return self._array()
        if start in ('"', "'"):
            return self._string(start)
        return self._number_or_word(start)

    def _enter(self) -> None:
        self._position += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"it is nested deeper than {MAX_DEPTH} levels")

    def _object(self) -> dict[Any, Any]:
        self._enter()
        out: dict[Any, Any] = {}
        while True:
            start = self._peek()
            if start == "}":
                break
            if start == ",":
                self._position += 1
                continue
            key = self._key(start)
            if self._peek() != ":":
                self._fail("a colon is missing")
            self._position += 1
            value = self._value()
            out[key] = value
            if self._peek() not in (",", "}"):
                self._fail("a comma or a closing brace is missing")
        self._position += 1
        self._depth -= 1
        return out

    def _key(self, start: str) -> Any:
        if start == "{":
            key = self._object()
            path = _reference_of(key)
            return _hashable(key) if path is None else _ReferenceKey(path)
        if start == "[":
            return _hashable(self._array())
        if start in ('"', "'"):
            return self._string(start)
        word = _WORD.match(self._text, self._position)
        if word:
            self._position = word.end()
            return word.group()
        key = self._number_or_word(start)
        return key if type(key) is int else str(key)

    def _array(self) -> list[Any]:
        self._enter()
        out: list[Any] = []
        while True:
            start = self._peek()
            if start == "]":
                break
            if start == ",":
                self._position += 1
                continue
            out.append(self._value())
            if self._peek() not in (",", "]"):
                self._fail("a comma or a closing bracket is missing")
        self._position += 1
        self._depth -= 1
        return out

    def _string(self, quote: str) -> str:
        text = self._text
        plain = _PLAIN_STRING if quote == '"' else _SINGLE_STRING
        self._position += 1
        parts: list[str] = []
        while True:
            match = plain.match(text, self._position)
            if match:
                parts.append(match.group())
                self._position = match.end()
            stop = text[self._position : self._position + 1]
            if not stop:
                self._fail("a string does not end")
            self._position += 1
            if stop == quote:
                break
            parts.append(self._escape())
        joined = "".join(parts)
        if not joined.isascii() and any("\ud800" <= char <= "\udbff" for char in joined):
            # Escaped surrogate pairs are one character; lone ones stay.
            joined = joined.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")
        return joined

    def _escape(self) -> str:
        text, position = self._text, self._position
        kind = text[position : position + 1]
        width = {"u": 4, "x": 2}.get(kind)
        if width is None:
            if kind not in _ESCAPES:
                self._fail(f"the escape {kind!r} is unknown")
            self._position += 1
            return _ESCAPES[kind]
        digits = text[position + 1 : position + 1 + width]
        if len(digits) != width or not re.fullmatch(r"[0-9a-fA-F]+", digits):
            self._fail("an escape is cut off")
        self._position += 1 + width
        return chr(int(digits, 16))

    def _number_or_word(self, start: str) -> Any:
        if not start:
            self._fail("it ends too early")
        word = _WORD.match(self._text, self._position)
        if word:
            if word.group() not in _LITERALS:
                self._fail(f"the word {word.group()[:20]!r} is unknown")
            self._position = word.end()
            return _LITERALS[word.group()]
        number = _NUMBER.match(self._text, self._position)
        if not number or len(number.group()) > 400:
            self._fail("a value was expected")
        self._position = number.end()
        digits = number.group().rstrip("LSBFD")
        fraction, exponent = number.group(1), number.group(2)
        return int(digits) if fraction is None and exponent is None and "." not in digits else float(digits)


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == _QUEUE_NAMES and isinstance(value["queueId"], int):
            return MessageQueue(str(value["topic"]), str(value["brokerName"]), value["queueId"])
        return tuple(sorted(((key, _hashable(item)) for key, item in value.items()), key=repr))
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return value


# --- references ---------------------------------------------------------------------------------------------------------------------


class _ReferenceKey:
    """A reference in key position. Each is a key of its own, although several may have the same path."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path


def _reference_of(value: Any) -> str | None:
    """The path when the value is `{"$ref": path}`."""
    path = value.get("$ref") if type(value) is dict and len(value) == 1 else None
    return path if isinstance(path, str) else None


def _resolve_all(root: Any) -> Any:
    return _References(root).resolve(root, 0)


class _References:
    """Replaces the references of one document. What each costs is remembered, so a body full of them stays linear."""

    __slots__ = ("_keys", "_referring", "_root")

    def __init__(self, root: Any) -> None:
        self._root = root
        self._referring: dict[int, bool] = {}
        self._keys: dict[str, list[Any]] = {}

    def resolve(self, value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ProtocolError(f"the JSON body is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, list):
            return [self.resolve(item, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        path = _reference_of(value)
        if path is not None:
            target = _follow(path, self._root)
            # A reference to a reference, or to something that holds one, is not followed further: it could be a circle.
            return None if self._refers(target, 0) else target
        out: dict[Any, Any] = {}
        seen: dict[str, int] = {}
        for key, item in value.items():
            if type(key) is _ReferenceKey:
                index = seen.get(key.path, 0)
                seen[key.path] = index + 1
                key = self._key_referred_to(key.path, index)
            out[key] = self.resolve(item, depth + 1)
        return out

    def _key_referred_to(self, path: str, index: int) -> Any:
        """The key that a `$ref` in key position stands for.

        The writer can name only the map that held the object first, as `$.thatMap.null`: a key has no path of its own. Both maps are
        sorted by the same keys, so the n-th such reference is the n-th object key of that map.
        """
        holder, _, last = path.rpartition(".")
        if last != "null":
            target = _follow(path, self._root)
            return ("$ref", path) if target is None else _hashable(target)
        keys = self._keys.get(holder)
        if keys is None:
            table = _follow(holder, self._root)
            candidates = table if isinstance(table, dict) else {}
            keys = [name for name in candidates if isinstance(name, tuple)]
            self._keys[holder] = keys
        return keys[index] if index < len(keys) else ("$ref", path)

    def _refers(self, value: Any, depth: int) -> bool:
        """Whether the value is or holds a reference."""
        if not isinstance(value, dict | list):
            return False
        known = self._referring.get(id(value))
        if known is None:
            items = value.values() if isinstance(value, dict) else value
            known = depth > MAX_DEPTH or _reference_of(value) is not None or any(self._refers(item, depth + 1) for item in items)
            self._referring[id(value)] = known
        return known


def _follow(path: str, root: Any) -> Any:
    """Walk `$.a.b[0]` from the root; None for a path that leads nowhere, and for the relative forms `@` and `..`."""
    if not path.startswith("$"):
        return None
    value, position = root, 1
    while position < len(path):
        step = _PATH_STEP.match(path, position)
        if not step:
            return None
        position = step.end()
        name, index, double, single = step.groups()
        if index is not None and isinstance(value, list):
            value = value[int(index)] if int(index) < len(value) else None
        elif isinstance(value, dict):
            value = _entry(value, index or double or single or re.sub(r"\\(.)", r"\1", name or ""))
        else:
            return None
    return value


def _entry(table: dict[Any, Any], name: str) -> Any:
    """The value under a step of a path; number keys stand there as text, queue keys as their Java `toString()`."""
    if name in table:
        return table[name]
    if name.isdecimal() and len(name) < 20:
        return table.get(int(name))
    queue = _QUEUE_TEXT.fullmatch(name)
    return table.get(MessageQueue(queue[1], queue[2], int(queue[3]))) if queue else None
