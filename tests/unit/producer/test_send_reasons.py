"""What a send outlives that looks like the end, and what it says it has waited for when its time is up."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aiorocketmq.errors import SendTimeoutError, SendUnreachableError
from aiorocketmq.model.message import Message
from aiorocketmq.remoting.transport import PHASE_TLS, ProtocolFactory
from tests.support.virtual_loop import virtual_time
from tests.unit.producer.world import TOPIC, SendWorld, now
from tests.wire.world import NAME_SERVER

# -- handshakes that are broken off ----------------------------------------------------------------------------------------------------


def break_handshakes(world: SendWorld, host: str, count: int) -> None:
    """Have the next connections to a host end in the middle of their TLS handshakes."""
    connect_for_good = world.network.connector
    left = iter(range(count))

    async def connector(
        dialled: str, port: int, factory: ProtocolFactory, context: ssl.SSLContext | None, name: str | None, on_phase: Callable[[str], None]
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        if dialled == host and next(left, None) is not None:
            on_phase(PHASE_TLS)
            raise ConnectionResetError(104, "Connection reset by peer")
        return await connect_for_good(dialled, port, factory, context, name, on_phase)

    world.network.connector = connector  # type: ignore[method-assign]


@pytest.mark.feature("B8", "M4")
@pytest.mark.parametrize("host", ["ns", "broker-a"])
def test_a_send_outlives_handshakes_that_are_broken_off(world: SendWorld, host: str) -> None:
    @virtual_time
    async def check() -> None:
        world.route_to("broker-a")
        break_handshakes(world, host, 3)
        async with world.producer() as producer:
            assert (await producer.send(Message(TOPIC, b"x"))).ok
        break_handshakes(world, host, 1000)
        async with world.producer(group="others") as producer:
            with pytest.raises(SendUnreachableError, match="during the TLS handshake") as caught:
                await producer.send(Message(TOPIC, b"x"), timeout=1.0)
            assert "may not speak TLS" in caught.value.hint and now() > 1.0

    check()


# -- what a send waited for ------------------------------------------------------------------------------------------------------------


@pytest.mark.feature("P9")
@pytest.mark.parametrize("trouble", ["silent", "black_hole"])
def test_a_send_without_a_route_names_the_name_servers(world: SendWorld, trouble: str) -> None:
    @virtual_time
    async def check() -> None:
        other = world.make_name_server("ns-2:9876")
        for peer in (world.name_server, other):
            setattr(peer, trouble, True)
        async with world.producer(name_servers=f"{NAME_SERVER};ns-2:9876") as producer:
            with pytest.raises(SendTimeoutError, match="waiting for the route of topic 'orders' from") as caught:
                await producer.send(Message(TOPIC, b"x"), timeout=1.0)
            assert NAME_SERVER in str(caught.value) and "ns-2:9876" in str(caught.value)

    check()


@pytest.mark.feature("A10", "P9")
async def test_a_send_whose_time_ends_while_its_body_is_compressed_says_so(world: SendWorld) -> None:
    async def late(sending: Any) -> str:
        with pytest.raises(SendTimeoutError) as caught:
            await sending
        assert not caught.value.maybe_stored
        return str(caught.value)

    world.route_to("broker-a")
    async with world.producer(topics=[TOPIC]) as producer:
        await producer.send(Message(TOPIC, b"warm"))
        assert producer._dispatcher is not None
        busy = producer._dispatcher._compressor = ThreadPoolExecutor(1)
        busy.submit(time.sleep, 0.3)
        texts = await asyncio.gather(
            late(producer.send(Message(TOPIC, bytes(300_000)), timeout=0.1)), late(producer.send(Message(TOPIC, b"x"), timeout=0.1))
        )
    assert "waiting for its body to be compressed" in texts[0] and "body of an earlier message" in texts[1]
