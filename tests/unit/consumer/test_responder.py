"""Responders: which functions are refused, how they are called in logs, and what becomes of a reply that cannot leave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

import aiorocketmq as rmq
from aiorocketmq.consumer import responder as module
from aiorocketmq.consumer.listener import Listener, is_async, name_of
from aiorocketmq.consumer.responder import Responder
from aiorocketmq.consumer.runtime import PushRuntime
from aiorocketmq.model.properties import encode_properties
from aiorocketmq.model.queue import MessageQueue

pytestmark = pytest.mark.feature("D5", "D6")

PROPERTIES = {"CORRELATION_ID": "c", "REPLY_TO_CLIENT": "me", "CLUSTER": "DefaultCluster", "UNIQ_KEY": "ID"}
REQUEST = rmq.ReceivedMessage(
    "rpc", b"?", encode_properties(PROPERTIES).encode(), MessageQueue("rpc", "broker-a", 0),
    0, 0, 0, 0, 1, bytes(4), 0, 0, bytes(4), 0, 0, 0, 0, 0,
)  # fmt: skip


def plain(request: rmq.ReceivedMessage) -> bytes:
    return b"plain"


async def coroutine(request: rmq.ReceivedMessage) -> bytes:
    return b"coroutine"


def with_yield(request: rmq.ReceivedMessage) -> Any:
    yield b"?"


def runtime_on(loop: asyncio.AbstractEventLoop) -> PushRuntime:
    return cast("PushRuntime", SimpleNamespace(loop=loop))


@pytest.mark.parametrize("function", [None, 5, "sums", with_yield, lambda: b"?", lambda request, more: b"?"])
def test_function_that_cannot_respond_is_refused_like_a_listener(function: Any) -> None:
    consumer = rmq.PushConsumer("a:1", group="g")
    with pytest.raises(rmq.ListenerError):
        consumer.respond("rpc")(function)
    consumer.respond("rpc")(plain)  # nothing of the other one is left


@pytest.mark.parametrize("function", [plain, coroutine])
def test_responder_goes_by_the_name_of_its_function(function: Any) -> None:
    listener = Listener("rpc", Responder(function, lambda: None).listener)
    assert name_of(listener.function) == function.__qualname__
    assert listener.is_async == is_async(function)


def test_coroutine_that_a_plain_responder_returns_is_no_reply_and_says_how_to_mend_it() -> None:
    def forgetful(request: rmq.ReceivedMessage) -> Coroutine[Any, Any, bytes]:
        return coroutine(request)

    async def respond() -> None:
        runtime = runtime_on(asyncio.get_running_loop())
        responder = Responder(forgetful, lambda: runtime)
        await asyncio.to_thread(responder.listener, REQUEST)

    with pytest.raises(rmq.ListenerError, match=r"forgetful of topic 'rpc' returned a coroutine \(declare it with async def\)"):
        asyncio.run(respond())


def test_reply_that_the_event_loop_does_not_come_to_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_THREAD_PATIENCE", 0.05)
    monkeypatch.setattr(module, "REPLY_TIMEOUT", 0.05)
    loop = asyncio.new_event_loop()  # it does not run, as one that something blocks
    try:
        with pytest.raises(rmq.ListenerError, match="reply of plain to request 'ID' for topic 'rpc' was not sent: the event loop did not"):
            Responder(plain, lambda: runtime_on(loop)).listener(REQUEST)
        loop.run_until_complete(asyncio.sleep(0.01))  # the reply is not sent later, either
    finally:
        loop.close()


def test_closed_loop_leaves_no_reply_that_was_never_awaited() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        Responder(plain, lambda: runtime_on(loop)).listener(REQUEST)
