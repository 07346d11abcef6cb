"""See what becomes of messages: hooks around sends and listeners, and the message trace (read it with `mqadmin queryMsgTraceById`)."""

import asyncio
import os

import aiorocketmq as rmq

NAME_SERVERS = os.environ.get("NAMESRV_ADDR", "127.0.0.1:9876")
TOPIC = "example_traced"


class Watch:
    """Says how long each send and each call of a listener took."""

    def before_send(self, context: rmq.SendContext) -> None:
        context.notes["number"] = context.message.body.decode()  # kept for `after_send()`

    def after_send(self, context: rmq.SendContext) -> None:
        print(f"sent {context.notes['number']} in {context.seconds:.3f} s:", context.error or context.result)

    def before_consume(self, context: rmq.ConsumeContext) -> None: ...

    def after_consume(self, context: rmq.ConsumeContext) -> None:
        print(f"consumed {context.messages[0].body.decode()}: {context.status}")


class Rules:
    """Forbids sending secrets, and drops odd numbers before a listener gets them."""

    def check_forbidden(self, context: rmq.SendContext) -> None:
        if any(message.body == b"secret" for message in context.messages):
            raise PermissionError("secrets stay here")

    def keep(self, message: rmq.ReceivedMessage) -> bool:
        return int(message.body) % 2 == 0


async def main() -> None:
    watch, rules, done = Watch(), Rules(), asyncio.Event()
    consumer = rmq.PushConsumer(
        NAME_SERVERS, group="traced_consumer", start_from=rmq.StartFrom.FIRST, hooks=[watch, rules], enable_trace=True
    )  # fmt: skip
    seen: list[bytes] = []

    @consumer.listen(TOPIC)
    async def handle(message: rmq.ReceivedMessage) -> None:
        seen.append(message.body)
        if len(seen) == 3:
            done.set()

    async with rmq.Producer(NAME_SERVERS, group="traced_producer", hooks=[watch, rules], enable_trace=True) as producer:
        for number in range(6):
            await producer.send(rmq.Message(TOPIC, str(number).encode()))
        try:
            await producer.send(rmq.Message(TOPIC, b"secret"))
        except PermissionError as error:
            print("not sent:", error)
        async with consumer:
            await asyncio.wait_for(done.wait(), 30)
    print("the listener got", sorted(seen), "and", producer.traces_lost + consumer.traces_lost, "records of the trace are lost")


asyncio.run(main())
