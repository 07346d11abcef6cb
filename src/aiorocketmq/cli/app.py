"""The command tree and the one place where errors become one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from aiorocketmq.cli.exits import Exit, exit_code
from aiorocketmq.cli.render import OutputError
from aiorocketmq.errors import RocketMQError

_EXAMPLES = """\
Examples:
  aiorocketmq demo
  aiorocketmq server --data-dir ./data
  aiorocketmq produce orders --body hello -n 127.0.0.1:9876
  aiorocketmq tail orders -n 127.0.0.1:9876

The name servers come from --name-servers (-n), else from NAMESRV_ADDR.
Exit codes: 0 it worked, 1 it failed, 2 wrong usage, 3 not found, 4 no connection, 5 refused, 6 done in part, 130 stopped by Ctrl-C."""


def _version() -> str:
    # Not of the installed package, which need not be there: it may run out of a source tree.
    return str(sys.modules["aiorocketmq"].__version__)


app = App(
    name="aiorocketmq",
    help="Send, receive and look after messages of Apache RocketMQ, and run an embedded server.",
    help_epilogue=_EXAMPLES,
    help_format="plaintext",
    version=_version,
    result_action="return_value",
    print_error=False,
    exit_on_error=False,
    suppress_keyboard_interrupt=False,
)
_COMMANDS = {
    "demo": ("aiorocketmq.cli.demo:demo", "Show messages of every kind being sent and received, and check each of them."),
    "server": ("aiorocketmq.cli.server:server", "Run an embedded name server and broker until Ctrl-C."),
    "produce": ("aiorocketmq.cli.produce:produce", "Send messages."),
    "consume": ("aiorocketmq.cli.consume:consume", "Print messages as a member of a consumer group."),
    "tail": ("aiorocketmq.cli.tail:tail", "Follow a topic without a consumer group."),
    "topic": ("aiorocketmq.cli.topic:app", "Look at topics, create, change and delete them."),
    "group": ("aiorocketmq.cli.group:app", "Look at consumer groups, create, change and delete them."),
    "cluster": ("aiorocketmq.cli.cluster:app", "Look at clusters."),
    "broker": ("aiorocketmq.cli.broker:app", "Look at brokers, change their settings, take them out and in."),
    "namesrv": ("aiorocketmq.cli.namesrv:app", "Look at name servers, change their settings and values."),
    "bench": ("aiorocketmq.cli.bench:app", "Measure this client beside others; needs a source checkout."),
}
for _name, (_place, _help) in _COMMANDS.items():
    # Named as text, so that a command loads only what it uses.
    app.command(_place, name=_name, help=_help)


def run(arguments: Sequence[str]) -> int:
    """Run one command; every failure is one line on standard error."""
    try:
        result = app(arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(f"{error}", Exit.USAGE, "see aiorocketmq --help")
    except RocketMQError as error:
        return _fail(error.message, exit_code(error), error.hint)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except SystemExit:  # of rich, when the reader of a help has gone (`| head`): it has what it wanted
        _drop_output()
        return Exit.OK
    except OutputError as error:
        _drop_output()
        return Exit.FAILED if error.reader_gone else _fail(str(error.strerror), Exit.FAILED, "")
    except BrokenPipeError:
        _drop_output()  # the reader of a help went away
        return Exit.OK
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        return _fail(str(error), Exit.FAILED, "")
    except Exception as error:  # noqa: BLE001 - the edge of the program: a traceback helps no user
        if logging.root.isEnabledFor(logging.INFO):  # -v
            traceback.print_exception(error)
        return _fail(f"{type(error).__name__}: {error}", Exit.FAILED, "-v shows where")
    return result if isinstance(result, int) else Exit.OK


def _drop_output() -> None:
    """Nothing may be written any more, not even at the end of the interpreter."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int, hint: str) -> int:
    text = " ".join(message.split())
    print(f"aiorocketmq: {text}" + (f" ({hint})" if hint else ""), file=sys.stderr)
    return code
