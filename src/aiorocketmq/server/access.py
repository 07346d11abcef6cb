"""Who may do what: users and their policies, and the file that names them (Java: `auth.authorization.chain.AclAuthorizationHandler`).

A file has the users and policies of ACL 2.0, or the accounts of ACL 1.0, which become such users and policies. It is TOML, or JSON when
its name ends so. Features M8; the wire has the same users and policies (requests 3001 to 3010).
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final

from aiorocketmq.errors import ConfigError
from aiorocketmq.protocol.bodies_access import AclInfo, PolicyEntryInfo, PolicyInfo, UserInfo

SUPER: Final = "Super"
NORMAL: Final = "Normal"
ENABLED: Final = "enable"
DISABLED: Final = "disable"
CUSTOM: Final = "Custom"
DEFAULT: Final = "Default"
ALLOW: Final = "Allow"
DENY: Final = "Deny"
ACTIONS: Final = ("All", "Pub", "Sub", "Create", "Update", "Delete", "Get", "List")
RESOURCES: Final = ("Cluster", "Namespace", "Topic", "Group")

Network = IPv4Network | IPv6Network
AclSource = str | os.PathLike[str] | Mapping[str, Any]
"""What `acl=` takes: the path of a file, or what such a file holds."""

_FORM: Final = "see docs/security.md for the form of the file"


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What a file says.

    Attributes:
        users: Users by name.
        acls: Policies by subject, `User:name`.
        trusted: Networks from which everything is allowed without a signature (ACL 1.0: `globalWhiteRemoteAddresses`).
        trusted_by_user: The same for one access key (ACL 1.0: `whiteRemoteAddress`).
    """

    users: Mapping[str, UserInfo]
    acls: Mapping[str, AclInfo] = field(default_factory=dict)
    trusted: tuple[Network, ...] = ()
    trusted_by_user: Mapping[str, tuple[Network, ...]] = field(default_factory=dict)

    @classmethod
    def load(cls, source: AclSource) -> AccessRules:
        """Read a file, or take what one would hold.

        Raises:
            ConfigError: It cannot be read, or says what cannot be. No text shows a password.
        """
        if isinstance(source, Mapping):
            return _rules(source, "acl")
        if not isinstance(source, str | os.PathLike) or not str(source).strip():
            raise ConfigError(f"acl is a {type(source).__name__}", hint="give the path of a file, or a dictionary with users and policies")
        path = Path(source)
        try:
            data = path.read_bytes()
            content = json.loads(data) if path.suffix.lower() == ".json" else tomllib.loads(data.decode())
        except OSError as error:
            raise ConfigError(f"the ACL file {path} cannot be read: {error.strerror}", hint="check path and permissions") from None
        except ValueError as error:
            # The text of a parser's error may show the line.
            found = re.search(r"at (line \d+)", str(error))
            where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else found[1] if found else "it"
            raise ConfigError(f"the ACL file {path} cannot be parsed: {where} is wrong", hint=_FORM) from None
        if not isinstance(content, dict):
            raise ConfigError(f"the ACL file {path} holds no table", hint=_FORM)
        return _rules(content, str(path))


def _rules(content: Mapping[str, Any], where: str) -> AccessRules:
    known = {"users", "policies", "accounts", "globalWhiteRemoteAddresses"}
    for name in content:
        if name not in known:
            raise ConfigError(f"{where} has an unknown part {name!r}", hint=f"there are {', '.join(sorted(known))}")
    users: dict[str, UserInfo] = {}
    acls: dict[str, AclInfo] = {}
    trusted_by_user: dict[str, tuple[Network, ...]] = {}
    for number, user in enumerate(_tables(content, "users", where), 1):
        _user(user, f"user {number} of {where}", users)
    for number, policy in enumerate(_tables(content, "policies", where), 1):
        _policy(policy, f"policy {number} of {where}", users, acls)
    for number, account in enumerate(_tables(content, "accounts", where), 1):
        _account(account, f"account {number} of {where}", users, acls, trusted_by_user)
    if not users:
        raise ConfigError(f"{where} names no users", hint="nobody could do anything: give at least one of type Super")
    trusted = _networks(_texts(content, "globalWhiteRemoteAddresses", where), where)
    return AccessRules(users, acls, trusted, trusted_by_user)


def _user(given: Mapping[str, Any], where: str, users: dict[str, UserInfo]) -> None:
    _refuse_unknown(given, {"name", "password", "type", "status"}, where)
    name, password = _text(given, "name", where), _text(given, "password", where)
    kind, status = _one_of(given, "type", (NORMAL, SUPER), where), _one_of(given, "status", (ENABLED, DISABLED), where)
    if name in users:
        raise ConfigError(f"{where} is {name!r}, who is there already", hint="name each user once")
    users[name] = UserInfo(name, password, kind, status)


def _policy(given: Mapping[str, Any], where: str, users: Mapping[str, UserInfo], acls: dict[str, AclInfo]) -> None:
    _refuse_unknown(given, {"user", "resource", "actions", "sources", "decision", "type"}, where)
    name = _text(given, "user", where)
    if name not in users:
        raise ConfigError(f"{where} is for {name!r}, who is no user", hint=f"there are {', '.join(sorted(users)) or 'none'}")
    decision, kind = _one_of(given, "decision", (ALLOW, DENY), where), _one_of(given, "type", (CUSTOM, DEFAULT), where)
    for resource in _texts(given, "resource", where):
        entry = PolicyEntryInfo(resource, _texts(given, "actions", where), _texts(given, "sources", where), decision)
        try:
            check_entry(entry)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}", hint=error.hint) from None
        add_entry(acls.setdefault(f"User:{name}", AclInfo(f"User:{name}")), kind, entry)


def _account(
    given: Mapping[str, Any],
    where: str,
    users: dict[str, UserInfo],
    acls: dict[str, AclInfo],
    trusted_by_user: dict[str, tuple[Network, ...]],
) -> None:
    known = {"accessKey", "secretKey", "whiteRemoteAddress", "admin", "defaultTopicPerm", "defaultGroupPerm", "topicPerms", "groupPerms"}
    _refuse_unknown(given, known, where)
    name, password = _text(given, "accessKey", where), _text(given, "secretKey", where)
    if name in users:
        raise ConfigError(f"{where} is {name!r}, who is there already", hint="name each user once")
    admin = given.get("admin", False)
    if not isinstance(admin, bool):
        raise ConfigError(f"{where} has admin {admin!r}", hint="use true or false")
    users[name] = UserInfo(name, password, SUPER if admin else NORMAL, ENABLED)
    if given.get("whiteRemoteAddress"):
        trusted_by_user[name] = _networks(_texts(given, "whiteRemoteAddress", where), where)
    custom, default = PolicyInfo(CUSTOM), PolicyInfo(DEFAULT)
    for kind in ("Topic", "Group"):
        for text in _texts(given, f"{kind.lower()}Perms", where):
            resource, separator, permission = text.partition("=")
            if not separator:
                raise ConfigError(f"{where} has {kind.lower()}Perms {text!r}", hint="write name=PUB|SUB")
            custom.entries += _permitted(f"{kind}:{resource.strip()}", permission, where)
        default.entries += _permitted(f"{kind}:*", str(given.get(f"default{kind}Perm") or "DENY"), where)
    default.entries.append(PolicyEntryInfo("Cluster:*", ["Get", "List"], [], ALLOW))
    acls[f"User:{name}"] = AclInfo(f"User:{name}", [custom, default])


def _permitted(resource: str, permission: str, where: str) -> list[PolicyEntryInfo]:
    """What one permission of an account means: what it does not name is denied, whatever the default, and looking is always allowed."""
    words = {word.strip().upper() for word in permission.split("|")}
    if not words <= {"DENY", "PUB", "SUB", "ANY"}:
        raise ConfigError(f"{where} has the permission {permission!r} for {resource}", hint="use DENY, PUB, SUB or PUB|SUB")
    if "ANY" in words:
        words = {"PUB", "SUB"}
    allowed = [action for action in ("Pub", "Sub") if action.upper() in words]
    denied = [action for action in ("Pub", "Sub") if action not in allowed]
    return [
        PolicyEntryInfo(resource, [*allowed, "Get", "List"], [], ALLOW),
        *([PolicyEntryInfo(resource, denied, [], DENY)] if denied else []),
    ]


def add_entry(acl: AclInfo, kind: str, entry: PolicyEntryInfo) -> None:
    """Put a rule into the policies of a subject; one for the same resource is replaced."""
    policy = next((found for found in acl.policies if found.policy_type == kind), None)
    if policy is None:
        policy = PolicyInfo(kind)
        acl.policies.append(policy)
    policy.entries = [found for found in policy.entries if found.resource != entry.resource] + [entry]


def check_entry(entry: PolicyEntryInfo) -> None:
    """Do nothing when a rule can be.

    Raises:
        ConfigError: It cannot; in the words of Java, with the value.
    """
    kind, _, name = (entry.resource or "").partition(":")
    if not entry.resource or (entry.resource != "*" and (kind not in RESOURCES or not name)):
        raise ConfigError(f"The resource is null: {entry.resource!r}.", hint=f"write one of {', '.join(RESOURCES)}, ':' and a name")
    if not entry.actions:
        raise ConfigError("The actions is empty.", hint=f"give some of {', '.join(ACTIONS)}")
    for action in entry.actions:
        if action not in ACTIONS:
            raise ConfigError(f"The actions can not be {action!r}.", hint=f"give some of {', '.join(ACTIONS)}")
    if entry.decision not in (ALLOW, DENY):
        raise ConfigError(f"The decision is null or illegal: {entry.decision!r}.", hint="use Allow or Deny")
    for source in entry.source_ips:
        _network(source)


class Policies:
    """The policies of one subject, ready to decide."""

    __slots__ = ("_rules",)

    def __init__(self, acl: AclInfo) -> None:
        self._rules = {
            kind: sorted(_Rule(entry) for policy in acl.policies if (policy.policy_type or CUSTOM) == kind for entry in policy.entries)
            for kind in (CUSTOM, DEFAULT)
        }

    def refusal(self, kind: str, name: str, actions: Collection[str], address: str) -> str:
        """Why something is not allowed, or "" when it is.

        Args:
            kind: Kind of the resource, for example Topic.
            name: Its name.
            actions: Any of these is enough.
            address: IP address of whoever asks.
        """
        for rules in self._rules.values():
            for rule in rules:  # the most specific first
                if rule.matches(kind, name, actions, address):
                    return "" if rule.allow else "the decision is deny."
        return "no matched policies."


class _Rule:
    __slots__ = ("actions", "allow", "kind", "name", "networks", "pattern", "rank")

    def __init__(self, entry: PolicyEntryInfo) -> None:
        self.kind, _, name = (entry.resource or "").partition(":")
        self.pattern = "any" if name in ("", "*") else "prefix" if name.endswith("*") else "literal"
        self.name = name.rstrip("*")
        self.actions = frozenset(entry.actions)
        self.allow = entry.decision == ALLOW
        self.networks = tuple(_network(source) for source in entry.source_ips)
        self.rank = (self.kind == "*", ("literal", "prefix", "any").index(self.pattern), -len(self.name), self.allow)

    def __lt__(self, other: _Rule) -> bool:
        return self.rank < other.rank

    def matches(self, kind: str, name: str, actions: Collection[str], address: str) -> bool:
        if self.kind not in (kind, "*") or not ("All" in self.actions or any(action in self.actions for action in actions)):
            return False
        if (self.pattern == "literal" and name != self.name) or (self.pattern == "prefix" and not name.startswith(self.name)):
            return False
        return not self.networks or is_within(address, self.networks)


def is_within(address: str, networks: Iterable[Network]) -> bool:
    """Whether an IP address belongs to one of the networks."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


def _network(text: str) -> Network:
    """An address, a network `10.0.0.0/8`, or `10.0.*.*` as ACL 1.0 writes it."""
    parts = text.strip().split(".")
    stars = len(parts) - len([part for part in parts if part != "*"])
    if stars and len(parts) == 4 and parts[4 - stars :] == ["*"] * stars:
        text = ".".join([*parts[: 4 - stars], *["0"] * stars]) + f"/{32 - 8 * stars}"
    elif text.strip() == "*":
        text = "0.0.0.0/0"
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        raise ConfigError(f"The source ip is invalid: {text!r}.", hint="give an IP address, or a network such as 10.0.0.0/8") from None


def _networks(texts: Iterable[str], where: str) -> tuple[Network, ...]:
    try:
        return tuple(_network(part) for text in texts for part in text.split(",") if part.strip())
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", hint=error.hint) from None


def _tables(content: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise ConfigError(f"{name} of {where} is no list of tables", hint=_FORM)
    return found


def _texts(content: Mapping[str, Any], name: str, where: str) -> list[str]:
    found = content.get(name, [])
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ConfigError(f"{name} of {where} is no list of texts", hint=_FORM)
    return [*found]


def _text(content: Mapping[str, Any], name: str, where: str) -> str:
    found = content.get(name)
    if not isinstance(found, str) or not found:
        raise ConfigError(f"{where} has no {name}, or one that is no text", hint=_FORM)
    return found


def _one_of(content: Mapping[str, Any], name: str, choices: tuple[str, ...], where: str) -> str:
    found = content.get(name, choices[0])
    for choice in choices:
        if isinstance(found, str) and found.lower() == choice.lower():
            return choice
    raise ConfigError(f"{where} has the {name} {found!r}", hint=f"use {' or '.join(choices)}")


def _refuse_unknown(content: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in content:
        if name not in known:
            raise ConfigError(f"{where} has an unknown field {name!r}", hint=f"there are {', '.join(sorted(known))}")
