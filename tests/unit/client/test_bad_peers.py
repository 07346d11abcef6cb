"""A name server's port that is something else, over real sockets: one clear error, in time, and the instance lives on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.config import ClientConfig
from aiorocketmq.errors import RocketMQError
from tests.support.waiting import eventually

HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
GRPC = b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\x00\xff\xff"
TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x32"

Reply = Callable[[asyncio.StreamWriter], None]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (HTTP, "HTTP"),
        (GRPC, "gRPC"),
        (TLS_ALERT, "TLS"),
        (b"\x7f\xff\xff\xff\x00\x00\x00\x10", "2147483647"),
        (b"\x80\x00\x00\x00\x00\x00\x00\x10", "length"),
        (b"\x00\x00\x00\x08\x00\x00\x00\x04nope", "header"),
        (b"", "closed"),
        (None, "no answer"),
    ],
)
async def test_a_port_that_speaks_something_else(answer: bytes | None, text: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    before = asyncio.all_tasks()
    instance = ClientInstance(ClientConfig(name_servers=address, mq_client_api_timeout=1.0), "c@test")
    await instance.start()
    began = asyncio.get_running_loop().time()
    with pytest.raises(RocketMQError) as failure:
        await instance.routes.publish_info_or_fetch("orders", timeout=3.0)
    assert asyncio.get_running_loop().time() - began < 3.25
    assert text.lower() in str(failure.value).lower()
    assert address in str(failure.value)
    await instance.stop()
    server.close()
    await server.wait_closed()
    await eventually(lambda: asyncio.all_tasks() <= before)
