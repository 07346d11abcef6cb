"""Gathers single sends into batches (Java: `ProduceAccumulator`, `DefaultMQProducer.canBatch`). Feature B18.

Messages of one key (topic, fixed queue, `wait_store_ok`, tag, kind of send) leave together as one request when the next one would not fit
any more, when the first one has waited long enough, when nobody can add to them, or when the producer stops. A key has one timer, and a
batch is one `SendOperation`: per message there is one `Gathered` and the caller's `Reply`, nothing else.

    take ──> (room in the window) ──> add ──> batch of the key ──> leave ──> one SendOperation ──> a result for every message
      │                                │                             └─ only one message in it ─┐
      └─ None: never in a batch        └─ too large, or too much is held ─> the batch leaves, ──┴─> goes alone

Hot: `take()`, `add()` and the splitting of results run once per message. What can be done for a whole batch is done when it leaves: the
ids of its messages are made there, and the properties that all of them have are encoded once.
"""

from __future__ import annotations

import time
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final

from aiorocketmq.errors import WindowFullError, fresh
from aiorocketmq.model.checks import duration
from aiorocketmq.model.message import Message
from aiorocketmq.model.names import is_dlq_topic, is_retry_topic
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer.attempts import SendPolicy
from aiorocketmq.producer.batch import ID_FIELD, bare_texts, common_text
from aiorocketmq.producer.dispatcher import SendDispatcher
from aiorocketmq.producer.gathered import TOLD, Batch, Chosen, Gathered, GatheredOperation, Key
from aiorocketmq.producer.prepare import COMPRESS_IN_THREAD, pack_batch
from aiorocketmq.producer.reply import Reply, tell_error
from aiorocketmq.producer.selectors import SelectByHash, checked, checked_queue
from aiorocketmq.producer.send import SendOperation
from aiorocketmq.protocol.message_codec import BatchEncoder
from aiorocketmq.protocol.message_id import UniqueIdGenerator

RECORD_OVERHEAD: Final = 22
"""Bytes of a message in a batch besides its body and its properties."""


class Accumulator:
    """Gathers the messages of one running producer. Belongs to its event loop.

    Args:
        dispatcher: Where the batches go; its settings say how much is gathered, and for how long.
        ids: Makes the message ids.

    Attributes:
        loop: The producer's event loop.
        window: Room for unanswered sends; every message takes its own.
        held: Bytes of the batches that are gathered or unanswered.
    """

    __slots__ = (
        "_batches", "_closed", "_compress_from", "_delay", "_dispatcher", "_ids", "_largest", "_limit", "_now", "_overhead",
        "_targets", "_timeout", "_total", "_waiting", "held", "loop", "window",
    )  # fmt: skip

    def __init__(self, dispatcher: SendDispatcher, ids: UniqueIdGenerator) -> None:
        settings = dispatcher.settings
        self.loop = dispatcher.loop
        self.window = dispatcher.window
        self.held = 0
        self._dispatcher = dispatcher
        self._targets = dispatcher.targets
        self._ids = ids
        self._now = dispatcher.loop.time
        any_id = ids.next_id(time.time_ns() // 1_000_000)  # all have the same length
        self._overhead = RECORD_OVERHEAD + len(ID_FIELD) + len(any_id)
        self._timeout = settings.send_msg_timeout
        self._largest = settings.max_message_size
        self._compress_from = settings.compress_msg_body_over_howmuch
        self._delay = settings.batch_max_delay
        self._limit = min(settings.batch_max_bytes, settings.max_message_size)
        self._total = settings.total_batch_max_bytes
        self._batches: dict[Key, Batch] = {}
        self._waiting = 0
        self._closed = False

    # -- in ----------------------------------------------------------------------------------------------------------------------------

    def take(
        self,
        message: Any,
        policy: SendPolicy,
        timeout: float | timedelta | None,
        queue: Any,
        selector: Any,
        sharding_key: Any,
        reply: Reply,
    ) -> Gathered | None:
        """Make a message ready to be added once it has its room in the window; arguments as of `Preparer.single()`.

        A selector is asked here when the route is known, so that messages for one queue can go together. Its error is the outcome.

        Returns:
            None for a message that cannot be in a batch, or not be sent at all: `Preparer.single()` knows what to do with it.

        Raises:
            InvalidMessageError: The message cannot be sent.
            ConfigError: The time-out is none.
        """
        if not isinstance(message, Message):
            return None
        topic, body, tag, wait_store_ok = message._topic, message._body, message._tag, message._wait_store_ok
        target = self._targets.get(topic)
        if target is None:
            return None  # the topic's first message goes alone: its name is checked, and the search for its route begins at once
        size = len(body)
        if size > self._largest:
            return None
        rest = None
        record = self._overhead + size
        if not message._simple or sharding_key is not None:
            if message.delayed or (message._rare and message.goes_alone):
                return None
            rest = (message._rest if sharding_key is None else message.rest_with(sharding_key)).encode()
            record += len(rest)
            if queue is None and selector is None and sharding_key is None:
                sharding_key = message._sharding_key
        else:
            record += message._rest_size
        now = self._now()
        deadline = now + (self._timeout if timeout is None else duration("timeout", timeout))
        choose = None
        if queue is not None or selector is not None or sharding_key is not None:
            if (queue is not None) + (selector is not None) + (sharding_key is not None) > 1:
                return None
            policy = policy.fixed or policy
            if queue is not None:
                queue = checked_queue(queue, message)
            else:
                publish = target.publish
                if publish is None:
                    return None
                try:
                    choose = checked(SelectByHash(sharding_key) if selector is None else selector, message)
                    queue = choose(publish.queues)
                except Exception as error:  # noqa: BLE001 - the user's own code: its error goes to the caller of the send
                    tell_error(reply, error)
                    return TOLD
        key = (topic, queue, wait_store_ok, tag, id(policy))
        if choose is None:
            return Gathered(reply, target, policy, key, body, rest, message._flag, now, deadline, size, record)
        chosen = Chosen(reply, target, policy, key, body, rest, message._flag, now, deadline, size, record)
        chosen.select = choose
        return chosen

    def add_nowait(self, message: Gathered) -> None:
        """Take room in the window for a message that was just taken, and add it.

        Raises:
            WindowFullError: There is no room.
        """
        if message is TOLD:
            return
        try:
            self.window.acquire_nowait(message.size)
        except WindowFullError:
            self._hurry()
            raise
        self.add(message, message.started)

    def add_at_once(self, message: Gathered) -> bool:
        """The same; False when there is no room."""
        if message is TOLD:
            return True
        if not self.window.acquire_at_once(message.size):
            self._hurry()
            return False
        self.add(message, message.started)
        return True

    def add(self, message: Gathered, now: float) -> None:
        """Put a message that has its room in the window into the batch of its key. Never waits, never raises.

        Args:
            message: The message.
            now: The loop's clock.
        """
        size = message.record
        limit = self._limit
        batch = self._batches.get(message.key)
        if batch is not None and batch.size + size > limit:
            self._leave(batch)
            batch = None
        if size > limit or self.held >= self._total or self._closed:
            if batch is not None:
                self._leave(batch)
            self._send_alone(message)
            return
        # A message spends at most half of its time in here.
        due = (now + message.deadline) * 0.5
        if batch is None:
            topic = message.key[0]
            if is_retry_topic(topic) or is_dlq_topic(topic):  # brokers refuse batches there
                self._send_alone(message)
                return
            batch = self._open(message.key, min(due, now + self._delay))
        elif due < batch.due:
            self._hasten(batch, due)
        batch.messages.append(message)
        batch.size += size
        self.held += size
        self._waiting += 1
        if batch.size + size > limit:
            self._leave(batch)  # the next one, if it is like this one, would not fit

    def _open(self, key: Key, due: float) -> Batch:
        batch = self._batches[key] = Batch(self, key, due, self.loop.call_at(due, self._due, key))
        return batch

    def _hasten(self, batch: Batch, due: float) -> None:
        assert batch.timer is not None  # it has not left
        batch.timer.cancel()
        batch.due = due
        batch.timer = self.loop.call_at(due, self._due, batch.key)

    # -- out ---------------------------------------------------------------------------------------------------------------------------

    def _due(self, key: Key) -> None:
        self._leave(self._batches[key])

    def _hurry(self) -> None:
        # The window is full. When all that is in it waits here, nothing can come that is worth waiting for.
        if self._waiting == self.window.messages:
            self.flush()

    def flush(self) -> None:
        """Let all batches leave."""
        for batch in list(self._batches.values()):
            self._leave(batch)

    def close(self) -> None:
        """Let all batches leave; messages that come after this go alone."""
        self._closed = True
        self.flush()

    def _leave(self, batch: Batch) -> None:
        del self._batches[batch.key]
        self._waiting -= len(batch.messages)
        batch.stop_timer()
        messages = [message for message in batch.messages if not message.reply.done()]
        if len(messages) < len(batch.messages):
            self._drop_cancelled(batch)
        if len(messages) > 1:
            batch.messages = messages
            try:
                operation = self._operation(batch)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the callers get it, and the room is given back
                self.held -= batch.size
                self._broke(messages, error)
                return
            batch.watch(operation)
            queue = batch.key[1]
            if queue is not None:
                _pin(operation, queue)
            self._dispatcher.begin(operation)
        else:
            self.held -= batch.size
            if messages:
                self._send_alone(messages[0])

    def _drop_cancelled(self, batch: Batch) -> None:
        for message in batch.messages:
            if message.reply.done():
                self.window.release(message.size)

    def _broke(self, messages: list[Gathered], error: BaseException) -> None:
        # They hold their own room: none of them has become a part of an operation.
        for message in messages:
            self.window.release(message.size)
            if not message.reply.done():
                tell_error(message.reply, fresh(error))

    def _operation(self, batch: Batch) -> SendOperation:
        messages = batch.messages
        first = messages[0]
        topic, _, wait_store_ok, tag, _ = batch.key
        common = common_text(wait_store_ok, tag)
        born_at = time.time_ns() // 1_000_000
        batch.ids = ids = self._ids.next_ids(born_at, len(messages))
        texts, width = bare_texts(ids, common)
        encoder = BatchEncoder()
        for index, message in enumerate(messages):
            rest = message.rest
            text = texts[index * width : (index + 1) * width] if rest is None else (ID_FIELD + ids[index]).encode() + rest
            encoder.add(message.flag, message.body, text)
        latest = max(messages, key=_deadline)
        body, sys_flag, ready = pack_batch(encoder.encoded(), self._dispatcher.settings)
        operation = GatheredOperation(
            self._dispatcher,
            self._dispatcher.topics.target(topic),
            first.policy,
            batch,
            ",".join(ids),
            body,
            common,
            sys_flag,
            0,
            born_at,
            latest.started,
            latest.deadline,
            sum([message.size for message in messages]),
        )
        operation.gathered = batch
        operation.count = len(messages)
        operation.batch = True
        operation.plain = False
        operation.ready = ready
        return operation

    def _send_alone(self, message: Gathered) -> None:
        try:
            operation = message.alone = self.alone(message, self._ids.next_id(self._born_at(message)), message.key[1])
        except BaseException as error:  # noqa: BLE001 - as for a batch
            self._broke([message], error)
        else:
            self._dispatcher.begin(operation)

    def _born_at(self, message: Gathered) -> int:
        """When a message was given to the producer, in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000 - round((self._now() - message.started) * 1000)

    def alone(self, message: Gathered, message_id: str, queue: MessageQueue | None, /) -> SendOperation:
        """The send of one message by itself, to the queue that is fixed for it, if any."""
        topic, _, wait_store_ok, tag, _ = message.key
        rest = "\x02" + common_text(wait_store_ok, tag) if message.rest is None else message.rest.decode()
        born_at = self._born_at(message)
        body, sys_flag, size = message.body, 0, message.size
        large = size >= self._compress_from
        if large and size < COMPRESS_IN_THREAD:
            body, sys_flag = self._dispatcher.settings.compressor.pack(body)
        operation = SendOperation(
            self._dispatcher,
            self._dispatcher.topics.target(topic),
            message.policy,
            message.reply,
            message_id,
            body,
            ID_FIELD + message_id + rest,
            sys_flag,
            message.flag,
            born_at,
            message.started,
            message.deadline,
            size,
        )
        if large and size >= COMPRESS_IN_THREAD:
            operation.ready = operation.plain = False
        if queue is not None:
            _pin(operation, queue)
            if isinstance(message, Chosen):
                operation.select = message.select
        return operation


_deadline = attrgetter("deadline")


def _pin(operation: SendOperation, queue: MessageQueue) -> None:
    operation.queue = queue
    operation.pinned = True
    operation.plain = False
