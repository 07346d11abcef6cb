"""The growth curves as SVG files, byte for byte the same for the same results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.growth.bench import Row
from benchmarks.growth.cases import idle
from benchmarks.growth.forms import FORMS
from benchmarks.growth.probe import MIB, size_name
from benchmarks.growth.results import Results
from benchmarks.plots import matplotlib_and_pyplot

_STYLE: Final = {
    "svg.hashsalt": "aiorocketmq", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False,
}  # fmt: skip
_COLOURS: Final = {"compiled": "#2a9d5c", "fast": "#1f77b4", "plain": "#d95f02"}
_DASHES: Final = {"real": "-", "embedded": "--"}
_LIMIT: Final = {"color": "#888888", "linestyle": ":", "linewidth": 1.0}

Value = Callable[[Row], float]


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw one picture for each case that has a curve.

    Args:
        results: What was measured.
        folder: Where the pictures go; made when it is missing.

    Returns:
        The files written.

    Raises:
        PlotError: matplotlib is not installed: it is part of the dependency group `bench`.
    """
    matplotlib, pyplot = matplotlib_and_pyplot()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context(_STYLE):
        for case, make in _PICTURES.items():
            if case not in results or not results[case]["rows"]:
                continue
            figure, axes = pyplot.subplots(1, 2, figsize=(9.0, 3.2), layout="constrained")
            make(axes, results[case])
            axes[0].legend()
            file = folder / f"growth_{case}.svg"
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
            pyplot.close(figure)
            written.append(file)
    return written


def _curves(axis: Any, rows: Sequence[Row], across: str, value: Value, *, x: str, y: str, log_y: bool = False) -> None:
    """One line for each form and server, over a logarithmic axis with the measured sizes."""
    for server, form in dict.fromkeys((row.get("server", "real"), row["form"]) for row in rows):
        own = [row for row in rows if (row.get("server", "real"), row["form"]) == (server, form)]
        label = FORMS[form] if server == "real" else f"{FORMS[form]}, {server} server"
        points = [row[across] for row in own], [value(row) for row in own]
        axis.plot(*points, marker="o", markersize=3, color=_COLOURS[form], linestyle=_DASHES[server], label=label)
    sizes = sorted({row[across] for row in rows})
    axis.set_xscale("log", base=10)
    if across == "size":
        axis.set_xticks(sizes, map(size_name, sizes), rotation=30, ha="right", rotation_mode="anchor")
    else:
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.set_xticks([], minor=True)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if log_y:
        axis.set_yscale("log", base=10)
    else:
        axis.set_ylim(0, 1.08 * max(map(value, rows)))


def _idle(axes: Any, row: Row, case: str) -> None:
    rows = row["rows"]
    _curves(axes[0], rows, case, lambda each: float(each["idle_cpu_percent"]), x=case, y="idle CPU, % of a core")
    limit = idle.LIMIT_CPU
    axes[0].axhline(limit, label=f"limit at {idle.LIMIT_AT[case]:,} {case}", **_LIMIT)
    axes[0].set_ylim(top=max(1.08 * limit, axes[0].get_ylim()[1]))
    _curves(axes[1], rows, case, lambda each: float(each["rss"]) / MIB, x=case, y="resident memory, MiB")


def _producers(axes: Any, row: Row) -> None:
    _curves(axes[0], row["rows"], "producers", lambda each: float(each["rate"]), x="producers", y="messages/s")
    _curves(axes[1], row["rows"], "producers", lambda each: float(each["cpu_us"]), x="producers", y="CPU µs per message")


def _bodies(axes: Any, row: Row) -> None:
    for axis, direction in zip(axes, ("send", "consume"), strict=True):

        def mb_per_s(each: Row, direction: str = direction) -> float:
            return float(each[direction]["mb_per_s"])

        _curves(axis, row["rows"], "size", mb_per_s, x="body", y=f"{direction}, MB/s", log_y=True)


def _soak(axes: Any, row: Row) -> None:
    for each in row["rows"]:
        minutes = [sample["seconds"] / 60 for sample in each["samples"]]
        style = {"color": _COLOURS[each["form"]], "label": FORMS[each["form"]], "linewidth": 1.0}
        axes[0].plot(minutes, [sample["rss"] / MIB for sample in each["samples"]], **style)
        axes[1].plot(minutes, [sample["unfinished"] for sample in each["samples"]], **style)
    for axis, text in zip(axes, ("resident memory, MiB", "messages pulled, not consumed"), strict=True):
        axis.set_xlabel("minutes")
        axis.set_ylabel(text)
        axis.set_ylim(bottom=0)


_PICTURES: Final[dict[str, Callable[[Any, Row], None]]] = {
    "topics": lambda axes, row: _idle(axes, row, "topics"),
    "queues": lambda axes, row: _idle(axes, row, "queues"),
    "producers": _producers,
    "bodies": _bodies,
    "soak": _soak,
}
