"""What administrators look at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.foreign.differential.command import Command, Plan, command
from tests.foreign.differential.line import Ask
from tests.foreign.differential.peer import Peer, Seen, json_body

TOPIC_STATS, CONSUME_STATS, WHO, SPAN, TOPICS_OF, SUBSCRIPTION_OF, RESET, STATUS = 202, 208, 300, 303, 343, 345, 222, 223
ALL_TOPICS, ALL_OFFSETS, ALL_GROUPS, SYSTEM_TOPICS = 21, 43, 201, 305


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Figures(Command):
    """Figures of a topic, a group, or a group in a topic."""

    weight: ClassVar[int] = 12

    code: int
    topic: str
    group: str

    @classmethod
    def draw(cls, plan: Plan) -> Figures:
        code = plan.one(TOPIC_STATS, CONSUME_STATS, CONSUME_STATS, WHO, SPAN, TOPICS_OF, SUBSCRIPTION_OF)
        topic = plan.mostly(plan.topic(), "%RETRY%g0", chance=0.1)
        if code == CONSUME_STATS:
            topic = plan.mostly(topic, "=", chance=0.5)
        return cls(number=plan.number, code=code, topic=topic, group=plan.group())

    def play(self, peer: Peer) -> Seen:
        peer.settle()
        group = "consumerGroup" if self.code == CONSUME_STATS else "group"
        fields = {"topic": peer.name(self.topic), group: peer.name(self.group)}
        if self.code in (TOPIC_STATS, WHO):
            del fields[group]
        elif self.code == TOPICS_OF:
            del fields["topic"]
        seen = peer.ask(Ask(self.code, fields), json_body)
        if self.code == CONSUME_STATS and isinstance(seen["body"], dict):
            for queue, figures in seen["body"]["offsetTable"].items():
                if any(queue.startswith(f"{peer.name(topic)}@") for topic in peer.gone):
                    figures["pullOffset"] = "<some stay when a topic goes>"
        for name in ("groupList", "topicList", "consumeTimeSpanSet"):
            if isinstance(seen["body"], dict) and isinstance(seen["body"].get(name), list):
                seen["body"][name].sort(key=lambda each: each if isinstance(each, str) else each["messageQueue"]["queueId"])
        return seen


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Everything(Command):
    """All topics, groups or offsets: what this sequence has of them."""

    weight: ClassVar[int] = 3

    code: int

    @classmethod
    def draw(cls, plan: Plan) -> Everything:
        return cls(number=plan.number, code=plan.one(ALL_TOPICS, ALL_OFFSETS, ALL_GROUPS, SYSTEM_TOPICS))

    def play(self, peer: Peer) -> Seen:
        seen = peer.ask(Ask(self.code), json_body)
        if self.code == SYSTEM_TOPICS:
            seen["body"]["topicList"].sort()
            return seen
        for name, table in seen["body"].items():
            if isinstance(table, dict):
                own = {key: value for key, value in table.items() if f"{peer.scope}_" in key and not re.search("_(odd|new|back)[0-9]", key)}
                seen["body"][name] = {key: sorted(value) if isinstance(value, list) else value for key, value in own.items()}
        seen["fields"] = dict.fromkeys(seen["fields"], "<count>")
        return seen


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Command):
    """An operator sets the offsets of a group."""

    weight: ClassVar[int] = 4

    topic: str
    group: str
    stamp: int
    force: bool
    queue: int | None = None
    offset: int | None = None

    @classmethod
    def draw(cls, plan: Plan) -> Reset:
        return cls(
            number=plan.number,
            topic=plan.topic(),
            group=plan.group(),
            stamp=plan.mostly(plan.one(0, -1), 1 << 42, -2, chance=0.4),
            force=plan.random.random() < 0.6,
            queue=plan.mostly(None, -1, 0, 1, 7, chance=0.5),
            offset=plan.mostly(None, -1, 0, 1, 2, 100, chance=0.5),
        )

    def play(self, peer: Peer) -> list[Any]:
        from tests.foreign.differential.members import told

        peer.settle()
        fields = {
            "topic": peer.name(self.topic), "group": peer.name(self.group), "timestamp": self.stamp, "isForce": self.force,
            "queueId": self.queue, "offset": self.offset,
        }  # fmt: skip
        return [peer.ask(Ask(RESET, fields), json_body), told(peer)]
