"""The same without asyncio: `aiorocketmq.sync` has the same classes, usable from any thread."""

import os
import threading

import aiorocketmq.sync as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")


def main() -> None:
    received = threading.Event()
    consumer = rmq.PushConsumer(NAME_SERVERS, group="blocking_workers", start_from=rmq.StartFrom.FIRST)

    @consumer.listen("example_blocking")
    def handle(message: rmq.ReceivedMessage) -> None:  # runs on a worker thread
        print("received", message.body.decode())
        received.set()

    with rmq.Producer(NAME_SERVERS, group="blocking_producer") as producer:
        result = producer.send(rmq.Message("example_blocking", b"no await anywhere"))
        print("sent", result.message_id)
        futures = [producer.send_nowait(rmq.Message("example_blocking", b"many")) for _ in range(10)]
        print("stored", sum(future.result(10).ok for future in futures))
        with consumer:
            if not received.wait(30):
                raise SystemExit("nothing came")


main()
