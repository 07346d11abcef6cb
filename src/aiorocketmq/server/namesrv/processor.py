"""What a name server answers (Java: `ClientRequestProcessor`, `DefaultRequestProcessor`)."""

from __future__ import annotations

import struct
import zlib
from typing import Final, Protocol

from aiorocketmq.errors import ProtocolError, broker_error
from aiorocketmq.model.parsing import INT32_MAX, number_or_none
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.beans import from_json
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
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.server.dispatch import Handler, guarded
from aiorocketmq.server.namesrv.route_info import RouteInfo
from aiorocketmq.server.settings import format_settings, parse_settings

ORDER_NAMESPACE: Final = "ORDER_TOPIC_CONFIG"
_STRICT_JSON_VERSION: Final = 401
_REGISTER_BODY_VERSION: Final = 37
_MAPPING_VERSION: Final = 413
_MAX_INFLATED: Final = 64 * 1024 * 1024
_CHANGEABLE: Final = frozenset({"orderMessageEnable", "returnOrderTopicConfigToBroker"})


class Values(Protocol):
    """Settings by namespace and key."""

    def get(self, namespace: str, key: str) -> str | None: ...

    def namespace(self, namespace: str) -> dict[str, str]: ...

    def put(self, namespace: str, key: str, value: str) -> None: ...

    def delete(self, namespace: str, key: str) -> None: ...


class NameServerProcessor:
    """Handlers of one name server."""

    def __init__(self, routes: RouteInfo, values: Values) -> None:
        self._routes = routes
        self._values = values
        self._settings = {"orderMessageEnable": "false", "returnOrderTopicConfigToBroker": "true", "clusterTest": "false"}

    def handlers(self) -> dict[int, Handler]:
        """Handlers by request code."""
        plain: dict[int, Handler] = {
            RequestCode.GET_ROUTEINFO_BY_TOPIC: self._route,
            RequestCode.GET_BROKER_CLUSTER_INFO: self._clusters,
            RequestCode.REGISTER_BROKER: self._register,
            RequestCode.UNREGISTER_BROKER: self._unregister,
            RequestCode.QUERY_DATA_VERSION: self._query_data_version,
            RequestCode.BROKER_HEARTBEAT: self._heartbeat,
            RequestCode.GET_BROKER_MEMBER_GROUP: self._member_group,
            RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER: self._topics,
            RequestCode.GET_TOPICS_BY_CLUSTER: self._topics_of_cluster,
            RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS: self._system_topics,
            RequestCode.REGISTER_TOPIC_IN_NAMESRV: self._register_topic,
            RequestCode.DELETE_TOPIC_IN_NAMESRV: self._delete_topic,
            RequestCode.WIPE_WRITE_PERM_OF_BROKER: self._wipe_write,
            RequestCode.ADD_WRITE_PERM_OF_BROKER: self._add_write,
            RequestCode.PUT_KV_CONFIG: self._put_value,
            RequestCode.GET_KV_CONFIG: self._get_value,
            RequestCode.DELETE_KV_CONFIG: self._delete_value,
            RequestCode.GET_KVLIST_BY_NAMESPACE: self._namespace,
            RequestCode.GET_NAMESRV_CONFIG: self._get_settings,
            RequestCode.UPDATE_NAMESRV_CONFIG: self._update_settings,
        }
        return {code: guarded(handler) for code, handler in plain.items()}

    # -- routes -------------------------------------------------------------------------------------------------------

    def _route(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetRouteInfoRequestHeader.from_ext(request.ext_fields)
        route = self._routes.route(header.topic)
        if route is None:
            raise broker_error(ResponseCode.TOPIC_NOT_EXIST, f"No topic route info in name server for the topic: {header.topic}")
        if self._settings["orderMessageEnable"] == "true":
            order = self._values.get(ORDER_NAMESPACE, header.topic)
            route = type(route)(route.queue_datas, route.broker_datas, order)
        strict = request.version >= _STRICT_JSON_VERSION or bool(header.accept_standard_json_only)
        return RemotingCommand.response(request, body=encode_topic_route(route, strict=strict))

    def _clusters(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        return RemotingCommand.response(request, body=self._routes.clusters().encode())

    def _topics(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        return RemotingCommand.response(request, body=TopicList(self._routes.topics()).encode())

    def _topics_of_cluster(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetTopicsByClusterRequestHeader.from_ext(request.ext_fields)
        return RemotingCommand.response(request, body=TopicList(self._routes.topics_of_cluster(header.cluster)).encode())

    def _system_topics(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        clusters = self._routes.clusters()
        names = [name for cluster, brokers in clusters.cluster_addr_table.items() for name in (cluster, *brokers)]
        addresses = [address for broker in clusters.broker_addr_table.values() for address in broker.broker_addrs.values()]
        return RemotingCommand.response(request, body=TopicList(names, addresses[0] if addresses else None).encode())

    def _register_topic(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = RegisterTopicRequestHeader.from_ext(request.ext_fields)
        self._routes.register_topic(header.topic, decode_topic_route(request.body).queue_datas)
        return RemotingCommand.response(request)

    def _delete_topic(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = DeleteTopicFromNamesrvRequestHeader.from_ext(request.ext_fields)
        self._routes.delete_topic(header.topic, header.cluster_name or None)
        return RemotingCommand.response(request)

    # -- brokers ------------------------------------------------------------------------------------------------------

    def _register(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = RegisterBrokerRequestHeader.from_ext(request.ext_fields)
        if header.body_crc32 and header.body_crc32 != zlib.crc32(request.body) & 0x7FFFFFFF:
            raise broker_error(ResponseCode.SYSTEM_ERROR, "crc32 not match")
        wrapper = _registered_topics(request, compressed=header.compressed)
        master, ha_address = self._routes.register(header, wrapper.topic_config_table.values(), wrapper.data_version, channel)
        order = self._values.namespace(ORDER_NAMESPACE)
        return RemotingCommand.response(
            request, header=RegisterBrokerResponseHeader(ha_address, master), body=KVTable(order).encode() if order else b""
        )

    def _unregister(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = UnRegisterBrokerRequestHeader.from_ext(request.ext_fields)
        self._routes.unregister(header.broker_name, header.broker_id, header.broker_addr)
        return RemotingCommand.response(request)

    def _query_data_version(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = QueryDataVersionRequestHeader.from_ext(request.ext_fields)
        known = self._routes.renew(header.broker_addr)
        changed = known is None or known != DataVersion.decode(request.body)
        return RemotingCommand.response(
            request, header=QueryDataVersionResponseHeader(changed), body=known.encode() if known is not None else b""
        )

    def _heartbeat(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = BrokerHeartbeatRequestHeader.from_ext(request.ext_fields)
        self._routes.renew(header.broker_addr)
        return RemotingCommand.response(request)

    def _member_group(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetBrokerMemberGroupRequestHeader.from_ext(request.ext_fields)
        found = self._routes.member_group(header.broker_name)
        group = BrokerMemberGroup(header.cluster_name, header.broker_name, found.broker_addrs if found is not None else {})
        return RemotingCommand.response(request, body=GetBrokerMemberGroupResponseBody(group).encode())

    def _wipe_write(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = WipeWritePermOfBrokerRequestHeader.from_ext(request.ext_fields)
        count = self._routes.set_write_permission(header.broker_name, allow=False)
        return RemotingCommand.response(request, header=WipeWritePermOfBrokerResponseHeader(count))

    def _add_write(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = AddWritePermOfBrokerRequestHeader.from_ext(request.ext_fields)
        count = self._routes.set_write_permission(header.broker_name, allow=True)
        return RemotingCommand.response(request, header=AddWritePermOfBrokerResponseHeader(count))

    # -- settings -----------------------------------------------------------------------------------------------------

    def _put_value(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = PutKVConfigRequestHeader.from_ext(request.ext_fields)
        if not header.namespace or not header.key:
            raise broker_error(ResponseCode.SYSTEM_ERROR, "namespace or key is null")
        self._values.put(header.namespace, header.key, header.value)
        return RemotingCommand.response(request)

    def _get_value(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetKVConfigRequestHeader.from_ext(request.ext_fields)
        value = self._values.get(header.namespace, header.key)
        if value is None:
            raise broker_error(ResponseCode.QUERY_NOT_FOUND, f"No config item, Namespace: {header.namespace} Key: {header.key}")
        return RemotingCommand.response(request, header=GetKVConfigResponseHeader(value))

    def _delete_value(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = DeleteKVConfigRequestHeader.from_ext(request.ext_fields)
        self._values.delete(header.namespace, header.key)
        return RemotingCommand.response(request)

    def _namespace(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        header = GetKVListByNamespaceRequestHeader.from_ext(request.ext_fields)
        table = self._values.namespace(header.namespace)
        if not table:
            raise broker_error(ResponseCode.QUERY_NOT_FOUND, f"No config item, Namespace: {header.namespace}")
        return RemotingCommand.response(request, body=KVTable(table).encode())

    def _get_settings(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        return RemotingCommand.response(request, body=format_settings(self._settings))

    def _update_settings(self, request: RemotingCommand, channel: Channel) -> RemotingCommand:
        self._settings.update(parse_settings(request.body, self._settings, _CHANGEABLE))
        return RemotingCommand.response(request)


def _registered_topics(request: RemotingCommand, *, compressed: bool) -> TopicConfigWrapper:
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
