"""The name server: registration, routes, liveness, permissions, settings (protocol.md 6.15)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from aiorocketmq.errors import BrokerError, ServiceNotAvailableError
from aiorocketmq.protocol.bodies import DataVersion, RegisterBrokerBody, TopicConfig, TopicConfigWrapper, TopicList, decode_topic_route
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import Header
from aiorocketmq.protocol.headers_admin import RegisterBrokerRequestHeader
from aiorocketmq.server.dispatch import RequestTable
from aiorocketmq.server.namesrv.name_server import KeyValueTable
from aiorocketmq.server.namesrv.processor import NameServerProcessor
from aiorocketmq.server.namesrv.route_info import RouteInfo
from tests.unit.server.harness import FakeChannel


class Bench:
    def __init__(self) -> None:
        self.now = 1000.0
        self.routes = RouteInfo(lambda: self.now)
        self.values = KeyValueTable(None)
        self.table = RequestTable(NameServerProcessor(self.routes, self.values).operations())

    def register(
        self,
        *topics: str,
        broker: str = "broker-a",
        address: str = "127.0.0.1:1",
        broker_id: int = 0,
        counter: int = 1,
        channel: FakeChannel | None = None,
        timeout: int | None = None,
        queues: int = 4,
        zone: str | None = None,
        acting: bool | None = None,
    ) -> tuple[str, str]:
        header = RegisterBrokerRequestHeader(
            broker, address, "c1", "127.0.0.1:99", broker_id, timeout, zone_name=zone, enable_acting_master=acting
        )
        configs = [TopicConfig(topic, queues, queues) for topic in topics]
        return self.routes.register(header, configs, DataVersion(counter=counter), channel)  # type: ignore[arg-type]

    def ask(self, code: int, header: Header | dict[str, str] | None = None, body: bytes = b"", version: int = 479) -> RemotingCommand:
        request = RemotingCommand.request(code, header, body)
        request.version = version
        answer = self.table.handle(request, FakeChannel())  # type: ignore[arg-type]
        assert answer is not None
        return answer


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.feature("L10")
def test_a_route_in_zone_mode_leaves_out_masters_of_other_zones(bench: Bench) -> None:
    bench.register("t", "u", broker="near", address="127.0.0.1:1", zone="East")
    bench.register("t", "u", broker="far", address="127.0.0.1:2", zone="west")
    bench.register("t", "u", broker="nowhere", address="127.0.0.1:3")
    bench.register("t", "u", broker="headless", address="127.0.0.1:4", zone="west")
    bench.register("t", "u", broker="headless", address="127.0.0.1:5", zone="west", broker_id=1)
    bench.routes.unregister("headless", 0, "127.0.0.1:4")

    def brokers(**fields: str) -> tuple[list[str], list[str]]:
        route = decode_topic_route(bench.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "t", **fields}).body)
        return [queue.broker_name for queue in route.queue_datas], [broker.broker_name for broker in route.broker_datas]

    everything = ["far", "headless", "near", "nowhere"]
    assert brokers(__ZONE_NAME="east", __ZONE_MODE="true") == (["headless", "near"], ["headless", "near"])
    assert brokers(__ZONE_NAME="east") == brokers(__ZONE_NAME="east", __ZONE_MODE="false") == (everything, everything)
    assert brokers(__ZONE_MODE="true") == brokers(__ZONE_NAME=" ", __ZONE_MODE="true") == (everything, everything)
    assert brokers(__ZONE_NAME="north", __ZONE_MODE="true") == (["headless"], ["headless"])


def test_routes(bench: Bench) -> None:
    bench.register("t", "u")
    bench.register("t", "v", broker="broker-b", address="127.0.0.1:2")
    route = bench.routes.route("t")
    assert route is not None
    assert [(queue.broker_name, queue.write_queue_nums) for queue in route.queue_datas] == [("broker-a", 4), ("broker-b", 4)]
    assert [broker.broker_addrs for broker in route.broker_datas] == [{0: "127.0.0.1:1"}, {0: "127.0.0.1:2"}]
    assert bench.routes.route("missing") is None
    assert bench.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "missing"}).code == ResponseCode.TOPIC_NOT_EXIST


def test_route_answers_are_strict_json_for_those_who_want_it(bench: Bench) -> None:
    bench.register("t", "u")
    strict = bench.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "t"})
    assert b'{"0":"127.0.0.1:1"}' in strict.body
    old = bench.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "t"}, version=300)
    assert b'{0:"127.0.0.1:1"}' in old.body
    asked = bench.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "t", "acceptStandardJsonOnly": "true"}, version=300)
    assert asked.body == strict.body
    assert decode_topic_route(old.body) == decode_topic_route(strict.body)


def test_a_lone_topic_is_no_first_registration(bench: Bench) -> None:
    with pytest.raises(BrokerError, match="register broker failed"):
        bench.register("t")
    bench.register("t", "u")
    bench.register("v", counter=2)
    assert bench.routes.route("v") is not None and bench.routes.route("t") is not None


def test_topics_change_with_the_version_only(bench: Bench) -> None:
    bench.register("t", "u")
    bench.register("t", "u", queues=8)
    route = bench.routes.route("t")
    assert route is not None and route.queue_datas[0].write_queue_nums == 4
    bench.register("t", "u", queues=8, counter=2)
    route = bench.routes.route("t")
    assert route is not None and route.queue_datas[0].write_queue_nums == 8


def test_slaves(bench: Bench) -> None:
    assert bench.register("t", "u") == ("", "")
    assert bench.register("t", "u", broker_id=1, address="127.0.0.1:5", queues=9) == ("127.0.0.1:1", "127.0.0.1:99")
    route = bench.routes.route("t")
    assert route is not None and route.broker_datas[0].broker_addrs == {0: "127.0.0.1:1", 1: "127.0.0.1:5"}
    assert route.queue_datas[0].write_queue_nums == 4, "only the master tells of topics"
    bench.routes.unregister("broker-a", 0, "127.0.0.1:1")
    route = bench.routes.route("t")
    assert route is not None and route.broker_datas[0].broker_addrs == {1: "127.0.0.1:5"}


def test_a_broker_that_moves(bench: Bench) -> None:
    bench.register("t", "u")
    bench.register("t", "u", address="127.0.0.1:7", counter=2)
    bench.now += 121
    bench.register("t", "u", address="127.0.0.1:7", counter=3)
    bench.routes.expire()
    route = bench.routes.route("t")
    assert route is not None and route.broker_datas[0].broker_addrs == {0: "127.0.0.1:7"}


def test_a_late_goodbye_from_the_old_address_of_a_broker_changes_nothing(bench: Bench) -> None:
    bench.register("t", "u")
    bench.register("t", "u", address="127.0.0.1:7", counter=2)
    bench.routes.unregister("broker-a", 0, "127.0.0.1:1")
    route = bench.routes.route("t")
    assert route is not None and route.broker_datas[0].broker_addrs == {0: "127.0.0.1:7"}
    assert bench.routes.renew("127.0.0.1:7") is not None
    bench.routes.unregister("broker-a", 0, "127.0.0.1:7")
    assert bench.routes.route("t") is None


def test_a_closed_connection_ends_a_broker(bench: Bench) -> None:
    channel = FakeChannel()
    bench.register("t", "u", channel=channel)
    bench.register("t", "w", broker="broker-b", address="127.0.0.1:2", channel=FakeChannel())
    bench.routes.channel_closed(channel)  # type: ignore[arg-type]
    route = bench.routes.route("t")
    assert route is not None and [broker.broker_name for broker in route.broker_datas] == ["broker-b"]
    assert bench.routes.route("u") is None and set(bench.routes.topics()) == {"t", "w"}


def test_silent_brokers_expire(bench: Bench) -> None:
    bench.register("t", "u")
    bench.register("t", "w", broker="broker-b", address="127.0.0.1:2", timeout=10_000)
    bench.now += 11
    bench.routes.expire()
    assert set(bench.routes.clusters().broker_addr_table) == {"broker-a"}
    bench.now += 100
    assert bench.routes.renew("127.0.0.1:1") == DataVersion(counter=1)
    bench.now += 100
    bench.routes.expire()
    assert set(bench.routes.topics()) == {"t", "u"}
    bench.now += 21
    bench.routes.expire()
    assert bench.routes.topics() == [] and bench.routes.renew("127.0.0.1:1") is None


def test_write_permission(bench: Bench) -> None:
    bench.register("t", "u")
    assert bench.ask(RequestCode.WIPE_WRITE_PERM_OF_BROKER, {"brokerName": "broker-a"}).ext_fields == {"wipeTopicCount": "2"}
    bench.register("t", "u")
    route = bench.routes.route("t")
    assert route is not None and route.queue_datas[0].perm == 4, "an unchanged registration gives nothing back"
    assert bench.ask(RequestCode.ADD_WRITE_PERM_OF_BROKER, {"brokerName": "broker-a"}).ext_fields == {"addTopicCount": "2"}
    route = bench.routes.route("t")
    assert route is not None and route.queue_datas[0].perm == 6


def test_topic_lists(bench: Bench) -> None:
    bench.register("t", "u")
    assert set(TopicList.decode(bench.ask(RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER).body).topic_list) == {"t", "u"}
    assert set(TopicList.decode(bench.ask(RequestCode.GET_TOPICS_BY_CLUSTER, {"cluster": "c1"}).body).topic_list) == {"t", "u"}
    assert TopicList.decode(bench.ask(RequestCode.GET_TOPICS_BY_CLUSTER, {"cluster": "c2"}).body).topic_list == []
    system = TopicList.decode(bench.ask(RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS).body)
    assert (system.topic_list, system.broker_addr) == (["c1", "broker-a"], "127.0.0.1:1")
    bench.ask(RequestCode.DELETE_TOPIC_IN_NAMESRV, {"topic": "t"})
    assert bench.routes.topics() == ["u"]


REGISTRATION = {
    "brokerName": "b", "brokerAddr": "127.0.0.1:1", "clusterName": "c", "haServerAddr": "127.0.0.1:2", "brokerId": "0",
}  # fmt: skip


def test_registration_by_wire(bench: Bench) -> None:
    table = {name: TopicConfig(name) for name in ("t", "u")}
    body = RegisterBrokerBody(TopicConfigWrapper(table)).encode()
    crc = str(zlib.crc32(body) & 0x7FFFFFFF)
    assert bench.ask(RequestCode.REGISTER_BROKER, {**REGISTRATION, "bodyCrc32": "1"}, body).code == ResponseCode.SYSTEM_ERROR
    assert bench.ask(RequestCode.REGISTER_BROKER, {**REGISTRATION, "bodyCrc32": crc}, body).code == 0
    assert bench.routes.route("t") is not None
    fields = {name: REGISTRATION[name] for name in ("brokerName", "brokerAddr", "clusterName", "brokerId")}
    assert bench.ask(RequestCode.QUERY_DATA_VERSION, fields, DataVersion().encode()).ext_fields == {"changed": "false"}
    assert bench.ask(RequestCode.QUERY_DATA_VERSION, fields, DataVersion(counter=5).encode()).ext_fields == {"changed": "true"}
    assert bench.ask(RequestCode.UNREGISTER_BROKER, fields).code == 0
    assert bench.routes.route("t") is None


def compressed(*topics: str, mapping: bool = True) -> bytes:
    def chunk(text: str) -> bytes:
        return struct.pack(">i", len(text)) + text.encode()

    data = chunk('{"counter":3,"stateVersion":0,"timestamp":5}') + struct.pack(">i", len(topics))
    data += b"".join(chunk(f"{topic} 4 5 6 SINGLE_TAG {{}}") for topic in topics) + chunk("[]")
    return zlib.compress(data + struct.pack(">i", 0) if mapping else data)


def test_compressed_registrations(bench: Bench) -> None:
    fields = {**REGISTRATION, "compressed": "true"}
    assert bench.ask(RequestCode.REGISTER_BROKER, fields, compressed("t", "u")).code == 0
    route = bench.routes.route("t")
    assert route is not None and (route.queue_datas[0].read_queue_nums, route.queue_datas[0].write_queue_nums) == (4, 5)
    for body in (b"", b"nonsense", compressed("t", "u")[:-9], zlib.compress(b"\x00"), zlib.compress(struct.pack(">i", -5) * 9)):
        assert bench.ask(RequestCode.REGISTER_BROKER, fields, body).code == ResponseCode.SYSTEM_ERROR


def test_values(tmp_path: Path) -> None:
    bench = Bench()
    where = {"namespace": "ORDER_TOPIC_CONFIG", "key": "t"}
    assert bench.ask(RequestCode.GET_KV_CONFIG, where).code == ResponseCode.QUERY_NOT_FOUND
    assert bench.ask(RequestCode.PUT_KV_CONFIG, {**where, "value": "broker-a:4"}).code == 0
    assert bench.ask(RequestCode.GET_KV_CONFIG, where).ext_fields == {"value": "broker-a:4"}
    assert bench.ask(RequestCode.GET_KVLIST_BY_NAMESPACE, {"namespace": "ORDER_TOPIC_CONFIG"}).body == b'{"table":{"t":"broker-a:4"}}'
    bench.register("t", "u")
    assert b"orderTopicConf" not in bench.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "t"}).body
    assert bench.ask(RequestCode.UPDATE_NAMESRV_CONFIG, None, b"orderMessageEnable=true\n").code == 0
    assert b'"orderTopicConf":"broker-a:4"' in bench.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "t"}).body
    assert bench.ask(RequestCode.DELETE_KV_CONFIG, where).code == 0
    assert bench.ask(RequestCode.GET_KV_CONFIG, where).code == ResponseCode.QUERY_NOT_FOUND
    assert b"orderMessageEnable=true\n" in bench.ask(RequestCode.GET_NAMESRV_CONFIG).body


def test_values_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "namesrv.db"
    first = KeyValueTable(path)
    first.open()
    first.put("n", "a", "1")
    first.put("n", "b", "2")
    first.delete("n", "b")
    first.close()
    second = KeyValueTable(path)
    second.open()
    assert second.namespace("n") == {"a": "1"}
    second.close()


@pytest.mark.parametrize("line", ["kvConfigPath=/etc/passwd", "configStorePath=/tmp/x", "rocketmqHome=/", "configBlackList=a", "unknown=1"])
def test_no_path_can_be_changed(bench: Bench, line: str) -> None:
    assert (
        bench.ask(RequestCode.UPDATE_NAMESRV_CONFIG, None, f"orderMessageEnable=true\n{line}".encode()).code == ResponseCode.NO_PERMISSION
    )
    assert b"orderMessageEnable=false\n" in bench.ask(RequestCode.GET_NAMESRV_CONFIG).body


def test_a_value_that_cannot_be_stored_is_an_error_of_ours_and_not_shown(tmp_path: Path) -> None:
    table = KeyValueTable(tmp_path / "n.db")
    table.open()
    table.put("n", "k", "v")
    assert table._database is not None
    table._database.execute("PRAGMA query_only=ON")  # as a full disk: nothing can be written
    with pytest.raises(ServiceNotAvailableError, match=r"could not write .*n\.db"):
        table.put("n", "k", "w")
    with pytest.raises(ServiceNotAvailableError):
        table.delete("n", "k")
    assert table.get("n", "k") == "v"
    table.close()


def test_topics_of_a_first_slave_count_as_those_of_a_master(bench: Bench) -> None:
    def perms(topic: str) -> list[int]:
        answer = bench.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": topic})
        return [queue.perm for queue in decode_topic_route(answer.body).queue_datas] if answer.code == 0 else []

    bench.register("t", "u", broker="old", address="127.0.0.1:4", broker_id=1)
    assert perms("t") == [], "a slave that says nothing of acting"
    bench.register("t", "u", broker_id=2, address="127.0.0.1:2", acting=False)
    assert perms("t") == [6]
    bench.register("v", "w", broker_id=3, address="127.0.0.1:3", acting=False)
    assert perms("v") == [], "not the first"
    bench.register("t", "v", "x", broker_id=2, address="127.0.0.1:2", acting=False)
    assert perms("v") == [6], "with the same version only topics that are new"
    bench.register("t", "u", broker="acts", broker_id=1, address="127.0.0.1:5", acting=True)
    assert perms("u") == [4, 6]


def test_nobody_writes_where_a_slave_acts_for_its_master(bench: Bench) -> None:
    bench.register("t", "u", acting=True)
    bench.register(broker_id=1, address="127.0.0.1:2", acting=True)
    bench.routes.unregister("broker-a", 0, "127.0.0.1:1")
    (queue,) = decode_topic_route(bench.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "t"}).body).queue_datas
    assert queue.perm == 4
    bench.routes.set_write_permission("broker-a", allow=True)
    bench.routes.unregister("broker-a", 0, "127.0.0.1:1")
    (queue,) = decode_topic_route(bench.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "t"}).body).queue_datas
    assert queue.perm == 4, "a master that was gone says once more that it goes"


def test_a_master_is_told_of_no_master(bench: Bench) -> None:
    fields = {"brokerName": "b", "brokerAddr": "127.0.0.1:1", "clusterName": "c1", "haServerAddr": "127.0.0.1:9", "brokerId": "0"}
    assert bench.ask(RequestCode.REGISTER_BROKER, fields).ext_fields == {}
    slave = bench.ask(RequestCode.REGISTER_BROKER, fields | {"brokerAddr": "127.0.0.1:2", "brokerId": "1"})
    assert slave.ext_fields == {"haServerAddr": "127.0.0.1:9", "masterAddr": "127.0.0.1:1"}


def test_a_namespace_stays_when_its_last_value_goes(bench: Bench) -> None:
    assert bench.ask(RequestCode.GET_KVLIST_BY_NAMESPACE, {"namespace": "n"}).code == ResponseCode.QUERY_NOT_FOUND
    bench.values.put("n", "k", "v")
    bench.values.delete("n", "k")
    assert bench.ask(RequestCode.GET_KVLIST_BY_NAMESPACE, {"namespace": "n"}).code == 0
