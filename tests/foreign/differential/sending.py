"""Sends of all kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tests.foreign.differential.command import Command, Plan, command
from tests.foreign.differential.line import Ask
from tests.foreign.differential.peer import Peer, Seen, Stored
from tests.foreign.differential.records import batch, properties_text

SEND, SEND_V2, SEND_BATCH = 10, 310, 320
_LONG_NAMES = (
    "producerGroup", "topic", "defaultTopic", "defaultTopicQueueNums", "queueId", "sysFlag", "bornTimestamp", "flag", "properties",
    "reconsumeTimes", "unitMode", "maxReconsumeTimes", "batch",
)  # fmt: skip
BORN = 1_234_567_890
"""When all messages were made: no time of now, so that servers have to hand it on as it is."""

Properties = tuple[tuple[str, str], ...]


def unique_id(peer: Peer, number: int, index: int = 0) -> str:
    """The id that a producer would have made: the same on both servers."""
    return peer.normal.keep(f"AC{abs(hash_of(peer.scope)) % (1 << 64):016X}{number:08X}{index:06X}")


def hash_of(text: str) -> int:
    """A number for a text, the same in every run."""
    found = 7
    for character in text:
        found = (found * 1_000_003 + ord(character)) % (1 << 61)
    return found


def draw_properties(plan: Plan, *, kinds: bool = True) -> Properties:
    """What producers and users put into messages."""
    found: list[tuple[str, str]] = []
    if plan.random.random() < 0.7:
        found.append(("TAGS", plan.mostly(plan.one("A", "B"), "C", "Ä", "", "A||B", "AaAa", "BBBB", chance=0.25)))
    if plan.random.random() < 0.4:
        found.append(("KEYS", plan.mostly(plan.one("k1", "k2"), "k1 k2", " k1  k3 ", "", "k#1", chance=0.3)))
    if plan.random.random() < 0.5:
        found.append(("n", plan.mostly(str(plan.random.randrange(10)), "x", "", "1.5", "-0", chance=0.2)))
    if plan.random.random() < 0.3:
        found.append(("color", plan.one("red", "blue", "'", "r%d")))
    if kinds and plan.random.random() < 0.1:
        found.append(plan.one(("__SHARDINGKEY", "s1"), ("WAIT", "false"), ("WAIT", "true"), ("POP_CK", "nonsense"), ("CLUSTER", "Other")))
    if kinds and plan.random.random() < 0.08:
        found.append(("_SYS_MSG_PRIORITY_", plan.one("0", "1", "2", "9", "-1", "x", "")))
    return tuple(found)


_ODD_TOPICS = (
    "=SELF_TEST_TOPIC", "=SCHEDULE_TOPIC_XXXX", "a b", "x" * 130, "%RETRY%g0", "%DLQ%g0", "=TBW102", "=DefaultCluster", "=",
)  # fmt: skip


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Send(Command):
    """One message, seen at once where consumers look for it."""

    weight: ClassVar[int] = 30

    topic: str
    queue: int = 0
    body: int = 10
    properties: Properties = ()
    unique: bool = True
    code: int = SEND_V2
    flag: int = 0
    sys_flag: int = 0
    reconsumed: int | None = 0
    most: int | None = None
    queues: int = 2
    default: str = "=TBW102"
    born: int = BORN

    @classmethod
    def draw(cls, plan: Plan) -> Send:
        topic = plan.text(plan.topic(), *_ODD_TOPICS, chance=0.06)
        plan.sends.append(plan.number)
        if topic in ("auto", "nowhere"):  # a real broker makes the topic even when it refuses the message
            return cls(
                number=plan.number,
                topic=topic,
                properties=draw_properties(plan, kinds=False),
                default="=TBW102" if topic == "auto" else "=no",
            )
        if plan.random.random() < 0.05:  # the server chooses the queue: of one
            return cls(
                number=plan.number,
                topic=f"single{plan.number}",
                queue=plan.one(-1, -7),
                queues=1,
                properties=draw_properties(plan, kinds=False),
            )
        return cls(
            number=plan.number,
            topic=topic,
            queue=plan.queue(),
            body=plan.mostly(plan.random.randrange(1, 40), 0, 5000, 70_000, chance=0.08),
            properties=draw_properties(plan),
            unique=plan.random.random() < 0.9,
            code=plan.one(SEND, SEND_V2),
            flag=plan.one(0, 0, 7),
            reconsumed=plan.mostly(0, None, 1, 3, 17, chance=0.1),
            most=plan.mostly(None, 0, 2, 16, -1, chance=0.1),
            queues=plan.mostly(2, 1, 4, 100, chance=0.2),
            default=plan.mostly("=TBW102", "t0", "nowhere", chance=0.1),
        )

    def play(self, peer: Peer) -> Seen | list[Seen]:
        return self.send(peer)

    def send(self, peer: Peer) -> Seen:
        """Send it, and keep what was stored."""
        properties = dict(self.properties)
        if self.unique:
            properties["UNIQ_KEY"] = unique_id(peer, self.number)
        answer = peer.raw(self.request(peer, properties))
        seen = peer.see(answer)
        if self.topic.startswith("=") and "queueOffset" in seen["fields"]:
            seen["fields"]["queueOffset"] = "<that of a topic of all>"
        took_in(peer, self, answer.header.get("extFields") or {}, properties) if answer.header["code"] in (0, 10, 11, 12) else None
        return seen

    def request(self, peer: Peer, properties: dict[str, str]) -> Ask:
        """What is asked."""
        values = (
            peer.name("producers"), peer.name(self.topic), peer.name(self.default), self.queues, self.queue, self.sys_flag, self.born,
            self.flag, properties_text(properties), self.reconsumed, False, self.most, False,
        )  # fmt: skip
        names = _LONG_NAMES if self.code == SEND else "abcdefghijklm"
        return Ask(self.code, dict(zip(names, values, strict=True)), self.bytes_of(peer))

    def bytes_of(self, peer: Peer) -> bytes:
        """The body."""
        return (f"{self.number}." * self.body)[: self.body].encode()


def took_in(peer: Peer, sent: Send, fields: dict[str, str], properties: dict[str, str], *, count: int = 1) -> None:
    """Keep what an answer says of stored messages, and expect them."""
    ids = fields.get("msgId", "").split(",")
    if len(ids) != count:
        return
    queue_id, first = int(fields["queueId"]), int(fields["queueOffset"])
    peer.made.add(sent.topic)
    if sent.topic.startswith("=") or queue_id < 0:  # a priority in a topic that nobody may write to: both store it where nobody reads
        return
    peer.stored[sent.number] = [
        Stored(sent.topic, queue_id, first + index, int(each[16:], 16), each, properties.get("UNIQ_KEY", ""), fields)
        for index, each in enumerate(ids)
    ]
    if sent.topic.startswith("%RETRY%"):
        peer.expect_copy(peer.stored[sent.number][0].place)
    else:
        peer.expect(sent.topic, queue_id, first + count)
    if properties.get("UNIQ_KEY") and sent.topic[0] not in "=%":
        peer.expect_index(sent.topic, properties["UNIQ_KEY"])


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SendBatch(Send):
    """Several messages at once."""

    weight: ClassVar[int] = 8

    several: tuple[tuple[int, Properties], ...] = ()
    damage: str = ""

    @classmethod
    def draw(cls, plan: Plan) -> SendBatch:
        count = plan.mostly(plan.random.randrange(1, 6), 0, 40, chance=0.1)
        plan.sends.append(plan.number)
        return cls(
            number=plan.number,
            topic=plan.mostly(plan.one("t0", "t1", "t2"), "%RETRY%g0", "%DLQ%g0", "=SCHEDULE_TOPIC_XXXX", "a b", "x" * 130, chance=0.05),
            queue=plan.queue(),
            several=tuple((plan.mostly(10, 1, 25, 0, chance=0.5), draw_properties(plan, kinds=False)) for _ in range(count)),
            unique=plan.random.random() < 0.9,
            damage=plan.mostly("", "cut", "longer", chance=0.05),
        )  # fmt: skip

    def play(self, peer: Peer) -> Seen:
        messages = []
        for index, (size, properties) in enumerate(self.several):
            own = {"UNIQ_KEY": unique_id(peer, self.number, index)} if self.unique else {}
            messages.append((bytes([65 + index % 26]) * size, dict(properties) | own))
        body = batch(messages)
        if self.damage:
            body = body[:-3] if self.damage == "cut" else body + b"abc"
        values = (
            peer.name("producers"), peer.name(self.topic), peer.name(self.default), self.queues, self.queue, self.sys_flag, self.born,
            self.flag, "", self.reconsumed, False, self.most, True,
        )  # fmt: skip
        answer = peer.raw(Ask(SEND_BATCH, dict(zip("abcdefghijklm", values, strict=True)), body))
        if answer.header["code"] == 0 and messages:
            took_in(peer, self, answer.header.get("extFields") or {}, messages[0][1], count=len(messages))
        return peer.see(answer)
