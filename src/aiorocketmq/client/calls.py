"""One request, one checked answer: what the name-server and broker APIs stand on (Java: the bottom half of `MQClientAPIImpl`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import RocketMQError, broker_error
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import Header
from aiorocketmq.remoting.client import RemotingClient

_NAMES: Final = ("topic", "consumerGroup", "producerGroup", "group", "groupName", "originTopic", "srcGroup", "destGroup", "defaultTopic")
"""Fields of headers that hold a topic or a group."""
_SHORT_NAMES: Final = ("a", "b", "c")
_SHORT_CODES: Final = frozenset({RequestCode.SEND_MESSAGE_V2, RequestCode.SEND_BATCH_MESSAGE, RequestCode.SEND_REPLY_MESSAGE_V2})
"""The requests whose headers name them by one letter: producer group, topic, default topic."""
_SUCCESS: Final = frozenset({int(ResponseCode.SUCCESS)})


class RemoteCalls:
    """Sends requests with the instance's time-out and turns error codes into errors.

    Args:
        remoting: Carries the frames.
        config: Gives the default time-out.

    Attributes:
        default_timeout: Seconds for calls that name none.
        namespace: Names of topics and groups in the form of the wire, and back.
    """

    def __init__(self, remoting: RemotingClient, config: ClientConfig) -> None:
        self._remoting = remoting
        self.namespace = config.names
        self._config = config
        self.default_timeout = config.mq_client_api_timeout

    def request(
        self, code: int, header: Header | Mapping[str, str] | None = None, body: bytes = b"", *, oneway: bool = False
    ) -> RemotingCommand:
        """Make a request as it goes over the wire: its topics and groups have their namespace, and it has the fields of every request.

        Args:
            code: Request code.
            header: Custom header with the names that users know, or None.
            body: Body of the request; the names in it are wrapped already.
            oneway: No answer is wanted.
        """
        request = RemotingCommand.request(code, header, body, oneway=oneway)
        if self.namespace:
            fields = request.ext_fields
            for name in _SHORT_NAMES if code in _SHORT_CODES else _NAMES:
                if name in fields:
                    fields[name] = self.namespace.wrap(fields[name])
        if self._config.request_fields:
            request.ext_fields.update(self._config.request_fields)
        return request

    async def call(
        self,
        address: str | None,
        code: int,
        header: Header | Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout: float | None = None,
        topic: str = "",
        broker: str = "",
        accept: Collection[int] = _SUCCESS,
    ) -> RemotingCommand:
        """Send a request and wait for its answer.

        Args:
            address: `host:port`, or None for a name server.
            code: Request code.
            header: Custom header, or None.
            body: Body of the request.
            timeout: Seconds; None takes `mq_client_api_timeout`.
            topic: Topic that the request is about, for the error.
            broker: Broker name for the error; "" takes the address.
            accept: Response codes that are no error.

        Raises:
            BrokerError: The answer has a code that is not in `accept`.
            RemotingError: No answer came.

        Cancelling it forgets the request; the peer may have carried it out.
        """
        request = self.request(code, header, body)
        try:
            response = await self._remoting.invoke(address, request, self.default_timeout if timeout is None else timeout)
        except RocketMQError as error:
            raise error.with_traceback(None) from None  # the frames below help nobody, and the text says all
        if response.code not in accept:
            raise broker_error(
                response.code, self.namespace.unwrap_text(response.remark), broker=broker or address or "the name server", topic=topic
            )
        return response

    async def tell(
        self,
        address: str | None,
        code: int,
        header: Header | Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> None:
        """Send a one-way request; returns when it is handed to the connection.

        Args:
            address: `host:port`, or None for a name server.
            code: Request code.
            header: Custom header, or None.
            body: Body of the request.
            timeout: Seconds to get a connection; None takes `mq_client_api_timeout`.

        Raises:
            RemotingError: There is no connection.
        """
        request = self.request(code, header, body, oneway=True)
        await self._remoting.invoke_oneway(address, request, self.default_timeout if timeout is None else timeout)
