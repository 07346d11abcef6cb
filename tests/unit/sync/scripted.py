"""A name server and brokers on real sockets that answer as a test says, on an event loop in a thread of their own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.bodies import encode_topic_route
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import SendMessageRequestHeaderV2
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.remoting.server import RemotingServer
from tests.support.send_script import SendScript
from tests.wire.world import heartbeat_answer

T = TypeVar("T")

TOPIC = "orders"
DROP = -1
"""An answer: the connection is dropped instead."""


@dataclass(frozen=True)
class Send:
    """One send that a broker received."""

    channel: Channel
    header: SendMessageRequestHeaderV2
    request: RemotingCommand

    @property
    def body(self) -> bytes:
        return self.request.body


class Broker(SendScript):
    """A broker that stores messages; `DROP` is one of its answers, too.

    Attributes:
        sends: Every send it received, refused ones included.
    """

    def __init__(self, name: str, context: ssl.SSLContext | None) -> None:
        super().__init__()
        self.name = name
        self.server = RemotingServer(ssl_context=context)
        self.sends: list[Send] = []
        self.server.register_processor(RequestCode.SEND_MESSAGE_V2, self._take)
        self.server.register_processor(RequestCode.SEND_BATCH_MESSAGE, self._take)
        self.server.register_processor(RequestCode.HEART_BEAT, lambda request, _: heartbeat_answer(request))
        self.server.register_processor(RequestCode.UNREGISTER_CLIENT, lambda request, _: RemotingCommand.response(request))

    def _take(self, request: RemotingCommand, channel: Channel) -> Any:
        header = SendMessageRequestHeaderV2.from_ext(request.ext_fields)
        self.sends.append(Send(channel, header, request))
        code = self.next_code()
        if code == DROP:
            channel.abort()
            return None
        return self.answer(request, header, len(self.sends), code)

    @property
    def channels(self) -> list[Channel]:
        """The connections of the sends, in their order."""
        return [send.channel for send in self.sends]

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self.server.channels)


class Site:
    """One name server and some brokers. Close it."""

    def __init__(self, *names: str, queues: int = 4, context: ssl.SSLContext | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted-brokers")
        self._thread.start()
        self.brokers = [Broker(name, context) for name in names or ("broker-a",)]
        self.name_server = RemotingServer(ssl_context=context)
        self.name_server.register_processor(RequestCode.GET_ROUTEINFO_BY_TOPIC, self._route)
        self._queues = queues
        for server in self._servers:
            self.run(server.start())

    @property
    def _servers(self) -> list[RemotingServer]:
        return [self.name_server, *(broker.server for broker in self.brokers)]

    @property
    def broker(self) -> Broker:
        """The only broker, or the first."""
        return self.brokers[0]

    def _route(self, request: RemotingCommand, _: Channel) -> RemotingCommand:
        queues = tuple(QueueData(broker.name, self._queues, self._queues, 6) for broker in self.brokers)
        brokers = tuple(BrokerData("DefaultCluster", broker.name, {0: broker.server.address}) for broker in self.brokers)
        return RemotingCommand.response(request, body=encode_topic_route(TopicRouteData(queues, brokers)))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the servers live."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def abort(self, channel: Channel) -> None:
        """Drop a connection."""

        async def drop() -> None:
            channel.abort()

        self.run(drop())

    def restart(self, broker: Broker) -> None:
        """Stop a broker and start it again on the same port."""
        self.run(broker.server.stop())
        self.run(broker.server.start())

    def close(self) -> None:
        for server in self._servers:
            self.run(server.stop(abort=True))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()
