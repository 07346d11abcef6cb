"""The command: `python -m benchmarks`, `python -m benchmarks report RUN.json ...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import command
from benchmarks.command import CannotRunError, Options
from benchmarks.forms import FORMS
from benchmarks.peers import PEERS, REFERENCE
from benchmarks.rows import ROWS
from benchmarks.workloads import GROUPS
from tests.support.java import NEWEST


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Our client and others on one real broker, in alternating rounds.",
        epilog="report RUN.json ...: docs/performance.md from stored runs.",
    )
    add = parser.add_argument
    add("--row", action="append", default=[], metavar="NAME", help=f"row of the report, may be repeated: {', '.join(ROWS)}")
    add("--workload", action="append", default=[], metavar="NAME", help=f"may be repeated: {', '.join(command.WORKLOAD_NAMES)}")
    add("--peer", action="append", default=[], metavar="NAME", help=f"may be repeated: {', '.join(PEERS)}; ratios need {REFERENCE}")
    add("--also", action="append", default=[], metavar="NAME", help="a peer besides the usual ones: grpc")
    add("--group", action="append", default=[], metavar="NAME", help=f"beside the rows and workloads named: {', '.join(GROUPS)}")
    add("--form", default="", help=f"form of our programs: {', '.join(FORMS)} (default: the fastest that can be made here)")
    add("--forms", action="store_true", help="our programs in all other forms, too")
    add("--against", action="append", default=[], metavar="COMMIT", help="the clients of this commit beside ours; may be repeated")
    add("--rounds", type=int, default=5, help="measured rounds of each workload and client (default: %(default)s)")
    add("--warm-up", type=int, default=2, help="rounds before these (default: %(default)s)")
    add("--scale", type=float, default=1.0, help="multiplies the messages per round (default: %(default)s)")
    add("--version", default=NEWEST, help="release of the server (default: %(default)s)")
    add("--label", default="this run", help="name of the run in tables (default: %(default)s)")
    add("--json", type=Path, default=command.RESULTS, help="file for the results (default: %(default)s)")
    add("--page", type=int, default=0, metavar="RUNS", help="so many runs of everything, the groups, and docs/performance.md from them")
    return parser


def _options(found: argparse.Namespace) -> Options:
    return Options(
        rows=found.row,
        workloads=found.workload,
        peers=found.peer,
        also=found.also,
        groups=found.group,
        form=found.form,
        forms=found.forms,
        against=found.against,
        rounds=found.rounds,
        warm_up=found.warm_up,
        scale=found.scale,
        version=found.version,
        label=found.label,
        results=found.json,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when all of ours went well, 1 when a message failed or a limit was not kept, 2 when nothing can run here, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
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
