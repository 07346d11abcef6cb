"""Sends of blocking callers past the event loop (no Java twin): the calling thread writes its request and reads the answer itself.

That is for the usual case alone: a message to a known topic, whose broker is connected and takes it. Whatever is missing before goes the
way of all other sends from the start; whatever goes wrong on the way is handed over to the event loop as the same `SendOperation`, which
goes on with it as if the request had been its own: tries, time-outs and `maybe_stored` are the same on both ways. Decision 12 has the
reasons and figures. Features B1, B26; reliability P1, P2, P5.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from aiorocketmq.client.direct_reply import Cancellable
from aiorocketmq.errors import RemotingError
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.message import Message
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer.attempts import STATUS_BY_CODE, SendPolicy
from aiorocketmq.producer.dispatcher import SendDispatcher
from aiorocketmq.producer.prepare import Preparer
from aiorocketmq.producer.reply import NOBODY, Reply
from aiorocketmq.producer.send import Lane, SendOperation
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.remoting.link import Link, Links

THREADS: Final = 16
"""So many threads at a time send by themselves."""
CROWDED: Final = 0.5
"""Seconds for which all sends go by the event loop after there was one thread more. With many threads the loop is faster, as it takes the
requests of all with one write; some on each way would be slower than either."""
WARM_UP: Final = 8
"""Blocking sends before the first link is made: who sends less needs no connection more."""
MAX_BODY: Final = 64 * 1024
"""Bytes of a body: what takes longer to carry than two switches between threads goes the other way."""
_UNUSED: Final = 60.0
"""Seconds after which a link that nobody used is closed; brokers close theirs after 120."""
_SWEEP: Final = 20.0
_CLOSING_LOOK: Final = 0.002
"""Seconds between two looks at the sends under way while the producer stops."""
_TO_LEAVE: Final = 1.0
"""Seconds that threads have to leave the links that were shut under them."""
_CUT_OFF: Final = SendPolicy(1, frozenset())
"""For sends whose links were shut because the producer stops: as on the event loop, nothing is tried again then."""
_SEND_OK: Final = SendStatus.SEND_OK


class DirectSender:
    """The way past the event loop of one running producer. Any thread may call `send()`; everything else belongs to the event loop.

    Args:
        dispatcher: The producer's dispatcher.
        policy: Gives the kind of its sends.
        make_preparer: Makes a preparer for one thread: unlike everything else, message ids cannot be shared by threads.
        hand_over: Calls a function on the event loop with a reply, and waits for the outcome that this is told.
        connect_timeout: Seconds for connecting a link at most.

    Attributes:
        not_awaited: Threads that wait for the producer's stop themselves.
        warm_up: Sends still to be made the other way before the first link is made.
    """

    def __init__(
        self,
        dispatcher: SendDispatcher,
        policy: Callable[[], SendPolicy],
        make_preparer: Callable[[], Preparer],
        hand_over: Callable[[Callable[[Reply], Cancellable]], SendResult],
        connect_timeout: float,
    ) -> None:
        self.warm_up = WARM_UP
        self.not_awaited: list[int] = []
        self._dispatcher = dispatcher
        self._policy = policy
        self._make_preparer = make_preparer
        self._hand_over = hand_over
        self._connect_timeout = connect_timeout
        self._local = threading.local()
        self._links = Links()
        self._under_way = dispatcher.beside
        self._crowded_until = 0.0
        self._cut = False
        self._sweeper = dispatcher.loop.call_later(_SWEEP, self._sweep)

    # -- any thread --------------------------------------------------------------------------------------------------------------------

    def send(
        self, message: Any, timeout: float | timedelta | None, queue: MessageQueue | None, sharding_key: str | None
    ) -> SendResult | None:
        """Send one message and wait for the answer; arguments as in `Producer.send()`.

        Returns:
            The result; or None: nothing was done, and it has to go the other way.

        Raises:
            RocketMQError: As `Producer.send()`.
        """
        target = self._dispatcher.targets.get(message.topic) if isinstance(message, Message) else None
        publish = target.publish if target is not None else None
        if target is None or publish is None or target.waiting or not self._may_send(len(message.body)):
            return None
        preparer: Preparer | None = getattr(self._local, "preparer", None)
        if preparer is None:
            preparer = self._local.preparer = self._make_preparer()
        operation = preparer.single(message, self._policy(), timeout, queue, None, sharding_key, NOBODY)
        if operation.timed:
            return None  # not every broker may have it
        if operation.select is not None:
            operation.queue = operation.select(publish.queues)
            operation.pinned = True
        chosen = operation.queue if operation.pinned else publish.select()
        assert chosen is not None  # a pinned operation has its queue
        lane = target.lanes.get(chosen.broker_name)
        if lane is None or lane.channel.closed:
            if not operation.pinned:
                publish.unselect()  # or else, with as many queues as brokers, the other way would never come to this one
            return None
        try:
            self._under_way[operation] = threading.get_ident()
            if len(self._under_way) > THREADS:  # counted with all others that come just now: so none is one too many
                self._crowded_until = time.monotonic() + CROWDED
                return None
            return self._exchange(operation, lane, chosen)
        finally:
            self._under_way.pop(operation, None)

    def _may_send(self, size: int) -> bool:
        if self.warm_up > 0:
            self.warm_up -= 1
            return False
        if size > MAX_BODY or time.monotonic() < self._crowded_until or self._links.closed:
            return False
        return self._dispatcher.usual and self._dispatcher.window.has_room(size, len(self._under_way))

    def _exchange(self, operation: SendOperation, lane: Lane, queue: MessageQueue) -> SendResult:
        link = self._links.take(lane.channel)
        if link is None:
            link = self._connect(operation, lane)
            if link is None:
                return self._go_on(operation, None)
        opaque = next_opaque()
        outcome: RemotingCommand | RemotingError
        try:
            frame = operation.plain_frame(lane, queue, opaque)
            outcome = link.exchange(opaque, frame, operation.deadline)
        except RemotingError as error:
            outcome = error
        finally:
            self._links.give(link)
        if not isinstance(outcome, RemotingError) and STATUS_BY_CODE.get(outcome.code) is _SEND_OK:
            try:
                return operation.result_of(outcome, _SEND_OK)
            except (KeyError, ValueError):
                pass  # the operation knows best what that means, as with everything else that is not as it should be
        return self._go_on(operation, outcome)

    def _connect(self, operation: SendOperation, lane: Lane) -> Link | None:
        """A new link, or None; at most half of the operation's time goes into this."""
        now = time.monotonic()
        try:
            return self._links.connect(lane.channel, now + min(self._connect_timeout, (operation.deadline - now) / 2))
        except OSError:
            self._crowded_until = time.monotonic() + CROWDED  # where no connection can be had, none is tried for over and over
            return None

    def _go_on(self, operation: SendOperation, outcome: RemotingCommand | RemotingError | None) -> SendResult:
        """Let the event loop go on with a send whose first try ended so, or was not made."""

        def resume(reply: Reply) -> SendOperation:
            operation.reply = reply
            dispatcher = self._dispatcher
            dispatcher.window.take(operation.size)
            self._under_way.pop(operation, None)
            if self._cut:
                operation.policy = _CUT_OFF
            if outcome is None:
                dispatcher.begin(operation)
            elif isinstance(outcome, RemotingError):
                operation.on_error(outcome)
            else:
                operation.on_response(outcome)
            return operation

        return self._hand_over(resume)

    # -- the event loop ----------------------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._links.sweep(_UNUSED)
        self._sweeper = self._dispatcher.loop.call_later(_SWEEP, self._sweep)

    async def close(self, timeout: float) -> float:
        """Let sends under way end for at most `timeout` seconds, then shut their links. Those of `not_awaited` threads go on by themselves.

        Returns:
            Seconds that are left of the time-out.
        """
        deadline = time.monotonic() + timeout
        self._sweeper.cancel()
        self._links.close()
        await self._ended(deadline)
        if self._awaited():
            self._cut = True
            self._links.shut()
            await self._ended(time.monotonic() + _TO_LEAVE)
        return deadline - time.monotonic()

    async def _ended(self, deadline: float) -> None:
        while self._awaited() and time.monotonic() < deadline:  # noqa: ASYNC110 - threads that send must not have to tell the loop
            await asyncio.sleep(_CLOSING_LOOK)

    def _awaited(self) -> bool:
        return any(thread not in self.not_awaited for thread in list(self._under_way.values()))

    def abandon(self) -> None:
        """Close all links at once: nobody uses them any more, or they are those of the parent process. Never waits, never raises."""
        self._sweeper.cancel()
        self._links.abandon()
