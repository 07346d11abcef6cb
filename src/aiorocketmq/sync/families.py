"""What the blocking twins of the families of an admin client have in common; the rest is generated."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

from aiorocketmq.sync.base import BlockingClient

F = TypeVar("F")
P = ParamSpec("P")
T = TypeVar("T")


class BlockingFamily(Generic[F]):
    """One family of operations of a blocking admin client.

    Args:
        client: The blocking client.
        family: The asyncio twin.
    """

    def __init__(self, client: BlockingClient[Any], family: F) -> None:
        self._client = client
        self._async = family

    def _call(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._client._call(function, *args, **kwargs)
