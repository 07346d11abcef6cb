"""Where the credentials of requests come from: values, files that change, and functions of the user's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.config import Credentials, CredentialsFile
from aiorocketmq.errors import ConfigError, CredentialsError, RocketMQError, fresh
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting import signing
from aiorocketmq.remoting.client import RemotingClient
from tests.support.memory_transport import MemoryNetwork, ScriptedPeer
from tests.support.virtual_loop import virtual_time
from tests.unit.remoting.harness import PEER, records, started

ONE, TWO = Credentials("one", "secret-of-one"), Credentials("two", "secret-of-two", "token")
ECHO = 1


@contextlib.asynccontextmanager
async def signing_client(source: Any) -> AsyncIterator[tuple[RemotingClient, list[str]]]:
    """A client, and by whom the requests that reach the peer are signed."""
    network = MemoryNetwork()
    peer = ScriptedPeer(network, PEER)
    signed: list[str] = []

    def echo(request: RemotingCommand, _: Any) -> RemotingCommand:
        signed.append(request.ext_fields["AccessKey"])
        return RemotingCommand.response(request)

    peer.on(ECHO, echo)
    client = await started(network, credentials=source)
    try:
        yield client, signed
    finally:
        await client.close()


async def ask(client: RemotingClient) -> None:
    await client.invoke(PEER, RemotingCommand.request(ECHO), 3.0)


@pytest.mark.feature("M2")
@virtual_time
async def test_a_function_is_asked_for_each_request() -> None:
    answers = [ONE, ONE, TWO, ONE]  # the first for the start
    async with signing_client(lambda: answers.pop(0)) as (client, signed):
        for _ in range(3):
            await ask(client)
        assert signed == ["one", "two", "one"]
        assert not client.templated


@pytest.mark.feature("M2")
@virtual_time
async def test_an_async_function_is_asked_for_each_request_and_shared_by_those_of_one_moment() -> None:
    asked = 0

    async def provide() -> Credentials:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.1)
        return (ONE, TWO)[asked % 2]

    async with signing_client(provide) as (client, signed):
        await ask(client)
        await ask(client)
        assert asked == 3
        await asyncio.gather(*[ask(client) for _ in range(10)])
        assert asked == 4
        assert signed == ["one", "two"] + ["one"] * 10


@pytest.mark.feature("M2")
@virtual_time
async def test_who_is_cancelled_leaves_the_call_to_the_others() -> None:
    async def provide() -> Credentials:
        await asyncio.sleep(0.1)
        return ONE

    async with signing_client(provide) as (client, signed):
        calls = [asyncio.ensure_future(ask(client)) for _ in range(3)]
        await asyncio.sleep(0.05)
        calls[0].cancel()
        await asyncio.gather(*calls[1:])
        assert signed == ["one", "one"]
        with pytest.raises(asyncio.CancelledError):
            await calls[0]


def fail() -> Credentials:
    raise KeyError("secret-of-one")


async def fail_later() -> Credentials:
    await asyncio.sleep(0)
    raise KeyError("secret-of-one")


async def hang() -> Credentials:
    await asyncio.sleep(3600)
    return ONE


BROKEN = [
    (fail, "raised KeyError"),
    (fail_later, "raised KeyError"),
    (hang, "took too long"),
    (lambda: "secret-of-one", "answered a str"),
    (lambda: None, "answered a NoneType"),
    (lambda: Credentials("", ""), "answered empty credentials"),
]


@pytest.mark.feature("M2")
@pytest.mark.parametrize(("provide", "text"), BROKEN)
@virtual_time
async def test_a_function_that_fails_is_told_at_the_start(provide: Any, text: str) -> None:
    with pytest.raises(CredentialsError, match=text) as failed:
        await started(MemoryNetwork(), credentials=provide)
    assert "secret-of-one" not in str(failed.value)


@pytest.mark.feature("M2")
@pytest.mark.parametrize(("provide", "text"), BROKEN)
@virtual_time
async def test_a_function_that_fails_later_fails_its_requests_alone(provide: Any, text: str) -> None:
    works = True

    async def awaited() -> Any:
        return ONE if works else await provide() if asyncio.iscoroutinefunction(provide) else provide()

    def plain() -> Any:
        return ONE if works else provide()

    for source in [awaited] if asyncio.iscoroutinefunction(provide) else [awaited, plain]:
        works = True
        async with signing_client(source) as (client, signed):
            works = False
            for _ in range(2):
                with pytest.raises(CredentialsError, match=text):
                    await ask(client)
            works = True
            await ask(client)
            assert signed == ["one"]


@pytest.mark.feature("M2")
@virtual_time
async def test_a_start_without_the_file_fails(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        await started(MemoryNetwork(), credentials=CredentialsFile(tmp_path / "key"))


@pytest.mark.feature("M2")
@virtual_time
async def test_a_file_is_read_again_when_it_has_changed_and_never_for_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(signing, "LOOK_INTERVAL", 0.0)
    file = tmp_path / "key"
    file.write_text("AccessKey=one\nSecretKey=secret-of-one\n")
    async with signing_client(CredentialsFile(file)) as (client, signed):
        assert client.templated
        await ask(client)
        with caplog.at_level(logging.INFO, "aiorocketmq.remoting"):
            file.write_text("AccessKey=two\nSecret")
            await ask(client)
            await ask(client)
            file.unlink()
            await ask(client)
            assert [record.levelname for record in records(caplog)] == ["WARNING"]
            file.write_text("AccessKey=two\nSecretKey=secret-of-two\nSecurityToken=token\n")
            os.utime(file, ns=(1, 1))
            await ask(client)
            await ask(client)
            assert len([text for text in caplog.messages if "was read again" in text]) == 1
            file.write_text("SecretKey")
            await ask(client)
            assert len([text for text in caplog.messages if "of before" in text]) == 2
        assert signed == ["one", "one", "one", "one", "two", "two", "two"]
        assert "signed by two" in caplog.text
        assert "secret-of" not in caplog.text


@pytest.mark.feature("M2")
def test_nothing_shows_the_secret() -> None:
    signer = signing.Signer(TWO, 3.0, lambda name, work: asyncio.get_running_loop().create_task(work))
    assert repr(signer) == "<Signer <SigningKey of two>>"


@pytest.mark.feature("M2")
@virtual_time
@pytest.mark.parametrize("kind", ["at once", "what it waits for", "plain"])
async def test_a_provider_that_is_cancelled_has_failed_and_cancels_nobody(kind: str) -> None:
    """By a service's own time limit, for example; who sends is not cancelled, and waits for nothing that will not come."""
    failing = False

    async def provide() -> Credentials:
        if failing and kind == "what it waits for":
            inner = asyncio.ensure_future(asyncio.sleep(10))
            asyncio.get_running_loop().call_later(0.1, inner.cancel)
            await inner
        elif failing:
            raise asyncio.CancelledError
        return ONE

    def plain() -> Credentials:
        if failing:
            raise asyncio.CancelledError
        return ONE

    async with signing_client(plain if kind == "plain" else provide) as (client, signed):
        await ask(client)
        failing = True
        failures = await asyncio.gather(*(ask(client) for _ in range(3)), return_exceptions=True)
        assert [type(failure) for failure in failures] == [CredentialsError] * 3
        assert "was cancelled" in str(failures[0])
        failing = False
        await ask(client)
        assert signed == ["one", "one"]


@pytest.mark.feature("M2")
@virtual_time
async def test_the_start_tells_of_a_provider_that_is_cancelled_and_can_be_cancelled_itself() -> None:
    async def cancelled() -> Credentials:
        raise asyncio.CancelledError

    async def hanging() -> Credentials:
        await asyncio.sleep(60)
        return ONE

    with pytest.raises(CredentialsError, match="was cancelled"):
        await started(MemoryNetwork(), credentials=cancelled)
    start = asyncio.ensure_future(started(MemoryNetwork(), credentials=hanging))
    await asyncio.sleep(1)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start


@pytest.mark.feature("M2")
@virtual_time
async def test_a_function_that_has_to_be_awaited_later_on_is_told_so(recwarn: pytest.WarningsRecorder) -> None:
    answers: list[Any] = [ONE, asyncio.sleep(0, ONE), ONE]
    async with signing_client(lambda: answers.pop(0)) as (client, signed):
        with pytest.raises(CredentialsError, match=r"to be awaited, .*async def"):
            await ask(client)
        await ask(client)
        assert signed == ["one"]
    assert not list(recwarn), "of a coroutine that was never awaited"


@pytest.mark.feature("M2")
@virtual_time
async def test_a_request_waits_for_credentials_no_longer_than_its_own_time() -> None:
    """A stop, too, whose goodbyes have a second, does not wait for a provider that hangs."""
    hanging = False

    async def provide() -> Credentials:
        if hanging:
            await asyncio.sleep(60)
        return ONE

    clock = asyncio.get_running_loop().time
    async with signing_client(provide) as (client, signed):
        hanging = True
        began = clock()

        async def ended(seconds: float) -> tuple[float, str]:
            with pytest.raises(CredentialsError) as failed:
                await client.invoke(PEER, RemotingCommand.request(ECHO), seconds)
            return round(clock() - began, 2), failed.value.message

        short, long = await asyncio.gather(ended(0.5), ended(5.0))
        assert short == (0.5, "the credentials provider took too long for this request")
        assert long == (3.0, "the credentials provider took too long")
        hanging = False
        await ask(client)
        assert signed == ["one"]


class _ServiceError(Exception):
    """As libraries of clouds have them."""


@pytest.mark.feature("M2", "P9")
@virtual_time
@pytest.mark.parametrize("kind", [PermissionError, _ServiceError])
async def test_what_a_provider_raised_is_there_for_who_asks_and_in_no_pickle(kind: type[Exception]) -> None:
    """Its text may show the answer of a service; results of tasks, with their errors, are pickled and kept."""

    def provide() -> Credentials:
        raise kind("no keys in the answer secret-of-one")

    with pytest.raises(CredentialsError) as failed:
        await started(MemoryNetwork(), credentials=provide)
    assert isinstance(failed.value.cause, kind)
    for error in (failed.value, fresh(failed.value), RocketMQError("a send failed", cause=failed.value)):
        pickled = pickle.dumps(error)
        assert b"secret-of-one" not in pickled
        assert kind.__name__ in repr(vars(pickle.loads(pickled)))
