"""Random lives of POP groups, played on a broker by raw requests: what two brokers answer to the same one can be compared line by line.

A life is played in phases. Between them time passes until everything that was taken for a short time has come back. Messages are named by
their bodies: which of several comes back first is up to the broker.
"""

from __future__ import annotations

import base64
import json
import random
import re
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, Final

from aiorocketmq.protocol.message_codec import decode_messages

SHORT_MS: Final = 2_000
LONG_MS: Final = 3_600_000
POP, ACK, PEEK, CHANGE, NOTIFY, POLLING_INFO, ACK_MANY = 200050, 200051, 200052, 200053, 200054, 200055, 200151
SEND, QUERY_OFFSET, MAX_OFFSET, RESET_OFFSET = 310, 14, 30, 222
_LETTERS: Final = "ABC"

Command = tuple[Any, ...]
Line = tuple[Any, ...]


class Wire:
    """One connection to a broker, and requests with JSON headers on it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 30.0)
        self._opaque = 0

    def close(self) -> None:
        self._socket.close()

    def ask(self, code: int, fields: dict[str, Any], body: bytes = b"") -> tuple[int, str, dict[str, str], bytes]:
        """Code, remark, fields and body of the answer."""
        self._opaque += 1
        header = {"code": code, "language": "JAVA", "version": 513, "opaque": self._opaque, "flag": 0, "serializeTypeCurrentRPC": "JSON"}
        ext = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in fields.items() if value is not None}
        encoded = json.dumps({**header, "extFields": ext}).encode()
        self._socket.sendall(struct.pack(">ii", 4 + len(encoded) + len(body), len(encoded)) + encoded + body)
        while True:
            (length,) = struct.unpack(">i", self._read(4))
            frame = self._read(length)
            size = struct.unpack(">I", frame[:4])[0] & 0xFFFFFF
            answer = json.loads(frame[4 : 4 + size])
            if answer["opaque"] == self._opaque and answer["flag"] & 1:
                return answer["code"], answer.get("remark") or "", answer.get("extFields") or {}, frame[4 + size :]

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            chunk = self._socket.recv(count - len(data))
            if not chunk:
                raise ConnectionError("the broker closed the connection")
            data += chunk
        return bytes(data)


def write_life(seed: int, *, phases: int = 2, steps: int = 8) -> list[list[Command]]:
    """A random life: its commands, phase by phase."""
    chance = random.Random(seed)
    ordered = chance.random() < 0.35
    queues = chance.choice([1, 1, 2])
    life: list[list[Command]] = []
    sent = 0

    def send() -> Command:
        nonlocal sent
        count = chance.randint(1, 4)
        sent += count
        return ("send", chance.randrange(queues), [(f"m{sent - number:03d}", chance.choice(_LETTERS)) for number in range(count, 0, -1)])

    def pop() -> Command:
        queue_id = chance.randrange(queues) if queues > 1 else chance.choice([0, -1])
        filtered = chance.random() < 0.2
        exp = chance.choice(["A", "A || B", "*", "n > 1", "TAGS = 'B'"]) if filtered else None
        kind = None if exp is None else "SQL92" if "=" in exp or ">" in exp else "TAG"
        attempt = chance.choice(["one", "two", None]) if ordered else None
        time_ms = SHORT_MS if chance.random() < 0.4 else LONG_MS
        return ("pop", queue_id, chance.choice([1, 2, 3, 32]), time_ms, kind, exp, ordered, attempt, chance.choice([0, 0, 1]))

    def some() -> list[int]:
        return [chance.randrange(64) for _ in range(chance.randint(1, 3))]

    for phase in range(phases):
        # What came back is taken whole: which of it is first, is up to the broker.
        commands: list[Command] = [send(), pop()] if phase == 0 else [("pop", 0, 32, LONG_MS, None, None, ordered, None, 0)]
        for _ in range(steps):
            what = chance.choices(
                ["send", "pop", "ack", "ack_many", "change", "peek", "notify", "offset", "reset", "bad"], [3, 8, 5, 3, 3, 1, 1, 2, 0.4, 1]
            )[0]
            if what == "send":
                commands.append(send())
            elif what == "pop":
                commands.append(pop())
            elif what in ("ack", "change"):
                suspend = chance.random() < 0.3
                commands.append((what, chance.randrange(64), SHORT_MS if chance.random() < 0.5 else LONG_MS, suspend))
            elif what == "ack_many":
                commands.append((what, some()))
            elif what == "bad":
                commands.append((what, chance.randrange(len(_BAD))))
            else:
                commands.append((what, chance.randrange(queues)))
        commands += [("pop", queue_id, 32, LONG_MS, None, None, ordered, None, 0) for queue_id in range(queues)]
        commands += [("offset", queue_id) for queue_id in range(queues)]
        commands.append(("retry",))
        life.append(commands)
    return life


_BAD: Final[list[tuple[int, dict[str, Any]]]] = [
    (POP, {"maxMsgNums": 33}),
    (POP, {"topic": "nowhere_at_all"}),
    (POP, {"queueId": 99}),
    (POP, {"exp": "a = = 1", "expType": "SQL92"}),
    (POP, {"bornTime": 1000}),
    (POP, {"maxMsgNums": 0}),
    (ACK, {"topic": "nowhere_at_all"}),
    (ACK, {"queueId": 99}),
    (ACK, {"offset": 5000}),
    (ACK, {"offset": -1}),
    (CHANGE, {"offset": 5000}),
    (CHANGE, {"queueId": -1}),
    (PEEK, {"queueId": 99}),
    (NOTIFY, {"topic": "nowhere_at_all"}),
    (POLLING_INFO, {}),
]


class Player:
    """Plays one life on one broker.

    Args:
        wire: Connection to the broker.
        broker_name: Its name.
        topic, group: Where the life takes place; the topic exists.
    """

    def __init__(self, wire: Wire, broker_name: str, topic: str, group: str) -> None:
        self._wire = wire
        self._broker_name = broker_name
        self.topic = topic
        self.group = group
        self._sent: dict[int, int] = {}
        self._receipts: dict[str, list[str]] = {}
        """Body of a message → the words of its newest receipt."""

    def play(self, command: Command, hint: Line | None = None) -> Line:
        """Carry out a command; what comes a moment later on a real broker is waited for, when `hint` says what that should be."""
        line = self._play(command)
        end = time.monotonic() + 1.0
        while hint is not None and line != hint and command[0] in ("offset", "retry", "peek", "notify") and time.monotonic() < end:
            time.sleep(0.02)
            line = self._play(command)
        return line

    def _play(self, command: Command) -> Line:
        what, *rest = command
        return getattr(self, f"_{what}")(*rest)  # type: ignore[no-any-return]

    def _send(self, queue_id: int, messages: list[tuple[str, str]]) -> Line:
        for body, tag in messages:
            properties = f"TAGS\x01{tag}\x02n\x01{int(body[1:]) % 4}\x02"
            code, remark, _, _ = self._wire.ask(
                SEND,
                {"a": "writers", "b": self.topic, "c": "TBW102", "d": 4, "e": queue_id, "f": 0, "g": int(time.time() * 1000), "h": 0,
                 "i": properties, "j": 0, "k": False, "m": False},
                body.encode(),
            )  # fmt: skip
            assert code == 0, remark
            self._sent[queue_id] = self._sent.get(queue_id, 0) + 1
        end = time.monotonic() + 10.0
        while self._end_of(queue_id) < self._sent[queue_id] and time.monotonic() < end:
            time.sleep(0.002)  # a real broker puts messages into their queue after it has acknowledged them
        return ("sent",)

    def _end_of(self, queue_id: int) -> int:
        return int(self._wire.ask(MAX_OFFSET, {"topic": self.topic, "queueId": queue_id})[2]["offset"])

    def _pop_fields(self, **fields: Any) -> dict[str, Any]:
        return {
            "consumerGroup": self.group, "topic": self.topic, "queueId": -1, "maxMsgNums": 32, "invisibleTime": LONG_MS, "pollTime": 0,
            "bornTime": 0, "initMode": 0, "order": False, **fields,
        }  # fmt: skip

    def _pop(
        self, queue_id: int, count: int, invisible: int, kind: str | None, exp: str | None, ordered: bool, attempt: str | None, init: int
    ) -> Line:
        fields = self._pop_fields(
            queueId=queue_id,
            maxMsgNums=count,
            invisibleTime=invisible,
            expType=kind,
            exp=exp,
            order=ordered,
            attemptId=attempt,
            initMode=init,
        )
        code, remark, ext, body = self._wire.ask(POP, fields)
        starts = {tuple(part.split(" ")[:2]): part.split(" ")[2] for part in ext.get("startOffsetInfo", "").split(";") if part}
        offsets = {tuple(part.split(" ")[:2]): part.split(" ")[2] for part in ext.get("msgOffsetInfo", "").split(";") if part}
        time.sleep(0.002)  # the next pop is at another time: it is what tells receipts of one message apart
        seen = []
        for message in sorted(decode_messages(body, broker_name=self._broker_name, max_body=1 << 20), key=lambda each: each.body):
            receipt = message.properties.get("POP_CK", "")
            kind_of = receipt.split(" ")[4] if receipt else "0"
            text = message.body.decode()
            words = receipt.split(" ") or []
            if not receipt:
                start = starts["0", str(message.queue.queue_id)]
                words = [
                    start, ext["popTime"], ext["invisibleTime"], ext["reviveQid"], "0", self._broker_name, str(message.queue.queue_id),
                    str(message.queue_offset),
                ]  # fmt: skip
            self._receipts[text] = words
            seen.append(
                (
                    text, message.queue.topic == self.topic, kind_of, words[0] if kind_of == "0" else "", message.tag,
                    message.reconsume_times, "1ST_POP_TIME" in message.properties, message.properties.get("ORIGIN_GROUP") == self.group,
                    words[2], len(words), words[5],
                )
            )  # fmt: skip
        shown = sorted((key, starts.get(key), value if key[0] == "0" else value.count(",")) for key, value in offsets.items())
        revive = ext.get("reviveQid")
        return (
            "pop", code, plain(remark), ext.get("invisibleTime"), revive if revive in (None, "999") else "r", ext.get("restNum"), shown,
            ext.get("orderCountInfo"), sorted(ext), seen,
        )  # fmt: skip

    def _one(self, number: int) -> tuple[str, list[str]] | None:
        bodies = sorted(self._receipts)
        return (body := bodies[number % len(bodies)], self._receipts[body]) if bodies else None

    def _fields_of(self, words: list[str]) -> dict[str, Any]:
        topic = self.topic if words[4] == "0" else f"%RETRY%{self.group}_{self.topic}"
        return {
            "consumerGroup": self.group, "topic": topic, "queueId": words[6], "offset": words[7], "extraInfo": " ".join(words)
        }  # fmt: skip

    def _ack(self, number: int, *unused: Any) -> Line:
        one = self._one(number)
        if one is None:
            return ("nothing",)
        code, remark, ext, _ = self._wire.ask(ACK, self._fields_of(one[1]))
        return ("ack", one[0], code, plain(remark), ext)

    def _ack_many(self, numbers: list[int]) -> Line:
        ones = [one for number in numbers if (one := self._one(number)) is not None]
        if not ones:
            return ("nothing",)
        acks = []
        for _, words in ones:
            start, pop_time, invisible, revive, kind, _, queue_id, offset = words
            bit = int(offset) - int(start)
            bits = base64.b64encode((1 << bit).to_bytes(bit // 8 + 1, "little")).decode()
            acks.append(
                {"c": self.group, "t": self.topic, "r": kind, "so": int(start), "q": int(queue_id), "rq": int(revive), "pt": int(pop_time),
                 "it": int(invisible), "b": bits}
            )  # fmt: skip
        code, remark, ext, _ = self._wire.ask(ACK_MANY, {}, json.dumps({"brokerName": self._broker_name, "acks": acks}).encode())
        return ("ack_many", [body for body, _ in ones], code, plain(remark), ext)

    def _change(self, number: int, invisible: int, suspend: bool) -> Line:
        one = self._one(number)
        if one is None:
            return ("nothing",)
        body, words = one
        fields = {**self._fields_of(words), "invisibleTime": invisible, "suspend": suspend}
        code, remark, ext, _ = self._wire.ask(CHANGE, fields)
        time.sleep(0.002)  # two changes of one millisecond have the same receipt, and a real broker takes one for the other
        ordered = ext.get("reviveQid") == "999"
        if code == 0 and ext.get("popTime", "0") != "0" and not ordered:
            self._receipts[body] = [words[7], ext["popTime"], ext["invisibleTime"], ext["reviveQid"], *words[4:]]
        told = ext.get("invisibleTime") if not ordered else None
        return ("change", body, code, plain(remark), told, ordered, sorted(ext))

    def _peek(self, queue_id: int) -> Line:
        fields = {"consumerGroup": self.group, "topic": self.topic, "queueId": queue_id, "maxMsgNums": 32}
        code, remark, ext, data = self._wire.ask(PEEK, fields)
        seen = decode_messages(data, broker_name=self._broker_name, max_body=1 << 20)
        return ("peek", code, remark, ext, sorted((message.body, message.queue.topic == self.topic) for message in seen))

    def _notify(self, queue_id: int) -> Line:
        fields = {"consumerGroup": self.group, "topic": self.topic, "queueId": queue_id, "pollTime": 0, "bornTime": 0}
        code, remark, ext, _ = self._wire.ask(NOTIFY, fields)
        return ("notify", code, plain(remark), ext)

    def _offset(self, queue_id: int) -> Line:
        fields = {"consumerGroup": self.group, "topic": self.topic, "queueId": queue_id, "setZeroIfNotFound": False}
        code, _, ext, _ = self._wire.ask(QUERY_OFFSET, fields)
        return ("offset", code, ext.get("offset"))

    def _reset(self, queue_id: int) -> Line:
        fields = {"group": self.group, "topic": self.topic, "queueId": queue_id, "timestamp": 0, "isForce": True, "offset": 0}
        code, _, _, _ = self._wire.ask(RESET_OFFSET, fields)
        return ("reset", code)

    def _retry(self) -> Line:
        code, _, ext, _ = self._wire.ask(MAX_OFFSET, {"topic": f"%RETRY%{self.group}_{self.topic}", "queueId": 0})
        return ("retry", code, ext.get("offset"))

    def came_back(self) -> int:
        """How many messages came back so far."""
        line: Line = self._retry()
        return int(line[2])

    def queues_of(self, life: list[list[Command]]) -> int:
        """How many queues the topic of a life needs."""
        return int(1 + max(command[1] for phase in life for command in phase if command[0] == "offset"))

    def _bad(self, number: int) -> Line:
        code, wrong = _BAD[number]
        receipt = f"0 {int(time.time() * 1000)} {LONG_MS} 0 0 {self._broker_name} 0 0"
        fields = self._pop_fields(queueId=0, offset=0, extraInfo=receipt, group=self.group)
        answer, remark, ext, _ = self._wire.ask(code, {**fields, **wrong})
        return ("bad", number, answer, plain(remark), sorted(ext))


def play(
    players: Mapping[int, Player], lives: Mapping[int, list[list[Command]]], phase: int, expected: Mapping[int, list[Line]] | None = None
) -> dict[int, list[Line]]:
    """Play one phase of each life; `expected` are the lines of another broker."""
    lines: dict[int, list[Line]] = {}
    for seed, life in lives.items():
        hints = expected[seed] if expected is not None else [None] * len(life[phase])
        lines[seed] = [players[seed].play(command, hint) for command, hint in zip(life[phase], hints, strict=True)]
    return lines


def plain(remark: str) -> str:
    """A remark without what differs from broker to broker: addresses, links, explanations."""
    if remark == "not set any response code":
        return ""  # what a real broker says where it says nothing
    remark = re.sub(r"/?127\.0\.0\.1(:\d+)?", "ADDRESS", remark)
    remark = re.sub(r"[,!]? ?\n?(See )?https?://\S+.*", "", remark, flags=re.S)
    return re.sub(r"(subscription failed).*", r"\1", remark, flags=re.S).rstrip("!, ")
