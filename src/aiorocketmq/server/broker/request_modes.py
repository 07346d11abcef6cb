"""Which groups pop which topics (Java: `MessageRequestModeManager`, which writes `messageRequestMode.json`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aiorocketmq.model.names import is_retry_topic
from aiorocketmq.protocol.bodies_client import SetMessageRequestModeRequestBody as Mode
from aiorocketmq.server.broker.tables import StoredTable
from aiorocketmq.server.store.store import Store

_KIND: Final = "request mode"
_SEPARATOR: Final = "@"
"""Between topic and group: no name has it."""


class RequestModes:
    """How groups get the messages of topics, as administrators have set it; what nobody has set is pulled.

    Args:
        store: Where it is kept.
    """

    def __init__(self, store: Store) -> None:
        self._stored = StoredTable(store, _KIND, lambda mode: mode.encode().decode(), _decoded, self._changed)
        self.version = 0
        """Changes so far: nobody but slaves is told, members ask in their next round."""

    def load(self) -> None:
        """Read the database."""
        self._stored.load()

    def __iter__(self) -> Iterator[Mode]:
        return iter(self._stored)

    def get(self, topic: str, group: str) -> Mode:
        """The mode of a group on a topic. Retry topics are always pulled."""
        known = self._stored.get(f"{topic}{_SEPARATOR}{group}") if not is_retry_topic(topic) else None
        return known if known is not None else Mode(topic, group)

    def put(self, mode: Mode) -> None:
        """Set a mode with the commit of this tick."""
        self._stored.put(f"{mode.topic}{_SEPARATOR}{mode.consumer_group}", mode)

    def _changed(self, _: str) -> None:
        self.version += 1


def _decoded(text: str) -> Mode:
    return Mode.decode(text.encode())
