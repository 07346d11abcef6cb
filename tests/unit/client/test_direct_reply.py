"""Who awaits a send goes on inside the call that brings the result, and nothing else about waiting differs from a future."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from aiorocketmq.client.direct_reply import DirectReply
from aiorocketmq.model.enums import SendStatus
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.results import SendResult


class Owner:
    """What was begun; counts how often it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


RESULT = SendResult(SendStatus.SEND_OK, "id", "offset-id", MessageQueue("t", "b", 0), 7)


async def waiting(reply: DirectReply[SendResult], log: list[object] | None = None) -> SendResult | None:
    result = await reply
    if log is not None:
        log.append(result)
    return result


async def started(reply: DirectReply[SendResult], log: list[object] | None = None) -> asyncio.Task[SendResult | None]:
    task = asyncio.create_task(waiting(reply, log))
    await asyncio.sleep(0)
    return task


def from_the_loop(function: object, *arguments: object) -> asyncio.Future[None]:
    """Call a function as a transport does: from the loop, while no task runs."""
    loop = asyncio.get_running_loop()
    called = loop.create_future()

    def call() -> None:
        function(*arguments)  # type: ignore[operator]
        called.set_result(None)

    loop.call_soon(call)
    return called


async def test_the_task_goes_on_inside_the_call_that_brings_the_result() -> None:
    reply, log = DirectReply(asyncio.get_running_loop()), []
    task = await started(reply, log)

    def bring() -> None:
        reply.set_result(RESULT)
        log.append("told")

    await from_the_loop(bring)
    assert log == [RESULT, "told"]
    assert await task is RESULT


async def test_while_another_task_runs_the_task_waits_for_its_turn() -> None:
    reply, log = DirectReply(asyncio.get_running_loop()), []
    task = await started(reply, log)
    reply.set_result(RESULT)
    assert not log
    assert await task is RESULT


async def test_a_result_that_is_there_first_needs_no_waiting() -> None:
    reply = DirectReply(asyncio.get_running_loop())
    reply.set_result(RESULT)
    assert reply.done()
    assert await reply is RESULT


async def test_an_error_is_raised_in_the_task_in_a_turn_of_its_own() -> None:
    reply, log = DirectReply(asyncio.get_running_loop()), []
    task = await started(reply)

    def bring() -> None:
        reply.set_exception(ValueError("no"))
        log.append(task.done())

    await from_the_loop(bring)
    with pytest.raises(ValueError, match="no"):
        await task
    assert log == [False]


async def test_cancelling_the_task_tells_the_owner_once_and_no_result_is_wanted_any_more() -> None:
    reply = DirectReply(asyncio.get_running_loop())
    owner = Owner()
    reply.inner = owner
    task = await started(reply)
    assert task.cancel("why")
    assert reply.done() and owner.cancelled == 1
    with pytest.raises(asyncio.CancelledError, match="why"):
        await task
    assert not reply.cancel() and owner.cancelled == 1


async def test_a_time_out_around_it_works() -> None:
    reply = DirectReply(asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await reply
    assert reply.done()


async def test_a_task_that_is_cancelled_before_it_waits_does_not_wait() -> None:
    reply = DirectReply(asyncio.get_running_loop())
    task = asyncio.create_task(waiting(reply))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_task_keeps_its_own_context() -> None:
    place = contextvars.ContextVar("place", default="outside")
    reply = DirectReply(asyncio.get_running_loop())

    async def inside() -> str:
        place.set("inside")
        await reply
        return place.get()

    task = asyncio.create_task(inside())
    await asyncio.sleep(0)
    await from_the_loop(reply.set_result, RESULT)
    assert await task == "inside"
    assert place.get() == "outside"


@pytest.mark.untidy("a task is alive at the end", why="the loop is ended in the middle")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_loop_does_not_disturb_the_one_who_brings_the_result(error: type[BaseException]) -> None:
    log: list[object] = []

    async def interrupted(reply: DirectReply[SendResult]) -> None:
        await reply
        raise error

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first, second = DirectReply(loop), DirectReply(loop)
        tasks = [asyncio.create_task(interrupted(first)), asyncio.create_task(waiting(second, log))]

        def bring() -> None:
            first.set_result(RESULT)
            second.set_result(RESULT)

        loop.call_later(0.001, bring)
        await asyncio.gather(*tasks)

    with pytest.raises(error):
        asyncio.run(main())
    assert log == [RESULT]
