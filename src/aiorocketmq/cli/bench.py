"""`aiorocketmq bench compare`: this client beside others on one real broker; only in a source checkout (Java: `benchmark/producer.sh`)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from aiorocketmq.cli.options import Common
from aiorocketmq.errors import ConfigError

app = App(name="bench", help="Measure this client beside others; needs a source checkout.")

_ROOT = Path(__file__).resolve().parents[3]
_Names = Annotated[list[str] | None, Parameter(negative=())]


@app.command(
    help_epilogue="""\
Examples:
  aiorocketmq bench compare
  aiorocketmq bench compare --row push --row send_in_flight --rounds 9
  aiorocketmq bench compare --row send --peer java --peer asyncio --scale 0.5
  aiorocketmq bench compare --row send --against HEAD~1

Exit code 1 says that a message of ours failed."""
)
def compare(
    *,
    row: _Names = None,
    workload: _Names = None,
    peer: _Names = None,
    group: _Names = None,
    form: str = "",
    against: _Names = None,
    rounds: int = 5,
    warm_up: int = 2,
    scale: float = 1.0,
    label: str = "this run",
    results: Annotated[Path | None, Parameter(name="--json")] = None,
    common: Common | None = None,
) -> int:
    """Run this client and others in turn on one real broker and show the ratios.

    Parameters
    ----------
    row:
        Row of the report to measure; may be given several times. Without rows and workloads everything is measured.
    workload:
        Workload to measure; may be given several times.
    peer:
        java, go, asyncio, sync or grpc; may be given several times.
    group:
        What is measured on request only: matrix, topics, queues, producers, embedded or soak; may be given several times.
    form:
        compiled, pure or plain (without the extra [fast]); left out, the fastest that can be made here.
    against:
        A commit whose client takes turns with this one; may be given several times.
    rounds:
        Measured rounds of each workload and client.
    warm_up:
        Rounds before these.
    scale:
        Multiplies the messages per round.
    label:
        Name of the run in tables.
    results:
        File for the results; build/benchmarks.json in the checkout.
    """
    common = common or Common()
    common.set_up_logging()
    command = _benchmarks()
    options = command.Options(
        rows=row or (),
        workloads=workload or (),
        peers=peer or (),
        groups=group or (),
        form=form,
        against=against or (),
        rounds=rounds,
        warm_up=warm_up,
        scale=scale,
        label=label,
        results=results or _ROOT / command.RESULTS,
        as_json=common.output == "json",
    )
    try:
        return int(command.run_and_show(options))
    except command.CannotRunError as error:
        raise ConfigError(str(error), cause=error) from None


def _benchmarks() -> Any:
    """The benchmarks of the checkout that this package is run from.

    Raises:
        ConfigError: The package is installed without its checkout.
    """
    if not (_ROOT / "benchmarks" / "command.py").is_file():
        raise ConfigError(
            "bench needs a source checkout: the benchmarks and the programs of the other clients are no part of the package",
            hint="clone the repository and run `make bench` there, or `pip install --editable '.[fast,cli]'` and this command",
        )
    if str(_ROOT) not in sys.path:
        sys.path.insert(0, str(_ROOT))
    return importlib.import_module("benchmarks.command")
