"""`aiorocketmq broker`: state, settings, out and in (Java: `mqadmin brokerStatus`, `getBrokerConfig`, `wipeWritePerm`, ...)."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from aiorocketmq.cli.kernel import Context, by_server, command
from aiorocketmq.cli.options import pairs
from aiorocketmq.cli.render import Rows

app = App(name="broker", help="Look at brokers, change their settings, take them out and in.")
config = App(name="config", help="Settings of brokers.")
app.command(config)

Target = Annotated[str | None, Parameter(name="--cluster")]


@command(app, examples=["broker status", "broker status --broker broker-a -o json"], mqadmin="brokerStatus")
async def status(context: Context, /, *, target: Target = None, broker: str | None = None) -> Rows:
    """Show what brokers tell of their state.

    Parameters
    ----------
    target:
        Of the masters of this cluster.
    broker:
        Broker name or address: of this one alone.
    """
    found = await context.admin.brokers.status(cluster=target, broker=broker)
    rows = [{"broker": name, "name": key, "value": value} for name, table in found.answers.items() for key, value in table.items()]
    return Rows(rows, ["broker", "name", "value"], errors=found.errors)


@command(app, examples=["broker drain broker-a", "broker drain broker-a --dry-run"], mqadmin="wipeWritePerm")
async def drain(context: Context, broker: str, /) -> Rows | None:
    """Let nothing be sent to a broker any more; consumers go on.

    Parameters
    ----------
    broker:
        Broker name.
    """
    if context.planned(f"take the write permission of all topics of {broker} away, at every name server"):
        return None
    found = await context.admin.brokers.drain(broker)
    return by_server(found, lambda name, count: {"name_server": name, "topics": count})


@command(app, examples=["broker undrain broker-a"], mqadmin="addWritePerm")
async def undrain(context: Context, broker: str, /) -> Rows | None:
    """Let be sent to a broker again.

    Parameters
    ----------
    broker:
        Broker name.
    """
    if context.planned(f"give the write permission of all topics of {broker} back, at every name server"):
        return None
    found = await context.admin.brokers.undrain(broker)
    return by_server(found, lambda name, count: {"name_server": name, "topics": count})


@command(config, examples=["broker config get", "broker config get --broker broker-a -o csv"], mqadmin="getBrokerConfig")
async def get(context: Context, /, *, target: Target = None, broker: str | None = None) -> Rows:
    """Show the settings of brokers.

    Parameters
    ----------
    target:
        Of the masters of this cluster.
    broker:
        Broker name or address: of this one alone.
    """
    found = await context.admin.brokers.config.get(cluster=target, broker=broker)
    rows = [{"broker": name, "name": key, "value": value} for name, table in found.answers.items() for key, value in table.items()]
    return Rows(rows, ["broker", "name", "value"], errors=found.errors)


@command(config, name="set", examples=["broker config set flushDiskType=ASYNC_FLUSH --broker broker-a"], mqadmin="updateBrokerConfig")
async def set_config(context: Context, /, *settings: str, target: Target = None, broker: str | None = None) -> Rows | None:
    """Change settings of brokers while they run.

    Parameters
    ----------
    settings:
        NAME=VALUE.
    target:
        Of the masters of this cluster.
    broker:
        Broker name or address: of this one alone.
    """
    values = pairs(settings)
    if context.planned(f"set {', '.join(settings)} on {broker or target}"):
        return None
    found = await context.admin.brokers.config.set(values, cluster=target, broker=broker)
    return by_server(found, lambda name, _: {"broker": name, **values})
