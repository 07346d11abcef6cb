"""One request, one checked answer: what the name-server and broker APIs stand on (Java: the bottom half of `MQClientAPIImpl`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import RocketMQError, broker_error
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import Header
from aiorocketmq.remoting.client import RemotingClient

_SUCCESS: Final = frozenset({int(ResponseCode.SUCCESS)})


class RemoteCalls:
    """Sends requests with the instance's time-out and turns error codes into errors.

    Args:
        remoting: Carries the frames.
        config: Gives the default time-out.

    Attributes:
        default_timeout: Seconds for calls that name none.
    """

    def __init__(self, remoting: RemotingClient, config: ClientConfig) -> None:
        self._remoting = remoting
        self.default_timeout = config.mq_client_api_timeout

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
        request = RemotingCommand.request(code, header, body)
        try:
            response = await self._remoting.invoke(address, request, self.default_timeout if timeout is None else timeout)
        except RocketMQError as error:
            raise error.with_traceback(None) from None  # the frames below help nobody, and the text says all
        if response.code not in accept:
            raise broker_error(response.code, response.remark, broker=broker or address or "the name server", topic=topic)
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
        request = RemotingCommand.request(code, header, body, oneway=True)
        await self._remoting.invoke_oneway(address, request, self.default_timeout if timeout is None else timeout)
