"""Every field of every request that the embedded servers know, with values that no sane peer sends: each is answered, and that is all."""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.filters import SubscriptionData
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.recall import RecallHandle
from aiorocketmq.model.receipt import Receipt
from aiorocketmq.model.route import TopicRouteData
from aiorocketmq.protocol import bodies, bodies_client, fastjson
from aiorocketmq.protocol.beans import to_json
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header_codec import decode_json, encode_json
from aiorocketmq.protocol.headers_pop import BatchAck, BatchAckMessageRequestBody
from aiorocketmq.protocol.limits import Between, Text
from aiorocketmq.protocol.record import MISSING, Field, fields_of
from aiorocketmq.server.dispatch import MAX_BODY, Operation, RequestTable
from aiorocketmq.server.namesrv.name_server import KeyValueTable
from aiorocketmq.server.namesrv.processor import NameServerProcessor
from aiorocketmq.server.namesrv.route_info import RouteInfo
from tests.unit.server.harness import NOW, BrokerBench, FakeChannel, MakeBench

pytestmark = pytest.mark.feature("O4")

QUEUE = MessageQueue("orders", "broker-a", 0)
GOOD: dict[str, str] = {
    "topic": "orders", "default_topic": "TBW102", "group": "readers", "consumer_group": "readers", "producer_group": "writers",
    "group_name": "readers", "client_id": "client", "queue_id": "0", "queue_offset": "0", "offset": "0", "commit_offset": "0",
    "default_topic_queue_nums": "4", "sys_flag": "4", "born_timestamp": str(NOW), "flag": "0", "delay_level": "1",
    "suspend_timeout_millis": "1000", "sub_version": "0", "timestamp": str(NOW), "key": "k", "max_num": "8", "begin_timestamp": "0",
    "recall_handle": RecallHandle("orders", "broker-a", NOW + 10_000, "ID").encode(),
    "end_timestamp": str(NOW), "is_force": "true", "read_queue_nums": "4", "write_queue_nums": "4", "perm": "6",
    "namespace": "n", "value": "v", "broker_name": "broker-a", "broker_addr": "127.0.0.1:10911", "cluster_name": "DefaultCluster",
    "tran_state_table_offset": "0", "commit_log_offset": "0", "commit_or_rollback": "8", "msg_id": "x",
    "max_msg_nums": "32", "invisible_time": "1000", "poll_time": "0", "born_time": "0", "init_mode": "0",
    "extra_info": Receipt(0, NOW, 1000, 0, "0", "broker-a", 0, 0).encode(),
    "ha_server_addr": "127.0.0.1:10912", "broker_id": "0", "cluster": "DefaultCluster",
}  # fmt: skip
"""A value for every field that some request needs, by its name in Python."""
BODIES: dict[int, Any] = {
    RequestCode.UPDATE_AND_CREATE_TOPIC_LIST: bodies.CreateTopicListRequestBody(
        [bodies.TopicConfig("more", attributes={"+message.type": "FIFO"})]
    ),
    RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: bodies.SubscriptionGroupConfig("readers", attributes={"a": "b"}),
    RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: bodies.SubscriptionGroupList([bodies.SubscriptionGroupConfig("readers")]),
    RequestCode.HEART_BEAT: bodies.HeartbeatData(
        "client",
        [bodies.ProducerData("writers")],
        [bodies.ConsumerData("readers", subscription_data_set=[SubscriptionData("orders", "a", frozenset("a"), frozenset((97,)))])],
    ),
    RequestCode.CHECK_CLIENT_CONFIG: bodies.CheckClientRequestBody("client", "readers", SubscriptionData("orders", "*")),
    RequestCode.LOCK_BATCH_MQ: bodies.LockBatchRequestBody("readers", "client", [QUEUE]),
    RequestCode.UNLOCK_BATCH_MQ: bodies.UnlockBatchRequestBody("readers", "client", [QUEUE]),
    RequestCode.QUERY_ASSIGNMENT: bodies_client.QueryAssignmentRequestBody("orders", "readers", "client", "AVG"),
    RequestCode.SET_MESSAGE_REQUEST_MODE: bodies_client.SetMessageRequestModeRequestBody("orders", "readers"),
    RequestCode.QUERY_DATA_VERSION: bodies.DataVersion(0, NOW, 1),
    RequestCode.BATCH_ACK_MESSAGE: BatchAckMessageRequestBody("broker-a", [BatchAck("readers", "orders", "0", 0, 0, 0, NOW, 1000, "AQ==")]),
}
RAW: dict[int, bytes] = {
    RequestCode.UPDATE_BROKER_CONFIG: b"brokerPermission=6",
    RequestCode.UPDATE_NAMESRV_CONFIG: b"orderMessageEnable=false",
    RequestCode.REGISTER_BROKER: bodies.RegisterBrokerBody(bodies.TopicConfigWrapper({"a": bodies.TopicConfig("a")})).encode(),
    RequestCode.REGISTER_TOPIC_IN_NAMESRV: bodies.encode_topic_route(TopicRouteData()),
    RequestCode.SEND_BATCH_MESSAGE: b"\0\0\0\x17" + bytes(12) + b"\0\0\0\x01x\0\0",
}
MAY_WAIT = frozenset(
    {
        RequestCode.PULL_MESSAGE,
        RequestCode.LITE_PULL_MESSAGE,
        RequestCode.END_TRANSACTION,
        RequestCode.POP_MESSAGE,
        RequestCode.NOTIFICATION,
    }
)
NUMBERS = (
    "",
    "x",
    "²",
    "1_0",
    " 1",
    "1.5",
    "-1",
    "0",
    "-0",
    str(2**31 - 1),
    str(2**31),
    str(2**63 - 1),
    str(2**63),
    str(-(2**63)),
    "1" + "0" * 30,
)
TEXTS = (
    "",
    " ",
    "²",
    "x" * 70000,
    "x\udcff",
    "\ud800",
    "a\0b",
    "../../etc",
    "%RETRY%",
    "-1",
    "\x01\x02",
    "*",
    "'; DROP TABLE messages; --",
)
JSON: tuple[Any, ...] = (
    None, "", "x", "²", -1, 0, 1, 1.5, 1e308, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, True, [], {}, [None], [[]],
    {"x": {}},    "x" * 70000, "x\udcff", "a\0b", "x\ud800", [[[[[[[]]]]]]],
)  # fmt: skip


def values(field: Field) -> Iterator[str]:
    """What to try in a field of a header."""
    yield from TEXTS if field.hint is str else NUMBERS
    if isinstance(field.limit, Between):
        yield from (str(field.limit.low - 1), str(field.limit.low), str(field.limit.high), str(field.limit.high + 1))
    elif isinstance(field.limit, Text):
        yield from ("x" * field.limit.least, "x" * field.limit.most, "x" * (field.limit.most + 1))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Everything in a JSON value, with its path."""
    yield path, value
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with something else at one place; `MISSING` takes it away."""
    if not path:
        return new
    made = copy.deepcopy(value)
    at = made
    for step in path[:-1]:
        at = at[step]
    if new is MISSING:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return made


def good_header(row: Operation[Any, Any]) -> dict[str, str]:
    header = {field.name: GOOD[field.attribute] for field in fields_of(row.header) if field.required or field.attribute == "topic"}
    if row.code in (RequestCode.SEND_MESSAGE, RequestCode.SEND_MESSAGE_V2, RequestCode.SEND_BATCH_MESSAGE):
        flag = next(field.name for field in fields_of(row.header) if field.attribute == "sys_flag")
        header[flag] = "0"
    if row.code == RequestCode.CONSUME_MESSAGE_DIRECTLY:
        header["msgId"] = f"7F000001{10911:08X}{0:016X}"
    if row.code in (RequestCode.UPDATE_AND_CREATE_TOPIC, RequestCode.DELETE_TOPIC_IN_BROKER, RequestCode.DELETE_SUBSCRIPTIONGROUP):
        header.update({name: "others" for name in ("topic", "groupName") if name in header})
    return header


def inputs(row: Operation[Any, Any]) -> Iterator[tuple[dict[str, str], bytes]]:
    """Everything to ask of an operation: as it should be, and with one thing wrong."""
    header = good_header(row)
    body = BODIES[row.code].encode() if row.code in BODIES else RAW.get(row.code, b"body")
    yield header, body
    yield {}, b""
    for field in fields_of(row.header):
        for value in values(field):
            yield header | {field.name: value}, body
        yield {name: value for name, value in header.items() if name != field.name}, body
    for broken in (
        b"",
        b"\0",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"=",
        b"x=\xff",
        b"{" * 1000,
        b"[" * 100_000,
        b"{'a':" * 99,
        body * 2,
        body[:-1],
        bytes(100_000),
    ):
        yield header, broken
    if row.code in BODIES:
        yield header, b'{"x":"' + b"x" * MAX_BODY + b'"}'
        yield header, b'{"x":[' + b"[]," * (MAX_BODY // 3 - 10) + b"[]]}"
        yield header, b'{"a":{"$ref":"$"},"x":[' + b"{}," * (MAX_BODY // 3 - 20) + b"{}]}"
        yield header, b"{" + b"'a':1," * ((fastjson.MAX_DIALECT - 10) // 6) + b"}"
        yield header, b"{" + b"'a':1," * ((fastjson.MAX_DIALECT + 10) // 6) + b"}"
        plain = to_json(BODIES[row.code])
        for path, part in places(plain):
            if isinstance(part, list) and part:
                room = (MAX_BODY - len(body)) // (len(fastjson.dumps(part[0])) + 1)
                yield header, fastjson.dumps(changed(plain, path, part[:1] * room))
                yield header, fastjson.dumps(changed(plain, path, [[]] * (room // 2)))
            for new in JSON if not path else (*JSON, MISSING):
                yield header, fastjson.dumps(changed(plain, path, new))


class Asker:
    """Asks one server, and looks at what that costs and leaves behind.

    Args:
        table: The server's operations.
        state: What must not change when a request is refused.
        rest: Puts an end to what waits after a request.
    """

    def __init__(self, table: RequestTable, state: Callable[[], object], rest: Callable[[], None]) -> None:
        self.table = table
        self._state = state
        self._rest = rest
        self.worst = (0.0, "")
        self._memory = _peak_memory()

    def check(self, bound: float) -> None:
        """What all requests cost."""
        assert self.worst[0] <= bound, self.worst[1]
        assert _peak_memory() - self._memory < 96 * 1024 * 1024

    async def ask(self, code: int, ext: dict[str, str], body: bytes) -> RemotingCommand | None:
        """The answer, or None when the request waits, or leaves a transaction open, which is not answered."""
        try:
            request = decode_json(encode_json(RemotingCommand.request(code, ext)), body)
        except ProtocolError:
            return None  # it does not come through the door before this one
        request.version = 479
        channel = FakeChannel()
        before, refused, began = self._state(), self.table.counts[code].refused, time.thread_time()
        answer = self.table.handle(request, channel)  # type: ignore[arg-type]
        took = time.thread_time() - began
        self.worst = max(self.worst, (took, f"code {code}, {str(ext)[:200]}, {body[:100]!r}"))
        if self.table.counts[code].refused > refused:
            assert answer is not None and answer.code != 0 and answer.remark
            assert self._state() == before, "refused, and changed all the same"
        if answer is None and request.code not in MAY_WAIT:
            answer = await channel.answer() if not channel.replies else channel.replies[0]
        self._rest()
        if answer is not None:
            encode_json(answer)  # it can be sent
        return answer


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def a_tenth_of_a_second() -> float:
    """CPU time that stands for 100 ms, on a machine that is as fast as this one happens to be now."""
    began = time.thread_time()
    text = "".join([str(number) for number in range(400_000)])
    assert text
    return max(0.1, (time.thread_time() - began) * 2)


def rows(kind: str) -> list[int]:
    """Codes of a server's table."""
    if kind == "name server":
        table = RequestTable(NameServerProcessor(RouteInfo(lambda: 0.0), KeyValueTable(None)).operations())
        return sorted(table.operations)
    return BROKER_CODES


BROKER_CODES = sorted({int(code) for code in RequestCode} & {
    10, 11, 12, 14, 15, 17, 18, 21, 25, 26, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 41, 42, 43, 46, 200, 201, 202, 203, 204, 207, 208,
    215, 222, 223, 225, 300, 303, 305, 307, 309, 310, 320, 324, 325, 328, 343, 345, 351, 352, 361, 370,
    400, 401, 402, 200050, 200051, 200052, 200053, 200054, 200055, 200056, 200151,
})  # fmt: skip


async def prepared(make_bench: MakeBench) -> BrokerBench:
    bench = make_bench()
    bench.state.topics.put(bodies.TopicConfig("orders", 4, 4))
    bench.state.groups.put(bodies.SubscriptionGroupConfig("readers"))
    assert (await bench.send("orders", properties="KEYS\x01k\x02")).code == 0
    return bench


async def test_the_list_of_codes_is_complete(make_bench: MakeBench) -> None:
    assert sorted(make_bench().table.operations) == BROKER_CODES


@pytest.mark.parametrize("code", BROKER_CODES)
async def test_every_field_of_a_broker(make_bench: MakeBench, code: int) -> None:
    bench = await prepared(make_bench)
    state = bench.state

    def stored() -> object:
        return state.store.next_physical_offset, len(state.topics), len(state.groups), state.topics.version, list(state.store.offsets())

    asker = Asker(bench.table, stored, state.polling.stop)
    bound = a_tenth_of_a_second()
    codes = set()
    for number, (ext, body) in enumerate(inputs(bench.table.operations[code])):
        answer = await asker.ask(code, ext, body)
        codes.add(answer.code if answer is not None else None)
        if number % 50 == 0:
            assert (await bench.send("BenchmarkTest")).code == 0, "the broker goes on"
    assert (await bench.send("BenchmarkTest")).code == 0
    asker.check(bound)
    assert codes & {0, None, *MAY_FAIL.get(code, ())}, "one of them was as it should be"


PROPERTIES = (
    "DELAY", "TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS", "TIMER_OUT_MS", "UNIQ_KEY", "KEYS", "TAGS", "REAL_TOPIC", "REAL_QID",
    "RETRY_TOPIC", "ORIGIN_MESSAGE_ID", "TRAN_MSG", "PGROUP", "POP_CK", "WAIT", "CLUSTER", "MSG_REGION", "INSTANCE_ID",
    "CHECK_IMMUNITY_TIME_IN_SECONDS",
)  # fmt: skip


@pytest.mark.parametrize("beside", ["", "TRAN_MSG\x01true\x02PGROUP\x01pay\x02", "DELAY\x011\x02", "TIMER_DELAY_SEC\x0130\x02"])
async def test_every_property_that_means_something(make_bench: MakeBench, beside: str) -> None:
    bench = await prepared(make_bench)
    bound = a_tenth_of_a_second()
    asker = Asker(bench.table, lambda: bench.state.store.next_physical_offset, lambda: None)
    header = good_header(bench.table.operations[RequestCode.SEND_MESSAGE_V2])
    for name in PROPERTIES:
        for value in (*NUMBERS, *TEXTS):
            await asker.ask(RequestCode.SEND_MESSAGE_V2, header | {"i": f"{beside}{name}\x01{value}\x02"}, b"body")
    assert (await bench.send("BenchmarkTest")).code == 0
    asker.check(bound)


MAY_FAIL: dict[int, tuple[int, ...]] = {
    RequestCode.END_TRANSACTION: (ResponseCode.SYSTEM_ERROR,),
    RequestCode.RECALL_MESSAGE: (ResponseCode.NO_PERMISSION,),
    RequestCode.SEND_REPLY_MESSAGE: (ResponseCode.SYSTEM_ERROR,),  # nobody waits for the reply
    RequestCode.SEND_REPLY_MESSAGE_V2: (ResponseCode.SYSTEM_ERROR,),
    RequestCode.GET_CONSUMER_RUNNING_INFO: (ResponseCode.SYSTEM_ERROR,),
    RequestCode.CONSUME_MESSAGE_DIRECTLY: (ResponseCode.SYSTEM_ERROR,),
    RequestCode.INVOKE_BROKER_TO_GET_CONSUMER_STATUS: (ResponseCode.SYSTEM_ERROR,),
    RequestCode.GET_CONSUMER_CONNECTION_LIST: (ResponseCode.CONSUMER_NOT_ONLINE,),
    RequestCode.GET_PRODUCER_CONNECTION_LIST: (ResponseCode.SYSTEM_ERROR,),
    RequestCode.GET_CONSUMER_LIST_BY_GROUP: (ResponseCode.SYSTEM_ERROR,),
    RequestCode.GET_ROUTEINFO_BY_TOPIC: (ResponseCode.TOPIC_NOT_EXIST,),
    RequestCode.GET_KV_CONFIG: (ResponseCode.QUERY_NOT_FOUND,),
    RequestCode.GET_KVLIST_BY_NAMESPACE: (ResponseCode.QUERY_NOT_FOUND,),
}
"""Operations that a lonely server refuses, whatever is asked."""


@pytest.mark.parametrize("code", rows("name server"))
async def test_every_field_of_a_name_server(code: int) -> None:
    routes, values_table = RouteInfo(lambda: 0.0), KeyValueTable(None)
    values_table.open()
    table = RequestTable(NameServerProcessor(routes, values_table).operations())
    asker = Asker(table, lambda: (sorted(routes.topics()), routes.clusters(), values_table.namespace("n")), lambda: None)
    bound = a_tenth_of_a_second()
    codes = set()
    for ext, body in inputs(table.operations[code]):
        answer = await asker.ask(code, ext, body)
        codes.add(answer.code if answer is not None else None)
    values_table.close()
    asker.check(bound)
    assert codes & {0, *MAY_FAIL.get(code, ())}
