"""Case `bodies`: bodies from one byte to nearly 4 MiB, sent and consumed, and how often each is copied on its way."""

from __future__ import annotations

from typing import Final

from benchmarks.growth import forms, servers
from benchmarks.growth.bench import Bench, Row, unique
from benchmarks.growth.measured import copies
from benchmarks.growth.probe import KIB, MIB
from benchmarks.growth.servers import Server

LARGEST: Final = 4 * MIB - 4 * KIB
"""A broker refuses records of more than 4 MiB, the other fields of the message included."""
FULL: Final = (1, 128, KIB, 16 * KIB, 128 * KIB, MIB, LARGEST)
QUICK: Final = (1, KIB, 128 * KIB, LARGEST)
LIMIT_COPIES: Final = 2.0
"""Copies of a body that the client may make in each direction."""
ALONG: Final = 512
"""Bytes of header, properties and record that are copied along with a body."""
CHUNKS: Final = (64 * KIB, 256 * KIB)
"""What event loops read at a time: nothing asks for less than the kernel has, or for more than 256 KiB."""
_WINDOW_BYTES: Final = 32 * MIB
_WINDOW: Final = 256
_QUEUES: Final = 8
_PULL_BYTES: Final = 256 * KIB


def limit(size: int) -> float:
    """Bytes that may be copied per byte of a body in each direction, with what comes along, and a little for the counting."""
    return LIMIT_COPIES * (1 + ALONG / size) + 0.01


async def run(bench: Bench) -> Row:
    """One row for each size and form, and the counts of copies; not of compiled modules, which have no steps between which to look."""
    rows, counted = [], []
    sizes = bench.sizes(FULL, QUICK)
    async with servers.real(bench.options) as server:
        if not bench.options.quick:
            topic = "growth_warm_up"
            await server.create_topics([topic], _QUEUES)
            await bench.warm_up({"name_servers": server.name_servers, "topic": topic, "size": KIB})
        for size in sizes:
            rows += [await _row(bench, server, form, size) for form in bench.options.forms]
        large = [size for size in sizes if size >= copies.SMALLEST_BODY]
        for size in large:
            counted += [await _copies(bench, server, form, size) for form in bench.options.forms if form != forms.COMPILED]
    return {"rows": rows, "copies": counted, "chunks": [_in_chunks(size, chunk) for size in large for chunk in CHUNKS]}


async def _row(bench: Bench, server: Server, form: str, size: int) -> Row:
    topic = f"growth_body_{size}_{form}"
    await server.create_topics([topic], _QUEUES)
    count = int(min(bench.pick(100_000, 2_000), max(bench.pick(256, 24) * MIB // size, bench.pick(64, 6))))
    window = min(_WINDOW, max(4, _WINDOW_BYTES // size))
    request = {
        "name_servers": server.name_servers, "topic": topic, "group": unique("bodies"), "size": size, "count": count, "window": window,
    }  # fmt: skip
    result = await bench.measure("bodies", form, request, timeout=400.0)
    sent, received = result["send"], result["consume"]
    bench.tell(
        f"{size} bytes {form}: send {sent['rate']:,.0f}/s {sent['mb_per_s']:.1f} MB/s {sent['cpu_us']:.1f} µs; "
        f"consume {received['rate']:,.0f}/s {received['mb_per_s']:.1f} MB/s {received['cpu_us']:.1f} µs"
    )
    return {"size": size, "form": form, "window": window, **result}


async def _copies(bench: Bench, server: Server, form: str, size: int) -> Row:
    topic = f"growth_copies_{size}_{form}"
    await server.create_topics([topic], _QUEUES)
    request = {
        "name_servers": server.name_servers, "topic": topic, "group": unique("copies"), "size": size,
        "count": max(6, int(bench.pick(32, 8)) * MIB // size),
    }  # fmt: skip
    result = await bench.measure("copies", form, request, timeout=400.0)
    bench.tell(f"{size} bytes {form}: send {result['send']}, receive {result['receive']}")
    return {"size": size, "form": form, **result}


def _in_chunks(size: int, chunk: int) -> Row:
    per_answer = max(1, _PULL_BYTES // size)
    return {"size": size, "chunk": chunk, "per_answer": per_answer, **copies.of_chunks(size, per_answer, chunk)}
