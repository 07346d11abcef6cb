"""Sends of blocking callers past the event loop (no Java twin): the calling thread writes its request and reads the answer itself.

That is for the usual case alone: a message to any queue of a known topic, whose broker is connected and takes it. Whatever is missing
before goes the way of all other sends from the start; whatever goes wrong on the way is handed over to the event loop as the same
`SendOperation`, which goes on with it as if the request had been its own: tries, time-outs and `maybe_stored` are the same on both ways.
Decision 12 has the reasons. Features B1, B26; reliability P1, P2, P5.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from aiorocketmq.errors import RemotingError
from aiorocketmq.model.checks import duration
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.message import Message
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer.attempts import STATUS_BY_CODE, SendPolicy
from aiorocketmq.producer.dispatcher import SendDispatcher
from aiorocketmq.producer.gathered import NOBODY
from aiorocketmq.producer.prepare import Preparer
from aiorocketmq.producer.reply import Reply
from aiorocketmq.producer.send import SendOperation
from aiorocketmq.protocol.command import RemotingCommand, next_opaque
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.link import Link, LinkPool

LINKS: Final = 16
"""Links to one broker: so many threads at a time send by themselves."""
CROWDED: Final = 0.5
"""Seconds for which all sends go by the event loop after a thread found no link free. With many threads the loop is faster, as it takes the
requests of all with one write; some on each way would be slower than either."""
WARM_UP: Final = 8
"""Blocking sends before the first link is made: who sends less needs no connection more."""
MAX_BODY: Final = 64 * 1024
"""Bytes of a body: what takes longer to carry than two switches between threads goes the other way."""
_UNUSED: Final = 60.0
"""Seconds after which a link that nobody used is closed; brokers close theirs after 120."""
_SWEEP: Final = 20.0
_CUT_OFF: Final = SendPolicy(1, frozenset())
"""For sends whose links were shut because the producer stops: as on the event loop, nothing is tried again then."""
_SEND_OK: Final = SendStatus.SEND_OK


class Unfinished:
    """A send that its thread could not bring to its end.

    Args:
        dispatcher: The producer's dispatcher.
        pool: Where its link came from.
        link: Counts as in use until the window counts the send.
        operation: The send, with its first try made.
        outcome: The broker's answer, or why there is none.
    """

    __slots__ = ("_dispatcher", "_link", "_operation", "_outcome", "_pool")

    def __init__(
        self, dispatcher: SendDispatcher, pool: LinkPool, link: Link, operation: SendOperation, outcome: RemotingCommand | RemotingError
    ) -> None:
        self._dispatcher = dispatcher
        self._pool = pool
        self._link = link
        self._operation = operation
        self._outcome = outcome

    def resume(self, reply: Reply) -> SendOperation:
        """Go on with it on the event loop; its outcome goes to `reply`. Returns what can be cancelled."""
        operation, outcome = self._operation, self._outcome
        operation.reply = reply
        self._dispatcher.window.take(operation.size)
        self._pool.give(self._link)
        if self._pool.cut:
            operation.policy = _CUT_OFF
        if isinstance(outcome, RemotingError):
            operation.on_error(outcome)
        else:
            operation.on_response(outcome)
        return operation


class DirectSender:
    """The way past the event loop of one running producer. Any thread may call `send()`; it is made on the event loop.

    Args:
        dispatcher: The producer's dispatcher.
        policy: Tells the kind of its sends.
        make_preparer: Makes a preparer that belongs to one link: unlike everything else, message ids cannot be shared by threads.
        send_timeout: Seconds that sends under way get when it is closed.
        connect_timeout: Seconds for connecting a link at most.

    Attributes:
        warm_up: Sends still to be made the other way before the first link is made.
    """

    def __init__(
        self,
        dispatcher: SendDispatcher,
        policy: Callable[[], SendPolicy],
        make_preparer: Callable[[], Preparer],
        send_timeout: float,
        connect_timeout: float,
    ) -> None:
        self.warm_up = WARM_UP
        self._dispatcher = dispatcher
        self._targets = dispatcher.targets
        self._window = dispatcher.window
        self._loop = dispatcher.loop
        self._policy = policy
        self._make_preparer = make_preparer
        self._send_timeout = send_timeout
        self._connect_timeout = connect_timeout
        self._pool = LinkPool(LINKS)
        self._crowded_until = 0.0
        self._sweeper: asyncio.TimerHandle | None = None

    def send(self, message: Any, timeout: float | timedelta | None) -> SendResult | Unfinished | float | None:
        """Send one message and wait for the answer; arguments as in `Producer.send()`.

        Returns:
            The result; or the send, for the event loop to go on with; or None: nothing was done, and it has to go the other way; or the
            seconds that are left for that, after a connection was tried for.

        Raises:
            InvalidMessageError: The message cannot be sent; nothing was.
            ConfigError: The time-out is none.
            ProtocolError: The properties are too long for a frame.
        """
        target = self._targets.get(message.topic) if isinstance(message, Message) else None
        publish = target.publish if target is not None else None
        if target is None or publish is None or target.waiting or not self._may_send(len(message.body)):
            return None
        queue = publish.select()
        lane = target.lanes.get(queue.broker_name)
        if lane is None or lane.channel.closed:
            publish.unselect()  # or else, with as many queues as brokers, the other way would never come to this one
            return None
        link = self._pool.take(lane.channel)
        if link is None:
            link, timeout = self._connect(lane.channel, timeout)
            if link is None:
                publish.unselect()
                return timeout
        try:
            operation = self._preparer(link).single(message, self._policy(), timeout, None, None, None, NOBODY)
            opaque = next_opaque()
            response = link.exchange(opaque, operation.plain_frame(lane, queue, opaque), operation.deadline)
        except RemotingError as error:
            return Unfinished(self._dispatcher, self._pool, link, operation, error)
        except BaseException:
            self._pool.give(link)
            raise
        result = self._result(operation, response)
        if result is None:
            return Unfinished(self._dispatcher, self._pool, link, operation, response)
        self._pool.give(link)
        return result

    def _connect(self, channel: Channel, timeout: float | timedelta | None) -> tuple[Link | None, float]:
        """A new link, or None, and the seconds that are left of the time-out. At most half of it goes into this."""
        seconds = self._send_timeout if timeout is None else duration("timeout", timeout)
        began = time.monotonic()
        link = self._pool.make(channel, min(self._connect_timeout, seconds / 2))
        now = time.monotonic()
        if link is None:
            self._crowded_until = now + CROWDED
        return link, seconds - (now - began)

    def _result(self, operation: SendOperation, response: RemotingCommand) -> SendResult | None:
        """What the answer says when all went well; of everything else the operation knows best what it means."""
        status = STATUS_BY_CODE.get(response.code)
        if status is not _SEND_OK:
            return None
        try:
            return operation.result_of(response, status)
        except (KeyError, ValueError):
            return None

    def _may_send(self, size: int) -> bool:
        if self.warm_up > 0:
            self.warm_up -= 1
            return False
        if size > MAX_BODY or time.monotonic() < self._crowded_until:
            return False
        return self._dispatcher.usual and self._window.has_room(size, self._pool.busy)

    def _preparer(self, link: Link) -> Preparer:
        preparer = link.context
        if preparer is None:
            preparer = link.context = self._make_preparer()
            with contextlib.suppress(RuntimeError):  # the loop is closed: the client was stopped meanwhile
                self._loop.call_soon_threadsafe(self._arm)
        assert isinstance(preparer, Preparer)  # nobody else sets it
        return preparer

    # -- links that nobody uses --------------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        if self._pool.sweep(_UNUSED):
            self._arm()

    def close(self, timeout: float | timedelta | None) -> None:
        """Close all links; sends under way get `timeout` seconds, None takes `send_msg_timeout`. Blocks: not on the event loop.

        Raises:
            ConfigError: The time-out is none; all is closed, after the usual one.
        """
        seconds = self._send_timeout
        try:
            if timeout is not None:
                seconds = duration("timeout", timeout)
        finally:
            self._pool.close(seconds)

    def abandon(self) -> None:
        """Close all links at once, for a producer that nobody uses any more. Never waits, never raises."""
        self._pool.abandon()
