"""Clusters with access control: ACL 2.0 on 5.5.0, ACL 1.0 on 4.9.7, and the embedded server's.

All have the same users. `ADMIN` may do everything; `USER` may send to and consume the topics, and use the groups, whose names begin with
`allowed`, and nothing else. (A consumer that has to find out where a queue begins needs `Get` on its topic besides `Sub`.) 5.5.0 refuses
tokens that begin with `expired`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from aiorocketmq.config import Credentials
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.signing import SigningKey
from tests.support import java, raw_remoting
from tests.support.clusters import EARLY_CHECKS, EMBEDDED, EmbeddedTestCluster
from tests.support.real_cluster import QUICK_JVM, RealCluster

ADMIN = Credentials("admin-of-tests", "secret-of-the-admin")
USER = Credentials("user-of-tests", "secret-of-the-user")
ALLOWED = "allowed"

_PLAIN_ACL = f"""globalWhiteRemoteAddresses: []
accounts:
- accessKey: {ADMIN.access_key}
  secretKey: {ADMIN.secret_key}
  admin: true
- accessKey: {USER.access_key}
  secretKey: {USER.secret_key}
  admin: false
  defaultTopicPerm: DENY
  defaultGroupPerm: DENY
  topicPerms:
  - allowed=PUB|SUB
  groupPerms:
  - allowed=PUB|SUB
"""

_AUTH = "org.apache.rocketmq.auth"
_ACL_2 = {
    "authenticationEnabled": "true",
    "authenticationProvider": "ExpiringTokens",
    "authenticationMetadataProvider": f"{_AUTH}.authentication.provider.LocalAuthenticationMetadataProvider",
    "initAuthenticationUser": json.dumps({"username": ADMIN.access_key, "password": ADMIN.secret_key}),
    "innerClientAuthenticationCredentials": json.dumps({"accessKey": ADMIN.access_key, "secretKey": ADMIN.secret_key}),
    "authorizationEnabled": "true",
    "authorizationProvider": f"{_AUTH}.authorization.provider.DefaultAuthorizationProvider",
    "authorizationMetadataProvider": f"{_AUTH}.authorization.provider.LocalAuthorizationMetadataProvider",
}


class GuardedCluster(ABC):
    """A cluster that wants to know who asks.

    Attributes:
        kind: As of `tests.support.clusters`.
        name_servers: `host:port`.
        broker_address: `host:port`.
    """

    kind: str
    name_servers: str
    broker_address: str

    @abstractmethod
    def stop(self) -> None:
        """End it."""


class GuardedEmbeddedCluster(GuardedCluster):
    """The embedded server with access control on; `settings` are more arguments of `LocalCluster`."""

    kind = EMBEDDED

    def __init__(self, **settings: Any) -> None:
        users = [
            {"name": ADMIN.access_key, "password": ADMIN.secret_key, "type": "Super"},
            {"name": USER.access_key, "password": USER.secret_key},
        ]
        policy = {"user": USER.access_key, "resource": [f"Topic:{ALLOWED}*", f"Group:{ALLOWED}*"], "actions": ["Pub", "Sub", "Get"]}
        self.server = EmbeddedTestCluster(acl={"users": users, "policies": [policy]}, **settings)
        self.name_servers = self.server.name_servers
        self.broker_address = self.server.broker_address

    def stop(self) -> None:
        self.server.stop()


class GuardedRealCluster(GuardedCluster):
    """Real Apache RocketMQ with access control on, and with TLS when there is a file with its settings."""

    def __init__(self, version: str, *, tls_settings: Path | None = None) -> None:
        self.kind = version
        jvm = (*QUICK_JVM, f"-Dtls.config.file={tls_settings}") if tls_settings is not None else QUICK_JVM
        if version == java.NEWEST:
            classes = java.compiled(Path(__file__).with_name("broker_java"), version)
            self.server = RealCluster(version, broker_options=_ACL_2 | EARLY_CHECKS, jvm=jvm, classes=[classes])
        else:
            self.server = RealCluster(
                version, broker_options={"aclEnable": "true", **EARLY_CHECKS}, files={"conf/plain_acl.yml": _PLAIN_ACL}
            )
        self.server.start()
        self.name_servers = self.server.name_servers
        self.broker_address = self.server.broker_address
        if version == java.NEWEST:
            self._add_user()

    def _add_user(self) -> None:
        user = {"username": USER.access_key, "password": USER.secret_key, "userType": "Normal", "userStatus": "enable"}
        ask_as_admin(self.broker_address, RequestCode.AUTH_CREATE_USER, {"username": USER.access_key}, user)
        entries = [
            {"resource": f"{kind}:{ALLOWED}*", "actions": ["Pub", "Sub", "Get"], "sourceIps": [], "decision": "Allow"}
            for kind in ("Topic", "Group")
        ]
        subject = f"User:{USER.access_key}"
        acl = {"subject": subject, "policies": [{"policyType": "Custom", "entries": entries}]}
        ask_as_admin(self.broker_address, RequestCode.AUTH_CREATE_ACL, {"subject": subject}, acl)

    def stop(self) -> None:
        self.server.stop()


def guarded_cluster(kind: str) -> GuardedCluster:
    """Start one of this kind."""
    return GuardedEmbeddedCluster() if kind == EMBEDDED else GuardedRealCluster(kind)


def ask_as_admin(address: str, code: int, fields: dict[str, str], body: Any = None) -> bytes:
    """One signed request over a plain socket."""
    data = json.dumps(body).encode() if body is not None else b""
    command = RemotingCommand.request(code, fields, data)
    SigningKey(ADMIN).sign(command)
    return raw_remoting.invoke(address, code, command.ext_fields, data)
