"""Java reads what this library writes: its view, recorded, is what was meant."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.protocol import jsoncodec
from aiorocketmq.protocol.compression import ZLIB_FLAGS
from tests.golden.cases import BODY, BORN, LONG_PROPERTIES, PROPERTIES, STORED, Case, all_cases

VERSIONS = ("5.5.0", "4.9.7")


def _views() -> list[Any]:
    found = []
    for version in VERSIONS:
        cases = {(case.kind, case.name): case for case in all_cases(version)}
        for line in (Path(__file__).parent / f"view-{version}.jsonl").read_text("utf-8").splitlines():
            view = json.loads(line)
            case = cases.get((view["kind"], view["name"]))
            if case is None and "orjson" in view["name"] and not jsoncodec.HAVE_ORJSON:
                continue
            found.append(pytest.param(case, view, version, id=f"{version}-{view['kind']}-{view['name']}"))
    return found


@pytest.mark.feature("O1", "O2", "O3", "A7", "A8", "A10", "A15")
@pytest.mark.parametrize(("case", "view", "version"), _views())
def test_java_reads_it(case: Case | None, view: dict[str, Any], version: str) -> None:
    assert case is not None, "the case is gone: make the golden files again, see README.md"
    if case.name != "zlib":  # builds of zlib compress to different bytes, all of them right
        assert hashlib.sha256(case.data).hexdigest() == view["sha256"], "Java has not seen these bytes: make the golden files again"
    CHECKS[case.kind](case, view, version)


def test_every_case_was_seen_by_java() -> None:
    for version in VERSIONS:
        seen = {(view["kind"], view["name"]) for _, view, of in (param.values for param in _views()) if of == version}
        assert {(case.kind, case.name) for case in all_cases(version)} <= seen


def _check_frame(case: Case, view: dict[str, Any], version: str) -> None:
    assert (view["language"], view["version"]) == ("PYTHON", 479)
    assert view["type"] in case.name
    ext = view["ext"]
    if case.name.startswith("response"):
        assert (view["code"], view["flag"], view["opaque"]) == (17, 1, 8)
        assert view["remark"] == 'topic "中文" does not exist'
        assert ext == {"MSG_REGION": "é"}
    elif case.name.startswith("pull"):
        assert (view["code"], view["flag"], view["opaque"]) == (11, 0, 2**31 - 1)
        assert ext == {
            "consumerGroup": "workers", "topic": "orders", "queueId": "2", "queueOffset": "123456789012", "maxMsgNums": "32",
            "sysFlag": "7", "commitOffset": "-1", "suspendTimeoutMillis": "15000", "subscription": "TagA || 中文",
            "subVersion": str(BORN), "expressionType": "TAG", "maxMsgBytes": "262144", "bname": "broker-a",
        }  # fmt: skip
    else:
        batch = "batch" in case.name
        slow = "slow" in case.name
        assert view["code"] == (320 if batch else 310)
        assert ext["m"] == ("true" if batch else "false")
        assert (ext["a"], ext["c"], ext["d"], ext["e"], ext["g"], ext["n"]) == ("orders", "TBW102", "4", "3", str(BORN), "broker-a")
        assert ext["b"] == ("orders" if slow else "%RETRY%orders")
        if "template" in case.name:
            assert (ext["f"], ext["h"]) == (str(ZLIB_FLAGS), "-7")
        expected = {} if batch else LONG_PROPERTIES if "long" in case.name else PROPERTIES
        assert view["properties"] == expected
        if not batch:
            # The limit of 32,767 bytes counts UTF-8 as the broker stores it, whatever escapes the header used on the way.
            assert view["propertiesBytes"] == sum(len(name.encode()) + len(value.encode()) + 2 for name, value in expected.items())
            assert bytes.fromhex(view["body"]) == BODY


def _check_record(case: Case, view: dict[str, Any], version: str) -> None:
    assert bytes.fromhex(view["body"]) == (BODY * 17 if case.name == "zlib" else BODY)
    assert (view["flag"], view["queueId"], view["queueOffset"], view["commitLogOffset"]) == (-42, 3, 2**40, 2**50)
    assert (view["bornTimestamp"], view["storeTimestamp"], view["reconsumeTimes"]) == (BORN, STORED, 2)
    assert (view["bornPort"], view["storePort"], view["preparedTransactionOffset"]) == (54321, 10911, 77)
    assert view["properties"] == PROPERTIES
    assert view["storeSize"] == len(case.data)
    assert view["bornHost"] == ("2001:db8:0:0:0:0:0:ffff" if case.name in ("v6", "v6-born") else "10.1.2.3")
    if case.name.startswith("topic-"):
        assert len(view["topic"]) == int(case.name[6:])


def _check_batch(case: Case, view: dict[str, Any], version: str) -> None:
    assert [view["items"][str(index)]["flag"] for index in range(3)] == [-1, 0, 1]
    assert [bytes.fromhex(view["items"][str(index)]["body"]) for index in range(3)] == [b"item 0", b"item 1", b"item 2"]
    assert view["items"]["2"]["properties"] == {"index": "2", "u": "中"}


def _check_body(case: Case, view: dict[str, Any], version: str) -> None:
    """Java decoded the body and wrote it again: every value that we gave is still there."""
    kind = case.name.split("-")[0]
    for piece in EXPECTED[kind]:
        if not (version.startswith("4") and piece in ONLY_5):
            assert piece in view["text"]


QUEUE = '{"brokerName":"broker-a","queueId":0,"topic":"orders"}'
ONLY_5 = ('"pullOffset":8',)
EXPECTED = {
    "HeartbeatData": [
        '"clientID":"c@1"', '"producerDataSet":[{"groupName":"orders"}]', '"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET"',
        '"consumeType":"CONSUME_PASSIVELY"', '"messageModel":"CLUSTERING"', "2598919", "646394", '"subString":"TagA || 中文"',
        f'"subVersion":{BORN}', '"expressionType":"TAG"',
    ],
    "TopicRouteData": [
        '{0:"10.1.2.3:10911",1:"10.1.2.4:10911"}', '"orderTopicConf":"broker-a:4"', '"readQueueNums":8', '"writeQueueNums":4',
    ],
    "ClusterInfo": ['{0:"10.1.2.3:10911",1:"10.1.2.4:10911"}', '"clusterAddrTable":{"DefaultCluster":["broker-a"]}'],
    "LockBatchRequestBody": ['"clientId":"c@1"', '"consumerGroup":"workers"', QUEUE],
    "LockBatchResponseBody": [f'"lockOKMQSet":[{QUEUE}]'],
    "TopicStatsTable": [f"{{{QUEUE}:{{", '"maxOffset":4', '"minOffset":1', f'"lastUpdateTimestamp":{BORN}'],
    "ConsumeStats": [f"{{{QUEUE}:{{", '"brokerOffset":10', '"consumerOffset":7', '"consumeTps":1.5', '"pullOffset":8'],
    "ResetOffsetBody": [f"{{{QUEUE}:5}}"],
    "ConsumerRunningInfo": [
        f"{{{QUEUE}:{{", '"commitOffset":3', '"locked":true', f'"PROP_CONSUMER_START_TIMESTAMP":"{BORN}"', '"pullTPS":2.5',
    ],
    "SubscriptionGroupConfig": ['"groupName":"workers"', '"retryMaxTimes":3'],
    "TopicConfig": ['"topicName":"orders"', '"readQueueNums":8', '"writeQueueNums":4', '"perm":6'],
    "TopicList": ['["orders","bills"]'],
    "KVTable": ['{"k":"中文"}'],
}  # fmt: skip
CHECKS = {"frame": _check_frame, "record": _check_record, "batch": _check_batch, "body": _check_body}
