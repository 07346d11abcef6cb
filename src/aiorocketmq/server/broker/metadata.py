"""Topics and consumer groups of one broker (Java: `TopicConfigManager`, `SubscriptionGroupManager`).

Changes are visible after the commit of their tick; until then only to those who build on them (`latest`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

from aiorocketmq.errors import BrokerError, InvalidNameError, broker_error
from aiorocketmq.model import names
from aiorocketmq.model.enums import Permission
from aiorocketmq.protocol.bodies import DataVersion, SubscriptionGroupConfig, TopicConfig
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.server.broker.config import BrokerConfig
from aiorocketmq.server.broker.tables import StoredTable
from aiorocketmq.server.store.records import Unit
from aiorocketmq.server.store.store import Store

logger = logging.getLogger("aiorocketmq.server")

SCHEDULE_TOPIC: Final = "SCHEDULE_TOPIC_XXXX"
TIMER_TOPIC: Final = "rmq_sys_wheel_timer"
UNIT_FLAG: Final = 1
UNIT_SUB_FLAG: Final = 2

_READ_WRITE: Final = int(Permission.READ | Permission.WRITE)
_ALL: Final = int(Permission.READ | Permission.WRITE | Permission.INHERIT)
_TOPIC_KIND: Final = "topic"
_GROUP_KIND: Final = "group"
_FRESH_GROUPS: Final = (
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
)


def _light_queue(topic: str) -> TopicConfig:
    """Light queues need no configuration, and nobody is told of them (Java: `LmqTopicConfigManager`)."""
    return TopicConfig(topic_name=topic, read_queue_nums=1, write_queue_nums=1, perm=_READ_WRITE)


class Topics:
    """Topic configurations by name.

    Args:
        config: Settings of the broker.
        store: Where they are kept.
        now_ms: Wall clock in milliseconds.
        on_change: Called with the name of each topic that was created or changed.
    """

    def __init__(self, config: BrokerConfig, store: Store, now_ms: Callable[[], int], on_change: Callable[[str], None]) -> None:
        self._config = config
        self._store = store
        self._now_ms = now_ms
        self._on_change = on_change
        self._stored = StoredTable(store, _TOPIC_KIND, _text_of, lambda text: TopicConfig.decode(text.encode()), self._changed)
        self._going: dict[str, Unit] = {}
        self.version = DataVersion(timestamp=now_ms())

    def load(self) -> None:
        """Read the database; a fresh one gets the topics that every broker has."""
        self._stored.load()
        for fresh in self._fresh():
            self._stored.seed(fresh.topic_name, fresh)

    def _fresh(self) -> Iterator[TopicConfig]:
        config = self._config

        def topic(name: str, queues: int, perm: int = _READ_WRITE) -> TopicConfig:
            return TopicConfig(topic_name=name, read_queue_nums=queues, write_queue_nums=queues, perm=perm)

        yield topic("SELF_TEST_TOPIC", 1)
        if config.auto_create_topics:
            yield topic(names.AUTO_CREATE_TOPIC_KEY, config.default_topic_queues, _ALL)
        yield topic("BenchmarkTest", 1024)
        yield topic(config.cluster, 16, _ALL)
        yield topic(config.name, 1, _ALL)
        yield topic("OFFSET_MOVED_EVENT", 1)
        yield topic(SCHEDULE_TOPIC, len(config.delay_levels))
        yield topic(f"{config.cluster}_REPLY_TOPIC", 1)
        yield topic("RMQ_SYS_TRANS_HALF_TOPIC", 1)
        yield topic("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1)
        yield topic(TIMER_TOPIC, 1)
        yield topic("RMQ_SYS_TRACE_TOPIC", 1)  # as with traceTopicEnable=true

    def __contains__(self, topic: str) -> bool:
        return topic in self._stored

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[TopicConfig]:
        return iter(self._stored)

    def get(self, topic: str) -> TopicConfig | None:
        """The topic's configuration; None when it does not exist."""
        return _light_queue(topic) if topic.startswith(names.LMQ_PREFIX) else self._stored.get(topic)

    def latest(self, topic: str) -> TopicConfig | None:
        """As `get`, with what the commit under way makes of it; for those who store something in the topic."""
        return _light_queue(topic) if topic.startswith(names.LMQ_PREFIX) else self._stored.latest(topic)

    def require(self, topic: str) -> TopicConfig:
        """The topic's configuration.

        Raises:
            BrokerError: Code 17, the topic does not exist.
        """
        found = self.get(topic)
        if found is None:
            raise missing_topic(topic)
        return found

    def standing(self, topic: str) -> TopicConfig | None:
        """As `latest`, for those who write something about what they read of a topic: one that is just being deleted is none any more.

        Nor is it when it was made anew in the meantime: they would read of its last life, and write about the next.
        """
        found = self.latest(topic)
        return None if topic in self._going else found

    def require_standing(self, topic: str) -> TopicConfig:
        """As `standing`.

        Raises:
            BrokerError: Code 17, the topic does not exist.
        """
        found = self.standing(topic)
        if found is None:
            raise missing_topic(topic)
        return found

    def is_system(self, topic: str) -> bool:
        """True for topics that the broker owns: they are neither created nor deleted from outside."""
        config = self._config
        return names.is_system_topic(topic) or topic in (config.cluster, config.name, f"{config.cluster}_REPLY_TOPIC")

    def put(self, topic: TopicConfig) -> None:
        """Create or change a topic with the commit of this tick; the name servers are told after it."""
        self._stored.put(topic.topic_name, topic)

    def delete(self, topic: str) -> None:
        """Remove a topic and its messages; does nothing when there is none."""
        self._stored.put(topic, None)
        unit = self._store.drop_topic(topic)
        self._going[topic] = unit
        unit.callbacks.append(lambda error: self._gone(topic, unit))

    def _gone(self, topic: str, unit: Unit) -> None:
        if self._going.get(topic) is unit:
            del self._going[topic]

    def _changed(self, topic: str) -> None:
        self.version = self.version.replace(timestamp=self._now_ms(), counter=self.version.counter + 1)
        known = self._stored.get(topic)
        if known is not None:
            logger.info("broker %s: topic %s has %d queues, perm %d", self._config.name, topic, known.write_queue_nums, known.perm)
            self._on_change(topic)

    def tell_all(self) -> None:
        """Tell the name servers of every topic anew: what the broker allows in all of them has changed."""
        self.version = self.version.replace(timestamp=self._now_ms(), counter=self.version.counter + 1)
        for topic in list(self._stored):
            self._on_change(topic.topic_name)

    def create_from_default(self, topic: str, default_topic: str, queues: int, *, unit: bool) -> TopicConfig:
        """Create the topic that a producer sends to as a likeness of `default_topic` (6.3).

        Raises:
            BrokerError: Code 17, the default topic does not exist or does not allow it; code 29, it would have no queue.
        """
        known = self._stored.latest(topic)
        if known is not None:
            return known
        default = self._stored.latest(default_topic)
        if default is None or not default.perm & Permission.INHERIT:
            if names.is_retry_topic(topic):
                return self.create_derived(topic, 1)
            raise missing_topic(topic)
        if default_topic == names.AUTO_CREATE_TOPIC_KEY and not self._config.auto_create_topics:
            raise missing_topic(topic)
        count = min(queues, default.write_queue_nums)
        if count < 1:
            # A real broker makes a topic without queues, in which messages would be stored that nobody can read.
            raise broker_error(
                ResponseCode.INVALID_PARAMETER, f"topic[{topic}] cannot be created with {count} queues: ask for 1 at least", topic=topic
            )
        created = default.replace(
            topic_name=topic,
            read_queue_nums=count,
            write_queue_nums=count,
            perm=default.perm & ~int(Permission.INHERIT),
            topic_sys_flag=UNIT_FLAG if unit else 0,
        )
        self.put(created)
        return created

    def create_derived(self, topic: str, queues: int, *, unit: bool = False, order: bool = False) -> TopicConfig:
        """The retry or dead-letter topic of a group, made when it is not there; whether it is ordered it is told every time."""
        found = self._stored.latest(topic)
        if found is None:
            found = TopicConfig(
                topic_name=topic,
                read_queue_nums=queues,
                write_queue_nums=queues,
                perm=_READ_WRITE,
                topic_sys_flag=UNIT_SUB_FLAG if unit else 0,
                order=order,
            )
            self.put(found)
        elif found.order != order:
            found = found.replace(order=order)
            self.put(found)
        return found


class Groups:
    """Consumer group configurations by name."""

    def __init__(self, config: BrokerConfig, store: Store, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._store = store
        self._now_ms = now_ms
        self._stored = StoredTable(store, _GROUP_KIND, _text_of, lambda text: SubscriptionGroupConfig.decode(text.encode()), self._changed)
        self.version = DataVersion(timestamp=now_ms())

    def load(self) -> None:
        """Read the database; a fresh one gets the groups that every broker has."""
        self._stored.load()
        for name in _FRESH_GROUPS:
            self._stored.seed(name, SubscriptionGroupConfig(group_name=name))

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[SubscriptionGroupConfig]:
        return iter(self._stored)

    def get(self, group: str) -> SubscriptionGroupConfig | None:
        """The group's configuration; None when it does not exist."""
        return self._stored.get(group)

    def find(self, group: str) -> SubscriptionGroupConfig | None:
        """The group's configuration, created with defaults where that is allowed; None when it is not."""
        found = self._stored.latest(group)
        if found is None and self._config.auto_create_groups and _legal_group(group):
            found = SubscriptionGroupConfig(group_name=group)
            self.put(found)
            logger.info("broker %s: group %s created", self._config.name, group)
        return found

    def require(self, group: str) -> SubscriptionGroupConfig:
        """As `find`.

        Raises:
            BrokerError: Code 26, the group does not exist.
        """
        found = self.find(group)
        if found is None:
            raise missing_group(group)
        return found

    def put(self, group: SubscriptionGroupConfig) -> None:
        """Create or change a group with the commit of this tick."""
        self._stored.put(group.group_name, group)

    def delete(self, group: str) -> None:
        """Remove a group with the commit of this tick; does nothing when there is none."""
        self._stored.put(group, None)

    def _changed(self, group: str) -> None:
        self.version = self.version.replace(timestamp=self._now_ms(), counter=self.version.counter + 1)


def _text_of(config: TopicConfig | SubscriptionGroupConfig) -> str:
    return config.encode().decode()


def _legal_group(group: str) -> bool:
    try:
        names.check_group(group)
    except InvalidNameError:
        return False
    return True


def missing_topic(topic: str) -> BrokerError:
    """The error for a topic that the broker does not have."""
    return broker_error(ResponseCode.TOPIC_NOT_EXIST, f"topic[{topic}] not exist, apply first please!", topic=topic)


def missing_group(group: str) -> BrokerError:
    """The error for a consumer group that the broker does not have."""
    return broker_error(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, f"subscription group [{group}] does not exist")
