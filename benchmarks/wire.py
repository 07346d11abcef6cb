"""The lower bound beside the clients: blocking sockets and prepared frames show what the broker itself takes.

`python -m benchmarks.wire HOST:PORT` answers one JSON request per line. It is no client: one broker of the route, a new connection for
each round, no retries, no heartbeats. Requests are encoded before the clock starts, answers are looked at no more than they have to be.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import aiorocketmq as rmq
from aiorocketmq.model.route import MASTER_ID
from aiorocketmq.protocol import frame
from aiorocketmq.protocol.bodies import decode_topic_route
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header_codec import decode_header
from aiorocketmq.protocol.message_codec import decode_messages
from aiorocketmq.protocol.message_id import UniqueIdGenerator
from aiorocketmq.protocol.sysflag import PullSysFlag
from aiorocketmq.protocol.templates import PullTemplate, SendTemplate
from benchmarks.ours import form, lines
from benchmarks.ours.bodies import Inspector, maker
from benchmarks.ours.consuming import TIMEOUT, WARM_UP_MESSAGES, WARM_UP_NUMBERS
from benchmarks.ours.meter import Answer, Meter, percentiles_us
from tests.support import raw_remoting

SILENCE = 20
"""Seconds that a connection may keep silent while it is read."""
RECEIVE = 64 * 1024
SUSPEND_MILLIS = 15_000
MAX_BODY = 4 << 20
OK_MARK = b'"code":0,'
"""A broker's JSON header that has this is a success: in strings the quotes would be escaped."""
PULL_FLAG = PullSysFlag.build(suspend=True, subscription=True)
NOTHING_YET = (ResponseCode.PULL_NOT_FOUND, ResponseCode.PULL_RETRY_IMMEDIATELY)


class Link:
    """A blocking connection that carries one request at a time.

    Args:
        address: `host:port`.

    Raises:
        OSError: It cannot be connected.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)), SILENCE)
        self._socket.settimeout(None)  # Python's own time-out would cost a poll() before each recv(), the kernel's costs nothing
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENCE, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send = self._socket.sendall
        self.fileno = self._socket.fileno

    def read(self) -> bytes:
        """Read one whole frame, its length included.

        Raises:
            OSError: The connection ended, or kept silent.
        """
        data = self._socket.recv(RECEIVE)
        while len(data) < 4 or len(data) != 4 + int.from_bytes(data[:4], "big"):
            more = self._socket.recv(RECEIVE)
            if not more:
                raise ConnectionError(f"the connection ended after {len(data)} bytes of an answer")
            data += more
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def decoded(answer: bytes) -> RemotingCommand:
    """Header and body of a whole frame."""
    _, mark = frame.PREFIX.unpack_from(answer)
    body = frame.PREFIX.size + (mark & frame.MAX_HEADER_LENGTH)
    return decode_header(mark >> 24, answer[frame.PREFIX.size : body], answer[body:])


def succeeded(answer: bytes) -> bool:
    """Whether the code of an answer to a send is 0."""
    return OK_MARK in answer or decoded(answer).code == ResponseCode.SUCCESS


@dataclass(frozen=True, slots=True)
class Place:
    """Where a topic is sent to: a master, its broker name, its queues."""

    address: str
    broker_name: str
    queues: int


def find(name_servers: str, topic: str) -> Place:
    """Ask the first name server for the first broker of a topic that can be written.

    Raises:
        OSError: The name server cannot be reached.
        ValueError: It knows no such broker.
    """
    fields = {"topic": topic, "acceptStandardJsonOnly": "true"}
    try:
        route = decode_topic_route(raw_remoting.invoke(name_servers.split(";")[0], raw_remoting.GET_ROUTE, fields, timeout=SILENCE))
    except raw_remoting.RawAnswerError as error:
        raise ValueError(f"no route of topic {topic!r}: {error}") from error
    masters = {broker.broker_name: broker.broker_addrs.get(MASTER_ID) for broker in route.broker_datas}
    for each in route.queue_datas:
        address = masters.get(each.broker_name)
        if address and each.writable:
            return Place(address, each.broker_name, each.write_queue_nums)
    raise ValueError(f"no broker of topic {topic!r} can be written")


def send_frames(place: Place, topic: str, size: int, numbers: Iterable[int], *, queues: int) -> list[bytes]:
    """Sends of messages with these numbers; the first `queues` queues take turns."""
    template = SendTemplate("bench_wire", topic, "TBW102", 4, place.broker_name)
    ids = UniqueIdGenerator(socket.inet_aton("127.0.0.1"), os.getpid())
    body, message = maker(size), rmq.Message(topic, b"x")
    now = time.time_ns() // 1_000_000
    return [
        template.frame(opaque, opaque % queues, 0, now, 0, message.wire_text(ids.next_id(now)), body(number))
        for opaque, number in enumerate(numbers)
    ]


def send_one_at_a_time(name_servers: str, request: dict[str, Any]) -> Answer:
    """Each answer before the next send."""
    topic, count = request["topic"], request["count"]
    place = find(name_servers, topic)
    frames = send_frames(place, topic, request["size"], range(count), queues=place.queues)
    times: list[int] = []
    failed = 0
    clock = time.perf_counter_ns
    with Link(place.address) as link:
        send, read = link.send, link.read
        meter = Meter()
        for each in frames:
            began = clock()
            send(each)
            failed += not succeeded(read())
            times.append(clock() - began)
        return meter.answer(count, failed, latencies_ns=times)


class Talk:
    """Sends to queue 0 on one connection while a long poll of queue 0 is always outstanding on another one.

    Args:
        place: Where the topic is.
        topic: A topic without messages.
        group: Consumer group of the pulls.
    """

    def __init__(self, place: Place, topic: str, group: str) -> None:
        self._template = PullTemplate(
            group,
            topic,
            0,
            place.broker_name,
            max_msg_nums=32,
            max_msg_bytes=MAX_BODY,
            suspend_timeout_millis=SUSPEND_MILLIS,
            sub_version=0,
            subscription="*",
            expression_type="TAG",
        )
        self._sender, self._puller = Link(place.address), Link(place.address)
        self._poller = select.epoll()
        for link in (self._sender, self._puller):
            self._poller.register(link.fileno(), select.EPOLLIN)
        self._deadline = time.monotonic() + TIMEOUT
        self.unanswered = False
        self.failed = 0
        self.offset = 0
        self.pulled: list[tuple[int, bytes]] = []
        """When an answer with messages was read, by `perf_counter_ns()`, and these messages."""
        self._pull()

    def send(self, request: bytes) -> int:
        """Send one message; answers the time just before."""
        self.unanswered = True
        now = time.perf_counter_ns()
        self._sender.send(request)
        return now

    def wait(self, seconds: float) -> None:
        """Read what comes next, within this time.

        Raises:
            TimeoutError: The whole talk takes too long.
            ValueError: The broker refused a pull.
            OSError: A connection ended.
        """
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"received {self.offset} messages within {TIMEOUT:.0f} s")
        for descriptor, _ in self._poller.poll(seconds):
            if descriptor == self._puller.fileno():
                self._take(self._puller.read(), time.perf_counter_ns())
            else:
                self.failed += not succeeded(self._sender.read())
                self.unanswered = False

    def _take(self, data: bytes, now: int) -> None:
        answer = decoded(data)
        if answer.code == ResponseCode.SUCCESS:
            self.pulled.append((now, answer.body))
        elif answer.code not in NOTHING_YET:
            raise ValueError(f"a pull was answered with code {answer.code}: {answer.remark}")
        self.offset = int(answer.ext_fields["nextBeginOffset"])
        self._pull()

    def _pull(self) -> None:
        self._puller.send(self._template.frame(self.offset, self.offset, PULL_FLAG, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._poller.close()
        for link in (self._sender, self._puller):
            link.__exit__()


def latency(name_servers: str, request: dict[str, Any]) -> Answer:
    """Send `rate` messages a second and take the time from each send to the moment when the pull's answer is read."""
    topic, count, size = request["topic"], request["count"], request["size"]
    place = find(name_servers, topic)
    numbers = [*range(WARM_UP_NUMBERS, WARM_UP_NUMBERS + WARM_UP_MESSAGES), *range(count)]
    frames = send_frames(place, topic, size, numbers, queues=1)
    with Talk(place, topic, request["group"]) as talk:
        for each in frames[:WARM_UP_MESSAGES]:
            talk.send(each)
            while talk.unanswered:
                talk.wait(1.0)
        while talk.offset < WARM_UP_MESSAGES - talk.failed:
            talk.wait(1.0)
        sent_at = []
        clock = time.perf_counter
        meter = Meter()
        begin = clock()
        for number, each in enumerate(frames[WARM_UP_MESSAGES:]):
            due = begin + number / request["rate"]
            while (pause := due - clock()) > 0 or talk.unanswered:
                talk.wait(pause if pause > 0 else 1.0)
            sent_at.append(talk.send(each))
        while talk.unanswered or talk.offset < len(frames) - talk.failed:
            talk.wait(1.0)
        answer = meter.answer(count)
    inspector, times = inspected(talk.pulled, place, size, sent_at)
    return answer | {"failed": talk.failed + inspector.failed, "latency_us": percentiles_us(times)}


def inspected(pulled: Iterable[tuple[int, bytes]], place: Place, size: int, sent_at: list[int]) -> tuple[Inspector, list[int]]:
    """Check what came, now that no clock runs; answers the checks and the time of each message in nanoseconds, without the warm-up."""
    inspector = Inspector(size, len(sent_at))
    times = []
    for read_at, data in pulled:
        for message in decode_messages(data, broker_name=place.broker_name, max_body=MAX_BODY):
            number = int.from_bytes(message.body[:8], "big")
            if number < WARM_UP_NUMBERS and inspector.accept(message.body) and number < len(sent_at):
                times.append(read_at - sent_at[number])
    return inspector, times


COMMANDS: dict[str, Callable[[str, dict[str, Any]], Answer]] = {"send_one_at_a_time": send_one_at_a_time, "latency": latency}


def answer(name_servers: str, request: dict[str, Any]) -> Answer:
    """Carry out one request; a failure becomes an answer too."""
    return lines.answered(COMMANDS, name_servers, request, failures=(*lines.FAILURES, OSError))


def main(name_servers: str) -> None:
    """Answer requests until the end of input."""
    lines.serve(partial(answer, name_servers))


if __name__ == "__main__":
    form.choose()
    main(sys.argv[1])
