"""Reads back what a cluster has stored, by plain pulls of its own: what a test of sends asks without a consumer."""

from __future__ import annotations

from aiorocketmq.config import ClientConfig
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.received import ReceivedMessage
from aiorocketmq.protocol.bodies import decode_topic_route
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_client import GetRouteInfoRequestHeader, PullMessageRequestHeader, PullMessageResponseHeader
from aiorocketmq.protocol.message_codec import decode_messages
from aiorocketmq.protocol.sysflag import PullSysFlag
from aiorocketmq.remoting.client import RemotingClient
from tests.support.clusters import Cluster
from tests.support.waiting import eventually

_MAX_BODY = 64 * 1024 * 1024
_GROUP = "stored_reader"


async def _pull(client: RemotingClient, address: str, queue: MessageQueue, offset: int) -> tuple[list[ReceivedMessage], int]:
    header = PullMessageRequestHeader(
        consumer_group=_GROUP,
        topic=queue.topic,
        queue_id=queue.queue_id,
        queue_offset=offset,
        max_msg_nums=32,
        sys_flag=PullSysFlag.build(subscription=True),
        commit_offset=0,
        suspend_timeout_millis=0,
        sub_version=0,
        subscription="*",
        expression_type="TAG",
    )
    response = await client.invoke(address, RemotingCommand.request(RequestCode.PULL_MESSAGE, header), 10.0)
    if response.code == ResponseCode.SUCCESS:
        following = PullMessageResponseHeader.from_ext(response.ext_fields).next_begin_offset
        return decode_messages(response.body, broker_name=queue.broker_name, max_body=_MAX_BODY, queue=queue), following
    assert response.code in (ResponseCode.PULL_NOT_FOUND, ResponseCode.PULL_RETRY_IMMEDIATELY, ResponseCode.PULL_OFFSET_MOVED), (
        response.remark
    )
    return [], offset


async def read_topic(cluster: Cluster, topic: str) -> list[ReceivedMessage]:
    """All messages of a topic now, by queue and offset."""
    client = RemotingClient(ClientConfig(name_servers=cluster.name_servers))
    await client.start()
    try:
        query = RemotingCommand.request(
            RequestCode.GET_ROUTEINFO_BY_TOPIC, GetRouteInfoRequestHeader(topic, accept_standard_json_only=True)
        )
        answer = await client.invoke(None, query, 10.0)
        if answer.code == ResponseCode.TOPIC_NOT_EXIST:
            return []
        found: list[ReceivedMessage] = []
        for data in decode_topic_route(answer.body).queue_datas:
            for number in range(data.read_queue_nums):
                offset = 0
                while True:
                    messages, offset = await _pull(client, cluster.broker_address, MessageQueue(topic, data.broker_name, number), offset)
                    found += messages
                    if not messages:
                        break
        return found
    finally:
        await client.close()


async def stored(cluster: Cluster, topic: str, count: int, *, timeout: float = 20.0) -> list[ReceivedMessage]:
    """Wait until a topic holds `count` messages, and give them back; more than that is an error."""

    async def enough() -> list[ReceivedMessage]:
        found = await read_topic(cluster, topic)
        return found if len(found) >= count else []

    messages = await eventually(enough, timeout, message=f"{topic} holds {count} messages")
    assert len(messages) == count
    return messages
