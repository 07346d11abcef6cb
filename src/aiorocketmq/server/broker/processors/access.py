"""Users and policies over the wire (Java: `AdminBrokerProcessor`, requests 3001 to 3010). Feature M8.

Refusals have code 16 and Java's words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from aiorocketmq.errors import BrokerError, ConfigError, RocketMQError, broker_error
from aiorocketmq.protocol.beans import Bean, to_json
from aiorocketmq.protocol.bodies_access import AclInfo, UserInfo
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.headers_access import (
    AclRequestHeader,
    DeleteAclRequestHeader,
    ListAclRequestHeader,
    ListUsersRequestHeader,
    UserRequestHeader,
)
from aiorocketmq.server.access import CUSTOM, DEFAULT, DISABLED, ENABLED, NORMAL, SUPER, add_entry, check_entry
from aiorocketmq.server.broker.access import Access
from aiorocketmq.server.broker.state import BrokerState
from aiorocketmq.server.dispatch import Action, Need, Operation, Plain, Request, Resource, operation


class AccessProcessor:
    """Handlers of users and policies.

    Args:
        state: The broker.
        access: Its users and policies.
    """

    def __init__(self, state: BrokerState, access: Access) -> None:
        self._state = state
        self._users, self._acls = access.users, access.acls

    def operations(self) -> tuple[Operation[Any, Any], ...]:
        """Its rows of the broker's table."""
        change, look = Need(Action.UPDATE, Resource.CLUSTER), Need(Action.GET, Resource.CLUSTER)
        return (
            operation(RequestCode.AUTH_CREATE_USER, UserRequestHeader, self._create_user, change, body=UserInfo),
            operation(RequestCode.AUTH_UPDATE_USER, UserRequestHeader, self._update_user, change, body=UserInfo),
            operation(RequestCode.AUTH_DELETE_USER, UserRequestHeader, self._delete_user, change),
            operation(RequestCode.AUTH_GET_USER, UserRequestHeader, self._get_user, look),
            operation(RequestCode.AUTH_LIST_USER, ListUsersRequestHeader, self._list_users, look),
            operation(RequestCode.AUTH_CREATE_ACL, AclRequestHeader, self._put_acl, change, body=AclInfo),
            operation(RequestCode.AUTH_UPDATE_ACL, AclRequestHeader, self._put_acl, change, body=AclInfo),
            operation(RequestCode.AUTH_DELETE_ACL, DeleteAclRequestHeader, self._delete_acl, change),
            operation(RequestCode.AUTH_GET_ACL, AclRequestHeader, self._get_acl, look),
            operation(RequestCode.AUTH_LIST_ACL, ListAclRequestHeader, self._list_acls, look),
        )

    def _answer_when_stored(self, request: Request[Any, Any]) -> None:
        def stored(error: RocketMQError | None) -> None:
            request.done(error)

        self._state.store.after_commit(stored)

    # -- users --------------------------------------------------------------------------------------------------------

    def _create_user(self, request: Request[UserRequestHeader, UserInfo]) -> None:
        name, body = self._name(request), request.body
        if not body.password:
            raise _refused("password can not be blank")
        if self._users.latest(name) is not None:
            raise _refused("The user is existed")
        self._users.put(name, UserInfo(name, body.password, _type(body) or NORMAL, _status(body) or ENABLED))
        self._answer_when_stored(request)

    def _update_user(self, request: Request[UserRequestHeader, UserInfo]) -> None:
        name, body = self._name(request), request.body
        old = self._users.latest(name)
        if old is None:
            raise _refused("The user is not exist")
        made = UserInfo(name, body.password or old.password, _type(body) or old.user_type, _status(body) or old.user_status)
        self._users.put(name, made)
        self._answer_when_stored(request)

    def _delete_user(self, request: Plain[UserRequestHeader]) -> None:
        name = self._name(request)
        if self._users.latest(name) is not None:
            self._users.put(name, None)
        if self._acls.latest(f"User:{name}") is not None:
            self._acls.put(f"User:{name}", None)
        self._answer_when_stored(request)

    def _get_user(self, request: Plain[UserRequestHeader]) -> RemotingCommand:
        user = self._users.get(self._name(request))
        return request.answer(body=user.encode() if user is not None else b"")

    def _list_users(self, request: Plain[ListUsersRequestHeader]) -> RemotingCommand:
        wanted = request.header.filter or ""
        return request.answer(body=_listed(user for user in self._users if wanted in (user.username or "")))

    def _name(self, request: Request[UserRequestHeader, Any]) -> str:
        name = (request.header.username or "").strip()
        if not name:
            raise broker_error(ResponseCode.INVALID_PARAMETER, "The username is blank")
        return name

    # -- policies -----------------------------------------------------------------------------------------------------

    def _put_acl(self, request: Request[AclRequestHeader, AclInfo]) -> None:
        subject = self._subject(request)
        if not request.body.policies:
            raise _refused("The policies is empty.")
        for policy in request.body.policies:
            if not policy.entries:
                raise _refused("The policy entries is empty.")
            for entry in policy.entries:
                try:
                    check_entry(entry)
                except ConfigError as error:
                    raise _refused(error.message) from None
        if self._users.latest(subject.removeprefix("User:")) is None:
            raise _refused(f"The subject of {subject} is not exist.")
        acl = _copy(self._acls.latest(subject) or AclInfo(subject))
        for policy in request.body.policies:
            for entry in policy.entries:
                add_entry(acl, _word(policy.policy_type, (CUSTOM, DEFAULT)) or CUSTOM, entry)
        self._acls.put(subject, acl)
        self._answer_when_stored(request)

    def _delete_acl(self, request: Plain[DeleteAclRequestHeader]) -> None:
        subject, resource = self._subject(request), request.header.resource
        if self._users.latest(subject.removeprefix("User:")) is None:
            raise _refused("The subject is not exist.")
        old = self._acls.latest(subject)
        if old is None:
            raise _refused("The acl is not exist.")
        acl: AclInfo | None = None
        if resource:
            acl = _copy(old)
            kind = _word(request.header.policy_type, (CUSTOM, DEFAULT)) or CUSTOM
            for policy in acl.policies:
                if policy.policy_type == kind:
                    policy.entries = [entry for entry in policy.entries if entry.resource != resource]
            acl.policies = [policy for policy in acl.policies if policy.entries]
        self._acls.put(subject, acl if acl is not None and acl.policies else None)
        self._answer_when_stored(request)

    def _get_acl(self, request: Plain[AclRequestHeader]) -> RemotingCommand:
        subject = self._subject(request)
        if self._users.get(subject.removeprefix("User:")) is None:
            raise _refused("The subject is not exist.")
        acl = self._acls.get(subject)
        return request.answer(body=acl.encode() if acl is not None else b"")

    def _list_acls(self, request: Plain[ListAclRequestHeader]) -> RemotingCommand:
        of_subject, of_resource = request.header.subject_filter or "", request.header.resource_filter or ""
        found = []
        for acl in self._acls:
            if of_subject not in (acl.subject or ""):
                continue
            acl = _copy(acl)
            for policy in acl.policies:
                policy.entries = [entry for entry in policy.entries if of_resource in (entry.resource or "")]
            acl.policies = [policy for policy in acl.policies if policy.entries]
            if acl.policies:
                found.append(acl)
        return request.answer(body=_listed(found))

    def _subject(self, request: Request[Any, Any]) -> str:
        subject: str = (request.header.subject or "").strip()
        if not subject.startswith("User:") or subject == "User:":
            raise broker_error(ResponseCode.INVALID_PARAMETER, "The subject is blank")
        return subject


def _copy(acl: AclInfo) -> AclInfo:
    return AclInfo.decode(acl.encode())


def _listed(found: Iterable[Bean]) -> bytes:
    values = [to_json(each) for each in found]
    return json.dumps(values, separators=(",", ":")).encode() if values else b""


def _type(user: UserInfo) -> str | None:
    return _word(user.user_type, (SUPER, NORMAL))


def _status(user: UserInfo) -> str | None:
    return _word(user.user_status, (ENABLED, DISABLED))


def _word(given: str | None, choices: tuple[str, ...]) -> str | None:
    # A word that is none of them counts as not given, as in Java.
    return next((choice for choice in choices if given and given.lower() == choice.lower()), None)


def _refused(text: str) -> BrokerError:
    return broker_error(ResponseCode.NO_PERMISSION, text)
