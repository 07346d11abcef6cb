"""`aiorocketmq tail`: looks at a topic like `tail -f`, without a group and without moving any offset (Java: `mqadmin printMsg`)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from aiorocketmq.admin import AdminClient
from aiorocketmq.cli.options import Cluster, run_async, until_terminated
from aiorocketmq.cli.output import print_message
from aiorocketmq.errors import ConfigError, RemotingError
from aiorocketmq.model.filters import SQL
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage

tail = App(
    name="tail",
    help="Follow a topic without a consumer group: nobody's offsets move.",
    help_epilogue="""\
Examples:
  aiorocketmq tail orders
  aiorocketmq tail orders --from begin --no-follow
  aiorocketmq tail orders --from -20
  aiorocketmq tail orders --from -5m --filter 'paid || refunded' -o json
  aiorocketmq tail orders --from 2026-01-31T12:00:00""",
)

_WAIT: Final = 10.0
"""Seconds that a broker holds a read while nothing is new."""
_RETRY: Final = 1.0
"""Seconds before a broker that cannot be reached is asked again."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin: one of the three is set, or `begin` says first or last message."""

    begin: bool = False
    last: int | None = None
    at: float | None = None

    @classmethod
    def parse(cls, text: str, now: float) -> Start:
        """Read `begin`, `end`, `-20` (messages), `-5m` (time), an ISO date and time, or milliseconds since the epoch.

        Raises:
            ConfigError: It is none of these.
        """
        if text in ("begin", "first"):
            return cls(begin=True)
        if text in ("end", "last"):
            return cls()
        if match := re.fullmatch(r"-([0-9]{1,15})([smhd]?)", text):
            amount = int(match[1])
            return cls(at=now - amount * _UNITS[match[2]]) if match[2] else cls(last=amount)
        if re.fullmatch(r"[0-9]{13}", text):
            return cls(at=int(text) / 1000)
        try:
            return cls(at=datetime.fromisoformat(text).timestamp())
        except ValueError as error:
            raise ConfigError(
                f"--from {text!r} is no start", hint="use begin, end, -20, -5m, or a time such as 2026-01-31T12:00:00", cause=error
            ) from None


@tail.default
def run(
    topic: str,
    /,
    *,
    start: Annotated[str, Parameter(name="--from", allow_leading_hyphen=True)] = "end",
    expression: Annotated[str, Parameter(name=["--filter", "-f"])] = "*",
    sql: str | None = None,
    count: Annotated[int | None, Parameter(name=["--count", "-c"])] = None,
    follow: bool = True,
    cluster: Cluster | None = None,
) -> None:
    """Follow a topic without a consumer group: nobody's offsets move.

    Parameters
    ----------
    topic:
        Topic to follow.
    start:
        begin, end, -20 (the last 20 messages), -5m (s, m, h, d), or a time such as 2026-01-31T12:00:00.
    expression:
        Tags: '*', or 'TagA || TagB'.
    sql:
        SQL92 condition over properties instead of tags.
    count:
        Stop after this many messages.
    follow:
        Wait for new messages; --no-follow stops at the present end.
    """
    cluster = cluster or Cluster()
    cluster.set_up_logging()
    if count is not None and count < 1:
        raise ConfigError(f"count {count} is out of range", hint="use 1 or more")
    chosen = Start.parse(start, time.time())
    run_async(until_terminated(_tail(topic, chosen, SQL(sql) if sql else expression, count, follow, cluster)))


async def _tail(topic: str, start: Start, expression: str | SQL, count: int | None, follow: bool, cluster: Cluster) -> None:
    async with AdminClient(config=cluster.config()) as admin:
        offsets = await starting_offsets(admin, topic, start)
        sink = _Sink(cluster, count, sort=not follow)
        if follow:
            await _all([_follow(admin, queue, offset, expression, sink) for queue, offset in offsets.items()], sink.full)
        else:
            await _all([_read_to_end(admin, queue, offset, expression, sink) for queue, offset in offsets.items()], sink.full)
            sink.finish()


async def starting_offsets(admin: AdminClient, topic: str, start: Start) -> dict[MessageQueue, int]:
    """The offset to begin with on every queue of the topic."""
    stats = (await admin.topics.stats(topic)).queues
    if start.at is not None:
        found = await asyncio.gather(*(admin.offsets.search(queue, start.at) for queue in stats))
        return dict(zip(stats, found, strict=True))
    if start.last is None:
        return {queue: state.min_offset if start.begin else state.max_offset for queue, state in stats.items()}
    heads = await asyncio.gather(*(_last(admin, queue, state.min_offset, state.max_offset, start.last) for queue, state in stats.items()))
    newest = sorted((message for head in heads for message in head), key=lambda message: message.store_timestamp)[-start.last :]
    offsets = {queue: state.max_offset for queue, state in stats.items()}
    for message in newest:
        offsets[message.queue] = min(offsets[message.queue], message.queue_offset)
    return offsets


async def _last(admin: AdminClient, queue: MessageQueue, low: int, high: int, count: int) -> list[ReceivedMessage]:
    offset = max(low, high - count)
    found: list[ReceivedMessage] = []
    while offset < high:
        read = await admin.messages.read(queue, offset)
        found += read.messages
        if read.next_offset <= offset:
            break
        offset = read.next_offset
    return found


class _Sink:
    """Prints messages until enough were printed; without following it sorts them by store time first."""

    def __init__(self, cluster: Cluster, count: int | None, *, sort: bool) -> None:
        self._form = cluster.output
        self._left = count
        self._held: list[ReceivedMessage] | None = [] if sort else None
        self.full = asyncio.Event()

    def take(self, messages: Sequence[ReceivedMessage]) -> None:
        if self._held is not None:
            self._held += messages
            return
        for message in messages:
            if self.full.is_set():
                return
            print_message(self._form, message)
            if self._left is not None:
                self._left -= 1
                if not self._left:
                    self.full.set()

    def finish(self) -> None:
        held, self._held = self._held or [], None
        self.take(sorted(held, key=lambda message: message.store_timestamp))


async def _follow(admin: AdminClient, queue: MessageQueue, offset: int, expression: str | SQL, sink: _Sink) -> None:
    while True:
        try:
            read = await admin.messages.read(queue, offset, expression=expression, wait=_WAIT)
        except RemotingError:
            await asyncio.sleep(_RETRY)  # the broker restarts: the client connects again by itself
            continue
        sink.take(read.messages)
        offset = read.next_offset


async def _read_to_end(admin: AdminClient, queue: MessageQueue, offset: int, expression: str | SQL, sink: _Sink) -> None:
    end = await admin.offsets.max(queue)
    while offset < end:
        read = await admin.messages.read(queue, offset, expression=expression)
        sink.take([message for message in read.messages if message.queue_offset < end])
        if read.next_offset <= offset:
            return
        offset = read.next_offset


async def _all(works: Sequence[Coroutine[Any, Any, None]], enough: asyncio.Event) -> None:
    """Run all until they end, or until enough was printed."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]

        async def stop_when_enough() -> None:
            await enough.wait()
            for task in tasks:
                task.cancel()

        watcher = group.create_task(stop_when_enough())
        await asyncio.wait(tasks)
        watcher.cancel()
