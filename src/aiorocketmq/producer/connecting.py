"""Sends that wait for a connection to their broker (Java: `NettyRemotingClient.getAndCreateChannel`, called there by each sender itself).

One supervised task per address tries to connect, with growing pauses, for as long as an operation waits for it. Reliability P5, P7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Final

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.errors import ConnectError, RocketMQError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer.attempts import back_off
from aiorocketmq.producer.send import Dispatcher, SendOperation
from aiorocketmq.protocol.command import next_opaque

PATIENCE: Final = 1.0
"""Seconds after which an operation stops waiting for one broker's connection when the topic has other brokers."""
MAX_PAUSE: Final = 0.5
"""Longest pause in seconds between two attempts to connect, or to find a route, while a send waits for it."""
SHORT_OF_TIME: Final = 1.0
"""A send with less than this many seconds left lets the others go first when a broker is back."""


class Lobby:
    """Operations parked until one address is connected. Mutable.

    Attributes:
        address: `host:port` of the broker.
        waiting: The operations, in their order.
        task: Tries to connect, or None.
        failures: Failed attempts in a row.
        not_before: Time of the loop's clock before which no attempt is made.
    """

    __slots__ = ("address", "failures", "not_before", "task", "waiting")

    def __init__(self, address: str) -> None:
        self.address = address
        self.waiting: dict[SendOperation, None] = {}
        self.task: asyncio.Task[None] | None = None
        self.failures = 0
        self.not_before = 0.0


class Lobbies:
    """The lobbies of one producer, by address.

    Args:
        dispatcher: Sends operations off again that go another way.
        instance: Its connections, routes and scheduler are used.
        owner: Named in the names of tasks.

    Attributes:
        by_address: The lobbies in use; empty as long as every broker is connected.
    """

    def __init__(self, dispatcher: Dispatcher, instance: ClientInstance, owner: str) -> None:
        self.by_address: dict[str, Lobby] = {}
        self._dispatcher = dispatcher
        self._loop = dispatcher.loop
        self._instance = instance
        self._channel = instance.remoting.channel
        self._address_of = instance.find_broker_address_in_publish
        self._owner = owner

    def has_waiting(self, address: str | None) -> bool:
        """True while operations wait for this address: those that come later must not overtake them."""
        lobby = self.by_address.get(address) if address is not None else None
        return lobby is not None and bool(lobby.waiting)

    def knock(self, address: str) -> Lobby:
        """See to it that a connection is tried, whether or not an operation waits for it."""
        lobby = self.by_address.get(address)
        if lobby is None:
            lobby = self.by_address[address] = Lobby(address)
        # A stopped instance connects no more: the operations end at their deadlines.
        if lobby.task is None and not self._dispatcher.closed and not self._instance.scheduler.closed:
            lobby.task = self._instance.scheduler.spawn(f"connection to {address} for {self._owner}", self._open(lobby))
        return lobby

    def park(self, operation: SendOperation, queue: MessageQueue, address: str) -> None:
        """Let an operation wait for the connection to its broker; with other brokers to choose from, not for long."""
        lobby = self.knock(address)
        operation.queue, operation.address = queue, address
        now = operation.sent_at = self._loop.time()
        phase = f"connecting to {queue.broker_name} ({address})"
        if operation.movable:
            operation.park(lobby.waiting, phase, now + PATIENCE, partial(self._impatient, operation))
        else:
            operation.park(lobby.waiting, phase)

    def _impatient(self, operation: SendOperation) -> None:
        operation.unpark()
        queue = operation.queue
        assert queue is not None  # it was parked with one
        error = ConnectError("no connection yet, going to another broker", address=operation.address)
        operation.troubled().note(queue.broker_name, operation.address, error, self._loop.time() - operation.sent_at)
        operation.resume()

    def close(self) -> list[dict[SendOperation, None]]:
        """Connect no more; gives back who still waits."""
        for lobby in self.by_address.values():
            if lobby.task is not None:
                lobby.task.cancel()
        return [lobby.waiting for lobby in self.by_address.values()]

    async def _open(self, lobby: Lobby) -> None:
        try:
            while not self._dispatcher.closed:
                pause = lobby.not_before - self._loop.time()
                if pause > 0:
                    await asyncio.sleep(pause)
                try:
                    await self._instance.remoting.connect(lobby.address)
                except RocketMQError as error:
                    lobby.failures += 1
                    lobby.not_before = self._loop.time() + min(MAX_PAUSE, back_off(lobby.failures))
                    self._failed(lobby, error)
                    if not lobby.waiting:
                        return
                else:
                    lobby.failures = 0
                    self._connected(lobby)
                    if not lobby.waiting:
                        self.by_address.pop(lobby.address, None)
                        return
        finally:
            lobby.task = None

    def _connected(self, lobby: Lobby) -> None:
        now = self._loop.time()
        for operation in _promising_first(lobby.waiting, now):
            channel = self._channel(lobby.address)
            if channel is None:
                return
            operation.unpark()
            if operation.reply.done():
                operation.close()
            elif operation.deadline <= now:
                operation.time_out(operation.troubled().phase)
            else:
                operation.transmit(channel, next_opaque())

    def _failed(self, lobby: Lobby, error: RocketMQError) -> None:
        now = self._loop.time()
        topics: set[str] = set()
        for operation in list(lobby.waiting):
            queue = operation.queue
            assert queue is not None  # it was parked with one
            topics.add(operation.target.topic)
            trouble = operation.troubled()
            trouble.note(queue.broker_name, lobby.address, error, now - operation.sent_at)
            trouble.tried.add(queue.broker_name)
            operation.sent_at = now
            if operation.reply.done():
                operation.close()
            elif operation.tries and operation.movable and not operation.has_untried:
                # The others have refused it just now.
                operation.unpark()
                operation.pause(now + back_off(trouble.failures + 1), "waiting before the next try")
            elif operation.movable or self._address_of(queue.broker_name) not in (lobby.address, None):
                operation.unpark()
                self._dispatcher.dispatch(operation)
            elif not error.retriable:
                operation.fail(error)
        for topic in topics:
            self._instance.routes.refresh_soon(topic)


def _promising_first(waiting: Iterable[SendOperation], now: float) -> list[SendOperation]:
    """The operations in their order, but those that are nearly out of time last.

    A broker that has just started is slow. Served strictly in order, every answer of a long queue comes a moment too late for its send,
    and all of them fail one after the other. Sends to a queue that the caller chose keep their order; the others have none.
    """
    late: list[SendOperation] = []
    prompt: list[SendOperation] = []
    for operation in waiting:
        short = min(SHORT_OF_TIME, (operation.deadline - operation.started) / 3)
        (late if operation.deadline - now < short and not operation.pinned else prompt).append(operation)
    return prompt + late
