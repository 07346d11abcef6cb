"""`aiorocketmq namesrv`: settings and values of name servers (Java: `mqadmin getNamesrvConfig`, `updateKvConfig`, ...)."""

from __future__ import annotations

from cyclopts import App

from aiorocketmq.cli.kernel import Context, by_server, command
from aiorocketmq.cli.options import pairs
from aiorocketmq.cli.render import Rows
from aiorocketmq.errors import QueryNotFoundError

app = App(name="namesrv", help="Look at name servers, change their settings and values.")
config = App(name="config", help="Settings of name servers.")
kv = App(name="kv", help="Values that name servers keep.")
app.command(config)
app.command(kv)


@command(config, examples=["namesrv config get"], mqadmin="getNamesrvConfig")
async def get(context: Context, /) -> Rows:
    """Show the settings of every name server."""
    found = await context.admin.name_servers.config.get()
    rows = [{"name_server": name, "name": key, "value": value} for name, table in found.answers.items() for key, value in table.items()]
    return Rows(rows, ["name_server", "name", "value"], errors=found.errors)


@command(config, name="set", examples=["namesrv config set orderMessageEnable=true"], mqadmin="updateNamesrvConfig")
async def set_config(context: Context, /, *settings: str) -> Rows | None:
    """Change settings of every name server while they run.

    Parameters
    ----------
    settings:
        NAME=VALUE.
    """
    values = pairs(settings)
    if context.planned(f"set {', '.join(settings)} at every name server"):
        return None
    return by_server(await context.admin.name_servers.config.set(values), lambda name, _: {"name_server": name, **values})


@command(kv, name="get", examples=["namesrv kv get ORDER_TOPIC_CONFIG orders"])
async def get_value(context: Context, namespace: str, key: str, /) -> Rows:
    """Show a value.

    Parameters
    ----------
    namespace:
        Its namespace.
    key:
        Its key.
    """
    value = await context.admin.name_servers.kv.get(namespace, key)
    if value is None:
        raise QueryNotFoundError(f"namespace {namespace!r} has no key {key!r}", hint="check the names")
    return Rows([{"key": key, "value": value}])


@command(kv, name="list", examples=["namesrv kv list ORDER_TOPIC_CONFIG"])
async def list_values(context: Context, namespace: str, /) -> Rows:
    """Show all values of a namespace.

    Parameters
    ----------
    namespace:
        The namespace.
    """
    found = await context.admin.name_servers.kv.list(namespace)
    return Rows([{"key": key, "value": value} for key, value in found.items()], ["key", "value"])


@command(kv, examples=["namesrv kv put ORDER_TOPIC_CONFIG orders broker-a:4"], mqadmin="updateKvConfig")
async def put(context: Context, namespace: str, key: str, value: str, /) -> Rows | None:
    """Set a value at every name server.

    Parameters
    ----------
    namespace:
        Its namespace.
    key:
        Its key.
    value:
        The value.
    """
    if context.planned(f"set {namespace} {key} to {value} at every name server"):
        return None
    found = await context.admin.name_servers.kv.put(namespace, key, value)
    return by_server(found, lambda name, _: {"name_server": name, "key": key, "value": value})


@command(kv, examples=["namesrv kv delete ORDER_TOPIC_CONFIG orders --yes"], mqadmin="deleteKvConfig")
async def delete(context: Context, namespace: str, key: str, /) -> Rows | None:
    """Delete a value at every name server.

    Parameters
    ----------
    namespace:
        Its namespace.
    key:
        Its key.
    """
    if context.planned(f"delete {namespace} {key} at every name server"):
        return None
    context.confirm(f"deletes {key} of {namespace}", key)
    found = await context.admin.name_servers.kv.delete(namespace, key)
    return by_server(found, lambda name, _: {"name_server": name, "key": key})
