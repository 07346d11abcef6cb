"""Requests that wait for a reply (Java: `DefaultMQProducerImpl.request`, `RequestResponseFuture`). Features D1-D4, D8.

A broker hands a reply to the connection that the heartbeats of the client come from, and any broker of the cluster may be the one that
gets the reply. So before the first request to a topic all masters of its clusters are told who we are.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.replies import no_reply, reply_topic, request_properties
from aiorocketmq.errors import ClientClosedError, InvalidMessageError, RocketMQError
from aiorocketmq.model.message import Message
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.model.results import SendResult
from aiorocketmq.model.route import TopicRouteData
from aiorocketmq.producer.attempts import SendPolicy
from aiorocketmq.producer.prepare import Preparer
from aiorocketmq.producer.reply import given_up, refused
from aiorocketmq.producer.send import SendOperation


@dataclass(frozen=True, slots=True)
class _Around:
    """The brokers around a topic: whoever of them gets a reply has to know us.

    Attributes:
        route: The route that this was read from.
        masters: Addresses of the masters.
    """

    route: TopicRouteData | None
    masters: frozenset[str]


class Requests:
    """The requests of one running producer.

    Args:
        instance: Its client instance.
        preparer: Makes the operations.
        group: The producer's group.
    """

    def __init__(self, instance: ClientInstance, preparer: Preparer, group: str) -> None:
        self._instance = instance
        self._preparer = preparer
        self._group = group
        self._around: dict[str, _Around] = {}
        self._waiting: set[asyncio.Future[ReceivedMessage]] = set()
        self._closed = False

    def make(
        self, message: Any, policy: SendPolicy, timeout: float | timedelta | None, queue: Any, selector: Any, sharding_key: Any
    ) -> Request:
        """Check a request, and make what is to be sent; the arguments are those of `Producer.request()`.

        Raises:
            InvalidMessageError, InvalidNameError, ConfigError: As `Preparer.single()`; a request with a delay is refused, too.
        """
        loop = self._preparer.loop
        sent: asyncio.Future[SendResult | None] = loop.create_future()
        operation = self._preparer.single(message, policy, timeout, queue, selector, sharding_key, sent)
        assert isinstance(message, Message)  # `single()` has looked
        from uuid import uuid4  # few programs send requests

        correlation_id = str(uuid4())
        ttl_ms = round((operation.deadline - operation.started) * 1000)
        try:
            if message.delayed:
                raise InvalidMessageError(
                    "a request with a delay makes no sense: its reply would come too late", hint="leave the delay out"
                )
            operation.properties += request_properties(correlation_id, self._instance.client_id, ttl_ms)
            Message.checked_size(message, operation.properties)
        except InvalidMessageError as error:
            refused(operation.reply, error)
            raise
        return Request(operation, correlation_id, sent, loop.create_future())

    async def introduce(self, request: Request) -> None:
        """See to it that every broker that may be given the reply knows us; what cannot be reached is left to the send, which says so.

        Raises:
            ClientClosedError: The producer was stopped meanwhile.
        """
        heartbeat = self._instance.heartbeat
        topic = request.operation.target.topic
        around = self._around.get(topic)
        if around is not None and around.route is self._instance.routes.route(topic) and all(map(heartbeat.told, around.masters)):
            return
        try:
            async with asyncio.timeout_at(request.operation.deadline):
                around = await self._look_around(request.operation)
                await heartbeat.introduce(around.masters)
        except TimeoutError:
            return  # the send says so, and what it was that it waited for
        if self._closed:
            raise self._stopped()
        self._around[topic] = around

    async def _look_around(self, operation: SendOperation) -> _Around:
        routes, topics, target = self._instance.routes, self._preparer.dispatcher.topics, operation.target
        names: set[str] = set()
        try:
            if target.publish is None:
                target.put(await topics.fetch_route(target.topic))
            names.update(target.brokers)
            route = routes.route(target.topic)
            for cluster in {broker.cluster for broker in route.broker_datas} if route is not None else ():
                # Kept fresh like a topic that is sent to, so that brokers that join the cluster are told as well.
                replies = topics.target(reply_topic(cluster))
                if replies.publish is None:
                    replies.put(await topics.fetch_route(replies.topic))
                names.update(replies.brokers)
        except RocketMQError:
            pass  # the send looks for the route again, and says what is wrong; a cluster of one broker needs no more
        addresses = {routes.broker_addrs.master(name) for name in names}
        return _Around(routes.route(target.topic), frozenset(address for address in addresses if address is not None))

    async def wait(self, request: Request) -> ReceivedMessage:
        """Send a request off, for which there is room in the window, and wait for its reply.

        Raises:
            SendError, RouteError: It was not sent, as of `Producer.send()`.
            ReplyTimeoutError: It was, but nobody has replied in time.
            ClientClosedError: The producer was stopped meanwhile.
        """
        operation, sent, reply = request.operation, request.sent, request.reply
        replies = self._instance.replies
        replies.expect(request.correlation_id, reply)
        self._waiting.add(reply)
        sent.add_done_callback(partial(_sent, reply))
        try:
            self._preparer.dispatcher.begin(operation)
            async with asyncio.timeout_at(operation.deadline):
                return await reply
        except TimeoutError:
            await asyncio.wait([sent])  # its time is up as well
            result = sent.result()
            assert result is not None  # only one-way sends have no result
            where = f"it is stored in {result.queue.broker_name}:{result.queue.queue_id} at offset {result.queue_offset}"
            seconds = operation.deadline - operation.started
            raise no_reply(operation.target.topic, request.correlation_id, seconds, result.message_id, where) from None
        finally:
            replies.forget(request.correlation_id)
            self._waiting.discard(reply)

    def close(self) -> None:
        """End what still waits."""
        self._closed = True
        self._around.clear()
        for reply in self._waiting:
            if not reply.done():
                reply.set_exception(self._stopped())

    def _stopped(self) -> ClientClosedError:
        return ClientClosedError(f"producer {self._group!r} was stopped before a reply came")


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One request on its way.

    Attributes:
        operation: Its message.
        correlation_id: What its reply will carry.
        sent: The outcome of the send.
        reply: The reply.
    """

    operation: SendOperation
    correlation_id: str
    sent: asyncio.Future[SendResult | None]
    reply: asyncio.Future[ReceivedMessage]

    def give_up(self) -> None:
        """Nobody waits any more: a message that is not on its way yet stays here."""
        self.reply.cancel()
        self.sent.cancel()
        given_up(self.operation.reply)


def _sent(reply: asyncio.Future[ReceivedMessage], sent: asyncio.Future[SendResult | None]) -> None:
    """A request that was not sent gets no reply."""
    error = None if sent.cancelled() else sent.exception()
    if error is not None and not reply.done():
        reply.set_exception(error)
