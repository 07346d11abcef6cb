"""Headers of users and policies, requests 3001 to 3010 (Java: `org.apache.rocketmq.remoting.protocol.header.*{User,Acl}RequestHeader`)."""

from __future__ import annotations

from typing import ClassVar

from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.header import Header
from aiorocketmq.protocol.limits import OptionalName, Word


class UserRequestHeader(Header):
    """Create (3001), update (3002), delete (3003) or get (3004) a user."""

    CODE: ClassVar[int | None] = RequestCode.AUTH_GET_USER

    username: OptionalName | None = None


class ListUsersRequestHeader(Header):
    """List users whose name holds a text (3005)."""

    CODE: ClassVar[int | None] = RequestCode.AUTH_LIST_USER

    filter: OptionalName | None = None


class AclRequestHeader(Header):
    """Create (3006), update (3007) or get (3009) the policies of a subject."""

    CODE: ClassVar[int | None] = RequestCode.AUTH_GET_ACL

    subject: OptionalName | None = None


class DeleteAclRequestHeader(AclRequestHeader):
    """Delete the policies of a subject, or its rule for one resource (3008)."""

    CODE: ClassVar[int | None] = RequestCode.AUTH_DELETE_ACL

    policy_type: OptionalName | None = None
    resource: Word | None = None


class ListAclRequestHeader(Header):
    """List policies by texts that subject and resource hold (3010)."""

    CODE: ClassVar[int | None] = RequestCode.AUTH_LIST_ACL

    subject_filter: OptionalName | None = None
    resource_filter: Word | None = None
