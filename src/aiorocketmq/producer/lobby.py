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
from aiorocketmq.producer.send import Sender, SendOperation

PATIENCE: Final = 1.0
"""Seconds after which an operation stops waiting for one broker's connection when the topic has other brokers."""
MAX_PAUSE: Final = 0.5
"""Longest pause in seconds between two attempts to connect while a send waits for it."""
SHORT_OF_TIME: Final = 1.0
"""A send with less than this many seconds left lets the others go first when a broker is back."""


class Lobby:
    """Operations parked until one address is connected. Mutable.

    Attributes:
        address: `host:port` of the broker.
        waiting: The operations, in their order.
        wanted: Somebody has asked for another attempt since the last one began.
        failures: Failed attempts in a row.
    """

    __slots__ = ("address", "failures", "task", "waiting", "wanted")

    def __init__(self, address: str) -> None:
        self.address = address
        self.waiting: dict[SendOperation, None] = {}
        self.wanted = True
        self.task: asyncio.Task[None] | None = None
        self.failures = 0


class Lobbies:
    """The lobbies of one producer, by address.

    A lobby lives as long as its task: while somebody waits in it, or asks for the connection in the pause after a failed attempt.

    Args:
        dispatcher: Sends operations off again that go another way.
        instance: Its connections, routes and scheduler are used.
        owner: Named in the names of tasks.

    Attributes:
        by_address: The lobbies; empty as long as every broker is connected.
    """

    def __init__(self, dispatcher: Sender, instance: ClientInstance, owner: str) -> None:
        self.by_address: dict[str, Lobby] = {}
        self._dispatcher = dispatcher
        self._loop = dispatcher.loop
        self._instance = instance
        self._channel = instance.remoting.channel
        self._address_of = instance.find_broker_address_in_publish
        self._owner = owner

    @property
    def waiting(self) -> bool:
        """True while any operation waits for a connection."""
        return any(lobby.waiting for lobby in list(self.by_address.values()))

    def has_waiting(self, address: str | None) -> bool:
        """True while operations wait for this address: those that come later must not overtake them."""
        lobby = self.by_address.get(address) if address is not None else None
        return lobby is not None and bool(lobby.waiting)

    def knock(self, address: str) -> None:
        """See to it that a connection is tried, whether or not an operation waits for it."""
        lobby = self.by_address.get(address)
        if lobby is not None:
            lobby.wanted = True
        elif not self._dispatcher.closed and not self._instance.scheduler.closed:
            self._open_lobby(address)

    def _open_lobby(self, address: str) -> Lobby:
        lobby = self.by_address[address] = Lobby(address)
        lobby.task = self._instance.scheduler.spawn(f"connection to {address} for {self._owner}", self._connect(lobby))
        return lobby

    def park(self, operation: SendOperation, queue: MessageQueue, address: str) -> None:
        """Let an operation wait for the connection to its broker; with other brokers to choose from, not for long."""
        operation.queue, operation.address = queue, address
        now = operation.sent_at = self._loop.time()
        phase = f"connecting to {operation.broker_name} ({address})"
        self.knock(address)
        lobby = self.by_address.get(address)
        # A stopped instance connects no more: the operation ends at its deadline.
        place = lobby.waiting if lobby is not None else operation.target.pausing
        if operation.movable:
            operation.park(place, phase, now + PATIENCE, partial(self._impatient, operation))
        else:
            operation.park(place, phase)

    def _impatient(self, operation: SendOperation) -> None:
        error = ConnectError("no connection yet, going to another broker", address=operation.address)
        operation.troubled().note(operation.broker_name, operation.address, error, self._loop.time() - operation.sent_at)
        operation.resume()

    def close(self) -> list[SendOperation]:
        """Connect no more; gives back who still waits."""
        waiting: list[SendOperation] = []
        for lobby in self.by_address.values():
            waiting += lobby.waiting
            if lobby.task is not None:
                lobby.task.cancel()
        self.by_address.clear()  # not left to the tasks: one that has not begun yet does nothing at all
        return waiting

    async def _connect(self, lobby: Lobby) -> None:
        try:
            while (lobby.waiting or lobby.wanted) and not self._dispatcher.closed:
                lobby.wanted = False
                try:
                    await self._instance.remoting.connect(lobby.address)
                except RocketMQError as error:
                    lobby.failures += 1
                    pause = min(MAX_PAUSE, back_off(lobby.failures))
                    self._failed(lobby, error)
                    # Whoever asks meanwhile asks this lobby: a broker that is down is not dialled for every message.
                    await asyncio.sleep(pause)
                else:
                    lobby.failures = 0
                    self._connected(lobby)
        finally:
            self.by_address.pop(lobby.address, None)

    def _connected(self, lobby: Lobby) -> None:
        now = self._loop.time()
        for operation in _promising_first(lobby.waiting, now):
            channel = self._channel(lobby.address)
            if channel is None:
                lobby.wanted = True
                return
            operation.unpark()
            if operation.reply.done():
                operation.end()
            elif operation.deadline <= now:
                operation.time_out(operation.troubled().phase)
            else:
                self._dispatcher.send_on(operation, channel)  # `dispatch()` would have it wait for those that wait here

    def _failed(self, lobby: Lobby, error: RocketMQError) -> None:
        now = self._loop.time()
        topics: set[str] = set()
        for operation in list(lobby.waiting):
            broker = operation.broker_name
            topics.add(operation.target.topic)
            trouble = operation.troubled()
            trouble.note(broker, lobby.address, error, now - operation.sent_at)
            trouble.tried.add(broker)
            operation.sent_at = now
            if operation.reply.done():
                operation.end()
            elif operation.tries and operation.movable and not operation.has_untried:
                # The others have refused it just now.
                operation.unpark()
                operation.pause(now + back_off(trouble.failures + 1), "waiting before the next try")
            elif operation.movable or self._address_of(broker) not in (lobby.address, None):
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
