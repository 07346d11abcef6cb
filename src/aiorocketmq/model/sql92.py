"""The language of SQL92 filters: a parser and an evaluator (Java: `SelectorParser`, `filter.expression`). F18, F20.

Results are those of a broker, its surprises included, because a filter is tried here to know what will be delivered there:

* Three values: true, false, and None for "unknown", which mostly comes from a property that is not there. Only true delivers a message.
* `a = 1` is unknown where there is no `a`, but `1 = a` is false; `a = b` is true where neither is there.
* Properties are texts. One that is compared with a number has to look like a number of that kind, or the evaluation fails, and nothing is
  delivered. A property by itself is never true, be its text "true".
* `<`, `>` and `BETWEEN` compare numbers only; `IN` needs a property and texts. No number is written 0.0.
* What follows a complete condition is ignored. `SQL` refuses that: it is always a slip, such as a missing AND.

    or     ::= and (OR and)*               and   ::= equal (AND equal)*
    equal  ::= compared ((= | <>) compared | IS [NOT] NULL)*
    compared ::= unary ((< | <= | > | >=) unary | [NOT] BETWEEN unary AND unary | [NOT] IN (text, ...)
               | [NOT] (CONTAINS | STARTSWITH | ENDSWITH) text)*
    unary  ::= (+ | - | NOT) unary | ( or ) | name | number | text | TRUE | FALSE | NULL
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import copysign
from typing import Final, NamedTuple, TypeAlias

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.parsing import INT32_MAX, INT64_MAX

MAX_DEPTH: Final = 100
"""Parentheses, signs and comparisons inside each other; AND and OR in a row count once."""
TEXT_WORDS: Final = frozenset({"CONTAINS", "STARTSWITH", "ENDSWITH"})
"""Operators that brokers know since 5.1.3; older ones take them for the end of the condition."""
_MOST_KEPT: Final = 16 * 1024
"""Characters of the longest expression that is kept: a parsed one takes some sixty times as many bytes."""
HINT: Final = "for example: price > 10 AND region IN ('eu', 'us')"


class Long(int):
    """Java's `Long`; a plain `int` is an `Integer`."""

    __slots__ = ()


Value: TypeAlias = bool | int | float | str | None
_Known: TypeAlias = bool | int | float | str
Properties: TypeAlias = Mapping[str, str]
Run: TypeAlias = Callable[[Properties], Value]

_SKIP: Final = re.compile(r"(?:[ \t\n\r\f]+|--[^\n\r]*(?:\r\n|\n|\r)|/\*[^*]*\*(?:\*|[^*/][^*]*\*)*/)*")
_TOKEN: Final = re.compile(
    r"(?P<float>[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)"
    r"|(?P<whole>0|[1-9][0-9]*[lL]?)"
    r"|(?P<text>'(?:''|[^'])*')"
    r"|(?P<name>[a-zA-Z_$][a-zA-Z0-9_$]*)"
    r"|(?P<sign><>|>=|<=|[=<>(),+-])"
)
_WORDS: Final = frozenset({"NOT", "AND", "OR", "BETWEEN", "IN", "TRUE", "FALSE", "NULL", "IS"}) | TEXT_WORDS
_ORDERS: Final[dict[str, Callable[[int], bool]]] = {
    "<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    ">": lambda order: order > 0,
    ">=": lambda order: order >= 0,
}
_TEXT_TESTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "CONTAINS": lambda text, part: part in text,
    "STARTSWITH": str.startswith,
    "ENDSWITH": str.endswith,
}
_JAVA_DOUBLE: Final = re.compile(
    r"(?P<decimal>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[dDfF]?"
    r"|(?P<hex>[+-]?0[xX](?:[0-9a-fA-F]+\.?|[0-9a-fA-F]*\.[0-9a-fA-F]+)[pP][+-]?[0-9]+)[dDfF]?"
    r"|(?P<word>[+-]?(?:NaN|Infinity))"
)
_CONTROLS: Final = "".join(map(chr, range(33)))
"""What Java's `String.trim()` takes off."""


class Condition:
    """A parsed filter. Immutable; for any number of messages and threads.

    Attributes:
        expression: Its text.
        ignored: What brokers ignore of the text: everything from the end of the condition on.
        words: The operators in it that not all brokers know, see `TEXT_WORDS`.
    """

    __slots__ = ("__weakref__", "_run", "expression", "ignored", "words")

    def __init__(self, expression: str) -> None:
        parser = _Parser(expression)
        node = parser.condition()
        self.expression = expression
        self.ignored = parser.rest()
        self.words = frozenset(parser.words)
        self._run = node.run

    def evaluate(self, properties: Properties) -> bool | None:
        """The result for a message with these properties, the reserved ones included; None for "unknown".

        Raises:
            ConfigError: A property cannot be compared as the condition wants it. Brokers do not deliver such a message.
        """
        result = self._run(properties)
        assert result is None or isinstance(result, bool)  # the parser takes nothing else for a condition
        return result

    def matches(self, properties: Properties) -> bool:
        """True when a broker delivers a message with these properties."""
        try:
            return self.evaluate(properties) is True
        except ConfigError:
            return False


def parse(expression: str) -> Condition:
    """Parse a filter; the same text is parsed once, unless it is very long.

    Raises:
        ConfigError: It is not in the language; the text says where and why.
    """
    return _kept(expression) if len(expression) <= _MOST_KEPT else Condition(expression)


@lru_cache(maxsize=64)
def _kept(expression: str) -> Condition:
    return Condition(expression)


# -- values --------------------------------------------------------------------------------------------------------------------------------


def _failed(text: str) -> ConfigError:
    return ConfigError(text, hint="brokers deliver no message whose evaluation fails")


def _whole(text: str, limit: int) -> int:
    digits = (text[1:] if text[:1] in ("+", "-") else text).lstrip("0") or text[-1:]
    if digits.isdecimal() and len(digits) < 20 and max(digits) <= "\uffff":  # Java knows the digits of all scripts, too
        number = -int(digits) if text[0] == "-" else int(digits)
        if -limit - 1 <= number <= limit:
            return number
    raise _failed(f"{text!r} is no whole number of {32 if limit == INT32_MAX else 64} bits")


def _double(text: str) -> float:
    match = _JAVA_DOUBLE.fullmatch(text.strip(_CONTROLS))
    if match is None:
        raise _failed(f"{text!r} is no number")
    try:
        return float.fromhex(match["hex"]) if match["hex"] else float(match["decimal"] or match["word"])
    except OverflowError:
        return float("-inf" if match["hex"][0] == "-" else "inf")


def _converted(text: str, kind: type) -> bool | int | float:
    """A property's text as the kind of value that it is compared with."""
    if kind is bool:
        return text.lower() == "true"
    if kind is float:
        return _double(text)
    return _whole(text, INT64_MAX if kind is Long else INT32_MAX)


def _rank(value: float) -> tuple[bool, float, float]:
    """What sorts as `Double.compareTo` does: no-number behind everything and like itself, -0.0 before 0.0."""
    return (True, 0.0, 0.0) if value != value else (False, value, copysign(1.0, value))


def _order(left: _Known, right: _Known) -> int:
    """Below 0, 0 or above 0, as `compareTo` says it; values that cannot be ordered differ."""
    left_kind, right_kind = type(left), type(right)
    if left_kind is not right_kind:
        if left_kind is bool and right_kind is str:
            raise _failed(f"a truth value cannot be compared with the text {right!r}")
        if isinstance(left, str):
            left = _converted(left, right_kind)
        elif isinstance(right, str):
            right = _converted(right, left_kind)
        elif bool in (left_kind, right_kind):
            return -1
    if isinstance(left, str) or isinstance(right, str):
        return -1 if left != right else 0  # texts are never asked for more than that
    if isinstance(left, float) or isinstance(right, float):
        first, second = _rank(float(left)), _rank(float(right))
        return (first > second) - (first < second)
    return (left > right) - (left < right)


def _equal(left: Value, right: Value) -> bool | None:
    if left is None or right is None:
        return None if left is None and right is not None else left is right
    return _order(left, right) == 0


def _ordered(left: Value, right: Value, test: Callable[[int], bool]) -> bool | None:
    if left is None or right is None:
        return None
    if isinstance(left, str) and isinstance(right, str):
        left, right = _double(left), _double(right)
    return test(_order(left, right))


def _either(runs: Sequence[Run], decisive: bool) -> Run:
    """OR (True decides) or AND (False decides) of several conditions, asked in their order until one decides."""

    def run(properties: Properties) -> Value:
        result: Value = not decisive
        for each in runs:
            value = each(properties)
            if value is decisive:
                return decisive
            if value is None:
                result = None
        return result

    return run


# -- parsing -------------------------------------------------------------------------------------------------------------------------------


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Node(NamedTuple):
    """A part of a condition.

    Attributes:
        run: Gives its value.
        depth: Parts inside each other.
        constant: It is written out: a number, a text, TRUE, FALSE or NULL.
        condition: It has a truth value.
        name: A property's name.
        value: A constant's value.
    """

    run: Run
    depth: int = 1
    constant: bool = False
    condition: bool = False
    name: str | None = None
    value: Value = None


def _constant(value: Value) -> _Node:
    return _Node(lambda properties: value, constant=True, condition=value is None or isinstance(value, bool), value=value)


class _Parser:
    """Reads one expression; methods are named after the productions. It looks one token ahead, no further, as Java's does."""

    def __init__(self, expression: str) -> None:
        self.words: set[str] = set()
        self._text = expression
        self._at = 0
        self._depth = 0
        self._next = self._read()

    def condition(self) -> _Node:
        """The condition at the beginning of the text."""
        return self._as_condition(self._or())

    def rest(self) -> str:
        """What follows the condition."""
        return "" if self._next.kind == "end" else self._text[self._next.at :]

    # -- tokens ----------------------------------------------------------------------------------------------------------------------

    def _read(self) -> _Token:
        skipped = _SKIP.match(self._text, self._at)
        start = skipped.end() if skipped else self._at
        if start == len(self._text):
            return _Token("end", "", start)
        match = _TOKEN.match(self._text, start)
        if match is None:
            raise self._error(f"{self._text[start]!r} does not belong there", start)
        self._at = match.end()
        kind, text = str(match.lastgroup), match.group()
        return _Token("word", text.upper(), start) if kind == "name" and text.upper() in _WORDS else _Token(kind, text, start)

    def _take(self) -> _Token:
        token, self._next = self._next, self._read()
        return token

    def _taken(self, *texts: str) -> str | None:
        """The word or sign that comes next, if it is one of these."""
        if self._next.kind in ("word", "sign") and self._next.text in texts:
            return self._take().text
        return None

    def _expect(self, text: str) -> None:
        if self._taken(text) is None:
            raise self._unexpected(text)

    def _unexpected(self, wanted: str) -> ConfigError:
        found = "the end" if self._next.kind == "end" else repr(self._next.text)
        return self._error(f"{wanted} is missing before {found}", self._next.at)

    def _error(self, problem: str, at: int) -> ConfigError:
        shown = self._text if len(self._text) <= 200 else f"{self._text[:200]}..."
        return ConfigError(f"SQL expression {shown!r} cannot be read at column {at + 1}: {problem}", hint=HINT)

    # -- productions -----------------------------------------------------------------------------------------------------------------

    def _made(self, run: Run, *parts: _Node, condition: bool = True) -> _Node:
        depth = 1 + max(part.depth for part in parts)
        if depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} parts are inside each other", self._next.at)
        return _Node(run, depth, condition=condition)

    def _as_condition(self, node: _Node) -> _Node:
        if node.condition:
            return node
        if node.name is None:
            raise self._error("what stands before it is not a condition", self._next.at)
        run = node.run
        return self._made(lambda properties: None if run(properties) is None else False, node)  # a text is never true

    def _or(self) -> _Node:
        return self._joined("OR", self._and, True)

    def _and(self) -> _Node:
        return self._joined("AND", self._equality, False)

    def _joined(self, word: str, part: Callable[[], _Node], decisive: bool) -> _Node:
        first = part()
        if not (self._next.kind == "word" and self._next.text == word):
            return first
        parts = [self._as_condition(first)]
        while self._taken(word):
            parts.append(self._as_condition(part()))
        return self._made(_either([each.run for each in parts], decisive), *parts)

    def _equality(self) -> _Node:
        left = self._comparison()
        while True:
            if sign := self._taken("=", "<>"):
                left = self._equal(left, self._comparison(), negated=sign == "<>")
            elif self._taken("IS"):
                negated = self._taken("NOT") is not None
                self._expect("NULL")
                left = self._is_null(left, negated)
            else:
                return left

    def _equal(self, left: _Node, right: _Node, *, negated: bool) -> _Node:
        for side in (left, right):
            if side.constant and side.value is None:
                raise self._error("NULL equals nothing: write IS NULL, or IS NOT NULL", self._next.at)
        if left.constant and right.constant and left.condition and not right.condition:
            raise self._error("a truth value is compared with something else", self._next.at)
        first, second = left.run, right.run

        def equal(properties: Properties) -> Value:
            return _equal(first(properties), second(properties))

        def differs(properties: Properties) -> Value:
            result = _equal(first(properties), second(properties))
            return None if result is None else not result

        return self._made(differs if negated else equal, left, right)

    def _is_null(self, node: _Node, negated: bool) -> _Node:
        run = node.run
        return self._made(lambda properties: (run(properties) is None) is not negated, node)

    def _comparison(self) -> _Node:
        left = self._unary()
        while True:
            if sign := self._taken(*_ORDERS):
                left = self._ordered(left, self._unary(), _ORDERS[sign])
                continue
            negated = self._taken("NOT") is not None
            if self._taken("BETWEEN"):
                left = self._between(left, negated)
            elif self._taken("IN"):
                left = self._in(left, negated)
            elif word := self._taken(*_TEXT_TESTS):
                self.words.add(word)
                left = self._tested(left, _TEXT_TESTS[word], negated)
            elif negated:
                raise self._unexpected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH")
            else:
                return left

    def _ordered(self, left: _Node, right: _Node, test: Callable[[int], bool]) -> _Node:
        for side in (left, right):
            number = isinstance(side.value, int | float) and not isinstance(side.value, bool)
            if side.condition or (side.constant and not number):
                raise self._error("only numbers and properties are smaller or greater than others", self._next.at)
        first, second = left.run, right.run
        return self._made(lambda properties: _ordered(first(properties), second(properties), test), left, right)

    def _between(self, node: _Node, negated: bool) -> _Node:
        low = self._unary()
        self._expect("AND")
        high = self._unary()
        if not negated and isinstance(low.value, int | float) and isinstance(high.value, int | float) and low.value > high.value:
            raise self._error(f"nothing is between {low.value} and {high.value}", self._next.at)
        tests = ("<", ">") if negated else (">=", "<=")
        parts = [self._ordered(node, end, _ORDERS[test]) for end, test in zip((low, high), tests, strict=True)]
        return self._made(_either([each.run for each in parts], negated), *parts)

    def _in(self, node: _Node, negated: bool) -> _Node:
        if node.name is None:
            raise self._error("IN needs a property before it", self._next.at)
        self._expect("(")
        texts = [self._string()]
        while self._taken(","):
            texts.append(self._string())
        self._expect(")")
        run, known = node.run, frozenset(texts)

        def contained(properties: Properties) -> Value:
            value = run(properties)
            return None if value is None else (value in known) is not negated

        return self._made(contained, node)

    def _tested(self, node: _Node, test: Callable[[str, str], bool], negated: bool) -> _Node:
        part, run = self._string(), node.run

        def tested(properties: Properties) -> Value:
            value = run(properties)
            return bool(part) and isinstance(value, str) and test(value, part) is not negated

        return self._made(tested, node)

    def _unary(self) -> _Node:
        sign = self._taken("+", "-", "NOT")
        if sign is None:
            return self._primary()
        self._depth += 1
        self._not_too_deep()
        node = self._unary()
        self._depth -= 1
        if sign == "+":
            return node
        if sign == "NOT":
            run = self._as_condition(node).run

            def inverted(properties: Properties) -> Value:
                value = run(properties)
                return None if value is None else not value

            return self._made(inverted, node)
        number = node.run

        def negative(properties: Properties) -> Value:
            value = number(properties)
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            return type(value)(-value)

        return self._made(negative, node, condition=False)

    def _not_too_deep(self) -> None:
        if self._depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} parts are inside each other", self._next.at)

    def _primary(self) -> _Node:
        if self._taken("("):
            self._depth += 1
            self._not_too_deep()
            node = self._or()
            self._depth -= 1
            self._expect(")")
            return node
        if self._next.kind == "word" and self._next.text in _TRUTHS:
            return _constant(_TRUTHS[self._take().text])
        if self._next.kind == "text":
            return _constant(self._string())
        if self._next.kind in ("whole", "float"):
            token = self._take()
            return _constant(self._number(token))
        if self._next.kind == "name":
            name = self._take().text
            return _Node(lambda properties: properties.get(name), name=name)
        raise self._unexpected("a property, a number, a text in '...', TRUE, FALSE, NULL, NOT or a parenthesis")

    def _string(self) -> str:
        if self._next.kind != "text":
            raise self._unexpected("a text in '...'")
        return self._take().text[1:-1].replace("''", "'")

    def _number(self, token: _Token) -> int | float:
        if token.kind == "float":
            value = float(token.text)
            if not 0 < value < float("inf"):
                raise self._error(f"{token.text} is too small or too large: brokers take numbers with a fraction above 0 only", token.at)
            return value
        digits = token.text.rstrip("lL")
        whole = int(digits) if len(digits) < 20 else INT64_MAX + 1
        if whole > INT64_MAX:
            raise self._error(f"{token.text} has more than 64 bits", token.at)
        return whole if whole <= INT32_MAX else Long(whole)


_TRUTHS: Final[dict[str, Value]] = {"TRUE": True, "FALSE": False, "NULL": None}
