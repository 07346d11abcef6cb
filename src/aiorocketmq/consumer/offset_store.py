"""Where consumed offsets are kept: on the broker, in a file, or wherever the user wants (Java: `OffsetStore` and its two stores).

Whatever the store, what it persists never goes back, except after an explicit reset. Features G13-G17.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import logging
import os
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from aiorocketmq.client.broker_api import OFFSET_CALL_TIMEOUT
from aiorocketmq.client.statelog import StateLog
from aiorocketmq.core.offset_table import OffsetTable
from aiorocketmq.errors import (
    BrokerNotFoundError,
    ConfigError,
    OffsetNotFoundError,
    ProtocolError,
    RemotingError,
    RocketMQError,
    broker_not_found,
)
from aiorocketmq.model.namespace import Namespace
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol import fastjson

if TYPE_CHECKING:
    from pathlib import Path

    from aiorocketmq.client.broker_api import BrokerApi

OFFSET_FILE: Final = "offsets.json"
BACKUP_SUFFIX: Final = ".bak"
DAMAGED_SUFFIX: Final = ".damaged"
DEFAULT_DIRECTORY: Final = ".rocketmq_offsets"
"""Below the home directory; the place and the format are Java's, so that a group may move from one language to the other."""

INT64_MAX: Final = 0x7FFF_FFFF_FFFF_FFFF
FILE_NAME_MAX: Final = 200
"""Bytes of one part of a path; file systems allow 255."""
FORBIDDEN_IN_FILE_NAMES: Final = frozenset("/\\\0" + ('<>:"|?*' if os.name == "nt" else ""))
SAFE_IN_FILE_NAMES: Final = "@#.-_ " + ("" if os.name == "nt" else ":")

SAVES: Final = 16
"""Offsets that are saved for certain at the same time at one broker."""
SAVE_TIMEOUT: Final = 2.0
"""Seconds after which a broker that does not answer to a saving is silent."""
RESEND_MIN: Final = 30.0
RESEND_MAX: Final = 90.0
"""Bounds in seconds after which an offset that has not changed is sent once more, as nobody confirms a one-way request. By chance between
them, so that the offsets of many queues do not leave in one burst."""

logger = logging.getLogger("aiorocketmq.consumer")


class ReadOffset(Enum):
    """Where `OffsetStore.read_offset` looks (Java: `ReadOffsetType`)."""

    READ_FROM_MEMORY = "READ_FROM_MEMORY"
    READ_FROM_STORE = "READ_FROM_STORE"
    MEMORY_FIRST_THEN_STORE = "MEMORY_FIRST_THEN_STORE"


@runtime_checkable
class OffsetStore(Protocol):
    """Any object with these methods can be given to a consumer as `offset_store=`. Used from one event loop."""

    async def load(self) -> None:
        """Called once, before the first queue is taken over."""
        ...

    def update_offset(self, queue: MessageQueue, offset: int, *, increase_only: bool) -> None:
        """Remember that everything below `offset` is consumed.

        Args:
            queue: The queue.
            offset: Next offset to consume.
            increase_only: Ignore it when a higher offset is known.
        """
        ...

    def update_and_freeze_offset(self, queue: MessageQueue, offset: int) -> None:
        """Reset to `offset`, in any direction, and ignore updates until `remove_offset()`."""
        ...

    async def read_offset(self, queue: MessageQueue, where: ReadOffset) -> int:
        """The offset to go on from, or -1 when the group has none.

        Raises:
            RocketMQError: It cannot be found out now. Never answer -1 instead: the group would start anew.
        """
        ...

    async def persist_all(self, queues: Collection[MessageQueue], *, confirm: bool = False) -> None:
        """Save the offsets of `queues`, and forget all others.

        Args:
            queues: The queues that the consumer owns.
            confirm: Wait until they are certainly saved (at stop), as far as that is possible; must not raise.
        """
        ...

    async def persist(self, queue: MessageQueue) -> None:
        """Save the offset of one queue; must not raise."""
        ...

    def remove_offset(self, queue: MessageQueue) -> None:
        """Forget a queue that is not owned any more."""
        ...

    def clone_offset_table(self, topic: str | None = None) -> dict[MessageQueue, int]:
        """A copy of what is remembered, of one topic or of all."""
        ...


@dataclass(slots=True)
class _Sent:
    """The last offset of a queue that left, one-way, for its broker. Mutable.

    Attributes:
        offset: The offset.
        link: The open connection when the round began in which it left, None for none: one opened for it counts as another one.
        settled: It was sent in two rounds: a pull that left before it cannot overwrite it any more.
        due: Loop time from which on it is sent again, changed or not.
    """

    offset: int
    link: object | None
    settled: bool
    due: float


class RemoteBrokerOffsetStore:
    """Offsets on the brokers: the store of CLUSTERING groups (Java: `RemoteBrokerOffsetStore`).

    Unlike Java's it does not send every offset every 5 s: a changed one leaves in two rounds of saving (the pull before it, which brokers
    serve in other threads, may have brought an older one), then again after 30 to 90 s, and at once when the connection to its broker is
    another one than the one that took it. A sending that failed counts for nothing. Pulls carry the offset, too.

    Args:
        group: The consumer group.
        api: Talks to brokers.
        find_address: Finds the address that keeps a queue's offsets; gets a fresh route when it must.
        link_to: The open connection to the broker that keeps a queue's offsets, or None. Left out, connections are taken to be lasting.
        broker_of: Name of the broker that keeps a queue's offsets; that of the queue itself if left out.
        set_zero_if_not_found: False makes brokers say "no offset" for every new group. None leaves it to them: for a young topic, all of
            which is still in memory, they answer 0, so that a queue added to a topic is read from its first message (G14).
    """

    def __init__(
        self,
        group: str,
        api: BrokerApi,
        find_address: Callable[[MessageQueue], Awaitable[str]],
        *,
        link_to: Callable[[MessageQueue], object | None] | None = None,
        broker_of: Callable[[MessageQueue], str] = attrgetter("broker_name"),
        set_zero_if_not_found: bool | None = None,
    ) -> None:
        self._group = group
        self._api = api
        self._find_address = find_address
        self._link_to = link_to or _lasting
        self._broker_of = broker_of
        self._sent: dict[MessageQueue, _Sent] = {}
        self.refresh: Callable[[MessageQueue], None] = _nothing_new
        self._set_zero = set_zero_if_not_found
        self._table = OffsetTable()

    async def load(self) -> None:
        """Nothing to load: offsets are read queue by queue."""

    def update_offset(self, queue: MessageQueue, offset: int, *, increase_only: bool) -> None:
        """See `OffsetStore.update_offset`."""
        self._table.update(queue, offset, increase_only=increase_only)

    def update_and_freeze_offset(self, queue: MessageQueue, offset: int) -> None:
        """See `OffsetStore.update_and_freeze_offset`."""
        self._table.update_and_freeze(queue, offset)
        self._sent.pop(queue, None)  # even when the number is the same: the broker's may have moved

    async def read_offset(self, queue: MessageQueue, where: ReadOffset) -> int:
        """See `OffsetStore.read_offset`."""
        known = self._table.get(queue)
        if where is ReadOffset.READ_FROM_MEMORY or (where is ReadOffset.MEMORY_FIRST_THEN_STORE and known >= 0):
            return known
        return await self._query(await self._find_address(queue), queue, OFFSET_CALL_TIMEOUT)

    async def _query(self, address: str, queue: MessageQueue, timeout: float) -> int:
        try:
            return await self._api.query_consumer_offset(address, self._group, queue, set_zero_if_not_found=self._set_zero, timeout=timeout)
        except OffsetNotFoundError:
            return -1

    async def persist_all(self, queues: Collection[MessageQueue], *, confirm: bool = False) -> None:
        """See `OffsetStore.persist_all`: one request for each queue that needs it; with `confirm` for each, and with answers."""
        for queue in self._table.retain(queues):
            self._sent.pop(queue, None)
        by_broker: dict[str, list[MessageQueue]] = defaultdict(list)
        for queue in self._table.snapshot():
            by_broker[self._broker_of(queue)].append(queue)
        if confirm:
            deadline = asyncio.get_running_loop().time() + SAVE_TIMEOUT
            await asyncio.gather(*[self.persist_queues(own, deadline) for own in by_broker.values()])
        else:
            # All brokers at the same time: one that is silent costs the others nothing.
            await asyncio.gather(*[self._send_due(own) for own in by_broker.values()])

    async def _send_due(self, queues: Collection[MessageQueue]) -> None:
        """Send, one-way, the offsets of one broker that changed and those that are due."""
        now = asyncio.get_running_loop().time()
        link: object | None = None
        address: str | None = None
        for index, queue in enumerate(queues):
            if index == 0:
                link = self._link_to(queue)
            sent = self._sent.get(queue)
            # Read when it is sent: an older offset that leaves after a newer one, of a pull or a save, would move the broker's back.
            self.refresh(queue)
            offset = self._table.get(queue)
            unchanged = sent is not None and sent.offset == offset and sent.link is link
            if offset < 0 or (sent is not None and unchanged and sent.settled and now < sent.due):
                continue
            address = await self._send(queue, _Sent(offset, link, unchanged, now + random.uniform(RESEND_MIN, RESEND_MAX)), address)
            if address is None:
                return  # it cannot be reached

    async def persist(self, queue: MessageQueue) -> None:
        """See `OffsetStore.persist`; waits for the broker's answer."""
        await self.persist_queues([queue], asyncio.get_running_loop().time() + SAVE_TIMEOUT)

    async def persist_queues(self, queues: Collection[MessageQueue], deadline: float) -> None:
        """Save the offsets of some queues of one broker for certain, up to 16 at a time; never raises for a broker.

        A broker that does not answer is given up with its first silence: a time-out for each of its queues would hold up everything.

        Args:
            queues: The queues.
            deadline: Loop time at which it ends in any case.
        """
        wanted = [queue for queue in queues if self._table.get(queue) >= 0]
        # Of two first offsets of a topic that come at the same time brokers lose one, and 4.x brokers do not tell where it was 0.
        first = set({queue.topic: queue for queue in reversed(wanted)}.values())
        left = iter(first)
        clock = asyncio.get_running_loop().time
        silent = False

        async def save_some() -> None:
            nonlocal silent
            for queue in left:
                timeout = min(SAVE_TIMEOUT, deadline - clock())
                if silent or timeout <= 0:
                    return
                offset = self._table.get(queue)
                if offset < 0:
                    continue  # forgotten meanwhile: whoever has given the queue away has saved it
                if not await self._save(queue, offset, timeout):
                    silent = True

        await asyncio.gather(*[save_some() for _ in range(min(SAVES, len(first)))])
        left = iter([queue for queue in wanted if queue not in first])
        await asyncio.gather(*[save_some() for _ in range(min(SAVES, len(wanted) - len(first)))])

    async def _send(self, queue: MessageQueue, sent: _Sent, address: str | None) -> str | None:
        """Send it one-way and note it; gives back the broker's address, None when it cannot be reached."""
        self._sent[queue] = sent  # before it leaves: whoever forgets the queue meanwhile forgets this, too
        done = False
        try:
            found = address
            if found is None:
                found = await self._find_address(queue)
                self.refresh(queue)
                sent.offset = self._table.get(queue)
                if sent.offset < 0:
                    return found  # whoever has given the queue away has saved it
            await self._api.update_consumer_offset(found, self._group, queue, sent.offset, oneway=True)
            done = True
        except RocketMQError as error:
            return address if self._not_saved(queue, sent.offset, error) else None
        finally:
            if not done and self._sent.get(queue) is sent:
                del self._sent[queue]
        return found

    async def _save(self, queue: MessageQueue, offset: int, timeout: float) -> bool:
        """Save it for certain; False when the broker cannot be reached."""
        self._sent.pop(queue, None)  # the broker's offset may be another one than ours from now on
        try:
            address = await self._find_address(queue)
            await self._api.update_consumer_offset(address, self._group, queue, offset, timeout=timeout)
            if await self._query(address, queue, timeout) < offset:
                # Brokers serve pulls in other threads: the offset that came with our last pull may have been stored after this one.
                await self._api.update_consumer_offset(address, self._group, queue, offset, timeout=timeout)
        except RocketMQError as error:
            return self._not_saved(queue, offset, error)
        return True

    def _not_saved(self, queue: MessageQueue, offset: int, error: RocketMQError) -> bool:
        # What is consumed stays in memory and goes with the next save or pull.
        logger.info("offset %d of %s was not saved for group %s: %s", offset, queue, self._group, error)
        return not isinstance(error, RemotingError | BrokerNotFoundError)

    async def update_consume_offset_to_broker(self, queue: MessageQueue, offset: int, *, oneway: bool = False) -> None:
        """Commit an offset as it is, forward or backward (G17).

        Args:
            queue: The queue.
            offset: Next offset to consume.
            oneway: Do not wait for the broker's answer.

        Raises:
            RocketMQError: The broker refused, or could not be reached.
        """
        self._sent.pop(queue, None)  # the broker's offset may be another one than ours from now on
        address = await self._find_address(queue)
        await self._api.update_consumer_offset(address, self._group, queue, offset, oneway=oneway)

    def remove_offset(self, queue: MessageQueue) -> None:
        """See `OffsetStore.remove_offset`."""
        self._table.remove(queue)
        self._sent.pop(queue, None)

    def clone_offset_table(self, topic: str | None = None) -> dict[MessageQueue, int]:
        """See `OffsetStore.clone_offset_table`."""
        return self._table.snapshot(topic)


def _lasting(_: MessageQueue) -> None:
    """Stands for the connection to every broker."""


def _nothing_new(_: MessageQueue) -> None:
    """Stands for the look at what is consumed: all is told by `update_offset()`."""


def local_offset_directory(configured: str | Path | None, client_id: str, group: str) -> Path:
    """Where the offset file of a broadcasting group lives.

    Args:
        configured: Root directory, or None for `~/.rocketmq_offsets`.
        client_id: The client id: each member keeps offsets of its own.
        group: The consumer group.

    Raises:
        ConfigError: There is no home directory.
    """
    from pathlib import Path  # for the few consumers that broadcast, as in the next function

    try:
        root = Path(configured) if configured is not None else Path.home() / DEFAULT_DIRECTORY
    except RuntimeError as error:  # a container whose user has no entry in its passwd file
        raise ConfigError(
            f"local_offset_store_dir is None, and there is no home directory: {error}", hint="set local_offset_store_dir, or HOME"
        ) from None
    return root / file_name(client_id) / file_name(group)


def file_name(name: str) -> str:
    """A name as one part of a path: itself wherever that works, so that Java clients find it, else escaped or cut and marked."""
    from hashlib import sha1
    from urllib.parse import quote

    escaped = quote(name, safe=SAFE_IN_FILE_NAMES)
    if name in (".", "..") or any(character in name for character in FORBIDDEN_IN_FILE_NAMES):
        name = escaped.replace(".", "%2E") if name.strip(".") == "" else escaped
    if len(os.fsencode(name)) > FILE_NAME_MAX:
        name = f"{escaped[: FILE_NAME_MAX - 41]}-{sha1(escaped.encode()).hexdigest()}"
    return name


class LocalFileOffsetStore:
    """Offsets in a JSON file: the store of BROADCASTING groups (Java: `LocalFileOffsetStore`).

    The file is read and written by Java clients, too. It is replaced as a whole (a new file takes its name, the old one stays as `.bak`),
    so a kill at any moment leaves a readable one. It has a few hundred bytes: it is written in the event loop, and only after a change.

    Args:
        directory: Directory of `offsets.json`; made at the first save.
        names: The namespace, whose names the file has.
    """

    def __init__(self, directory: Path, names: Namespace | None = None) -> None:
        self._names = names or Namespace()
        self.path = directory / OFFSET_FILE
        self._table = OffsetTable()
        self._saved: dict[MessageQueue, int] = {}
        self._log = StateLog(logger)

    async def load(self) -> None:
        """Read the file, or its backup when it is damaged.

        A file that a power cut left empty counts as absent. When both are damaged the group starts anew by its `start_from`, as it must
        start somehow: an ERROR says so, and the damaged file is kept under another name.

        Raises:
            ConfigError: The system does not let it read either of them.
        """
        damaged: list[str] = []
        empty: list[str] = []
        unreadable: list[str] = []
        for path in (self.path, self.path.with_name(self.path.name + BACKUP_SUFFIX)):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                unreadable.append(f"{path}: {error.strerror}")
                continue
            if not data.strip(b"\0 \t\r\n"):
                empty.append(f"{path}: it is empty")
                continue
            try:
                parsed = _parse(data.removeprefix(codecs.BOM_UTF8))
            except ProtocolError as error:
                damaged.append(f"{path}: {error.message}")
                continue
            if problems := damaged + empty + unreadable:
                logger.warning("offset file %s, taken from the backup", problems[0])
            self._saved = {self._names.unwrap_queue(queue): offset for queue, offset in parsed.items()}
            self._table = OffsetTable(self._saved)
            return
        if unreadable:
            raise ConfigError(
                f"local offsets cannot be read: {'; '.join(unreadable + damaged)}",
                hint="repair or remove the files; without them the group starts anew",
            )
        if damaged:
            self._set_aside(damaged)

    def _set_aside(self, problems: list[str]) -> None:
        kept = self.path.with_name(self.path.name + DAMAGED_SUFFIX)
        with contextlib.suppress(OSError):
            os.replace(self.path, kept)
        logger.error("local offsets are damaged, the group starts anew by its start_from; %s: %s", kept, "; ".join(problems))

    def update_offset(self, queue: MessageQueue, offset: int, *, increase_only: bool) -> None:
        """See `OffsetStore.update_offset`."""
        self._table.update(queue, offset, increase_only=increase_only)

    def update_and_freeze_offset(self, queue: MessageQueue, offset: int) -> None:
        """See `OffsetStore.update_and_freeze_offset`."""
        self._table.update_and_freeze(queue, offset)

    async def read_offset(self, queue: MessageQueue, where: ReadOffset) -> int:
        """See `OffsetStore.read_offset`; memory holds all that the file does, from `load()` on."""
        known = self._table.get(queue)
        return known if known >= 0 or where is ReadOffset.READ_FROM_MEMORY else self._saved.get(queue, -1)

    async def persist_all(self, queues: Collection[MessageQueue], *, confirm: bool = False) -> None:
        """See `OffsetStore.persist_all`. Queues that are not owned now stay in the file: a broadcasting member comes back to them."""
        self._save()

    async def persist(self, queue: MessageQueue) -> None:
        """See `OffsetStore.persist`."""
        self._save()

    def _save(self) -> None:
        try:
            self.save()
        except ConfigError as error:
            self._log.failed("save", "%s; they stay in memory", error.message)
        else:
            self._log.worked("save", "offsets can be saved to %s again", self.path)

    def save(self) -> None:
        """Write the file, where something has changed.

        Raises:
            ConfigError: The system does not let it; the offsets stay in memory, for the next time.
        """
        offsets = {**self._saved, **self._table.snapshot()}
        if offsets == self._saved:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.path.with_name(self.path.name + ".tmp")
            fresh.write_bytes(fastjson.dumps({"offsetTable": {self._names.wrap_queue(queue): offset for queue, offset in offsets.items()}}))
            with contextlib.suppress(FileNotFoundError):
                os.replace(self.path, f"{self.path}{BACKUP_SUFFIX}")
            os.replace(fresh, self.path)
        except OSError as error:
            raise ConfigError(
                f"offsets cannot be saved to {self.path}: {error}",
                hint="let local_offset_store_dir be a directory that can be written and has room",
            ) from None
        self._saved = offsets

    def remove_offset(self, queue: MessageQueue) -> None:
        """See `OffsetStore.remove_offset`; the file keeps it."""
        self._table.remove(queue)

    def clone_offset_table(self, topic: str | None = None) -> dict[MessageQueue, int]:
        """See `OffsetStore.clone_offset_table`."""
        return self._table.snapshot(topic)


def _parse(data: bytes) -> dict[MessageQueue, int]:
    document = fastjson.loads(data)
    table = document.get("offsetTable") if isinstance(document, dict) else None
    if not isinstance(table, dict):
        raise ProtocolError("there is no offsetTable")
    offsets: dict[MessageQueue, int] = {}
    for queue, offset in table.items():
        known = isinstance(queue, MessageQueue) and isinstance(offset, int) and not isinstance(offset, bool)
        # No broker would ever answer a pull beyond its 64 bits; -1 is how Java notes that there is none.
        if not known or not -1 <= offset <= INT64_MAX:
            raise ProtocolError(f"offsetTable holds {str(queue)[:60]!r}: {str(offset)[:60]!r}")
        offsets[queue] = offset
    return offsets


def address_finder(
    find: Callable[[MessageQueue], str | None], update_route: Callable[[str], Awaitable[bool]]
) -> Callable[[MessageQueue], Awaitable[str]]:
    """Make the `find_address` of a `RemoteBrokerOffsetStore`.

    Args:
        find: Address of the broker that has a queue, as it is known now.
        update_route: Asks the name server for a topic's route.
    """

    async def address_of(queue: MessageQueue) -> str:
        address = find(queue)
        if address is None:
            await update_route(queue.topic)
            address = find(queue)
        if address is None:
            raise broker_not_found(queue.broker_name, topic=queue.topic)
        return address

    return address_of
