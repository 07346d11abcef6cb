"""What is delivered later, or waited for: delays, timers, recalls, retries, transactions, long pulls."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.foreign.differential.command import Command, Plan, command
from tests.foreign.differential.line import Ask
from tests.foreign.differential.peer import GET_MAX_OFFSET, Peer, Seen, record_body
from tests.foreign.differential.reading import SUBSCRIPTION, SUSPEND, Pull
from tests.foreign.differential.sending import SEND_V2, Properties, Send, draw_properties, unique_id

SEND_BACK, END_TRANSACTION, RECALL = 36, 37, 370
COMMIT, ROLLBACK = 8, 12
RETRY_AT_ONCE = 20
_ELSEWHERE = "<that of a topic of all>"


def _parked(peer: Peer, seen: Seen) -> Seen:
    """An answer about a message in a topic that all sequences share."""
    if "queueOffset" in seen["fields"]:
        seen["fields"]["queueOffset"] = _ELSEWHERE
    if "recallHandle" in seen["fields"]:
        handle = base64.urlsafe_b64decode(seen["fields"]["recallHandle"]).decode()
        seen["fields"]["recallHandle"] = peer.normal.text(handle)
    return seen


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SendLater(Send):
    """One message for later: of the first delay level or a second by timer it is waited for, others never come."""

    weight: ClassVar[int] = 3

    later: tuple[str, str] = ("DELAY", "1")
    comes: bool = True

    @classmethod
    def draw(cls, plan: Plan) -> SendLater:
        later, comes = plan.one(
            (("DELAY", "1"), True), (("DELAY", "1"), True), (("TIMER_DELAY_MS", "600"), True), (("TIMER_DELAY_SEC", "1"), True),
            (("DELAY", "18"), False), (("DELAY", "99"), False), (("DELAY", "0"), True), (("DELAY", "-1"), True), (("DELAY", "x"), False),
            (("TIMER_DELAY_SEC", "600"), False), (("TIMER_DELAY_SEC", "9999999"), False), (("TIMER_DELIVER_MS", "5"), True),
        )  # fmt: skip
        plan.sends.append(plan.number)
        properties = draw_properties(plan, kinds=False)
        return cls(number=plan.number, topic=plan.one("t0", "t1", "t2"), properties=properties, later=later, comes=comes)

    def play(self, peer: Peer) -> list[Seen]:
        peer.settle(self.topic)
        properties = {**dict(self.properties), "UNIQ_KEY": unique_id(peer, self.number), self.later[0]: self.later[1]}
        before = peer.ends(self.topic, self.queue)
        answer = peer.raw(self.request(peer, properties))
        seen = [_parked(peer, peer.see(answer))]
        if answer.header["code"] == 0 and self.comes:
            peer.expect(self.topic, self.queue, before + 1)
            peer.settle(self.topic)
        elif answer.header["code"] == 0 and "recallHandle" in answer.header["extFields"]:
            seen.append(self._recall(peer, answer.header["extFields"]["recallHandle"]))
        return seen

    def _recall(self, peer: Peer, handle: str) -> Seen:
        fields = {"topic": peer.name(self.topic), "recallHandle": handle, "producerGroup": peer.name("producers")}
        return peer.ask(Ask(RECALL, fields))


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class RecallNothing(Command):
    """A recall that cannot be."""

    weight: ClassVar[int] = 1

    topic: str
    handle: str

    @classmethod
    def draw(cls, plan: Plan) -> RecallNothing:
        good = base64.urlsafe_b64encode(f"v1 {{topic}} broker-a {plan.one(1000, 1 << 50)} AC00000000000000".encode()).decode()
        return cls(number=plan.number, topic=plan.topic(), handle=plan.one(good, "nonsense", "", "AAAA"))

    def play(self, peer: Peer) -> Seen:
        return peer.ask(Ask(RECALL, {"topic": peer.name(self.topic), "recallHandle": self.handle, "producerGroup": "p"}))


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class SendBack(Command):
    """A consumer gives a message back: for a retry after a second, for one in two hours, or to the dead letters."""

    weight: ClassVar[int] = 4

    sent: int
    group: str
    level: int = 1
    most: int | None = None
    shift: int = 0

    @classmethod
    def draw(cls, plan: Plan) -> SendBack | None:
        sent = plan.sent()
        if sent is None:
            return None
        return cls(
            number=plan.number,
            sent=sent,
            group=plan.mostly(plan.one("g0", "g1"), f"back{plan.number}", chance=0.1),
            level=plan.mostly(-1, 1, 18, chance=0.6),
            most=plan.mostly(None, 0, 5, chance=0.4),
            shift=plan.mostly(0, 1 << 40, chance=0.1),
        )

    def play(self, peer: Peer) -> Seen | list[Seen]:
        stored = [each for each in peer.stored.get(self.sent, ())[:1] if each.topic not in peer.gone]
        if not stored:
            return []
        retry, dead = f"%RETRY%{self.group}", f"%DLQ%{self.group}"
        peer.settle(retry)
        peer.settle(dead)
        fields = {
            "offset": stored[0].place + self.shift, "group": peer.name(self.group), "delayLevel": self.level,
            "originMsgId": stored[0].message_id, "originTopic": peer.name(stored[0].topic), "unitMode": False,
            "maxReconsumeTimes": self.most,
        }  # fmt: skip
        before = peer.ends(retry, 0) + peer.ends(dead, 0)
        seen = peer.ask(Ask(SEND_BACK, fields))
        if seen["code"] == 0 and self.level != 18:
            peer.hope(lambda: peer.ends(retry, 0) + peer.ends(dead, 0) > before, 4.0)
        peer.made.update((retry, dead))
        return seen


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class LongPull(Pull):
    """A pull that waits at the end of a queue, until a message comes that it wants."""

    weight: ClassVar[int] = 3

    tags: tuple[str, ...] = ()

    @classmethod
    def draw(cls, plan: Plan) -> LongPull:
        expression, language, tags = plan.one(
            ("*", "TAG", ("A",)), ("A", "TAG", ("B", "C", "A")), ("A", "TAG", ("A",)), ("TAGS = 'A'", "SQL92", ("B", "A"))
        )
        return cls(
            number=plan.number, group=plan.one("g0", "g1"), topic=plan.one("t0", "t1", "t2"), flags=SUBSCRIPTION | SUSPEND,
            expression=expression, language=language, tags=tags,
        )  # fmt: skip

    def play(self, peer: Peer) -> list[Any]:
        peer.settle(self.topic)
        end = peer.ends(self.topic, 0)
        line = peer.line("waiting")
        asked = dict(self.request(peer, 30_000).fields) | {"queueOffset": max(0, end)}
        number = line.send(Ask(self.code, asked))
        seen: list[Any] = []
        line.ask(Ask(GET_MAX_OFFSET, {"topic": peer.name(self.topic), "queueId": 0}))  # the pull was looked at before this
        line.listen(0.02)  # or, on a real broker, on another thread, within this time
        for index, tag in enumerate(self.tags):
            sent = Send(number=self.number * 10 + 100_000 + index, topic=self.topic, properties=(("TAGS", tag),))
            seen.append(sent.send(peer))
        if any(each["code"] != 0 for each in seen):
            peer.hang_up("waiting")
            return seen
        answer = line.answer(number)
        while answer.header["code"] == RETRY_AT_ONCE:  # it was looked at when a message had come that it does not want: as clients do
            asked["queueOffset"] = answer.header["extFields"]["nextBeginOffset"]
            answer = line.answer(line.send(Ask(self.code, asked)))
        return [*seen, peer.see(answer, record_body)]


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction(Send):
    """A half message, and its end."""

    weight: ClassVar[int] = 0

    end: int = COMMIT
    checked: bool = False
    wrong: str = ""

    @classmethod
    def draw(cls, plan: Plan) -> Transaction:
        return cls(
            number=plan.number,
            topic=plan.one("t0", "t1", "t2"),
            queue=plan.one(0, 0, 7),
            properties=draw_properties(plan, kinds=False),
            end=plan.one(COMMIT, COMMIT, ROLLBACK),
            checked=plan.random.random() < 0.3,
            wrong=plan.mostly("", "group", "place", "offset", chance=0.3),
        )

    def play(self, peer: Peer) -> list[Seen]:
        peer.settle(self.topic)
        half: Properties = (("TRAN_MSG", "true"), ("PGROUP", peer.name("producers")))
        properties = {**dict(self.properties), **dict(half), "UNIQ_KEY": unique_id(peer, self.number)}
        fields = dict(self.request(peer, properties).fields) | {"f": 4}
        before = peer.ends(self.topic, self.queue)
        answer = peer.raw(Ask(SEND_V2, fields, self.bytes_of(peer)))
        seen = [_parked(peer, peer.see(answer))]
        if answer.header["code"] != 0:
            return seen
        given = answer.header["extFields"]
        place = int(given["msgId"][16:], 16)
        asked = {
            "topic": peer.name(self.topic), "producerGroup": peer.name("strangers" if self.wrong == "group" else "producers"),
            "tranStateTableOffset": int(given["queueOffset"]) + (self.wrong == "offset"),
            "commitLogOffset": place + (1 << 40 if self.wrong == "place" else 0), "commitOrRollback": self.end,
            "fromTransactionCheck": self.checked, "msgId": properties["UNIQ_KEY"], "transactionId": given["transactionId"],
        }  # fmt: skip
        seen.append(peer.ask(Ask(END_TRANSACTION, asked)))
        if seen[1]["code"] == 0 and self.end == COMMIT:
            peer.expect(self.topic, self.queue, before + 1)
            peer.settle(self.topic)
        if self.wrong:
            right = {"producerGroup": peer.name("producers"), "tranStateTableOffset": given["queueOffset"], "commitLogOffset": place}
            peer.ask(Ask(END_TRANSACTION, asked | right | {"commitOrRollback": ROLLBACK}))
        return seen
