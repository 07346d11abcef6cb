"""How a slave becomes and stays like its master, and what it refuses (Java: `SlaveSynchronize`, `DefaultHAService`).

Both live in one process: a slave takes over what its master has committed before the master tells anybody, so that what was acknowledged is
on every slave that runs. Messages, topics and groups follow at once; consumer offsets every `slave_sync_interval`, as with a real slave.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from aiorocketmq.errors import RocketMQError, broker_error
from aiorocketmq.model import properties as props
from aiorocketmq.protocol.bodies import DataVersion
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.server.broker.processors.common import decode_record
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Operation, Request
from aiorocketmq.server.store.copies import Copied
from aiorocketmq.server.store.keys import encode_text
from aiorocketmq.server.store.store import Store

logger = logging.getLogger("aiorocketmq.server")

_STEP: Final = 512
"""Messages that are taken over at a time."""
_TURN: Final = 0.02
"""Seconds of work in one turn of the loop, but for a last step that takes longer, while a slave that has begun is behind its master."""
_BUSY: Final = 0.01
"""Seconds until the next try while one of the stores commits on its own thread."""

_FLOW_CONTROL: Final = (ResponseCode.SYSTEM_BUSY, "[REJECTREQUEST]system busy, start flow control for a while")
REFUSED: Final[dict[int, tuple[ResponseCode, str]]] = {
    RequestCode.SEND_MESSAGE: _FLOW_CONTROL,
    RequestCode.SEND_MESSAGE_V2: _FLOW_CONTROL,
    RequestCode.SEND_BATCH_MESSAGE: _FLOW_CONTROL,
    RequestCode.CONSUMER_SEND_MSG_BACK: _FLOW_CONTROL,
    RequestCode.SEND_REPLY_MESSAGE: _FLOW_CONTROL,
    RequestCode.SEND_REPLY_MESSAGE_V2: _FLOW_CONTROL,
    RequestCode.END_TRANSACTION: (ResponseCode.SLAVE_NOT_AVAILABLE, ""),
    RequestCode.POP_MESSAGE: _FLOW_CONTROL,
    RequestCode.ACK_MESSAGE: _FLOW_CONTROL,
    RequestCode.BATCH_ACK_MESSAGE: _FLOW_CONTROL,
    RequestCode.CHANGE_MESSAGE_INVISIBLETIME: _FLOW_CONTROL,
    RequestCode.INVOKE_BROKER_TO_RESET_OFFSET: (ResponseCode.SYSTEM_ERROR, "Can not reset offset in slave broker"),
    RequestCode.RECALL_MESSAGE: (ResponseCode.SLAVE_NOT_AVAILABLE, "recall failed, broker service not available"),
}
"""What a slave refuses, and how: its log is its master's, so nothing may be stored in it, or written about what is taken out of it."""


def as_slave(rows: Iterable[Operation[Any, Any]]) -> list[Operation[Any, Any]]:
    """The rows of a broker's table as a slave has them."""
    return [replace(row, handler=_refusing(*REFUSED[row.code])) if row.code in REFUSED else row for row in rows]


def _refusing(code: ResponseCode, remark: str) -> Callable[[Request[Any, Any]], RemotingCommand | None]:
    def refuse(request: Request[Any, Any]) -> RemotingCommand | None:
        raise broker_error(code, remark)

    return refuse


class Follower:
    """Keeps one slave like its master.

    Args:
        state: The slave.
        master: The master's state; None while that does not run.
    """

    def __init__(self, state: BrokerState, master: Callable[[], BrokerState | None]) -> None:
        self._state = state
        self._master = master
        self._topics: DataVersion | None = None
        self._groups: DataVersion | None = None
        self._names: set[str] = set()  # of the master's groups
        self._modes = -1
        self._again: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self._failed = False
        self._behind = True
        self.dropped: set[str] = set()
        """Topics that the master has let go of since the last look; some may be there again."""
        self._rests = asyncio.Event()
        state.store.on_copied = self._wake
        state.store.follows = True

    def start(self) -> None:
        """Take over what the master has, and go on with it."""
        self._running = self._behind = True
        self.follow()
        self._synchronize()

    async def caught_up(self) -> None:
        """Returns when the slave has what its master has, or does not follow it now: that is away, or something failed."""
        await self._rests.wait()

    def stop(self) -> None:
        """Take nothing over until the next `start()`."""
        self._running = False
        for timer in (self._again, self._timer):
            if timer is not None:
                timer.cancel()
        self._again = self._timer = None
        self._rests.set()
        self._names = set()

    def follow(self) -> None:
        """The master has committed something, or has come back: take it over, before anybody is told of it.

        Only a slave that is behind since it began, or since it failed, takes over turn by turn: there may be any number of messages.
        """
        delay = self._advance()
        if delay is None:
            self._rests.set()
        elif self._again is None:
            self._rests.clear()
            self._again = asyncio.get_running_loop().call_later(delay, self._try_again)

    def _advance(self) -> float | None:
        """Take over what there is; seconds until the rest is, None when nothing is left to do."""
        source, own = self._master(), self._state.store
        if not self._running or source is None or source.store.closed or own.closed:
            return None
        if source.store.committing or own.committing:
            return _BUSY
        try:
            stop = time.thread_time() + _TURN
            for topic in sorted(self.dropped):
                own.forget(topic)
                self._state.offsets.drop(topic=topic)
                self.dropped.discard(topic)
            while copies := source.store.stored_from(own.next_physical_offset, _STEP):
                own.take_over(copies)
                if self._behind and time.thread_time() >= stop:
                    return 0.0
            self._behind = False
            self._take_tables(source)
        except RocketMQError as error:
            if not self._failed:
                logger.error("slave %d of %s cannot follow: %s", self._state.config.broker_id, self._state.config.name, error)
            self._failed = self._behind = True
            return None
        self._failed = False
        return None

    def _try_again(self) -> None:
        self._again = None
        self.follow()

    def _take_tables(self, source: BrokerState) -> None:
        """Topics, groups and ways of consuming, when the master's have changed."""
        state = self._state
        if source.topics.version != self._topics:
            self._topics = source.topics.version
            kept = {topic.topic_name for topic in source.topics}
            for topic in [topic.topic_name for topic in state.topics if topic.topic_name not in kept]:
                state.topics.delete(topic)
                state.offsets.drop(topic=topic)
            for config in [config for config in source.topics if state.topics.get(config.topic_name) != config]:
                state.topics.put(config)
        if source.groups.version != self._groups:
            self._groups = source.groups.version
            names = {group.group_name for group in source.groups}
            for name in [group.group_name for group in state.groups if group.group_name not in names]:
                state.groups.delete(name)
            offsets = {group for _, group, _ in source.offsets.items()}
            for name in self._names - names - offsets:
                state.offsets.drop(group=name)
            self._names = names
            for group in [group for group in source.groups if state.groups.get(group.group_name) != group]:
                state.groups.put(group)
        if source.request_modes.version != self._modes:
            self._modes = source.request_modes.version
            for mode in source.request_modes:
                state.request_modes.put(mode)

    def _synchronize(self) -> None:
        """Take over consumer offsets, now and every so often; those of groups that the master does not know stay."""
        self._timer = asyncio.get_running_loop().call_later(self._state.config.slave_sync_interval, self._synchronize)
        source = self._master()
        if source is None or source.store.closed:
            return
        for topic, group, queues in list(source.offsets.items()):
            for queue_id, offset in queues.items():
                self._state.offsets.commit(group, topic, queue_id, offset)
        self.follow()

    def _wake(self, copies: Sequence[Copied]) -> None:
        """Let the pulls go on that waited for these messages."""
        queues: dict[tuple[str, int], list[Copied]] = {}
        for copy in copies:
            queues.setdefault((copy.topic, copy.queue_id), []).append(copy)
        for (topic, queue_id), own in queues.items():
            texts = [encode_text(props.encode_properties(decode_record(copy.record).properties)) for copy in own]
            self._state.polling.arrived(topic, queue_id, [copy.tags_code for copy in own], texts)


class Followers:
    """The slaves of one broker that run."""

    def __init__(self) -> None:
        self._all: list[Follower] = []
        self._store: Store | None = None

    def attach(self, store: Store) -> None:
        """The broker begins a life with this store."""
        self._store = store
        self._listen()

    def join(self, follower: Follower) -> None:
        """Tell a slave of all that is committed from now on, in this life of the broker and those to come."""
        self._all.append(follower)
        self._listen()

    def leave(self, follower: Follower) -> None:
        """A slave has ended; does nothing when it was not told."""
        if follower in self._all:
            self._all.remove(follower)

    def tell(self) -> None:
        """Something is committed, or the broker has come back."""
        for follower in self._all:
            follower.follow()

    def _listen(self) -> None:
        if self._store is not None and self._all:
            self._store.on_commit = self.tell
            self._store.on_dropped = self._dropped

    def _dropped(self, topics: set[str]) -> None:
        for follower in self._all:
            follower.dropped |= topics
