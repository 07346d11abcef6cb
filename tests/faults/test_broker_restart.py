"""The only broker is killed under load and comes back: nothing acknowledged is lost, and the program goes on by itself."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import aiorocketmq as rmq
from tests.faults.load import RATE, History, Load
from tests.support import raw_remoting
from tests.support.clusters import RealTestCluster
from tests.support.starvation import Starvation
from tests.support.waiting import eventually

WARM = 5.0
DOWN = 10.0
AFTER = 5.0
SEND_TIMEOUT = 3.0


def probe_sends(address: str, topic: str, moments: list[float], ended: threading.Event) -> None:
    """What any client could get from the broker at best: on bare sockets, send until one message is stored, and note when that was."""
    while not moments and not ended.is_set():
        try:
            raw_remoting.send(address, topic, 0, b"probe", timeout=1.0)
        except (OSError, raw_remoting.RawAnswerError):
            time.sleep(0.02)
        else:
            moments.append(time.monotonic())


async def port_opens(address: str, timeout: float) -> float:
    """Wait until the address accepts connections; answer the moment."""
    host, _, port = address.rpartition(":")

    async def accepts() -> bool:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        return True

    await eventually(accepts, timeout, interval=0.01)
    return time.monotonic()


@pytest.mark.feature("B8", "O11", "O16", "O17", "K10", "F13", "G13")
@pytest.mark.timeout(240)
async def test_broker_is_killed_and_comes_back(newest_cluster: RealTestCluster) -> None:
    topic = await newest_cluster.create_topic(newest_cluster.unique("restart"), queues=8)
    probe_topic = await newest_cluster.create_topic(newest_cluster.unique("restart_probe"), queues=1)
    history, probed, ended = History(), list[float](), threading.Event()
    consumer = rmq.PushConsumer(newest_cluster.name_servers, group=newest_cluster.unique("restart"), start_from=rmq.StartFrom.FIRST)

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        history.deliver(message)

    producer = rmq.Producer(newest_cluster.name_servers, group=newest_cluster.unique("restart_p"), send_msg_timeout=SEND_TIMEOUT)
    with Starvation() as starvation:
        async with consumer, producer:
            load = Load(producer, topic, history)
            await eventually(lambda: len(history.delivered) > RATE * WARM / 2, 60.0)
            await newest_cluster.kill_broker()
            killed = time.monotonic()
            await asyncio.sleep(DOWN)  # the outage is part of the scenario
            starting = asyncio.create_task(newest_cluster.start_broker())
            probing = asyncio.create_task(asyncio.to_thread(probe_sends, newest_cluster.broker_address, probe_topic, probed, ended))
            opened = await port_opens(newest_cluster.broker_address, 60.0)
            await eventually(lambda: probed and history.first_after(history.acknowledged, opened) < 60.0, 60.0)
            await asyncio.sleep(AFTER)
            ended.set()
            await probing
            await starting
            await load.stop()
            await eventually(lambda: not history.lost(), 60.0, message="every acknowledged message is delivered")

    first_send = history.first_after(history.acknowledged, opened)
    first_delivery = history.first_after(history.delivered, opened)
    # The moment from which the broker served anybody: a JVM that starts opens its port long before, the longer the busier the machine is.
    served = max(0.0, probed[0] - opened)
    kept_away = starvation.between(opened, opened + max(first_send, first_delivery))
    longest_call = history.longest_call(starvation)
    in_outage = [number for number, at in history.acknowledged.items() if killed + 0.5 < at < opened]
    print(
        f"{history.text()}, "
        f"first send {first_send:.3f} s (a bare socket's {served:.3f} s), first delivery {first_delivery:.3f} s after the port, "
        f"longest call {longest_call:.3f} s, "
        f"without the processor for {starvation.between(0.0, time.monotonic()):.3f} s in all"
    )
    assert in_outage == []
    assert history.failed, "an outage longer than the time-out must fail some sends"
    assert history.lost() == set()
    assert first_send <= served + 2.0 + kept_away
    assert first_delivery <= max(served, first_send) + 4.0 + kept_away
    assert longest_call <= SEND_TIMEOUT + 1.0  # bounds a hang; the machine is busy with a starting JVM
    assert history.doubtless_but_stored() == set()
