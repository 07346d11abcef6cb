"""What the client asks name servers (Java: `MQClientAPIImpl`, its name-server half). The wire is in protocol.headers_client and bodies."""

from __future__ import annotations

from aiorocketmq.client.calls import RemoteCalls
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import TopicNotExistError, TopicNotFoundError
from aiorocketmq.model.route import TopicRouteData
from aiorocketmq.protocol.bodies_client import ClusterInfo, TopicList, decode_topic_route
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_client import GetRouteInfoRequestHeader
from aiorocketmq.remoting.client import RemotingClient


class NameServerApi(RemoteCalls):
    """Typed requests to the chosen name server; arguments as of `RemoteCalls`."""

    def __init__(self, remoting: RemotingClient, config: ClientConfig) -> None:
        super().__init__(remoting, config)
        self._zone = config.zone
        self._zone_mode = config.zone_mode or None

    async def topic_route(self, topic: str, *, timeout: float | None = None) -> TopicRouteData:
        """The route of a topic.

        Args:
            topic: Topic name.
            timeout: Seconds; None takes `mq_client_api_timeout`.

        Raises:
            TopicNotFoundError: The name server does not know it.
            NoNameServerError: None is configured, or none answered; the text has one reason for each address.
            BrokerError: The name server answered with an error.
            ProtocolError: The answer is damaged, or the address speaks another protocol.
        """
        return decode_topic_route(await self.topic_route_body(topic, timeout=timeout))

    async def topic_route_body(self, topic: str, *, timeout: float | None = None) -> bytes:
        """The route of a topic as it came, for `decode_topic_route()`: equal bytes are equal routes.

        Args:
            topic: Topic name.
            timeout: Seconds; None takes `mq_client_api_timeout`.

        Raises:
            RocketMQError: As `topic_route()`; nothing was decoded yet.
        """
        header = GetRouteInfoRequestHeader(topic, accept_standard_json_only=True, zone_name=self._zone, zone_mode=self._zone_mode)
        try:
            response = await self.call(None, RequestCode.GET_ROUTEINFO_BY_TOPIC, header, timeout=timeout, topic=topic)
        except TopicNotExistError as error:
            raise TopicNotFoundError(f"no route of topic {topic!r}: the name server does not know it", topic=topic, cause=error) from None
        return response.body

    async def cluster_info(self, *, timeout: float | None = None) -> ClusterInfo:
        """All clusters, their broker names and addresses.

        Raises:
            RocketMQError: As `topic_route()`.
        """
        response = await self.call(None, RequestCode.GET_BROKER_CLUSTER_INFO, timeout=timeout)
        return ClusterInfo.decode(response.body)

    async def topic_list(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Names of all topics that brokers have registered; in a namespace its own ones, and those of the brokers.

        Raises:
            RocketMQError: As `topic_route()`.
        """
        response = await self.call(None, RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER, timeout=timeout)
        names = self.namespace
        return tuple(names.unwrap(topic) for topic in TopicList.decode(response.body).topic_list if names.holds(topic))
