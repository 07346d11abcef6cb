"""The ways into a producer for the blocking classes: like its own methods, but no task and no future of the loop is made for a message.

There is no Java twin. Everything here belongs to the producer's event loop, and is for `aiorocketmq.sync` alone. Rows B1, B15, B26.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from aiorocketmq.client.direct_reply import Cancellable, DirectReply
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer.attempts import SendPolicy
from aiorocketmq.producer.direct import DirectSender
from aiorocketmq.producer.prepare import Preparer
from aiorocketmq.producer.producer import Producer
from aiorocketmq.producer.reply import Reply
from aiorocketmq.producer.selectors import QueueSelector


def begin(
    reply: Reply,
    producer: Producer,
    nowait: bool,
    message: Message,
    queue: MessageQueue | None,
    selector: QueueSelector | None,
    sharding_key: str | None,
    timeout: float | timedelta | None,
) -> Cancellable | None:
    """Send one message if there is room in the window; the outcome goes to `reply`. Other arguments and errors as in `Producer.send()`.

    Args:
        reply: Told the outcome, once.
        producer: The running producer.
        nowait: The tries are those of `send_nowait()`.

    Returns:
        What can be cancelled; None when the window is full, or hooks look at sends: nothing was done.
    """
    preparer, policy = producer._running(), _policy(producer, nowait)
    if producer._settings.observed:
        return None  # hooks must not see it twice: it goes by `send()`, whether there is room or not
    accumulator = producer._accumulator
    if accumulator is not None:
        gathered = accumulator.take(message, policy, timeout, queue, selector, sharding_key, reply)
        if gathered is not None:
            return gathered if accumulator.add_at_once(gathered) else None
    operation = preparer.single(message, policy, timeout, queue, selector, sharding_key, reply)
    dispatcher = preparer.dispatcher
    if not dispatcher.window.acquire_at_once(operation.size):
        return None
    dispatcher.begin(operation)
    return operation


async def send(
    producer: Producer,
    nowait: bool,
    message: Message,
    queue: MessageQueue | None,
    selector: QueueSelector | None,
    sharding_key: str | None,
    timeout: float | timedelta | None,
) -> SendResult:
    """The same, but wait for room, and for the outcome."""
    preparer, policy = producer._running(), _policy(producer, nowait)
    reply: DirectReply[SendResult] = DirectReply(preparer.loop)
    accumulator = producer._accumulator
    if accumulator is not None:
        gathered = accumulator.take(message, policy, timeout, queue, selector, sharding_key, reply)
        if gathered is not None:
            return await producer._gather(accumulator, gathered, reply)
    result = await producer._run(preparer.single(message, policy, timeout, queue, selector, sharding_key, reply), reply)
    assert result is not None  # only one-way sends have no result
    return result


def _policy(producer: Producer, nowait: bool) -> SendPolicy:
    return producer._policies.nowait if nowait else producer._policies.sync


def direct_sender(producer: Producer, hand_over: Callable[[Callable[[Reply], Cancellable]], SendResult]) -> DirectSender | None:
    """The way past the event loop; None where there is none.

    Args:
        producer: The running producer.
        hand_over: Calls a function on the loop with a reply, and blocks until this is told an outcome.
    """
    preparer = producer._running()
    if producer._accumulator is not None or producer._settings.observed or not producer._policies.sync.plain:
        return None

    def make_preparer() -> Preparer:
        return Preparer(producer._settings, preparer.dispatcher, producer.client_id, preparer.pid, time.monotonic)

    return DirectSender(preparer.dispatcher, lambda: producer._policies.sync, make_preparer, hand_over, producer.config.connect_timeout)


def check(
    producer: Producer, message: Message, queue: MessageQueue | None, selector: QueueSelector | None, sharding_key: str | None
) -> None:
    """Refuse at the call, on any thread, what can be seen to be wrong without the loop.

    Raises:
        InvalidMessageError: It is no message, it is too large, or `queue`, `selector` and `sharding_key` contradict each other.
    """
    preparer = producer._preparer
    if preparer is not None:
        preparer.check(message, queue, selector, sharding_key)


def stop_timeout(producer: Producer) -> float:
    """Seconds that `stop()` gives to unanswered sends when it is not told."""
    return producer._settings.send_msg_timeout
