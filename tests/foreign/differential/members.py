"""Members that come and go, what they are told meanwhile, and the locks of their queues."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.foreign.differential.command import Command, Plan, command
from tests.foreign.differential.line import Ask
from tests.foreign.differential.peer import Peer, Seen, json_body

HEARTBEAT, UNREGISTER, MEMBERS, LOCK, UNLOCK, CHECK, CONNECTIONS, PRODUCERS = 34, 35, 38, 41, 42, 46, 203, 204
CHECK_TRANSACTION = 39
"""What brokers ask producers when they have time: not to be compared here."""
_MEMBERS = ("m0", "m1", "m2")
_FILTERS = (("*", "TAG"), ("A", "TAG"), ("A || B", "TAG"), ("n > 4", "SQL92"), ("color = 'red'", "SQL92"))


def client_id(peer: Peer, member: str) -> str:
    """What a member calls itself."""
    return f"{peer.scope}@{member}"


def java_hash(text: str) -> int:
    """`String.hashCode()`."""
    found = 0
    data = text.encode("utf-16-be")
    for index in range(0, len(data), 2):
        found = (31 * found + int.from_bytes(data[index : index + 2], "big")) & 0xFFFFFFFF
    return found - (1 << 32) if found >= 1 << 31 else found


def subscription(topic: str, expression: str, language: str, version: int) -> dict[str, Any]:
    """A subscription as heartbeats have it."""
    tags = sorted({tag.strip() for tag in expression.split("||")} - {"", "*"}) if language == "TAG" else []
    return {
        "classFilterMode": False, "topic": topic, "subString": expression, "tagsSet": tags, "codeSet": [java_hash(tag) for tag in tags],
        "subVersion": version, "expressionType": language,
    }  # fmt: skip


def told(peer: Peer) -> dict[str, Any]:
    """What the server has asked the members since the last time."""
    found = {}
    for member in _MEMBERS:
        if not peer.is_open(member):
            continue
        line = peer.line(member)
        line.ask(Ask(UNREGISTER, {"clientID": "nobody", "consumerGroup": "nothing"}))  # what was sent before is there with the answer
        seen = [peer.see(frame) for frame in line.asked if frame.header["code"] != CHECK_TRANSACTION]
        line.asked.clear()
        for each in seen:
            for name in ("language", "version", "serializeTypeCurrentRPC"):
                each.pop(name, None)
        if seen:
            found[member] = sorted(seen, key=str)
    return found


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Command):
    """A member of a group says that it is there, and what it wants."""

    weight: ClassVar[int] = 12

    member: str
    group: str | None
    producer: str | None = None
    wants: tuple[tuple[str, str, str], ...] = ()
    model: str = "CLUSTERING"
    kind: str = "CONSUME_PASSIVELY"
    where: str = "CONSUME_FROM_LAST_OFFSET"
    version: int = 1
    fingerprint: int = 0
    short: bool = False

    @classmethod
    def draw(cls, plan: Plan) -> Heartbeat:
        topics = plan.random.sample(["t0", "t1", "t2"], plan.one(1, 1, 2))
        group = plan.mostly(plan.one("g0", "g0", "g1"), f"new{plan.number}", chance=0.05)
        wants = tuple((topic, *plan.mostly(_FILTERS[0], *_FILTERS, chance=0.4)) for topic in topics)
        short = plan.random.random() < 0.1
        return cls(
            number=plan.number,
            member=plan.one(*_MEMBERS),
            group=plan.mostly(group, None, chance=0.05),
            producer=plan.mostly(None, "producers", "others", chance=0.2),
            wants=(*wants, (f"%RETRY%{group}", "*", "TAG")) if plan.random.random() < 0.7 else wants,
            model=plan.mostly("CLUSTERING", "BROADCASTING", chance=0.15),
            kind=plan.mostly("CONSUME_PASSIVELY", "CONSUME_ACTIVELY", chance=0.1),
            where=plan.mostly("CONSUME_FROM_LAST_OFFSET", "CONSUME_FROM_FIRST_OFFSET", "CONSUME_FROM_TIMESTAMP", chance=0.2),
            version=plan.mostly(plan.number + 1, 1, chance=0.2),
            fingerprint=plan.mostly(0, 7, 8, chance=0.3) if not short else plan.one(7, 8),
            short=short,
        )

    def play(self, peer: Peer) -> list[Seen]:
        consumers = []
        if self.group is not None:
            wants = [subscription(peer.name(topic), text, language, self.version) for topic, text, language in self.wants]
            consumers.append(
                {
                    "groupName": peer.name(self.group), "consumeType": self.kind, "messageModel": self.model,
                    "consumeFromWhere": self.where,
                    "subscriptionDataSet": [] if self.short else wants, "unitMode": False,
                }
            )  # fmt: skip
        body = {
            "clientID": client_id(peer, self.member),
            "consumerDataSet": consumers,
            "producerDataSet": [{"groupName": peer.name(self.producer)}] if self.producer else [],
            "heartbeatFingerprint": self.fingerprint,
            "isWithoutSub": self.short,
        }
        return [peer.ask(Ask(HEARTBEAT, body=json.dumps(body).encode()), line=self.member), told(peer)]


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Leave(Command):
    """A member says goodbye, or is gone without a word."""

    makes: ClassVar[bool] = True
    weight: ClassVar[int] = 4

    member: str
    group: str | None
    producer: str | None = None
    silent: bool = False

    @classmethod
    def draw(cls, plan: Plan) -> Leave:
        return cls(
            number=plan.number,
            member=plan.one(*_MEMBERS),
            group=plan.mostly(plan.one("g0", "g1"), None, chance=0.1),
            producer=plan.mostly(None, "producers", chance=0.3),
            silent=plan.random.random() < 0.4,
        )

    def play(self, peer: Peer) -> list[Seen]:
        if not self.silent:
            fields = {
                "clientID": client_id(peer, self.member),
                "consumerGroup": peer.name(self.group) if self.group else None,
                "producerGroup": peer.name(self.producer) if self.producer else None,
            }
            return [peer.ask(Ask(UNREGISTER, fields), line=self.member), told(peer)]
        peer.hang_up(self.member)
        peer.hope(lambda: not any(self._is_known(peer, group) for group in ("g0", "g1")), 5.0)
        return [told(peer)]

    def _is_known(self, peer: Peer, group: str) -> bool:
        answer = peer.raw(Ask(MEMBERS, {"consumerGroup": peer.name(group)}))
        return client_id(peer, self.member).encode() in answer.body


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class MembersOf(Command):
    """Who is in a group."""

    weight: ClassVar[int] = 6

    group: str
    code: int = MEMBERS

    @classmethod
    def draw(cls, plan: Plan) -> MembersOf:
        code = plan.one(MEMBERS, CONNECTIONS, PRODUCERS)
        group = (
            plan.mostly("producers", "others", "nobody", chance=0.3) if code == PRODUCERS else plan.text(plan.group(), "nobody", chance=0.1)
        )
        return cls(number=plan.number, group=group, code=code)

    def play(self, peer: Peer) -> Seen:
        named = "producerGroup" if self.code == PRODUCERS else "consumerGroup"
        seen = peer.ask(Ask(self.code, {named: peer.name(self.group)}), json_body)
        if isinstance(seen["body"], dict):
            for name in ("consumerIdList", "connectionSet"):
                if name in seen["body"]:
                    seen["body"][name].sort(key=lambda member: member["clientId"] if isinstance(member, dict) else member)
            for each in (seen["body"].get("subscriptionTable") or {}).values():
                each["tagsSet"].sort()
                each["codeSet"].sort()
        return seen


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Lock(Command):
    """A member locks queues, or gives them back."""

    weight: ClassVar[int] = 6

    member: str
    group: str
    queues: tuple[tuple[str, int], ...]
    code: int = LOCK

    @classmethod
    def draw(cls, plan: Plan) -> Lock:
        queues = tuple((plan.topic(), plan.queue()) for _ in range(plan.one(1, 2, 3)))
        member = plan.one(*_MEMBERS)
        return cls(number=plan.number, member=member, group=plan.one("g0", "g1"), queues=queues, code=plan.one(LOCK, LOCK, UNLOCK))

    def play(self, peer: Peer) -> Seen:
        queues = [{"topic": peer.name(topic), "brokerName": "broker-a", "queueId": queue} for topic, queue in self.queues]
        body = {"consumerGroup": peer.name(self.group), "clientId": client_id(peer, self.member), "mqSet": queues}
        seen = peer.ask(Ask(self.code, body=json.dumps(body).encode()), json_body, line=self.member)
        if isinstance(seen["body"], dict) and "lockOKMQSet" in seen["body"]:
            seen["body"]["lockOKMQSet"].sort(key=str)
        return seen


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFilter(Command):
    """A consumer asks whether its filter can be read."""

    weight: ClassVar[int] = 2

    group: str
    topic: str
    expression: str
    language: str

    @classmethod
    def draw(cls, plan: Plan) -> CheckFilter:
        expression, language = plan.mostly(plan.one(*_FILTERS), ("n >", "SQL92"), ("", "SQL92"), ("a", "XPATH"), ("", "TAG"), chance=0.4)
        return cls(number=plan.number, group=plan.group(), topic=plan.topic(), expression=expression, language=language)

    def play(self, peer: Peer) -> Seen:
        wanted = subscription(peer.name(self.topic), self.expression, self.language, 1)
        body = {"clientId": client_id(peer, "m0"), "group": peer.name(self.group), "subscriptionData": wanted}
        return peer.ask(Ask(CHECK, body=json.dumps(body).encode()), json_body)
