"""Which request is answered by which workload of the asyncio classes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import aiorocketmq as rmq
from benchmarks.ours import asking, consuming, form, idle, sending, soak, starts
from benchmarks.ours.holdings import holdings
from benchmarks.ours.meter import Answer

SENDING: dict[str, Callable[[rmq.Producer, dict[str, Any]], Awaitable[Answer]]] = {
    "send_one_at_a_time": sending.send_one_at_a_time,
    "send_in_flight": lambda producer, request: sending.send_in_flight([producer], request),
    "send_batches": sending.send_batches,
    "send_oneway": sending.send_oneway,
    "latency": consuming.latency,
}
CONSUMING: dict[str, Callable[[str, dict[str, Any]], Awaitable[Answer]]] = {
    "push_concurrent": consuming.push_concurrent,
    "push_plain": consuming.push_plain,
    "push_ordered": consuming.push_ordered,
    "lite_pull": consuming.lite_pull,
    "first_message": consuming.first_message,
    "idle": idle.idle,
    "cold_start": starts.cold_start,
    "import_time": starts.import_time,
    "local_start": starts.local_start,
}
# What a producer is told in every peer alike: bodies of one letter would measure zlib.
PRODUCER: dict[str, Any] = {"send_msg_timeout": 10.0, "compress_msg_body_over_howmuch": 1 << 30}

# The broker of the benchmarks does not look at signatures: what is measured is what signing costs the client.
SIGNED: Final = rmq.Credentials("bench", "secret-of-the-benchmarks")

# The broker's certificate is one that it made for itself, and the Java client does not look at it either.
SECURED: Final = rmq.TLS(insecure=True)


class AsyncioPeer:
    """Answers requests; the producers are made at their first use and serve all rounds."""

    def __init__(self, name_servers: str) -> None:
        self.name_servers = name_servers
        self._producers: dict[str, rmq.Producer] = {}
        self._transactions: rmq.TransactionProducer | None = None

    async def producer(self, kind: str, **options: Any) -> rmq.Producer:
        """The started producer of a kind."""
        if kind not in self._producers:
            producer = rmq.Producer(self.name_servers, group=f"bench_{kind}", **PRODUCER, **options)
            await producer.start()
            self._producers[kind] = producer
        return self._producers[kind]

    async def transaction_producer(self) -> rmq.TransactionProducer:
        """The started producer of transactions."""
        if self._transactions is None:
            self._transactions = rmq.TransactionProducer(self.name_servers, group="bench_transactions", check=sending.commit, **PRODUCER)
            await self._transactions.start()
        return self._transactions

    async def answer(self, request: dict[str, Any]) -> Answer:
        """Carry out one request; a failure becomes an answer too."""
        command = request["cmd"]
        try:
            if "producers" in request:
                return await self._from_many(request)
            if command in SENDING:
                return await SENDING[command](await self.producer("asyncio"), request)
            if command in CONSUMING:
                return await CONSUMING[command](self.name_servers, request)
            if command == "send_auto_batched":
                return await sending.send_in_flight([await self.producer("auto_batch", auto_batch=True)], request)
            if command == "send_signed":
                return await sending.send_in_flight([await self.producer("signed", credentials=SIGNED)], request)
            if command == "send_tls":
                return await sending.send_in_flight([await self.producer("tls", tls=SECURED)], request)
            if command == "request_reply":
                return await asking.request_reply(self.name_servers, await self.producer("asyncio"), request)
            if command == "send_in_transaction":
                return await sending.send_in_transaction(await self.transaction_producer(), request)
            if command == "idle_memory":
                await self.producer("asyncio")
                return await consuming.idle_memory(self.name_servers, request)
            if command == "soak":
                return await soak.soak(self.name_servers, request, PRODUCER)
            if command == "about":
                return {"form": form.of_this_process()}
        except (rmq.RocketMQError, TimeoutError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        return {"error": "unsupported"}

    async def _from_many(self, request: dict[str, Any]) -> Answer:
        """Sends in flight that are shared out among several producers of one client instance."""
        producers = [await self.producer(f"many_{number}") for number in range(request["producers"])]
        return await sending.send_in_flight(producers, request) | {"more": holdings()}

    async def stop(self) -> None:
        """Stop the producers."""
        for producer in self._producers.values():
            await producer.stop()
        if self._transactions is not None:
            await self._transactions.stop()
