"""The Java client and mqadmin, signed and over TLS, against the embedded server with access control and TLS; and ours beside Java on a real
broker that has both."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aiorocketmq as rmq
from tests.foreign.conftest import MqAdmin
from tests.foreign.exchange import collect_from_java
from tests.support.certificates import Authority
from tests.support.clusters import EmbeddedTestCluster, unavailable_reason
from tests.support.guarded import ADMIN, USER, GuardedEmbeddedCluster, GuardedRealCluster
from tests.support.java import NEWEST
from tests.support.line_program import LineProgram, LineProgramError
from tests.support.waiting import eventually

KEYS = {"access_key": USER.access_key, "secret_key": USER.secret_key}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def embedded(authority: Authority) -> Iterator[EmbeddedTestCluster]:
    """The embedded server with access control and TLS."""
    reason = unavailable_reason(NEWEST)
    if reason:
        pytest.skip(reason)
    cluster = GuardedEmbeddedCluster(tls=rmq.server.ServerTLS(*authority.issue("127.0.0.1")))
    yield cluster.server
    cluster.stop()


async def both_ways(peer: LineProgram, name_servers: str, topic: str, tls: rmq.TLS) -> None:
    """Java and Python send to each other, all of it signed and over TLS."""
    async with rmq.AdminClient(name_servers, credentials=ADMIN, tls=tls, mq_client_api_timeout=20.0) as admin:
        await admin.topics.create(topic)
    got: set[bytes] = set()
    consumer = rmq.PushConsumer(name_servers, group=f"{topic}-python", credentials=USER, tls=tls, start_from=rmq.StartFrom.FIRST)
    consumer.listen(topic)(lambda message: got.add(message.body))
    common: dict[str, Any] = {"name_servers": name_servers, "tls": True, **KEYS}
    producer = rmq.Producer(name_servers, group=f"{topic}-p", credentials=USER, tls=tls, send_msg_timeout=20.0)
    async with consumer, producer:
        await peer.call("producer", id=topic, group=f"{topic}-jp", **common)
        await peer.call("consumer", id=topic, group=f"{topic}-java", topic=topic, expression="*", **common)
        for number in range(10):
            result = await peer.call("send", id=topic, topic=topic, body=base64.b64encode(b"java %d" % number).decode(), keys=["k"])
            assert result["status"] == "SEND_OK"
            await producer.send(rmq.Message(topic, b"python %d" % number, keys="größe"))
        expected = {b"%s %d" % (who, number) for who in (b"java", b"python") for number in range(10)}
        await eventually(lambda: got == expected, 60.0)
        received = await collect_from_java(peer, topic, lambda taken: len(taken) >= 20, 60.0)
        assert {base64.b64decode(told["body"]) for told in received} == expected


@pytest.mark.feature("M1", "M4", "M8")
@pytest.mark.timeout(180)
async def test_java_and_python_on_the_embedded_server(embedded: EmbeddedTestCluster, authority: Authority, peer: LineProgram) -> None:
    await both_ways(peer, embedded.name_servers, "allowed-embedded", rmq.TLS(ca_file=authority.file))
    common: dict[str, Any] = {"name_servers": embedded.name_servers, "tls": True, **KEYS}
    body = base64.b64encode(b"x").decode()
    await peer.call("producer", id="wrong", group="allowed-wrong", **{**common, "secret_key": "wrong-secret"})
    with pytest.raises(LineProgramError, match="check signature failed"):
        await peer.call("send", id="wrong", topic="allowed-embedded", body=body)
    await peer.call("producer", id="denied", group="allowed-denied", **common)
    with pytest.raises(LineProgramError, match="has no permission to access Topic:forbidden"):
        await peer.call("send", id="denied", topic="forbidden", body=body)


@pytest.mark.feature("M1", "M4", "M5")
@pytest.mark.timeout(240)
async def test_java_and_python_on_a_real_broker_with_both(
    authority: Authority, peer: LineProgram, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    certificate, key = authority.issue("127.0.0.1")
    settings = tmp_path / "tls.properties"
    settings.write_text(
        f"tls.test.mode.enable=false\ntls.server.need.client.auth=none\ntls.server.certPath={certificate}\ntls.server.keyPath={key}\n"
    )
    cluster = await asyncio.to_thread(GuardedRealCluster, NEWEST, tls_settings=settings)
    try:
        await both_ways(peer, cluster.name_servers, "allowed-real", rmq.TLS(ca_file=authority.file))
    finally:
        await asyncio.to_thread(cluster.stop)


@pytest.mark.feature("M8", "Q12")
@pytest.mark.timeout(180)
async def test_mqadmin_sees_and_changes_users_of_the_embedded_server(mqadmin: MqAdmin, tmp_path: Path) -> None:
    cluster = GuardedEmbeddedCluster()
    try:
        (tmp_path / "conf" / "tools.yml").write_text(f"accessKey: {ADMIN.access_key}\nsecretKey: {ADMIN.secret_key}\n")
        where = ("-n", cluster.name_servers, "-b", cluster.broker_address)
        users = await mqadmin("listUser", *where)
        assert ADMIN.access_key in users and USER.access_key in users, users
        await mqadmin("createUser", *where, "-u", "by-mqadmin", "-p", "secret-of-mqadmin", "-t", "Normal")
        await mqadmin("createAcl", *where, "-s", "User:by-mqadmin", "-r", "Topic:allowed*", "-a", "Pub,Get", "-d", "Allow")
        listed = await mqadmin("listAcl", *where)
        assert "User:by-mqadmin" in listed and "Topic:allowed*" in listed, listed
        async with rmq.AdminClient(cluster.name_servers, credentials=ADMIN) as admin:
            assert rmq.User("by-mqadmin", False, True) in await admin.acl.users.list()
            policy = rmq.Policy("by-mqadmin", "Topic:allowed*", ("Pub", "Get"), True, (), False)
            assert await admin.acl.rules.list("by-mqadmin") == (policy,)
    finally:
        await asyncio.to_thread(cluster.stop)
