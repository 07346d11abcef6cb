"""Rules that turn routes into queues and addresses."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiorocketmq.core.clock import epoch_ms
from aiorocketmq.core.route_table import (
    MAX_QUEUES_PER_TOPIC,
    NO_ENDPOINT,
    BrokerTable,
    FoundBroker,
    TopicPublishInfo,
    check_route,
    choose_address,
    clamp_queues,
    endpoints_of,
    publish_info_of,
    subscribe_queues_of,
)
from aiorocketmq.errors import ProtocolError
from aiorocketmq.model.queue import MessageQueue
from aiorocketmq.model.route import BrokerData, QueueData, QueueMapping, TopicRouteData

TOPIC = "orders"


def broker(name: str, addrs: dict[int, str] | None = None) -> BrokerData:
    return BrokerData("C", name, {0: f"{name}:1"} if addrs is None else addrs)


def queues(name: str, count: int) -> tuple[MessageQueue, ...]:
    return tuple(MessageQueue(TOPIC, name, number) for number in range(count))


def info(*names: str, each: int = 2) -> TopicPublishInfo:
    return TopicPublishInfo(tuple(queue for name in names for queue in queues(name, each)), False, TopicRouteData())


@pytest.mark.feature("B14")
def test_publish_queues_need_write_permission_and_a_master() -> None:
    route = TopicRouteData(
        (
            QueueData("b", 1, 2),
            QueueData("a", 4, 3),
            QueueData("read-only", 4, 4, 4),
            QueueData("slave-only", 4, 4),
            QueueData("gone", 4, 4),
        ),
        (broker("a"), broker("b"), broker("read-only"), broker("slave-only", {1: "s:1"})),
    )
    publish = publish_info_of(TOPIC, route)
    assert publish.queues == queues("a", 3) + queues("b", 2)
    assert publish.route is route
    assert not publish.order_topic


@pytest.mark.feature("B14")
def test_an_order_configuration_names_the_queues_itself() -> None:
    route = TopicRouteData((QueueData("a", 4, 4),), (broker("a"),), "b:2;a:1;")
    publish = publish_info_of(TOPIC, route)
    assert publish.queues == queues("b", 2) + queues("a", 1)
    assert publish.order_topic


ODD = ["c:²", "c:１２", "c:1_0", "c", "c:x", ":4", "c:-1", "c:4:5", f"c:{MAX_QUEUES_PER_TOPIC + 1}", "c: 1"]


@pytest.mark.feature("B14")
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_entry_of_an_order_configuration_is_left_out_and_told_once(odd: str, caplog: pytest.LogCaptureFixture) -> None:
    for text in (f"b:2;{odd};a:1", f"b:2;{odd};;{odd};a:1;"):
        caplog.clear()
        publish = publish_info_of(TOPIC, TopicRouteData((), (), text))
        assert publish.queues == queues("b", 2) + queues("a", 1) and publish.order_topic
        (told,) = caplog.records
        assert told.levelname == "WARNING" and odd in told.getMessage() and TOPIC in told.getMessage()


@pytest.mark.parametrize("text", [";", *ODD])
def test_an_order_configuration_without_a_usable_entry_counts_as_none(text: str) -> None:
    publish = publish_info_of(TOPIC, TopicRouteData((QueueData("a", 4, 4),), (broker("a"),), text))
    assert publish.queues == queues("a", 4) and not publish.order_topic


@pytest.mark.feature("B7")
def test_the_turn_goes_on_behind_a_broker_that_was_passed_over() -> None:
    publish = TopicPublishInfo(queues("a", 3) + queues("b", 3), False, TopicRouteData((), ()))
    publish._turn = 0
    assert publish.select("a") == MessageQueue(TOPIC, "b", 0)
    assert publish.select() == MessageQueue(TOPIC, "b", 1)
    publish.unselect()
    assert publish.select() == MessageQueue(TOPIC, "b", 1)
    publish._turn = 5
    assert publish.select("b") == MessageQueue(TOPIC, "a", 0) and publish.select() == MessageQueue(TOPIC, "a", 1)


def test_subscribe_queues_need_read_permission_only() -> None:
    route = TopicRouteData((QueueData("b", 1, 9), QueueData("a", 2, 9), QueueData("w", 4, 4, 2)), (broker("a", {1: "s:1"}),))
    assert subscribe_queues_of(TOPIC, route) == queues("a", 2) + queues("b", 1)


@pytest.mark.feature("B7")
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 40))
def test_select_takes_turns(brokers: int, each: int, rounds: int) -> None:
    publish = info(*(f"b{number}" for number in range(brokers)), each=each)
    taken = Counter(publish.select() for _ in range(rounds * len(publish.queues)))
    assert set(taken.values()) == {rounds}


@pytest.mark.feature("B7")
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 40))
def test_a_turn_given_back_is_the_next_one(brokers: int, each: int, before: int) -> None:
    publish = info(*(f"b{number}" for number in range(brokers)), each=each)
    for _ in range(before):
        publish.select()
    queue = publish.select()
    publish.unselect()
    assert publish.select() is queue


@pytest.mark.feature("B7")
@given(st.integers(2, 5), st.integers(1, 4), st.lists(st.booleans(), min_size=20, max_size=60))
def test_select_avoids_the_broker_that_failed_when_there_is_another(brokers: int, each: int, failures: list[bool]) -> None:
    publish = info(*(f"b{number}" for number in range(brokers)), each=each)
    last: str | None = None
    for failed in failures:
        queue = publish.select(last if failed else None)
        assert not failed or queue.broker_name != last
        last = queue.broker_name


@pytest.mark.feature("B7")
def test_the_turn_goes_on_behind_the_queue_that_was_found() -> None:
    publish = info("a", "b", each=3)
    while publish.select() != MessageQueue(TOPIC, "b", 2):
        pass
    assert publish.select("a") == MessageQueue(TOPIC, "b", 0)
    assert publish.select() == MessageQueue(TOPIC, "b", 1)


def test_select_with_one_broker_takes_it_even_if_it_failed() -> None:
    publish = info("a", each=3)
    assert {publish.select("a").queue_id for _ in range(3)} == {0, 1, 2}


@pytest.mark.feature("B7")
def test_the_first_choice_is_random() -> None:
    assert len({info("a", each=64).select() for _ in range(64)}) > 8


def test_select_without_queues() -> None:
    publish = info()
    assert not publish
    with pytest.raises(IndexError):
        publish.select()
    with pytest.raises(IndexError):
        publish.select("a")
    assert "0 queues" in repr(publish)


@pytest.mark.feature("B13")
def test_clamping_gives_as_many_queues_to_read_as_to_write() -> None:
    route = TopicRouteData((QueueData("a", 8, 16, 7, 1), QueueData("b", 2, 16)), (broker("a"),))
    clamped = clamp_queues(route, 4)
    assert clamped.queue_datas == (QueueData("a", 4, 4, 7, 1), QueueData("b", 2, 2))
    assert clamped.broker_datas == route.broker_datas


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (TopicRouteData((QueueData("a", 0, -1),)), "negative"),
        (TopicRouteData((QueueData("a", -1, 0),)), "negative"),
        (TopicRouteData((QueueData("a", MAX_QUEUES_PER_TOPIC, 1), QueueData("b", 1, 1))), "65537 queues"),
        (TopicRouteData((), (broker("a", {0: "a:0"}),)), "a:0"),
        (TopicRouteData((), (broker("a", {0: "http://a:1"}),)), "http://a:1"),
        (TopicRouteData((), (broker("a", {0: "a:²"}),)), "a:²"),
        (TopicRouteData((), (broker("a", {3: "fe80::1:1"}),)), "IPv6"),
        (TopicRouteData((QueueData("a", 10**4000, 1),)), "claims of 13288 bits queues"),
        (TopicRouteData((), (broker("a", dict.fromkeys(range(8193), "a:1")),)), "8193 addresses"),
        (TopicRouteData((), tuple(broker(f"b{number}", {}) for number in range(8193))), "0 addresses of 8193 brokers"),
        (TopicRouteData((QueueData("a\nERROR forged", 1, 1),)), "forged"),
        (TopicRouteData((), (broker("\x1b[31m"),)), "31m"),
        (TopicRouteData((), (broker("x" * 1_000_000),)), "xxx"),
    ],
)
def test_a_route_that_nobody_can_mean_is_refused(route: TopicRouteData, text: str) -> None:
    with pytest.raises(ProtocolError, match=text) as refused:
        check_route(TOPIC, route)
    assert TOPIC in str(refused.value) and len(str(refused.value)) < 500 and str(refused.value).isprintable()


def test_good_routes_pass() -> None:
    check_route(TOPIC, TopicRouteData())
    check_route(TOPIC, TopicRouteData((QueueData("a", 0, 0),), (broker("a", {0: "[::1]:1", 5: "host-1.example:65535"}),)))


@pytest.mark.feature("K14")
def test_which_address_is_written_to_and_read_from() -> None:
    table = BrokerTable()
    table.put(broker("a", {0: "m:1", 1: "s1:1", 2: "s2:1"}))
    table.put(broker("b", {2: "only:1"}))
    assert (table.master("a"), table.master("b"), table.master("c")) == ("m:1", None, None)

    def read(name: str, broker_id: int, only_this: bool = False) -> tuple[str, bool] | None:
        found = table.for_reading(name, broker_id, only_this=only_this)
        return (found.address, found.is_slave) if found is not None else None

    assert read("a", 0) == ("m:1", False)
    assert read("a", 1) == ("s1:1", True)
    assert read("a", 5) == ("m:1", False), "any, when neither the wanted slave nor the next one is there"
    assert read("a", 5, only_this=True) is None
    assert read("b", 1) == ("only:1", True), "the next slave"
    assert read("b", 1, only_this=True) == ("only:1", True)
    assert read("b", 0) == ("only:1", True), "any, when the master is gone"
    assert read("b", 0, only_this=True) is None
    assert read("c", 0) is None
    found = table.any("b")
    assert found is not None
    assert found.address == "only:1"
    assert table.any("c") is None


@pytest.mark.feature("K11")
def test_versions_belong_to_addresses() -> None:
    table = BrokerTable()
    table.put(broker("a", {0: "m:1", 1: "s:1"}))
    table.put_version("a", "m:1", 513)
    table.put_version("a", "s:1", 407)
    found = table.for_reading("a", 1)
    assert found is not None
    assert found.version == 407
    assert table.version("a", "x:1") == table.version("x", "m:1") == 0
    table.put(broker("a", {0: "new:1", 1: "s:1"}))
    assert (table.version("a", "m:1"), table.version("a", "s:1")) == (0, 407)


@pytest.mark.feature("K17")
def test_what_no_route_names_is_dropped() -> None:
    table = BrokerTable()
    table.put(broker("a", {0: "m:1", 1: "s:1"}))
    table.put(broker("b", {0: "b:1"}))
    table.put_version("b", "b:1", 513)
    route = TopicRouteData((), (broker("a", {0: "m:1"}),))
    assert table.retain([route]) == ["s:1", "b:1"]
    assert table.addresses() == (("a", 0, "m:1"),)
    assert table.names() == ("a",)
    assert table.version("b", "b:1") == 0
    assert table.retain([route]) == []


@pytest.mark.feature("K15")
def test_some_broker_of_a_topic_master_first() -> None:
    route = TopicRouteData((), (broker("a", {1: "s:1", 0: "m:1"}), broker("b", {2: "only-slave:1"}), broker("c", {})))
    assert {choose_address(route) for _ in range(200)} == {"m:1", "only-slave:1"}
    assert choose_address(TopicRouteData((), (broker("c", {}),))) is None


def test_epoch_ms() -> None:
    assert epoch_ms(lambda: 1.2345) == 1234


def test_found_brokers_follow_every_change() -> None:
    table = BrokerTable()
    table.put(BrokerData("C", "a", {0: "a:1", 1: "s:1"}))
    assert table.for_reading("a", 0) == FoundBroker("a:1", False, 0)
    table.put_version("a", "a:1", 7)
    assert table.for_reading("a", 0) == table.any("a") == FoundBroker("a:1", False, 7)
    assert table.for_reading("a", 0) is table.for_reading("a", 0), "nothing is made for each pull"
    table.put(BrokerData("C", "a", {0: "a:2", 1: "s:1"}))
    assert table.for_reading("a", 0) == FoundBroker("a:2", False, 0)
    assert table.for_reading("a", 1) == FoundBroker("s:1", True, 0)
    table.retain([TopicRouteData((), (BrokerData("C", "a", {1: "s:1"}),))])
    assert table.for_reading("a", 0) == FoundBroker("s:1", True, 0)


# --- static topics --------------------------------------------------------------------------------------------------------------------


def mapped(*mappings: tuple[str, int, int, dict[int, int]], scope: str = "__global__") -> TopicRouteData:
    """A route by (broker, logical queues, epoch, logical to physical id)."""
    names = {name for name, *_ in mappings}
    return TopicRouteData(
        tuple(QueueData(name, 9, 9) for name in sorted(names)),
        tuple(broker(name) for name in sorted(names)),
        mappings=tuple(QueueMapping(name, scope, total, epoch, ids) for name, total, epoch, ids in mappings),
    )


@pytest.mark.feature("G12", "K20")
def test_logical_queues_are_those_of_no_broker_and_have_one_that_serves_them() -> None:
    route = mapped(("b", 4, 7, {2: 0, 3: 1}), ("a", 4, 7, {0: 5, 1: 6}))
    logical = queues("__syslo__global__", 4)
    assert list(endpoints_of(TOPIC, route).items()) == list(zip(logical, ["a", "a", "b", "b"], strict=True))
    publish = publish_info_of(TOPIC, route)
    assert publish.queues == subscribe_queues_of(TOPIC, route) == logical
    assert [publish.broker_of(queue) for queue in logical] == ["a", "a", "b", "b"]
    assert publish.broker_of(MessageQueue(TOPIC, "a", 0)) == "a"


@pytest.mark.feature("K20")
@pytest.mark.parametrize("turned", [False, True])
def test_the_latest_epoch_has_a_queue_and_the_largest_total_counts(turned: bool) -> None:
    old, new = ("a", 3, 7, {0: 0, 1: 1, 2: 2}), ("b", 5, 9, {1: 0, 4: 1})
    route = mapped(*((new, old) if turned else (old, new)))
    assert list(endpoints_of(TOPIC, route).values()) == ["a", "b", "a", NO_ENDPOINT, "b"]
    same = mapped(*((("b", 1, 7, {0: 1}), ("a", 1, 7, {0: 0})) if turned else (("a", 1, 7, {0: 0}), ("b", 1, 7, {0: 1}))))
    assert list(endpoints_of(TOPIC, same).values()) == ["b"], "every client takes the same one"


@pytest.mark.feature("G12")
def test_scopes_are_topics_of_their_own_and_an_order_configuration_comes_first() -> None:
    one, two = mapped(("a", 1, 1, {0: 0})), mapped(("b", 1, 1, {0: 0}), scope="east")
    route = TopicRouteData(one.queue_datas, one.broker_datas, mappings=one.mappings + two.mappings)
    assert [queue.broker_name for queue in endpoints_of(TOPIC, route)] == ["__syslo__global__", "__syslo__east"]
    ordered = TopicRouteData(one.queue_datas, one.broker_datas, "a:2", one.mappings)
    assert publish_info_of(TOPIC, ordered).queues == queues("a", 2)
    assert route.sorted() == TopicRouteData(one.queue_datas, one.broker_datas, mappings=two.mappings + one.mappings).sorted()


@pytest.mark.parametrize(
    "mapping",
    [
        QueueMapping("a", "__global__", -1, 1),
        QueueMapping("a", "__global__", MAX_QUEUES_PER_TOPIC + 1, 1),
        QueueMapping("a\n", "__global__", 1, 1),
        QueueMapping("a", "x" * 600, 1, 1),
    ],
)
def test_a_mapping_that_nobody_can_mean_is_refused(mapping: QueueMapping) -> None:
    with pytest.raises(ProtocolError):
        check_route(TOPIC, TopicRouteData(mappings=(mapping,)))


def test_scopes_cannot_add_up_to_more_queues_than_a_topic_has() -> None:
    halves = tuple(QueueMapping("a", scope, MAX_QUEUES_PER_TOPIC // 2 + 1, 1) for scope in "xy")
    check_route(TOPIC, TopicRouteData(mappings=halves[:1]))
    with pytest.raises(ProtocolError, match="logical queues"):
        check_route(TOPIC, TopicRouteData(mappings=halves))
