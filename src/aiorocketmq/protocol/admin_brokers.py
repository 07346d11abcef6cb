"""Records of brokers for administrators: RocksDB (354, 355), cold reads (2001 to 2004), timers (60, 61, 5001), who pops (402).

Java: `CheckRocksdbCqWriteProgressRequestHeader`, `CheckRocksdbCqWriteResult`, `ExportRocksDBConfigToJsonRequestHeader`, the text of
`ColdDataCgCtrService`, `TimerMetrics`, `MessageRequestModeSerializeWrapper`. All are of 5.x; 4.9.7 answers them with code 3. Settings
(25, 26) and limits of cold reads (2001) are in `properties_text`; the answer to 28 is a `KVTable`, that to 315 in `bodies_admin`. 2002
has the group's name as its body.
"""

from __future__ import annotations

from typing import ClassVar, Final

from aiorocketmq.protocol.beans import Bean, field
from aiorocketmq.protocol.bodies_admin import DataVersion
from aiorocketmq.protocol.bodies_client import SetMessageRequestModeRequestBody
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header, wire
from aiorocketmq.protocol.limits import Int32, Int64, Name, OptionalName, Word

__all__ = [
    "CheckRocksdbCqWriteProgressRequestHeader",
    "CheckRocksdbCqWriteResult",
    "ColdDataFlowInfo",
    "ColdRead",
    "ExportRocksDBConfigToJsonRequestHeader",
    "MessageRequestModes",
    "SetCommitLogReadModeRequestHeader",
    "SwitchTimerEngineRequestHeader",
    "TimerMetric",
    "TimerMetrics",
]

CONFIG_TYPES: Final = ("topics", "subscriptionGroups", "consumerOffsets")
"""What 355 exports."""
READ_NORMAL: Final = 0
READ_RANDOM: Final = 1


class CheckRocksdbCqWriteProgressRequestHeader(Header):
    """Compare the queues of RocksDB with those of files (354); `check_store_time` in milliseconds since the epoch: from when on."""

    CODE: ClassVar[int | None] = RequestCode.CHECK_ROCKSDB_CQ_WRITE_PROGRESS

    topic: OptionalName | None = None
    check_store_time: Int64 = 0


class CheckRocksdbCqWriteResult(Bean):
    """Answer to 354: 0 equal, 1 different, 2 still at it, 3 failed; `check_result` is a text for people."""

    check_result: str | None = None
    check_status: int = 0


class ExportRocksDBConfigToJsonRequestHeader(Header):
    """Let a broker write settings that it keeps in RocksDB to JSON files beside them (355): names of `CONFIG_TYPES`, each with a `;`."""

    CODE: ClassVar[int | None] = RequestCode.EXPORT_ROCKSDB_CONFIG_TO_JSON

    config_type: Word


class SetCommitLogReadModeRequestHeader(Header):
    """Whether the kernel reads ahead in the commit log (2004): `READ_NORMAL` or `READ_RANDOM`."""

    CODE: ClassVar[int | None] = RequestCode.SET_COMMITLOG_READ_MODE

    mode: Int32 = wire("READ_AHEAD_MODE", default=READ_NORMAL)


class ColdRead(Bean):
    """What one group reads of cold data: bytes in this second, and the time of the last one, milliseconds since the epoch."""

    cold_acc: int = 0
    last_cold_read_time_mills: int = 0
    create_time_mills: int = 0


class ColdDataFlowInfo(Bean):
    """Answer to 2003.

    Attributes:
        runtime_table: Group → what it reads.
        config_table: Group → its limit, bytes a second.
        cg_cold_read_threshold: Limit of a group that has none of its own.
        global_cold_read_threshold: Limit of all together.
        global_acc: What all read in this second.
    """

    runtime_table: dict[str, ColdRead] = field(default_factory=dict)
    config_table: dict[str, int] = field(default_factory=dict)
    cg_cold_read_threshold: int = 0
    global_cold_read_threshold: int = 0
    global_acc: int = 0


class SwitchTimerEngineRequestHeader(Header):
    """Which engine keeps delayed messages (5001, from 5.4 on): `F` the wheel in files, `R` RocksDB."""

    CODE: ClassVar[int | None] = RequestCode.SWITCH_TIMER_ENGINE

    engine: Name = wire("E_T")


class TimerMetric(Bean):
    """Delayed messages of one topic that wait, and when that changed, milliseconds since the epoch."""

    count: int = 0
    time_stamp: int = 0


class TimerMetrics(Bean):
    """Delayed messages that wait, by topic (61)."""

    timing_count: dict[str, TimerMetric] = field(default_factory=dict)
    data_version: DataVersion | None = None


class MessageRequestModes(Bean):
    """Which groups pop (402): topic → group → its mode."""

    message_request_mode_map: dict[str, dict[str, SetMessageRequestModeRequestBody]] = field(default_factory=dict)
