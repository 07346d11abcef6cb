"""The command: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from benchmarks import report
from benchmarks.peers import PEERS, REFERENCE
from benchmarks.run import Round, measure
from benchmarks.workloads import WORKLOADS
from tests.support.java import NEWEST, JavaMissingError


def _tell(each: Round) -> None:
    print(
        f"{each.workload} {each.peer} round {each.number + 1}: {each.rate:,.0f} msg/s, {each.cpu_us:.1f} µs CPU",
        file=sys.stderr,
        flush=True,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when every bar is met, 1 when one is missed, 2 when nothing can run here."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Our client and others on one real broker, in alternating rounds."
    )
    parser.add_argument("--workload", action="append", choices=WORKLOADS, help="may be repeated (default: all)")
    parser.add_argument("--peer", action="append", choices=PEERS, help=f"may be repeated (default: all); ratios need {REFERENCE}")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of each workload and peer (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the messages per round (default: %(default)s)")
    parser.add_argument("--version", default=NEWEST, help="release of the server (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks.json"), help="file for the results (default: %(default)s)")
    options = parser.parse_args(arguments)
    chosen = [WORKLOADS[name].scaled(options.scale) for name in options.workload or WORKLOADS]
    try:
        rounds = asyncio.run(measure(options.version, chosen, options.peer or list(PEERS), options.rounds, _tell))
    except JavaMissingError as error:
        print(error, file=sys.stderr)
        return 2
    verdicts = report.judge(rounds)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report.document(options.version, rounds, verdicts), indent=1) + "\n")
    print(report.table(verdicts))
    return 0 if all(each.met for each in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
