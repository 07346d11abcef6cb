"""Transactions on scripted brokers: what goes over the wire, what is asked and answered, and what faults leave."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

import aiorocketmq as rmq
from aiorocketmq.model.names import HALF_TOPIC
from aiorocketmq.model.properties import decode_properties, encode_properties
from aiorocketmq.producer.decisions import REMEMBERED, Decisions
from aiorocketmq.producer.fields import ProducerFields
from aiorocketmq.protocol.codes import RequestCode
from aiorocketmq.protocol.headers_client import CheckTransactionStateRequestHeader, EndTransactionRequestHeader
from aiorocketmq.protocol.message_codec import encode_stored_message
from tests.support.virtual_loop import virtual_time
from tests.support.waiting import eventually
from tests.unit.producer.world import NAME_SERVER, TOPIC, Broker, SendWorld
from tests.wire.world import heartbeats

COMMIT, ROLLBACK, UNKNOWN = rmq.TransactionState.COMMIT, rmq.TransactionState.ROLLBACK, rmq.TransactionState.UNKNOWN
END = RequestCode.END_TRANSACTION
MESSAGE = rmq.Message(TOPIC, b"paid")


class Check:
    """A `check` that answers what it is told to, and remembers what it was asked."""

    def __init__(self, answer: Any = UNKNOWN) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None

    async def __call__(self, message: rmq.ReceivedMessage) -> rmq.TransactionState:
        self.asked.append(message.message_id)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


def producer_of(check: Check, **fields: Any) -> rmq.TransactionProducer:
    return rmq.TransactionProducer(NAME_SERVER, group="pay", check=check, **fields)


def ask(broker: Broker, transaction_id: str, offset: int = 4711, *, group: str = "pay") -> None:
    """Let a broker ask about a half message at an offset of its log."""
    properties = {"UNIQ_KEY": transaction_id, "PGROUP": group, "TRAN_MSG": "true", "__transactionId__": transaction_id}
    body = encode_stored_message(
        TOPIC, b"paid", encode_properties(properties).encode(), queue_id=1, queue_offset=9, commit_log_offset=offset, born_timestamp=1,
        born_ip=b"\x7f\0\0\1", born_port=1, store_timestamp=2, store_ip=b"\x7f\0\0\1", store_port=10911,
    )  # fmt: skip
    header = CheckTransactionStateRequestHeader(9, offset, transaction_id, transaction_id, "7F", HALF_TOPIC, bname=broker.name)
    broker.peer.push_oneway(RequestCode.CHECK_TRANSACTION_STATE, header, body)


def ends(broker: Broker) -> list[tuple[int, int, bool]]:
    """What the broker was told: offset of the log, decision, whether that was an answer."""
    headers = [EndTransactionRequestHeader.from_ext(request.command.ext_fields) for request in broker.peer.of(END)]
    return [(header.commit_log_offset, header.commit_or_rollback, header.from_transaction_check) for header in headers]


@pytest.fixture
def broker(world: SendWorld) -> Broker:
    (broker,) = world.route_to("broker-a")
    broker.peer.on(END, lambda request, connection: None)
    return broker


@pytest.mark.feature("C5")
@pytest.mark.parametrize(("seconds", "text"), [(1, "1"), (1.5, "2"), (timedelta(minutes=1, milliseconds=1), "61")])
def test_an_immunity_is_whole_seconds_and_never_less_than_asked_for(
    world: SendWorld, broker: Broker, seconds: float | timedelta, text: str
) -> None:
    @virtual_time
    async def run() -> None:
        async with producer_of(Check()) as producer:
            await producer.send_in_transaction(MESSAGE, lambda message, arg: COMMIT, check_immunity_time=seconds)
        (half,) = broker.headers
        assert decode_properties(half.properties or "")["CHECK_IMMUNITY_TIME_IN_SECONDS"] == text

    run()


@pytest.mark.feature("C1", "C4")
@virtual_time
async def test_the_half_message_and_its_end_on_the_wire(world: SendWorld, broker: Broker) -> None:
    async with producer_of(Check(), check_immunity_time=30) as producer:
        result = await producer.send_in_transaction(MESSAGE, lambda message, arg: COMMIT, sharding_key="k")
        await broker.peer.wait_for(END)
    (half,) = broker.headers
    assert half.sys_flag == 0x4
    assert half.producer_group == "pay"
    assert decode_properties(half.properties or "") == {
        "UNIQ_KEY": result.transaction_id,
        "WAIT": "true",
        "__SHARDINGKEY": "k",
        "TRAN_MSG": "true",
        "PGROUP": "pay",
        "CHECK_IMMUNITY_TIME_IN_SECONDS": "30",
    }
    (end,) = broker.peer.of(END)
    assert end.command.is_oneway
    assert end.command.ext_fields == {
        "producerGroup": "pay",
        "tranStateTableOffset": "0",
        "commitLogOffset": "1",
        "commitOrRollback": "8",
        "fromTransactionCheck": "false",
        "msgId": result.transaction_id,
        "topic": TOPIC,
        "bname": "broker-a",
    }


@pytest.mark.feature("C3", "C4")
@virtual_time
async def test_the_answer_to_a_check_names_what_the_broker_has_named_and_the_real_topic(world: SendWorld, broker: Broker) -> None:
    check = Check(ROLLBACK)
    async with producer_of(check, topics=[TOPIC]) as producer:
        await eventually(lambda: broker.peer.connections)
        ask(broker, "TX1")
        (end,) = await broker.peer.wait_for(END)
        assert check.asked == ["TX1"]
        assert producer.group == "pay"
    assert end.command.is_oneway
    assert end.command.ext_fields == {
        "producerGroup": "pay",
        "tranStateTableOffset": "9",
        "commitLogOffset": "4711",
        "commitOrRollback": "12",
        "fromTransactionCheck": "true",
        "msgId": "TX1",
        "transactionId": "TX1",
        "topic": TOPIC,
        "bname": "broker-a",
    }


@pytest.mark.feature("C3", "E3")
@virtual_time
async def test_hooks_hear_of_answers_to_checks(world: SendWorld, broker: Broker) -> None:
    heard: list[rmq.EndTransactionContext] = []

    class Hook:
        def end_transaction(self, context: rmq.EndTransactionContext) -> None:
            heard.append(context)

    producer = producer_of(Check(ROLLBACK), topics=[TOPIC])
    producer.register_end_transaction_hook(Hook())
    async with producer:
        await eventually(lambda: broker.peer.connections)
        ask(broker, "TX1")
        await broker.peer.wait_for(END)
    (context,) = heard
    assert (context.group, context.broker_address, context.message_id, context.transaction_id) == ("pay", broker.address, "TX1", "TX1")
    assert (context.message.topic, context.state, context.from_transaction_check) == (TOPIC, ROLLBACK, True)


@pytest.mark.feature("C3")
@virtual_time
async def test_what_was_decided_here_is_not_asked_for_again(world: SendWorld, broker: Broker) -> None:
    check = Check(ROLLBACK)
    async with producer_of(check) as producer:
        committed = await producer.send_in_transaction(MESSAGE, lambda message, arg: COMMIT)
        ask(broker, committed.transaction_id)
        await eventually(lambda: ends(broker) == [(1, 8, False), (4711, 8, True)])
        async with producer.transaction(MESSAGE) as tx:
            ask(broker, tx.transaction_id, 4712)
            await eventually(lambda: ends(broker)[2:] == [(4712, 0, True)])
        ask(broker, tx.transaction_id, 4713)
        await eventually(lambda: ends(broker)[3:] == [(2, 8, False), (4713, 8, True)])
        ask(broker, "of another process", 4714)
        await eventually(lambda: ends(broker)[5:] == [(4714, 12, True)])
        ask(broker, "of another process", 4715)
        await eventually(lambda: ends(broker)[6:] == [(4715, 12, True)])
    assert check.asked == ["of another process"]


@pytest.mark.feature("C1", "C3")
@virtual_time
async def test_half_message_of_a_send_that_failed_is_rolled_back_when_it_is_there(world: SendWorld, broker: Broker) -> None:
    """Nobody has run the local transaction; the answer to the send was lost."""
    check = Check(COMMIT)
    executed: list[object] = []
    broker.always = None
    async with producer_of(check, send_msg_timeout=1.0) as producer:
        with pytest.raises(rmq.SendTimeoutError) as failed:
            await producer.send_in_transaction(MESSAGE, lambda message, arg: executed.append(message) or COMMIT)
        assert failed.value.maybe_stored
        ask(broker, decode_properties(broker.headers[0].properties or "")["UNIQ_KEY"])
        await eventually(lambda: ends(broker) == [(4711, 12, True)])
    assert check.asked == executed == []


@pytest.mark.feature("C1")
@pytest.mark.parametrize("code", [10, 11, 12])
@virtual_time
async def test_half_message_that_is_stored_with_a_doubt_is_rolled_back(world: SendWorld, broker: Broker, code: int) -> None:
    executed: list[object] = []
    broker.always = code
    async with producer_of(Check()) as producer:
        result = await producer.send_in_transaction(MESSAGE, lambda message, arg: executed.append(message) or COMMIT)
        assert (result.state, result.status.value) == (ROLLBACK, code)
        with pytest.raises(rmq.SendError, match="is rolled back"):
            async with producer.transaction(MESSAGE):
                executed.append(None)
        await eventually(lambda: [end[1] for end in ends(broker)] == [12, 12])
    assert executed == []


@pytest.mark.feature("C4")
@virtual_time
async def test_decision_that_cannot_be_told_is_answered_when_the_broker_asks(
    world: SendWorld, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    check = Check(ROLLBACK)
    async with producer_of(check, send_msg_timeout=1.0) as producer:
        async with producer.transaction(MESSAGE) as tx:
            broker.down()
            await asyncio.sleep(0.1)
        assert tx.result is not None
        assert (tx.result.state, tx.result.told) == (COMMIT, False)
        broker.up()
        await producer.send(MESSAGE)
        ask(broker, tx.transaction_id)
        await eventually(lambda: ends(broker) == [(4711, 8, True)])
    assert check.asked == []
    assert "was not told that transaction" in caplog.text


@pytest.mark.feature("C2")
@virtual_time
async def test_cancelled_transaction_stays_open(world: SendWorld, broker: Broker) -> None:
    check = Check(COMMIT)
    entered = asyncio.Event()

    async def forever(*_: object) -> rmq.TransactionState:
        entered.set()
        await asyncio.Event().wait()
        return ROLLBACK

    async def inside(producer: rmq.TransactionProducer) -> None:
        async with producer.transaction(MESSAGE):
            await forever()

    async with producer_of(check) as producer:
        for number, work in enumerate((producer.send_in_transaction(MESSAGE, forever), inside(producer))):
            entered.clear()
            task = asyncio.create_task(work)  # type: ignore[arg-type]
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            transaction_id = decode_properties(broker.headers[number].properties or "")["UNIQ_KEY"]
            ask(broker, transaction_id, 4711 + number)
            await eventually(lambda at=4711 + number: (at, 8, True) in ends(broker))  # type: ignore[misc]
    assert len(check.asked) == 2


@pytest.mark.feature("C5")
@virtual_time
async def test_newest_check_of_a_transaction_is_answered(world: SendWorld, broker: Broker) -> None:
    check = Check(COMMIT)
    check.gate = asyncio.Event()
    async with producer_of(check, topics=[TOPIC]):
        await eventually(lambda: broker.peer.connections)
        for offset in (1, 2, 3):
            ask(broker, "TX", offset)
        await eventually(lambda: check.asked)
        ask(broker, "TX", 4)
        ask(broker, "another", 5)
        await eventually(lambda: len(check.asked) == 2)
        check.gate.set()
        await eventually(lambda: sorted(ends(broker)) == [(4, 8, True), (5, 8, True)])
    assert check.asked == ["TX", "another"]


@pytest.mark.feature("C5")
@virtual_time
async def test_checks_beyond_the_limit_are_dropped(world: SendWorld, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    check = Check(COMMIT)
    check.gate = asyncio.Event()
    async with producer_of(check, topics=[TOPIC], check_concurrency=1, check_request_hold_max=2):
        await eventually(lambda: broker.peer.connections)
        ask(broker, "0", 0)
        await eventually(lambda: check.asked == ["0"])
        for number in range(1, 3000):
            ask(broker, str(number), number)
        await eventually(lambda: "as many as check_request_hold_max allows" in caplog.text)
        check.gate.set()
        await eventually(lambda: len(ends(broker)) == 3)
    assert check.asked == ["0", "1", "2"]


@pytest.mark.feature("C3", "K10")
@pytest.mark.parametrize("away", [0, 5])
@virtual_time
async def test_idle_producer_whose_connection_is_lost_comes_back_to_be_asked(world: SendWorld, broker: Broker, away: int) -> None:
    check = Check(COMMIT)
    async with producer_of(check, topics=[TOPIC]):
        await eventually(lambda: broker.peer.connections)
        await asyncio.sleep(5)  # the first rounds are over
        before = len(heartbeats(broker.peer))
        broker.peer.refuse = True
        broker.peer.drop()
        await asyncio.sleep(away)
        broker.peer.refuse = False
        await asyncio.sleep(1 + away)
        assert len(heartbeats(broker.peer)) == before + 1
        ask(broker, "TX")
        await eventually(lambda: ends(broker) == [(4711, 8, True)])


@pytest.mark.feature("C3")
@pytest.mark.parametrize("answer", [None, True, "COMMIT", KeyError("x"), SystemExit(1), asyncio.CancelledError()])
@virtual_time
async def test_check_that_does_not_answer_leaves_the_transaction_open(world: SendWorld, broker: Broker, answer: object) -> None:
    check = Check(answer)
    async with producer_of(check, topics=[TOPIC]):
        await eventually(lambda: broker.peer.connections)
        ask(broker, "TX")
        await eventually(lambda: ends(broker) == [(4711, 0, True)])
        check.answer = COMMIT
        ask(broker, "TX")
        await eventually(lambda: ends(broker) == [(4711, 0, True), (4711, 8, True)])
    remark = broker.peer.of(END)[0].command.remark
    assert (remark is not None) == isinstance(answer, BaseException)


@pytest.mark.feature("C11", "C3")
@virtual_time
async def test_stop_ends_checks_and_says_goodbye(world: SendWorld, broker: Broker) -> None:
    check = Check(COMMIT)
    check.gate = asyncio.Event()
    producer = producer_of(check, topics=[TOPIC])
    await producer.start()
    await eventually(lambda: broker.peer.connections)
    ask(broker, "TX")
    await eventually(lambda: check.asked)
    await producer.stop()
    goodbyes = [request.command.ext_fields.get("producerGroup") for request in broker.peer.of(RequestCode.UNREGISTER_CLIENT)]
    assert "pay" in goodbyes
    assert ends(broker) == []


@pytest.mark.feature("C3")
@virtual_time
async def test_transaction_that_outlives_its_producer_is_left_to_the_broker(world: SendWorld, broker: Broker) -> None:
    producer = producer_of(Check())
    await producer.start()
    async with producer.transaction(MESSAGE) as tx:
        await producer.stop()
    assert tx.result is not None
    assert not tx.result.told
    assert ends(broker) == []


@pytest.mark.feature("C3")
@virtual_time
async def test_brokers_learn_of_a_producer_that_has_sent_nothing(world: SendWorld, broker: Broker) -> None:
    """As after a crash: it knows no topic, but may be the only one to answer for the half messages of its group."""
    world.route_to("broker-a", topic=HALF_TOPIC, queues=1)
    async with rmq.Producer(NAME_SERVER, group="others"):
        await asyncio.sleep(2.0)  # the next look for routes and the next heartbeat are far away
        async with producer_of(Check()):
            await eventually(
                lambda: any("pay" in [data.group_name for data in beat.producer_data_set] for beat in heartbeats(broker.peer)), 5.0
            )


@pytest.mark.feature("C3")
@virtual_time
async def test_check_of_a_group_that_is_not_here_is_told_in_the_log(
    world: SendWorld, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async with rmq.Producer(NAME_SERVER, group="plain", topics=[TOPIC]):
        await eventually(lambda: broker.peer.connections)
        ask(broker, "TX", group="plain")
        await eventually(lambda: "has no transaction producer on this client" in caplog.text)
    assert ends(broker) == []


@virtual_time
async def test_transaction_is_used_once_and_in_its_order(world: SendWorld, broker: Broker) -> None:
    async with producer_of(Check()) as producer:
        tx = producer.transaction(MESSAGE)
        with pytest.raises(rmq.UsageError, match="has not begun"):
            tx.transaction_id  # noqa: B018
        with pytest.raises(rmq.UsageError, match="has not begun"):
            tx.decide(COMMIT)
        async with tx:
            with pytest.raises(rmq.UsageError, match="no TransactionState"):
                tx.decide("COMMIT")  # type: ignore[arg-type]
            with pytest.raises(rmq.UsageError, match="has begun already"):
                await tx.__aenter__()
            assert tx.transaction_id in repr(tx)
        with pytest.raises(rmq.UsageError, match="has ended"):
            tx.decide(ROLLBACK)
    with pytest.raises(rmq.ClientStateError):
        producer.transaction(MESSAGE)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"check": None}, "check None cannot be called"),
        ({"check": COMMIT}, "cannot be called"),
        ({"executor": 4}, "executor 4"),
        ({"executor": ProcessPoolExecutor(1)}, "ProcessPoolExecutor.* has other processes"),
        ({"check_concurrency": 0}, "check_concurrency"),
        ({"check_request_hold_max": 0}, "check_request_hold_max"),
        ({"check_immunity_time": 0}, "check_immunity_time"),
        ({"check_immunity_time": "soon"}, "check_immunity_time"),
        ({"group": "DEFAULT_PRODUCER"}, "what producers without a name share"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(rmq.ConfigError, match=said):
        rmq.TransactionProducer("a:1", **({"group": "pay", "check": Check()} | fields))


def test_properties_that_leave_no_room_for_a_transaction_are_refused() -> None:
    async def send(message: rmq.Message) -> None:
        async with producer_of(Check()) as producer:
            await producer.send_in_transaction(message, lambda message, arg: COMMIT)

    room = next(size for size in range(32767, 30000, -1) if _fits(size))
    with pytest.raises(rmq.InvalidMessageError, match="the properties take"):
        asyncio.run(send(rmq.Message(TOPIC, b"x", properties={"p": "v" * room})))


def _fits(size: int) -> bool:
    try:
        rmq.Message(TOPIC, b"x", properties={"p": "v" * size})
    except rmq.InvalidMessageError:
        return False
    return True


def test_every_setting_of_a_producer_is_one_of_a_transaction_producer() -> None:
    own = {"self", "name_servers", "group", "config", "client_fields"}
    of_producer = inspect.signature(rmq.Producer.__init__).parameters.keys() - own
    from aiorocketmq.config.fields import ClientFields

    assert ProducerFields.__annotations__.keys() - ClientFields.__annotations__.keys() == of_producer


def test_half_message_is_the_message_with_its_id() -> None:
    message = rmq.Message(TOPIC, b"x", tag="T", keys=["a", "b"], properties={"p": "q"}, flag=3, sharding_key="s")
    half = rmq.HalfMessage.of(message, "TX")
    assert half.transaction_id == "TX"
    assert half._fields() == message._fields()


def test_old_decisions_are_forgotten() -> None:
    decisions = Decisions("pay")
    for number in range(REMEMBERED + 10):
        decisions.begin(str(number))
        decisions.decide(str(number), COMMIT)
    assert decisions.known("9") is None
    assert decisions.known("10") is COMMIT
    decisions.begin("open")
    assert decisions.known("open") is UNKNOWN
    decisions.decide("open", UNKNOWN)
    assert decisions.known("open") is None
