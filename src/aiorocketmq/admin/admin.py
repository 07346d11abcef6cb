"""`AdminClient`: all families of administration in one class (Java: `DefaultMQAdminExt`)."""

from __future__ import annotations

from typing import final

from aiorocketmq.admin.access import AccessOperations
from aiorocketmq.admin.groups import GroupOperations
from aiorocketmq.admin.queries import QueryOperations
from aiorocketmq.admin.topics import TopicOperations

__all__ = ["AdminClient"]


@final
class AdminClient(TopicOperations, GroupOperations, QueryOperations, AccessOperations):
    """Administration of a cluster: topics, groups, messages, brokers, users and policies. Shares the connections of other clients here.

    Args:
        name_servers: `a:9876;b:9876`, a list, or a `rocketmq://` URL; None takes `NAMESRV_ADDR`, then the HTTP address service.
        config: A `ClientConfig` or a `rocketmq://` URL.
        on_state_change: Called with a `StateChange` when brokers or name servers are lost and regained, or when `health().status` is
            another one: a `def` on a thread of its own, an `async def` on the event loop.
        client_fields: Fields of `ClientConfig` that differ; `mq_client_api_timeout` limits each request, 3 s by default.

    Raises:
        ConfigError: A field has a value that cannot work.

    Example:
        async with AdminClient("127.0.0.1:9876") as admin:
            await admin.create_topic("orders", queues=8)
            print((await admin.topic_stats("orders")).messages)
    """
