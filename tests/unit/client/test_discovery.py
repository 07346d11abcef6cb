"""The HTTP address service."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aiorocketmq.client.discovery import AddressService, source_of
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import ConfigError, NoNameServerError
from tests.support.virtual_loop import virtual_time
from tests.unit.remoting.test_sockets import raw_server


def service(answer: bytes | BaseException = b"", *, asked: list[tuple[str, int, bytes]] | None = None, **fields: str) -> AddressService:
    async def get(host: str, port: int, request: bytes) -> bytes:
        if asked is not None:
            asked.append((host, port, request))
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return AddressService(ClientConfig(**fields), http_get=get, wall_clock=lambda: 1.5)


@pytest.mark.feature("L3")
@virtual_time
async def test_the_request_is_the_one_of_java_clients() -> None:
    asked: list[tuple[str, int, bytes]] = []
    good = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\na:1;b:2\nsecond line\n"
    assert await service(good, asked=asked).fetch() == ("a:1", "b:2")
    [(host, port, request)] = asked
    assert (host, port) == ("jmenv.tbsite.net", 8080)
    lines = request.decode().split("\r\n")
    assert lines[0] == "GET /rocketmq/nsaddr HTTP/1.0"
    assert "Client-Version: V5_3_3" in lines
    assert "Content-Type: application/x-www-form-urlencoded;charset=UTF-8" in lines
    assert "Metaq-Client-RequestTS: 1500" in lines
    assert request.endswith(b"\r\n\r\n")


@pytest.mark.feature("L3")
@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "http://jmenv.tbsite.net:8080/rocketmq/nsaddr"),
        ({"address_service_domain": "names.example:80"}, "http://names.example:80/rocketmq/nsaddr"),
        ({"address_service_group": "blue"}, "http://jmenv.tbsite.net:8080/rocketmq/blue"),
        ({"unit_name": "u1"}, "http://jmenv.tbsite.net:8080/rocketmq/nsaddr-u1?nofix=1"),
    ],
)
def test_urls(fields: dict[str, str], url: str) -> None:
    assert service(**fields).url == url


def test_a_domain_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="address_service_domain"):
        service(address_service_domain="names.example:http")


@pytest.mark.feature("L3")
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 500 Oops\r\n\r\na:1", "status 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", "status 302"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "empty"),
        (b"HTTP/1.1 200 OK\r\n\r\n \n \n", "empty"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>Sign in</html>", "not a list of addresses"),
        (b"\x00\x00\x00\x10garbage", "does not speak HTTP"),
        (b"", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n\xff\xfe", "not a list of addresses"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "does not speak HTTP"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
    ],
)
def test_anything_but_a_list_is_an_error_that_says_what_came(answer: bytes | BaseException, text: str) -> None:
    @virtual_time
    async def run() -> None:
        with pytest.raises(NoNameServerError, match=text) as failure:
            await service(answer).fetch()
        assert "http://jmenv.tbsite.net:8080/rocketmq/nsaddr" in str(failure.value)
        assert await service(answer).fetch_or_none() is None

    run()


@pytest.mark.feature("L3")
@virtual_time
async def test_chunked_answers_are_understood() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na:1;\r\n3\r\nb:2\r\n0\r\n\r\n"
    assert await service(answer).fetch() == ("a:1", "b:2")


@pytest.mark.feature("L3")
@virtual_time
async def test_a_silent_service_is_given_up_after_3_s() -> None:
    async def get(host: str, port: int, request: bytes) -> bytes:
        await asyncio.sleep(1000)
        return b""

    with pytest.raises(NoNameServerError, match="no answer within 3 s"):
        await AddressService(ClientConfig(), http_get=get).fetch()
    assert asyncio.get_running_loop().time() == pytest.approx(3)


@pytest.mark.feature("L3")
@virtual_time
async def test_a_lasting_failure_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    answers = [b"", b"", b"HTTP/1.1 200 OK\r\n\r\na:1", b""]

    async def get(host: str, port: int, request: bytes) -> bytes:
        return answers.pop(0)

    asked = AddressService(ClientConfig(), http_get=get)
    assert [await asked.fetch_or_none() for _ in range(4)] == [None, None, ("a:1",), None]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


@pytest.mark.feature("L3")
async def test_a_real_exchange_over_a_socket() -> None:
    requests: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n10.0.0.1:9876;\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        found = await AddressService(ClientConfig(address_service_domain=f"127.0.0.1:{port}")).fetch()
    finally:
        server.close()
        await server.wait_closed()
    assert found == ("10.0.0.1:9876",)
    assert requests[0].startswith(b"GET /rocketmq/nsaddr HTTP/1.0\r\n")


@pytest.mark.feature("L3")
async def test_an_endless_answer_is_cut() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n10.0.0.1:9876\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with raw_server(endless) as address:
        assert await AddressService(ClientConfig(address_service_domain=address)).fetch() == ("10.0.0.1:9876",)


@pytest.mark.feature("L4")
@pytest.mark.parametrize("kind", ["async", "plain", "object", "returns an awaitable"])
async def test_a_resolver_gives_the_name_servers(kind: str) -> None:
    asked_in: list[str] = []

    def plain() -> list[str]:
        asked_in.append(threading.current_thread().name)
        return ["a:1", "http://b:2"]

    async def asynchronous() -> str:
        asked_in.append(threading.current_thread().name)
        return "a:1;b:2"

    class Resolver:
        async def __call__(self) -> str:
            return await asynchronous()

    resolver = {"async": asynchronous, "plain": plain, "object": Resolver(), "returns an awaitable": lambda: asynchronous()}[kind]
    source = source_of(ClientConfig(name_server_resolver=resolver))
    assert await source.fetch() == await source.fetch_or_none() == ("a:1", "b:2")
    here = threading.current_thread().name
    assert (set(asked_in) == {here}) is (kind != "plain"), "what may block runs in a thread"


@pytest.mark.feature("L4")
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "its answer is empty"),
        (None, "its answer is empty"),
        ("nonsense", "'nonsense' is not an address"),
        (5, "5 is a int"),
        (ValueError("no table"), "ValueError: no table"),
    ],
)
async def test_a_resolver_that_fails_is_told(answer: object, why: str, caplog: pytest.LogCaptureFixture) -> None:
    async def resolve() -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    source = source_of(ClientConfig(name_server_resolver=resolve))  # type: ignore[arg-type]
    with pytest.raises(NoNameServerError, match="no name server is configured, and name_server_resolver gave none") as caught:
        await source.fetch()
    assert why in str(caught.value)
    assert await source.fetch_or_none() is None
    assert "name servers were not refreshed" in caplog.text


@pytest.mark.feature("L4")
@virtual_time
async def test_a_resolver_that_takes_too_long_is_given_up() -> None:
    async def slow() -> str:
        await asyncio.sleep(60)
        return "a:1"

    source = source_of(ClientConfig(name_server_resolver=slow))
    with pytest.raises(NoNameServerError, match="no answer within 3 s"):
        await source.fetch()


@pytest.mark.feature("L3")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n10.0.0.1:9876;10.0.0.2:98",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"10.0.0.1:9876;" * 5_000,
    ],
)
async def test_half_a_list_is_no_list(answer: bytes) -> None:
    """`10.0.0.2:98` is an address, too."""

    async def get(host: str, port: int, request: bytes) -> bytes:
        return answer

    with pytest.raises(NoNameServerError, match="broken off"):
        await AddressService(ClientConfig(), http_get=get).fetch()


@pytest.mark.feature("L3")
@pytest.mark.parametrize("domain", ["a..b", f"{'x' * 64}.example"])
async def test_a_domain_that_no_resolver_takes_is_told(domain: str) -> None:
    with pytest.raises(NoNameServerError, match=r"gave none: .*label"):
        await AddressService(ClientConfig(address_service_domain=domain)).fetch()
