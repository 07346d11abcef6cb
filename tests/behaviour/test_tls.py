"""TLS with verification on, as a user meets it: the embedded server that speaks nothing else, and real ones with a certificate of ours."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from tests.support import java
from tests.support.certificates import Authority
from tests.support.clusters import EMBEDDED, EmbeddedTestCluster, unavailable_reason
from tests.support.real_cluster import QUICK_JVM, RealCluster
from tests.support.waiting import eventually

PATIENT: dict[str, Any] = {"send_msg_timeout": 20.0, "mq_client_api_timeout": 20.0}


class Secured:
    """A cluster with TLS and its authority."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.authority = Authority(folder)
        certificate, key = self.authority.issue("127.0.0.1")
        self._server: Any
        if kind == EMBEDDED:
            self._server = EmbeddedTestCluster(tls=rmq.server.ServerTLS(certificate, key))
        else:
            settings = folder / "tls.properties"
            settings.write_text(
                f"tls.test.mode.enable=false\ntls.server.need.client.auth=none\ntls.server.certPath={certificate}\ntls.server.keyPath={key}\n"
            )
            self._server = RealCluster(kind, jvm=(*QUICK_JVM, f"-Dtls.config.file={settings}"))
            self._server.start()
        self.name_servers: str = self._server.name_servers
        self.broker_address: str = self._server.broker_address

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture(scope="module")
def secured(session_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    reason = unavailable_reason(session_cluster)
    if reason:
        pytest.skip(reason)
    cluster = Secured(session_cluster, tmp_path_factory.mktemp("secured"))
    yield cluster
    cluster.stop()


@pytest.mark.feature("M4", "M5", "Q64")
async def test_everything_goes_through_verified_connections(secured: Secured) -> None:
    tls = rmq.TLS(ca_file=secured.authority.file)
    topic = f"secured-{uuid.uuid4().hex[:8]}"
    bodies = {b"%d" % number * 1000 for number in range(20)}
    got: set[bytes] = set()
    async with rmq.AdminClient(secured.name_servers, tls=tls, mq_client_api_timeout=20.0) as admin:
        await admin.topics.create(topic)
    consumer = rmq.PushConsumer(secured.name_servers, group=topic, tls=tls, start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(lambda message: got.add(message.body))
    async with consumer, rmq.Producer(secured.name_servers, group="secured", tls=tls, **PATIENT) as producer:
        await asyncio.gather(*[producer.send(rmq.Message(topic, body)) for body in bodies])
        await eventually(lambda: got == bodies, 60.0)
        assert producer._life.instance is not None
        remoting = producer._life.instance.remoting
        for address in (secured.name_servers, secured.broker_address):
            channel = remoting.channel(address)
            assert channel is not None
            assert channel._transport is not None
            assert channel._transport.get_extra_info("ssl_object").version().startswith("TLSv1")


@pytest.mark.feature("M4")
def test_blocking_sends_past_the_loop_are_secured(secured: Secured) -> None:
    tls = rmq.TLS(ca_file=secured.authority.file)
    with aiorocketmq.sync.Producer(secured.name_servers, group="secured-sync", tls=tls, **PATIENT) as producer:
        for number in range(20):
            assert producer.send(rmq.Message("secured-sync", b"%d" % number)).ok


@pytest.mark.feature("M5", "P6")
async def test_a_wrong_authority_is_told_at_once(secured: Secured, tmp_path: Path) -> None:
    tls = rmq.TLS(ca_file=Authority(tmp_path, "stranger").file)
    async with rmq.Producer(secured.name_servers, group="secured", tls=tls, send_msg_timeout=20.0) as producer:
        with pytest.raises(rmq.RocketMQError) as failed:
            await producer.send(rmq.Message("secured", b"x"))
    causes: list[BaseException | None] = [failed.value]
    while isinstance(causes[-1], rmq.RocketMQError):
        causes.append(causes[-1].cause)
    reasons = {error.reason for error in causes if isinstance(error, rmq.TLSError)}
    assert reasons == {"unknown-authority"}
    assert "ca_file" in str(failed.value)


@pytest.mark.feature("M5")
async def test_plain_clients_are_refused_by_the_embedded_server(secured: Secured) -> None:
    if java.missing_tools() or not isinstance(secured._server, EmbeddedTestCluster):
        return  # real ones take both on one port by default
    host, _, port = secured.broker_address.rpartition(":")

    def plain() -> bytes:
        with socket.create_connection((host, int(port)), 10.0) as connection:
            connection.sendall(b"\0\0\0\x08\0\0\0\x02{}")
            return connection.recv(100)

    answer = await asyncio.to_thread(plain)
    assert not answer or answer[:1] == b"\x15"  # nothing, or the alert of TLS
