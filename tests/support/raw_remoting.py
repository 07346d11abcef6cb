"""A few administrative requests over a plain blocking socket: what a test asks a server without trusting the client under test."""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from typing import Any

UPDATE_AND_CREATE_TOPIC = 17
GET_ROUTE = 105
GET_ALL_TOPIC_CONFIG = 21
QUERY_CONSUMER_OFFSET = 14
UPDATE_CONSUMER_OFFSET = 15
UPDATE_BROKER_CONFIG = 25
GET_CONSUMER_CONNECTION = 203
RESET_OFFSET = 222
SEND_MESSAGE_V2 = 310


class RawAnswerError(Exception):
    """The server answered with an error code."""

    def __init__(self, code: int, remark: str) -> None:
        super().__init__(f"code {code}: {remark}")
        self.code = code


def invoke(address: str, code: int, fields: dict[str, str] | None = None, body: bytes = b"", *, timeout: float = 20.0) -> bytes:
    """Send one request with a JSON header on a new connection; answer the body of the response.

    Raises:
        RawAnswerError: The response's code is not 0.
        OSError: The connection failed or timed out.
    """
    return exchange(address, code, fields, body, timeout=timeout)[1]


def exchange(
    address: str, code: int, fields: dict[str, str] | None = None, body: bytes = b"", *, timeout: float = 20.0
) -> tuple[dict[str, str], bytes]:
    """The same; answers the fields of the response's header too."""
    header = {"code": code, "language": "OTHER", "version": 479, "opaque": 1, "flag": 0, "serializeTypeCurrentRPC": "JSON"}
    encoded = json.dumps({**header, "extFields": fields or {}}).encode()
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout) as connection:
        connection.sendall(struct.pack(">ii", 4 + len(encoded) + len(body), len(encoded)) + encoded + body)
        (length,) = struct.unpack(">i", _read(connection, 4))
        frame = _read(connection, length)
    header_length = struct.unpack(">I", frame[:4])[0] & 0xFFFFFF
    answer = json.loads(frame[4 : 4 + header_length])
    if answer["code"] != 0:
        raise RawAnswerError(answer["code"], answer.get("remark") or "")
    return answer.get("extFields") or {}, frame[4 + header_length :]


def create_topic(
    broker: str, topic: str, *, queues: int = 4, write: int | None = None, perm: int = 6, order: bool = False, attributes: str = ""
) -> None:
    """Create or change a topic on one broker, with as many queues to write to unless told otherwise; attributes look like
    `+queue.type=BatchCQ`."""
    fields = {
        "topic": topic,
        "defaultTopic": "TBW102",
        "readQueueNums": str(queues),
        "writeQueueNums": str(queues if write is None else write),
        "perm": str(perm),
        "topicFilterType": "SINGLE_TAG",
        "topicSysFlag": "0",
        "order": str(order).lower(),
    }
    if attributes:
        fields["attributes"] = attributes
    invoke(broker, UPDATE_AND_CREATE_TOPIC, fields)


def knows_topic(broker: str, topic: str) -> bool:
    """True when a broker has a configuration of the topic; slaves take them over from their masters every 10 s."""
    return f'"{topic}"'.encode() in invoke(broker, GET_ALL_TOPIC_CONFIG)


def send(broker: str, topic: str, queue_id: int, body: bytes, *, timeout: float = 20.0) -> float:
    """Store one message, and answer how many seconds that took: a measure of the broker for what a client needs there."""
    fields = {
        "a": "raw_producers", "b": topic, "c": "TBW102", "d": "4", "e": str(queue_id), "f": "0", "g": str(int(time.time() * 1000)),
        "h": "0", "i": "", "j": "0", "k": "false", "m": "false",
    }  # fmt: skip
    began = time.monotonic()
    invoke(broker, SEND_MESSAGE_V2, fields, body, timeout=timeout)
    return time.monotonic() - began


def route(name_server: str, topic: str) -> dict[str, Any] | None:
    """The route of a topic as the name server sends it, or None when it knows none."""
    try:
        body = invoke(name_server, GET_ROUTE, {"topic": topic, "acceptStandardJsonOnly": "true"})
    except RawAnswerError as error:
        if error.code == 17:
            return None
        raise
    # Old name servers write the keys of the address map as bare numbers.
    text = re.sub(r"([{,])(\d+):", r'\1"\2":', body.decode())
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def addresses(name_server: str, topic: str) -> dict[str, dict[str, str]]:
    """Broker name → broker id, as text → address, as the route of a topic has them; empty when the name server knows no such topic."""
    found = route(name_server, topic)
    return {data["brokerName"]: data["brokerAddrs"] for data in found["brokerDatas"]} if found is not None else {}


def _read(connection: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        chunk = connection.recv(count - len(received))
        if not chunk:
            raise ConnectionError(f"the server closed the connection after {len(received)} of {count} bytes")
        received += chunk
    return bytes(received)


def committed_offset(broker: str, group: str, topic: str, queue_id: int) -> int | None:
    """The offset that a broker keeps for a group, or None when it keeps none."""
    try:
        fields, _ = exchange(broker, QUERY_CONSUMER_OFFSET, {"consumerGroup": group, "topic": topic, "queueId": str(queue_id)})
    except RawAnswerError as error:
        if error.code == 22:
            return None
        raise
    return int(fields["offset"])


def reset_offset(broker: str, group: str, topic: str, timestamp: int, *, force: bool = True) -> bytes:
    """Have a broker reset the offsets of a group to a time in milliseconds, -1 for the end; answers the body with what they are now."""
    fields = {"topic": topic, "group": group, "timestamp": str(timestamp), "isForce": str(force).lower(), "queueId": "-1"}
    return invoke(broker, RESET_OFFSET, fields)


def configure_broker(broker: str, name: str, value: str) -> None:
    """Change one setting of a running broker."""
    invoke(broker, UPDATE_BROKER_CONFIG, body=f"{name}={value}".encode())


def commit_offset(broker: str, group: str, topic: str, queue_id: int, offset: int) -> None:
    """Make a broker keep an offset for a group."""
    fields = {"consumerGroup": group, "topic": topic, "queueId": str(queue_id), "commitOffset": str(offset)}
    exchange(broker, UPDATE_CONSUMER_OFFSET, fields)


def consumer_connections(broker: str, group: str) -> list[dict[str, Any]]:
    """The members of a consumer group as a broker knows them: clientId, clientAddr, language, version."""
    try:
        body = invoke(broker, GET_CONSUMER_CONNECTION, {"consumerGroup": group})
    except RawAnswerError as error:
        if error.code == 206:
            return []
        raise
    parsed: dict[str, Any] = json.loads(body)
    members: list[dict[str, Any]] = parsed["connectionSet"]
    return members
