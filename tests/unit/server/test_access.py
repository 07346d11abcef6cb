"""Who may do what: the file, the decisions, and what is left of both on a broker that starts again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.errors import ConfigError
from aiorocketmq.protocol.bodies_access import AclInfo, PolicyEntryInfo, PolicyInfo, UserInfo
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.protocol.signing import SigningKey
from aiorocketmq.server import LocalCluster
from aiorocketmq.server.access import AccessRules, Policies
from tests.support import raw_remoting

SECRET = "canary-of-the-secret"
ADMIN = {"name": "admin", "password": SECRET, "type": "Super"}
APP = {"name": "app", "password": SECRET}


def entry(resource: str, *actions: str, allow: bool = True, sources: list[str] | None = None) -> PolicyEntryInfo:
    return PolicyEntryInfo(resource, list(actions), sources or [], "Allow" if allow else "Deny")


def policies(*custom: PolicyEntryInfo, default: list[PolicyEntryInfo] | None = None) -> Policies:
    return Policies(AclInfo("User:app", [PolicyInfo("Custom", list(custom)), PolicyInfo("Default", default or [])]))


NOTHING, DENIED = "no matched policies.", "the decision is deny."


@pytest.mark.feature("M8")
def test_the_most_specific_policy_decides() -> None:
    found = policies(
        entry("Topic:orders", "Pub"),
        entry("Topic:orders-eu*", "Pub", allow=False),
        entry("Topic:orders*", "Pub", "Sub"),
        entry("Topic:*", "Get"),
        entry("*", "List", allow=False),
        entry("Group:g*", "All"),
    )
    assert found.refusal("Topic", "orders", {"Pub"}, "127.0.0.1") == ""
    assert found.refusal("Topic", "orders", {"Sub"}, "127.0.0.1") == ""
    assert found.refusal("Topic", "orders-us", {"Pub"}, "127.0.0.1") == ""
    assert found.refusal("Topic", "orders-eu", {"Pub"}, "127.0.0.1") == DENIED
    assert found.refusal("Topic", "orders-eu", {"Sub"}, "127.0.0.1") == ""
    assert found.refusal("Topic", "other", {"Pub"}, "127.0.0.1") == NOTHING
    assert found.refusal("Topic", "other", {"Pub", "Get"}, "127.0.0.1") == ""
    assert found.refusal("Topic", "", {"Pub"}, "127.0.0.1") == NOTHING
    assert found.refusal("Cluster", "c", {"List"}, "127.0.0.1") == DENIED
    assert found.refusal("Group", "g1", {"Delete"}, "127.0.0.1") == ""
    assert found.refusal("Group", "other", {"Sub"}, "127.0.0.1") == NOTHING


@pytest.mark.feature("M8")
def test_defaults_are_asked_when_nothing_else_fits_and_addresses_count() -> None:
    found = policies(
        entry("Topic:a", "Pub", allow=False, sources=["10.0.0.0/8"]), default=[entry("Topic:*", "Pub"), entry("Topic:b", "Sub")]
    )
    assert found.refusal("Topic", "a", {"Pub"}, "10.1.2.3") == DENIED
    assert found.refusal("Topic", "a", {"Pub"}, "192.168.0.1") == ""
    assert found.refusal("Topic", "a", {"Pub"}, "no address") == ""
    assert found.refusal("Topic", "b", {"Pub"}, "::1") == ""
    assert policies().refusal("Topic", "a", {"Pub"}, "::1") == NOTHING


@pytest.mark.feature("M8")
@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_a_file_is_read(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"acl{suffix}"
    policy = {"user": "app", "resource": ["Topic:a", "Group:b*"], "actions": ["Pub", "Sub"], "sources": ["127.0.0.1"]}
    text = """
        [[users]]
        name = "admin"
        password = "canary-of-the-secret"
        type = "Super"
        [[users]]
        name = "app"
        password = "canary-of-the-secret"
        [[policies]]
        user = "app"
        resource = ["Topic:a", "Group:b*"]
        actions = ["Pub", "Sub"]
        sources = ["127.0.0.1"]
    """
    file.write_text(text if suffix == ".toml" else json.dumps({"users": [ADMIN, APP], "policies": [policy]}))
    rules = AccessRules.load(file)
    assert rules == AccessRules.load({"users": [ADMIN, APP], "policies": [policy]})
    assert rules.users["admin"] == UserInfo("admin", SECRET, "Super", "enable")
    assert [found.resource for found in rules.acls["User:app"].policies[0].entries] == ["Topic:a", "Group:b*"]
    assert SECRET not in repr(rules)


WRONG: list[tuple[Any, str]] = [
    ({}, "names no users"),
    ({"user": []}, "unknown part 'user'"),
    ({"users": {"name": "a"}}, "no list of tables"),
    ({"users": [{"name": "a"}]}, "user 1 of acl has no password"),
    ({"users": [{"password": SECRET}]}, "user 1 of acl has no name"),
    ({"users": [APP, APP]}, "user 2 of acl is 'app', who is there already"),
    ({"users": [{**APP, "type": "Root"}]}, "the type 'Root'"),
    ({"users": [{**APP, "secret": SECRET}]}, "unknown field 'secret'"),
    ({"users": [APP], "policies": [{"user": "b", "resource": "Topic:a", "actions": ["Pub"]}]}, "for 'b', who is no user"),
    ({"users": [APP], "policies": [{"user": "app", "resource": "orders", "actions": ["Pub"]}]}, "resource"),
    ({"users": [APP], "policies": [{"user": "app", "resource": "Topic:a", "actions": ["Publish"]}]}, "can not be 'Publish'"),
    ({"users": [APP], "policies": [{"user": "app", "resource": "Topic:a", "actions": []}]}, "actions is empty"),
    ({"users": [APP], "policies": [{"user": "app", "resource": "Topic:a", "actions": ["Pub"], "sources": ["home"]}]}, "invalid: 'home'"),
    ({"users": [APP], "policies": [{"user": "app", "resource": "Topic:a", "actions": ["Pub"], "decision": "No"}]}, "the decision 'No'"),
    ({"accounts": [{"accessKey": "app", "secretKey": SECRET, "topicPerms": ["a"]}]}, "topicPerms 'a'"),
    ({"accounts": [{"accessKey": "app", "secretKey": SECRET, "topicPerms": ["a=WRITE"]}]}, "permission 'WRITE'"),
    ({"accounts": [{"accessKey": "app", "secretKey": SECRET, "admin": "yes"}]}, "admin 'yes'"),
    ({"accounts": [{"accessKey": "app"}]}, "no secretKey"),
    (7, "acl is a int"),
    ("", "acl is a str"),
    ("/nowhere/acl.toml", "cannot be read"),
]


@pytest.mark.feature("M8")
@pytest.mark.parametrize(("given", "text"), WRONG)
def test_what_cannot_be_is_refused_before_anything_starts(given: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as failed:
        LocalCluster(acl=given)
    assert SECRET not in str(failed.value)


@pytest.mark.feature("M8")
@pytest.mark.parametrize("content", [f'[[users]]\npassword = "{SECRET}', f'{{"users": ["{SECRET}"', "[]"])
def test_a_file_that_does_not_parse_is_not_shown(tmp_path: Path, content: str) -> None:
    file = tmp_path / ("acl.json" if content[0] in "{[" and not content.startswith("[[") else "acl.toml")
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"cannot be parsed|holds no table") as failed:
        AccessRules.load(file)
    assert SECRET not in str(failed.value)


@pytest.mark.feature("M8")
@pytest.mark.parametrize(("name", "content"), [("acl.toml", f"[[users]]\npassword = {SECRET}\n"), ("acl.json", f'{{\n"users": {SECRET}')])
def test_the_line_of_a_file_that_does_not_parse_is_named(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(ConfigError, match="cannot be parsed: line 2 is wrong") as failed:
        AccessRules.load(file)
    assert SECRET not in str(failed.value)


def producer(cluster: LocalCluster, credentials: rmq.Credentials | None) -> rmq.Producer:
    return rmq.Producer(cluster.name_servers, group="senders", credentials=credentials)


async def sends(cluster: LocalCluster, topic: str, credentials: rmq.Credentials | None) -> type[BaseException] | None:
    async with producer(cluster, credentials) as sender:
        try:
            await sender.send(rmq.Message(topic, b"x"))
        except rmq.SendDeniedError as error:
            return type(error.cause)
        return None


@pytest.mark.feature("M8", "M1")
async def test_accounts_of_acl_1_are_obeyed() -> None:
    accounts = [
        {"accessKey": "admin", "secretKey": SECRET, "admin": True},
        {"accessKey": "app", "secretKey": SECRET, "topicPerms": ["a=PUB", "b=SUB"], "groupPerms": ["g=SUB"]},
        {"accessKey": "open", "secretKey": SECRET, "defaultTopicPerm": "PUB|SUB", "topicPerms": ["a=DENY"]},
        {"accessKey": "near", "secretKey": SECRET, "whiteRemoteAddress": "127.0.0.*"},
        {"accessKey": "far", "secretKey": SECRET, "whiteRemoteAddress": "10.0.*.*,192.168.1.1"},
    ]
    async with LocalCluster(acl={"accounts": accounts}) as cluster:
        for topic in ("a", "b"):
            await cluster.create_topic(topic)
        for name, a, b in (
            ("admin", None, None),
            ("app", None, rmq.AccessDeniedError),
            ("open", rmq.AccessDeniedError, None),
            ("far", rmq.AccessDeniedError, rmq.AccessDeniedError),
        ):
            assert await sends(cluster, "a", rmq.Credentials(name, SECRET)) is a, name
            assert await sends(cluster, "b", rmq.Credentials(name, SECRET)) is b, name
        assert await sends(cluster, "a", rmq.Credentials("near", "not even its secret")) is None
        assert await sends(cluster, "a", rmq.Credentials("app", "wrong")) is rmq.WrongSignatureError
        async with rmq.AdminClient(cluster.name_servers, credentials=rmq.Credentials("app", SECRET)) as admin:
            assert (await admin.topics.stats("a")).topic == "a"
            with pytest.raises(rmq.AccessDeniedError):
                await admin.topics.create("c")
    async with LocalCluster(acl={"accounts": accounts, "globalWhiteRemoteAddresses": ["127.0.0.1"]}) as cluster:
        await cluster.create_topic("a")
        assert await sends(cluster, "a", None) is None


@pytest.mark.feature("M8")
async def test_users_of_the_wire_are_kept_and_those_of_the_file_are_as_it_says(tmp_path: Path) -> None:
    keys = rmq.Credentials("admin", SECRET)
    async with LocalCluster(acl={"users": [ADMIN, APP]}, data_dir=tmp_path) as cluster:
        await cluster.create_topic("a")
        async with rmq.AdminClient(cluster.name_servers, credentials=keys) as admin:
            await admin.acl.users.create("more", "secret-of-more")
            await admin.acl.rules.put("more", "Topic:a", ["Pub"])
            await admin.acl.users.update("app", password="changed", super_user=True)
            assert await sends(cluster, "a", rmq.Credentials("app", "changed")) is None
    async with LocalCluster(acl={"users": [ADMIN, APP]}, data_dir=tmp_path) as cluster:
        assert await sends(cluster, "a", rmq.Credentials("more", "secret-of-more")) is None
        assert await sends(cluster, "a", rmq.Credentials("app", "changed")) is rmq.WrongSignatureError
        assert await sends(cluster, "a", rmq.Credentials("app", SECRET)) is rmq.AccessDeniedError


@pytest.mark.feature("M8")
async def test_nothing_is_answered_to_strangers() -> None:
    """Every operation of the broker, with and without a signature of somebody who may do nothing."""
    async with LocalCluster(acl={"users": [ADMIN, APP]}) as cluster:
        table = cluster.brokers[0]._server.default_processor.args[0].__self__  # type: ignore[union-attr]
        for code in sorted(table.operations):
            with pytest.raises(raw_remoting.RawAnswerError) as refused:
                await asyncio.to_thread(raw_remoting.invoke, cluster.brokers[0].address, code, {"a": "b"})
            assert refused.value.code == 16, code
        command = RemotingCommand.request(25, {}, b"brokerPermission=2\n")
        SigningKey(rmq.Credentials("app", SECRET)).sign(command)
        with pytest.raises(raw_remoting.RawAnswerError, match=r"no permission to access Cluster:DefaultCluster from 127\.0\.0\.1"):
            await asyncio.to_thread(raw_remoting.invoke, cluster.brokers[0].address, 25, command.ext_fields, command.body)


@pytest.mark.feature("M8")
async def test_what_the_file_does_not_say_any_more_does_not_hold_any_more(tmp_path: Path) -> None:
    may = {"user": "app", "resource": "Topic:a", "actions": ["Pub"]}
    keys, app = rmq.Credentials("admin", SECRET), rmq.Credentials("app", SECRET)
    outcomes: list[type[BaseException] | None] = []
    files: list[dict[str, Any]] = [
        {"users": [ADMIN, APP], "policies": [may]},
        {"users": [ADMIN, APP]},
        {"users": [ADMIN]},
        {"users": [ADMIN, APP]},
    ]
    for number, rules in enumerate(files):
        async with LocalCluster(acl=rules, data_dir=tmp_path) as cluster:
            await cluster.create_topic("a", exist_ok=True)
            outcomes.append(await sends(cluster, "a", app))
            async with rmq.AdminClient(cluster.name_servers, credentials=keys) as admin:
                if number == 0:  # what was made over the wire is nobody's but the wire's
                    await admin.acl.users.create("more", SECRET)
                    await admin.acl.rules.put("more", "Topic:a", ["Pub"])
                if number == 1:
                    await admin.acl.rules.put("app", "Topic:b", ["Pub"])
            assert await sends(cluster, "a", rmq.Credentials("more", SECRET)) is None
    assert outcomes == [None, rmq.AccessDeniedError, rmq.UnknownAccessKeyError, rmq.AccessDeniedError]


@pytest.mark.feature("M8")
@pytest.mark.parametrize("kind", ["custom", "CUSTOM", "nonsense", "Default"])
async def test_a_policy_holds_however_its_type_is_written(kind: str) -> None:
    rules = {"users": [ADMIN, APP], "policies": [{"user": "app", "resource": "Topic:*", "actions": ["Pub"], "type": "Default"}]}
    async with LocalCluster(acl=rules) as cluster:
        await cluster.create_topic("a")
        denied = AclInfo("User:app", [PolicyInfo(kind, [entry("Topic:a", "Pub", allow=False)])])
        command = RemotingCommand.request(RequestCode.AUTH_CREATE_ACL, {"subject": "User:app"}, denied.encode())
        SigningKey(rmq.Credentials("admin", SECRET)).sign(command)
        await asyncio.to_thread(raw_remoting.invoke, cluster.brokers[0].address, command.code, command.ext_fields, command.body)
        assert await sends(cluster, "a", rmq.Credentials("app", SECRET)) is rmq.AccessDeniedError


@pytest.mark.feature("M8")
async def test_a_user_who_is_made_again_has_none_of_the_rights_of_before() -> None:
    keys, more = rmq.Credentials("admin", SECRET), rmq.Credentials("more", SECRET)
    async with LocalCluster(acl={"users": [ADMIN]}) as cluster:
        await cluster.create_topic("a")
        async with rmq.AdminClient(cluster.name_servers, credentials=keys) as admin:
            await admin.acl.users.create("more", SECRET)
            await admin.acl.rules.put("more", "Topic:a", ["Pub"])
            assert await sends(cluster, "a", more) is None
            await admin.acl.users.delete("more")
            await admin.acl.users.create("more", SECRET)
            assert await sends(cluster, "a", more) is rmq.AccessDeniedError
