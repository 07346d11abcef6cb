"""How the user of a consumer that is asked for messages names its topics. No Java twin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiorocketmq.errors import ConfigError
from aiorocketmq.model.filters import SQL

Topics = str | Iterable[str] | Mapping[str, str | SQL | None]
"""One topic, several, or topics with their filters."""


def with_filters(topics: Topics) -> dict[str, str | SQL | None]:
    """Topics and their filters.

    Raises:
        ConfigError: They are named in no way that is known.
    """
    if isinstance(topics, str):
        return {topics: "*"}
    if isinstance(topics, Mapping):
        return {topic_name(topic): expression for topic, expression in topics.items()}
    if not isinstance(topics, Iterable):
        raise ConfigError(f"topics {topics!r} is no list of names", hint='give topics=["orders"], or topics={"orders": "TagA"}')
    return {topic_name(topic): "*" for topic in topics}


def topic_name(topic: object) -> str:
    """The name of a topic.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(topic, str):
        raise ConfigError(f"topic {topic!r} is no name", hint="give the name of a topic as a str")
    return topic
