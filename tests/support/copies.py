"""How often a body is copied on its way: every large allocation between two steps of Python is counted, and charged to its function.

A copy needs a place, so it shows as an allocation of its size. Between any two steps (opcodes in this package, lines elsewhere) the peak of
the traced memory is compared with what was in use before: nothing that is freed at once escapes. What this package allocates is a copy of
the client; the rest belongs to the event loop, whose transport must at least fetch the bytes from the kernel. Extension modules have no
steps: what they allocate is charged to the Python function that called them. So uvloop's own share is a lower bound (it frees one buffer
and takes the next unseen), and with compiled hot modules client and loop cannot be told apart on a real connection.
"""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import aiorocketmq as rmq
from aiorocketmq.protocol.command import RESPONSE_FLAG, RemotingCommand
from aiorocketmq.protocol.connection import FrameReceiver
from aiorocketmq.protocol.frame import encode
from aiorocketmq.protocol.message_codec import decode_messages, encode_stored_message

SMALLEST_BODY: Final = 16 * 1024
"""Below this, copies cannot be told from the objects around them."""
_PACKAGE: Final = str(Path(str(rmq.__file__)).parent)
_OWN_FILE: Final = __file__
_PATIENCE: Final = 120.0
_ANSWERS: Final = 6

_Site = tuple[str, str]


class CopyCounter:
    """Counts the bytes of large allocations by the function that made them, while `counting()` is entered; in one thread.

    Args:
        threshold: Bytes of the smallest allocation that counts.
    """

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._sites: dict[_Site, int] = defaultdict(int)
        self._owner: _Site = ("", "")
        self._in_use = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what the block allocates."""
        tracemalloc.start()
        self._owner = (_OWN_FILE, "")
        self._mark()
        other = sys.gettrace()
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(other)
            self._account()
            tracemalloc.stop()

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        self._account()
        owner = frame.f_back if event == "return" else frame
        if owner is not None:
            self._owner = (owner.f_code.co_filename, owner.f_code.co_name)
        # Step by step in what is judged: a line may free one copy and make another.
        frame.f_trace_opcodes = self._owner[0].startswith(_PACKAGE)
        self._mark()
        return self._trace

    def _account(self) -> None:
        grown = tracemalloc.get_traced_memory()[1] - self._in_use
        if grown >= self._threshold:
            self._sites[self._owner] += grown

    def _mark(self) -> None:
        tracemalloc.reset_peak()
        self._in_use = tracemalloc.get_traced_memory()[0]

    def answer(self, body_bytes: int) -> dict[str, Any]:
        """Bytes allocated per byte of a body: by the client (its copies) and by everything else, and in which functions.

        Args:
            body_bytes: Bytes of all bodies that passed.
        """
        client: dict[str, float] = defaultdict(float)
        loop: dict[str, float] = defaultdict(float)
        for (file, function), grown in self._sites.items():
            if file.startswith(_PACKAGE):
                client[f"{file[len(_PACKAGE) + 1 :]} {function}"] += grown / body_bytes
            elif file == _OWN_FILE and function == of_chunks.__name__:
                client["compiled modules"] += grown / body_bytes  # it calls nothing else that could need so much
            elif file != _OWN_FILE:
                loop[f"{'/'.join(Path(file).parts[-2:])} {function}"] += grown / body_bytes
        return {"client": sum(client.values()), "sites": _shares(client), "loop": sum(loop.values()), "loop_sites": _shares(loop)}


def _shares(sites: dict[str, float]) -> dict[str, float]:
    return {site: round(share, 3) for site, share in sorted(sites.items(), key=lambda item: -item[1]) if share >= 0.01}


def _counter(size: int) -> CopyCounter:
    # Parts of a body are copied, too; but orjson takes 4.3 KiB for each header, whatever the body.
    return CopyCounter(min(size // 2, SMALLEST_BODY))


async def on_sockets(name_servers: str, topic: str, group: str, size: int, count: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copies of bodies that are sent, and of the same bodies when they are consumed, on real sockets."""
    body = b"x" * size
    sending, receiving = _counter(size), _counter(size)
    async with rmq.Producer(name_servers, group=group + "_p", send_msg_timeout=30.0, compress_msg_body_over_howmuch=2**30) as producer:
        await producer.send(rmq.Message(topic, body))  # routes, connections and templates are made
        with sending.counting():
            for _ in range(count):
                await producer.send(rmq.Message(topic, body))
    consumer = rmq.PushConsumer(name_servers, group=group, start_from=rmq.StartFrom.FIRST)
    finished = asyncio.Event()
    received = 0

    @consumer.listen(topic)
    async def handle(message: rmq.ReceivedMessage) -> None:
        nonlocal received
        received += len(message.body) == size
        if received == count + 1:
            finished.set()

    with receiving.counting():
        async with consumer, asyncio.timeout(_PATIENCE):
            await finished.wait()
    return sending.answer(count * size), receiving.answer((count + 1) * size)


def of_chunks(size: int, per_answer: int, chunk: int) -> dict[str, Any]:
    """Copies of bodies in pull answers that come back to back in chunks which end anywhere; needs no server.

    Args:
        size: Bytes of a body.
        per_answer: Messages in each answer.
        chunk: Bytes of each chunk, as the event loop reads them.
    """
    record = encode_stored_message(
        "topic", b"x" * size, b"WAIT\x01true\x02", queue_id=0, queue_offset=0, commit_log_offset=0, born_timestamp=0,
        born_ip=bytes(4), born_port=1, store_timestamp=0, store_ip=bytes(4), store_port=1,
    )  # fmt: skip
    answer = encode(RemotingCommand(0, flag=RESPONSE_FLAG, opaque=1, ext_fields={"nextBeginOffset": "1"}, body=record * per_answer))
    stream = answer * _ANSWERS
    chunks = [stream[start : start + chunk] for start in range(0, len(stream), chunk)]
    receiver = FrameReceiver()
    counter = _counter(size)
    seen = 0
    with counter.counting():
        while chunks:
            for command in receiver.feed(chunks.pop(0)):
                for message in decode_messages(command.body, broker_name="broker", max_body=size):
                    seen += len(message.body) == size
    if seen != per_answer * _ANSWERS:
        raise ValueError(f"{seen} of {per_answer * _ANSWERS} messages came out of the chunks")
    return counter.answer(seen * size)
