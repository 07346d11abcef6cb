"""The offset stores."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aiorocketmq.consumer.offset_store import (
    LocalFileOffsetStore,
    OffsetStore,
    ReadOffset,
    RemoteBrokerOffsetStore,
    address_finder,
    local_offset_directory,
)
from aiorocketmq.errors import BrokerNotFoundError, ConfigError, ConnectError, OffsetNotFoundError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.memory_transport import PeerConnection
from tests.support.virtual_loop import virtual_time
from tests.unit.consumer.test_pulling import SETTLED, Seen
from tests.unit.consumer.world import TOPIC, ScriptedBroker, consuming, saved_queues

ONE, TWO, FAR = MessageQueue("orders", "broker-a", 0), MessageQueue("orders", "broker-a", 1), MessageQueue("orders", "broker-b", 0)

# As `LocalFileOffsetStore` of the Java client 5.3 writes it.
JAVA_FILE = b"""{
\t"offsetTable":{{
\t\t\t"brokerName":"broker-a",
\t\t\t"queueId":1,
\t\t\t"topic":"orders"
\t\t}:27,{
\t\t\t"brokerName":"broker-a",
\t\t\t"queueId":0,
\t\t\t"topic":"orders"
\t\t}:4
\t}
}"""


class FakeApi:
    """The part of `BrokerApi` that the store uses."""

    def __init__(self, offsets: Mapping[MessageQueue, int] | None = None) -> None:
        self.offsets = dict(offsets or {})
        self.updates: list[tuple[MessageQueue, int, bool]] = []
        self.asked: list[bool | None] = []
        self.failing: set[str] = set()
        self.overtaken: dict[MessageQueue, int] = {}

    async def query_consumer_offset(
        self, address: str, group: str, queue: MessageQueue, *, set_zero_if_not_found: bool | None = None, timeout: float = 5.0
    ) -> int:
        self.asked.append(set_zero_if_not_found)
        if queue not in self.offsets:
            raise OffsetNotFoundError("none")
        return self.offsets[queue]

    async def update_consumer_offset(
        self, address: str, group: str, queue: MessageQueue, offset: int, *, oneway: bool = False, timeout: float = 5.0
    ) -> None:
        self.updates.append((queue, offset, oneway))
        if queue.broker_name in self.failing:
            raise ConnectError("refused", address=address)
        self.offsets[queue] = offset
        if self.overtaken.get(queue, 0):
            self.overtaken[queue] -= 1
            self.offsets[queue] = offset - 1


async def address(queue: MessageQueue) -> str:
    return f"{queue.broker_name}:10911"


def remote(api: FakeApi, **fields: Any) -> RemoteBrokerOffsetStore:
    return RemoteBrokerOffsetStore("g", api, address, **fields)  # type: ignore[arg-type]


@pytest.mark.feature("G14", "G13")
async def test_reading_from_memory_and_from_the_broker() -> None:
    store = remote(FakeApi({ONE: 7}))
    assert await store.read_offset(ONE, ReadOffset.READ_FROM_MEMORY) == -1
    assert await store.read_offset(ONE, ReadOffset.MEMORY_FIRST_THEN_STORE) == 7
    store.update_offset(ONE, 9, increase_only=True)
    assert await store.read_offset(ONE, ReadOffset.MEMORY_FIRST_THEN_STORE) == 9
    assert await store.read_offset(ONE, ReadOffset.READ_FROM_STORE) == 7
    assert await store.read_offset(TWO, ReadOffset.READ_FROM_STORE) == -1


@pytest.mark.feature("G14")
async def test_set_zero_if_not_found_is_sent_as_asked() -> None:
    api = FakeApi({ONE: 7})
    await remote(api).read_offset(ONE, ReadOffset.READ_FROM_STORE)
    await remote(api, set_zero_if_not_found=False).read_offset(ONE, ReadOffset.READ_FROM_STORE)
    assert api.asked == [None, False]


@pytest.mark.feature("G13", "G17")
async def test_persisting_is_one_way_and_confirmed_at_the_end() -> None:
    api = FakeApi()
    store = remote(api)
    for queue, offset in ((ONE, 3), (TWO, 4), (FAR, 5)):
        store.update_offset(queue, offset, increase_only=True)
    await store.persist_all([ONE, TWO])
    assert api.updates == [(ONE, 3, True), (TWO, 4, True)]
    assert store.clone_offset_table() == {ONE: 3, TWO: 4}, "queues that are not owned are forgotten"
    api.updates.clear()
    await store.persist_all([ONE, TWO], confirm=True)
    await store.persist(ONE)
    await store.persist(FAR)
    assert api.updates == [(ONE, 3, False), (TWO, 4, False), (ONE, 3, False)]


class Rounds:
    """A store whose offsets are saved every 5 s, as the instance does it."""

    def __init__(self, api: FakeApi, *queues: MessageQueue) -> None:
        self.api = api
        self.queues = queues
        self.link: object = "first connection"
        self.store = remote(api, link_to=lambda _: self.link)

    async def save(self, rounds: int = 1, *, confirm: bool = False) -> list[tuple[MessageQueue, int]]:
        """What these rounds sent."""
        before = len(self.api.updates)
        for _ in range(rounds):
            await asyncio.sleep(5)
            await self.store.persist_all(self.queues, confirm=confirm)
        return [(queue, offset) for queue, offset, _ in self.api.updates[before:]]

    async def settle(self, **offsets: int) -> None:
        """Own the first queues with some offsets that the broker has for certain."""
        for queue, offset in zip(self.queues, offsets.values(), strict=False):
            self.store.update_offset(queue, offset, increase_only=True)
        await self.save(2)


@pytest.mark.feature("G13")
@virtual_time
async def test_unchanged_offsets_leave_in_two_rounds_and_then_seldom() -> None:
    rounds = Rounds(FakeApi(), ONE, TWO)
    rounds.store.update_offset(ONE, 3, increase_only=True)
    rounds.store.update_offset(TWO, 4, increase_only=True)
    assert await rounds.save() == [(ONE, 3), (TWO, 4)]
    assert await rounds.save() == [(ONE, 3), (TWO, 4)], "a pull from before may have brought an older one meanwhile"
    assert await rounds.save(3) == []
    rounds.store.update_offset(TWO, 5, increase_only=True)
    assert await rounds.save(2) == [(TWO, 5), (TWO, 5)]
    sent = len(await rounds.save(720))
    assert 2 * 40 <= sent <= 2 * 120, "each once in 30 to 90 s"


@pytest.mark.feature("G13", "G17")
@virtual_time
async def test_whatever_moves_an_offset_makes_it_leave_again() -> None:
    rounds = Rounds(FakeApi(), ONE, TWO)
    await rounds.settle(one=10, two=20)
    store = rounds.store
    store.update_and_freeze_offset(ONE, 7)
    assert await rounds.save() == [(ONE, 7)], "a reset goes back"
    await rounds.save()
    store.update_and_freeze_offset(ONE, 7)
    assert await rounds.save() == [(ONE, 7)], "a reset to the same offset: the broker may have another one"
    await rounds.save()
    await store.update_consume_offset_to_broker(TWO, 1)
    assert await rounds.save() == [(TWO, 20)]
    await rounds.save()
    store.remove_offset(TWO)
    store.update_offset(TWO, 20, increase_only=True)
    assert await rounds.save() == [(TWO, 20)], "given up and taken over again"
    await rounds.save()
    store.update_offset(TWO, 5, increase_only=True)
    assert await rounds.save() == []


@pytest.mark.feature("G13")
@virtual_time
async def test_offset_that_did_not_leave_or_went_with_a_lost_connection_leaves_again() -> None:
    rounds = Rounds(FakeApi(), ONE, FAR)
    await rounds.settle(one=10, far=20)
    rounds.api.failing = {"broker-a"}
    rounds.store.update_offset(ONE, 11, increase_only=True)
    assert await rounds.save(3) == [(ONE, 11)] * 3, "tried again each round"
    rounds.api.failing = set()
    assert await rounds.save(3) == [(ONE, 11)] * 2
    rounds.link = "second connection"
    assert await rounds.save(3) == [(ONE, 11), (FAR, 20)] * 2


@pytest.mark.feature("G13")
@virtual_time
async def test_offset_that_leaves_while_the_connection_changes_counts_for_nothing() -> None:
    class Changing(FakeApi):
        async def update_consumer_offset(
            self, address: str, group: str, queue: MessageQueue, offset: int, *, oneway: bool = False, timeout: float = 5.0
        ) -> None:
            await super().update_consumer_offset(address, group, queue, offset, oneway=oneway)
            if len(self.updates) == 1:
                rounds.link = "second connection"

    rounds = Rounds(Changing(), ONE)
    rounds.store.update_offset(ONE, 10, increase_only=True)
    assert await rounds.save(4) == [(ONE, 10)] * 3


@pytest.mark.feature("G13")
@virtual_time
async def test_queue_forgotten_while_its_offset_leaves_is_not_taken_for_saved() -> None:
    class Forgetting(FakeApi):
        async def update_consumer_offset(
            self, address: str, group: str, queue: MessageQueue, offset: int, *, oneway: bool = False, timeout: float = 5.0
        ) -> None:
            await super().update_consumer_offset(address, group, queue, offset, oneway=oneway)
            if len(self.updates) == 4:
                rounds.store.remove_offset(queue)

    rounds = Rounds(Forgetting(), ONE)
    await rounds.settle(one=10)
    rounds.store.update_offset(ONE, 11, increase_only=True)
    assert await rounds.save(2) == [(ONE, 11)] * 2
    rounds.store.update_offset(ONE, 11, increase_only=True)
    assert await rounds.save() == [(ONE, 11)]


@pytest.mark.feature("G13")
@virtual_time
async def test_stop_saves_unchanged_offsets_too() -> None:
    rounds = Rounds(FakeApi(), ONE, TWO)
    await rounds.settle(one=10, two=20)
    assert await rounds.save() == []
    assert await rounds.save(confirm=True) == [(ONE, 10), (TWO, 20)]
    assert [oneway for _, _, oneway in rounds.api.updates[-2:]] == [False, False]


@pytest.mark.feature("G13")
async def test_offset_of_an_older_pull_that_comes_late_is_corrected() -> None:
    api = FakeApi()
    api.overtaken = {ONE: 1}
    store = remote(api)
    store.update_offset(ONE, 10, increase_only=True)
    await store.persist_all([ONE], confirm=True)
    assert api.offsets[ONE] == 10
    assert api.updates == [(ONE, 10, False), (ONE, 10, False)]


@pytest.mark.feature("G13")
async def test_newest_offset_is_sent_however_long_the_saving_takes() -> None:
    class Slow(FakeApi):
        async def update_consumer_offset(
            self, address: str, group: str, queue: MessageQueue, offset: int, *, oneway: bool = False, timeout: float = 5.0
        ) -> None:
            await super().update_consumer_offset(address, group, queue, offset, oneway=oneway)
            store.update_offset(TWO, 21, increase_only=True)

    api = Slow()
    store = remote(api)
    store.update_offset(ONE, 10, increase_only=True)
    store.update_offset(TWO, 20, increase_only=True)
    await store.persist_all([ONE, TWO])
    assert api.updates == [(ONE, 10, True), (TWO, 21, True)]


@pytest.mark.feature("G13")
@virtual_time
async def test_no_save_takes_a_commit_back_that_a_pull_has_brought_meanwhile() -> None:
    broker, commits = ScriptedBroker(), list[int]()
    pull, update = broker._pull, broker._update_offset

    def pulled(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand | None:
        if request.ext_fields["topic"] == TOPIC and int(request.ext_fields["sysFlag"]) & 1:
            commits.append(int(request.ext_fields["commitOffset"]))
        return pull(request, connection)

    def updated(request: RemotingCommand, connection: PeerConnection) -> RemotingCommand:
        if request.ext_fields["topic"] == TOPIC:
            commits.append(int(request.ext_fields["commitOffset"]))
        return update(request, connection)

    broker.peer.on(RequestCode.PULL_MESSAGE, pulled)
    broker.peer.on(RequestCode.UPDATE_CONSUMER_OFFSET, updated)
    async with consuming(broker, Seen()) as runtime:
        await asyncio.sleep(SETTLED)
        for turns in range(24):
            for turn in range(30):
                if turn == turns:
                    saving = asyncio.ensure_future(runtime.persist_offsets())
                if turn % 2:
                    broker.append(b"x")
                await asyncio.sleep(0)
            await saving
            await asyncio.sleep(0.1)
    assert commits[-1] == 24 * 15
    assert commits == sorted(commits)


@pytest.mark.feature("G13")
async def test_offset_that_waits_for_an_address_leaves_as_the_newest_or_not_at_all() -> None:
    api = FakeApi()

    async def slow(queue: MessageQueue) -> str:
        if queue == ONE:
            store.update_offset(ONE, 11, increase_only=True)
        else:
            store.remove_offset(TWO)
        return await address(queue)

    store = RemoteBrokerOffsetStore("g", api, slow)  # type: ignore[arg-type]
    for queue in (ONE, TWO):
        store.update_offset(queue, 10, increase_only=True)
        await store.persist_all([queue])
    assert api.updates == [(ONE, 11, True)]


@pytest.mark.feature("G13")
async def test_queue_forgotten_while_others_are_saved_is_not_saved_as_nothing() -> None:
    class Forgetting(FakeApi):
        async def update_consumer_offset(
            self, address: str, group: str, queue: MessageQueue, offset: int, *, oneway: bool = False, timeout: float = 5.0
        ) -> None:
            await super().update_consumer_offset(address, group, queue, offset, oneway=oneway)
            store.remove_offset(queues[-1])

    api = Forgetting()
    store = remote(api)
    queues = [MessageQueue("orders", "broker-a", number) for number in range(17)]
    for queue in queues:
        store.update_offset(queue, 10, increase_only=True)
    await store.persist_queues(queues, asyncio.get_running_loop().time() + 5)
    assert [offset for _, offset, _ in api.updates] == [10] * 16


@pytest.mark.feature("G13")
async def test_first_offsets_of_a_topic_do_not_push_each_other_out_of_the_table_of_the_broker() -> None:
    class Racing(FakeApi):
        """As brokers do it: the table of a topic and a group is made with its first offset, which two threads may do at once."""

        def __init__(self) -> None:
            super().__init__()
            self.tables: dict[str, dict[MessageQueue, int]] = {}

        async def update_consumer_offset(
            self, address: str, group: str, queue: MessageQueue, offset: int, *, oneway: bool = False, timeout: float = 5.0
        ) -> None:
            table = self.tables.get(queue.topic, {})
            await asyncio.sleep(0.001)
            table[queue] = self.offsets[queue] = offset
            self.tables[queue.topic] = table

    api = Racing()
    store = remote(api)
    queues = [MessageQueue(topic, "broker-a", number) for topic in ("orders", "returns") for number in range(8)]
    for queue in queues:
        store.update_offset(queue, 0, increase_only=True)
    await store.persist_queues(queues, asyncio.get_running_loop().time() + 5)
    assert {queue for table in api.tables.values() for queue in table} == set(queues)


@pytest.mark.feature("G13")
async def test_broker_that_is_gone_is_tried_once_and_the_offsets_stay() -> None:
    api = FakeApi()
    api.failing = {"broker-a"}
    store = remote(api)
    for queue in (ONE, TWO, FAR):
        store.update_offset(queue, 1, increase_only=True)
    for confirm in (True, False):
        api.updates.clear()
        await store.persist_all([ONE, TWO, FAR], confirm=confirm)
        assert [queue.broker_name for queue, _, _ in api.updates] == ["broker-a", "broker-b"]
    assert len(store.clone_offset_table()) == 3


@pytest.mark.feature("G17")
async def test_explicit_commit_may_go_back() -> None:
    api = FakeApi()
    store = remote(api)
    await store.update_consume_offset_to_broker(ONE, 1)
    await store.update_consume_offset_to_broker(ONE, 0, oneway=True)
    assert api.updates == [(ONE, 1, False), (ONE, 0, True)]
    api.failing = {"broker-a"}
    with pytest.raises(ConnectError):
        await store.update_consume_offset_to_broker(ONE, 2)


async def test_address_comes_from_a_fresh_route_when_it_is_not_known() -> None:
    known: dict[str, str] = {}
    asked: list[str] = []

    async def update(topic: str) -> bool:
        asked.append(topic)
        if len(asked) > 1:
            known["broker-a"] = "host:1"
        return True

    find = address_finder(lambda queue: known.get(queue.broker_name), update)
    with pytest.raises(BrokerNotFoundError, match="broker-a"):
        await find(ONE)
    assert await find(ONE) == "host:1"
    assert await find(ONE) == "host:1"
    assert asked == ["orders", "orders"]


@pytest.mark.feature("G15")
async def test_file_of_a_java_client_is_read(tmp_path: Path) -> None:
    (tmp_path / "offsets.json").write_bytes(JAVA_FILE)
    store = LocalFileOffsetStore(tmp_path)
    await store.load()
    assert await store.read_offset(TWO, ReadOffset.READ_FROM_STORE) == 27
    assert store.clone_offset_table() == {TWO: 27, ONE: 4}


@pytest.mark.feature("G15")
async def test_file_is_written_after_changes_only_and_the_old_one_kept(tmp_path: Path) -> None:
    directory = tmp_path / "client" / "group"
    store = LocalFileOffsetStore(directory)
    await store.load()
    await store.persist_all([])
    assert not directory.exists(), "nothing is opened before there is something to save"
    store.update_offset(ONE, 5, increase_only=True)
    await store.persist_all([ONE])
    path = directory / "offsets.json"
    assert saved_queues(path.read_bytes()) == {ONE: 5}
    before = path.stat().st_mtime_ns
    await store.persist(ONE)
    assert path.stat().st_mtime_ns == before
    store.update_offset(ONE, 6, increase_only=True)
    store.update_offset(ONE, 2, increase_only=True)
    await store.persist(ONE)
    assert saved_queues(path.read_bytes()) == {ONE: 6}
    assert saved_queues((directory / "offsets.json.bak").read_bytes()) == {ONE: 5}
    store.remove_offset(ONE)
    assert await store.read_offset(ONE, ReadOffset.READ_FROM_STORE) == 6, "the file keeps what is not owned"


@pytest.mark.feature("G15")
@pytest.mark.parametrize("damage", [b"", b"{", b'{"offsetTable":[]}', b'{"offsetTable":{"x":1}}', b"\xff\xfe"])
async def test_damaged_file_is_replaced_by_its_backup(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "offsets.json").write_bytes(damage)
    (tmp_path / "offsets.json.bak").write_bytes(JAVA_FILE)
    store = LocalFileOffsetStore(tmp_path)
    await store.load()
    assert store.clone_offset_table()[TWO] == 27
    assert "backup" in caplog.text


@pytest.mark.feature("G15")
@pytest.mark.parametrize("damage", [b"", b"\0" * 400, JAVA_FILE[:40], b"\xff\xfe"])
async def test_damaged_file_without_backup_does_not_keep_the_group_from_starting(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "offsets.json"
    path.write_bytes(damage)
    store = LocalFileOffsetStore(tmp_path)
    await store.load()
    assert store.clone_offset_table() == {}
    if damage.strip(b"\0"):
        assert "starts anew" in caplog.text
        assert path.with_name("offsets.json.damaged").read_bytes() == damage
    else:
        assert caplog.records == [], "an empty file counts as absent"
    store.update_offset(ONE, 5, increase_only=True)
    await store.persist(ONE)
    assert saved_queues(path.read_bytes()) == {ONE: 5}


@pytest.mark.feature("G15")
@pytest.mark.parametrize("offset", [2**63, 10**30, -2])
async def test_offset_that_no_broker_can_have_is_damage(tmp_path: Path, offset: int, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "offsets.json").write_bytes(JAVA_FILE.replace(b"27", b"%d" % offset))
    store = LocalFileOffsetStore(tmp_path)
    await store.load()
    assert store.clone_offset_table() == {}
    assert "starts anew" in caplog.text


async def test_directory_that_cannot_be_written_is_told_and_not_without_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    store = LocalFileOffsetStore(tmp_path / "file" / "below")
    for offset in range(20):
        store.update_offset(ONE, offset, increase_only=True)
        await store.persist(ONE)
    assert len([record for record in caplog.records if "cannot be saved" in record.getMessage()]) == 1
    (tmp_path / "file").unlink()
    await store.persist(ONE)
    assert saved_queues(store.path.read_bytes()) == {ONE: 19}


def test_no_home_directory_is_an_error_that_names_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(ConfigError, match="local_offset_store_dir"):
        local_offset_directory(None, "c", "g")


async def test_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "offsets.json").write_bytes(b"\xef\xbb\xbf" + JAVA_FILE)
    store = LocalFileOffsetStore(tmp_path)
    await store.load()
    assert store.clone_offset_table()[TWO] == 27


async def test_file_that_the_system_does_not_let_us_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "offsets.json").mkdir()
    with pytest.raises(ConfigError, match=r"offsets\.json"):
        await LocalFileOffsetStore(tmp_path).load()


@pytest.mark.feature("G15")
async def test_file_keeps_the_offsets_of_queues_that_are_not_owned_now(tmp_path: Path) -> None:
    store = LocalFileOffsetStore(tmp_path)
    await store.load()
    store.update_offset(ONE, 5, increase_only=True)
    await store.persist(ONE)
    store.remove_offset(ONE)
    store.update_offset(TWO, 1, increase_only=True)
    await store.persist_all([TWO])
    assert saved_queues((tmp_path / "offsets.json").read_bytes()) == {ONE: 5, TWO: 1}


@pytest.mark.parametrize("name", ["../../x", "..", "a/b", "x" * 300, "ä" * 150, "a\0b"])
async def test_no_instance_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    for client_id in (name, f"10.0.0.1@{name}"):
        store = LocalFileOffsetStore(local_offset_directory(root, client_id, "g"))
        await store.load()
        store.update_offset(ONE, 5, increase_only=True)
        await store.persist(ONE)
        assert store.path.parent.parent.parent == root
        assert root in store.path.resolve().parents
        assert saved_queues(store.path.read_bytes()) == {ONE: 5}
    assert local_offset_directory(root, f"{name}1", "g") != local_offset_directory(root, f"{name}2", "g")


def test_directory_of_an_ordinary_client_is_the_one_of_java_clients(tmp_path: Path) -> None:
    assert local_offset_directory(tmp_path, "10.0.0.1@one#unit:x", "g") == tmp_path / "10.0.0.1@one#unit:x" / "g"


async def test_directory_that_cannot_be_written_is_logged_and_the_offsets_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    store = LocalFileOffsetStore(tmp_path / "file")
    store.update_offset(ONE, 5, increase_only=True)
    await store.persist(ONE)
    assert "cannot be saved" in caplog.text
    assert store.clone_offset_table() == {ONE: 5}


def test_place_of_the_file_is_javas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_offset_directory(None, "1.2.3.4@DEFAULT", "g") == tmp_path / ".rocketmq_offsets" / "1.2.3.4@DEFAULT" / "g"
    assert local_offset_directory("/srv/offsets", "c", "g") == Path("/srv/offsets/c/g")


def test_stores_are_recognised_by_shape(tmp_path: Path) -> None:
    assert isinstance(LocalFileOffsetStore(tmp_path), OffsetStore)
    assert isinstance(remote(FakeApi()), OffsetStore)
