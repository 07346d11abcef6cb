"""What a type checker tells a user: a mistyped name, setting or type is an error, in the asyncio classes and in their blocking twins."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SNIPPET = """
import asyncio
import datetime

import aiorocketmq as rmq
import aiorocketmq.sync

SECOND = datetime.timedelta(seconds=1)


async def one(message: rmq.ReceivedMessage) -> rmq.Retry | rmq.ConsumeResult | None:
    return None


def many(messages: list[rmq.ReceivedMessage]) -> None: ...


async def forward(message: rmq.ReceivedMessage) -> rmq.SendResult:
    return await rmq.Producer("a:1", group="g").send(rmq.Message("t", message.body))


async def right() -> None:
    config = rmq.ClientConfig(name_servers=["a:1"], connect_timeout=SECOND, tls=True)
    amount: float = config.connect_timeout
    servers: tuple[str, ...] = config.name_servers
    tls: rmq.TLS | None = config.tls
    config.replace(heartbeat_broker_interval=SECOND, tls=rmq.TLS())
    async with rmq.Producer("a:1", group="g", config=config, connect_timeout=3, send_msg_timeout=SECOND) as producer:
        result: rmq.SendResult = await producer.send(rmq.Message("t", b""))
        await producer.start(timeout=SECOND)
        pinged: rmq.PingResult = await producer.ping(timeout=0.5)
    async with rmq.AdminClient("a:1", mq_client_api_timeout=0.5) as admin:
        info: tuple[rmq.BrokerInfo, ...] = await admin.clusters.brokers()
    consumer = rmq.PushConsumer("a:1", group="g", unit_name="u", poll_name_server_interval=SECOND)
    consumer.listen("one")(one)
    consumer.listen("many", batch=8)(many)
    consumer.listen("plain")(lambda message: print(message.body))
    await consumer.subscribe("one", one)
    await consumer.subscribe("many", many, batch=8)
    with aiorocketmq.sync.Producer("a:1", group="g", vip_channel_enabled=True) as blocking:
        blocking.start(timeout=1.0).send(rmq.Message("t", b""))
    print(pinged, amount, servers, tls, result, info, consumer, aiorocketmq.sync.BrokerInfo)


async def wrong(producer: rmq.Producer) -> None:
    rmq.Prodcer  # E: Module has no attribute "Prodcer"
    rmq.import_module  # E: Module has no attribute "import_module"
    aiorocketmq.sync.Prodcer  # E: Module has no attribute "Prodcer"
    rmq.ClientConfig(conect_timeout=1)  # E: Unexpected keyword argument "conect_timeout" for "ClientConfig"
    rmq.ClientConfig(connect_timeout="3")  # E: Argument "connect_timeout" to "ClientConfig" has incompatible type "str"; expected "float | timedelta"
    rmq.ClientConfig().replace(unit_mode="no")  # E: Argument "unit_mode" to "replace" of "ClientConfig" has incompatible type "str"; expected "bool"
    rmq.Producer("a:1", conect_timeout=1)  # E: Unexpected keyword argument "conect_timeout" for "Producer"
    rmq.Producer("a:1", tls="yes")  # E: Argument "tls" to "Producer" has incompatible type "str"; expected "TLS | bool | None"
    rmq.PushConsumer("a:1", group="g", conect_timeout=1)  # E: Unexpected keyword argument "conect_timeout" for "PushConsumer"
    rmq.PushConsumer("a:1", group="g", frame_max_length=1.5)  # E: Argument "frame_max_length" to "PushConsumer" has incompatible type "float"; expected "int"
    rmq.AdminClient("a:1", unit=True)  # E: Unexpected keyword argument "unit" for "AdminClient"
    aiorocketmq.sync.Producer("a:1", conect_timeout=1)  # E: Unexpected keyword argument "conect_timeout" for "Producer"
    aiorocketmq.sync.PushConsumer("a:1", group="g", vip=True)  # E: Unexpected keyword argument "vip" for "PushConsumer"
    rmq.PushConsumer("a:1", group="g").listen("t")(forward)  # E: Value of type variable "One" of function cannot be
    rmq.PushConsumer("a:1", group="g").listen("t")(many)  # E: Value of type variable "One" of function cannot be
    rmq.PushConsumer("a:1", group="g").listen("t", batch=8)(one)  # E: Value of type variable "Many" of function cannot be
    aiorocketmq.sync.PushConsumer("a:1", group="g").listen("t")(forward)  # E: Value of type variable "One" of function cannot be
    aiorocketmq.sync.AdminClient("a:1", unit_mode=1)  # E: Argument "unit_mode" to "AdminClient" has incompatible type "int"; expected "bool"


asyncio.run(right())
"""  # noqa: E501 - each line is one case


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Line → what mypy says about it; the snippet sees the package as an installation of it would."""
    path = tmp_path_factory.mktemp("typing") / "snippet.py"
    path.write_text(SNIPPET)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=110, check=False)
    assert not done.stderr, done.stderr
    found = [re.match(r".*snippet\.py:(\d+): error: (.*)", line) for line in done.stdout.splitlines()]
    return {int(match[1]): match[2] for match in found if match}


def test_the_checker_reports_what_is_wrong_and_nothing_else(reported: dict[int, str]) -> None:
    expected = {number: line.partition("# E: ")[2] for number, line in enumerate(SNIPPET.splitlines(), 1) if "# E: " in line}
    assert len(expected) == 18
    assert reported.keys() == expected.keys(), reported
    # Checkers word their guesses at what was meant in different ways.
    assert {number: text for number, text in expected.items() if not reported[number].startswith(text)} == {}, reported
