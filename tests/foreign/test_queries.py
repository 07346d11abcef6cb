"""mqadmin finds by key and by id what an admin client of ours finds."""

from __future__ import annotations

import pytest

import aiorocketmq as rmq
from tests.foreign.conftest import MqAdmin
from tests.support.clusters import Cluster
from tests.support.java import NEWEST
from tests.support.waiting import eventually


@pytest.mark.feature("B23")
@pytest.mark.timeout(180)
async def test_mqadmin_finds_the_same_messages(cluster: Cluster, mqadmin: MqAdmin) -> None:
    topic = await cluster.create_topic(cluster.unique("looked_up"), queues=2)
    where = ("-n", cluster.name_servers, "-t", topic)
    version = cluster.kind if cluster.is_real else NEWEST
    async with cluster.producer() as producer, cluster.admin() as admin:
        for number in range(4):
            sent = await producer.send(rmq.Message(topic, f"body {number}".encode(), keys=["all", f"k{number}"], tag="TagA"))

        async def indexed() -> bool:
            return len(await admin.messages.query(topic, "all")) == 4

        await eventually(indexed, 30.0)
        for key in ("all", "k2"):
            shown = await mqadmin("queryMsgByKey", *where, "-k", key, version=version)
            theirs = {
                (row[0], int(row[1]), int(row[2])) for row in map(str.split, shown.splitlines()) if len(row) >= 3 and row[1].isdigit()
            }
            ours = {
                (message.message_id, message.queue.queue_id, message.queue_offset) for message in await admin.messages.query(topic, key)
            }
            assert ours == theirs, shown
        assert sent.offset_message_id is not None
        for command, message_id in (("queryMsgByUniqueKey", sent.message_id), ("queryMsgById", sent.offset_message_id)):
            arguments = where if version == NEWEST or command == "queryMsgByUniqueKey" else where[:2]
            shown = await mqadmin(command, *arguments, "-i", message_id, version=version)
            told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in shown.splitlines())}
            message = await admin.messages.view(topic, message_id)
            wanted = (message.topic, f"[{message.tag}]", str(message.queue.queue_id), str(message.queue_offset))
            assert (told["Topic"], told["Tags"], told["Queue ID"], told["Queue Offset"]) == wanted, shown
