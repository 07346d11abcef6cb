"""Bodies of users and policies, requests 3001 to 3010 (Java: `UserInfo`, `AclInfo` of `org.apache.rocketmq.remoting.protocol.body`)."""

from __future__ import annotations

from typing import Annotated

from aiorocketmq.protocol.beans import Bean, field
from aiorocketmq.protocol.limits import Items, OptionalName, Word

__all__ = ["AclInfo", "PolicyEntryInfo", "PolicyInfo", "UserInfo"]


class UserInfo(Bean):
    """One user: `user_type` is Super or Normal, `user_status` enable or disable; what an update leaves out stays as it is."""

    username: OptionalName | None = None
    password: OptionalName | None = None
    user_type: OptionalName | None = None
    user_status: OptionalName | None = None

    def __repr__(self) -> str:
        return f"UserInfo({self.username!r}, password=<hidden>, user_type={self.user_type!r}, user_status={self.user_status!r})"


class PolicyEntryInfo(Bean):
    """One rule: whether these actions on this resource are allowed to those who ask from these addresses (from anywhere if there are none).

    `resource` is `Topic:name`, `Topic:prefix*`, `Topic:*`, the same with `Group:` and `Cluster:`, or `*`.
    """

    resource: Word | None = None
    actions: Annotated[list[str], Items(16)] = field(default_factory=list)
    source_ips: Annotated[list[str], Items(1000)] = field(default_factory=list)
    decision: OptionalName | None = None


class PolicyInfo(Bean):
    """Rules of one type: those of type Default are asked when none of type Custom matches."""

    policy_type: OptionalName | None = None
    entries: Annotated[list[PolicyEntryInfo], Items(1000)] = field(default_factory=list)


class AclInfo(Bean):
    """All rules of one subject, `User:name`."""

    subject: OptionalName | None = None
    policies: Annotated[list[PolicyInfo], Items(16)] = field(default_factory=list)
