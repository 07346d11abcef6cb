"""`aiorocketmq consume`: prints what a consumer group gets, and commits its offsets (Java: `mqadmin consumeMessage`)."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Annotated, Literal

from cyclopts import App, Parameter

from aiorocketmq.cli.options import Cluster, run_async, until_terminated
from aiorocketmq.cli.output import note, print_message, progress
from aiorocketmq.cli.render import OutputError
from aiorocketmq.consumer import PushConsumer
from aiorocketmq.errors import ConfigError
from aiorocketmq.model.enums import MessageModel, StartFrom
from aiorocketmq.model.filters import SQL
from aiorocketmq.model.received import ReceivedMessage

consume = App(
    name="consume",
    help="Print messages as a member of a consumer group.",
    help_epilogue="""\
Examples:
  aiorocketmq consume orders --group audit
  aiorocketmq consume orders --group audit --filter 'paid || refunded' --count 10
  aiorocketmq consume orders --group audit --from first --idle 3 -o json
  aiorocketmq consume orders --group audit --ordered

Messages that were printed are consumed: the group's offsets move. `aiorocketmq tail` only looks.""",
)

_STOP_WAIT = 0.2
"""Seconds for listeners at the end: printing takes no time, and the ones that hold surplus messages never end."""
_QUIET = 2.0
"""Seconds without a queue after which it is told what is waited for."""
_STARTS = {"first": StartFrom.FIRST, "last": StartFrom.LAST}


@consume.default
def run(
    topic: str,
    /,
    *,
    group: Annotated[str, Parameter(name=["--group", "-g"])],
    expression: Annotated[str, Parameter(name=["--filter", "-f"])] = "*",
    sql: str | None = None,
    count: Annotated[int | None, Parameter(name=["--count", "-c"])] = None,
    idle: float | None = None,
    start: Annotated[Literal["first", "last"], Parameter(name="--from")] = "last",
    ordered: Annotated[bool, Parameter(negative=())] = False,
    broadcast: Annotated[bool, Parameter(negative=())] = False,
    cluster: Cluster | None = None,
) -> None:
    """Print messages as a member of a consumer group.

    Parameters
    ----------
    topic:
        Topic to consume.
    group:
        Consumer group.
    expression:
        Tags: '*', or 'TagA || TagB'.
    sql:
        SQL92 condition over properties instead of tags, for example "price > 10".
    count:
        Stop after this many messages; without it Ctrl-C stops.
    idle:
        Stop when nothing has come for this many seconds.
    start:
        Where a group without offsets starts.
    ordered:
        Take each queue in order.
    broadcast:
        Every member gets every message.
    """
    cluster = cluster or Cluster()
    cluster.set_up_logging()
    if count is not None and count < 1:
        raise ConfigError(f"count {count} is out of range", hint="use 1 or more")
    if idle is not None and not 0 < idle < math.inf:
        raise ConfigError(f"idle {idle} is out of range", hint="use seconds greater than 0")
    consumer = PushConsumer(
        config=cluster.config(),
        group=group,
        ordered=ordered,
        start_from=_STARTS[start],
        message_model=MessageModel.BROADCASTING if broadcast else MessageModel.CLUSTERING,
        await_termination_when_shutdown=_STOP_WAIT,
    )
    run_async(until_terminated(_consume(consumer, topic, SQL(sql) if sql else expression, count, idle, cluster)))


async def _consume(
    consumer: PushConsumer, topic: str, expression: str | SQL, count: int | None, idle: float | None, cluster: Cluster
) -> None:
    seen = 0
    last = time.monotonic()
    done = asyncio.Event()
    never = asyncio.Event()
    broken: OutputError | None = None

    with progress("received", count, wanted=cluster.output != "table" and count is not None) as bar:

        @consumer.listen(topic, expression)
        async def show(message: ReceivedMessage) -> None:
            nonlocal seen, last, broken
            if not done.is_set():
                try:
                    print_message(cluster.output, message)
                except OutputError as error:
                    broken = error
                    done.set()
            if done.is_set():
                # Enough was printed, or it cannot be: this one is left unconsumed, for the next run or another member.
                await never.wait()
            last = time.monotonic()
            seen += 1
            bar.advance()
            if count is not None and seen >= count:
                done.set()

        async with consumer, asyncio.TaskGroup() as group:
            waits = group.create_task(_tell_what_it_waits_for(consumer, topic))
            while not done.is_set():
                limit = None if idle is None else last + idle - time.monotonic()
                if limit is not None and limit <= 0:
                    break
                try:
                    await asyncio.wait_for(done.wait(), limit)
                except TimeoutError:
                    continue
            waits.cancel()
    if broken is not None:
        raise broken
    if cluster.output == "table":
        note(f"received {seen} messages")


async def _tell_what_it_waits_for(consumer: PushConsumer, topic: str) -> None:
    await asyncio.sleep(_QUIET)
    if consumer.assigned:
        return
    route = next((each for each in consumer.health().routes if each.topic == topic), None)
    if route is None or not route.known:
        note(f"waiting for topic {topic}: no name server knows it yet" + (f" ({route.error})" if route is not None and route.error else ""))
    else:
        held = ", ".join(sorted(set(consumer.waiting_queues().values())))
        note(f"waiting for a queue of topic {topic}: " + (held or "other members of the group have all of them"))
