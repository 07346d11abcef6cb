"""The same channel on uvloop, whose transports are not asyncio's: echo, back-pressure, loss, TLS, clean end."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from aiorocketmq.config import TLS
from aiorocketmq.errors import ConnectError, ConnectionLostError, RequestTimeoutError
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.server import RemotingServer
from tests.support.waiting import eventually
from tests.unit.remoting.harness import started

uvloop = pytest.importorskip("uvloop")

ECHO = 1


async def scenario(server: RemotingServer, **client_fields: Any) -> None:
    server.register_processor(ECHO, lambda request, channel: RemotingCommand.response(request, body=request.body))
    server.register_processor(2, lambda request, channel: None)
    await server.start()
    client = await started(**client_fields)
    bodies = [bytes([number % 256]) * (number * 37) for number in range(300)]
    calls = [client.invoke(server.address, RemotingCommand.request(ECHO, body=body), 10.0) for body in bodies]
    assert [answer.body for answer in await asyncio.gather(*calls)] == bodies
    large = [client.invoke(server.address, RemotingCommand.request(ECHO, body=bytes(3_000_000)), 30.0) for _ in range(10)]
    assert [len(answer.body) for answer in await asyncio.gather(*large)] == [3_000_000] * 10
    assert server.counters.opened == 1
    with pytest.raises(RequestTimeoutError):
        await client.invoke(server.address, RemotingCommand.request(2), 0.05)
    pending = [asyncio.ensure_future(client.invoke(server.address, RemotingCommand.request(2), 30.0)) for _ in range(100)]
    await eventually(lambda: client.in_flight == 100)
    await server.stop()
    for call in pending:
        with pytest.raises(ConnectionLostError):
            await call
    with pytest.raises(ConnectError):
        await client.connect(server.address)
    await client.close()
    assert len(asyncio.all_tasks()) == 1


def test_plain_connections() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario(RemotingServer()))


def test_tls_connections(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario(RemotingServer(ssl_context=context), tls=TLS(ca_file=str(ca_file))))
