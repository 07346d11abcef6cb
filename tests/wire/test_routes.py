"""Routes: asked for once by many, kept when the name server fails, told to those who use them, forgotten when nobody does."""

from __future__ import annotations

import asyncio

import pytest

from aiorocketmq.client import route as route_module
from aiorocketmq.core.route_table import TopicPublishInfo
from aiorocketmq.errors import ProtocolError, RouteError, TopicNotFoundError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, TopicRouteData
from aiorocketmq.protocol.bodies import decode_topic_route
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.command import RemotingCommand
from tests.support.virtual_loop import virtual_time
from tests.wire.world import MASTER, SLAVE, FakeConsumer, FakeProducer, World, other_tasks, route

ROUTE = RequestCode.GET_ROUTEINFO_BY_TOPIC


@pytest.mark.feature("B7")
@virtual_time
async def test_many_callers_share_one_query() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = world.instance()
    await instance.start()
    found = await asyncio.gather(*(instance.routes.publish_info_or_fetch("orders") for _ in range(256)))
    assert len({id(info) for info in found}) == 1
    assert len(found[0].queues) == 4
    assert len(world.name_server.of(ROUTE)) == 1
    assert await instance.routes.publish_info_or_fetch("orders") is found[0]
    assert len(world.name_server.of(ROUTE)) == 1, "what is known is not asked for"
    assert all(await asyncio.gather(*(instance.routes.update("orders") for _ in range(256))))
    assert len(world.name_server.of(ROUTE)) == 2
    await instance.stop()


@virtual_time
async def test_cancelling_one_caller_leaves_the_query_to_the_others() -> None:
    world = World()
    world.routes["orders"] = route()
    world.name_server.latency = 0.4
    instance = world.instance()
    await instance.start()
    one, other = (asyncio.ensure_future(instance.routes.publish_info_or_fetch("orders")) for _ in range(2))
    await asyncio.sleep(0.5)
    one.cancel()
    assert (await other).queues
    assert one.cancelled()
    assert len(world.name_server.of(ROUTE)) == 1
    await instance.stop()


@pytest.mark.feature("B13")
@virtual_time
async def test_an_unknown_topic_takes_the_default_topics_route_with_its_queues_clamped() -> None:
    world = World()
    world.routes["TBW102"] = route(8, perm=7)
    instance = world.instance()
    producer = FakeProducer(topics=["new"])
    await instance.register_producer(producer)
    await instance.start()
    info = await instance.routes.publish_info_or_fetch("new", default_topic_queue_nums=3)
    assert info.queues == tuple(MessageQueue("new", "broker-a", queue_id) for queue_id in range(3))
    assert instance.routes.subscribe_queues("new") == info.queues
    entry = instance.routes.entry("new")
    assert entry is not None
    assert entry.inherited_from == "TBW102"

    world.routes["TBW102"] = route(8, perm=7, addrs={0: "moved:1"})
    assert await instance.routes.update("new")
    assert instance.find_broker_address_in_publish("broker-a") == "moved:1", "what is inherited is refreshed too"
    moved = instance.routes.publish_info("new")
    assert moved is not None
    assert len(moved.queues) == 3, "with as many queues as before"

    world.routes["new"] = route(2)
    await asyncio.sleep(31)
    info = await instance.routes.publish_info_or_fetch("new")
    assert len(info.queues) == 2, "once created, the topic's own route counts"
    assert not await instance.routes.update("missing")
    assert await instance.routes.update("new", use_default_topic=True)
    assert instance.routes.publish_info("new") is info, "the default topic's route never replaces the topic's own"
    await instance.stop()


@pytest.mark.feature("B13")
@virtual_time
async def test_update_can_ask_for_the_default_topic() -> None:
    world = World()
    world.routes["TBW102"] = route(8, perm=7)
    instance = world.instance()
    await instance.start()
    assert await instance.routes.update("new", use_default_topic=True, default_topic_queue_nums=2)
    assert [queue.queue_id for queue in instance.routes.subscribe_queues("new") or ()] == [0, 1]
    await instance.stop()


@virtual_time
async def test_no_topic_and_no_default_topic() -> None:
    instance = World().instance()
    await instance.start()
    with pytest.raises(TopicNotFoundError, match="TBW102") as missing:
        await instance.routes.publish_info_or_fetch("new")
    assert "autoCreateTopicEnable" in str(missing.value)
    assert instance.routes.counters.failures == 2
    with pytest.raises(TopicNotFoundError, match="'new'"):
        await instance.routes.fetch("new")
    await instance.stop()


@pytest.mark.feature("B14")
@virtual_time
async def test_a_route_without_a_queue_to_write_says_so() -> None:
    world = World()
    world.routes["read-only"] = route(perm=4)
    world.routes["no-master"] = route(addrs={1: SLAVE})
    instance = world.instance()
    await instance.start()
    for topic in world.routes:
        with pytest.raises(RouteError, match="no queue that can be written"):
            await instance.routes.publish_info_or_fetch(topic)
        assert len(instance.routes.subscribe_queues(topic) or ()) == 4
    await instance.stop()


@pytest.mark.feature("K18")
@virtual_time
async def test_only_a_changed_route_is_told_and_order_is_no_change() -> None:
    world = World()
    a, b = BrokerData("C", "a", {0: "a:1"}), BrokerData("C", "b", {0: "b:1"})
    world.routes["orders"] = TopicRouteData((QueueData("a", 2, 2), QueueData("b", 2, 2)), (a, b))
    instance = world.instance()
    producer, consumer, stranger = FakeProducer(topics=["orders"]), FakeConsumer(topics=["orders"]), FakeConsumer("x", ["other"])
    for each in (consumer, stranger):
        await instance.register_consumer(each)
    await instance.register_producer(producer)
    await instance.start()
    await asyncio.sleep(1)
    assert [topic for topic, _ in producer.told] == ["orders"]
    assert len(consumer.told) == 1
    world.routes["orders"] = TopicRouteData((QueueData("b", 2, 2), QueueData("a", 2, 2)), (b, a))
    await asyncio.sleep(60)
    assert len(producer.told) == len(consumer.told) == 1
    world.routes["orders"] = TopicRouteData((QueueData("a", 3, 3),), (a,))
    await asyncio.sleep(30)
    assert [queue.queue_id for queue in producer.told[1][1].queues] == [0, 1, 2]
    assert consumer.told[1] == ("orders", producer.told[1][1].queues)
    assert stranger.told == []
    assert instance.routes.counters.changes == 2
    await instance.stop()


@pytest.mark.feature("K18")
@virtual_time
async def test_an_answer_that_is_the_last_one_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def decode(body: bytes) -> TopicRouteData:
        decoded.append(body)
        return decode_topic_route(body)

    monkeypatch.setattr(route_module, "decode_topic_route", decode)
    world = World()
    world.routes["orders"] = route()
    world.routes["TBW102"] = route(8, perm=7)
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(1)
    assert len(decoded) == 1
    await asyncio.sleep(60)
    entry = await instance.routes.fetch("orders")
    assert entry is instance.routes.entry("orders")
    assert len(world.name_server.of(ROUTE)) == 4
    assert len(decoded) == 1
    world.routes["orders"] = route(2)
    assert len((await instance.routes.fetch("orders")).publish.queues) == 2
    world.routes["orders"] = route()
    assert len((await instance.routes.fetch("orders")).publish.queues) == 4, "back to what it was before"
    world.routes["orders"] = route(-1)
    for _ in range(2):
        with pytest.raises(ProtocolError, match="negative"):
            await instance.routes.fetch("orders")
    assert len(decoded) == 5, "what is refused is refused again"
    await instance.stop()


@virtual_time
async def test_a_topic_that_was_forgotten_is_taken_anew() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = world.instance()
    await instance.start()
    await instance.routes.fetch("orders")
    await asyncio.sleep(62)
    assert instance.routes.entry("orders") is None
    assert len((await instance.routes.fetch("orders")).publish.queues) == 4
    assert instance.find_broker_addr_by_topic("orders") == MASTER
    await asyncio.sleep(62)
    del world.routes["orders"]
    world.routes["TBW102"] = route(8, perm=7)
    assert len((await instance.routes.publish_info_or_fetch("orders", default_topic_queue_nums=2)).queues) == 2
    world.routes["orders"] = route()
    assert len((await instance.routes.fetch("orders")).publish.queues) == 4, "created again, exactly as it was"
    await instance.stop()


@pytest.mark.feature("K4", "K13")
@virtual_time
async def test_the_refresh_asks_for_sixteen_topics_at_once() -> None:
    world = World()
    topics = [f"topic-{number:02d}" for number in range(40)]
    world.routes.update(dict.fromkeys(topics, route()))
    world.name_server.latency = 0.1
    instance = world.instance()
    consumer = FakeConsumer(topics=topics)
    await instance.register_consumer(consumer)
    asked = consumer.asked
    await instance.start()
    await asyncio.sleep(2)
    times = world.name_server.times(ROUTE)
    assert len(times) == 40
    assert [times.count(at) for at in sorted(set(times))] == [16, 16, 8]
    assert len(consumer.told) == 40
    assert consumer.asked - asked <= 4, "the subscriptions are not walked through for each topic"
    assert instance.routes.counters.queries == 40
    await instance.stop()


@pytest.mark.feature("K13")
@virtual_time
async def test_callers_get_their_turn_between_and_share_the_queries_of_a_refresh() -> None:
    world = World()
    topics = [f"topic-{number:02d}" for number in range(40)]
    world.routes.update(dict.fromkeys([*topics, "other"], route()))
    world.name_server.latency = 0.1
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=topics))
    await instance.start()
    await asyncio.sleep(0.15)  # it is asking for the first ones
    asked, waiting = (asyncio.ensure_future(instance.routes.fetch(topic)) for topic in ("topic-03", "other"))
    await asked
    assert len(world.name_server.of(ROUTE)) == 16
    await asyncio.sleep(0.05)
    behind = asyncio.ensure_future(instance.routes.fetch("topic-20"))  # behind the next sixteen, which leave it out
    await waiting
    await behind
    await asyncio.sleep(2)
    sent = [request.command.ext_fields["topic"] for request in world.name_server.of(ROUTE)]
    assert sent.index("other") == 16, "after the first sixteen"
    assert sorted(sent) == sorted([*topics, "other"])
    assert instance.routes.lock.given_up == 0
    await instance.stop()


@virtual_time
async def test_a_refresh_ends_with_the_first_topics_when_no_name_server_answers(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    topics = [f"topic-{number:02d}" for number in range(40)]
    world.routes.update(dict.fromkeys(topics[1:], route()))
    world.name_server.silent = True
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=topics))
    await instance.start()
    await asyncio.sleep(20)
    assert len({request.command.ext_fields["topic"] for request in world.name_server.of(ROUTE)}) == 16
    assert [record.message for record in caplog.records if "routes were not refreshed" in record.message]
    world.name_server.silent = False
    await asyncio.sleep(15)
    assert len(instance.routes.topics()) == 39, "a topic that does not exist does not end it"
    world.name_server.silent = True
    await asyncio.sleep(60)
    told = [record.message for record in caplog.records if "routes were not refreshed" in record.message]
    assert len(told) == 2, "once for each time that they were away"
    await instance.stop()


@virtual_time
async def test_a_refresh_that_gets_no_turn_leaves_the_routes_and_comes_again() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders"]))
    async with instance.routes.lock.hold("a test") as held:
        assert held
        await instance.start()
        await asyncio.sleep(5)
        assert instance.routes.lock.given_up == 1
        assert instance.routes.counters.failures == 1
    await asyncio.sleep(30)
    assert instance.routes.topics() == ("orders",)
    await instance.stop()


@virtual_time
async def test_a_client_that_fails_to_take_a_route_hides_it_from_no_other(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeProducer):
        def on_route_changed(self, topic: str, publish: TopicPublishInfo) -> None:
            raise ZeroDivisionError

    world = World()
    world.routes["orders"] = route()
    instance = world.instance()
    good = FakeProducer("good", ["orders"])
    await instance.register_producer(Broken("broken", ["orders"]))
    await instance.register_producer(good)
    await instance.start()
    await asyncio.sleep(1)
    assert len(good.told) == 1
    assert "producer group broken failed to take the new route" in caplog.text
    await instance.stop()


@pytest.mark.feature("K17")
@virtual_time
async def test_brokers_that_no_route_names_are_dropped() -> None:
    world = World()
    world.routes["orders"] = route(addrs={0: MASTER, 1: SLAVE})
    instance = world.instance()
    await instance.register_consumer(FakeConsumer(topics=["orders"]))
    await instance.start()
    await asyncio.sleep(2)
    assert instance.health().brokers == (SLAVE, MASTER)
    world.routes["orders"] = route(addrs={0: "new:1"})
    await asyncio.sleep(31)
    assert instance.health().brokers == ("new:1",)
    assert instance.routes.broker_addrs.version("broker-a", MASTER) == 0
    await instance.stop()


@pytest.mark.feature("K17")
@virtual_time
async def test_topics_that_nobody_uses_are_forgotten_with_their_brokers() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = world.instance()
    await instance.start()
    await instance.routes.fetch("orders")
    assert instance.find_broker_addr_by_topic("orders") == MASTER
    await asyncio.sleep(62)
    assert instance.health().topics == instance.health().brokers == ()
    await instance.stop()


@virtual_time
async def test_what_is_known_survives_name_servers_that_fail_or_know_nothing(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.routes["orders"] = known = route()
    instance = world.instance()
    await instance.register_producer(FakeProducer(topics=["orders", "also"]))
    await instance.start()
    await asyncio.sleep(1)
    world.name_server.drop()
    world.name_server.refuse = True
    await asyncio.sleep(600)
    assert instance.routes.publish_info("orders")
    told = [record for record in caplog.records if record.levelname == "WARNING" and record.name == "aiorocketmq.client"]
    assert len(told) == 1, "a lasting fault is told once"
    world.name_server.refuse = False
    world.routes.clear()
    await asyncio.sleep(60)
    assert instance.routes.route("orders") == known, "a name server that just started knows nothing yet"
    assert (await instance.routes.publish_info_or_fetch("orders")).queues
    assert instance.health().brokers == (MASTER,)
    await instance.stop()


@pytest.mark.feature("K13")
@virtual_time
async def test_an_update_waits_3_s_for_the_one_before_and_then_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.name_server.silent = True
    instance = world.instance(mq_client_api_timeout=10)
    await instance.start()
    first = asyncio.ensure_future(instance.routes.update("a"))
    await asyncio.sleep(0.5)
    began = asyncio.get_running_loop().time()
    with pytest.raises(RouteError, match="took longer than 3 s"):
        await instance.routes.publish_info_or_fetch("b")
    assert asyncio.get_running_loop().time() - began == pytest.approx(3.0)
    assert instance.health().route_locks_given_up == 1
    assert "the route lock was not free within 3 s" in caplog.text
    assert await first is False
    world.name_server.silent = False
    world.routes["b"] = route()
    assert await instance.routes.update("b") is True, "the lock was released by the query that failed"
    await instance.stop()


@virtual_time
async def test_refresh_soon_is_coalesced_and_spaced() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = world.instance(poll_name_server_interval=1000)
    await instance.start()
    await asyncio.sleep(1)
    for _ in range(100):
        instance.routes.refresh_soon("orders")
    await asyncio.sleep(0.05)
    for _ in range(100):
        instance.routes.refresh_soon("orders")
    await asyncio.sleep(1)
    assert world.name_server.times(ROUTE) == pytest.approx([1.0, 1.2], abs=0.01)
    await instance.stop()
    instance.routes.refresh_soon("orders")
    assert not other_tasks()


@virtual_time
async def test_a_deadline_ends_the_wait_but_not_the_query() -> None:
    world = World()
    world.routes["orders"] = route()
    world.name_server.latency = 0.5
    instance = world.instance()
    await instance.start()
    with pytest.raises(RouteError, match=r"within 0\.2 s"):
        await instance.routes.publish_info_or_fetch("orders", timeout=0.2)
    await asyncio.sleep(2)
    assert instance.routes.publish_info("orders")
    await instance.stop()


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (TopicRouteData((QueueData("a", 2**31, 2**31),), ()), "claims 2147483648 queues"),
        (TopicRouteData((QueueData("a", -1, 4),), ()), "negative number of queues"),
        (route(addrs={0: "host:70000"}), "host:70000"),
        (route(addrs={0: "unix:/tmp/x"}), "unix:/tmp/x"),
        (route(addrs={0: ""}), "is not an address"),
    ],
)
def test_a_hostile_route_is_refused_and_the_good_one_kept(bad: TopicRouteData, text: str) -> None:
    @virtual_time
    async def run() -> None:
        world = World()
        world.routes["orders"] = good = route()
        instance = world.instance()
        await instance.register_producer(FakeProducer(topics=["orders"]))
        await instance.start()
        await asyncio.sleep(1)
        world.routes["orders"] = bad
        with pytest.raises(ProtocolError, match=text):
            await instance.routes.fetch("orders")
        await asyncio.sleep(60)
        assert instance.routes.route("orders") == good
        assert {address for _, address in world.network.dialled} == {"ns:9876", MASTER}
        await instance.stop()

    run()


@virtual_time
async def test_a_damaged_answer_is_an_error_that_names_the_field() -> None:
    world = World()
    world.name_server.on(ROUTE, lambda request, _: RemotingCommand.response(request, body=b'{"queueDatas":[{"brokerName":"a"}]}'))
    instance = world.instance()
    await instance.start()
    with pytest.raises(ProtocolError, match="readQueueNums"):
        await instance.routes.fetch("orders")
    await instance.stop()


@virtual_time
async def test_stop_ends_a_query_under_way_with_an_error() -> None:
    world = World()
    world.name_server.silent = True
    instance = world.instance()
    await instance.start()
    waiting = asyncio.ensure_future(instance.routes.publish_info_or_fetch("orders"))
    await asyncio.sleep(0.5)
    await instance.stop()
    with pytest.raises(Exception, match="stopped"):
        await waiting
    assert not other_tasks()


@pytest.mark.feature("K14", "K15", "L13", "Q62")
@virtual_time
async def test_address_rules() -> None:
    world = World()
    world.routes["orders"] = route(addrs={0: MASTER, 1: SLAVE})
    instance = world.instance(vip_channel_enabled=True)
    await instance.start()
    assert instance.find_broker_address_in_publish("broker-a") is None
    assert instance.find_broker_address_in_subscribe("broker-a", 0) is None
    assert instance.find_broker_address_in_admin("broker-a") is None
    assert instance.find_broker_addr_by_topic("orders") is None
    await instance.routes.fetch("orders")
    assert instance.find_broker_address_in_publish("broker-a") == "broker-a:10909", "sends take the second port"
    found = instance.find_broker_address_in_subscribe("broker-a", 0)
    assert found is not None
    assert (found.address, found.is_slave) == (MASTER, False)
    assert instance.find_broker_address_in_admin("broker-a") == found
    assert instance.find_broker_addr_by_topic("orders") == MASTER
    await instance.stop()


@virtual_time
async def test_topics_that_do_not_exist_are_not_remembered_for_ever() -> None:
    world = World()
    world.routes["orders"] = route()
    instance = world.instance()
    await instance.start()
    await instance.routes.publish_info_or_fetch("orders")
    for number in range(1000):
        with pytest.raises(TopicNotFoundError):
            await instance.routes.fetch(f"unknown-{number}")
        await asyncio.sleep(0.01)
    assert len(instance.routes._asked_at) <= 100
    await instance.stop()
