"""Access control as a user meets it: ACL 2.0 on 5.5.0, ACL 1.0 on 4.9.7, and that of the embedded server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aiorocketmq as rmq
import aiorocketmq.sync
from aiorocketmq.model.enums import SerializeType
from tests.support import java
from tests.support.clusters import unavailable_reason
from tests.support.guarded import ADMIN, ALLOWED, USER, GuardedCluster, guarded_cluster
from tests.support.waiting import eventually

PATIENT: dict[str, Any] = {"send_msg_timeout": 20.0, "mq_client_api_timeout": 20.0}


@pytest.fixture(scope="module")
def guarded(session_cluster: str) -> Iterator[GuardedCluster]:
    reason = unavailable_reason(session_cluster)
    if reason:
        pytest.skip(reason)
    cluster = guarded_cluster(session_cluster)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def name(guarded: GuardedCluster) -> str:
    """A topic and a group that `USER` may use; on 4.9.7 there are no patterns."""
    return ALLOWED


@pytest.fixture(scope="module", autouse=True)
def topics(guarded: GuardedCluster) -> None:
    with aiorocketmq.sync.AdminClient(guarded.name_servers, credentials=ADMIN, mq_client_api_timeout=20.0) as admin:
        for topic in (ALLOWED, "forbidden"):
            admin.topics.create(topic, queues=4)


def producer(cluster: GuardedCluster, **fields: Any) -> rmq.Producer:
    return rmq.Producer(cluster.name_servers, group=f"{ALLOWED}-{uuid.uuid4().hex[:8]}", **{**PATIENT, **fields})


@pytest.mark.feature("M1", "C3", "C4")
async def test_who_may_write_a_topic_may_end_transactions_in_it(guarded: GuardedCluster) -> None:
    """The answer to a check, too, which Java sends for the broker's own topic: there it is refused, and nobody hears of it."""
    bodies = {f"{uuid.uuid4().hex} {state.name}".encode(): state for state in rmq.TransactionState}
    asked: set[bytes] = set()
    got: set[bytes] = set()

    async def check(message: rmq.ReceivedMessage) -> rmq.TransactionState:
        asked.add(message.body)
        return rmq.TransactionState.COMMIT

    consumer = rmq.PushConsumer(guarded.name_servers, group=ALLOWED, credentials=USER, start_from=rmq.StartFrom.FIRST)
    consumer.listen(ALLOWED)(lambda message: got.add(message.body))
    group = f"{ALLOWED}-{uuid.uuid4().hex[:8]}"
    sender = rmq.TransactionProducer(guarded.name_servers, group=group, check=check, credentials=USER, **PATIENT)
    async with consumer, sender:
        for body in bodies:
            await sender.send_in_transaction(rmq.Message(ALLOWED, body), lambda message, arg: bodies[message.body])
        wanted = {body for body, state in bodies.items() if state is not rmq.TransactionState.ROLLBACK}
        await eventually(lambda: wanted <= got, 60.0)
    assert asked == {body for body, state in bodies.items() if state is rmq.TransactionState.UNKNOWN}
    assert not (bodies.keys() - wanted) & got


@pytest.mark.feature("M1", "D1", "D5")
async def test_who_was_sent_a_request_may_answer_it(guarded: GuardedCluster) -> None:
    """Though the topic of the replies is none that they may write."""
    called: list[bytes] = []
    consumer = rmq.PushConsumer(guarded.name_servers, group=ALLOWED, credentials=USER, start_from=rmq.StartFrom.FIRST)

    @consumer.respond(ALLOWED)
    async def answer(request: rmq.ReceivedMessage) -> bytes:
        called.append(request.body)
        return request.body * 2

    async with consumer, producer(guarded, credentials=USER) as asker:
        body = uuid.uuid4().bytes
        assert (await asker.request(rmq.Message(ALLOWED, body), timeout=30.0)).body == body * 2
        assert called.count(body) == 1


@pytest.mark.feature("M1", "M2", "O15")
@pytest.mark.parametrize("form", list(SerializeType))
async def test_signed_sends_and_a_signed_consumer_work(guarded: GuardedCluster, form: SerializeType) -> None:
    bodies = {f"{form.name} {number} größe".encode() for number in range(40)}
    got: set[bytes] = set()
    consumer = rmq.PushConsumer(guarded.name_servers, group=ALLOWED, credentials=USER, start_from=rmq.StartFrom.FIRST, serialize_type=form)

    @consumer.listen(ALLOWED)
    async def take(message: rmq.ReceivedMessage) -> None:
        got.add(message.body)

    async with consumer, producer(guarded, credentials=USER, serialize_type=form) as sender:
        todo = sorted(bodies)
        await sender.send(rmq.Message(ALLOWED, todo[0], keys="schlüssel", properties={"a": "100 %", "中": "文"}))
        await sender.send_batch([rmq.Message(ALLOWED, body) for body in todo[1:10]])
        await sender.send_oneway(rmq.Message(ALLOWED, todo[10]))
        await asyncio.gather(*[sender.send_nowait(rmq.Message(ALLOWED, body)) for body in todo[11:]])
        await eventually(lambda: bodies <= got, 60.0)


@pytest.mark.feature("M1")
async def test_messages_that_fail_come_back_and_offsets_are_kept(guarded: GuardedCluster) -> None:
    body = uuid.uuid4().bytes
    tries: list[int] = []
    consumer = rmq.PushConsumer(guarded.name_servers, group=ALLOWED, credentials=USER, start_from=rmq.StartFrom.FIRST)

    @consumer.listen(ALLOWED)
    async def take(message: rmq.ReceivedMessage) -> rmq.Retry | None:
        if message.body != body:
            return None
        tries.append(message.reconsume_times)
        return rmq.Retry(delay_level=1) if len(tries) == 1 else None

    async with consumer, producer(guarded, credentials=USER) as sender:
        await sender.send(rmq.Message(ALLOWED, body))
        await eventually(lambda: tries == [0, 1], 60.0)


@pytest.mark.feature("M1", "B26")
def test_blocking_sends_past_the_loop_are_signed(guarded: GuardedCluster, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"AccessKey={USER.access_key}\nSecretKey={USER.secret_key}\n")
    for credentials in (USER, rmq.CredentialsFile(file), lambda: USER):
        with aiorocketmq.sync.Producer(guarded.name_servers, group=f"{ALLOWED}-sync", credentials=credentials, **PATIENT) as sender:
            for number in range(20):
                assert sender.send(rmq.Message(ALLOWED, b"%d" % number)).status is rmq.SendStatus.SEND_OK


WRONG = [
    pytest.param(None, rmq.MissingCredentialsError, "give credentials=", id="none"),
    pytest.param(rmq.Credentials("nobody-of-tests", "secret-of-nobody"), rmq.UnknownAccessKeyError, "check access_key", id="unknown"),
    pytest.param(rmq.Credentials(USER.access_key, "wrong-secret"), rmq.WrongSignatureError, "check secret_key", id="wrong"),
]


@pytest.mark.feature("M9")
@pytest.mark.parametrize(("credentials", "kind", "hint"), WRONG)
async def test_wrong_credentials_are_told_at_once_and_not_tried_again(
    guarded: GuardedCluster,
    credentials: rmq.Credentials | None,
    kind: type[rmq.AuthenticationError],
    hint: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with producer(guarded, credentials=credentials, retry_times_when_send_failed=5) as sender:
        for _ in range(2):
            with pytest.raises(rmq.SendDeniedError) as failed:
                await sender.send(rmq.Message(ALLOWED, b"x"))
            error = failed.value
            assert type(error.cause) is kind
            assert hint in error.hint
            assert ", 1 tries in " in error.message
            assert not error.maybe_stored
            assert not error.retriable
            assert isinstance(error, rmq.AccessError)
            assert credentials is None or credentials.secret_key not in repr(error) + str(error)
    async with rmq.AdminClient(guarded.name_servers, credentials=credentials, mq_client_api_timeout=20.0) as admin:
        with pytest.raises(kind):
            await admin.topics.stats(ALLOWED)
    consumer = rmq.PushConsumer(guarded.name_servers, group=ALLOWED, credentials=credentials, mq_client_api_timeout=20.0)
    consumer.listen(ALLOWED)(print)
    with pytest.raises(kind, match="from "):
        await consumer.start()
    await consumer.stop()
    # No goodbye to a broker that did not take the group in. (A producer may stop before its first heartbeat is answered.)
    assert not [text for text in caplog.messages if text.startswith("consumer group") and "was not unregistered" in text]


@pytest.mark.feature("M9")
async def test_what_no_policy_allows_is_denied(guarded: GuardedCluster) -> None:
    async with producer(guarded, credentials=USER) as sender:
        with pytest.raises(rmq.SendDeniedError) as failed:
            await sender.send(rmq.Message("forbidden", b"x"))
        assert type(failed.value.cause) is rmq.AccessDeniedError
        assert "forbidden" in failed.value.message
        assert ", 1 tries in " in failed.value.message
        await sender.send(rmq.Message(ALLOWED, b"the producer goes on"))
    async with rmq.AdminClient(guarded.name_servers, credentials=USER, mq_client_api_timeout=20.0) as admin:
        with pytest.raises(rmq.AccessError):
            await admin.topics.create(f"{ALLOWED}-by-a-user")


@pytest.mark.feature("M2")
async def test_a_provider_is_asked_for_each_request_and_keys_are_replaced_while_running(guarded: GuardedCluster) -> None:
    now = [USER]
    asked = 0

    async def provide() -> rmq.Credentials:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return now[0]

    async with producer(guarded, credentials=provide) as sender:
        await sender.send(rmq.Message(ALLOWED, b"x"))
        before = asked
        await sender.send(rmq.Message(ALLOWED, b"x"))
        assert asked > before
        now[0] = rmq.Credentials(USER.access_key, "wrong-secret")
        with pytest.raises(rmq.SendDeniedError):
            await sender.send(rmq.Message(ALLOWED, b"x"))
        now[0] = ADMIN
        results = await asyncio.gather(*[sender.send(rmq.Message("forbidden", b"%d" % number)) for number in range(50)])
        assert {result.status for result in results} == {rmq.SendStatus.SEND_OK}


@pytest.mark.feature("M2", "M9")
async def test_an_expired_token_is_told_at_once_and_the_provider_is_asked_for_the_next_one(guarded: GuardedCluster) -> None:
    if guarded.kind != java.NEWEST:
        return  # neither 4.x nor the embedded server know tokens
    token = "valid until noon"
    asked = 0

    async def provide() -> rmq.Credentials:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return rmq.Credentials(USER.access_key, USER.secret_key, token)

    consumer = rmq.PushConsumer(guarded.name_servers, group=ALLOWED, credentials=provide, mq_client_api_timeout=20.0)
    consumer.listen(ALLOWED)(print)
    async with producer(guarded, credentials=provide, retry_times_when_send_failed=5) as sender:
        await sender.send(rmq.Message(ALLOWED, b"x"))
        token = "expired at noon"
        for _ in range(2):
            before = asked
            with pytest.raises(rmq.SendDeniedError) as failed:
                await sender.send(rmq.Message(ALLOWED, b"x"))
            assert type(failed.value.cause) is rmq.ExpiredTokenError
            assert asked > before
            assert "get new credentials" in failed.value.hint
            assert ", 1 tries in " in failed.value.message
            assert not failed.value.retriable and not failed.value.maybe_stored
            assert token not in repr(failed.value) + str(failed.value)
        with pytest.raises(rmq.ExpiredTokenError):
            await consumer.start()
        token = "valid until midnight"
        await sender.send(rmq.Message(ALLOWED, b"x"))
        async with consumer:
            pass


@pytest.mark.feature("M2")
async def test_a_consumer_with_an_async_provider_consumes(guarded: GuardedCluster) -> None:
    async def provide() -> rmq.Credentials:
        await asyncio.sleep(0)
        return USER

    body = uuid.uuid4().bytes
    seen = asyncio.Event()
    consumer = rmq.PushConsumer(guarded.name_servers, group=ALLOWED, credentials=provide, start_from=rmq.StartFrom.FIRST)

    @consumer.listen(ALLOWED)
    async def take(message: rmq.ReceivedMessage) -> None:
        if message.body == body:
            seen.set()

    async with consumer, producer(guarded, credentials=lambda: USER) as sender:
        await sender.send(rmq.Message(ALLOWED, body))
        await asyncio.wait_for(seen.wait(), 60.0)


@pytest.mark.feature("M2")
async def test_a_changed_file_is_read_again(guarded: GuardedCluster, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"AccessKey={USER.access_key}\nSecretKey=wrong-secret\n")
    async with producer(guarded, credentials=rmq.CredentialsFile(file)) as sender:
        with pytest.raises(rmq.SendDeniedError):
            await sender.send(rmq.Message(ALLOWED, b"x"))
        file.write_text(f"AccessKey={USER.access_key}\nSecretKey={USER.secret_key}\n")

        async def sends() -> bool:
            try:
                await sender.send(rmq.Message(ALLOWED, b"x"))
            except rmq.SendDeniedError:
                return False
            return True

        await eventually(sends, 60.0, interval=0.1)


@pytest.mark.feature("E6", "O15")
async def test_what_hooks_add_is_signed(guarded: GuardedCluster) -> None:
    class Marks:
        def before_request(self, address: str, command: Any) -> None:
            command.ext_fields["zz-mark"] = "später"

        def after_response(self, address: str, request: Any, response: Any) -> None:
            assert "Signature" in request.ext_fields

    async with producer(guarded, credentials=USER) as sender:
        assert sender._life.instance is not None
        sender._life.instance.remoting.add_hook(Marks())
        for _ in range(3):
            await sender.send(rmq.Message(ALLOWED, b"x"))


@pytest.mark.feature("M1", "M3", "B23")
async def test_signed_queries_by_key_and_by_id_work(guarded: GuardedCluster) -> None:
    key = uuid.uuid4().hex
    async with (
        producer(guarded, credentials=ADMIN) as sender,
        rmq.AdminClient(guarded.name_servers, credentials=ADMIN, mq_client_api_timeout=20.0) as admin,
    ):
        sent = await sender.send(rmq.Message(ALLOWED, key.encode(), keys=key))

        async def found() -> bool:
            return bool(await admin.messages.query(ALLOWED, key))

        await eventually(found, 60.0)
        assert sent.offset_message_id is not None
        for message_id in (sent.message_id, sent.offset_message_id):
            assert (await admin.messages.view(ALLOWED, message_id)).body == key.encode()
