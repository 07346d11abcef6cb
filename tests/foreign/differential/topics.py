"""Topics and groups that come, change and go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from tests.foreign.differential.command import Command, Plan, command
from tests.foreign.differential.line import Ask
from tests.foreign.differential.peer import Peer, Seen, json_body

PUT_TOPIC, DELETE_TOPIC, PUT_GROUP, DELETE_GROUP, TOPIC_CONFIG, GROUP_CONFIG = 17, 215, 200, 207, 351, 352


_ODD_TOPICS = ("a b", "=SELF_TEST_TOPIC", "=TBW102", "=SCHEDULE_TOPIC_XXXX", "=", "%RETRY%g0", "x" * 130)


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class PutTopic(Command):
    """Create or change a topic."""

    weight: ClassVar[int] = 4

    topic: str
    read: int = 2
    write: int = 2
    perm: int = 6
    order: bool = False
    filter: str = "SINGLE_TAG"
    sys_flag: int | None = 0
    attributes: str | None = None

    @classmethod
    def draw(cls, plan: Plan) -> PutTopic:
        read = plan.one(1, 2, 3)
        return cls(
            number=plan.number,
            topic=plan.text(plan.topic(), f"extra{plan.number}", *_ODD_TOPICS, chance=0.15),
            read=read,
            write=plan.mostly(read, 1, 3, 0, chance=0.2),
            perm=plan.mostly(6, 2, 4, 7, 0, chance=0.15),
            order=plan.random.random() < 0.1,
            filter=plan.mostly("SINGLE_TAG", "MULTI_TAG", "NOTHING", chance=0.05),
            sys_flag=plan.mostly(0, None, 3, chance=0.1),
            attributes=plan.mostly(None, "", "+message.type=NORMAL", "+message.type=FIFO", "+message.type=WRONG", "+nothing=1", "nonsense",
                "-message.type", chance=0.2),
        )  # fmt: skip

    def play(self, peer: Peer) -> Seen:
        seen = peer.ask(
            Ask(
                PUT_TOPIC,
                {
                    "topic": peer.name(self.topic), "defaultTopic": "TBW102", "readQueueNums": self.read, "writeQueueNums": self.write,
                    "perm": self.perm, "topicFilterType": self.filter, "topicSysFlag": self.sys_flag, "order": self.order,
                    "attributes": self.attributes,
                },
            )
        )  # fmt: skip
        if seen["code"] == 0:
            peer.absent.discard(self.topic)
            peer.made.add(self.topic)
        return seen


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTopic(Command):
    """A topic goes."""

    weight: ClassVar[int] = 2

    topic: str

    @classmethod
    def draw(cls, plan: Plan) -> DeleteTopic:
        return cls(number=plan.number, topic=plan.mostly(plan.topic(), "=SELF_TEST_TOPIC", "=", "a b", chance=0.1))

    def play(self, peer: Peer) -> Seen:
        seen = peer.ask(Ask(DELETE_TOPIC, {"topic": peer.name(self.topic)}))
        peer.forget(self.topic)
        peer.absent.add(self.topic)
        return seen


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class PutGroup(Command):
    """Create or change a consumer group."""

    weight: ClassVar[int] = 3

    group: str
    consume: bool = True
    broadcast: bool = True
    retry_queues: int = 1
    retry_most: int = 16
    broker: int = 0
    when_slow: int = 1
    notify: bool = True
    more: str = ""

    @classmethod
    def draw(cls, plan: Plan) -> PutGroup:
        drawn = cls(
            number=plan.number,
            group=plan.mostly(plan.group(), "=a b", "=CID_RMQ_SYS_TRANS", chance=0.05),
            consume=plan.random.random() < 0.9,
            broadcast=plan.random.random() < 0.7,
            retry_queues=plan.mostly(1, 0, chance=0.1),
            retry_most=plan.mostly(16, 0, 1, 3, -1, chance=0.4),
            broker=plan.mostly(0, 3, chance=0.1),
            notify=plan.random.random() < 0.9,
        )
        # Sequences are played side by side, and share this one: what one changes must not be seen by another on one server only.
        return cls(number=drawn.number, group=drawn.group) if drawn.group == "=CID_RMQ_SYS_TRANS" else drawn

    def play(self, peer: Peer) -> Seen:
        body = {
            "groupName": peer.name(self.group), "consumeEnable": self.consume, "consumeFromMinEnable": True,
            "consumeBroadcastEnable": self.broadcast, "consumeMessageOrderly": False,
            "retryQueueNums": self.retry_queues, "retryMaxTimes": self.retry_most, "brokerId": self.broker,
            "whichBrokerWhenConsumeSlowly": self.when_slow, "notifyConsumerIdsChangedEnable": self.notify, "groupSysFlag": 0,
            "consumeTimeoutMinute": 15,
        }  # fmt: skip
        seen = peer.ask(Ask(PUT_GROUP, body=json.dumps(body).encode()))
        if seen["code"] == 0:
            peer.absent.discard(self.group)
        return seen


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteGroup(Command):
    """A group goes."""

    weight: ClassVar[int] = 2

    group: str
    clean: bool | None = None

    @classmethod
    def draw(cls, plan: Plan) -> DeleteGroup:
        return cls(number=plan.number, group=plan.mostly(plan.group(), "=a b", chance=0.1), clean=True)

    def play(self, peer: Peer) -> Seen:
        peer.absent.add(self.group)
        return peer.ask(Ask(DELETE_GROUP, {"groupName": peer.name(self.group), "cleanOffset": self.clean}))


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigOf(Command):
    """The configuration of a topic or a group."""

    weight: ClassVar[int] = 4

    topic: str = ""
    group: str = ""

    @classmethod
    def draw(cls, plan: Plan) -> ConfigOf:
        if plan.random.random() < 0.5:
            return cls(number=plan.number, group=plan.mostly(plan.one("g0", "g1"), "=TOOLS_CONSUMER", "=a b", chance=0.1))
        return cls(number=plan.number, topic=plan.mostly(plan.topic(), "%RETRY%g0", "%DLQ%g0", "=SELF_TEST_TOPIC", "=TBW102", chance=0.1))

    def play(self, peer: Peer) -> Seen:
        if self.group:
            return peer.ask(Ask(GROUP_CONFIG, {"group": peer.name(self.group)}), json_body)
        return peer.ask(Ask(TOPIC_CONFIG, {"topic": peer.name(self.topic)}), json_body)
