"""What every command stands on: its options, its client, its end and its exit code (Java: `MQAdminStartup`, `SubCommand`).

A command of administration is an async function that gets a `Context` and gives back `Rows`, or None:

    @command(app, examples=["cluster list"], mqadmin="clusterList")
    async def list_clusters(context: Context, /) -> Rows: ...

Nothing but this module, `app.py` and `render.py` handles broken pipes, encodings, Ctrl-C, errors or output.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cyclopts import App

from aiorocketmq.admin import AdminClient, Partial
from aiorocketmq.cli.exits import Exit
from aiorocketmq.cli.options import Cluster, run_async, until_terminated
from aiorocketmq.cli.output import note
from aiorocketmq.cli.render import Rows, printable, render
from aiorocketmq.errors import ConfigError

T = TypeVar("T")
Work = Callable[..., Coroutine[Any, Any, Rows | None]]


@dataclass(frozen=True, slots=True)
class Context:
    """What a command works with.

    Attributes:
        admin: A client that runs.
        cluster: The options that all commands have.
    """

    admin: AdminClient
    cluster: Cluster

    def planned(self, what: str) -> bool:
        """With `--dry-run`, tell what would be done, and be done; True then."""
        if self.cluster.dry_run:
            note(f"would {what}")
        return self.cluster.dry_run

    def confirm(self, what: str, name: str) -> None:
        """Ask before something is destroyed; `--yes` answers.

        Args:
            what: What is about to happen, as words after "this".
            name: What has to be typed.

        Raises:
            ConfigError: Nobody can be asked, or something else was typed.
        """
        import sys

        if self.cluster.yes:
            return
        if not sys.stdin.isatty():
            raise ConfigError(f"this {what}", hint="say --yes, or --dry-run to see what would be done")
        print(f"This {printable(what)}. Type {printable(name)} to go on: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() != name:
            raise ConfigError("that was something else: nothing was done")


def command(app: App, *, name: str | None = None, examples: Sequence[str], mqadmin: str = "") -> Callable[[Work], Work]:
    """Make a command of an async function whose first argument is a `Context`.

    Args:
        app: The group of commands.
        name: Its name there; None takes that of the function.
        examples: What may follow `aiorocketmq`, for the help.
        mqadmin: The command of Java's tool that does the same.
    """

    def decorate(work: Work) -> Work:
        signature = inspect.signature(work, eval_str=True)
        option = inspect.Parameter("cluster", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Cluster | None)
        own = list(signature.parameters.values())[1:]

        def run(*arguments: Any, cluster: Cluster | None = None, **options: Any) -> int:
            chosen = cluster or Cluster()
            chosen.set_up_logging()
            return run_async(until_terminated(_carry_out(chosen, work, arguments, options))) or Exit.OK

        run.__name__, run.__doc__ = work.__name__, work.__doc__
        run.__signature__ = signature.replace(parameters=[*own, option], return_annotation=int)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in [*own, option]}
        lines = "\n".join(f"  aiorocketmq {example}" for example in examples)
        epilogue = f"Examples:\n{lines}" + (f"\n\nAs  mqadmin {mqadmin}" if mqadmin else "")
        app.command(run, name=name or work.__name__.replace("_", "-"), help_epilogue=epilogue)
        return work

    return decorate


async def _carry_out(cluster: Cluster, work: Work, arguments: tuple[Any, ...], options: dict[str, Any]) -> int:
    async with AdminClient(config=cluster.config()) as admin:
        rows = await work(Context(admin, cluster), *arguments, **options)
    if rows is None:
        return Exit.OK
    render(cluster.output, rows)
    for server, error in rows.errors.items():
        note(f"aiorocketmq: {printable(server)}: {printable(' '.join(str(error).split()))}")
    return Exit.PARTIAL if rows.errors else Exit.OK


def by_server(found: Partial[T], row: Callable[[str, T], Mapping[str, Any]], *, columns: Sequence[str] = (), title: str = "") -> Rows:
    """One row for each server that has answered; errors of the others beside them."""
    return Rows([row(name, answer) for name, answer in found.answers.items()], columns, title, found.errors)
