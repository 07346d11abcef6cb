"""This library reads what real servers answered to every question of an administrator (`answers.py`), and asks as those were asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import (
    admin_access,
    admin_brokers,
    admin_ha,
    admin_lite,
    admin_queues,
    admin_topics,
    bodies,
    bodies_access,
    fastjson,
    headers_access,
    headers_admin,
    headers_client,
)
from aiorocketmq.protocol.beans import to_json
from aiorocketmq.protocol.properties_text import format_properties, parse_properties

VERSIONS = ("5.5.0", "4.9.7")
LINES = [
    (version, json.loads(line))
    for version in VERSIONS
    for line in (Path(__file__).parent / f"admin-{version}.jsonl").read_text("utf-8").splitlines()
]
ANSWERS: dict[str, Any] = {
    "all-topic-configs": bodies.TopicConfigWrapper,
    "topic-config": admin_topics.TopicConfigAndQueueMapping,
    "static-topic-config": admin_topics.TopicConfigAndQueueMapping,
    "topic-stats": bodies.TopicStatsTable,
    "topic-groups": bodies.GroupList,
    "group-topics": bodies.TopicList,
    "group-subscription": bodies.QuerySubscriptionResponseBody,
    "group-config": bodies.SubscriptionGroupConfig,
    "all-group-configs": bodies.SubscriptionGroupWrapper,
    "all-group-configs-forbidden": bodies.SubscriptionGroupWrapper,
    "forbid": bodies.GroupForbidden,
    "ask-forbidden": bodies.GroupForbidden,
    "group-connection": bodies.ConsumerConnection,
    "producer-connection": bodies.ProducerConnection,
    "all-producers": bodies.ProducerTableInfo,
    "group-progress": bodies.ConsumeStats,
    "group-progress-all": bodies.ConsumeStats,
    "time-span": bodies.QueryConsumeTimeSpanBody,
    "statistic": bodies.BrokerStatsData,
    "all-progress": bodies.ConsumeStatsList,
    "running-info": bodies.ConsumerRunningInfo,
    "correction": bodies.QueryCorrectionOffsetBody,
    "all-offsets": bodies.ConsumerOffsetWrapper,
    "delay-offsets": bodies.DelayOffsetWrapper,
    "consumer-status": bodies.GetConsumerStatusBody,
    "reset-offsets": bodies.ResetOffsetBody,
    "reset-queue": bodies.ResetOffsetBody,
    "queue-index": admin_queues.QueryConsumeQueueResponseBody,
    "runtime": bodies.KVTable,
    "list-kv": bodies.KVTable,
    "rocksdb-progress": admin_brokers.CheckRocksdbCqWriteResult,
    "get-cold": admin_brokers.ColdDataFlowInfo,
    "request-modes": admin_brokers.MessageRequestModes,
    "timer-metrics": admin_brokers.TimerMetrics,
    "get-user": bodies_access.UserInfo,
    "get-acl": bodies_access.AclInfo,
    "acl-config": admin_access.AclConfig,
    "lite-of-broker": admin_lite.GetBrokerLiteInfoResponseBody,
    "lite-parent": admin_lite.GetParentTopicInfoResponseBody,
    "lite-topic": admin_lite.GetLiteTopicInfoResponseBody,
    "lite-client": admin_lite.GetLiteClientInfoResponseBody,
    "lite-group": admin_lite.GetLiteGroupInfoResponseBody,
    "ha-status": admin_ha.HARuntimeInfo,
    "ha-status-master": admin_ha.HARuntimeInfo,
    "ha-status-slave": admin_ha.HARuntimeInfo,
    "epochs": admin_ha.EpochEntryCache,
    "epochs-of-controller": admin_ha.EpochEntryCache,
    "members": bodies.GetBrokerMemberGroupResponseBody,
    "sync-state": admin_ha.BrokerReplicasInfo,
    "replica-info": admin_ha.SyncStateSet,
    "elect": admin_ha.ElectMasterResponseBody,
    "topics": bodies.TopicList,
    "topics-of-cluster": bodies.TopicList,
    "system-topics": bodies.TopicList,
    "system-topics-of-broker": bodies.TopicList,
    "unit-topics-311": bodies.TopicList,
    "unit-topics-312": bodies.TopicList,
    "unit-topics-313": bodies.TopicList,
}
QUESTIONS: dict[str, Any] = {
    "put-kv": headers_admin.PutKVConfigRequestHeader,
    "get-kv": headers_admin.GetKVConfigRequestHeader,
    "list-kv": headers_admin.GetKVListByNamespaceRequestHeader,
    "delete-kv": headers_admin.DeleteKVConfigRequestHeader,
    "topics-of-cluster": headers_admin.GetTopicsByClusterRequestHeader,
    "wipe-write": headers_admin.WipeWritePermOfBrokerRequestHeader,
    "add-write": headers_admin.AddWritePermOfBrokerRequestHeader,
    "create-static-topic": headers_admin.CreateTopicRequestHeader,
    "topic-config": headers_admin.GetTopicConfigRequestHeader,
    "topic-stats": headers_admin.GetTopicStatsInfoRequestHeader,
    "topic-groups": headers_admin.QueryTopicConsumeByWhoRequestHeader,
    "group-topics": headers_admin.QueryTopicsByConsumerRequestHeader,
    "group-subscription": headers_admin.QuerySubscriptionByConsumerRequestHeader,
    "group-config": headers_admin.GetSubscriptionGroupConfigRequestHeader,
    "forbid": headers_admin.UpdateGroupForbiddenRequestHeader,
    "ask-forbidden": headers_admin.UpdateGroupForbiddenRequestHeader,
    "group-connection": headers_client.GetConsumerConnectionListRequestHeader,
    "producer-connection": headers_admin.GetProducerConnectionListRequestHeader,
    "group-progress": headers_admin.GetConsumeStatsRequestHeader,
    "time-span": headers_admin.QueryConsumeTimeSpanRequestHeader,
    "statistic": headers_admin.ViewBrokerStatsDataRequestHeader,
    "all-progress": headers_admin.GetConsumeStatsInBrokerHeader,
    "running-info": headers_client.GetConsumerRunningInfoRequestHeader,
    "correction": headers_admin.QueryCorrectionOffsetHeader,
    "clone-offsets": headers_admin.CloneGroupOffsetRequestHeader,
    "consumer-status": headers_client.GetConsumerStatusRequestHeader,
    "resume-half": headers_admin.ResumeCheckHalfMessageRequestHeader,
    "rocksdb-progress": admin_brokers.CheckRocksdbCqWriteProgressRequestHeader,
    "export-rocksdb": admin_brokers.ExportRocksDBConfigToJsonRequestHeader,
    "read-mode": admin_brokers.SetCommitLogReadModeRequestHeader,
    "switch-timer": admin_brokers.SwitchTimerEngineRequestHeader,
    "create-user": headers_access.UserRequestHeader,
    "list-users": headers_access.ListUsersRequestHeader,
    "get-acl": headers_access.AclRequestHeader,
    "list-acls": headers_access.ListAclRequestHeader,
    "delete-acl": headers_access.DeleteAclRequestHeader,
    "create-key": admin_access.CreateAccessConfigRequestHeader,
    "delete-key": admin_access.DeleteAccessConfigRequestHeader,
    "white-addresses": admin_access.UpdateGlobalWhiteAddrsConfigRequestHeader,
    "lite-parent": admin_lite.GetParentTopicInfoRequestHeader,
    "lite-topic": admin_lite.GetLiteTopicInfoRequestHeader,
    "lite-client": admin_lite.GetLiteClientInfoRequestHeader,
    "lite-group": admin_lite.GetLiteGroupInfoRequestHeader,
    "flush-offset": admin_ha.ResetMasterFlushOffsetHeader,
    "members": headers_admin.GetBrokerMemberGroupRequestHeader,
    "delete-topic": headers_admin.DeleteTopicRequestHeader,
    "delete-group": headers_admin.DeleteSubscriptionGroupRequestHeader,
    "replica-info": admin_ha.GetReplicaInfoRequestHeader,
    "elect": admin_ha.ElectMasterRequestHeader,
    "clean-broker": admin_ha.CleanControllerBrokerDataRequestHeader,
}
TEXTS = ("get-broker-config", "name-server-config", "controller-config")
NOT_READ = {"consumeTimeStampStr", "maxTimeStampStr", "minTimeStampStr", "classFilterMode"}
"""What Java writes beside the fields of its records."""


def _of(names: Any, *, answered: bool = True) -> list[Any]:
    return [
        pytest.param(version, line, id=f"{version}-{line['operation']}")
        for version, line in LINES
        if line["operation"] in names and (line["answerCode"] == 0) is answered
    ]


def _lost(wire: Any, read: Any, path: str) -> list[str]:
    """Where a part of an answer is not in what was read of it."""
    if isinstance(wire, dict):
        if not isinstance(read, dict):
            return [path]
        keys = {str(key): key for key in read}
        lost = []
        for key, value in wire.items():
            if value is None or key in NOT_READ:
                continue
            name = keys.get(str(key))
            lost += [f"{path}.{key}"] if name is None else _lost(value, read[name], f"{path}.{key}")
        return lost
    if isinstance(wire, list):
        if not isinstance(read, list) or len(wire) != len(read):
            return [path]
        if any(isinstance(each, dict) for each in wire):
            return [name for index, each in enumerate(wire) for name in _lost(each, read[index], f"{path}[{index}]")]
        return [] if sorted(wire, key=str) == sorted(read, key=str) else [path]  # sets have no order
    return [] if wire == read else [f"{path}: {wire!r} was read as {read!r}"]


@pytest.mark.parametrize(("version", "line"), _of(ANSWERS))
def test_every_part_of_an_answer_is_read(version: str, line: dict[str, Any]) -> None:
    record = ANSWERS[line["operation"]]
    data = line["answer"].encode()
    read = record.decode(data)
    assert _lost(fastjson.loads(data), to_json(read), record.__name__) == []
    assert record.decode(read.encode()) == read


@pytest.mark.parametrize(("version", "line"), _of(QUESTIONS) + _of(QUESTIONS, answered=False))
def test_questions_are_asked_as_the_broker_understood_them(version: str, line: dict[str, Any]) -> None:
    header = QUESTIONS[line["operation"]].from_ext(line["ext"], limited=True)
    written = header.to_ext()
    assert {name: written[name] for name in line["ext"]} == line["ext"]


@pytest.mark.parametrize(("version", "line"), _of(TEXTS))
def test_settings_are_read(version: str, line: dict[str, Any]) -> None:
    settings = parse_properties(line["answer"].encode(), "the settings")
    assert len(settings) == line["answer"].count("\n")
    assert settings["rocketmqHome"] == "/home"
    assert parse_properties(format_properties(settings), "the settings").keys() == settings.keys()


def _answer(version: str, operation: str) -> Any:
    (line,) = [each for of, each in LINES if (of, each["operation"]) == (version, operation)]
    return ANSWERS[operation].decode(line["answer"].encode())


@pytest.mark.parametrize("version", VERSIONS)
def test_values(version: str) -> None:
    queues = [MessageQueue("orders", "broker-a", 0), MessageQueue("orders", "broker-a", 1)]
    stats = _answer(version, "topic-stats")
    assert stats.offset_table.keys() == set(queues)
    assert sum(state.max_offset - state.min_offset for state in stats.offset_table.values()) == 5
    progress = _answer(version, "group-progress")
    assert {queue: state.broker_offset for queue, state in progress.offset_table.items()} == {
        queue: state.max_offset for queue, state in stats.offset_table.items()
    }
    assert all(0 <= state.consumer_offset <= state.broker_offset for state in progress.offset_table.values())
    assert _answer(version, "reset-offsets").offset_table == dict.fromkeys(queues, 0)
    index = _answer(version, "queue-index")
    assert (index.min_queue_index, len(index.queue_data)) == (0, index.max_queue_index)
    assert index.subscription_data.tags == {"red", "blue"}
    assert {entry.tags_code for entry in index.queue_data} == {112785}
    assert any(
        state.offset_table for table in _answer(version, "all-progress").consume_stats_list for states in table.values() for state in states
    )


def test_values_that_only_brokers_of_5_have() -> None:
    static = _answer("5.5.0", "static-topic-config")
    assert static.topic_name == static.mapping_detail.topic == "static-orders"
    assert static.mapping_detail.hosted_queues[0] == [admin_topics.LogicQueueMappingItem(bname="broker-a")]
    assert static.mapping_detail.total_queues == 1
    assert _answer("5.5.0", "topic-config").mapping_detail is None
    assert _answer("5.5.0", "get-cold").config_table == {"workers": 4096}
    assert _answer("5.5.0", "ask-forbidden").readable is False
    modes = _answer("5.5.0", "request-modes").message_request_mode_map
    assert (modes["orders"]["readers"].mode.name, modes["orders"]["readers"].pop_share_queue_num) == ("POP", 2)
    master, slave = _answer("5.5.0", "ha-status-master"), _answer("5.5.0", "ha-status-slave")
    assert (master.master, master.in_sync_slave_nums, slave.master) == (True, 1, False)
    assert slave.ha_client_runtime_info.master_addr == "10.1.2.3:10912"
    (replicas,) = _answer("5.5.0", "sync-state").replicas_info_table.values()
    assert replicas.master_broker_id == 1
    assert {each.broker_id: each.alive for each in replicas.in_sync_replicas} == {1: True, 2: True}
    assert _answer("5.5.0", "elect").sync_state_set


def test_keys_of_4() -> None:
    keys = _answer("4.9.7", "acl-config")
    assert {each.access_key for each in keys.plain_access_configs} == {"annabel", "bennett"}
    assert "secret-of" not in repr(keys)
    (line,) = [each for of, each in LINES if (of, each["operation"]) == ("4.9.7", "acl-version")]
    header = admin_access.GetBrokerAclConfigResponseHeader.from_ext(line["answerExt"])
    assert (header.broker_name, header.cluster_name) == ("broker-a", "DefaultCluster")
    versions = fastjson.loads((header.all_acl_file_version or "").encode())
    assert all(isinstance(bodies.DataVersion.decode(fastjson.dumps(each)), bodies.DataVersion) for each in versions.values())


def test_headers_of_answers() -> None:
    def header(operation: str) -> dict[str, str]:
        return next(each["answerExt"] for of, each in LINES if (of, each["operation"]) == ("5.5.0", operation))

    data = admin_ha.GetMetaDataResponseHeader.from_ext(header("metadata"))
    assert (data.group, data.controller_leader_id, data.is_leader) == ("controllers", "n0", True)
    assert data.controller_leader_address == "10.1.2.3:9878"
    chosen = admin_ha.ElectMasterResponseHeader.from_ext(header("elect"))
    assert chosen.master_broker_id == 2
    assert admin_ha.GetReplicaInfoResponseHeader.from_ext(header("replica-info")).master_broker_id == 1
    assert headers_admin.WipeWritePermOfBrokerResponseHeader.from_ext(header("wipe-write")).wipe_topic_count > 0
    assert headers_admin.AddWritePermOfBrokerResponseHeader.from_ext(header("add-write")).add_topic_count > 0


def test_nothing_of_the_machine_is_in_the_files() -> None:
    for version in VERSIONS:
        text = (Path(__file__).parent / f"admin-{version}.jsonl").read_text("utf-8")
        assert "127.0.0.1:" not in text
        assert "/tmp/" not in text
