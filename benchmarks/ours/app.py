"""A user's program: `python app.py NAME_SERVERS TOPIC GROUP` consumes one message and is gone."""

import asyncio
import os
import sys

import aiorocketmq as rmq

consumer = rmq.PushConsumer(sys.argv[1], group=sys.argv[3], start_from=rmq.StartFrom.FIRST)


@consumer.listen(sys.argv[2])
async def handle(message: rmq.ReceivedMessage) -> None:
    """The end of what is timed."""
    os._exit(0)


async def main() -> None:
    """Consume."""
    async with consumer:
        await asyncio.sleep(60)
    sys.exit("no message came within a minute")


asyncio.run(main())
