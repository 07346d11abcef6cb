"""The database file: migrated from older versions, refused when it is newer, foreign or damaged."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from pathlib import Path

import pytest

from aiorocketmq.errors import ConfigError, ServiceNotAvailableError
from aiorocketmq.server import LocalCluster
from aiorocketmq.server.store.records import DELAY, DueEntry, PendingMessage
from aiorocketmq.server.store.schema import SCHEMA_VERSION, open_database
from aiorocketmq.server.store.store import Store
from tests.unit.server.harness import NOW, settle

VERSION_1 = """
CREATE TABLE queues (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, queue_id INTEGER NOT NULL, min_offset INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, queue_id)
);
CREATE TABLE messages (
    physical_offset INTEGER PRIMARY KEY, queue INTEGER NOT NULL, queue_offset INTEGER NOT NULL, tags_code INTEGER NOT NULL,
    store_timestamp INTEGER NOT NULL, record BLOB NOT NULL
);
CREATE UNIQUE INDEX messages_by_queue ON messages (queue, queue_offset);
CREATE TABLE message_keys (
    topic TEXT NOT NULL, key TEXT NOT NULL, physical_offset INTEGER NOT NULL, PRIMARY KEY (topic, key, physical_offset)
) WITHOUT ROWID;
CREATE TABLE scheduled (
    deliver_at INTEGER NOT NULL, physical_offset INTEGER NOT NULL, PRIMARY KEY (deliver_at, physical_offset)
) WITHOUT ROWID;
CREATE TABLE consumer_offsets (
    consumer_group TEXT NOT NULL, topic TEXT NOT NULL, queue_id INTEGER NOT NULL, committed INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic, queue_id)
) WITHOUT ROWID;
CREATE TABLE settings (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
PRAGMA user_version=1;
"""


def open_store(path: Path) -> Store:
    store = Store(path, store_host=(b"\x7f\x00\x00\x01", 1), now_ms=lambda: NOW)
    store.open()
    return store


async def filled(path: Path, messages: int = 3) -> None:
    """A database with messages, one of them delayed, and an offset."""
    store = open_store(path)
    for number in range(messages):
        store.append(PendingMessage("t", 0, b"%d" % number * 100, b""))
    store.append(PendingMessage("parked", 0, b"later", b"", deliver_at=NOW + 5))
    store.put_offset("g", "t", 0, 2)
    await store.close()


def tables(path: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


async def test_a_database_of_version_1_is_migrated(tmp_path: Path) -> None:
    new, old = tmp_path / "new.db", tmp_path / "old.db"
    await filled(new)
    with contextlib.closing(sqlite3.connect(old)) as database:
        database.executescript(VERSION_1)
        database.execute("ATTACH ? AS new", (str(new),))
        for table in ("queues", "messages", "message_keys", "consumer_offsets", "settings"):
            database.execute(f"INSERT INTO {table} SELECT * FROM new.{table}")
        database.execute("INSERT INTO scheduled SELECT at, key FROM new.due")
        database.commit()
    for _ in range(2):
        store = open_store(old)
        assert store.bounds("t", 0) == (0, 3)
        assert list(store.offsets()) == [("g", "t", 0, 2)]
        ((at, kind, key),) = store.scheduled_between(0, NOW * 2)
        assert (at, kind) == (NOW + 5, DELAY) and store.record_at(key) is not None
        await store.close()
    assert tables(old) == tables(new)
    with contextlib.closing(sqlite3.connect(old)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


async def test_a_migration_that_fails_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "b.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(VERSION_1)
        database.execute("INSERT INTO scheduled VALUES (?, 0)", (NOW,))
        database.commit()
    migrations = "aiorocketmq.server.store.schema._MIGRATIONS"
    monkeypatch.setattr(migrations, {1: "CREATE TABLE due (at); DROP TABLE scheduled; INSERT INTO nowhere VALUES (1);", 2: ""})
    with pytest.raises(ConfigError, match=r"b\.db cannot be used"):
        open_database(path, sync=False)
    monkeypatch.undo()
    assert "due" not in tables(path)
    store = open_store(path)
    assert store.scheduled_between(0, NOW * 2) == [DueEntry(NOW, DELAY, 0)]
    await store.close()


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
        database.execute("CREATE TABLE of_the_future (a)")
    with pytest.raises(ConfigError, match=rf"b\.db was written by a newer aiorocketmq \(schema version {SCHEMA_VERSION + 1}") as caught:
        open_database(path, sync=False)
    assert "upgrade" in (caught.value.hint or "")
    assert tables(path) == {"of_the_future"}


@pytest.mark.parametrize("damage", ["first page", "other pages", "cut", "not a database", "schema"])
async def test_a_damaged_file_is_named_with_the_cure(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "b.db"
    await filled(path, 300)
    data = bytearray(path.read_bytes())
    assert len(data) > 4096 * 4
    if damage == "first page":
        data[100:4096] = b"\xa5" * 3996
    elif damage == "other pages":
        data[4096:] = b"\xa5" * (len(data) - 4096)
    elif damage == "cut":
        del data[4096 * 2 :]
    elif damage == "schema":
        at = data.index(b"CREATE TABLE settings")
        data[at : at + 15] = b"CREATE \xf5\xf5\xf5\xf5\xf5\xf5\xf5\xf5"  # SQLite quotes it, which is no UTF-8
    else:
        data[:] = b"this is no database at all, but a text that is long enough to be one" * 10
    path.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match=r"b\.db cannot be used") as caught:
        store = open_store(path)
        await store.close()
    assert "restore" in (caught.value.hint or "") and str(path) in (caught.value.hint or "")
    assert path.read_bytes() == bytes(data), "what is damaged is not made worse"


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("broker-a.db", "UPDATE settings SET value = 'nonsense' WHERE kind = 'topic'"),
        ("broker-a.db", "UPDATE settings SET value = '{' WHERE kind = 'group'"),
        ("broker-a.db", "UPDATE settings SET value = x'ff00' WHERE kind = 'topic'"),
        ("broker-a.db", "INSERT INTO settings VALUES ('store', 'next_physical_offset', 'many')"),
        ("broker-a.db", "UPDATE messages SET queue_offset = 'many'"),
        ("broker-a.db", "DROP TABLE consumer_offsets"),
        ("namesrv.db", "INSERT INTO settings VALUES ('a', 'b', x'ff')"),
        ("namesrv.db", "DROP TABLE settings"),
    ],
)
async def test_what_a_damaged_file_holds_is_an_error_that_names_it(tmp_path: Path, file: str, damage: str) -> None:
    async with LocalCluster(data_dir=tmp_path) as cluster:
        await cluster.create_topic("t")
        cluster.brokers[0].state.store.append(PendingMessage("t", 0, b"x", b""))
    with contextlib.closing(sqlite3.connect(tmp_path / file, isolation_level=None)) as database:
        database.execute(damage)
    for _ in range(2):  # the first try keeps nothing open
        with pytest.raises(ConfigError, match=rf"{re.escape(file)} cannot be used") as caught:
            await LocalCluster(data_dir=tmp_path).start()
        assert "locked" not in str(caught.value)


async def test_a_file_that_goes_bad_later_is_an_error_of_ours(tmp_path: Path) -> None:
    store = open_store(tmp_path / "b.db")
    store.append(PendingMessage("t", 0, b"x", b""))
    await settle()
    store._db.execute("DROP TABLE messages")
    told: list[object] = []
    for read in (
        lambda: store.record_at(0),
        store.stored_bytes,
        lambda: list(store.oldest(5)),
        lambda: store.find_by_key("t", "k", 0, 1, 1),
    ):
        with pytest.raises(ServiceNotAvailableError, match="cannot be read"):
            read()
    store.append(PendingMessage("t", 0, b"x", b"", done=lambda message, error: told.append(error)))
    await settle()
    assert isinstance(told[0], ServiceNotAvailableError)
    await asyncio.sleep(0)
    store.abandon()


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
@pytest.mark.parametrize("file", ["broker-a.db", "namesrv.db"])
async def test_a_database_that_is_refused_is_left_byte_for_byte(tmp_path: Path, file: str, version: int) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / file)) as database:
        database.execute("CREATE TABLE of_another_program (a)")
        database.execute(f"PRAGMA user_version={version}")
    before = (tmp_path / file).read_bytes()
    with pytest.raises(ConfigError, match=re.escape(file)):
        await LocalCluster(data_dir=tmp_path).start()
    assert (tmp_path / file).read_bytes() == before
