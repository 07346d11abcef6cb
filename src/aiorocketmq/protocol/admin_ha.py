"""Records of replication and its controllers (907, 908, 1002, 1004 to 1007, 1011; Java: `HARuntimeInfo`, `EpochEntryCache`,
`BrokerReplicasInfo`, and the headers in `...protocol.header.controller`). All are of 5.x; 4.9.7 answers them with code 3.

1005 has no header; the body of 1006 is a list of broker names (`encode_names`); settings of controllers (1009, 1010) are in
`properties_text`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.beans import Bean, field
from aiorocketmq.protocol.bodies_admin import BrokerMemberGroup
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header
from aiorocketmq.protocol.limits import Int64, Name, Offset, OptionalName, Word

__all__ = [
    "BrokerReplicasInfo",
    "CleanControllerBrokerDataRequestHeader",
    "ElectMasterRequestHeader",
    "ElectMasterResponseBody",
    "ElectMasterResponseHeader",
    "EpochEntry",
    "EpochEntryCache",
    "GetMetaDataResponseHeader",
    "GetReplicaInfoRequestHeader",
    "GetReplicaInfoResponseHeader",
    "HAClientRuntimeInfo",
    "HAConnectionRuntimeInfo",
    "HARuntimeInfo",
    "ReplicaIdentity",
    "ReplicasInfo",
    "ResetMasterFlushOffsetHeader",
    "SyncStateSet",
    "encode_names",
]

# --- brokers --------------------------------------------------------------------------------------------------------------------------


class HAConnectionRuntimeInfo(Bean):
    """One slave, as its master sees it.

    Attributes:
        addr: Address of its connection.
        slave_ack_offset: Up to where it has the commit log.
        diff: Bytes that it lacks.
        in_sync: Whether it counts as one that follows.
        transferred_byte_in_second: Bytes a second that it gets.
        transfer_from_where: Where the next transfer begins.
    """

    addr: str | None = None
    slave_ack_offset: int = 0
    diff: int = 0
    in_sync: bool = False
    transferred_byte_in_second: int = 0
    transfer_from_where: int = 0


class HAClientRuntimeInfo(Bean):
    """A slave's own view. (Java has a field `isActivated` that never travels.) Times are milliseconds since the epoch.

    Attributes:
        master_addr: Where it follows; None when it follows nobody.
        transferred_byte_in_second: Bytes a second that it gets.
        max_offset: End of its commit log.
        last_read_timestamp: When it last got something.
        last_write_timestamp: When it last told its offset.
        master_flush_offset: Up to where its master has flushed.
    """

    master_addr: str | None = None
    transferred_byte_in_second: int = 0
    max_offset: int = 0
    last_read_timestamp: int = 0
    last_write_timestamp: int = 0
    master_flush_offset: int = 0


class HARuntimeInfo(Bean):
    """How a broker replicates (907); of a slave only `ha_client_runtime_info` says something."""

    master: bool = False
    master_commit_log_max_offset: int = 0
    in_sync_slave_nums: int = 0
    ha_connection_info: list[HAConnectionRuntimeInfo] = field(default_factory=list)
    ha_client_runtime_info: HAClientRuntimeInfo | None = None


class ResetMasterFlushOffsetHeader(Header):
    """Tell a slave up to where its master has flushed (908)."""

    CODE: ClassVar[int | None] = RequestCode.RESET_MASTER_FLUSH_OFFSET

    master_flush_offset: Offset


class EpochEntry(Bean):
    """One reign of a master: offsets of the commit log that it wrote; the last one has no end yet, which is Java's greatest long."""

    epoch: int = 0
    start_offset: int = 0
    end_offset: int = (1 << 63) - 1


class EpochEntryCache(Bean):
    """The masters that a broker's commit log comes from (1007); only brokers under a controller know them."""

    cluster_name: str | None = None
    broker_name: str | None = None
    broker_id: int = 0
    epoch_list: list[EpochEntry] = field(default_factory=list)
    max_offset: int = 0


# --- controllers ----------------------------------------------------------------------------------------------------------------------


def encode_names(names: Iterable[str]) -> bytes:
    """The body of 1006: the names of brokers."""
    return fastjson.dumps(list(names))


class GetMetaDataResponseHeader(Header):
    """Answer to 1005: who leads the controllers; `peers` is `id:address;id:address`."""

    group: str | None = None
    controller_leader_id: str | None = None
    controller_leader_address: str | None = None
    is_leader: bool = False
    peers: str | None = None


class GetReplicaInfoRequestHeader(Header):
    """Ask a controller for the master of a broker name (1004)."""

    CODE: ClassVar[int | None] = RequestCode.CONTROLLER_GET_REPLICA_INFO

    broker_name: Name


class GetReplicaInfoResponseHeader(Header):
    """Answer to 1004; the body is a `SyncStateSet`."""

    master_broker_id: int | None = None
    master_address: str | None = None
    master_epoch: int | None = None


class SyncStateSet(Bean):
    """Ids of the brokers that have all of a master's log, and the version of that set."""

    sync_state_set: set[int] = field(default_factory=set)
    sync_state_set_epoch: int = 0


class ReplicaIdentity(Bean):
    """One broker of a broker name, as its controller knows it."""

    broker_name: str | None = None
    broker_id: int | None = None
    broker_address: str | None = None
    alive: bool | None = None


class ReplicasInfo(Bean):
    """The brokers of one broker name; without a master the id, the address and the epochs may lack."""

    master_broker_id: int | None = None
    master_address: str | None = None
    master_epoch: int | None = None
    sync_state_set_epoch: int | None = None
    in_sync_replicas: list[ReplicaIdentity] = field(default_factory=list)
    not_in_sync_replicas: list[ReplicaIdentity] = field(default_factory=list)


class BrokerReplicasInfo(Bean):
    """Brokers by broker name (1006)."""

    replicas_info_table: dict[str, ReplicasInfo] = field(default_factory=dict)


class ElectMasterRequestHeader(Header):
    """Choose another master (1002).

    Attributes:
        cluster_name: The cluster.
        broker_name: The broker name.
        broker_id: Who it shall be.
        designate_elect: True, nobody else will do: what an administrator asks for.
        invoke_time: When it is asked, milliseconds since the epoch; controllers keep it in their log.
    """

    CODE: ClassVar[int | None] = RequestCode.CONTROLLER_ELECT_MASTER

    cluster_name: OptionalName = ""
    broker_name: OptionalName = ""
    broker_id: Int64 | None = None
    designate_elect: bool = False
    invoke_time: Int64 | None = None


class ElectMasterResponseHeader(Header):
    """Answer to 1002; the body is an `ElectMasterResponseBody` (Java's administrators take it for a `BrokerMemberGroup`)."""

    master_broker_id: int | None = None
    master_address: str | None = None
    master_epoch: int | None = None
    sync_state_set_epoch: int | None = None


class ElectMasterResponseBody(Bean):
    """Body of the answer to 1002: the members of the broker name, and who follows."""

    broker_member_group: BrokerMemberGroup | None = None
    sync_state_set: set[int] = field(default_factory=set)


class CleanControllerBrokerDataRequestHeader(Header):
    """Let controllers forget brokers (1011).

    Attributes:
        broker_name: The broker name.
        cluster_name: The cluster.
        broker_controller_ids_to_clean: Ids joined by `;`; None for all of that name.
        is_clean_living_broker: Also those that are up.
        invoke_time: When it is asked, milliseconds since the epoch.
    """

    CODE: ClassVar[int | None] = RequestCode.CLEAN_BROKER_DATA

    broker_name: Name
    cluster_name: OptionalName | None = None
    broker_controller_ids_to_clean: Word | None = None
    is_clean_living_broker: bool = False
    invoke_time: Int64 | None = None
