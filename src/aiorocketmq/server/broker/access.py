"""Lets in who may come in, on one broker (Java: `AuthenticationEvaluator`, `AuthorizationEvaluator` and their metadata managers).

Every request has to be signed by a user that is there and enabled; then every permission that its row of the table needs is asked for.
What nothing allows is denied. Users and policies come from a file at each start, and over the wire; the latter are kept with the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from aiorocketmq.config.credentials import Credentials
from aiorocketmq.errors import BrokerError, broker_error
from aiorocketmq.protocol.bodies_access import AclInfo, UserInfo
from aiorocketmq.protocol.codes import ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.signing import ACCESS_KEY, SIGNATURE, SigningKey, signed_content
from aiorocketmq.remoting.channel import Channel
from aiorocketmq.server.access import DISABLED, SUPER, AccessRules, Policies, is_within
from aiorocketmq.server.broker.tables import StoredTable
from aiorocketmq.server.dispatch import Action, Need, Request, Resource, Session, session_of
from aiorocketmq.server.store.store import Store

_V = TypeVar("_V")

_FILE_USERS: Final = "user_of_file"
"""Kinds of setting: names of the users and policies that come from the file."""
_FILE_ACLS: Final = "acl_of_file"
_RETRY: Final = "%RETRY%"
_LAST_WITHOUT_FLAG: Final = 399
"""V4_9_3: clients up to this version do not sign the field below."""
_UNSIGNED: Final = "_UNIQUE_KEY_QUERY"
_PUBLISH: Final = Need(Action.PUB, Resource.TOPIC)


class Access:
    """Users, policies, and the two questions about every request.

    Args:
        rules: What the file says.
        store: Where users and policies are kept.
        cluster: Name of the cluster.
    """

    def __init__(self, rules: AccessRules, store: Store, cluster: str) -> None:
        self._rules = rules
        self._store = store
        self._cluster = cluster
        self._keys: dict[str, SigningKey] = {}
        self._policies: dict[str, Policies] = {}
        self.users: StoredTable[UserInfo] = StoredTable(
            store, "user", lambda user: user.encode().decode(), lambda text: UserInfo.decode(text.encode()), self._user_changed
        )
        self.acls: StoredTable[AclInfo] = StoredTable(
            store, "acl", lambda acl: acl.encode().decode(), lambda text: AclInfo.decode(text.encode()), self._acl_changed
        )

    def load(self) -> None:
        """Read what is stored, and put what the file says over it; what it said at an earlier start, and does not any more, goes."""
        self.users.load()
        self.acls.load()
        for name in self._follow(_FILE_USERS, self.users, self._rules.users):
            self.acls.unseed(f"User:{name}")
        self._follow(_FILE_ACLS, self.acls, self._rules.acls)

    def _follow(self, kind: str, table: StoredTable[_V], given: Mapping[str, _V]) -> list[str]:
        """Let a table be as the file says; answers the names that the file had at an earlier start, and has not now.

        What the file says is stored as well, as it can be changed over the wire: without a note of its own it would outlive the file.
        """
        noted = self._store.settings(kind)
        gone = [name for name in noted if name not in given]
        for name in gone:
            table.unseed(name)
            self._store.put_setting(kind, name, None)
        for name, value in given.items():
            table.seed(name, value, replace=True)
            if name not in noted:
                self._store.put_setting(kind, name, "")
        return gone

    def authenticate(self, command: RemotingCommand, channel: Channel) -> None:
        """Do nothing when a request is signed by a user, or comes from where that is not needed.

        Raises:
            BrokerError: Code 16, in the words of Java.
        """
        fields = command.ext_fields
        name = fields.get(ACCESS_KEY, "")
        if self._is_trusted(name, channel):
            session_of(channel).user = name
            return
        if not name:
            raise _refused("username cannot be null." if fields else "authentication field is null")
        user = self.users.get(name)
        if user is None:
            raise _refused(f"User:{name} is not found.")
        if user.user_status == DISABLED:
            raise _refused(f"User:{name} is disabled.")
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = SigningKey(Credentials(name, user.password))
        without = _UNSIGNED if command.version <= _LAST_WITHOUT_FLAG else SIGNATURE
        if not key.verify(signed_content(fields, command.body, without=without), fields.get(SIGNATURE, "")):
            raise _refused("check signature failed.")
        session_of(channel).user = name

    def permit(self, request: Request[Any, Any], need: Need, name: str) -> None:
        """Do nothing when whoever asks may do that (`server.dispatch.Permit`).

        Raises:
            BrokerError: Code 16, in the words of Java.
        """
        why = self._refusal(request.session, need, name)
        if why:
            raise _refused(why)

    def may_publish(self, channel: Channel, topic: str) -> bool:
        """Whether whoever signed the last request of a connection may send to a topic: asked before the broker shows its messages there."""
        return not self._refusal(session_of(channel), _PUBLISH, topic)

    def _refusal(self, session: Session, need: Need, name: str) -> str:
        """Why whoever is at the other end may not do that, or "" when they may."""
        user_name, channel = session.user, session.channel
        if self._is_trusted(user_name, channel):
            return ""
        user = self.users.get(user_name)
        if user is not None and user.user_type == SUPER:
            return ""
        kind, actions = need.resource, {action.value for action in (need.action, *need.others)}
        if kind is Resource.CLUSTER:
            name = self._cluster
        elif kind is Resource.TOPIC and name.startswith(_RETRY):
            kind, name = Resource.GROUP, name[len(_RETRY) :]
            if need.action is Action.PUB:  # a consumer that sends a message back
                actions = {Action.SUB.value}
        subject = f"User:{user_name}"
        policies = self._policies.get(subject)
        if policies is None:
            policies = self._policies[subject] = Policies(self.acls.get(subject) or AclInfo(subject))
        address = _ip_of(channel)
        why = policies.refusal(kind.value, name, actions, address)
        return f"{subject} has no permission to access {kind.value}:{name} from {address}, {why}" if why else ""

    def _is_trusted(self, user: str, channel: Channel) -> bool:
        networks = (*self._rules.trusted, *self._rules.trusted_by_user.get(user, ()))
        return bool(networks) and is_within(_ip_of(channel), networks)

    def _user_changed(self, name: str) -> None:
        self._keys.pop(name, None)

    def _acl_changed(self, subject: str) -> None:
        self._policies.pop(subject, None)


def _ip_of(channel: Channel) -> str:
    packed = session_of(channel).host[0]
    return ".".join(map(str, packed)) if len(packed) == 4 else str(channel.address.rpartition(":")[0].strip("[]"))


def _refused(text: str) -> BrokerError:
    return broker_error(ResponseCode.NO_PERMISSION, text)
