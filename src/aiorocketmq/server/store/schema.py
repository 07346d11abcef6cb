"""Tables of a broker's database, and how a connection to it is opened.

One schema serves files and memory. Java keeps the same facts in commit log, consume queues, index files and JSON configuration files.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Final

from aiorocketmq.errors import ConfigError, RocketMQError

logger = logging.getLogger("aiorocketmq.server")

SCHEMA_VERSION: Final = 3
"""Written to `PRAGMA user_version`. An older database is changed to this version when it is opened; a newer one is refused."""

_DUE: Final = """
-- whatever is to be done at a time: at in milliseconds since the epoch, kind says what, key with what
CREATE TABLE due (
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (at, kind, key)
) WITHOUT ROWID;
CREATE INDEX due_by_key ON due (key);
"""

_POP: Final = """
-- queues that a group takes messages from, and those of their messages that are out: due is when one comes back, in milliseconds since the
-- epoch; the other columns are what its receipt says
CREATE TABLE pop_queues (
    id INTEGER PRIMARY KEY,
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    queue_id INTEGER NOT NULL,
    UNIQUE (topic, consumer_group, queue_id)
);
CREATE TABLE pop_taken (
    queue INTEGER NOT NULL,
    queue_offset INTEGER NOT NULL,
    pop_time INTEGER NOT NULL,
    start_offset INTEGER NOT NULL,
    due INTEGER NOT NULL,
    suspended INTEGER NOT NULL,
    PRIMARY KEY (queue, queue_offset, pop_time, start_offset)
) WITHOUT ROWID;
CREATE INDEX pop_taken_by_due ON pop_taken (due);
"""

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

_MIGRATIONS: Final = {
    1: f"{_DUE} INSERT INTO due SELECT deliver_at, 'delay', physical_offset FROM scheduled; DROP TABLE scheduled;",
    2: _POP,
}
"""How a database of each older version becomes one of the next."""


def open_database(path: Path | None, *, sync: bool) -> sqlite3.Connection:
    """Open, and where needed create or migrate, the database of one broker or name server.

    Args:
        path: File of the database; None keeps it in memory.
        sync: True makes every commit wait for the disk (`synchronous=FULL`).

    Raises:
        ConfigError: The file is in use by another process, is damaged or no database of ours, comes from a newer version, or its folder
            cannot be made.
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
        _prepare(database, path, sync=sync)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: SQLite's own text quotes what is damaged
        database.close()
        raise unusable(path, error) from None
    except ConfigError:
        database.close()
        raise
    return database


def unusable(path: Path | None, error: Exception) -> ConfigError:
    """The error for a database that does not do what it should; names the file and the cure."""
    if isinstance(error, RocketMQError) and error.cause is not None:
        error = error.cause if isinstance(error.cause, Exception) else error
    if "locked" in str(error):
        hint = "stop the other server, or give another folder"
    elif isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
        hint = "see that the disk has room, and that this user may write there"
    else:
        hint = f"it is damaged or no database: restore {path} from a copy, or move it away (with its -wal file) to begin anew"
    return ConfigError(f"data_dir: database {path} cannot be used: {error}", hint=hint, cause=error)


def _prepare(database: sqlite3.Connection, path: Path | None, *, sync: bool) -> None:
    execute = database.execute
    if path is not None:
        # One process owns a store folder. The lock also spares SQLite its shared-memory file.
        execute("PRAGMA locking_mode=EXCLUSIVE")
    else:
        execute("PRAGMA page_size=16384")  # less is lost at the ends of pages; a commit to a file would have more to write
    version = _version(database, path)  # before anything is changed: WAL is a mark in the file
    if path is not None:
        execute("PRAGMA journal_mode=WAL")
        execute(f"PRAGMA synchronous={'FULL' if sync else 'NORMAL'}")
        execute("PRAGMA cache_size=-8192")
    execute("PRAGMA temp_store=MEMORY")
    if version == SCHEMA_VERSION:
        execute("BEGIN IMMEDIATE").connection.rollback()
        return
    if version <= 0:
        script = _TABLES + _DUE + _POP
    else:
        script = "".join(_MIGRATIONS[step] for step in range(version, SCHEMA_VERSION))
        logger.warning("database %s is migrated from schema version %d to %d", path, version, SCHEMA_VERSION)
    # One transaction: a kill in between leaves the old version.
    database.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")


def _version(database: sqlite3.Connection, path: Path | None) -> int:
    """The schema's version, 0 for an empty database.

    Raises:
        ConfigError: It is newer than this program, or another program's database.
    """
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"data_dir: database {path} was written by a newer aiorocketmq (schema version {version}, this one knows {SCHEMA_VERSION})",
            hint="upgrade aiorocketmq, or give another folder",
        )
    if version <= 0 and database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise ConfigError(
            f"data_dir: {path} is a database of another program (schema version {version})", hint="give an empty folder, or another one"
        )
    return version
