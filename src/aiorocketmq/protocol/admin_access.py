"""Keys of ACL 1.0, as brokers of 4.x keep them (50 to 54; Java 4.9.7: `CreateAccessConfigRequestHeader` and its neighbours).

5.x took these requests away and answers them with code 3; its users and policies (3001 to 3010) are in `headers_access` and
`bodies_access`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from aiorocketmq.protocol.beans import Bean, field
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header
from aiorocketmq.protocol.limits import Items, Names, Word

__all__ = [
    "AclConfig",
    "CreateAccessConfigRequestHeader",
    "DeleteAccessConfigRequestHeader",
    "GetBrokerAclConfigResponseHeader",
    "PlainAccessConfig",
    "UpdateGlobalWhiteAddrsConfigRequestHeader",
]


class CreateAccessConfigRequestHeader(Header):
    """Create or change a key (50).

    Attributes:
        access_key: The key.
        secret_key: Its secret.
        white_remote_address: Addresses whose requests need no signature.
        admin: True when it may do everything.
        default_topic_perm: What it may do with topics that are not listed: `DENY`, `PUB`, `SUB` or `PUB|SUB`.
        default_group_perm: The same for groups.
        topic_perms: `topic=permissions`, joined by commas.
        group_perms: The same for groups.
    """

    CODE: ClassVar[int | None] = RequestCode.UPDATE_AND_CREATE_ACL_CONFIG

    access_key: Word
    secret_key: Word | None = None
    white_remote_address: Word | None = None
    admin: bool = False
    default_topic_perm: Word | None = None
    default_group_perm: Word | None = None
    topic_perms: Names | None = None
    group_perms: Names | None = None

    def __repr__(self) -> str:
        return f"CreateAccessConfigRequestHeader({self.access_key!r}, secret_key=<hidden>, admin={self.admin})"


class DeleteAccessConfigRequestHeader(Header):
    """Delete a key (51)."""

    CODE: ClassVar[int | None] = RequestCode.DELETE_ACL_CONFIG

    access_key: Word


class UpdateGlobalWhiteAddrsConfigRequestHeader(Header):
    """Say from where requests need no signature (53): addresses joined by commas; `acl_file_full_path` is a file of the broker's."""

    CODE: ClassVar[int | None] = RequestCode.UPDATE_GLOBAL_WHITE_ADDRS_CONFIG

    global_white_addrs: Names
    acl_file_full_path: Word | None = None


class GetBrokerAclConfigResponseHeader(Header):
    """Answer to 52: which version of its keys a broker has.

    Attributes:
        version: Version of its own file, as JSON (`DataVersion`).
        all_acl_file_version: Versions of all its files, as JSON: path → `DataVersion`.
        broker_name: The broker.
        broker_addr: Its address.
        cluster_name: Its cluster.
    """

    version: str | None = None
    all_acl_file_version: str | None = None
    broker_name: str | None = None
    broker_addr: str | None = None
    cluster_name: str | None = None


class PlainAccessConfig(Bean):
    """One key and what it may do; see `CreateAccessConfigRequestHeader`."""

    access_key: str | None = None
    secret_key: str | None = None
    white_remote_address: str | None = None
    admin: bool = False
    default_topic_perm: str | None = None
    default_group_perm: str | None = None
    topic_perms: Annotated[list[str], Items(10_000)] = field(default_factory=list)
    group_perms: Annotated[list[str], Items(10_000)] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"PlainAccessConfig({self.access_key!r}, secret_key=<hidden>, admin={self.admin})"


class AclConfig(Bean):
    """All keys of a broker, and from where requests need no signature (54)."""

    global_white_addrs: list[str] = field(default_factory=list)
    plain_access_configs: list[PlainAccessConfig] = field(default_factory=list)
