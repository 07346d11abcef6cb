"""Benchmarks of whole clients on an in-memory network: sending, consuming, calling from another thread.

A client is started against scripted peers (`tests.wire.world`); then a `Tap` takes the place of its socket, so that a call costs the
client's work alone: what is written is kept, and the broker's answers are bytes made beforehand.
"""

from __future__ import annotations

import asyncio
import os
import re
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final
from unittest import mock

from aiorocketmq.client import manager
from aiorocketmq.client.direct_reply import DirectReply
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig
from aiorocketmq.consumer import PushConsumer
from aiorocketmq.model.enums import SerializeType, StartFrom
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import SendResult
from aiorocketmq.producer import Producer
from aiorocketmq.protocol.bodies import GetConsumerListByGroupResponseBody, LockBatchRequestBody, LockBatchResponseBody
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.client import RemotingClient
from aiorocketmq.remoting.event_loop import NO_UVLOOP_ENV
from aiorocketmq.sync import portal as portals
from benchmarks.micro.cases import Run, case
from benchmarks.micro.codec import CHUNK, GROUP, TOPIC, order, send_answer, stored_messages
from tests.support.memory_transport import MemoryTransport, PeerConnection
from tests.wire.world import NAME_SERVER, World, route

SETTLED: Final = 0.5
"""Seconds, of virtual time, after which a client that was started waits for its broker."""
_OPAQUE: Final = re.compile(rb'"opaque":(\d+)')
_FRAME: Final = struct.Struct(">ii")


class Tap:
    """Stands in for the socket of one connection of the client.

    Args:
        connection: The broker's end of it.

    Attributes:
        written: What the client wrote since somebody last cleared it.
        answering: Answer each write by itself in the next turn of the loop, as `send_answer()` does.
    """

    def __init__(self, connection: PeerConnection) -> None:
        assert connection.transport is not None
        self.written: list[bytes] = []
        self.answering = False
        self._transport: MemoryTransport = connection.transport.other
        self._answer = _with_hole(send_answer(0, SerializeType.JSON))
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def installed(self) -> Iterator[Tap]:
        """In place of the transport's own way, which is restored at the end."""
        with mock.patch.object(self._transport, "write", self._write), mock.patch.object(self._transport, "writelines", self._write_all):
            yield self

    def _write(self, data: bytes) -> None:
        self.written.append(data)
        if self.answering:
            self._loop.call_soon(self.deliver, self.answers())

    def _write_all(self, chunks: list[bytes]) -> None:
        self._write(b"".join(chunks))

    def deliver(self, data: bytes) -> None:
        """Give the client received bytes."""
        self._transport.protocol.data_received(data)

    def opaques(self) -> list[int]:
        """The numbers of the requests written, which are forgotten."""
        found = [int(number) for data in self.written for number in _OPAQUE.findall(data)]
        self.written.clear()
        return found

    def answers(self) -> bytes:
        """What a broker answers to the sends written."""
        return b"".join([_frame(self._answer % opaque) for opaque in self.opaques()])


def _with_hole(frame: bytes) -> bytes:
    """A frame's JSON header with a hole for the request's number."""
    return frame[_FRAME.size :].replace(b"%", b"%%").replace(b'"opaque":0', b'"opaque":%d')


def _frame(header: bytes, body: bytes = b"") -> bytes:
    return b"".join((_FRAME.pack(4 + len(header) + len(body), len(header)), header, body))


class Peers(World):
    """A name server and a broker that answer what clients ask at their start; pulls and sends are the benchmark's own."""

    def __init__(self) -> None:
        super().__init__()
        self.client_id = ""
        self.routes[TOPIC] = self.routes[f"%RETRY%{GROUP}"] = route(1)
        on = self.master.on
        on(RequestCode.SEND_MESSAGE_V2, lambda request, connection: connection.write(self._stored(request)))
        on(RequestCode.PULL_MESSAGE, lambda request, _: None)
        on(RequestCode.QUERY_CONSUMER_OFFSET, lambda request, _: RemotingCommand.response(request, header={"offset": "0"}))
        on(RequestCode.GET_CONSUMER_LIST_BY_GROUP, self._members)
        on(RequestCode.LOCK_BATCH_MQ, self._lock)
        for code in (RequestCode.UNLOCK_BATCH_MQ, RequestCode.UPDATE_CONSUMER_OFFSET):
            self.master.answer(code)

    @staticmethod
    def _stored(request: RemotingCommand) -> bytes:
        return send_answer(request.opaque, SerializeType.JSON)

    def _members(self, request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        return RemotingCommand.response(request, body=GetConsumerListByGroupResponseBody([self.client_id]).encode())

    @staticmethod
    def _lock(request: RemotingCommand, _: PeerConnection) -> RemotingCommand:
        return RemotingCommand.response(request, body=LockBatchResponseBody(LockBatchRequestBody.decode(request.body).mq_set).encode())

    def _make(self, config: ClientConfig, client_id: str, *, index: int) -> ClientInstance:
        self.client_id = client_id
        return ClientInstance(config, client_id, index=index, remoting=RemotingClient(config, connector=self.network.connector))

    @asynccontextmanager
    async def running(self, client: AbstractAsyncContextManager[Any]) -> AsyncIterator[None]:
        """Start a client in this world, and stop it."""
        with mock.patch.object(manager.shared, "make", self._make):
            async with client:
                yield

    @asynccontextmanager
    async def tapped(self) -> AsyncIterator[Tap]:
        """A tap on the client's connection, once all that comes with a start is over."""
        await asyncio.sleep(SETTLED)
        with Tap(self.master.connections[0]).installed() as tap:
            yield tap


# --- sending ----------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _producer() -> AsyncIterator[tuple[Producer, Tap]]:
    """A producer that is connected, and the tap on its connection."""
    peers = Peers()
    producer = Producer(NAME_SERVER, group=GROUP, topics=[TOPIC])
    async with peers.running(producer):
        await producer.send(order())
        async with peers.tapped() as tap:
            yield producer, tap


@case("what a send checks and prepares, before anything is sent")
@asynccontextmanager
async def prepare_single() -> AsyncIterator[Run]:
    message = order()
    reply: DirectReply[SendResult] = DirectReply(asyncio.get_running_loop())
    async with _producer() as (producer, _):
        preparer, policy = producer._preparer, producer._policies.sync
        assert preparer is not None  # the producer runs
        yield partial(preparer.single, message, policy, None, None, None, None, reply)


@case("send_nowait() and its answer")
@asynccontextmanager
async def send_nowait() -> AsyncIterator[Run]:
    message = order()
    async with _producer() as (producer, tap):

        def run() -> SendResult:
            future = producer.send_nowait(message)
            tap.deliver(tap.answers())
            return future.result()

        yield run


@case(f"{CHUNK} send_nowait() in one turn of the loop, and one chunk of answers", messages=CHUNK)
@asynccontextmanager
async def send_in_flight() -> AsyncIterator[Run]:
    message = order()
    async with _producer() as (producer, tap):

        async def run() -> list[SendResult]:
            futures = [producer.send_nowait(message) for _ in range(CHUNK)]
            await asyncio.sleep(0)
            tap.deliver(tap.answers())
            return [future.result() for future in futures]

        yield run


@case("await send(), answered in the next turn of the loop")
@asynccontextmanager
async def send() -> AsyncIterator[Run]:
    message = order()
    async with _producer() as (producer, tap):
        tap.answering = True
        yield partial(producer.send, message)


# --- consuming --------------------------------------------------------------------------------------------------------------------


class PulledBroker:
    """Answers the pulls of one queue with `CHUNK` messages each, for ever."""

    def __init__(self, tap: Tap, opaque: int) -> None:
        self._tap = tap
        self._opaque = opaque
        self._offset = 0
        self._body = stored_messages(CHUNK)

    def deliver(self) -> None:
        """Answer the pull that waits.

        The same records come again and again: the offset delta of static topics makes their offsets rise.
        """
        offset = self._offset
        self._offset = end = offset + CHUNK
        header = (
            b'{"code":0,"extFields":{"maxOffset":"99999999","minOffset":"0","nextBeginOffset":"%d","offsetDelta":"%d",'
            b'"suggestWhichBrokerId":"0"},"flag":1,"language":"JAVA","opaque":%d,"serializeTypeCurrentRPC":"JSON","version":513}'
        ) % (end, offset, self._opaque)
        self._tap.deliver(_frame(header, self._body))

    def next_pull(self) -> None:
        """Take the pull that the client sent meanwhile; it commits what was consumed before."""
        (pull,) = self._tap.written
        assert b'"commitOffset":"%d"' % (self._offset - CHUNK) in pull, "the messages were not consumed"
        (self._opaque,) = self._tap.opaques()


@asynccontextmanager
async def _consume(*, ordered: bool) -> AsyncIterator[Run]:
    loop = asyncio.get_running_loop()
    peers = Peers()
    left = 0
    consumed = loop.create_future()

    async def listener(message: ReceivedMessage) -> None:
        nonlocal left
        left -= 1
        if not left:
            consumed.set_result(None)

    consumer = PushConsumer(NAME_SERVER, group=GROUP, ordered=ordered, start_from=StartFrom.FIRST)
    await consumer.subscribe(TOPIC, listener)
    async with peers.running(consumer), peers.tapped() as tap:
        pulls = [request.command for request in peers.master.of(RequestCode.PULL_MESSAGE)]
        broker = PulledBroker(tap, next(pull.opaque for pull in pulls if pull.ext_fields["topic"] == TOPIC))

        async def run() -> None:
            nonlocal left, consumed
            left = CHUNK
            consumed = loop.create_future()
            broker.deliver()
            await consumed
            broker.next_pull()

        yield run


@case(f"pull answer of {CHUNK} messages to an async listener, one by one, and the next pull", messages=CHUNK)
def push_concurrent() -> AbstractAsyncContextManager[Run]:
    return _consume(ordered=False)


@case(f"the same, {CHUNK} messages in order", messages=CHUNK)
def push_ordered() -> AbstractAsyncContextManager[Run]:
    return _consume(ordered=True)


# --- calling from another thread --------------------------------------------------------------------------------------------------


class _Resident:
    def stop(self) -> None: ...

    def _mark_forked(self) -> None: ...


@case("empty call into the loop thread and back, both threads", messages=0, orjson=False, threads=True)
@asynccontextmanager
async def portal_call() -> AsyncIterator[Run]:
    resident = _Resident()
    # uvloop may be installed or not: the standard loop is there always.
    with mock.patch.dict(os.environ, {NO_UVLOOP_ENV: "1"}):
        portal = portals.current()
        portal.call_plain(portal.enter, resident, resident)
    try:
        yield lambda: portal.call_plain(_nothing)
    finally:
        portal.call_plain(portal.leave, resident)
        portal.join(5.0)


def _nothing() -> None: ...
