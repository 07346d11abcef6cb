"""Users and policies of ACL 2.0 (Java: the authentication and authorisation part of `DefaultMQAdminExtImpl`). Feature M8, requests 3001 to
3010.

Every broker keeps its own users and policies: changes go to all masters, and what is listed is what all of them have together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final, TypeVar

from aiorocketmq.admin.kernel import Family, Kernel
from aiorocketmq.admin.operation import Operation, Where, nothing
from aiorocketmq.admin.results.access import Policy, User
from aiorocketmq.errors import BrokerError, ConfigError, NotSupportedByBrokerError, ProtocolError, RocketMQError, UnsupportedRequestError
from aiorocketmq.model.checks import flag
from aiorocketmq.protocol import fastjson
from aiorocketmq.protocol.beans import Bean, from_json
from aiorocketmq.protocol.bodies_access import AclInfo, PolicyEntryInfo, PolicyInfo, UserInfo
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.header import Header
from aiorocketmq.protocol.headers_access import (
    AclRequestHeader,
    DeleteAclRequestHeader,
    ListAclRequestHeader,
    ListUsersRequestHeader,
    UserRequestHeader,
)

_B = TypeVar("_B", bound=Bean)
_KINDS: Final = {"Custom": False, "Default": True}
_NOT_SET_UP: Final = "An system error occurred"
"""What a 5.x broker without its providers says."""


def _explain(error: BrokerError, broker: str) -> RocketMQError | None:
    if not isinstance(error, UnsupportedRequestError) and _NOT_SET_UP not in error.remark:
        return None
    return NotSupportedByBrokerError(
        f"broker {broker!r} has no users and policies of ACL 2.0: {error.message}",
        feature="ACL 2.0",
        broker=broker,
        hint="that needs a broker of version 5.3 or newer with authenticationEnabled=true and its providers",
        cause=error,
    )


def _read(kind: type[_B]) -> Callable[[RemotingCommand], list[_B]]:
    def read(response: RemotingCommand) -> list[_B]:
        if not response.body:
            return []
        found = fastjson.loads(response.body)
        if not isinstance(found, list):
            raise ProtocolError(f"the answer is a {type(found).__name__}, not a list")
        return [from_json(kind, each, f"{kind.__name__}[{number}]") for number, each in enumerate(found)]

    return read


_ALL: Final = Where.MASTERS
_CREATE_USER: Final = Operation("create a user", RequestCode.AUTH_CREATE_USER, _ALL, nothing, explain=_explain)
_UPDATE_USER: Final = Operation("update a user", RequestCode.AUTH_UPDATE_USER, _ALL, nothing, explain=_explain)
_DELETE_USER: Final = Operation("delete a user", RequestCode.AUTH_DELETE_USER, _ALL, nothing, explain=_explain)
_LIST_USERS: Final = Operation("users", RequestCode.AUTH_LIST_USER, _ALL, _read(UserInfo), explain=_explain)
_PUT_POLICY: Final = Operation("put a policy", RequestCode.AUTH_UPDATE_ACL, _ALL, nothing, explain=_explain)
_DELETE_POLICY: Final = Operation("delete a policy", RequestCode.AUTH_DELETE_ACL, _ALL, nothing, explain=_explain)
_LIST_POLICIES: Final = Operation("policies", RequestCode.AUTH_LIST_ACL, _ALL, _read(AclInfo), explain=_explain)


class Users(Family):
    """What an admin client does with users of ACL 2.0 (brokers from 5.3 on, and the embedded server)."""

    async def create(self, name: str, password: str, *, super_user: bool = False, enabled: bool = True) -> None:
        """Create a user on all brokers.

        Args:
            name: Its name: the access key of its credentials.
            password: Its secret key.
            super_user: It may do everything.
            enabled: False makes one that is refused until it is enabled.

        Raises:
            NoPermissionError: There is such a user, or whoever asks may not do this.
            PartialError: Some brokers failed.
            NotSupportedByBrokerError: The brokers have no ACL 2.0, or it is off.
            RocketMQError: No broker did it.

        Cancelling it leaves it open whether it was done.
        """
        user = _user(name, password, super_user, enabled)
        await _change(self._kernel, _CREATE_USER, UserRequestHeader(name), user)

    async def update(self, name: str, *, password: str | None = None, super_user: bool | None = None, enabled: bool | None = None) -> None:
        """Change what is given of a user, and nothing else; arguments and errors as in `create()`."""
        user = _user(name, password, super_user, enabled)
        await _change(self._kernel, _UPDATE_USER, UserRequestHeader(name), user)

    async def delete(self, name: str) -> None:
        """Delete a user with its policies; nothing happens where there is none. Errors as in `create()`."""
        await _change(self._kernel, _DELETE_USER, UserRequestHeader(_name(name)))

    async def list(self, name_part: str = "") -> tuple[User, ...]:
        """The users whose names hold a text, by name. Passwords are not told. Errors as in `create()`.

        Cancelling it is safe.
        """
        found = await _listed(self._kernel, _LIST_USERS, ListUsersRequestHeader(name_part or None))
        users: dict[str, User] = {}
        for user in found:
            if user.username:
                kind, status = (user.user_type or "").lower(), (user.user_status or "enable").lower()
                users[user.username] = User(user.username, kind == "super", status == "enable")
        return tuple(users[name] for name in sorted(users))


class Rules(Family):
    """What an admin client does with policies: what users may do to topics, groups and clusters."""

    async def put(
        self,
        user: str,
        resource: str,
        actions: Iterable[str],
        *,
        allowed: bool = True,
        sources: Iterable[str] = (),
        default: bool = False,
    ) -> None:
        """Say what a user may do to a resource; what was said of that resource before is replaced.

        Args:
            user: Name of the user.
            resource: `Topic:orders`, `Topic:orders*` for all names that begin so, `Topic:*`; the same with `Group:` and `Cluster:`.
            actions: Some of Pub, Sub, Create, Update, Delete, Get, List, or All.
            allowed: False denies them.
            sources: IP addresses and networks from which this holds; none for all.
            default: Ask this only where no other policy of the user fits.

        Raises:
            ConfigError: A value cannot be.
            NoPermissionError: There is no such user, a value is refused, or whoever asks may not do this.
            PartialError: Some brokers failed.
            RocketMQError: No broker did it.

        Cancelling it leaves it open whether it was done.
        """
        flag("allowed", allowed)
        flag("default", default)
        if isinstance(actions, str) or isinstance(sources, str):
            raise ConfigError("actions and sources are lists", hint='write actions=["Pub"]')
        entry = PolicyEntryInfo(resource, [*actions], [*sources], "Allow" if allowed else "Deny")
        subject = f"User:{_name(user)}"
        acl = AclInfo(subject, [PolicyInfo("Default" if default else "Custom", [entry])])
        await _change(self._kernel, _PUT_POLICY, AclRequestHeader(subject), acl)

    async def delete(self, user: str, resource: str | None = None, *, default: bool = False) -> None:
        """Delete what was said of a resource, or all policies of a user (None). Errors as in `put()`."""
        flag("default", default)
        kind = "Default" if default else "Custom"
        header = DeleteAclRequestHeader(f"User:{_name(user)}", kind if resource is not None else None, resource)
        await _change(self._kernel, _DELETE_POLICY, header)

    async def list(self, user_part: str = "", resource_part: str = "") -> tuple[Policy, ...]:
        """All policies of users and resources that hold these texts, by user and resource. Errors as in `put()`.

        Cancelling it is safe.
        """
        header = ListAclRequestHeader(user_part or None, resource_part or None)
        found = await _listed(self._kernel, _LIST_POLICIES, header)
        policies = {
            (user, kind, entry.resource): Policy(
                user,
                entry.resource,
                tuple(entry.actions),
                (entry.decision or "").lower() == "allow",
                tuple(entry.source_ips),
                _KINDS.get(kind, False),
            )
            for acl in found
            for policy in acl.policies
            for entry in policy.entries
            for user, kind in [((acl.subject or "").removeprefix("User:"), policy.policy_type or "Custom")]
            if entry.resource
        }
        return tuple(policies[key] for key in sorted(policies))


class Access(Family):
    """What an admin client does with ACL 2.0."""

    @cached_property
    def users(self) -> Users:
        """Users."""
        return Users(self._kernel)

    @cached_property
    def rules(self) -> Rules:
        """What they may do."""
        return Rules(self._kernel)


async def _change(kernel: Kernel, operation: Operation[None], header: Header, body: Bean | None = None) -> None:
    data = body.encode() if body is not None else b""
    (await kernel.ask(operation, header, data)).joined(_nothing)


def _nothing(answers: Mapping[str, None]) -> None:
    """There is nothing to tell of what was done."""


async def _listed(kernel: Kernel, operation: Operation[list[_B]], header: Header) -> list[_B]:
    found = await kernel.ask(operation, header)
    return found.joined(lambda answers: [each for listed in answers.values() for each in listed])


def _user(name: str, password: str | None, super_user: bool | None, enabled: bool | None) -> UserInfo:
    checks: tuple[tuple[str, Any, Callable[[str, Any], Any]], ...] = (("super_user", super_user, flag), ("enabled", enabled, flag))
    for field, value, check in checks:
        if value is not None:
            check(field, value)
    if password is not None and (not isinstance(password, str) or not password):
        raise ConfigError("the password is no text, or empty", hint="give a text")
    kind = None if super_user is None else "Super" if super_user else "Normal"
    status = None if enabled is None else "enable" if enabled else "disable"
    return UserInfo(_name(name), password, kind, status)


def _name(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"user {name!r} is no name", hint="give a text that is not empty")
    return name
