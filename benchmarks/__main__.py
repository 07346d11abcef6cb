"""The command: `python -m benchmarks`, `python -m benchmarks compare A.json B.json`, `python -m benchmarks report RUN.json ...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import command
from benchmarks.command import CannotRunError, Options
from benchmarks.peers import PEERS, REFERENCE
from benchmarks.rows import ROWS
from tests.support.java import NEWEST


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Our client and others on one real broker, in alternating rounds.",
        epilog="compare A.json B.json: two stored runs beside each other. report RUN.json ...: docs/performance.md from stored runs.",
    )
    add = parser.add_argument
    add("--row", action="append", default=[], metavar="NAME", help=f"row of the report, may be repeated: {', '.join(ROWS)}")
    add("--workload", action="append", default=[], metavar="NAME", help=f"may be repeated: {', '.join(command.WORKLOAD_NAMES)}")
    add("--peer", action="append", default=[], metavar="NAME", help=f"may be repeated: {', '.join(PEERS)}; ratios need {REFERENCE}")
    add("--also", action="append", default=[], metavar="NAME", help="a peer besides the usual ones: grpc")
    add("--matrix", action="store_true", help="body sizes and queues, beside the rows and workloads that are named")
    add("--plain", action="store_true", help="our programs without uvloop and orjson")
    add("--compiled", action="store_true", help="our programs with the compiled modules (needs a C compiler)")
    add("--rounds", type=int, default=5, help="measured rounds of each workload and client (default: %(default)s)")
    add("--warm-up", type=int, default=2, help="rounds before these (default: %(default)s)")
    add("--scale", type=float, default=1.0, help="multiplies the messages per round (default: %(default)s)")
    add("--version", default=NEWEST, help="release of the server (default: %(default)s)")
    add("--label", default="this run", help="name of the run in tables (default: %(default)s)")
    add("--json", type=Path, default=command.RESULTS, help="file for the results (default: %(default)s)")
    add(
        "--page",
        type=int,
        default=0,
        metavar="RUNS",
        help="so many runs in the fastest form, one of body sizes and queues, one in each other form, and docs/performance.md",
    )
    return parser


def _options(found: argparse.Namespace) -> Options:
    return Options(
        rows=found.row,
        workloads=found.workload,
        peers=found.peer,
        also=found.also,
        matrix=found.matrix,
        plain=found.plain,
        compiled=found.compiled,
        rounds=found.rounds,
        warm_up=found.warm_up,
        scale=found.scale,
        version=found.version,
        label=found.label,
        results=found.json,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when every floor that was measured is met, 1 when one is missed, 2 when nothing can run here, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["compare"] and len(words) == 3:
            return command.compare(Path(words[1]), Path(words[2]), Options())
        if words[:1] == ["report"] and len(words) > 1:
            command.write_page([Path(word) for word in words[1:]])
            return 0
        found = _parser().parse_args(words)
        options = _options(found)
        return command.run_for_page(options, found.page) if found.page else command.run_and_show(options)
    except CannotRunError as error:
        command.notice(str(error))
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
