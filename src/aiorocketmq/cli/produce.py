"""`aiorocketmq produce`: sends one message, many equal ones, or every line of standard input (Java: `mqadmin sendMessage`)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import App, Parameter

from aiorocketmq.cli.exits import Exit
from aiorocketmq.cli.options import Cluster, run_async, until_terminated
from aiorocketmq.cli.output import Progress, note, progress
from aiorocketmq.cli.render import OutputError, json_line, write
from aiorocketmq.cli.stdin import lines
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.message import Message
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer import Producer

produce = App(
    name="produce",
    help="Send messages.",
    help_epilogue="""\
Examples:
  aiorocketmq produce orders --body '{"id": 1}' --tag paid --key order-1
  aiorocketmq produce orders --body ping --count 10000
  cat orders.jsonl | aiorocketmq produce orders --sharding-key eu
  aiorocketmq produce reminders --body 'wake up' --delay-level 3""",
)

_IN_FLIGHT = 256


@Parameter(name="*")
@dataclass(frozen=True)
class Fields:
    """What the messages carry besides their bodies."""

    tag: str | None = None
    """Tag of the messages."""

    key: Annotated[list[str] | None, Parameter(name=["--key", "-k"], negative=())] = None
    """Key by which the messages can be found; may be given several times."""

    property: Annotated[list[str] | None, Parameter(name=["--property", "-p"], negative=())] = None
    """User property as NAME=VALUE; may be given several times."""

    sharding_key: str | None = None
    """Messages with the same sharding key go to the same queue, in order."""

    delay: float | None = None
    """Deliver after this many seconds (5.x brokers)."""

    delay_level: int | None = None
    """Deliver after a fixed delay: 1 is 1 s, 2 is 5 s, 3 is 10 s, ... 18 is 2 h."""

    def message(self, topic: str, body: bytes) -> Message:
        """Make one message."""
        return Message(
            topic,
            body,
            tag=self.tag,
            keys=self.key or (),
            properties=self.properties(),
            sharding_key=self.sharding_key,
            delay=self.delay,
            delay_level=self.delay_level,
        )

    def properties(self) -> dict[str, str]:
        """The user properties.

        Raises:
            ConfigError: One is not NAME=VALUE.
        """
        pairs = [text.partition("=") for text in self.property or ()]
        for name, equals, value in pairs:
            if not (name and equals and value):
                raise ConfigError(f"property {name + equals + value!r} is not NAME=VALUE", hint="for example --property region=eu")
        return {name: value for name, _, value in pairs}


@produce.default
def run(
    topic: str,
    /,
    *,
    body: Annotated[str | None, Parameter(name=["--body", "-b"], allow_leading_hyphen=True)] = None,
    count: Annotated[int, Parameter(name=["--count", "-c"])] = 1,
    group: Annotated[str, Parameter(name=["--group", "-g"])] = "CLI_PRODUCER",
    fields: Fields | None = None,
    cluster: Cluster | None = None,
) -> int:
    """Send messages.

    Parameters
    ----------
    topic:
        Topic to send to.
    body:
        Body of the message; without it every line of standard input is a message.
    count:
        How often the body is sent.
    group:
        Producer group.
    """
    cluster = cluster or Cluster()
    cluster.set_up_logging()
    if count < 1:
        raise ConfigError(f"count {count} is out of range", hint="use 1 or more")
    if body is None and count != 1:
        raise ConfigError("--count needs --body", hint="lines of standard input are sent once each")
    # Stopped by SIGTERM it has not sent all that it was to send.
    finished = run_async(until_terminated(_produce(cluster, topic, body, count, group, fields or Fields())))
    return Exit.OK if finished else Exit.INTERRUPTED


async def _bodies(body: str | None, count: int) -> AsyncIterator[bytes]:
    if body is None:
        if sys.stdin.isatty():
            note("every line is a message; Ctrl-D ends")
        async for line in lines():
            yield line
    else:
        encoded = body.encode("utf-8", "surrogateescape")
        for _ in range(count):
            yield encoded


async def _produce(cluster: Cluster, topic: str, body: str | None, count: int, group: str, fields: Fields) -> bool:
    started = time.perf_counter()
    options: dict[str, Any] = {"sharding_key": fields.sharding_key} if fields.sharding_key else {}
    interactive = body is None and sys.stdin.isatty()
    # Brokers store what is in flight at the same time in any order, so messages that belong together go one by one.
    room = asyncio.Semaphore(1 if interactive or fields.sharding_key else _IN_FLIGHT)
    with progress("sending", None if body is None else count, wanted=cluster.output == "table" and not interactive) as bar:
        results = _Results(cluster, room, bar)
        async with Producer(config=cluster.config(), group=group, send_msg_timeout=cluster.timeout) as producer:
            async with asyncio.TaskGroup() as tasks:
                teller = tasks.create_task(results.tell())
                try:
                    async for payload in _bodies(body, count):
                        await room.acquire()
                        results.add(asyncio.ensure_future(producer.send_nowait(fields.message(topic, payload), **options)))
                finally:
                    results.end()
            await teller
    if cluster.output == "table":
        _summary(topic, results.told, results.last, time.perf_counter() - started)
    return True


class _Results:
    """Tells the results of sends in their order, each as soon as it is known; after an error those of all that are still under way."""

    def __init__(self, cluster: Cluster, room: asyncio.Semaphore, bar: Progress) -> None:
        self._form = cluster.output
        self._room = room
        self._bar = bar
        self._pending: asyncio.Queue[asyncio.Future[SendResult] | None] = asyncio.Queue()
        self.told = 0
        self.last: SendResult | None = None

    def add(self, future: asyncio.Future[SendResult]) -> None:
        """One more is under way."""
        self._pending.put_nowait(future)

    def end(self) -> None:
        """No more will come."""
        self._pending.put_nowait(None)

    async def tell(self) -> None:
        """Tell them all; the first error ends it."""
        future = None
        try:
            while (future := await self._pending.get()) is not None:
                self._one(await asyncio.shield(future))
                self._room.release()
        except BaseException as error:
            await self._rest(future, broken=isinstance(error, OutputError))
            raise

    async def _rest(self, future: asyncio.Future[SendResult] | None, *, broken: bool) -> None:
        """What is under way is stored or not: whoever sees the error has to know, and no result may be lost unseen."""
        pending = [] if future is None else [future]
        while not self._pending.empty():
            pending += filter(None, [self._pending.get_nowait()])
        for outcome in await asyncio.gather(*pending, return_exceptions=True):
            if isinstance(outcome, SendResult) and not broken:
                self._one(outcome)

    def _one(self, result: SendResult) -> None:
        self.last = result
        self.told += 1
        self._bar.advance()
        if self._form != "table":
            json_line(result_record(result))


def _summary(topic: str, sent: int, last: SendResult | None, seconds: float) -> None:
    if last is None:
        note("nothing was sent: standard input held no line")
    elif sent == 1:
        queue = last.queue
        write(f"{last.status.name} {last.message_id} {queue.topic}:{queue.broker_name}:{queue.queue_id}@{last.queue_offset}\n")
    else:
        write(f"sent {sent} messages to {topic} in {seconds:.2f} s ({sent / seconds:,.0f}/s)\n")


def result_record(result: SendResult) -> dict[str, object]:
    """A send result as JSON fields."""
    return {
        "status": result.status.name,
        "message_id": result.message_id,
        "offset_message_id": result.offset_message_id,
        "topic": result.queue.topic,
        "broker": result.queue.broker_name,
        "queue_id": result.queue.queue_id,
        "queue_offset": result.queue_offset,
    }
