"""TLS on both ends: server and client show certificates and verify each other's, and who shows none is turned away.

The certificates are made on the spot by `trustme` (`pip install trustme`); yours come from your own authority.
"""

import asyncio
import tempfile
from pathlib import Path

import trustme

import aiorocketmq as rmq
from aiorocketmq.server import LocalCluster, ServerTLS


def make_certificates(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, identity in (("server", "127.0.0.1"), ("client", "shop.example.com")):
        authority.issue_cert(identity).private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")


async def main(folder: Path) -> None:
    make_certificates(folder)
    server = ServerTLS(folder / "server.pem", client_ca_file=folder / "ca.pem")  # each file holds the key, too
    client = rmq.TLS(ca_file=folder / "ca.pem", cert_file=folder / "client.pem")

    async with LocalCluster(tls=server) as cluster:
        async with rmq.AdminClient(cluster.name_servers, tls=client) as administration:
            await administration.topics.create("orders", exist_ok=True)
        consumer = rmq.PushConsumer(cluster.name_servers, group="workers", tls=client, start_from=rmq.StartFrom.FIRST)
        received = asyncio.Event()

        @consumer.listen("orders")
        async def handle(message: rmq.ReceivedMessage) -> None:
            print("received over TLS:", message.body.decode())
            received.set()

        async with consumer, rmq.Producer(cluster.name_servers, group="shop", tls=client) as producer:
            await producer.send(rmq.Message("orders", b"coffee"))
            await received.wait()

        for what, tls in (
            ("no certificate", rmq.TLS(ca_file=folder / "ca.pem")),
            ("an authority that is not known", rmq.TLS(cert_file=folder / "client.pem")),
        ):
            async with rmq.Producer(cluster.name_servers, group="shop", tls=tls) as producer:
                try:
                    await producer.send(rmq.Message("orders", b"tea"))
                except rmq.RocketMQError as error:
                    print(f"{what}: {error.message} - {error.hint}")


with tempfile.TemporaryDirectory() as made:
    asyncio.run(main(Path(made)))
