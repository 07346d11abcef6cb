"""Options that commands share, and how a command's coroutine is run and interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from aiorocketmq.cli.render import Form
from aiorocketmq.config import TLS, ClientConfig, CredentialsFile
from aiorocketmq.errors import ConfigError, NoNameServerError
from aiorocketmq.remoting.event_loop import new_event_loop

if TYPE_CHECKING:
    from aiorocketmq.config.fields import ClientFields

T = TypeVar("T")

Output = Annotated[Form, Parameter(name=["--output", "-o"])]
Verbose = Annotated[int, Parameter(name=["--verbose", "-v"], count=True)]


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """What every command takes."""

    output: Output = "table"
    """Form of the data on standard output: table is for people, plain for cut and awk, the others are stable."""

    verbose: Verbose = 0
    """Show what the client does: -v states, -vv every detail."""

    def set_up_logging(self) -> None:
        """Send the library's records to standard error."""
        level = {0: logging.ERROR, 1: logging.INFO}.get(self.verbose, logging.DEBUG)
        logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


@Parameter(name="*")
@dataclass(frozen=True)
class Cluster(Common):
    """Which cluster a command talks to."""

    name_servers: Annotated[str | None, Parameter(name=["--name-servers", "-n"])] = None
    """Name servers as host:port;host:port, or a rocketmq:// URL; without it NAMESRV_ADDR is used."""

    credentials: Path | None = None
    """File with AccessKey=, SecretKey= and perhaps SecurityToken=, one a line; or set ROCKETMQ_ACCESS_KEY and ROCKETMQ_SECRET_KEY. Keys are
    never arguments: everybody on the machine can see these."""

    tls: Annotated[bool, Parameter(negative=())] = False
    """Use TLS for every connection."""

    tls_ca_file: str | None = None
    """PEM file of the authorities to trust; implies --tls."""

    timeout: float = 5.0
    """Seconds that one request may take."""

    dry_run: Annotated[bool, Parameter(negative=())] = False
    """Tell what would be changed, and change nothing; commands that only look take no notice."""

    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative=())] = False
    """Do not ask before something is destroyed."""

    def config(self) -> ClientConfig:
        """The client's configuration from these options, the variables `ROCKETMQ_*` and `NAMESRV_ADDR`.

        Raises:
            NoNameServerError: No name server is given anywhere.
            ConfigError: An option or variable has a value that cannot work.
        """
        changes: ClientFields = {"mq_client_api_timeout": self.timeout}
        if self.credentials is not None:
            changes["credentials"] = CredentialsFile(self.credentials)
        if self.tls_ca_file is not None:
            changes["tls"] = TLS(ca_file=self.tls_ca_file)
        elif self.tls:
            changes["tls"] = True
        config = ClientConfig.from_fields(ClientConfig.from_env(), self.name_servers, changes)
        if not config.name_servers:
            raise NoNameServerError("no name server is given", hint="use --name-servers host:port, or set NAMESRV_ADDR")
        return config


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end; Ctrl-C cancels it, and it may still clean up.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        try:
            return runner.run(work)
        except BaseExceptionGroup as group:
            raise _first_of(group) from None


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to tell of several that came together: one line has room for one."""
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def until_terminated(work: Coroutine[Any, Any, T]) -> T | None:
    """Run a long command until it ends, or until SIGTERM asks for a clean stop (then None)."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    terminated = False

    def on_term() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers on loops
        loop.add_signal_handler(signal.SIGTERM, on_term)
    try:
        return await task
    except asyncio.CancelledError:
        if not terminated:
            task.cancel()
            raise
        return None
    finally:
        with contextlib.suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGTERM)


def pairs(settings: tuple[str, ...]) -> dict[str, str]:
    """Arguments of the form NAME=VALUE.

    Raises:
        ConfigError: There is none, or one is not of that form.
    """
    found = [text.partition("=") for text in settings]
    for text, (name, equals, _) in zip(settings, found, strict=True):
        if not (name and equals):
            raise ConfigError(f"setting {text!r} is not NAME=VALUE", hint="for example flushDiskType=ASYNC_FLUSH")
    if not found:
        raise ConfigError("no setting is given", hint="name some as NAME=VALUE")
    return {name: value for name, _, value in found}
