"""The life that producers, consumers and admin clients share: cut off, failed, waited for, tried again; nothing is left."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import pytest

import aiorocketmq as rmq
from aiorocketmq.client import manager
from aiorocketmq.client.instance import ClientInstance
from aiorocketmq.client.life import ClientLife
from aiorocketmq.client.manager import InstanceManager
from aiorocketmq.config import ClientConfig
from aiorocketmq.model.enums import ServiceState
from aiorocketmq.protocol.codes import RequestCode, ResponseCode
from aiorocketmq.protocol.command import RemotingCommand
from aiorocketmq.remoting.client import RemotingClient
from aiorocketmq.remoting.server import RemotingServer
from tests.support.virtual_loop import run_virtual, virtual_time
from tests.support.waiting import eventually
from tests.unit.consumer.world import GROUP, TOPIC, ScriptedBroker, consuming
from tests.wire.world import CLIENT_ID, NAME_SERVER, World, other_tasks

Client: TypeAlias = rmq.Producer | rmq.PushConsumer | rmq.AdminClient
Make: TypeAlias = Callable[[str], Client]


def make_producer(name_servers: str) -> rmq.Producer:
    return rmq.Producer(name_servers, group=GROUP, topics=[TOPIC, "another"])


def make_consumer(name_servers: str) -> rmq.PushConsumer:
    consumer = rmq.PushConsumer(name_servers, group=GROUP, start_from=rmq.StartFrom.FIRST)

    @consumer.listen(TOPIC)
    async def handle(message: rmq.ReceivedMessage) -> None: ...

    return consumer


def make_admin(name_servers: str) -> rmq.AdminClient:
    return rmq.AdminClient(name_servers)


KINDS: list[Make] = [make_producer, make_consumer, make_admin]
each_kind = pytest.mark.parametrize("make", KINDS, ids=["producer", "consumer", "admin"])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world that all clients of the test meet; every instance made in it is forgotten in the end."""
    broker = ScriptedBroker()
    made = broker.world

    def instance(config: ClientConfig, client_id: str, *, index: int) -> ClientInstance:
        return ClientInstance(config, CLIENT_ID, index=index, remoting=RemotingClient(config, connector=made.network.connector))

    shared = InstanceManager(instance)
    monkeypatch.setattr(manager, "shared", shared)
    yield made
    assert not [share for table in shared._loops.values() for share in table.shares]


def nothing_is_left(world: World) -> None:
    assert other_tasks() == set()
    assert world.name_server.connections == [] and world.master.connections == []


CUTS = [0.0, 0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1.05, 1.25, 1.45, 1.65]


@each_kind
@pytest.mark.parametrize("after", CUTS)
@virtual_time
async def test_a_start_that_is_cut_off_is_undone_and_can_be_tried_again(world: World, make: Make, after: float) -> None:
    for peer in (world.name_server, world.master):
        peer.latency = 0.1
    client = make(NAME_SERVER)
    try:
        async with asyncio.timeout(after):
            await client.start()
    except TimeoutError:
        assert client.state is ServiceState.START_FAILED
        nothing_is_left(world)
        goodbyes = world.master.of(RequestCode.UNREGISTER_CLIENT)
        assert len(goodbyes) >= bool(world.master.of(RequestCode.HEART_BEAT)), "who said hello says goodbye"
    await client.start()
    assert client.state is ServiceState.RUNNING
    await asyncio.sleep(2)
    await client.stop()
    assert client.state is ServiceState.SHUTDOWN_ALREADY
    nothing_is_left(world)


@each_kind
@virtual_time
async def test_a_second_cancellation_leaves_the_undoing_going_on(world: World, make: Make) -> None:
    for peer in (world.name_server, world.master):
        peer.latency = 0.1
    world.name_server.silent = True
    client = make(NAME_SERVER)
    starting = asyncio.ensure_future(client.start(timeout=10))
    await asyncio.sleep(0.3)
    for _ in range(3):
        starting.cancel()
        await asyncio.sleep(0)
    assert starting.cancelled() or not starting.done()
    await eventually(lambda: not other_tasks(), 30)
    nothing_is_left(world)
    world.name_server.silent = False
    await client.start()
    await client.stop()
    nothing_is_left(world)


@each_kind
@virtual_time
async def test_a_time_out_around_async_with_leaves_nothing(world: World, make: Make) -> None:
    world.name_server.silent = True
    client = make(NAME_SERVER)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await client.start(timeout=60)
    nothing_is_left(world)
    assert client.state is ServiceState.START_FAILED


@each_kind
@virtual_time
async def test_all_kinds_start_without_a_name_server_and_work_when_it_is_there(world: World, make: Make) -> None:
    world.name_server.refuse = True
    client = make(NAME_SERVER)
    await client.start()
    assert client.state is ServiceState.RUNNING
    await asyncio.sleep(5)
    world.name_server.refuse = False
    if isinstance(client, rmq.PushConsumer):
        await eventually(lambda: len(client.assigned) == 2, 15)  # its topic and its retry topic
    elif isinstance(client, rmq.Producer):
        assert await client.fetch_publish_message_queues(TOPIC)
    else:
        assert (await client.topics.route(TOPIC)).queue_datas
    await client.stop()
    nothing_is_left(world)


@each_kind
@virtual_time
async def test_all_kinds_wait_for_the_name_server_when_asked_to(world: World, make: Make) -> None:
    world.name_server.refuse = True
    client = make(NAME_SERVER)
    asyncio.get_running_loop().call_later(4.2, setattr, world.name_server, "refuse", False)
    await client.start(timeout=10)
    assert 4.2 <= asyncio.get_running_loop().time() <= 5.5
    assert client.state is ServiceState.RUNNING
    await client.stop()
    nothing_is_left(world)


@each_kind
@pytest.mark.parametrize("how", ["refuse", "silent", "black_hole"])
@virtual_time
async def test_waiting_in_vain_fails_in_time_and_can_be_tried_again(world: World, make: Make, how: str) -> None:
    setattr(world.name_server, how, True)
    client = make(NAME_SERVER)
    for attempt in (1, 2):
        began = asyncio.get_running_loop().time()
        with pytest.raises(rmq.NoNameServerError, match=r"no name server answered within 1\.5 s") as caught:
            await client.start(timeout=1.5)
        assert "ns:9876" in str(caught.value)
        assert asyncio.get_running_loop().time() - began == pytest.approx(1.5, abs=0.1), attempt
        assert client.state is ServiceState.START_FAILED
        nothing_is_left(world)
        await client.stop()  # there is nothing to stop, and this is not the end of it
    setattr(world.name_server, how, False)
    await client.start(timeout=1.5)
    assert client.state is ServiceState.RUNNING
    await client.stop()


@each_kind
@virtual_time
async def test_a_name_server_that_refuses_the_question_is_there(world: World, make: Make) -> None:
    world.name_server.answer(RequestCode.GET_ROUTEINFO_BY_TOPIC, 16, "no permission")
    client = make(NAME_SERVER)
    await client.start(timeout=1)
    await client.stop()


@each_kind
@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "3", True])
@virtual_time
async def test_what_is_no_time_to_wait_is_refused(world: World, make: Make, timeout: Any) -> None:
    client = make(NAME_SERVER)
    with pytest.raises(rmq.ConfigError, match="timeout"):
        await client.start(timeout=timeout)
    assert client.state is ServiceState.CREATE_JUST


@each_kind
@virtual_time
async def test_starts_at_the_same_time_share_one(world: World, make: Make) -> None:
    world.name_server.latency = 0.1
    client = make(NAME_SERVER)
    await asyncio.gather(*(client.start() for _ in range(5)))
    assert client.state is ServiceState.RUNNING
    await asyncio.gather(*(client.stop() for _ in range(5)))
    nothing_is_left(world)


@each_kind
@pytest.mark.parametrize("after", [0.0, 0.05, 0.25, 0.45, 1.0])
@virtual_time
async def test_a_stop_ends_a_start_that_is_under_way(world: World, make: Make, after: float) -> None:
    world.name_server.silent = True
    client = make(NAME_SERVER)
    starting = asyncio.ensure_future(client.start(timeout=60))
    await asyncio.sleep(after)
    await client.stop()
    if after or starting.done():
        with pytest.raises(rmq.ClientClosedError, match="was stopped while it was being started"):
            await starting
    else:  # it came first
        with pytest.raises(rmq.ClientClosedError, match="was stopped"):
            await starting
    assert client.state is ServiceState.SHUTDOWN_ALREADY
    assert asyncio.get_running_loop().time() < after + 5
    nothing_is_left(world)


@each_kind
@virtual_time
async def test_a_stop_that_is_cancelled_goes_on(world: World, make: Make) -> None:
    client = make(NAME_SERVER)
    await client.start()
    await asyncio.sleep(2)
    world.master.silent = True
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await stopping
    assert client.state is ServiceState.SHUTDOWN_ALREADY
    await eventually(lambda: not other_tasks(), 60)
    nothing_is_left(world)


@each_kind
@virtual_time
async def test_clients_live_on_when_others_cancel_every_task_of_the_loop(world: World, make: Make) -> None:
    client = make(NAME_SERVER)
    await client.start()
    for _ in range(2):
        await asyncio.sleep(3)
        before = {task.get_name() for task in other_tasks()}
        for task in other_tasks():
            task.cancel()
        await asyncio.sleep(1)
        assert {task.get_name() for task in other_tasks()} == before
        assert client.state is ServiceState.RUNNING
    if isinstance(client, rmq.Producer):
        assert await client.fetch_publish_message_queues(TOPIC)
    elif isinstance(client, rmq.AdminClient):
        assert (await client.topics.route(TOPIC)).queue_datas
    else:
        assert len(client.assigned) == 2
    await client.stop()
    nothing_is_left(world)


@pytest.mark.parametrize("make", [make_producer, make_consumer], ids=["producer", "consumer"])
@virtual_time
async def test_a_client_that_is_refused_takes_nothing_from_the_one_that_is_there(world: World, make: Make) -> None:
    first, second = make(NAME_SERVER), make(NAME_SERVER)
    await first.start()
    with pytest.raises(rmq.GroupAlreadyRegisteredError):
        await second.start()
    assert second.state is ServiceState.START_FAILED
    assert not world.master.of(RequestCode.UNREGISTER_CLIENT)
    await asyncio.sleep(35)
    assert first.state is ServiceState.RUNNING
    await first.stop()
    await second.start()  # its turn has come
    await second.stop()
    nothing_is_left(world)


@pytest.mark.untidy("", why="its loop is closed too early, with all that was going on: that is what the test is about")
@each_kind
def test_a_client_of_a_loop_that_was_closed_says_so_and_closes_its_connections(world: World, make: Make) -> None:
    async def begin() -> Client:
        client = make(NAME_SERVER)
        await client.start()
        await asyncio.sleep(3)
        return client

    async def end(client: Client) -> None:
        with pytest.raises(rmq.ClientStateError, match="not stopped before its event loop was closed"):
            await client.stop()
        assert client.state is ServiceState.SHUTDOWN_ALREADY
        await client.stop()
        with pytest.raises(rmq.ClientClosedError):
            await client.start()

    run_virtual(end(run_virtual(begin())))


@pytest.mark.untidy("", why="its loop is closed too early, with all that was going on: that is what the test is about")
@each_kind
@pytest.mark.parametrize("factory", ["asyncio", "uvloop"])
def test_sockets_of_a_loop_that_was_closed_are_closed(make: Make, factory: str, elsewhere: asyncio.AbstractEventLoop) -> None:
    new_loop = pytest.importorskip(factory).new_event_loop

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, elsewhere).result(30)

    async def begin() -> Client:
        client = make(server.address)
        await client.start(timeout=10)
        return client

    async def end(client: Client) -> None:
        with pytest.raises(rmq.ClientStateError, match="not stopped before its event loop was closed"):
            await client.stop()

    def unknown(request: RemotingCommand, _: object) -> RemotingCommand:
        return RemotingCommand.response(request, ResponseCode.TOPIC_NOT_EXIST, "no such topic")

    server = RemotingServer("127.0.0.1", processors={RequestCode.GET_ROUTEINFO_BY_TOPIC: unknown})
    run(server.start())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # what event loops say of transports that are left open
            with asyncio.Runner(loop_factory=new_loop) as runner:
                client = runner.run(begin())
                assert len(server.channels) == 1
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(end(client))
                runner.run(eventually(lambda: not server.channels))
            del client, runner
            gc.collect()
    finally:
        run(server.stop())


@pytest.fixture
def elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@virtual_time
async def test_a_client_whose_own_part_of_the_end_fails_leaves_the_instance_all_the_same(world: World) -> None:
    async def join(instance: ClientInstance) -> None: ...

    async def fail(instance: ClientInstance) -> None:
        raise ValueError("scripted")

    life = ClientLife("this client", ClientConfig(name_servers=NAME_SERVER))
    await life.start(join, join, None)
    instance = life.instance
    assert instance is not None
    with pytest.raises(ValueError, match="scripted"):
        await life.stop(fail)
    assert (life.state, life.instance) == (ServiceState.SHUTDOWN_ALREADY, None)
    assert instance.state is ServiceState.SHUTDOWN_ALREADY, "it was the last one on it"


async def cut_off(work: Coroutine[Any, Any, object], turns: int) -> bool:
    """Let code outside of the library cancel all tasks after so many turns of the loop; True when the work had ended before."""
    task = asyncio.ensure_future(work)
    for turn in range(turns):
        if task.done():
            break
        await asyncio.sleep(0.001 if turn % 16 == 15 else 0)
    over = task.done()
    for each in asyncio.all_tasks():
        if each is not asyncio.current_task():
            each.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        assert isinstance(task.exception(), rmq.RocketMQError | TimeoutError)
    return over


@each_kind
@virtual_time
async def test_a_stop_in_which_others_cancel_all_tasks_comes_to_its_end(world: World, make: Make) -> None:
    for peer in (world.name_server, world.master):
        peer.latency = 0.002
    over, turns = False, 0
    while not over:
        client = make(NAME_SERVER)
        await client.start()
        await asyncio.sleep(1)
        over = await cut_off(client.stop(), turns)
        async with asyncio.timeout(10):
            await client.stop()
        assert client.state is ServiceState.SHUTDOWN_ALREADY
        nothing_is_left(world)
        turns += 1
    assert turns > 3


@each_kind
@virtual_time
async def test_the_undoing_of_a_start_in_which_others_cancel_all_tasks_comes_to_its_end(world: World, make: Make) -> None:
    for peer in (world.name_server, world.master):
        peer.latency = 0.002
    over, turns = False, 0
    client = make(NAME_SERVER)

    async def start() -> None:
        async with asyncio.timeout(0.005):
            await client.start()

    while not over:
        over = await cut_off(start(), turns)
        await client.start()
        await client.stop()
        nothing_is_left(world)
        client = make(NAME_SERVER)
        turns += 1
    assert turns > 3


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12 brings it")
@virtual_time
async def test_a_consumer_gets_its_messages_on_a_loop_whose_tasks_begin_at_once() -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    broker, got = ScriptedBroker(), list[bytes]()

    async def take(message: rmq.ReceivedMessage) -> None:
        got.append(message.body)

    async with consuming(broker, take):
        broker.append(b"1", b"2")
        await eventually(lambda: len(got) == 2, 10)


@virtual_time
async def test_a_start_that_others_cancel_says_so(world: World) -> None:
    world.name_server.latency = 0.1
    client = make_producer(NAME_SERVER)
    starting = asyncio.ensure_future(client.start())
    await asyncio.sleep(0)
    [task] = [task for task in asyncio.all_tasks() if task.get_name().endswith(":start")]
    task.cancel()
    with pytest.raises(rmq.ClientStateError, match="was cancelled by code outside of the library"):
        await starting
    await client.start()
    await client.stop()


def test_starts_that_failed_on_one_loop_take_turns_on_the_next_one_as_well() -> None:
    client = rmq.Producer("127.0.0.1:1", group=GROUP)

    async def both() -> None:
        for outcome in await asyncio.gather(client.start(timeout=0.1), client.start(timeout=0.1), return_exceptions=True):
            assert isinstance(outcome, rmq.NoNameServerError), outcome

    asyncio.run(both())
    asyncio.run(both())


@pytest.mark.untidy(
    "a task is alive", "._stopping", "._close_waiters", "Endpoint.closing", why="a loop that ends under a client is what it is about"
)
def test_an_undoing_that_the_end_of_its_loop_cut_off_holds_up_nothing_later(world: World) -> None:
    world.master.silent = True
    world.name_server.latency = 0.1
    client = make_consumer(NAME_SERVER)

    async def cut() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.start()

    async def cut_twice() -> None:
        asyncio.ensure_future(cut())  # noqa: RUF006 - the end of the loop cancels it
        await asyncio.sleep(0.51)

    async def again() -> None:
        world.master.silent = False
        async with asyncio.timeout(30):
            await client.start()
            await client.stop()

    run_virtual(cut_twice())
    run_virtual(again())


def test_loops_of_several_threads_are_forgotten_by_several() -> None:
    shared = InstanceManager(pid=lambda: 1)

    class Closed(asyncio.SelectorEventLoop):
        def is_closed(self) -> bool:
            shared._loops.pop(self, None)  # as another thread does at the same moment
            return super().is_closed()

    loop = Closed()
    loop.close()
    shared._loops[loop] = manager._LoopTable(1)
    shared.purge()
    assert not shared._loops
