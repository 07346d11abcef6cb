"""Expressions and messages for which the broker's own evaluator of SQL92 filters was asked; the same ones every time."""

from __future__ import annotations

import random

MESSAGES: tuple[dict[str, str], ...] = (
    {},
    {"a": "5", "b": "2.5", "region": "eu", "TAGS": "TagA"},
    {"a": "-7", "b": "abc", "region": "it's", "flag": "true", "$_x9": "5"},
    {"a": "2147483648", "b": "1e3", "c": "NaN", "flag": "FALSE", "region": "e"},
    {"a": " 5", "b": " 5 ", "c": "Infinity", "region": "EU", "flag": "1"},
    {"a": "+5", "b": "0x1.8p1", "c": "-0.0", "region": "ünï🚀", "flag": "TRUE"},
    {"a": "٥", "b": "5d", "c": "0.0", "A": "6"},
    {"a": "9223372036854775808", "b": "5.0", "c": "1_000", "region": "eueu", "flag": "yes"},
)
_NAMES = ("a", "b", "c", "region", "flag", "missing", "TAGS", "A", "$_x9")
_TEXTS = ("'eu'", "'EU'", "'it''s'", "''", "'5'", "'TagA'", "'true'", "'e'", "'ünï🚀'", "'a\nb'")
_NUMBERS = ("5", "0", "2.5", "5.", ".5", "5E2", "1e-3", "2147483647", "2147483648", "5L", "9l", "7", "1000", "9223372036854775807", "3.0")
_ODD_NUMBERS = ("0.0", "1e400", "1e-400", "9223372036854775808", "007", "0L", "5e", "12345678901234567890123")
_TRUTHS = ("TRUE", "false", "NULL")
_SOUP = (
    *_NAMES, *_TEXTS, *_NUMBERS, *_ODD_NUMBERS, *_TRUTHS, "AND", "or", "NOT", "IN", "BETWEEN", "IS", "CONTAINS", "STARTSWITH", "EndsWith",
    "(", ")", ",", "=", "<>", "<", "<=", ">", ">=", "+", "-", "#", "'", "!=", "--", "-- x\n", "/* x */", "/* **/", "/*", "a-b", "a.b", "é",
)  # fmt: skip

FIXED: tuple[str, ...] = (
    "", " ", "a", "NOT a", "flag", "(flag)", "TRUE", "NULL", "5", "'x'", "-a", "- - 5 = 5", "a = 5", "5 = a", "a <> 5", "5 <> a",
    "a = missing", "missing = missing", "missing <> missing", "a IS NULL", "a IS NOT NULL", "missing IS NULL", "missing IS NOT NULL",
    "NULL IS NULL", "5 IS NULL", "TRUE = flag", "flag = TRUE", "flag = FALSE", "flag <> TRUE", "TRUE = 1", "1 = TRUE", "TRUE = TRUE",
    "TRUE = NULL", "a = NULL", "a > 'x'", "a > TRUE", "a > b", "a < b", "a >= b", "a <= b", "c > 5.0", "c = 5.0", "c < 5.0", "c = c",
    "0.0 = c", "a BETWEEN 1 AND 9", "a NOT BETWEEN 1 AND 9", "a BETWEEN 9 AND 1", "a NOT BETWEEN 9 AND 1", "a BETWEEN 5 AND -5",
    "a BETWEEN b AND 9", "a BETWEEN NULL AND 5", "a BETWEEN 'a' AND 'b'", "5 BETWEEN a AND 9", "region IN ('eu', 'us')",
    "region NOT IN ('eu', 'us')", "region IN ()", "region IN (5)", "'eu' IN ('eu')", "(region) IN ('eu')", "missing IN ('eu')",
    "missing NOT IN ('eu')", "region IN ('1','2','3','4','5','eu')", "region CONTAINS 'e'", "region NOT CONTAINS 'e'",
    "region CONTAINS ''", "region NOT CONTAINS ''", "missing NOT CONTAINS 'x'", "5 CONTAINS '5'", "region STARTSWITH 'e'",
    "region NOT STARTSWITH 'e'", "region ENDSWITH 'u'", "region not endswith 'u'", "region CONTAINS region", "a = 1 b = 2", "a = 5 #",
    "a = 5 'unterminated", "a = 5)", "(a = 5", "a = 5 AN b = 2", "a = 5 AND", "AND a", "a OR", "NOT NOT NOT (a = 5)",
    "a = 5 OR region = 'eu'", "a = 5 AND region = 'eu'", "missing = 1 OR a = 5", "missing = 1 AND a = 5", "missing = 1 AND a = 6",
    "NOT (missing = 1)", "a = 5 = TRUE", "a = 5 = a", "a > 1 > 2", "(a > 1) > 2", "a = 5 IS NULL", "a = b OR TRUE", "TRUE OR a = b",
    "a=5AND b=2.5", "a=5.AND b=2.5", "a -- comment\n = 5", "a -- no end", "a /* x */ = /* y * z */ 5", "a /* open", "+a = 5", "+5 = a",
    "- b = 5", "-5 = a", "a = -7", "a > -8", "a BETWEEN -10 AND 0", "$_x9 = 5", "region = 'it''s'", "region = 'ünï🚀'", "région = 1",
    "a = 2147483648", "a = 9223372036854775808", "a = 2147483647", "(((a = 5)))", "a IN ('5') AND b > 2", "a = '5'", "a <> '5'",
    "'5' = '5'", "'5' > '4'", "5 > 4", "5 > 4.5", "4.5 < 5L", "5 = 5.0", "5L = 5", "2147483648 = 2147483648.0", "TAGS = 'TagA'",
    "TAGS IS NOT NULL AND a > 3", "a IS", "a IS NOT", "a NOT", "a NOT NULL", "NOT", "a BETWEEN 1", "a BETWEEN 1 OR 2",
)  # fmt: skip


def _operand(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(_NAMES)
    if kind < 0.8:
        return rng.choice(("", "", "", "-", "+", "- ")) + rng.choice(_NUMBERS)
    return rng.choice(_TEXTS if kind < 0.92 else _TRUTHS if kind < 0.97 else _ODD_NUMBERS)


def _condition(rng: random.Random, depth: int) -> str:
    negated = rng.choice(("", "", "NOT "))
    kind = rng.random()
    if depth > 0 and kind < 0.45:
        left, right = _condition(rng, depth - 1), _condition(rng, depth - 1)
        joined = f"{left} {rng.choice(('AND', 'OR', 'and'))} {right}"
        return f"{negated}({joined})" if rng.random() < 0.5 else joined
    if kind < 0.7:
        return f"{_operand(rng)} {rng.choice(('=', '<>', '<', '<=', '>', '>='))} {_operand(rng)}"
    if kind < 0.78:
        return f"{_operand(rng)} IS {negated}NULL"
    if kind < 0.85:
        return f"{rng.choice(_NAMES)} {negated}BETWEEN {_operand(rng)} AND {_operand(rng)}"
    if kind < 0.92:
        return f"{rng.choice(_NAMES)} {negated}IN ({', '.join(rng.choices(_TEXTS, k=rng.randint(1, 6)))})"
    return f"{_operand(rng)} {negated}{rng.choice(('CONTAINS', 'STARTSWITH', 'endswith'))} {rng.choice(_TEXTS)}"


def expressions() -> list[str]:
    """All of them: some chosen by hand, then sensible ones, then words in any order."""
    rng = random.Random(92)
    made = [_condition(rng, rng.randint(0, 3)) for _ in range(700)]
    soup = [" ".join(rng.choices(_SOUP, k=rng.randint(1, 7))) for _ in range(300)]
    return list(dict.fromkeys([*FIXED, *made, *soup]))


def input_lines() -> str:
    """What `SqlFilter.java` reads."""
    messages = [
        ",".join(f"{name.encode().hex()}={value.encode().hex()}" for name, value in message.items() if value) for message in MESSAGES
    ]
    return "".join("\t".join([expression.encode().hex() or "20", *messages]) + "\n" for expression in expressions())
