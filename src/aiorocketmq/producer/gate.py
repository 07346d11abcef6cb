"""Sends that wait for credentials which have to be awaited (no Java twin: its hooks cannot wait). Feature M2.

Only where `credentials=` is an async function. Whatever is to be sent while it is being asked shares the call and leaves in its order.
"""

from __future__ import annotations

import asyncio

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.errors import CredentialsError, fresh
from aiorocketmq.producer.send import Sender, SendOperation
from aiorocketmq.remoting.signing import Signer


class Gate:
    """Lets operations through once fresh credentials are there.

    Args:
        dispatcher: Sends operations off again whose connection has gone meanwhile.
        instance: Its connections and scheduler are used.
        signer: Asks for the credentials.
        owner: Named in the names of tasks.
    """

    def __init__(self, dispatcher: Sender, instance: ClientInstance, signer: Signer, owner: str) -> None:
        self._dispatcher = dispatcher
        self._instance = instance
        self._signer = signer
        self._owner = owner
        self._waiting: dict[SendOperation, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._open = False

    def allow(self, operation: SendOperation) -> bool:
        """True when the operation may leave now; else it is parked. Its queue and address are set."""
        if self._open:
            return True
        operation.park(operation.target.pausing, "waiting for credentials")
        self._waiting[operation] = None
        if self._task is None and not self._instance.scheduler.closed:
            self._task = self._instance.scheduler.spawn(f"credentials for {self._owner}", self._ask())
        return False

    def close(self) -> None:
        """Ask no more; who waits is ended by those who own the places."""
        if self._task is not None:
            self._task.cancel()
            self._task = None  # not left to the task: one that has not begun yet does nothing at all
        self._waiting.clear()

    async def _ask(self) -> None:
        error: CredentialsError | None = None
        try:
            await self._signer.fresh()
        except CredentialsError as failed:
            error = failed
        finally:
            self._task = None
            waiting, self._waiting = self._waiting, {}
        for operation in waiting:
            if operation.place is not operation.target.pausing:
                continue  # ended meanwhile
            operation.unpark()
            if operation.reply.done():
                operation.end()
            elif error is not None:
                operation.break_off(fresh(error))
            else:
                self._pass(operation)

    def _pass(self, operation: SendOperation) -> None:
        queue = operation.queue
        assert queue is not None  # it was parked with one
        channel = self._instance.remoting.channel(operation.address)
        if channel is None:
            self._dispatcher.dispatch(operation)
            return
        self._open = True  # nothing waits in here: whatever else comes now comes from within this call
        try:
            self._dispatcher.send_on(operation, channel)
        finally:
            self._open = False
