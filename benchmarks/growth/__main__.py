"""The command: `python -m benchmarks.growth --help`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import command
from benchmarks.growth import forms, report, results
from benchmarks.growth.bench import Bench, MeasureError, Options
from benchmarks.growth.cases import bodies, embedded, idle, producers, soak
from benchmarks.plots import PlotError
from benchmarks.results import ResultsError
from tests.support.java import NEWEST, JavaMissingError

CASES = {
    "topics": idle.topics,
    "queues": idle.queues,
    "producers": producers.run,
    "bodies": bodies.run,
    "embedded": embedded.run,
    "soak": soak.run,
}


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description="How cost grows with topics, queues, producers, bodies and time.",
        epilog="report FILE... [--page docs/performance.md]: Markdown and pictures of stored results.",
    )
    parser.add_argument("--case", action="append", choices=CASES, help="may be repeated (default: all)")
    parser.add_argument(
        "--form",
        action="append",
        choices=forms.FORMS,
        help="may be repeated (default: pure Python with [fast] and without it, and compiled with [fast] where build/compiled is there); "
        "the compiled copy is made anew when the sources have changed, which needs a C compiler",
    )
    parser.add_argument("--server", action="append", choices=("real", "embedded"), help="for topics and queues (default: real)")
    parser.add_argument("--sizes", type=_numbers, default=[], help="numbers to measure in place of a case's own, such as 1,64")
    parser.add_argument("--idle", type=float, help="seconds of an idle window (default: 60, quick 3)")
    parser.add_argument("--minutes", type=float, help="minutes of the soak (default: 20, quick 0.25)")
    parser.add_argument("--quick", action="store_true", help="try everything out in small; the figures mean nothing")
    parser.add_argument("--version", default=NEWEST, help="release of the server (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("build/growth.json"), help="results; cases in it that are not run stay")
    parser.add_argument("--plots", type=Path, help="folder for the pictures")
    return parser


async def _measure(chosen: list[str], options: Options, file: Path) -> None:
    bench = Bench(options, lambda text: print(text, file=sys.stderr, flush=True))
    for name in chosen:
        bench.tell(f"--- {name}")
        results.store(file, name, await CASES[name](bench), options)


def _report(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth report", description="Results as Markdown.")
    parser.add_argument("files", type=Path, nargs="+", help="results; a case of a later file replaces that of an earlier one")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--plots", type=Path, help="folder to draw the pictures in")
    place.add_argument(
        "--page", type=Path, help=f"page to write it into, between its markers, with the pictures in {report.PICTURES}/ beside the page"
    )
    options = parser.parse_args(arguments)
    loaded = results.load(options.files)
    try:
        if options.page is None:
            _draw(loaded, options.plots)
            print(report.section(loaded))
        else:
            text = report.with_section(loaded, options.page)  # first: a page that cannot be written gets no pictures
            _draw(loaded, options.page.parent / report.PICTURES)
            options.page.write_text(text, encoding="utf-8")
    except (ResultsError, PlotError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _draw(loaded: results.Results, folder: Path | None) -> None:
    if folder is not None:
        from benchmarks.growth import plots

        plots.draw(loaded, folder)


def _forms(named: Sequence[str] | None) -> list[str]:
    """The forms to measure, the fastest first; the compiled copy is there afterwards when it is one of them.

    Raises:
        CannotRunError: A form cannot be measured here.
    """
    chosen = [form for form in forms.FORMS if form in named] if named else forms.usual()
    for form in chosen:
        if lack := forms.missing(form):
            raise command.CannotRunError(f"form {form}: {lack}")
    if forms.COMPILED in chosen:
        command.compiled_copy()
    return chosen


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when every limit was kept, 1 when one was not, 2 when nothing can run here, 3 when a measured process failed."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["report"]:
        return _report(given[1:])
    chosen = _parser().parse_args(given)
    try:
        measured = _forms(chosen.form)
    except command.CannotRunError as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        options = Options(
            folder=Path(folder),
            forms=measured,
            quick=chosen.quick,
            sizes=chosen.sizes,
            idle=chosen.idle,
            minutes=chosen.minutes,
            servers=chosen.server or ["real"],
            version=chosen.version,
        )
        try:
            asyncio.run(_measure(chosen.case or list(CASES), options, chosen.json))
        except JavaMissingError as error:
            print(error, file=sys.stderr)
            return 2
        except MeasureError as error:
            print(error, file=sys.stderr)
            return 3
    loaded = results.load([chosen.json])
    _draw(loaded, chosen.plots)
    print(report.section(loaded))
    return 0 if all(each.met for each in report.verdicts(loaded)) else 1


if __name__ == "__main__":
    sys.exit(main())
