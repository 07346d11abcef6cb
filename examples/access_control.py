"""Access control: an embedded server that lets in whom its users and policies name, and the errors of everybody else."""

import asyncio

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster

ACL = {  # the same can stand in a TOML or JSON file: LocalCluster(acl="acl.toml"), aiorocketmq server --acl acl.toml
    "users": [
        {"name": "admin", "password": "secret-of-admin", "type": "Super"},
        {"name": "shop", "password": "secret-of-shop"},
    ],
    "policies": [{"user": "shop", "resource": ["Topic:orders*", "Group:shop*"], "actions": ["Pub", "Sub", "Get"]}],
}


async def main() -> None:
    admin = rmq.Credentials("admin", "secret-of-admin")
    shop = rmq.Credentials("shop", "secret-of-shop")
    async with LocalCluster(acl=ACL) as cluster:
        async with rmq.AdminClient(cluster.name_servers, credentials=admin) as administration:
            for topic in ("orders", "salaries"):
                await administration.topics.create(topic, exist_ok=True)
            await administration.acl.users.create("audit", "secret-of-audit")
            await administration.acl.rules.put("audit", "Topic:*", ["Get"])
            print("users:", ", ".join(user.name for user in await administration.acl.users.list()))

        async with rmq.Producer(cluster.name_servers, group="shop", credentials=shop) as producer:
            print("orders:", (await producer.send(rmq.Message("orders", b"coffee"))).status.name)
            try:
                await producer.send(rmq.Message("salaries", b"more"))
            except rmq.AccessError as error:
                print("salaries:", type(error.cause).__name__)

        wrong = rmq.Credentials("shop", "not its secret")
        async with rmq.Producer(cluster.name_servers, group="shop", credentials=wrong) as producer:
            try:
                await producer.send(rmq.Message("orders", b"coffee"))
            except rmq.AccessError as error:
                print("wrong key:", type(error.cause).__name__, "-", error.hint)


asyncio.run(main())
