"""`aiorocketmq server`: the embedded name server and broker in the foreground (Java: `NamesrvStartup`, `BrokerStartup`)."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from aiorocketmq.cli.options import Common, run_async, until_terminated
from aiorocketmq.cli.output import note
from aiorocketmq.cli.render import json_line
from aiorocketmq.errors import ConfigError
from aiorocketmq.server import LocalCluster, ServerTLS
from aiorocketmq.server.broker.broker import Broker

server = App(
    name="server",
    help="Run an embedded name server and broker until Ctrl-C; for development and tests.",
    help_epilogue="""\
Examples:
  aiorocketmq server                                 in memory, port 9876
  aiorocketmq server --data-dir ./data --flush sync  nothing gets lost
  aiorocketmq server --port 0 -o json                a free port, as JSON
  aiorocketmq server --brokers 2 --topic orders --topic jobs
  aiorocketmq server --acl acl.toml --tls-cert server.pem --tls-key server.key""",
)

DEFAULT_PORT = 9876


@server.default
def run(
    *,
    port: Annotated[int, Parameter(name=["--port", "-p"])] = DEFAULT_PORT,
    host: str = "127.0.0.1",
    data_dir: Path | None = None,
    brokers: int = 1,
    slaves: int = 0,
    flush: Literal["async", "sync"] = "async",
    topic: Annotated[list[str] | None, Parameter(negative=())] = None,
    auto_create_topics: bool = True,
    acl: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    common: Common | None = None,
) -> None:
    """Run an embedded name server and broker until Ctrl-C; for development and tests.

    Parameters
    ----------
    port:
        Port of the name server; 0 takes a free one. The brokers take free ports.
    host:
        Address to listen on. Anything but loopback lets other machines in, who may do everything without --acl.
    data_dir:
        Directory that keeps messages, offsets and topics; without it everything is in memory.
    brokers:
        Number of brokers.
    slaves:
        Number of slaves that each of them has.
    flush:
        sync acknowledges a message only when it is on the disk for sure; async survives the end of the process, not of the machine.
    topic:
        Topic to create at the start where it does not exist; may be given several times.
    auto_create_topics:
        Create topics at the first send to them.
    acl:
        File with users and policies, TOML or JSON: brokers then let in who signs as one of them, and allow what a policy allows.
    tls_cert:
        PEM file with the certificate of the server: it then accepts TLS connections and nothing else.
    tls_key:
        PEM file with its key; left out when the other file holds it. For an encrypted key set ROCKETMQ_TLS_KEY_PASSWORD.
    """
    common = common or Common()
    common.set_up_logging()
    if tls_key is not None and tls_cert is None:
        raise ConfigError("--tls-key is given without --tls-cert", hint="give both, or neither")
    tls = ServerTLS(tls_cert, tls_key, os.environ.get("ROCKETMQ_TLS_KEY_PASSWORD")) if tls_cert is not None else None
    cluster = LocalCluster(
        host=host,
        port=port,
        brokers=brokers,
        slaves=slaves,
        data_dir=data_dir,
        flush=flush,
        auto_create_topics=auto_create_topics,
        acl=acl,
        tls=tls,
    )
    try:
        run_async(until_terminated(_serve(cluster, topic or [], common, data_dir)))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ConfigError(
            f"port {port} of {host} is in use", hint="stop what uses it, or take a free one with --port 0", cause=error
        ) from None


def _title(broker: Broker) -> str:
    return f"{broker.name}:{broker.broker_id}" if broker.broker_id else broker.name


async def _serve(cluster: LocalCluster, topics: list[str], common: Common, data_dir: Path | None) -> None:
    async with cluster:
        for name in topics:
            await cluster.create_topic(name, exist_ok=True)
        if common.output != "table":
            addresses = {_title(broker): broker.address for broker in cluster.brokers}
            json_line({"name_servers": cluster.name_servers, "brokers": addresses, "data_dir": str(data_dir) if data_dir else None})
        else:
            note(f"name server  {cluster.name_servers}")
            for broker in cluster.brokers:
                note(f"{_title(broker):<12} {broker.address}")
            note(f"data         {data_dir or 'in memory'}")
            note(f"Ctrl-C stops it; use it with  export NAMESRV_ADDR={cluster.name_servers}")
        await asyncio.get_running_loop().create_future()
