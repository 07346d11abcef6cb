"""Results as Markdown: tables, limits, pictures. `with_section()` puts what `section()` makes between the markers of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import page
from benchmarks.growth.bench import Row
from benchmarks.growth.cases import bodies, embedded, idle, soak
from benchmarks.growth.forms import FORMS
from benchmarks.growth.probe import KIB, MIB, size_name
from benchmarks.growth.results import Results
from benchmarks.report import markdown as _table

MARKER: Final = "growth"
"""Name of the markers in the page."""
PICTURES: Final = "performance"
"""Folder of the pictures, as seen from the page."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One limit, and what was seen."""

    what: str
    seen: str
    limit: str
    met: bool


def verdicts(results: Results) -> list[Verdict]:
    """Every limit that the results can be held against."""
    found: list[Verdict] = []
    for case, judge in _JUDGES.items():
        if case in results:
            found += judge(results[case])
    return found


def section(results: Results) -> str:
    """The Markdown of all cases that were measured, without the markers."""
    parts = []
    judged = verdicts(results)
    if judged:
        parts.append(_summary(judged))
        parts.append(_table(("limit", "seen", "allowed", ""), [(each.what, each.seen, each.limit, _word(each.met)) for each in judged]))
    for case, make in _SECTIONS.items():
        if case in results:
            text = make(results[case])
            parts.append(text + "\n\n" + _about(results[case]["about"]))
    return "\n\n".join(parts)


def with_section(results: Results, place: Path) -> str:
    """The text of a page with the section between its markers; what is written by hand stays.

    Raises:
        ResultsError: The page lacks the markers.
        OSError: It cannot be read.
    """
    return page.put(place.read_text(encoding="utf-8"), {MARKER: section(results)})


def _summary(judged: Sequence[Verdict]) -> str:
    missed = [each for each in judged if not each.met]
    if not missed:
        return f"All {len(judged)} limits are met."
    lines = [f"* {each.what}: {each.seen}, allowed {each.limit}" for each in missed]
    return f"{len(judged) - len(missed)} of {len(judged)} limits are met. Missed:\n\n" + "\n".join(lines)


def _word(met: bool) -> str:
    return "met" if met else "**missed**"


def _about(about: Row) -> str:
    quick = "; **a quick run: the figures mean nothing**" if about["quick"] else ""
    return f"Python {about['python']}, Apache RocketMQ {about['server']}, {about['cpus']} cores, {about['time'][:10]}{quick}."


def _picture(case: str, text: str) -> str:
    return f"![{text}]({PICTURES}/growth_{case}.svg)"


# --- topics and queues ------------------------------------------------------------------------------------------------------------------


def _idle_section(case: str, title: str, case_row: Row) -> str:
    heads = (
        case, "server", "form", "all owned after, s", "idle CPU, % of a core", "limit of it", "resident, MiB", "tasks", "timers",
        "requests in flight", "connections", "threads",
    )  # fmt: skip
    rows = [
        (
            f"{row[case]:,}", row["server"], FORMS[row["form"]], f"{row['start_seconds']:.2f}", f"{row['idle_cpu_percent']:.2f}",
            _idle_limit(case, row),
            f"{row['rss'] / MIB:.1f}", str(row["tasks"]), str(row["timers"]), f"{row['in_flight']:,}", str(row["connections"]),
            str(row["threads"]),
        )
        for row in case_row["rows"]
    ]  # fmt: skip
    parts = [f"### {title}", _table(heads, rows), _each(case_row["rows"], case), _picture(case, title)]
    return "\n\n".join(filter(None, parts))


def _idle_limit(case: str, row: Row) -> str:
    if row[case] != idle.LIMIT_AT[case]:
        return "–"
    return f"{idle.LIMIT_CPU:g} %: {_word(row['idle_cpu_percent'] <= idle.LIMIT_CPU)}"


def _each(rows: Sequence[Row], case: str) -> str:
    """What one more costs: from the smallest row to the largest."""
    parts = []
    for kind in dict.fromkeys((row["server"], row["form"]) for row in rows):
        own = [row for row in rows if (row["server"], row["form"]) == kind]
        low, high = min(own, key=lambda row: int(row[case])), max(own, key=lambda row: int(row[case]))
        if high[case] > low[case]:
            more = high[case] - low[case]
            memory, cpu = (high["rss"] - low["rss"]) / more / KIB, (high["idle_cpu_percent"] - low["idle_cpu_percent"]) / more * 1e4
            parts.append(f"{memory:.1f} KiB and {cpu:.1f} µs of CPU per second ({FORMS[kind[1]]}, {kind[0]} server)")
    return f"Each of the {case} costs " + "; ".join(parts) + "." if parts else ""


def _judge_idle(case: str, case_row: Row) -> list[Verdict]:
    found = []
    for row in case_row["rows"]:
        if row[case] == idle.LIMIT_AT[case]:
            cpu = row["idle_cpu_percent"]
            what = f"{row[case]:,} idle {case} {FORMS[row['form']]}, {row['server']} server: CPU"
            found.append(Verdict(what, f"{cpu:.2f} % of a core", f"{idle.LIMIT_CPU:g} %", cpu <= idle.LIMIT_CPU))
    for server, form in dict.fromkeys((row["server"], row["form"]) for row in case_row["rows"]):
        own = [row for row in case_row["rows"] if (row["server"], row["form"]) == (server, form)]
        for name in ("tasks", "timers") if len(own) > 1 else ():
            counts = [row[name] for row in own]
            what = f"{own[0][case]:,} to {own[-1][case]:,} {case} {FORMS[form]}, {server} server: more {name}"
            spread = max(counts) - min(counts)
            found.append(Verdict(what, str(spread), str(_CONSTANT), spread <= _CONSTANT))
    return found


_CONSTANT: Final = 3
"""Tasks or timers that come and go: a count that differs by no more has a constant size."""


# --- producers --------------------------------------------------------------------------------------------------------------------------


def _producers_section(case_row: Row) -> str:
    heads = ("producers", "form", "messages/s", "CPU µs per message", "failed sends", "resident, MiB", "tasks", "connections")
    rows = [
        (
            str(row["producers"]), FORMS[row["form"]], f"{row['rate']:,.0f}", f"{row['cpu_us']:.1f}", str(row["failed"]),
            f"{row['rss'] / MIB:.1f}", str(row["tasks"]), str(row["connections"]),
        )
        for row in case_row["rows"]
    ]  # fmt: skip
    load = f"{case_row['window']} messages of {size_name(case_row['body_size'])} in flight, shared out among the producers"
    text = f"{load}. They have no limit to keep."
    return f"### Producers in one process\n\n{text}\n\n{_table(heads, rows)}\n\n{_picture('producers', 'Producers in one process')}"


# --- bodies -----------------------------------------------------------------------------------------------------------------------------


def _bodies_section(case_row: Row) -> str:
    heads = (
        "body", "form", "send, messages/s", "MB/s", "CPU µs per message", "CPU ms per MiB", "consume, messages/s", "MB/s",
        "CPU µs per message", "CPU ms per MiB",
    )  # fmt: skip
    rows = [(size_name(row["size"]), FORMS[row["form"]], *_flow(row, "send"), *_flow(row, "consume")) for row in case_row["rows"]]
    parts = ["### Bodies", _BODIES_TEXT, _table(heads, rows), _picture("bodies", "Bodies from one byte to 4 MiB")]
    if case_row["copies"]:
        parts += [_COPIES_TEXT, _copies_table(case_row["copies"])]
    if case_row["chunks"]:
        parts += [_CHUNKS_TEXT, _chunks_table(case_row["chunks"])]
    return "\n\n".join(parts)


def _flow(row: Row, direction: str) -> tuple[str, ...]:
    flow = row[direction]
    per_mib = f"{flow['cpu_ms_per_mib']:.2f}" if row["size"] >= KIB else "–"
    return f"{flow['rate']:,.0f}", f"{flow['mb_per_s']:,.1f}", f"{flow['cpu_us']:,.1f}", per_mib


_BODIES_TEXT: Final = (
    "From one byte, because brokers refuse empty bodies, to what fits into a record of 4 MiB with the other fields of its message. "
    "The limit is one of copies, below; the rates have none."
)
_COPIES_TEXT: Final = (
    "Copies of a body, counted: every allocation of its size or of a large part of it between two lines of Python, "
    "on real sockets, as a multiple of the body. The client's own lie between the message's body and the transport: 1.0 is one copy, "
    "and parts come from frames that begin or end within what was read at a time. What the event loop allocates besides comes from its "
    "transports: they read from the kernel into a buffer (asyncio's takes 256 KiB for every read, whatever comes), and keep what the "
    "kernel does not take at once. Compiled modules come from the same source; they have no lines between which to count."
)
_COPIES: Final = f"copies (limit {bodies.LIMIT_COPIES:g})"
_CHUNKS_TEXT: Final = (
    "The same for pull answers that come back to back in chunks of a fixed size, without a server and so without an event loop:"
)


def _copies_table(counted: Sequence[Row]) -> str:
    heads = ("body", "form", f"send: {_COPIES}", "where", "event loop", f"receive: {_COPIES}", "where", "event loop")
    rows = []
    for row in counted:
        kept = bodies.limit(row["size"])
        cells = [size_name(row["size"]), FORMS[row["form"]]]
        for direction in ("send", "receive"):
            one = row[direction]
            cells += [f"{one['client']:.2f}: {_word(one['client'] <= kept)}", _sites(one), f"{one['loop']:.2f}"]
        rows.append(cells)
    return _table(heads, rows)


def _chunks_table(chunks: Sequence[Row]) -> str:
    rows = [
        (
            size_name(row["size"]), str(row["per_answer"]), size_name(row["chunk"]),
            f"{row['client']:.2f}: {_word(row['client'] <= bodies.limit(row['size']))}", _sites(row),
        )
        for row in chunks
    ]  # fmt: skip
    return _table(("body", "messages per answer", "chunk", _COPIES, "where"), rows)


def _sites(one: Row) -> str:
    return "<br>".join(f"`{site}` {share:.2f}" for site, share in one["sites"].items() if share >= 0.02)


def _judge_bodies(case_row: Row) -> list[Verdict]:
    found = []
    for row in case_row["copies"]:
        for direction in ("send", "receive"):
            copies = row[direction]["client"]
            what = f"copies of a body of {size_name(row['size'])}, {direction}, {FORMS[row['form']]}"
            found.append(Verdict(what, f"{copies:.2f}", f"{bodies.LIMIT_COPIES:g}", copies <= bodies.limit(row["size"])))
    if case_row["chunks"]:
        worst = max(case_row["chunks"], key=lambda row: float(row["client"]))
        what = f"copies when received, at worst: {size_name(worst['size'])} in chunks of {size_name(worst['chunk'])}"
        found.append(Verdict(what, f"{worst['client']:.2f}", f"{bodies.LIMIT_COPIES:g}", worst["client"] <= bodies.limit(worst["size"])))
    return found


# --- soak -------------------------------------------------------------------------------------------------------------------------------


def _soak_section(case_row: Row) -> str:
    parts = ["### Minutes at full load"]
    for row in case_row["rows"]:
        rate = row["received_in_time"] / row["seconds"]
        held = f"{row['held']['backlog']:,} times by the bounded backlog, {row['held']['rate']:,} times by the share of the disk"
        parts.append(
            f"{FORMS[row['form']].capitalize()}: {row['seconds'] / 60:.1f} minutes, {row['received']:,} messages sent and received "
            f"({rate:,.0f}/s each way in one process, {row['cpu_seconds'] / row['seconds'] * 100:.0f} % of a core), "
            f"{row['twice']:,} of them twice, {row['lost']:,} lost. Sending waited {held}; pulls were held back "
            f"{sum(row['flow_control'].values()):,} times."
        )
        parts.append(_table(("what", "seen", "limit", ""), [_check(each) for each in row["checks"]]))
    parts.append(_picture("soak", "Memory and backlog under full load"))
    return "\n\n".join(parts)


def _check(check: Row) -> tuple[str, ...]:
    what, value, limit = check["what"], check["value"], check["limit"]
    if "rss" in what:
        what, value, limit = what.replace("rss", "resident memory, MiB,"), value / MIB, limit / MIB
    return what, f"{value:,.1f}", f"{limit:,.1f}", "kept" if check["met"] else "**not kept**"


def _judge_soak(case_row: Row) -> list[Verdict]:
    found = []
    for row in case_row["rows"]:
        broken = [check["what"] for check in row["checks"] if not check["met"]]
        what = f"{row['seconds'] / 60:.0f} minutes at full load {FORMS[row['form']]}: flat, nothing lost, limits kept"
        seen = "; ".join(broken) or f"all {len(row['checks'])} checks kept"
        if row["seconds"] < 60 * soak.JUDGED_FROM:
            seen += " (too short to judge growth)"
        found.append(Verdict(what, seen, "all", not broken))
    return found


# --- embedded ---------------------------------------------------------------------------------------------------------------------------


def _embedded_section(case_row: Row) -> str:
    heads = (
        "server", "form of the server", "ready after, s", "sends/s", "server CPU µs per send", "deliveries/s", "server CPU µs per delivery",
        "resident when idle, MiB", "after the load, MiB",
    )  # fmt: skip
    rows = [
        (
            embedded.STORES[row["store"]] if row["form"] else "Apache RocketMQ", FORMS.get(row["form"], "–"), f"{row['start_seconds']:.2f}",
            f"{row['send']['rate']:,.0f}", f"{row['send']['server_cpu_us']:.1f}", f"{row['consume']['rate']:,.0f}",
            f"{row['consume']['server_cpu_us']:.1f}", f"{row['rss_idle'] / MIB:.1f}", f"{row['rss_stored'] / MIB:.1f}",
        )
        for row in case_row["rows"]
    ]  # fmt: skip
    load = (
        f"The client ({FORMS[case_row['client']]}) keeps {case_row['window']} sends of {size_name(case_row['body_size'])} in flight "
        "to 8 queues, then consumes them."
    )
    starts = [
        f"{row['start_seconds'] * 1000:.1f} ms {FORMS[row['form']]} (the first one {row['first_start_seconds'] * 1000:.1f} ms, its import "
        f"{row['import_seconds'] * 1000:.0f} ms)"
        for row in case_row["starts"]
    ]
    text = f"Inside a program `LocalCluster.start()` takes {'; '.join(starts)}." if starts else ""
    return f"### The embedded server\n\n{load}\n\n{_table(heads, rows)}\n\n{text}"


_SECTIONS: Final[dict[str, Callable[[Row], str]]] = {
    "topics": lambda row: _idle_section("topics", "Topics of one consumer, one queue each", row),
    "queues": lambda row: _idle_section("queues", "Queues of one consumer", row),
    "producers": _producers_section,
    "bodies": _bodies_section,
    "soak": _soak_section,
    "embedded": _embedded_section,
}
_JUDGES: Final[dict[str, Callable[[Any], list[Verdict]]]] = {
    "topics": lambda row: _judge_idle("topics", row),
    "queues": lambda row: _judge_idle("queues", row),
    "bodies": _judge_bodies,
    "soak": _judge_soak,
}
