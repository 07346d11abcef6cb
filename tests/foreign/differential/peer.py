"""One of the two servers as a sequence sees it: its connections, the names of this sequence, and what was stored so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiorocketmq.protocol import fastjson
from tests.foreign.differential.line import Ask, Frame, Line
from tests.foreign.differential.normal import Normal
from tests.foreign.differential.records import read_records

GET_MAX_OFFSET, QUERY_MESSAGE, VIEW_MESSAGE = 30, 12, 33
_PATIENCE = 20.0

Seen = dict[str, Any]
"""An answer, or anything else that a command saw, with everything in it by name."""
Reader = Callable[[bytes], Any]


def no_body(data: bytes) -> Any:
    """The body of an answer that should have none."""
    return data


def json_body(data: bytes) -> Any:
    """A body of JSON, also in the dialect of old servers."""
    return fastjson.loads(data) if data else None


def record_body(data: bytes) -> Any:
    """A body of stored messages."""
    return read_records(data)


def text_body(data: bytes) -> Any:
    """A body of text lines, in any order."""
    return sorted(data.decode().splitlines())


@dataclass(slots=True)
class Stored:
    """A message that a command has stored.

    Attributes:
        topic: Where it was sent, a name of the sequence.
        queue_id: The queue of the answer.
        queue_offset: The offset there.
        place: Its offset in the log.
        message_id: Its offset id.
        unique: Its unique id.
        answer: Further fields of the answer.
    """

    topic: str
    queue_id: int
    queue_offset: int
    place: int
    message_id: str
    unique: str
    answer: dict[str, str] = field(default_factory=dict)


class Peer:
    """One server during one sequence.

    Args:
        label: How reports call it.
        address: `host:port` of the server.
        scope: What all names of this sequence begin with.
    """

    def __init__(self, label: str, address: str, scope: str) -> None:
        self.label = label
        self.address = address
        self.scope = scope
        self.normal = Normal(address)
        self.stored: dict[int, list[Stored]] = {}
        """Messages by the number of the command that stored them."""
        self.gone: set[str] = set()
        """Topics that were deleted once: a real broker still finds what was in them by id and key, the embedded one keeps nothing."""
        self.made: set[str] = set()
        """Topics to take away at the end."""
        self.absent: set[str] = {"t0", "t1", "t2", "g0", "g1", "%RETRY%g0", "%RETRY%g1", "%DLQ%g0"}
        """Topics and groups that are not there: a real broker makes some when it refuses a request, the embedded one does not."""
        self._lines: dict[str, Line] = {}
        self._ends: dict[tuple[str, int], int] = {}
        self._unsettled: dict[tuple[str, int], int] = {}
        self._unindexed: dict[str, str] = {}
        self.pending: dict[str, int] = {}
        """Requests that are not answered yet, by a name that their command gave: their numbers."""

    def close(self) -> None:
        """Close all connections."""
        for line in self._lines.values():
            line.close()

    def name(self, token: str) -> str:
        """The name of this sequence for a token; what begins with `=` stands as it is, and prefixes of groups stay in front."""
        if token.startswith("="):
            return token[1:]
        for prefix in ("%RETRY%", "%DLQ%", "%LMQ%"):
            if token.startswith(prefix):
                return prefix + self.name(token.removeprefix(prefix))
        return f"{self.scope}_{token}"

    def line(self, label: str = "plain") -> Line:
        """A connection by its label, opened at its first use."""
        line = self._lines.get(label)
        if line is None:
            line = self._lines[label] = Line(self.address)
            self.normal.call("address", line.address)
        return line

    def is_open(self, label: str) -> bool:
        """Whether a connection is there."""
        return label in self._lines

    def hang_up(self, label: str) -> None:
        """Close a connection."""
        line = self._lines.pop(label, None)
        if line is not None:
            line.close()

    # -- asking ---------------------------------------------------------------------------------------------------------

    def ask(self, ask: Ask, read: Reader = no_body, line: str = "plain") -> Seen:
        """Ask, and see the answer."""
        answer = self.line(line).ask(ask)
        return self.see(answer, read) if answer is not None else {"answer": None}

    def raw(self, ask: Ask, line: str = "plain") -> Frame:
        """Ask, and get the answer as it is."""
        answer = self.line(line).ask(ask)
        assert answer is not None
        return answer

    def see(self, frame: Frame, read: Reader = no_body) -> Seen:
        """A frame with everything in it by name."""
        header = {name: value for name, value in frame.header.items() if name not in ("opaque", "extFields")}
        if not header.get("remark"):
            header.pop("remark", None)
        failed = frame.header["code"] != 0 and frame.is_answer
        body = frame.body if failed and read is not record_body else read(frame.body)
        return {
            **self.normal.value(header),
            "fields": self.normal.value(frame.header.get("extFields") or {}),
            "body": self.normal.value(body) if body else None,
        }

    # -- what happens behind answers --------------------------------------------------------------------------------------

    def expect(self, topic: str, queue_id: int, end: int | None = None) -> None:
        """A queue will have messages up to an offset, or one more than before: commands that look there wait for it."""
        key = topic, queue_id
        end = self._ends.get(key, 0) + 1 if end is None else end
        self._ends[key] = max(end, self._ends.get(key, 0))
        self._unsettled[key] = self._ends[key]

    def forget(self, topic: str) -> None:
        """The topic is gone, and begins anew."""
        self.gone.add(topic)
        self._unindexed.pop(topic, None)
        for table in (self._ends, self._unsettled):
            for key in [key for key in table if key[0] == topic]:
                del table[key]

    def ends(self, topic: str, queue_id: int) -> int:
        """The next offset of a queue, as the server says at this moment."""
        found = self.raw(Ask(GET_MAX_OFFSET, {"topic": self.name(topic), "queueId": queue_id})).header.get("extFields") or {}
        return int(found.get("offset", -1))

    def expect_copy(self, place: int) -> None:
        """A message may have gone elsewhere than it was sent to, as one that was tried too often: find it there."""
        record = self.record(place)
        self.expect(f"={record['topic']}", record["queueId"], record["queueOffset"] + 1)

    def record(self, place: int) -> dict[str, Any]:
        """The message at an offset of the log."""
        frame = self.raw(Ask(VIEW_MESSAGE, {"offset": place}))
        assert frame.header["code"] == 0, frame.header
        found: dict[str, Any] = read_records(frame.body)[0]
        return found

    def expect_index(self, topic: str, unique: str) -> None:
        """A message will be found by its id."""
        self._unindexed[topic] = unique

    def settle(self, topic: str = "") -> None:
        """Wait until what was stored is where consumers find it: a real broker carries it there behind its answers."""
        for (name, queue_id), end in list(self._unsettled.items()):
            if not topic or self.name(topic) == self.name(name):
                fields = {"topic": self.name(name), "queueId": queue_id}
                self._until(partial(self._reaches, fields, end), f"{fields} reach {end}")
                del self._unsettled[name, queue_id]

    def settle_index(self) -> None:
        """Wait until what was stored is found by key."""
        for topic, unique in list(self._unindexed.items()):
            fields = {"topic": self.name(topic), "key": unique, "maxNum": 1, "beginTimestamp": 0, "endTimestamp": 1 << 60}
            self._until(partial(self._is_found, {**fields, "_UNIQUE_KEY_QUERY": True}), f"{unique} is found")
            del self._unindexed[topic]

    def _reaches(self, fields: dict[str, object], end: int) -> bool:
        found = self.raw(Ask(GET_MAX_OFFSET, fields)).header.get("extFields") or {}
        return int(found.get("offset", -1)) >= end

    def _is_found(self, fields: dict[str, object]) -> bool:
        return bool(self.raw(Ask(QUERY_MESSAGE, fields)).header["code"] == 0)

    @staticmethod
    def hope(happened: Callable[[], bool], seconds: float = 0.1) -> None:
        """Wait a little for what may happen or not."""
        until = time.monotonic() + seconds
        while not happened() and time.monotonic() < until:
            time.sleep(0.002)

    def _until(self, happened: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + _PATIENCE
        pause = 0.0005
        while not happened():
            if time.monotonic() > until:
                raise SettleError(f"{self.label}: not within {_PATIENCE:.0f} s: {what}")
            time.sleep(pause)
            pause = min(0.05, pause * 2)


class SettleError(Exception):
    """What was stored has not come to where it belongs."""
