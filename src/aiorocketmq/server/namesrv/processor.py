"""What a name server answers (Java: `ClientRequestProcessor`, `DefaultRequestProcessor`)."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final, Protocol

from aiorocketmq.errors import ProtocolError, broker_error
from aiorocketmq.model.parsing import INT32_MAX, number_or_none
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.beans import check, from_json
from aiorocketmq.protocol.bodies import (
    BrokerMemberGroup,
    DataVersion,
    GetBrokerMemberGroupResponseBody,
    KVTable,
    RegisterBrokerBody,
    TopicConfig,
    TopicConfigWrapper,
    TopicList,
    decode_topic_route,
    encode_topic_route,
)
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import Header
from aiorocketmq.protocol.headers_admin import (
    AddWritePermOfBrokerRequestHeader,
    AddWritePermOfBrokerResponseHeader,
    BrokerHeartbeatRequestHeader,
    DeleteKVConfigRequestHeader,
    DeleteTopicFromNamesrvRequestHeader,
    GetBrokerMemberGroupRequestHeader,
    GetKVConfigRequestHeader,
    GetKVConfigResponseHeader,
    GetKVListByNamespaceRequestHeader,
    GetTopicsByClusterRequestHeader,
    PutKVConfigRequestHeader,
    QueryDataVersionRequestHeader,
    QueryDataVersionResponseHeader,
    RegisterBrokerRequestHeader,
    RegisterBrokerResponseHeader,
    RegisterTopicRequestHeader,
    UnRegisterBrokerRequestHeader,
    WipeWritePermOfBrokerRequestHeader,
    WipeWritePermOfBrokerResponseHeader,
)
from aiorocketmq.protocol.headers_client import GetRouteInfoRequestHeader
from aiorocketmq.protocol.settings import format_settings
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Request, Resource, operation
from aiorocketmq.server.namesrv.route_info import RouteInfo
from aiorocketmq.server.settings import parse_settings

ORDER_NAMESPACE: Final = "ORDER_TOPIC_CONFIG"
_STRICT_JSON_VERSION: Final = 401
_REGISTER_BODY_VERSION: Final = 37
_MAPPING_VERSION: Final = 413
_MAX_INFLATED: Final = 16 * 1024 * 1024
_CHANGEABLE: Final = frozenset({"orderMessageEnable", "returnOrderTopicConfigToBroker"})


class Values(Protocol):
    """Settings by namespace and key."""

    def get(self, namespace: str, key: str) -> str | None: ...

    def namespace(self, namespace: str) -> dict[str, str] | None: ...

    def put(self, namespace: str, key: str, value: str) -> None: ...

    def delete(self, namespace: str, key: str) -> None: ...


class NameServerProcessor:
    """Handlers of one name server."""

    def __init__(self, routes: RouteInfo, values: Values) -> None:
        self._routes = routes
        self._values = values
        self._settings = {"orderMessageEnable": "false", "returnOrderTopicConfigToBroker": "true", "clusterTest": "false"}

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """The rows of the name server's table."""
        return (*self._about_routes(), *self._about_brokers(), *self._about_settings())

    def _about_routes(self) -> tuple[Operation[Any, Any], ...]:
        list_all, change = Need(Action.LIST, Resource.CLUSTER), Need(Action.UPDATE, Resource.CLUSTER)
        return (
            operation(
                RequestCode.GET_ROUTEINFO_BY_TOPIC, GetRouteInfoRequestHeader, self._route, Need(Action.GET, Resource.TOPIC, "topic")
            ),
            operation(RequestCode.GET_BROKER_CLUSTER_INFO, Header, self._clusters, Need(Action.GET, Resource.CLUSTER)),
            operation(RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER, Header, self._topics, list_all),
            operation(RequestCode.GET_TOPICS_BY_CLUSTER, GetTopicsByClusterRequestHeader, self._topics_of_cluster, list_all),
            operation(RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS, Header, self._system_topics, list_all),
            operation(RequestCode.REGISTER_TOPIC_IN_NAMESRV, RegisterTopicRequestHeader, self._register_topic, change),
            operation(
                RequestCode.DELETE_TOPIC_IN_NAMESRV,
                DeleteTopicFromNamesrvRequestHeader,
                self._delete_topic,
                Need(Action.DELETE, Resource.TOPIC, "topic"),
            ),
        )

    def _about_brokers(self) -> tuple[Operation[Any, Any], ...]:
        change = Need(Action.UPDATE, Resource.CLUSTER)
        return (
            operation(RequestCode.REGISTER_BROKER, RegisterBrokerRequestHeader, self._register, change),
            operation(RequestCode.UNREGISTER_BROKER, UnRegisterBrokerRequestHeader, self._unregister, change),
            operation(RequestCode.QUERY_DATA_VERSION, QueryDataVersionRequestHeader, self._query_data_version, change, body=DataVersion),
            operation(RequestCode.BROKER_HEARTBEAT, BrokerHeartbeatRequestHeader, self._heartbeat, change),
            operation(
                RequestCode.GET_BROKER_MEMBER_GROUP,
                GetBrokerMemberGroupRequestHeader,
                self._member_group,
                Need(Action.GET, Resource.CLUSTER),
            ),
            operation(RequestCode.WIPE_WRITE_PERM_OF_BROKER, WipeWritePermOfBrokerRequestHeader, self._wipe_write, change),
            operation(RequestCode.ADD_WRITE_PERM_OF_BROKER, AddWritePermOfBrokerRequestHeader, self._add_write, change),
        )

    def _about_settings(self) -> tuple[Operation[Any, Any], ...]:
        look, change = Need(Action.GET, Resource.CLUSTER), Need(Action.UPDATE, Resource.CLUSTER)
        return (
            operation(RequestCode.PUT_KV_CONFIG, PutKVConfigRequestHeader, self._put_value, change),
            operation(RequestCode.GET_KV_CONFIG, GetKVConfigRequestHeader, self._get_value, look),
            operation(RequestCode.DELETE_KV_CONFIG, DeleteKVConfigRequestHeader, self._delete_value, change),
            operation(RequestCode.GET_KVLIST_BY_NAMESPACE, GetKVListByNamespaceRequestHeader, self._namespace, look),
            operation(RequestCode.GET_NAMESRV_CONFIG, Header, self._get_settings, look),
            operation(RequestCode.UPDATE_NAMESRV_CONFIG, Header, self._update_settings, change),
        )

    # -- routes -------------------------------------------------------------------------------------------------------

    def _route(self, request: Plain[GetRouteInfoRequestHeader]) -> RemotingCommand:
        header = request.header
        zone = header.zone_name.strip() if header.zone_mode and header.zone_name else ""
        route = self._routes.route(header.topic, zone)
        if route is None:
            raise broker_error(ResponseCode.TOPIC_NOT_EXIST, f"No topic route info in name server for the topic: {header.topic}")
        if self._settings["orderMessageEnable"] == "true":
            order = self._values.get(ORDER_NAMESPACE, header.topic)
            route = type(route)(route.queue_datas, route.broker_datas, order)
        strict = request.version >= _STRICT_JSON_VERSION or bool(header.accept_standard_json_only)
        return request.answer(body=encode_topic_route(route, strict=strict))

    def _clusters(self, request: Plain[Header]) -> RemotingCommand:
        return request.answer(body=self._routes.clusters().encode())

    def _topics(self, request: Plain[Header]) -> RemotingCommand:
        return request.answer(body=TopicList(self._routes.topics()).encode())

    def _topics_of_cluster(self, request: Plain[GetTopicsByClusterRequestHeader]) -> RemotingCommand:
        header = request.header
        return request.answer(body=TopicList(self._routes.topics_of_cluster(header.cluster)).encode())

    def _system_topics(self, request: Plain[Header]) -> RemotingCommand:
        clusters = self._routes.clusters()
        names = [name for cluster, brokers in clusters.cluster_addr_table.items() for name in (cluster, *brokers)]
        addresses = [address for broker in clusters.broker_addr_table.values() for address in broker.broker_addrs.values()]
        return request.answer(body=TopicList(names, addresses[0] if addresses else None).encode())

    def _register_topic(self, request: Plain[RegisterTopicRequestHeader]) -> RemotingCommand:
        header = request.header
        self._routes.register_topic(header.topic, decode_topic_route(request.body).queue_datas)
        return request.answer()

    def _delete_topic(self, request: Plain[DeleteTopicFromNamesrvRequestHeader]) -> RemotingCommand:
        header = request.header
        self._routes.delete_topic(header.topic, header.cluster_name or None)
        return request.answer()

    # -- brokers ------------------------------------------------------------------------------------------------------

    def _register(self, request: Plain[RegisterBrokerRequestHeader]) -> RemotingCommand:
        header = request.header
        if header.body_crc32 and header.body_crc32 != zlib.crc32(request.body) & 0x7FFFFFFF:
            raise broker_error(ResponseCode.SYSTEM_ERROR, "crc32 not match")
        wrapper = _registered_topics(request, compressed=header.compressed)
        for name, topic in wrapper.topic_config_table.items():
            if name != topic.topic_name:
                raise ProtocolError(f"the registration has the topic {topic.topic_name[:60]!r} under the name {name[:60]!r}")
            check(topic, "topicConfig")
        master, ha_address = self._routes.register(header, wrapper.topic_config_table.values(), wrapper.data_version, request.channel)
        order = self._values.namespace(ORDER_NAMESPACE)
        return request.answer(
            header=RegisterBrokerResponseHeader(ha_address or None, master or None), body=KVTable(order).encode() if order else b""
        )

    def _unregister(self, request: Plain[UnRegisterBrokerRequestHeader]) -> RemotingCommand:
        header = request.header
        self._routes.unregister(header.broker_name, header.broker_id, header.broker_addr)
        return request.answer()

    def _query_data_version(self, request: Request[QueryDataVersionRequestHeader, DataVersion]) -> RemotingCommand:
        header = request.header
        known = self._routes.renew(header.broker_addr)
        changed = known is None or known != request.body
        return request.answer(header=QueryDataVersionResponseHeader(changed), body=known.encode() if known is not None else b"")

    def _heartbeat(self, request: Plain[BrokerHeartbeatRequestHeader]) -> RemotingCommand:
        header = request.header
        self._routes.renew(header.broker_addr)
        return request.answer()

    def _member_group(self, request: Plain[GetBrokerMemberGroupRequestHeader]) -> RemotingCommand:
        header = request.header
        found = self._routes.member_group(header.broker_name)
        group = BrokerMemberGroup(header.cluster_name, header.broker_name, found.broker_addrs if found is not None else {})
        return request.answer(body=GetBrokerMemberGroupResponseBody(group).encode())

    def _wipe_write(self, request: Plain[WipeWritePermOfBrokerRequestHeader]) -> RemotingCommand:
        header = request.header
        count = self._routes.set_write_permission(header.broker_name, allow=False)
        return request.answer(header=WipeWritePermOfBrokerResponseHeader(count))

    def _add_write(self, request: Plain[AddWritePermOfBrokerRequestHeader]) -> RemotingCommand:
        header = request.header
        count = self._routes.set_write_permission(header.broker_name, allow=True)
        return request.answer(header=AddWritePermOfBrokerResponseHeader(count))

    # -- settings -----------------------------------------------------------------------------------------------------

    def _put_value(self, request: Plain[PutKVConfigRequestHeader]) -> RemotingCommand:
        header = request.header
        if not header.namespace or not header.key:
            raise broker_error(ResponseCode.SYSTEM_ERROR, "namespace or key is null")
        self._values.put(header.namespace, header.key, header.value)
        return request.answer()

    def _get_value(self, request: Plain[GetKVConfigRequestHeader]) -> RemotingCommand:
        header = request.header
        value = self._values.get(header.namespace, header.key)
        if value is None:
            raise broker_error(ResponseCode.QUERY_NOT_FOUND, f"No config item, Namespace: {header.namespace} Key: {header.key}")
        return request.answer(header=GetKVConfigResponseHeader(value))

    def _delete_value(self, request: Plain[DeleteKVConfigRequestHeader]) -> RemotingCommand:
        header = request.header
        self._values.delete(header.namespace, header.key)
        return request.answer()

    def _namespace(self, request: Plain[GetKVListByNamespaceRequestHeader]) -> RemotingCommand:
        header = request.header
        table = self._values.namespace(header.namespace)
        if table is None:
            raise broker_error(ResponseCode.QUERY_NOT_FOUND, f"No config item, Namespace: {header.namespace}")
        return request.answer(body=KVTable(table).encode())

    def _get_settings(self, request: Plain[Header]) -> RemotingCommand:
        return request.answer(body=format_settings(self._settings))

    def _update_settings(self, request: Plain[Header]) -> RemotingCommand:
        self._settings.update(parse_settings(request.body, self._settings, _CHANGEABLE))
        return request.answer()


def _registered_topics(request: Plain[RegisterBrokerRequestHeader], *, compressed: bool) -> TopicConfigWrapper:
    if compressed:
        return _decode_compressed(request.body, has_mapping=request.version >= _MAPPING_VERSION)
    if not request.body:
        return TopicConfigWrapper()
    if request.version >= _REGISTER_BODY_VERSION:
        return RegisterBrokerBody.decode(request.body).topic_config_serialize_wrapper
    return TopicConfigWrapper.decode(request.body)


def _decode_compressed(body: bytes, *, has_mapping: bool) -> TopicConfigWrapper:
    """Read a compressed registration: version, topics, filter servers, each with its length in front (6.15)."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(body, _MAX_INFLATED)
        if inflater.unconsumed_tail or not inflater.eof:
            raise ProtocolError(f"the registration is cut off, or larger than {_MAX_INFLATED} bytes once inflated")
        version_text, at = _chunk(data, 0)
        (count,) = struct.unpack_from(">i", data, at)
        at += 4
        table = {}
        for _ in range(count):
            text, at = _chunk(data, at)
            topic = _parse_topic_line(text.decode("utf-8", "replace"))
            table[topic.topic_name] = topic
    except (zlib.error, struct.error) as error:
        raise ProtocolError(f"the compressed registration is damaged: {error}") from None
    return TopicConfigWrapper(table, DataVersion.decode(version_text))


def _chunk(data: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">i", data, at)
    end = at + 4 + length
    if length < 0 or end > len(data):
        raise ProtocolError(f"the compressed registration is damaged at byte {at}: length {length}")
    return data[at + 4 : end], end


def _parse_topic_line(text: str) -> TopicConfig:
    """Read `name read write perm filterType {attributes}`."""
    fields = text.split(" ", 5)
    numbers = [number for field in fields[1:4] if (number := number_or_none(field, 0, INT32_MAX)) is not None]
    if len(fields) < 5 or len(numbers) < 3:
        raise ProtocolError(f"the compressed registration holds the topic line {text[:80]!r}")
    attributes = from_json(dict[str, str], fastjson.loads(fields[5].encode()), "attributes") if len(fields) == 6 and fields[5] else {}
    return TopicConfig(fields[0], numbers[0], numbers[1], numbers[2], fields[4], attributes=attributes)
