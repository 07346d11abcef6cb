"""The pictures of the page, as SVG. The same results give the same bytes, so that a picture changes only with what it shows."""

from __future__ import annotations

import importlib
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.report import measured_names, size_text
from benchmarks.results import Round, Run
from benchmarks.rows import CPU, RATE
from benchmarks.stats import measured, middle, value
from benchmarks.workloads import FAMILIES, MATRIX, MATRIX_QUEUES, MATRIX_SIZES, WORKLOADS, Family, matrix_name

COLOURS = {"java": "#d9822b", "go": "#3a9e9b", "asyncio": "#2b4c9b", "sync": "#7d9bdc", "grpc": "#9a9a9a"}
COLUMNS = 3
_STYLE = {
    "svg.hashsalt": "aiorocketmq",  # ids are made from it instead of from chance
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}


class PlotError(Exception):
    """Pictures cannot be drawn here."""


def matplotlib_and_pyplot() -> tuple[Any, Any]:
    """Both modules, found by name: nobody needs them, or their types, but who draws.

    Raises:
        PlotError: matplotlib is missing.
    """
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
        matplotlib.use("svg")
        return matplotlib, importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise PlotError(f"pictures need matplotlib ({error}): pip install --group bench") from error


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw everything that a run has results for; answers the files.

    Raises:
        PlotError: matplotlib is missing.
    """
    matplotlib, pyplot = matplotlib_and_pyplot()
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with matplotlib.rc_context(_STYLE):
        figures = {
            "rates": _bars(pyplot, run, RATE, "messages per second (more is better)", "{:,.0f}"),
            "cpu": _bars(pyplot, run, CPU, "CPU µs per message (less is better)", "{:.1f}"),
            "latency": _latencies(pyplot, run),
        }
        if measured_names(run, MATRIX):
            figures["matrix"] = _matrix(pyplot, run)
        for name, figure in figures.items():
            path = folder / f"{name}.svg"
            figure.savefig(path, metadata={"Date": None})
            pyplot.close(figure)
            made.append(path)
    return made


def _grid(pyplot: Any, count: int, *, height: float = 1.7) -> tuple[Any, list[Any]]:
    rows = max(1, -(-count // COLUMNS))
    figure, axes = pyplot.subplots(rows, COLUMNS, figsize=(11, height * rows + 0.6), squeeze=False, layout="constrained")
    flat = [each for line in axes for each in line]
    for unused in flat[count:]:
        unused.set_visible(False)
    return figure, flat[:count]


def _bars(pyplot: Any, run: Run, metric: str, title: str, form: str) -> Any:
    """A panel for each family, a bar for each client: the median, with a line from the lowest to the highest round."""
    shown = [(family, bars) for family in FAMILIES if family.workloads[0].figure == RATE and (bars := _bars_of(run, family))]
    figure, panels = _grid(pyplot, len(shown))
    figure.suptitle(title)
    for axes, (family, bars) in zip(panels, shown, strict=True):
        top = 0.0
        for place, (_, peer, rounds) in enumerate(bars):
            values = [value(each, metric) for each in rounds]
            median = middle(rounds, metric)
            spread = [[median - min(values)], [max(values) - median]]
            axes.barh(place, median, color=COLOURS[peer], height=0.7, xerr=spread, error_kw={"ecolor": "#444444", "elinewidth": 0.8})
            axes.text(max(values), place, "  " + form.format(median), va="center", fontsize=8)
            top = max(top, *values)
        _name_lines(axes, [label for label, _, _ in bars])
        axes.set_title(family.workloads[0].title, fontsize=9)
        axes.set_xlim(0, top * 1.3 or 1)
        axes.set_xticks([])
    return figure


def _bars_of(run: Run, family: Family) -> list[tuple[str, str, list[Round]]]:
    """What a family's panel shows, from the top: label, client, rounds."""
    bars = []
    for workload in family.workloads:
        variant = "" if workload is family.workloads[0] else f"\n{workload.variant}"
        bars += [(PEERS[peer].title + variant, peer, rounds) for peer in PEERS if (rounds := measured(run, workload.name, peer))]
    return bars


def _name_lines(axes: Any, names: Sequence[str]) -> None:
    """Label the lines of a panel, the first one at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 3) - 0.4, -0.6)


def _latencies(pyplot: Any, run: Run) -> Any:
    """A panel for each workload that has latencies: p50, p99 and p99.9 of each client on a logarithmic scale."""
    with_latency = {each.workload for each in run.rounds if each.latency_us}
    names = [name for name in measured_names(run) if name in with_latency]
    figure, panels = _grid(pyplot, len(names))
    figure.suptitle("latency, ms (less is better): p50 ●, p99 ▲, p99.9 ■")
    for axes, name in zip(panels, names, strict=True):
        peers = [peer for peer in PEERS if measured(run, name, peer)]
        for place, peer in enumerate(peers):
            rounds = measured(run, name, peer)
            values = [statistics.median(each.latency(part) for each in rounds) / 1000 for part in ("p50", "p99", "p999")]
            axes.plot(values, [place] * 3, color=COLOURS[peer], linewidth=1)
            for each, shape in zip(values, "o^s", strict=True):
                axes.plot(each, place, shape, color=COLOURS[peer], markersize=5)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        low, high = axes.get_xlim()
        axes.set_xlim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
        _name_lines(axes, [PEERS[peer].title for peer in peers])
        axes.set_title(WORKLOADS[name].title, fontsize=9)
        axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    return figure


def _matrix(pyplot: Any, run: Run) -> Any:
    """A panel for each workload and number of queues: rates over the size of the bodies."""
    commands = list(dict.fromkeys(name.partition("/")[0] for name in measured_names(run, MATRIX)))
    figure, panels = _grid(pyplot, len(commands) * COLUMNS, height=2.2)
    figure.suptitle("messages per second over the size of the bodies")
    for index, axes in enumerate(panels):
        command, queues = commands[index // COLUMNS], MATRIX_QUEUES[index % COLUMNS]
        for peer in PEERS:
            points = []
            for place, size in enumerate(MATRIX_SIZES):
                rounds = measured(run, matrix_name(command, size, queues), peer)
                if rounds:
                    points.append((place, middle(rounds, RATE)))
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[peer], label=PEERS[peer].title, markersize=4)
        axes.set_xticks(range(len(MATRIX_SIZES)), [size_text(size) for size in MATRIX_SIZES])
        axes.set_ylim(bottom=0)
        axes.set_title(f"{WORKLOADS[command].title}, {queues} queue{'s' if queues > 1 else ''}", fontsize=9)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="y", color="#dddddd", linewidth=0.5)
        if axes.lines and not any(other.get_legend() for other in panels):
            axes.legend(fontsize=8, frameon=False)
    return figure
