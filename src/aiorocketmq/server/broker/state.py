"""What the parts of one broker share: its settings, its store and its tables (Java: the fields of `BrokerController`)."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from aiorocketmq.errors import RocketMQError
from aiorocketmq.model.enums import Permission
from aiorocketmq.model.parsing import format_address
from aiorocketmq.protocol.message_id import UniqueIdGenerator
from aiorocketmq.server.broker.access import Access
from aiorocketmq.server.broker.config import BrokerConfig
from aiorocketmq.server.broker.faults import Faults
from aiorocketmq.server.broker.locks import QueueLocks
from aiorocketmq.server.broker.long_polling import LongPolling
from aiorocketmq.server.broker.metadata import Groups, Topics
from aiorocketmq.server.broker.notices import MemberNotices
from aiorocketmq.server.broker.offsets import ConsumerOffsets
from aiorocketmq.server.broker.pop_order import OrderTable
from aiorocketmq.server.broker.pop_waiting import PopWaiting
from aiorocketmq.server.broker.questions import Questions
from aiorocketmq.server.broker.reading import Filters
from aiorocketmq.server.broker.registry import ClientRegistry
from aiorocketmq.server.broker.request_modes import RequestModes
from aiorocketmq.server.broker.stats import BrokerStats
from aiorocketmq.server.store.schema import unusable
from aiorocketmq.server.store.store import Store
from aiorocketmq.server.store.taken import TakenMessages

# Plain numbers: operators of an IntFlag cost microseconds, on every request.
_READ: Final = int(Permission.READ)
_WRITE: Final = int(Permission.WRITE)


class BrokerState:
    """Everything that processors work on.

    Args:
        config: Settings.
        host: Address under which the broker is known; an IP address.
        port: Port on which it listens.
        now_ms: Wall clock in milliseconds.
        clients_ms: The one by which clients say when they have asked: that of the computer, whatever the broker's was moved to.
        monotonic: Clock of the event loop in seconds.
        on_topic_change: Called with the name of each topic that was created or changed.
    """

    def __init__(
        self,
        config: BrokerConfig,
        host: str,
        port: int,
        *,
        now_ms: Callable[[], int],
        clients_ms: Callable[[], int],
        monotonic: Callable[[], float],
        on_topic_change: Callable[[str], None],
    ) -> None:
        self.config = config
        self.now_ms = now_ms
        self.clients_ms = clients_ms
        self.monotonic = monotonic
        self.started_ms = now_ms()
        ip = ip_address(host)
        self.ip = str(ip)
        self.address = format_address(host, port)
        self.perm = _READ | _WRITE
        self.store = Store(config.path, store_host=(ip.packed, port), now_ms=now_ms, flush=config.flush, recent_bytes=config.recent_bytes)
        self.topics = Topics(config, self.store, now_ms, on_topic_change)
        self.groups = Groups(config, self.store, now_ms)
        self.offsets = ConsumerOffsets(self.store)
        self.request_modes = RequestModes(self.store)
        self.locks = QueueLocks(monotonic, config.lock_expiry)
        self.access = Access(config.acl, self.store, config.cluster) if config.acl is not None else None
        self.notices = MemberNotices(self.groups)
        self.clients = ClientRegistry(monotonic, config.client_expiry, self.notices.changed)
        self.questions = Questions(monotonic)
        self.polling = LongPolling()
        self.filters = Filters()
        self.taken = TakenMessages(self.store)
        self.orders = OrderTable(self.store)
        self.pops = PopWaiting(self.polling, "pop")
        self.pop_watchers = PopWaiting(self.polling, "watch")
        self.faults = Faults()
        self.stats = BrokerStats(monotonic)
        self.message_ids = UniqueIdGenerator(ip.packed, secrets.randbits(16))
        self._message_id_prefix = f"{ip.packed.hex()}{port:08x}".upper()

    def open(self, memory: sqlite3.Connection | None = None) -> None:
        """Open the store and read all tables.

        Args:
            memory: As for `Store.open`.

        Raises:
            ConfigError: The file cannot be used, or what it holds cannot be read.
        """
        self.store.open(memory)
        try:
            self.topics.load()
            self.groups.load()
            self.offsets.load()
            self.taken.load()
            self.orders.load()
            self.request_modes.load()
            if self.access is not None:
                self.access.load()
        except (RocketMQError, ValueError, TypeError) as error:  # what damaged pages hold is of any kind
            self.store.abandon()
            raise unusable(self.config.path, error) from None

    @property
    def trace_fields(self) -> dict[str, str]:
        """Fields that every answer to a send carries, those of failures too."""
        return {"MSG_REGION": self.config.region_id, "TRACE_ON": "true"}

    @property
    def readable(self) -> bool:
        return bool(self.perm & _READ)

    @property
    def writable(self) -> bool:
        return bool(self.perm & _WRITE)

    def message_id(self, physical_offset: int) -> str:
        """The offset message id of a stored message (A6)."""
        return f"{self._message_id_prefix}{physical_offset:016X}"
