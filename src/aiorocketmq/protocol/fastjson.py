"""The JSON dialect of Java's fastjson, which brokers and name servers speak in bodies.

Beyond strict JSON it has map keys that are bare numbers (`{0:"a"}`) or whole objects (`{{"topic":"T",...}:1}`), references to objects that
were written before (`{"$ref":"$.a"}`), keys without quotes and strings in single quotes. `loads` tries the strict codec first, which reads
all but a few bodies, and falls back to a parser of its own. An object used as a key becomes a `MessageQueue` when it is one, else a
sorted tuple of pairs. Bare number keys become `int`.
"""

from __future__ import annotations

import itertools
import re
from functools import cache
from typing import Any, Final, NoReturn

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import jsoncodec

MAX_DEPTH: Final = 100
MAX_DIALECT: Final = 128 * 1024
"""Bytes that a server takes of what is not strict JSON: so much is read in a few dozen milliseconds, however it is made."""
MAX_REFERRED: Final = 1_000_000
"""Parts that all references of a body may stand for together: a few bytes each can name the same large part again and again."""
_BYTES_OF_A_PART: Final = 4
_QUEUE_NAMES: Final = {"brokerName", "queueId", "topic"}

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
        if b'"$ref"' not in data:
            return jsoncodec.loads(data)
        if max_dialect is not None and data.count(b"{") + data.count(b"[") > max_dialect // _BYTES_OF_A_PART:
            raise ProtocolError("the body has references and too many parts")
        return _resolve_all(jsoncodec.loads(data))
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


@cache
def _tokens() -> re.Pattern[str]:
    """Splits a text into strings, signs, and what is between them; blanks are left out. A string may lack its end."""
    return re.compile(r"""[{}\[\]:,]|"[^"\\]*(?:\\.[^"\\]*)*"?|'[^'\\]*(?:\\.[^'\\]*)*'?|[^ \t\r\n\f{}\[\]:,"']+""", re.DOTALL)


class _Parser:
    """Recursive descent over the tokens of the dialect: the scanner does most of the work, so the time is linear and short."""

    __slots__ = ("_count", "_depth", "_next", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        self._count = itertools.count(1)
        # Counting costs little beside matching, and lets an error find its position again.
        self._next = map(_counted, _tokens().finditer(text), self._count).__next__

    def document(self) -> Any:
        try:
            value = self._value(self._next())
        except StopIteration:
            self._fail("it ends too early")
        if next(iter(self._next, None), None) is not None:
            self._fail("text follows the value")
        return value

    def _fail(self, what: str) -> NoReturn:
        number = next(self._count) - 1
        matches = itertools.islice(_tokens().finditer(self._text), max(0, number - 1), None)
        match = next(matches, None)
        position = match.start() if match else len(self._text)
        near = self._text[max(0, position - 20) : position + 20]
        raise ProtocolError(f"the JSON body does not parse at character {position}: {what}, near {near!r}")

    def _value(self, token: str) -> Any:
        if token == "{":
            return self._object()
        if token == "[":
            return self._array()
        if token[0] in "\"'":
            return self._string(token)
        return self._number_or_word(token)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"it is nested deeper than {MAX_DEPTH} levels")

    def _object(self) -> dict[Any, Any]:
        self._enter()
        following = self._next
        out: dict[Any, Any] = {}
        while (token := following()) != "}":
            if token == ",":
                continue
            key = self._key(token)
            if following() != ":":
                self._fail("a colon is missing")
            out[key] = self._value(following())
            token = following()
            if token == "}":
                break
            if token != ",":
                self._fail("a comma or a closing brace is missing")
        self._depth -= 1
        return out

    def _key(self, token: str) -> Any:
        if token == "{":
            key = self._object()
            path = _reference_of(key)
            return _hashable(key) if path is None else _ReferenceKey(path)
        if token == "[":
            return _hashable(self._array())
        if token[0] in "\"'":
            return self._string(token)
        if _is_word(token):
            return token
        key = self._number_or_word(token)
        return key if type(key) is int else str(key)

    def _array(self) -> list[Any]:
        self._enter()
        following = self._next
        out: list[Any] = []
        while (token := following()) != "]":
            if token == ",":
                continue
            out.append(self._value(token))
            token = following()
            if token == "]":
                break
            if token != ",":
                self._fail("a comma or a closing bracket is missing")
        self._depth -= 1
        return out

    def _string(self, token: str) -> str:
        quote = token[0]
        if "\\" not in token:
            if len(token) < 2 or token[-1] != quote:
                self._fail("a string does not end")
            return token[1:-1]
        pieces = re.split(r"(\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.))", token[1:], flags=re.DOTALL)
        if pieces[-1][-1:] != quote:
            self._fail("a string does not end")
        pieces[-1] = pieces[-1][:-1]
        pieces[1::2] = [self._escape(piece) for piece in pieces[1::2]]
        joined = "".join(pieces)
        if not joined.isascii() and any("\ud800" <= char <= "\udbff" for char in joined):
            # Escaped surrogate pairs are one character; lone ones stay.
            joined = joined.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")
        return joined

    def _escape(self, text: str) -> str:
        if len(text) > 2:
            return chr(int(text[2:], 16))
        if text[1] in "ux":
            self._fail("an escape is cut off")
        if text[1] not in _ESCAPES:
            self._fail(f"the escape {text[1]!r} is unknown")
        return _ESCAPES[text[1]]

    def _number_or_word(self, token: str) -> Any:
        if len(token) < 19 and token.isdigit() and token.isascii():
            return int(token)
        if _is_word(token):
            if token not in _LITERALS:
                self._fail(f"the word {token[:20]!r} is unknown")
            return _LITERALS[token]
        number = re.fullmatch(r"[+-]?(?:\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?[LSBFD]?", token, re.ASCII) if len(token) <= 400 else None
        if not number:
            self._fail("a value was expected")
        digits = token.rstrip("LSBFD")
        fraction, exponent = number.group(1), number.group(2)
        return int(digits) if fraction is None and exponent is None and "." not in digits else float(digits)


def _counted(match: re.Match[str], number: int) -> str:
    return match[0]


def _is_word(token: str) -> bool:
    return token.isascii() and token.replace("$", "_").isidentifier()


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

    __slots__ = ("_keys", "_left", "_referring", "_root", "_sizes")

    def __init__(self, root: Any) -> None:
        self._root = root
        self._referring: dict[int, bool] = {}
        self._keys: dict[str, list[Any]] = {}
        self._sizes: dict[int, int] = {}
        self._left = MAX_REFERRED

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
            if self._refers(target, 0):
                return None
            self._left -= self._size(target)
            if self._left < 0:
                raise ProtocolError(f"the references of the JSON body stand for more than {MAX_REFERRED} parts")
            return target
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

    def _size(self, value: Any) -> int:
        """How many parts a value without references has, itself among them."""
        if not isinstance(value, dict | list):
            return 1
        known = self._sizes.get(id(value))
        if known is None:
            items = value.values() if isinstance(value, dict) else value
            known = self._sizes[id(value)] = 1 + sum(map(self._size, items))
        return known

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


@cache
def _path_step() -> re.Pattern[str]:
    return re.compile(r"\.((?:[^.\[\\]|\\.)+)|\[([0-9]{1,19})\]|\[\"([^\"]*)\"\]|\['([^']*)'\]")


def _follow(path: str, root: Any) -> Any:
    """Walk `$.a.b[0]` from the root; None for a path that leads nowhere, and for the relative forms `@` and `..`."""
    if not path.startswith("$"):
        return None
    value, position = root, 1
    while position < len(path):
        step = _path_step().match(path, position)
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
    queue = re.fullmatch(r"MessageQueue \[topic=(.*), brokerName=(.*), queueId=(-?\d{1,10})\]", name, re.DOTALL)
    return table.get(MessageQueue(queue[1], queue[2], int(queue[3]))) if queue else None
