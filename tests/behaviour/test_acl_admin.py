"""Users and policies of ACL 2.0, made and changed by the admin client, and what they do to a running producer."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

import aiorocketmq as rmq
from tests.support.clusters import Cluster, unavailable_reason
from tests.support.guarded import ADMIN, USER, GuardedCluster, guarded_cluster
from tests.support.java import LAST_OF_4
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def guarded(session_cluster: str) -> Iterator[GuardedCluster]:
    reason = unavailable_reason(session_cluster)
    if reason:
        pytest.skip(reason)
    cluster = guarded_cluster(session_cluster)
    yield cluster
    cluster.stop()


def admin_of(cluster: GuardedCluster) -> rmq.AdminClient:
    return rmq.AdminClient(cluster.name_servers, credentials=ADMIN, mq_client_api_timeout=20.0)


@pytest.mark.feature("M8", "Q12")
async def test_users_and_policies_are_made_listed_changed_and_deleted(guarded: GuardedCluster) -> None:
    name = f"user-{uuid.uuid4().hex[:8]}"
    async with admin_of(guarded) as admin:
        if guarded.kind == LAST_OF_4:
            with pytest.raises(rmq.NotSupportedByBrokerError, match=r"no users and policies"):
                await admin.acl.users.create(name, "secret-of-somebody")
            return
        await admin.acl.users.create(name, "secret-of-somebody")
        assert await admin.acl.users.list(name) == (rmq.User(name, False, True),)
        with pytest.raises(rmq.NoPermissionError, match="existed"):
            await admin.acl.users.create(name, "secret-of-somebody")
        await admin.acl.users.update(name, super_user=True, enabled=False)
        assert await admin.acl.users.list(name) == (rmq.User(name, True, False),)
        assert {ADMIN.access_key, USER.access_key, name} <= {user.name for user in await admin.acl.users.list()}

        with pytest.raises(rmq.NoPermissionError):
            await admin.acl.rules.put("nobody-at-all", "Topic:orders", ["Pub"])
        for actions in ([], ["Any"]):
            with pytest.raises(rmq.NoPermissionError):
                await admin.acl.rules.put(name, "Topic:orders", actions)
        await admin.acl.rules.put(name, "Topic:orders", ["Pub", "Get"], sources=["127.0.0.1", "10.0.0.0/8"])
        await admin.acl.rules.put(name, "Group:workers*", ["Sub"], allowed=False)
        await admin.acl.rules.put(name, "Topic:*", ["Get"], default=True)
        found = {policy.resource: policy for policy in await admin.acl.rules.list(name)}
        assert found["Topic:orders"] == rmq.Policy(name, "Topic:orders", ("Pub", "Get"), True, ("127.0.0.1", "10.0.0.0/8"), False)
        assert found["Group:workers*"] == rmq.Policy(name, "Group:workers*", ("Sub",), False, (), False)
        assert found["Topic:*"] == rmq.Policy(name, "Topic:*", ("Get",), True, (), True)
        await admin.acl.rules.put(name, "Topic:orders", ["Sub"])
        await admin.acl.rules.delete(name, "Group:workers*")
        found = {policy.resource: policy for policy in await admin.acl.rules.list(name)}
        assert sorted(found) == ["Topic:*", "Topic:orders"]
        assert found["Topic:orders"].actions == ("Sub",)
        await admin.acl.rules.delete(name)
        assert await admin.acl.rules.list(name) == ()
        await admin.acl.users.delete(name)
        assert await admin.acl.users.list(name) == ()


@pytest.mark.feature("M8", "M9")
async def test_changes_reach_a_running_producer(guarded: GuardedCluster) -> None:
    if guarded.kind == LAST_OF_4:
        return  # it has no users that can be changed like that: see the test above
    name, topic = f"user-{uuid.uuid4().hex[:8]}", f"of-users-{uuid.uuid4().hex[:8]}"
    keys = rmq.Credentials(name, "secret-of-somebody")
    async with admin_of(guarded) as admin:
        await admin.topics.create(topic)
        await admin.acl.users.create(name, keys.secret_key)
        async with rmq.Producer(guarded.name_servers, group="of-users", credentials=keys, send_msg_timeout=20.0) as producer:

            async def ends_in(kind: type[Exception] | None) -> bool:
                try:
                    await producer.send(rmq.Message(topic, b"x"))
                except rmq.SendDeniedError as error:
                    return kind is not None and type(error.cause) is kind
                return kind is None

            await eventually(lambda: ends_in(rmq.AccessDeniedError), 60.0)
            await admin.acl.rules.put(name, f"Topic:{topic}", ["Pub"])
            await eventually(lambda: ends_in(None), 60.0)
            await admin.acl.rules.put(name, f"Topic:{topic}", ["Pub"], allowed=False)
            await eventually(lambda: ends_in(rmq.AccessDeniedError), 60.0)
            await admin.acl.rules.put(name, f"Topic:{topic}", ["Pub"], sources=["10.0.0.0/8"])
            await eventually(lambda: ends_in(rmq.AccessDeniedError), 60.0)
            await admin.acl.rules.put(name, f"Topic:{topic}", ["Pub"], sources=["127.0.0.0/8"])
            await eventually(lambda: ends_in(None), 60.0)
            await admin.acl.users.update(name, enabled=False)
            await eventually(lambda: ends_in(rmq.AuthenticationError), 60.0)
            await admin.acl.users.update(name, enabled=True, password="another-secret")
            await eventually(lambda: ends_in(rmq.WrongSignatureError), 60.0)
            await admin.acl.users.delete(name)
            await eventually(lambda: ends_in(rmq.UnknownAccessKeyError), 60.0)


@pytest.mark.feature("M8")
async def test_brokers_without_access_control_say_so(cluster: Cluster) -> None:
    async with rmq.AdminClient(cluster.name_servers, mq_client_api_timeout=20.0) as admin:
        with pytest.raises(rmq.NotSupportedByBrokerError, match="no users and policies") as failed:
            await admin.acl.users.create("somebody", "secret-of-somebody")
        assert "authenticationEnabled" in failed.value.hint
