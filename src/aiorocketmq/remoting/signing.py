"""Signs the requests of a client, behind every other hook (Java: `AclClientRPCHook`). Features M1, M2, O15.

Values and files can sign in any thread and in prepared frames; a function of the user's is asked for every request. One that has to be
awaited is asked before its requests are made: hot paths that cannot wait park what they have until `fresh()` has answered, and what is
parked meanwhile shares the call.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from aiorocketmq.config import Credentials, CredentialsFile, CredentialsSource
from aiorocketmq.errors import ConfigError, CredentialsError, discreet, fresh
from aiorocketmq.model.checks import dropped
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.signing import SigningKey
from aiorocketmq.remoting.watched import state_of

logger = logging.getLogger("aiorocketmq.remoting")

LOOK_INTERVAL: Final = 1.0
"""Seconds between two looks at a credentials file."""
_WRONG: Final = "let it answer Credentials(access_key, secret_key, token)"


class Signer:
    """An `RPCHook` that signs. It has to be started before it is used.

    Args:
        source: Where the credentials come from.
        timeout: Seconds that a provider may take.
        spawn: Makes the task that awaits a provider.

    Attributes:
        fixed: Prepared frames may be signed by `current()`, in any thread.
        awaits: The credentials have to be awaited: `fresh()` comes before every request.
    """

    def __init__(
        self, source: CredentialsSource, timeout: float, spawn: Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]
    ) -> None:
        self.fixed = isinstance(source, Credentials | CredentialsFile)
        self.awaits = False
        self._source = source
        self._timeout = timeout
        self._spawn = spawn
        self._key: SigningKey | None = SigningKey(source) if isinstance(source, Credentials) else None
        self._credentials: Credentials | None = None
        self._seen: tuple[int, int, int] | None = None
        self._next_look = 0.0
        self._answer: asyncio.Future[None] | None = None
        self._troubled = False

    def __repr__(self) -> str:
        return f"<Signer {self._key!r}>"

    async def start(self) -> None:
        """Get the first credentials, so that a start with none to be had fails.

        Raises:
            ConfigError: A file cannot be read.
            CredentialsError: A provider failed, or answered something else.
        """
        source = self._source
        if isinstance(source, CredentialsFile):
            self._seen = state_of(source.path)
            self._take(source.read())
        elif not isinstance(source, Credentials):
            self.awaits = inspect.isawaitable(answer := self._call())
            self._take(await self._awaited(answer) if self.awaits else answer)

    def current(self) -> SigningKey:
        """The key to sign with now.

        Raises:
            CredentialsError: A provider failed.
        """
        source = self._source
        if isinstance(source, CredentialsFile):
            if time.monotonic() >= self._next_look:
                self._look(source)
        elif not self.fixed and not self.awaits:
            self._take(self._call())
        assert self._key is not None  # the start has seen to it
        return self._key

    async def fresh(self, deadline: float | None = None) -> None:
        """Ask a provider that has to be awaited; callers at the same time share one call. Cancelling leaves it to the others.

        Args:
            deadline: When this caller waits no longer, by the event loop's clock; None leaves it at the provider's time-out.

        Raises:
            CredentialsError: It failed, answered something else, or took longer than either.
        """
        if not self.awaits:
            return
        answer = self._answer
        if answer is None:
            answer = self._answer = asyncio.get_running_loop().create_future()
            self._spawn("ask for credentials", self._ask(answer))
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(answer)
        except CredentialsError as error:
            raise fresh(error) from None
        except TimeoutError:
            text = "the credentials provider took too long for this request"
            raise CredentialsError(text, hint="nothing was sent: let it answer faster, or give the request more time") from None

    # -- RPCHook -----------------------------------------------------------------------------------------------------------------------

    def before_request(self, address: str, command: RemotingCommand) -> None:
        """Sign it."""
        self.current().sign(command)

    def after_response(self, address: str, request: RemotingCommand, response: RemotingCommand) -> None:
        """Nothing to do."""

    # -- inside ------------------------------------------------------------------------------------------------------------------------

    async def _ask(self, answer: asyncio.Future[None]) -> None:
        try:
            self._take(await self._awaited(self._call()))
        except CredentialsError as error:
            if not answer.cancelled():
                answer.set_exception(error)
                answer.exception()  # nobody may be left to hear of it
        else:
            if not answer.cancelled():
                answer.set_result(None)
        finally:
            self._answer = None
            answer.cancel()  # the client stops; does nothing to one that is done

    def _call(self) -> object:
        try:
            return self._source()  # type: ignore[operator]  # the two that are no functions are dealt with elsewhere
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the user's code: told as the error of what needed the credentials
            raise _failed(error) from None

    async def _awaited(self, answer: object) -> object:
        if not inspect.isawaitable(answer):
            return answer
        try:
            async with asyncio.timeout(self._timeout):
                return await answer
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise _failed(error) from None  # of something that it has waited for: nobody cancels who asked
        except Exception as error:  # noqa: BLE001 - as above
            raise _failed(error) from None

    def _take(self, answer: object) -> None:
        if answer is self._credentials and self._key is not None:
            return
        if not isinstance(answer, Credentials) or not answer:
            what, hint = "empty credentials" if isinstance(answer, Credentials) else f"a {type(answer).__name__}", _WRONG
            if dropped(answer):
                what, hint = "something to be awaited, and Credentials when it was asked first", "let it be async def, or never wait"
            raise CredentialsError(f"the credentials provider answered {what}", hint=hint)
        if answer != self._credentials:
            self._key = SigningKey(answer)
        self._credentials = answer

    def _look(self, source: CredentialsFile) -> None:
        self._next_look = time.monotonic() + LOOK_INTERVAL
        try:
            state = state_of(source.path)
            if state == self._seen and not self._troubled:
                return
            self._take(source.read())
        except ConfigError as error:
            if not self._troubled:
                logger.warning("going on with the credentials of before: %s", error)
            self._troubled = True
            return
        self._seen = state
        self._troubled = False
        assert self._key is not None  # just made
        logger.info("the credentials file %s was read again: requests are signed by %s", source.path, self._key.access_key)


def _failed(error: BaseException) -> CredentialsError:
    # Without the text of the error, which may show the answer of a service with the secret in it.
    how = "took too long" if isinstance(error, TimeoutError) else f"raised {type(error).__name__}"
    if isinstance(error, asyncio.CancelledError):
        how = "was cancelled, or what it waited for"
    return discreet(CredentialsError(f"the credentials provider {how}", hint="its error is the cause of this one", cause=error))
