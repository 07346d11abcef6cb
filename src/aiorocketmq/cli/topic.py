"""`aiorocketmq topic`: list, create, update, delete, route, stats (Java: `mqadmin topicList`, `updateTopic`, `deleteTopic`, ...)."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from aiorocketmq.cli.kernel import Context, by_server, command
from aiorocketmq.cli.render import Rows
from aiorocketmq.errors import TopicNotFoundError
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.names import is_dlq_topic, is_retry_topic, is_system_topic

app = App(name="topic", help="Look at topics, create, change and delete them.")

Perm = Literal["rw", "r", "w"]
_PERMISSIONS = {"rw": Permission.READ | Permission.WRITE, "r": Permission.READ, "w": Permission.WRITE}
_WORDS = {int(permission): word for word, permission in _PERMISSIONS.items()}


def kind_of(topic: str) -> str:
    """What a topic is for, by its name."""
    if is_retry_topic(topic):
        return "retry"
    if is_dlq_topic(topic):
        return "dead-letter"
    return "system" if is_system_topic(topic) else "user"


def permission_word(permission: int) -> str:
    """A permission as it is given on the command line; its number where it is another one."""
    return _WORDS.get(int(permission), str(int(permission)))


@command(app, name="list", examples=["topic list", "topic list --all -o json"], mqadmin="topicList")
async def list_topics(context: Context, /, *, all_kinds: Annotated[bool, Parameter(name="--all", negative=())] = False) -> Rows:
    """List the topics of all clusters.

    Parameters
    ----------
    all_kinds:
        Also retry, dead-letter and system topics.
    """
    # The name server lists clusters and brokers as topics, because brokers register topics of these names.
    brokers = await context.admin.clusters.brokers()
    clusters = {broker.cluster for broker in brokers}
    owned = {broker.name for broker in brokers} | clusters | {f"{cluster}_REPLY_TOPIC" for cluster in clusters}
    names = await context.admin.topics.list()
    rows = [{"topic": name, "kind": "system" if name in owned else kind_of(name)} for name in names]
    return Rows([row for row in rows if all_kinds or row["kind"] == "user"], ["topic", "kind"])


@command(app, examples=["topic create orders", "topic create orders --queues 16 --cluster DefaultCluster"], mqadmin="updateTopic")
async def create(
    context: Context,
    topic: str,
    /,
    *,
    queues: int = 4,
    permission: Perm = "rw",
    target: Annotated[str | None, Parameter(name="--cluster")] = None,
    broker: str | None = None,
) -> Rows | None:
    """Create a topic; one that is there is left as it is, and that is an error.

    Parameters
    ----------
    topic:
        Name: letters, digits, '_', '-', '%' and '|'.
    queues:
        Queues on each broker.
    permission:
        What clients may do.
    target:
        Cluster on whose masters it is created; may be left out when there is only one.
    broker:
        Broker name or address: create it there alone.
    """
    if context.planned(f"create topic {topic} with {queues} queues on {broker or target or 'every master of the cluster'}"):
        return None
    brokers = await context.admin.topics.create(topic, queues=queues, permission=_PERMISSIONS[permission], cluster=target, broker=broker)
    rows = [{"topic": topic, "broker": name, "queues": queues, "permission": permission} for name in brokers]
    return Rows(rows, ["topic", "broker", "queues", "permission"])


@command(app, examples=["topic update orders --queues 16", "topic update orders --permission r"], mqadmin="updateTopic, updateTopicPerm")
async def update(
    context: Context, topic: str, /, *, queues: int | None = None, permission: Perm | None = None, broker: str | None = None
) -> Rows | None:
    """Change what is given of a topic, and nothing else, on every broker that has it.

    Parameters
    ----------
    topic:
        Topic name.
    queues:
        Queues on each broker.
    permission:
        What clients may do.
    broker:
        Broker name or address: change it there alone.
    """
    if context.planned(f"change topic {topic} on {broker or 'every broker that has it'}"):
        return None
    wanted = None if permission is None else _PERMISSIONS[permission]
    found = await context.admin.topics.update(topic, queues=queues, permission=wanted, broker=broker)
    return by_server(
        found,
        lambda name, now: {"topic": topic, "broker": name, "queues": now.write_queues, "permission": permission_word(now.permission)},
        columns=["topic", "broker", "queues", "permission"],
    )


@command(app, examples=["topic delete orders", "topic delete orders --dry-run", "topic delete orders --yes"], mqadmin="deleteTopic")
async def delete(context: Context, topic: str, /, *, target: Annotated[str | None, Parameter(name="--cluster")] = None) -> Rows | None:
    """Delete a topic with its messages, on brokers and name servers.

    Parameters
    ----------
    topic:
        Topic name.
    target:
        In this cluster alone.
    """
    if context.cluster.dry_run:
        stats = await context.admin.topics.stats(topic)
        context.planned(f"delete topic {topic} with {stats.messages} messages in {len(stats.queues)} queues")
        return None
    context.confirm(f"deletes topic {topic} and its messages", topic)
    brokers = await context.admin.topics.delete(topic, cluster=target)
    if not brokers:
        raise TopicNotFoundError(f"no broker had topic {topic!r}", topic=topic, hint="check the name")
    return Rows([{"topic": topic, "broker": name} for name in brokers])


@command(app, examples=["topic route orders"], mqadmin="topicRoute")
async def route(context: Context, topic: str, /) -> Rows:
    """Show which brokers hold a topic.

    Parameters
    ----------
    topic:
        Topic name.
    """
    found = await context.admin.topics.route(topic)
    brokers = {data.broker_name: data for data in found.broker_datas}
    rows = [
        {
            "cluster": brokers[queues.broker_name].cluster if queues.broker_name in brokers else None,
            "broker": queues.broker_name,
            "read_queues": queues.read_queue_nums,
            "write_queues": queues.write_queue_nums,
            "permission": ("r" if queues.readable else "") + ("w" if queues.writable else ""),
            "addresses": [f"{identity}={address}" for identity, address in sorted(brokers[queues.broker_name].broker_addrs.items())]
            if queues.broker_name in brokers
            else [],
        }
        for queues in found.queue_datas
    ]
    return Rows(rows, ["cluster", "broker", "addresses", "read_queues", "write_queues", "permission"])


@command(app, examples=["topic settings orders"], mqadmin="topicRoute, topicClusterList")
async def settings(context: Context, topic: str, /) -> Rows:
    """Show what a topic is on each broker that has it.

    Parameters
    ----------
    topic:
        Topic name.
    """
    found = await context.admin.topics.settings(topic)
    return by_server(
        found,
        lambda name, now: {
            "broker": name,
            "read_queues": now.read_queues,
            "write_queues": now.write_queues,
            "permission": permission_word(now.permission),
            "order": now.order,
            "attributes": now.attributes,
        },
    )


@command(app, examples=["topic stats orders", "topic stats orders -o json"], mqadmin="topicStatus")
async def stats(context: Context, topic: str, /) -> Rows:
    """Show the offsets of every queue of a topic.

    Parameters
    ----------
    topic:
        Topic name.
    """
    found = await context.admin.topics.stats(topic)
    rows = [
        {
            "broker": queue.broker_name,
            "queue_id": queue.queue_id,
            "min_offset": state.min_offset,
            "max_offset": state.max_offset,
            "messages": state.messages,
            "updated_at": state.updated_at,
        }
        for queue, state in sorted(found.queues.items())
    ]
    return Rows(rows, title=f"{topic}: {found.messages} messages in {len(rows)} queues")
