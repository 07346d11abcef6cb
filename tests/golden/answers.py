"""Ask real servers every question of an administrator, and keep what they answered: `admin-<version>.jsonl`.

    python -m tests.golden.answers 5.5.0 4.9.7

Each line says which operation was asked of whom, and holds the answer's code, header and body. Addresses, folders and names of machines
are replaced by fixed ones, so that the files say nothing about where they were made.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiorocketmq
from tests.support import raw_remoting
from tests.support.real_broker import RealBroker
from tests.support.real_cluster import RealCluster

HERE = Path(__file__).parent
TOPIC, GROUP, STATIC = "orders", "workers", "static-orders"
_AUTH = "org.apache.rocketmq.auth"
_USERS = {
    "authenticationMetadataProvider": f"{_AUTH}.authentication.provider.LocalAuthenticationMetadataProvider",
    "authorizationMetadataProvider": f"{_AUTH}.authorization.provider.LocalAuthorizationMetadataProvider",
}
_TOPIC_SETTINGS = {
    "topicName": "bills", "readQueueNums": 1, "writeQueueNums": 1, "perm": 6, "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0,
    "order": False,
}  # fmt: skip
_MAPPING = {
    "topic": STATIC, "bname": "broker-a", "totalQueues": 1, "epoch": 1700000000000, "scope": "__global__",
    "hostedQueues": {
        "0": [
            {
                "gen": 0, "queueId": 0, "bname": "broker-a", "logicOffset": 0, "startOffset": 0, "endOffset": -1, "timeOfStart": -1,
                "timeOfEnd": -1,
            }
        ]
    },
}  # fmt: skip
_STATIC_HEADER = {
    "topic": STATIC, "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1", "perm": "6", "topicFilterType": "SINGLE_TAG",
    "topicSysFlag": "0", "order": "false", "force": "false", "lo": "false",
}  # fmt: skip
_BINARY = {"timer-checkpoint"}
_KEYS = """globalWhiteRemoteAddresses:
- 127.0.0.1
accounts:
- accessKey: annabel
  secretKey: secret-of-ann
  defaultTopicPerm: DENY
  defaultGroupPerm: SUB
  topicPerms:
  - orders=PUB|SUB
"""
_ONE = {"topic": TOPIC, "group": GROUP, "consumerGroup": GROUP, "queueId": "0"}
_USER = {"username": "ann", "password": "secret-of-ann", "userType": "Normal", "userStatus": "enable"}
_RULES = {
    "subject": "User:ann",
    "policies": [
        {
            "policyType": "Custom",
            "entries": [{"resource": "Topic:orders", "actions": ["Pub", "Sub"], "sourceIps": ["10.0.0.0/8"], "decision": "Allow"}],
        }
    ],
}
Question = tuple[str, int, dict[str, str], bytes]


def _text(value: Any) -> bytes:
    return json.dumps(value).encode()


def of_name_server() -> Iterator[Question]:
    """What a name server is asked."""
    yield "put-kv", 100, {"namespace": "ns", "key": "k", "value": "v = 1"}, b""
    yield "get-kv", 101, {"namespace": "ns", "key": "k"}, b""
    yield "list-kv", 219, {"namespace": "ns"}, b""
    yield "delete-kv", 102, {"namespace": "ns", "key": "k"}, b""
    yield "get-no-kv", 101, {"namespace": "ns", "key": "k"}, b""
    yield "route", 105, {"topic": TOPIC, "acceptStandardJsonOnly": "true"}, b""
    yield "route-loose", 105, {"topic": TOPIC}, b""
    yield "static-route", 105, {"topic": STATIC, "acceptStandardJsonOnly": "true"}, b""
    yield "clusters", 106, {}, b""
    yield "topics", 206, {}, b""
    yield "topics-of-cluster", 224, {"cluster": "DefaultCluster"}, b""
    yield "system-topics", 304, {}, b""
    for code in (311, 312, 313):
        yield f"unit-topics-{code}", code, {}, b""
    yield "members", 901, {"clusterName": "DefaultCluster", "brokerName": "broker-a"}, b""
    yield "wipe-write", 205, {"brokerName": "broker-a"}, b""
    yield "add-write", 327, {"brokerName": "broker-a"}, b""
    yield "update-name-server", 318, {}, b"orderMessageEnable=false\n"
    yield "name-server-config", 319, {}, b""


def of_broker(message_id: str, client_id: str) -> Iterator[Question]:
    """What a broker is asked."""
    yield "create-topics", 18, {}, _text({"topicConfigList": [_TOPIC_SETTINGS]})
    yield "create-static-topic", 513, _STATIC_HEADER, _text(_MAPPING)
    yield "topic-config", 351, {"topic": TOPIC, "lo": "true"}, b""
    yield "static-topic-config", 351, {"topic": STATIC, "lo": "true"}, b""
    yield "no-topic-config", 351, {"topic": "nowhere", "lo": "true"}, b""
    yield "all-topic-configs", 21, {}, b""
    yield "topic-stats", 202, {"topic": TOPIC}, b""
    yield "system-topics-of-broker", 305, {}, b""
    yield "topic-groups", 300, {"topic": TOPIC}, b""
    yield "group-topics", 343, {"group": GROUP}, b""
    yield "group-subscription", 345, {"group": GROUP, "topic": TOPIC}, b""
    yield "create-group", 200, {}, _text({"groupName": "readers", "retryMaxTimes": 3})
    yield "create-groups", 225, {}, _text({"groupConfigList": [{"groupName": "writers", "attributes": {}}]})
    yield "group-config", 352, {"group": "readers"}, b""
    yield "all-group-configs", 201, {}, b""
    yield "forbid", 353, {"group": "readers", "topic": TOPIC, "readable": "false"}, b""
    yield "ask-forbidden", 353, {"group": "readers", "topic": TOPIC}, b""
    yield "all-group-configs-forbidden", 201, {}, b""
    yield "group-connection", 203, {"consumerGroup": GROUP}, b""
    yield "producer-connection", 204, {"producerGroup": "makers"}, b""
    yield "all-producers", 328, {}, b""
    yield "group-progress", 208, {"consumerGroup": GROUP, "topic": TOPIC}, b""
    yield "group-progress-all", 208, {"consumerGroup": GROUP}, b""
    yield "time-span", 303, {"topic": TOPIC, "group": GROUP}, b""
    yield "statistic", 315, {"statsName": "TOPIC_PUT_NUMS", "statsKey": TOPIC}, b""
    yield "all-progress", 317, {"isOrder": "false"}, b""
    yield "running-info", 307, {"consumerGroup": GROUP, "clientId": client_id, "jstackEnable": "false"}, b""
    yield "correction", 308, {"topic": TOPIC, "compareGroup": GROUP}, b""
    yield "clone-offsets", 314, {"srcGroup": GROUP, "destGroup": "readers", "topic": TOPIC, "offline": "true"}, b""
    yield "all-offsets", 43, {}, b""
    yield "delay-offsets", 45, {}, b""
    yield "consumer-status", 223, {"topic": TOPIC, "group": GROUP}, b""
    yield "reset-offsets", 222, {**_ONE, "queueId": "-1", "timestamp": "0", "isForce": "true"}, b""
    yield "reset-queue", 222, {**_ONE, "offset": "1", "timestamp": "0", "isForce": "true"}, b""
    yield "search-offset", 29, {**_ONE, "timestamp": "0", "boundaryType": "lower"}, b""
    yield "max-offset", 30, _ONE, b""
    yield "min-offset", 31, _ONE, b""
    yield "earliest-time", 32, _ONE, b""
    yield "queue-index", 321, {**_ONE, "index": "0", "count": "3"}, b""
    yield "resume-half", 323, {"topic": TOPIC, "msgId": message_id}, b""
    yield "get-broker-config", 26, {}, b""
    yield "update-broker-config", 25, {}, b"longPollingEnable=true\n"
    yield "runtime", 28, {}, b""
    for code, name in ((306, "clean-queues"), (316, "clean-topics"), (329, "delete-logs")):
        yield name, code, {}, b""
    yield "rocksdb-progress", 354, {"topic": TOPIC, "checkStoreTime": "0"}, b""
    yield "export-rocksdb", 355, {"configType": "topics;subscriptionGroups;consumerOffsets;"}, b""
    yield "set-cold", 2001, {}, b"workers=4096\n"
    yield "get-cold", 2003, {}, b""
    yield "remove-cold", 2002, {}, b"workers"
    yield "read-mode", 2004, {"READ_AHEAD_MODE": "0"}, b""
    yield "set-request-mode", 401, {}, _text({"topic": TOPIC, "consumerGroup": "readers", "mode": "POP", "popShareQueueNum": 2})
    yield "request-modes", 402, {}, b""
    yield "pop-rollback", 200056, {}, b""
    yield "timer-checkpoint", 60, {}, b""
    yield "timer-metrics", 61, {}, b""
    yield "switch-timer", 5001, {"E_T": "F"}, b""
    yield "client-config", 47, {}, b""
    yield "create-user", 3001, {"username": "ann"}, _text(_USER)
    yield "update-user", 3002, {"username": "ann"}, _text({**_USER, "userStatus": "disable"})
    yield "get-user", 3004, {"username": "ann"}, b""
    yield "list-users", 3005, {"filter": ""}, b""
    yield "create-acl", 3006, {"subject": "User:ann"}, _text(_RULES)
    yield "get-acl", 3009, {"subject": "User:ann"}, b""
    yield "list-acls", 3010, {"subjectFilter": "", "resourceFilter": ""}, b""
    yield "delete-acl", 3008, {"subject": "User:ann", "policyType": "Custom", "resource": "Topic:orders"}, b""
    yield "delete-user", 3003, {"username": "ann"}, b""
    yield "create-lite-parent", 17, {**_STATIC_HEADER, "topic": "parents", "attributes": "+message.type=LITE"}, b""
    yield "create-lite-group", 200, {}, _text({"groupName": "lite-readers", "attributes": {"+lite.bind.topic": "parents"}})
    yield "lite-of-broker", 200074, {}, b""
    yield "lite-parent", 200075, {"topic": "parents"}, b""
    yield "lite-topic", 200076, {"parentTopic": "parents", "liteTopic": "child"}, b""
    yield "lite-client", 200077, {"parentTopic": "parents", "group": "lite-readers", "clientId": client_id, "maxCount": "10"}, b""
    yield "lite-group", 200078, {"group": "lite-readers", "liteTopic": "child", "topK": "3"}, b""
    yield "ha-status", 907, {}, b""
    yield "flush-offset", 908, {"masterFlushOffset": "0"}, b""
    yield "epochs", 1007, {}, b""
    yield "delete-topic", 215, {"topic": "bills"}, b""
    yield "delete-group", 207, {"groupName": "writers", "cleanOffset": "true"}, b""


def of_keys() -> Iterator[Question]:
    """What a broker of 4.x with ACL is asked."""
    ben = {"accessKey": "bennett", "secretKey": "secret-of-ben", "admin": "false", "topicPerms": "orders=PUB,bills=SUB"}
    yield "create-key", 50, ben, b""
    yield "white-addresses", 53, {"globalWhiteAddrs": "127.0.0.1,10.0.0.*"}, b""
    yield "acl-version", 52, {}, b""
    yield "acl-config", 54, {}, b""
    yield "delete-key", 51, {"accessKey": "bennett"}, b""


def of_controller() -> Iterator[Question]:
    """What a controller is asked."""
    yield "metadata", 1005, {}, b""
    yield "sync-state", 1006, {}, _text(["broker-a"])
    yield "replica-info", 1004, {"brokerName": "broker-a"}, b""
    yield "controller-config", 1010, {}, b""
    yield "update-controller", 1009, {}, b"notifyBrokerRoleChanged=true\n"
    yield "elect", 1002, {"clusterName": "DefaultCluster", "brokerName": "broker-a", "brokerId": "2", "designateElect": "true"}, b""
    yield (
        "clean-broker", 1011,
        {"clusterName": "DefaultCluster", "brokerName": "broker-a", "brokerControllerIdsToClean": "7", "isCleanLivingBroker": "false"}, b"",
    )  # fmt: skip


class Recorder:
    """Asks, and keeps the answers with all that is of this machine replaced."""

    def __init__(self, server: RealCluster) -> None:
        self.lines: list[str] = []
        self._replaced = {str(server.home): "/home", server.name_servers: "10.1.2.3:9876", "127.0.0.1": "10.1.2.3"}
        if server.controller_port:
            self._replaced[f"127.0.0.1:{server.controller_port}"] = "10.1.2.3:9878"
        for number, broker in enumerate(server.brokers):
            self._replaced[broker.address] = f"10.1.2.3:1091{number + 1}"
            self._replaced[f"127.0.0.1:{broker.port + 1}"] = "10.1.2.3:10912"
            for key in ("listenPort=", "fastListenPort="):
                self._replaced[f"{key}{broker.port}"] = f"{key}1091{number + 1}"
        self._replaced[f"listenPort={server.name_server_port}"] = "listenPort=9876"
        for name in {socket.gethostname(), socket.getfqdn(), getpass.getuser()}:
            self._replaced[name] = "machine"

    def ask(self, address: str, questions: Iterator[Question]) -> None:
        for name, code, fields, body in questions:
            answer: dict[str, Any] = {"operation": name, "code": code, "ext": fields, "body": body.decode()}
            try:
                ext, text = raw_remoting.exchange(address, code, fields, body)
                answer |= {"answerCode": 0, "answerExt": ext}
                answer |= {"answerHex": text.hex()} if name in _BINARY else {"answer": text.decode()}
            except raw_remoting.RawAnswerError as error:
                answer |= {"answerCode": error.code, "remark": str(error).splitlines()[0][:120]}
            except OSError as error:
                answer |= {"answerCode": None, "remark": type(error).__name__}
            self.lines.append(self._normal(json.dumps(answer, ensure_ascii=False)))

    def _normal(self, line: str) -> str:
        for old in sorted(self._replaced, key=len, reverse=True):
            line = line.replace(old, self._replaced[old])
        return re.sub(r"10\.1\.2\.3:\d{5}\b", lambda match: match[0] if match[0][-5:-1] == "1091" else "10.1.2.3:40000", line)


async def _traffic(server: RealCluster, recorder: Recorder) -> None:
    """Some messages, and a group that reads them, while the broker is asked."""
    read = asyncio.Event()

    consumer = aiorocketmq.PushConsumer(server.name_servers, group=GROUP, start_from=aiorocketmq.StartFrom.FIRST)

    @consumer.listen(TOPIC, "red || blue")
    async def handle(message: aiorocketmq.ReceivedMessage) -> None:
        read.set()

    async with aiorocketmq.Producer(server.name_servers, group="makers") as producer, consumer:
        for number in range(5):
            sent = await producer.send(aiorocketmq.Message(TOPIC, b"%d" % number, tag="red", keys=[f"k{number}"]))
        await asyncio.wait_for(read.wait(), 60)
        found = json.loads(raw_remoting.invoke(server.broker_address, 203, {"consumerGroup": GROUP}))
        client_id = found["connectionSet"][0]["clientId"]
        recorder._replaced[client_id] = "10.1.2.3@4711"
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:  # until the first positions are saved, and statistics are there
            offsets = json.loads(re.sub(rb"([{,])(\d+):", rb'\1"\2":', raw_remoting.invoke(server.broker_address, 43)))
            if any(key.startswith(f"{TOPIC}@") for key in offsets["offsetTable"]):
                break
            await asyncio.sleep(0.5)
        questions = of_broker(sent.offset_message_id or "", client_id)
        await asyncio.to_thread(recorder.ask, server.broker_address, questions)
        await asyncio.sleep(1)
        await asyncio.to_thread(recorder.ask, server.name_servers, of_name_server())


def record(version: str) -> list[str]:
    """All lines of one version."""
    options = _USERS if version.startswith("5") else {}
    with RealCluster(version, broker_options=options) as server:
        recorder = Recorder(server)
        server.create_topic(TOPIC, queues=2)
        asyncio.run(_traffic(server, recorder))
        lines = recorder.lines
    if version.startswith("4"):
        with RealCluster(version, broker_options={"aclEnable": "true"}, files={"conf/plain_acl.yml": _KEYS}) as server:
            recorder = Recorder(server)
            recorder.ask(server.broker_address, of_keys())
            lines += recorder.lines
    if version.startswith("5"):
        with RealCluster(version, controller=True, broker_heap="320m") as server:
            other = server.add_broker(server.broker_name)
            recorder = Recorder(server)
            _await_pair(server, other)
            pair = (("ha-status-master", 907, {}, b""), ("epochs-of-controller", 1007, {}, b""))
            recorder.ask(server.broker_address, iter(pair))
            recorder.ask(other.address, iter([("ha-status-slave", 907, {}, b"")]))
            recorder.ask(f"127.0.0.1:{server.controller_port}", of_controller())  # it changes who is the master
            lines += recorder.lines
    return lines


def _await_pair(server: RealCluster, other: RealBroker) -> None:
    for _ in range(60):
        found = json.loads(raw_remoting.invoke(f"127.0.0.1:{server.controller_port}", 1006, {}, b'["broker-a"]') or b"{}")
        if found and len(next(iter(found["replicasInfoTable"].values()))["inSyncReplicas"]) == 2:
            return
        time.sleep(0.5)


def main(arguments: list[str]) -> None:
    if not arguments:
        raise SystemExit(__doc__)
    for version in arguments:
        (HERE / f"admin-{version}.jsonl").write_text("".join(line + "\n" for line in record(version)))


if __name__ == "__main__":
    main(sys.argv[1:])
