"""Connections through a SOCKS5 proxy: which go there, what a proxy may say, and that nothing goes past it."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from aiorocketmq.config import TLS, ClientConfig, ServerTLS
from aiorocketmq.config.proxies import SocksProxy, proxies_of
from aiorocketmq.errors import ConfigError, ConnectError
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.server import RemotingServer
from aiorocketmq.server import LocalCluster
from tests.support.certificates import Authority
from tests.support.socks_server import SocksServer
from tests.unit.remoting.harness import started
from tests.unit.remoting.test_tls import ECHO, echo

PASSWORD = "canary-of-the-password"


def through(proxy: SocksServer, network: str = "0.0.0.0/0", **more: str) -> dict[str, Any]:
    return {network: {"addr": proxy.address, **more}}


@pytest.mark.feature("M7", "Q65")
def test_the_smallest_network_decides() -> None:
    found = proxies_of(
        '{"0.0.0.0/0": {"addr": "all:1"}, "10.0.0.0/8": {"addr": "ten:2"}, "10.1.0.0/16": {"addr": "one:3", "username": "u"}}'
    )
    assert found is not None
    assert found.find("10.1.2.3") == SocksProxy("one", 3, "u")
    assert found.find("10.2.2.3") == SocksProxy("ten", 2)
    assert found.find("192.168.0.1") == found.find("broker.example") == found.find("::1") == SocksProxy("all", 1)
    some = proxies_of({"10.0.0.0/8": {"addr": "ten:2"}})
    assert some is not None
    assert some.find("192.168.0.1") is some.find("broker.example") is some.find("::1") is None
    for nothing in (None, "", "{}", {}):
        assert proxies_of(nothing) is None
        assert ClientConfig(socks_proxy_config=nothing).socks_proxy_config is None  # type: ignore[arg-type]
    assert ClientConfig.from_env({"ROCKETMQ_SOCKS_PROXY_CONFIG": '{"0.0.0.0/0": {"addr": "all:1"}}'}).socks_proxy_config is not None


@pytest.mark.feature("M7", "Q65")
@pytest.mark.parametrize(
    "given",
    [
        f'{{"{PASSWORD}',
        "[]",
        7,
        {"home": {"addr": "a:1"}},
        {"0.0.0.0/0": {"password": PASSWORD}},
        {"0.0.0.0/0": PASSWORD},
        {"0.0.0.0/0": {"addr": "a:1", "pass": PASSWORD}},
        {"0.0.0.0/0": {"addr": "a:1", "username": "u", "password": PASSWORD * 20}},
        {"0.0.0.0/0": {"addr": "no port", "password": PASSWORD}},
    ],
)
def test_what_cannot_be_is_refused_without_showing_it(given: Any) -> None:
    with pytest.raises(ConfigError) as failed:
        ClientConfig(socks_proxy_config=given)
    assert PASSWORD not in str(failed.value)


@pytest.mark.feature("M7")
def test_a_password_is_shown_nowhere() -> None:
    config = ClientConfig(socks_proxy_config={"0.0.0.0/0": {"addr": "a:1", "username": "u", "password": PASSWORD}})
    assert PASSWORD not in repr(config)
    with pytest.raises(ConfigError, match="not pickled"):
        pickle.dumps(config)
    plain = ClientConfig(socks_proxy_config={"0.0.0.0/0": {"addr": "a:1"}})
    assert pickle.loads(pickle.dumps(plain)) == plain


@pytest.mark.feature("M7")
@pytest.mark.parametrize("keys", [{}, {"username": "me", "password": PASSWORD}])
async def test_requests_go_through_the_proxy(keys: dict[str, str]) -> None:
    server = RemotingServer(processors={ECHO: echo})
    await server.start()
    async with SocksServer(**keys, names={"broker.example": "127.0.0.1"}) as proxy:
        client = await started(socks_proxy_config=through(proxy, **keys))
        for host in ("127.0.0.1", "broker.example"):
            body = bytes(100_000)
            address = f"{host}:{server.port}"
            assert (await client.invoke(address, RemotingCommand.request(ECHO, body=body), 5.0)).body == body
            channel = client.channel(address)
            assert channel is not None
            assert channel.peer is None
        assert proxy.asked == [("127.0.0.1", server.port), ("broker.example", server.port)]
        await client.close()
        client = await started(socks_proxy_config=through(proxy, "10.0.0.0/8", **keys))
        assert (await client.invoke(server.address, RemotingCommand.request(ECHO), 5.0)).code == 0
        assert len(proxy.asked) == 2
        await client.close()
    await server.stop()


@pytest.mark.feature("M7", "M5")
async def test_tls_goes_through_the_proxy_and_is_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    listening, _ = ServerTLS(*authority.issue("127.0.0.1")).make_contexts()
    server = RemotingServer(processors={ECHO: echo}, ssl_context=listening)
    await server.start()
    async with SocksServer() as proxy:
        client = await started(socks_proxy_config=through(proxy), tls=TLS(ca_file=authority.file))
        assert (await client.invoke(server.address, RemotingCommand.request(ECHO), 5.0)).code == 0
        assert len(proxy.asked) == 1
        await client.close()
    await server.stop()


async def refusal(proxy: str, **keys: str) -> ConnectError:
    client = await started(socks_proxy_config={"0.0.0.0/0": {"addr": proxy, **keys}}, connect_timeout=1.0)
    try:
        with pytest.raises(ConnectError) as failed:
            await client.invoke("127.0.0.1:9", RemotingCommand.request(ECHO), 3.0)
        assert not failed.value.maybe_sent
        assert PASSWORD not in str(failed.value)
        return failed.value
    finally:
        await client.close()


@pytest.mark.feature("M7")
async def test_what_a_proxy_refuses_is_told() -> None:
    async with SocksServer("me", PASSWORD) as proxy:
        assert "wants a user name and a password" in (await refusal(proxy.address)).message
        assert "refuses user name and password" in (await refusal(proxy.address, username="me", password="wrong")).message
    for code, text in ((2, "does not allow"), (5, "was refused the connection"), (99, "code 99")):
        async with SocksServer(refusal=code) as proxy:
            error = await refusal(proxy.address)
            assert text in error.message
            assert proxy.address in error.message


@pytest.mark.feature("M7")
@pytest.mark.parametrize(
    ("answer", "text"), [(b"HTTP/1.1 400", "is no SOCKS5 proxy"), (b"", "closed the connection"), (None, "within 1 s")]
)
async def test_what_is_no_proxy_is_told(answer: bytes | None, text: str) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if answer is None:
            await ended.wait()
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    error = await refusal(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert text in error.message
    ended.set()
    server.close()
    await server.wait_closed()


@pytest.mark.feature("M7")
async def test_a_whole_client_goes_through_the_proxy_and_nothing_past_it() -> None:
    async with LocalCluster() as cluster, SocksServer() as proxy:
        await cluster.create_topic("proxied")
        got = asyncio.Event()
        options: dict[str, Any] = {"socks_proxy_config": through(proxy)}
        consumer = rmq.PushConsumer(cluster.name_servers, group="proxied", start_from=rmq.StartFrom.FIRST, **options)
        consumer.listen("proxied")(lambda message: got.set())
        async with consumer, rmq.Producer(cluster.name_servers, group="proxied-p", **options) as producer:
            await producer.send(rmq.Message("proxied", b"x"))
            await asyncio.wait_for(got.wait(), 30.0)

        def blocking() -> None:
            with aiorocketmq.sync.Producer(cluster.name_servers, group="proxied-sync", **options) as sender:
                for _ in range(20):
                    assert sender.send(rmq.Message("proxied", b"x")).ok

        await asyncio.to_thread(blocking)
        servers = {tuple(cluster.name_servers.split(":")), *(tuple(broker.address.split(":")) for broker in cluster.brokers)}
        assert {(host, str(port)) for host, port in proxy.asked} == servers


@pytest.mark.feature("M7")
@pytest.mark.parametrize(("proxy", "text"), [("127.0.0.1:1", "refused the connection"), ("nowhere.invalid:1", "cannot be reached: ")])
async def test_a_proxy_that_cannot_be_reached_is_the_one_that_is_named(proxy: str, text: str) -> None:
    error = await refusal(proxy)
    assert f"the SOCKS5 proxy {proxy} {text}" in error.message
    assert "cannot be resolved" not in error.message


@pytest.mark.feature("M7")
@pytest.mark.parametrize("bound", [b"\x01" + bytes(4), b"\x04" + bytes(16), b"\x03\x07gateway"], ids=["IPv4", "IPv6", "name"])
async def test_whatever_address_a_proxy_names_as_its_own_what_follows_is_the_peers(bound: bytes) -> None:
    server = RemotingServer(processors={ECHO: echo})
    await server.start()
    async with SocksServer(bound=bound) as proxy:
        client = await started(socks_proxy_config=through(proxy))
        assert (await client.invoke(server.address, RemotingCommand.request(ECHO, body=b"x"), 5.0)).body == b"x"
        await client.close()
    await server.stop()
