"""The blocking classes' side of the benchmarks: `python -m benchmarks.ours_sync HOST:PORT` answers one JSON request per line."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import aiorocketmq.sync as rmq
from benchmarks.ours import form
from benchmarks.ours.bodies import maker
from benchmarks.ours.meter import Answer, Meter

OK = rmq.SendStatus.SEND_OK


def send_one_at_a_time(producer: rmq.Producer, request: dict[str, Any]) -> Answer:
    """Each answer before the next send."""
    times: list[int] = []
    meter = Meter()
    failed = _send(producer, request, range(request["count"]), times)
    return meter.answer(request["count"], failed, latencies_ns=times)


def send_threads(producer: rmq.Producer, request: dict[str, Any]) -> Answer:
    """`threads` threads share one producer, each sends one at a time."""
    count, threads = request["count"], request["threads"]
    times: list[list[int]] = [[] for _ in range(threads)]
    failures = [0] * threads

    def work(index: int) -> None:
        failures[index] = _send(producer, request, range(index, count, threads), times[index])

    workers = [threading.Thread(target=work, args=(index,), name=f"sender-{index}") for index in range(threads)]
    meter = Meter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return meter.answer(count, sum(failures), latencies_ns=[each for own in times for each in own])


def _send(producer: rmq.Producer, request: dict[str, Any], numbers: range, times: list[int]) -> int:
    """Send messages one at a time; answers how many failed."""
    topic, body = request["topic"], maker(request["size"])
    failed = 0
    clock = time.perf_counter_ns
    for number in numbers:
        began = clock()
        try:
            result = producer.send(rmq.Message(topic, body(number)))
        except rmq.RocketMQError:
            failed += 1
        else:
            failed += result.status is not OK
        times.append(clock() - began)
    return failed


def send_batches(producer: rmq.Producer, request: dict[str, Any]) -> Answer:
    """Batches of `batch` messages, one batch at a time."""
    topic, count, size, body = request["topic"], request["count"], request["batch"], maker(request["size"])
    failed = 0
    meter = Meter()
    for first in range(0, count, size):
        numbers = range(first, min(first + size, count))
        try:
            result = producer.send_batch([rmq.Message(topic, body(number)) for number in numbers])
        except rmq.RocketMQError:
            failed += len(numbers)
        else:
            failed += len(numbers) * (result.status is not OK)
    return meter.answer(count, failed)


COMMANDS: dict[str, Callable[[rmq.Producer, dict[str, Any]], Answer]] = {
    "send_one_at_a_time": send_one_at_a_time,
    "send_threads": send_threads,
    "send_batches": send_batches,
}


def answer(producer: rmq.Producer, request: dict[str, Any]) -> Answer:
    """Carry out one request; a failure becomes an answer too."""
    workload = COMMANDS.get(request["cmd"])
    if workload is None:
        return {"error": "unsupported"}
    try:
        return workload(producer, request)
    except (rmq.RocketMQError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main(name_servers: str) -> None:
    """Answer the requests on standard input until its end."""
    with rmq.Producer(name_servers, group="bench_sync", send_msg_timeout=10.0, compress_msg_body_over_howmuch=1 << 30) as producer:
        for line in sys.stdin.buffer:
            print(json.dumps(answer(producer, json.loads(line))), flush=True)


if __name__ == "__main__":
    form.choose()
    main(sys.argv[1])
