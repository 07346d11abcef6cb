"""Messages with a delay by time, or a priority, go only to brokers that know these (no Java twin). Features A18, B27.

An older broker does not know the properties of such a message: it would deliver it at once, or to any queue, and say SEND_OK. Which version
a broker has it tells in its answers to heartbeats; an operation waits for the first one where there was none yet.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.errors import NotSupportedByBrokerError, RocketMQError, fresh
from aiorocketmq.model.properties import PRIORITY
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.producer.send import Sender, SendOperation
from aiorocketmq.protocol.codes import version_name

FIRST_WITH_TIMERS: Final = 412
"""V5_0_0_SNAPSHOT: the first version of brokers that deliver messages at a given time."""
FIRST_WITH_PRIORITIES: Final = 493
"""V5_4_0: the first version of brokers that look at priorities."""
ASK_AGAIN: Final = 0.2
"""Seconds between two questions for the version of a broker that does not answer."""


class Timers:
    """Tells which brokers have timers, and lets operations wait until that is known.

    Args:
        dispatcher: Sends operations off again once it is known.
        instance: Its heartbeats and table of versions are used.
        owner: Named in the names of tasks.
    """

    def __init__(self, dispatcher: Sender, instance: ClientInstance, owner: str) -> None:
        self._dispatcher = dispatcher
        self._instance = instance
        self._owner = owner
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, dict[SendOperation, None]] = {}

    def allow(self, operation: SendOperation, queue: MessageQueue, address: str) -> bool:
        """True when this broker can have the operation; else it is parked, goes elsewhere, or has ended."""
        version = self._instance.routes.broker_addrs.version(queue.broker_name, address)
        if version >= FIRST_WITH_PRIORITIES or (version >= FIRST_WITH_TIMERS and not _has_priority(operation)):
            return True
        if not version:
            self._ask(operation, queue.broker_name, address)
            return False
        self._elsewhere(operation, queue.broker_name, (_no_priorities if _has_priority(operation) else _too_old)(queue, version))
        return False

    def _elsewhere(self, operation: SendOperation, broker_name: str, error: NotSupportedByBrokerError) -> None:
        """Brokers of different versions: one of the others may have timers."""
        operation.troubled().tried.add(broker_name)
        if operation.has_untried:
            self._dispatcher.dispatch(operation)
        else:
            operation.break_off(error)

    def close(self) -> None:
        """Ask no more."""
        for task in self._asking.values():
            task.cancel()
        self._asking.clear()  # not left to the tasks: one that has not begun yet does nothing at all
        self._waiting.clear()

    def _ask(self, operation: SendOperation, broker_name: str, address: str) -> None:
        waiting = self._waiting.setdefault(address, {})
        operation.park(operation.target.pausing, f"waiting for the version of {broker_name} ({address})")
        waiting[operation] = None
        if address not in self._asking and not self._instance.scheduler.closed:
            work = self._learn(broker_name, address)
            self._asking[address] = self._instance.scheduler.spawn(f"version of {broker_name} for {self._owner}", work)

    async def _learn(self, broker_name: str, address: str) -> None:
        clock = self._dispatcher.loop.time
        began = clock()
        try:
            try:
                version = await self._instance.heartbeat.learn_version(broker_name, address)
            except RocketMQError as error:
                self._note(address, error, clock() - began)
                await asyncio.sleep(ASK_AGAIN)
            else:
                if not version:
                    self._none_told(broker_name, address)
        finally:
            self._asking.pop(address, None)
            waiting = self._waiting.pop(address, {})
        for operation in waiting:
            if operation.place is operation.target.pausing:
                operation.resume()

    def _note(self, address: str, error: RocketMQError, took: float) -> None:
        """Tell those who wait why the version is not known yet: some may have no time for another question."""
        for operation in self._waiting.get(address, ()):
            if operation.place is operation.target.pausing:
                operation.troubled().note(operation.broker_name, address, fresh(error, message=f"heartbeat: {error.message}"), took)

    def _none_told(self, broker_name: str, address: str) -> None:
        for operation in self._waiting.pop(address, {}):
            if operation.place is operation.target.pausing:
                operation.unpark()
                if operation.reply.done():
                    operation.end()
                else:
                    self._elsewhere(operation, broker_name, _no_version(broker_name))


def _no_version(broker_name: str) -> NotSupportedByBrokerError:
    return NotSupportedByBrokerError(
        f"broker {broker_name!r} does not tell its version when it answers heartbeats, so it may have neither timers nor priorities",
        feature="delay by time",
        broker=broker_name,
        hint="use delay_level= (1 s to 2 h), which every broker knows, or a broker of version 5.0 or newer",
    )


def _has_priority(operation: SendOperation) -> bool:
    return f"\x02{PRIORITY}\x01" in operation.properties


def _no_priorities(queue: MessageQueue, version: int) -> NotSupportedByBrokerError:
    name = version_name(version)
    return NotSupportedByBrokerError(
        f"broker {queue.broker_name!r} has version {name} and does not look at priorities",
        feature="priority messages",
        broker=queue.broker_name,
        broker_version=name,
        hint="send to queues of your own choice with queue=, or use a broker of version 5.4 or newer",
    )


def _too_old(queue: MessageQueue, version: int) -> NotSupportedByBrokerError:
    name = version_name(version)
    return NotSupportedByBrokerError(
        f"broker {queue.broker_name!r} has version {name} and no timers: it would deliver a message with delay= or deliver_at= at once",
        feature="delay by time",
        broker=queue.broker_name,
        broker_version=name,
        hint="use delay_level= (1 s to 2 h), which every broker knows, or a broker of version 5.0 or newer",
    )
