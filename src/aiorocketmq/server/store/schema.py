"""Tables of a broker's database, and how a connection to it is opened.

One schema serves files and memory. Java keeps the same facts in commit log, consume queues, index files and JSON configuration files.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from aiorocketmq.errors import ConfigError

SCHEMA_VERSION: Final = 1
"""Written to `PRAGMA user_version`; a database of another version is refused, never changed."""

_TABLES: Final = """
CREATE TABLE queues (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    queue_id INTEGER NOT NULL,
    min_offset INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, queue_id)
);
-- record is the message exactly as pulls return it; the short columns stand before it so that reading them touches no overflow page
CREATE TABLE messages (
    physical_offset INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    queue_offset INTEGER NOT NULL,
    tags_code INTEGER NOT NULL,
    store_timestamp INTEGER NOT NULL,
    record BLOB NOT NULL
);
CREATE UNIQUE INDEX messages_by_queue ON messages (queue, queue_offset);
-- ordered by the key's text: unique ids of one client grow, so its new entries land on one page
CREATE TABLE message_keys (
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    physical_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, key, physical_offset)
) WITHOUT ROWID;
CREATE TABLE scheduled (
    deliver_at INTEGER NOT NULL,
    physical_offset INTEGER NOT NULL,
    PRIMARY KEY (deliver_at, physical_offset)
) WITHOUT ROWID;
CREATE TABLE consumer_offsets (
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    queue_id INTEGER NOT NULL,
    committed INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic, queue_id)
) WITHOUT ROWID;
CREATE TABLE settings (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
"""


def open_database(path: Path | None, *, sync: bool) -> sqlite3.Connection:
    """Open, and where needed create, the database of one broker or name server.

    Args:
        path: File of the database; None keeps it in memory.
        sync: True makes every commit wait for the disk (`synchronous=FULL`).

    Raises:
        ConfigError: The file is in use by another process, is no database of ours, or its folder cannot be made.
    """
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        # The thread that commits with sync=True is not the one that reads; SQLite's own mutex serialises them.
        database = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=0.5, cached_statements=64)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            f"data_dir: {path} cannot be opened: {error}", hint="give a folder that this user may write to", cause=error
        ) from None
    try:
        _prepare(database, in_memory=path is None, sync=sync)
    except sqlite3.Error as error:
        database.close()
        hint = "stop the other server, or give another folder" if "locked" in str(error) else "give an empty folder, or restore the file"
        raise ConfigError(f"data_dir: database {path} cannot be used: {error}", hint=hint, cause=error) from None
    except ConfigError:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, *, in_memory: bool, sync: bool) -> None:
    execute = database.execute
    if not in_memory:
        # One process owns a store folder. The lock also spares SQLite its shared-memory file.
        execute("PRAGMA locking_mode=EXCLUSIVE")
        execute("PRAGMA journal_mode=WAL")
        execute(f"PRAGMA synchronous={'FULL' if sync else 'NORMAL'}")
        execute("PRAGMA cache_size=-8192")
    execute("PRAGMA temp_store=MEMORY")
    version = int(execute("PRAGMA user_version").fetchone()[0])
    if version == SCHEMA_VERSION:
        execute("BEGIN IMMEDIATE").connection.rollback()
        return
    if version or execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise ConfigError(f"data_dir: the database has schema version {version}, not {SCHEMA_VERSION}", hint="give an empty folder")
    database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
