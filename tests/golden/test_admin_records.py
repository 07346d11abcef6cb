"""Java reads and writes the records of administration as this library does: same names, same types, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.beans import Bean, to_json
from aiorocketmq.protocol.header import Header
from aiorocketmq.protocol.record import fields_of
from tests.golden.admin_cases import AdminCase, admin_cases
from tests.golden.test_admin_answers import _lost

VERSIONS = ("5.5.0", "4.9.7")
ONLY_OURS = {"RegisterBrokerRequestHeader": {"__ZONE_NAME"}, "DeleteSubscriptionGroupRequestHeader": {"removeOffset"}}
"""Fields that Java 5.5.0 has no name for: it adds the zone by hand, and 4.x calls one by another name."""
ONLY_4 = {
    "CreateAccessConfigRequestHeader", "DeleteAccessConfigRequestHeader", "GetBrokerAclConfigResponseHeader",
    "UpdateGlobalWhiteAddrsConfigRequestHeader", "AclConfig",
}  # fmt: skip
LOST_IN_4 = {
    "pullOffset", "totalInflightDiff", "stateVersion", "attributes", "topicQueueMappingInfoMap", "topicQueueMappingDetailMap",
    "mappingDataVersion", "consumeMessageOrderly", "groupRetryPolicy", "groupSysFlag", "consumeTimeoutMinute", "subscriptionDataSet",
    "forbiddenTable", "topicPutTps",
}  # fmt: skip
"""What came with 5.x: 4.9.7 reads past it."""


def _cases(kind: str) -> list[Any]:
    found = []
    cases = {(case.kind, case.java): case for case in admin_cases()}
    for version in VERSIONS:
        for line in (Path(__file__).parent / f"records-{version}.jsonl").read_text("utf-8").splitlines():
            seen = json.loads(line)
            if seen["kind"] == kind and not seen.get("absent"):
                found.append(pytest.param(version, cases.get((kind, seen["name"])), seen, id=f"{version}-{seen['name']}"))
    return found


def test_java_has_seen_every_record() -> None:
    for version in VERSIONS:
        lines = (Path(__file__).parent / f"records-{version}.jsonl").read_text("utf-8").splitlines()
        seen = {(each["kind"], each["name"], bool(each.get("absent"))) for each in map(json.loads, lines)}
        assert {(case.kind, case.java) for case in admin_cases()} == {(kind, name) for kind, name, _ in seen}
        if version == "5.5.0":
            assert {name for _, name, absent in seen if absent} == ONLY_4


@pytest.mark.parametrize(("version", "case", "seen"), _cases("header"))
def test_headers_have_the_names_and_types_of_java(version: str, case: AdminCase | None, seen: dict[str, Any]) -> None:
    assert case is not None, "the record is gone: make the golden files again, see README.md"
    assert isinstance(case.record, Header)
    assert json.loads(seen["input"]) == case.record.to_ext(), "Java has not seen this: make the golden files again, see README.md"
    ours, theirs = {each.name for each in fields_of(type(case.record))}, set(seen["fields"])
    assert theirs <= ours
    if version == "5.5.0":
        assert ours - theirs == ONLY_OURS.get(case.java, set())
    assert seen["ext"] == {name: value for name, value in case.record.to_ext().items() if name in theirs}


@pytest.mark.parametrize(("version", "case", "seen"), _cases("body"))
def test_bodies_pass_through_java(version: str, case: AdminCase | None, seen: dict[str, Any]) -> None:
    assert case is not None, "the record is gone: make the golden files again, see README.md"
    assert isinstance(case.record, Bean)
    wanted, text = to_json(case.record), seen["text"].encode()
    assert fastjson.loads(seen["input"].encode()) == fastjson.loads(case.record.encode()), "Java has not seen this, see README.md"
    lost = [path for path in _lost(wanted, fastjson.loads(text), "") if version == "5.5.0" or path.rpartition(".")[2] not in LOST_IN_4]
    assert lost == []
    assert _lost(fastjson.loads(text), to_json(type(case.record).decode(text)), "") == []
    if version == "5.5.0":
        assert _lost(fastjson.loads(text), wanted, "") == []
