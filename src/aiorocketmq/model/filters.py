"""Subscriptions and their expressions (Java: `SubscriptionData`, `FilterAPI`, `MessageSelector`)."""

from __future__ import annotations

from dataclasses import dataclass

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import ExpressionType
from aiorocketmq.model.names import java_hash

SUBSCRIBE_ALL = "*"


@dataclass(frozen=True, slots=True)
class SQL:
    """A SQL92 filter expression over message properties, for example `SQL("price > 10 AND region = 'eu'")`."""

    expression: str

    def __post_init__(self) -> None:
        if not isinstance(self.expression, str) or not self.expression.strip():
            raise ConfigError(f"SQL expression {self.expression!r} is empty", hint="give a condition, for example SQL('price > 10')")


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


def build_subscription(topic: str, expression: str | SQL | None, version: int) -> SubscriptionData:
    """Parse a subscription expression.

    Args:
        topic: Topic name, already checked.
        expression: None, "" or `*` for everything, tags joined by `||`, or `SQL(...)`.
        version: Milliseconds since the epoch.

    Raises:
        ConfigError: The expression holds no tag.
    """
    if isinstance(expression, SQL):
        return SubscriptionData(topic, expression.expression, version=version, expression_type=ExpressionType.SQL92)
    text = (expression or "").strip()
    if text in ("", SUBSCRIBE_ALL):
        return SubscriptionData(topic, SUBSCRIBE_ALL, version=version)
    tags = frozenset(tag for part in text.split("||") if (tag := part.strip()))
    if not tags:
        raise ConfigError(f"subscription {expression!r} of topic {topic!r} holds no tag", hint="write '*' or 'TagA || TagB'")
    return SubscriptionData(topic, text, tags, frozenset(java_hash(tag) for tag in tags), version)
