"""Pulls, offsets, searches and queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tests.foreign.differential.command import Command, Plan, command
from tests.foreign.differential.line import Ask
from tests.foreign.differential.peer import Peer, Seen, record_body

PULL, QUERY_MESSAGE, QUERY_OFFSET, UPDATE_OFFSET = 11, 12, 14, 15
SEARCH, MAX_OFFSET, MIN_OFFSET, EARLIEST, VIEW = 29, 30, 31, 32, 33
LITE_PULL = 361
COMMIT_OFFSET, SUSPEND, SUBSCRIPTION, CLASS_FILTER, LITE = 1, 2, 4, 8, 16

_TAG_EXPRESSIONS = ("*", "A", "B", "A || B", "A||C||", " A ", "", "||", "Ä", "AaAa", "BBBB", "A|B", "nobody")
_SQL_EXPRESSIONS = (
    "n > 4", "n = 5", "color = 'red'", "n IS NULL", "n is not null AND color <> 'blue'", "TAGS = 'A' OR n BETWEEN 2 AND 6", "TRUE",
    "1 = 1", "color IN ('red', 'blue')", "color LIKE 'r%'", "color STARTSWITH 'r'", "NOT (n < 3)", "",
    "FALSE", "'a' = 'a'",
)  # fmt: skip


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Pull(Command):
    """A pull that does not wait."""

    weight: ClassVar[int] = 25

    group: str
    topic: str
    queue: int = 0
    offset: int = 0
    most: int = 32
    flags: int = SUBSCRIPTION
    commit: int = 0
    version: int = 0
    expression: str | None = "*"
    language: str | None = "TAG"
    code: int = PULL
    bytes_limit: int | None = None

    @classmethod
    def draw(cls, plan: Plan) -> Pull:
        flags = plan.mostly(
            SUBSCRIPTION, 0, SUBSCRIPTION | COMMIT_OFFSET, COMMIT_OFFSET, SUBSCRIPTION | LITE, SUBSCRIPTION | CLASS_FILTER, chance=0.25
        )
        sql = plan.random.random() < 0.25
        if plan.random.random() < 0.02:  # a group of its own: a real broker goes on where the embedded one refuses
            bad = plan.one("n > 4 AND", "SELECT", "n > 'x'")
            return cls(
                number=plan.number, group=f"odd{plan.number}", topic=plan.topic(), expression=bad, language=plan.mostly("SQL92", "sql92")
            )
        return cls(
            number=plan.number,
            group=plan.mostly(plan.group(), "=", "=a b", "=CID_RMQ_SYS_TRANS", chance=0.03),
            topic=plan.mostly(plan.topic(), "%RETRY%g0", "%DLQ%g0", "=SELF_TEST_TOPIC", "=", chance=0.06),
            queue=plan.mostly(plan.queue(), -1, chance=0.02),
            offset=plan.mostly(plan.one(0, 0, 0, 1, 2, 3), 5, 20, 1000, -1, 1 << 40, chance=0.2),
            most=plan.mostly(32, 1, 2, 0, -1, 1000, chance=0.3),
            flags=flags,
            commit=plan.one(0, 1, 3, -1),
            version=plan.mostly(0, 5, 1 << 50, chance=0.1),
            expression=plan.one(*_SQL_EXPRESSIONS) if sql else plan.mostly("*", *_TAG_EXPRESSIONS, None, chance=0.5),
            language="SQL92" if sql else plan.mostly("TAG", None, "NONE", chance=0.15),
            code=plan.mostly(PULL, LITE_PULL, chance=0.15),
            bytes_limit=plan.mostly(None, 0, 1, 100, 100_000, -1, chance=0.1),
        )  # fmt: skip

    def play(self, peer: Peer) -> Seen | list[Seen]:
        peer.settle(self.topic)
        return peer.ask(self.request(peer), record_body)

    def request(self, peer: Peer, suspend: int = 0) -> Ask:
        """What is asked."""
        return Ask(
            self.code,
            {
                "consumerGroup": peer.name(self.group), "topic": peer.name(self.topic), "queueId": self.queue, "queueOffset": self.offset,
                "maxMsgNums": self.most, "sysFlag": self.flags, "commitOffset": self.commit, "suspendTimeoutMillis": suspend,
                "subVersion": self.version, "subscription": self.expression, "expressionType": self.language,
                "maxMsgBytes": self.bytes_limit,
            },
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfQueue(Command):
    """A question about a queue."""

    topic: str
    queue: int = 0

    def fields(self, peer: Peer) -> dict[str, object]:
        """What names the queue."""
        peer.settle(self.topic)
        return {"topic": peer.name(self.topic), "queueId": self.queue}


def _queue_of(plan: Plan) -> dict[str, object]:
    topic = plan.mostly(plan.topic(), "%RETRY%g0", "%DLQ%g0", "=SELF_TEST_TOPIC", "=nothing", chance=0.06)
    return {"number": plan.number, "topic": topic, "queue": plan.mostly(plan.queue(), -1, chance=0.02)}


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Ends(_OfQueue):
    """The smallest and the next offset, and the first store time."""

    code: int = MAX_OFFSET

    @classmethod
    def draw(cls, plan: Plan) -> Ends:
        return cls(**_queue_of(plan), code=plan.one(MAX_OFFSET, MIN_OFFSET, EARLIEST))  # type: ignore[arg-type]

    def play(self, peer: Peer) -> Seen:
        return peer.ask(Ask(self.code, self.fields(peer)))


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Search(_OfQueue):
    """The offset for a time."""

    stamp: int = 0
    boundary: str | None = None

    @classmethod
    def draw(cls, plan: Plan) -> Search:
        stamp = plan.mostly(plan.one(0, 1 << 42), -1, 1, 1_000_000_000_000, 1 << 62, chance=0.3)
        return cls(**_queue_of(plan), stamp=stamp, boundary=plan.one(None, "lower", "upper", "UPPER", "middle", ""))  # type: ignore[arg-type]

    def play(self, peer: Peer) -> Seen:
        return peer.ask(Ask(SEARCH, self.fields(peer) | {"timestamp": self.stamp, "boundaryType": self.boundary}))


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Commit(_OfQueue):
    """A consumer saves an offset."""

    group: str
    offset: int = 0
    oneway: bool = False

    @classmethod
    def draw(cls, plan: Plan) -> Commit:
        offset = plan.mostly(plan.random.randrange(5), 100, -1, 1 << 50, chance=0.15)
        group = plan.mostly(plan.group(), "=", "=a b", "=CID_RMQ_SYS_TRANS", chance=0.03)
        queue = _queue_of(plan)
        oneway = plan.random.random() < 0.2 and queue["queue"] != -1
        return cls(**queue, group=group, offset=offset, oneway=oneway)  # type: ignore[arg-type]

    def play(self, peer: Peer) -> Seen:
        fields = self.fields(peer) | {"consumerGroup": peer.name(self.group), "commitOffset": self.offset}
        seen = peer.ask(Ask(UPDATE_OFFSET, fields, oneway=self.oneway))
        if self.oneway:  # nobody says when it is done
            asked = {name: value for name, value in fields.items() if name != "commitOffset"}
            peer.hope(lambda: (peer.raw(Ask(QUERY_OFFSET, asked)).header.get("extFields") or {}).get("offset") == str(self.offset))
        return seen


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(_OfQueue):
    """A consumer asks for its offset."""

    group: str
    zero: bool | None = None

    @classmethod
    def draw(cls, plan: Plan) -> Committed:
        group = plan.mostly(plan.group(), "=", "=a b", chance=0.03)
        return cls(**_queue_of(plan), group=group, zero=plan.one(None, None, True, False))  # type: ignore[arg-type]

    def play(self, peer: Peer) -> Seen:
        fields = self.fields(peer) | {"consumerGroup": peer.name(self.group), "setZeroIfNotFound": self.zero}
        return peer.ask(Ask(QUERY_OFFSET, fields))


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class View(Command):
    """A message by its place in the log."""

    sent: int
    shift: int = 0
    topic: str | None = None

    @classmethod
    def draw(cls, plan: Plan) -> View | None:
        sent = plan.sent()
        topic = plan.mostly(plan.topic(), None, "=", chance=0.2)
        return None if sent is None else cls(number=plan.number, sent=sent, topic=topic)

    def play(self, peer: Peer) -> Seen | list[Seen]:
        fields = {"topic": peer.name(self.topic) if self.topic is not None else None}
        stored = [each for each in peer.stored.get(self.sent, ())[:2] if each.topic not in peer.gone]
        return [peer.ask(Ask(VIEW, {"offset": each.place, **fields}), record_body) for each in stored]


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Command):
    """Messages by key."""

    topic: str
    key: str
    most: int = 32
    begin: int = 0
    end: int = 1 << 50
    unique: bool | None = None
    kind: str | None = None
    sent: int | None = None

    @classmethod
    def draw(cls, plan: Plan) -> Query:
        by_id = plan.random.random() < 0.5
        return cls(
            number=plan.number,
            topic=plan.mostly(plan.topic(), "%RETRY%g0", chance=0.05),
            key=plan.mostly(plan.one("k1", "k2"), "k3", "k1 k2", "", "k#1", "nothing", "A", chance=0.3),
            most=plan.mostly(32, 1, 2, 0, -1, 1000, chance=0.3),
            begin=plan.mostly(0, 1 << 42, -1, chance=0.1),
            end=plan.mostly(1 << 50, 1, 0, -1, chance=0.1),
            unique=plan.mostly(True, None, chance=0.2) if by_id else plan.mostly(None, False, chance=0.2),
            kind=plan.mostly(None, "K", "U", "T", "", chance=0.1),
            sent=plan.sent() if by_id else None,
        )

    def play(self, peer: Peer) -> Seen | list[Seen]:
        if self.topic in peer.gone:
            return []
        peer.settle()
        peer.settle_index()
        stored = peer.stored.get(self.sent, ()) if self.sent is not None else ()
        key = stored[0].unique if stored else self.key
        fields = {
            "topic": peer.name(self.topic), "key": key, "maxNum": self.most, "beginTimestamp": self.begin, "endTimestamp": self.end,
            "_UNIQUE_KEY_QUERY": self.unique, "indexType": self.kind,
        }  # fmt: skip
        return peer.ask(Ask(QUERY_MESSAGE, fields), record_body)
