"""Subscriptions and their expressions (Java: `SubscriptionData`, `FilterAPI`, `MessageSelector`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import ExpressionType
from aiorocketmq.model.names import java_hash

if TYPE_CHECKING:
    from aiorocketmq.model.sql92 import Condition

SUBSCRIBE_ALL = "*"


@dataclass(frozen=True, slots=True)
class SQL:
    """A SQL92 filter expression over message properties, for example `SQL("price > 10 AND region = 'eu'")`.

    There are `=`, `<>`, `<`, `<=`, `>`, `>=`, `[NOT] BETWEEN x AND y`, `[NOT] IN ('a', 'b')`, `IS [NOT] NULL`, `AND`, `OR`, `NOT` and
    parentheses; brokers from 5.1.3 on also know `[NOT] CONTAINS`, `STARTSWITH` and `ENDSWITH`. Names have letters, digits, `_` and `$`.
    A property that is not there is NULL, and a comparison with it is neither true nor false: `NOT (a = 1)` does not match without an `a`.
    NOT binds closer than comparisons, so that the parentheses are needed.

    Raises:
        ConfigError: It is empty, or a broker would ignore the end of it, as in `a = 1 b = 2`. What else is wrong with it the broker says
            when the consumer starts.
    """

    expression: str

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str) or not self.expression.strip():
            raise ConfigError(f"SQL expression {self.expression!r} is empty", hint="give a condition, for example SQL('price > 10')")
        try:
            ignored = self._condition().ignored
        except ConfigError:
            return  # the broker has the last word, as it may know more than we do
        if ignored:
            raise ConfigError(
                f"SQL expression {self.expression!r} ends before {ignored[:60]!r}: brokers would ignore the rest without a word",
                hint="join conditions with AND or OR; names of properties consist of letters, digits, '_' and '$'",
            )

    def matches(self, properties: Mapping[str, str]) -> bool:
        """Whether a broker would deliver a message with these properties, found out here: for tests and tools.

        Args:
            properties: All properties of the message, the reserved ones (`TAGS`, `KEYS`, ...) included: `ReceivedMessage.properties`, or
                `Message.wire_properties()`.

        Raises:
            ConfigError: The expression cannot be read.
        """
        return self._condition().matches(properties)

    def evaluate(self, properties: Mapping[str, str]) -> bool | None:
        """The same in SQL's three values: None means unknown, as after a comparison with a property that is not there.

        Raises:
            ConfigError: The expression cannot be read, or a property cannot be compared as it wants: `a > 1` where `a` is no number.
        """
        return self._condition().evaluate(properties)

    def _condition(self) -> Condition:
        from aiorocketmq.model.sql92 import parse  # few programs need it

        return parse(self.expression)


@dataclass(frozen=True, slots=True)
class SubscriptionData:
    """One topic of a consumer's subscription, as told to brokers in heartbeats.

    Attributes:
        topic: Topic name.
        expression: `*`, `TagA || TagB`, or a SQL92 condition (Java: subString).
        tags: The tags of a tag expression; empty for `*` and SQL92.
        codes: Java hash codes of the tags: what the broker filters by.
        version: Milliseconds since the epoch at which this form was made (Java: subVersion).
        expression_type: `TAG` or `SQL92`.
    """

    topic: str
    expression: str = SUBSCRIBE_ALL
    tags: frozenset[str] = frozenset()
    codes: frozenset[int] = frozenset()
    version: int = 0
    expression_type: str = ExpressionType.TAG

    @property
    def is_tag(self) -> bool:
        return self.expression_type == ExpressionType.TAG

    def matches_tag(self, tag: str | None) -> bool:
        """The client's own check after the broker's hash filter (F17)."""
        return not self.tags or (tag is not None and tag in self.tags)


def check_expression(topic: str, expression: object) -> None:
    """Refuse what is no filter, and filter classes (F19) by their name.

    Raises:
        ConfigError: The expression is neither a text, nor None, nor `SQL(...)`.
    """
    if expression is None or isinstance(expression, str | SQL):
        return
    if isinstance(expression, type) or callable(expression):
        raise ConfigError(
            f"the subscription of topic {topic!r} has a filter class, {getattr(expression, '__name__', expression)!r}: brokers do not run"
            " classes any more",
            hint="use SQL(...), or look at the message in the listener and return",
        )
    raise ConfigError(
        f"the subscription {expression!r} of topic {topic!r} is a {type(expression).__name__}", hint="write '*', 'TagA || TagB' or SQL(...)"
    )


def build_subscription(topic: str, expression: str | SQL | None, version: int) -> SubscriptionData:
    """Parse a subscription expression.

    Args:
        topic: Topic name, already checked.
        expression: None, "" or `*` for everything, tags joined by `||`, or `SQL(...)`.
        version: Milliseconds since the epoch.

    Raises:
        ConfigError: The expression holds no tag, or is none of these.
    """
    check_expression(topic, expression)
    if isinstance(expression, SQL):
        return SubscriptionData(topic, expression.expression, version=version, expression_type=ExpressionType.SQL92)
    text = (expression or "").strip()
    if text in ("", SUBSCRIBE_ALL):
        return SubscriptionData(topic, SUBSCRIBE_ALL, version=version)
    tags = frozenset(tag for part in text.split("||") if (tag := part.strip()))
    if not tags:
        raise ConfigError(f"subscription {expression!r} of topic {topic!r} holds no tag", hint="write '*' or 'TagA || TagB'")
    return SubscriptionData(topic, text, tags, frozenset(java_hash(tag) for tag in tags), version)
