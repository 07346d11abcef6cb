"""The official Python gRPC client's side of the benchmarks: answers the same requests as the Java program beside it.

Runs in an environment of its own and therefore imports nothing of this project. Its argument is the address of the proxy.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from grpc import RpcError  # type: ignore[import-untyped]
from rocketmq import ClientConfiguration, Credentials, Message, Producer  # type: ignore[import-not-found]
from rocketmq.v5.exception import ClientException  # type: ignore[import-not-found]

SEND_TIMEOUT = 10
NUMBER_SIZE = 8


class Meter:
    """Wall clock and CPU of this process from its making on."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def answer(self, count: int, failed: int, latencies: list[float] | None = None) -> dict[str, Any]:
        """What was measured until now; latencies are seconds."""
        answer: dict[str, Any] = {
            "count": count,
            "failed": failed,
            "seconds": time.perf_counter() - self._wall,
            "cpu_seconds": time.process_time() - self._cpu,
            "rss_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE"),
        }
        if latencies:
            answer["latency_us"] = percentiles(latencies)
        return answer


def percentiles(latencies: list[float]) -> dict[str, float]:
    """Microseconds by name, from seconds."""
    ordered = sorted(latencies)
    names = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {name: ordered[min(int(part * len(ordered)), len(ordered) - 1)] * 1e6 for name, part in names.items()}


def message_maker(topic: str, size: int) -> Callable[[int], Message]:
    """Makes message number n: its number in eight bytes where they fit, then x."""
    numbered = size >= NUMBER_SIZE
    filler = b"x" * (size - NUMBER_SIZE if numbered else size)

    def make(number: int) -> Message:
        message = Message()
        message.topic = topic
        message.body = number.to_bytes(NUMBER_SIZE, "big") + filler if numbered else filler
        return message

    return make


def send_each(producer: Producer, make: Callable[[int], Message], numbers: range) -> tuple[int, list[float]]:
    """Send these, each after the answer to the one before; how many failed, and the seconds of each."""
    failed, latencies = 0, []
    for number in numbers:
        began = time.perf_counter()
        try:
            producer.send(make(number))
        except (ClientException, RpcError):
            failed += 1
        latencies.append(time.perf_counter() - began)
    return failed, latencies


def send_one_at_a_time(producer: Producer, make: Callable[[int], Message], count: int) -> dict[str, Any]:
    """One thread, each answer awaited before the next send."""
    meter = Meter()
    failed, latencies = send_each(producer, make, range(count))
    return meter.answer(count, failed, latencies)


def send_threads(producer: Producer, make: Callable[[int], Message], count: int, threads: int) -> dict[str, Any]:
    """Threads share the producer, each one at a time."""
    with ThreadPoolExecutor(threads) as pool:
        meter = Meter()
        parts = list(pool.map(lambda first: send_each(producer, make, range(first, count, threads)), range(threads)))
        latencies = list(itertools.chain.from_iterable(own for _, own in parts))
        return meter.answer(count, sum(failed for failed, _ in parts), latencies)


def send_in_flight(producer: Producer, make: Callable[[int], Message], count: int, window: int) -> dict[str, Any]:
    """Keep `window` asynchronous sends unanswered, each answer makes room for the next."""
    room = threading.Semaphore(window)
    failures: list[BaseException] = []  # appended to by callback threads

    def on_answer(future: Future[Any]) -> None:
        if (error := future.exception()) is not None:
            failures.append(error)
        room.release()

    meter = Meter()
    for number in range(count):
        room.acquire()
        producer.send_async(make(number)).add_done_callback(on_answer)
    for _ in range(window):
        room.acquire()
    return meter.answer(count, len(failures))


def handle(request: dict[str, Any], started_producer: Callable[[], Producer]) -> dict[str, Any]:
    """Carry out one request."""
    make, count = message_maker(request["topic"], request["size"]), request["count"]
    match request["cmd"]:
        case "send_one_at_a_time":
            return send_one_at_a_time(started_producer(), make, count)
        case "send_threads":
            return send_threads(started_producer(), make, count, request["threads"])
        case "send_in_flight":
            return send_in_flight(started_producer(), make, count, request["window"])
        case _:
            return {"error": "unsupported"}


def main(address: str) -> None:
    """Answer requests until the end of input."""

    @functools.cache
    def started_producer() -> Producer:
        producer = Producer(ClientConfiguration(address, Credentials(), request_timeout=SEND_TIMEOUT))
        producer.startup()
        return producer

    for line in sys.stdin:
        try:
            answer = handle(json.loads(line), started_producer)
        except (ClientException, RpcError, KeyError, ValueError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    if started_producer.cache_info().currsize:
        started_producer().shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
