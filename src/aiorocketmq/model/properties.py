"""Message properties: their reserved names and their form on the wire (Java: `MessageConst`, `MessageDecoder`).

The form is `name 0x01 value 0x02`, repeated; a missing last 0x02 is accepted, an empty name or value is dropped, the last of two
equal names wins. Text that is not UTF-8 survives a round trip by surrogate escapes. Features A2, A3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

KEYS: Final = "KEYS"
TAGS: Final = "TAGS"
WAIT: Final = "WAIT"
DELAY: Final = "DELAY"
RETRY_TOPIC: Final = "RETRY_TOPIC"
REAL_TOPIC: Final = "REAL_TOPIC"
REAL_QUEUE_ID: Final = "REAL_QID"
TRANSACTION_PREPARED: Final = "TRAN_MSG"
PRODUCER_GROUP: Final = "PGROUP"
MIN_OFFSET: Final = "MIN_OFFSET"
MAX_OFFSET: Final = "MAX_OFFSET"
BUYER_ID: Final = "BUYER_ID"
ORIGIN_MESSAGE_ID: Final = "ORIGIN_MESSAGE_ID"
RECONSUME_TIME: Final = "RECONSUME_TIME"
MAX_RECONSUME_TIMES: Final = "MAX_RECONSUME_TIMES"
MSG_REGION: Final = "MSG_REGION"
TRACE_ON: Final = "TRACE_ON"
CLUSTER: Final = "CLUSTER"
UNIQ_KEY: Final = "UNIQ_KEY"
CONSUME_START_TIME: Final = "CONSUME_START_TIME"
SHARDING_KEY: Final = "__SHARDINGKEY"
INSTANCE_ID: Final = "INSTANCE_ID"
TRANSACTION_ID: Final = "__transactionId__"
TIMER_DELIVER_MS: Final = "TIMER_DELIVER_MS"
TIMER_DELAY_SEC: Final = "TIMER_DELAY_SEC"
TIMER_DELAY_MS: Final = "TIMER_DELAY_MS"
TIMER_OUT_MS: Final = "TIMER_OUT_MS"
TIMER_ENQUEUE_MS: Final = "TIMER_ENQUEUE_MS"
TIMER_DEQUEUE_MS: Final = "TIMER_DEQUEUE_MS"
CHECK_IMMUNITY_TIME: Final = "CHECK_IMMUNITY_TIME_IN_SECONDS"
TRANSACTION_CHECK_TIMES: Final = "TRANSACTION_CHECK_TIMES"
DLQ_ORIGIN_TOPIC: Final = "DLQ_ORIGIN_TOPIC"
DLQ_ORIGIN_MESSAGE_ID: Final = "DLQ_ORIGIN_MESSAGE_ID"
PRIORITY: Final = "_SYS_MSG_PRIORITY_"
MULTI_DISPATCH: Final = "INNER_MULTI_DISPATCH"
MULTI_QUEUE_OFFSET: Final = "INNER_MULTI_QUEUE_OFFSET"
CORRELATION_ID: Final = "CORRELATION_ID"
REPLY_TO_CLIENT: Final = "REPLY_TO_CLIENT"
TTL: Final = "TTL"
MSG_TYPE: Final = "MSG_TYPE"
ARRIVE_TIME: Final = "ARRIVE_TIME"
PUSH_REPLY_TIME: Final = "PUSH_REPLY_TIME"
POP_CK: Final = "POP_CK"
"""Receipt of a message that was taken from a retry topic; brokers take it away from what producers send."""
FIRST_POP_TIME: Final = "1ST_POP_TIME"
ORIGIN_GROUP: Final = "ORIGIN_GROUP"
"""Group whose retry topic a message was put into (5.5)."""

MAX_PROPERTIES_LENGTH: Final = 32767
"""Bytes of the whole property string that a broker stores, its own additions included."""

RESERVED: Final = frozenset(
    {
        KEYS, TAGS, WAIT, DELAY, RETRY_TOPIC, REAL_TOPIC, REAL_QUEUE_ID, TRANSACTION_PREPARED, PRODUCER_GROUP, MIN_OFFSET,
        MAX_OFFSET, BUYER_ID, ORIGIN_MESSAGE_ID, RECONSUME_TIME, MAX_RECONSUME_TIMES, MSG_REGION, TRACE_ON, CLUSTER, UNIQ_KEY,
        CONSUME_START_TIME, SHARDING_KEY, INSTANCE_ID, TRANSACTION_ID, TIMER_DELIVER_MS, TIMER_DELAY_SEC, TIMER_DELAY_MS,
        TIMER_OUT_MS, CHECK_IMMUNITY_TIME, TRANSACTION_CHECK_TIMES, DLQ_ORIGIN_TOPIC, DLQ_ORIGIN_MESSAGE_ID,
        CORRELATION_ID, REPLY_TO_CLIENT, TTL, MSG_TYPE, ARRIVE_TIME, PUSH_REPLY_TIME,
        "TRANSFER_FLAG", "CORRECTION_FLAG", "MQ2_FLAG", "REDIRECT", "PROPERTY_FORWARD_QUEUE_ID", "DUP_INFO", "EXTEND_UNIQ_INFO",
        "INNER_NUM", "INNER_BASE", "TRAN_PREPARED_QUEUE_OFFSET",
        POP_CK, "POP_CK_OFFSET",
        FIRST_POP_TIME, "INNER_MULTI_DISPATCH", "INNER_MULTI_QUEUE_OFFSET", "TRACE_CONTEXT", "__BORNHOST", "BORN_TIMESTAMP",
        TIMER_ENQUEUE_MS, TIMER_DEQUEUE_MS, "TIMER_ROLL_TIMES", "TIMER_DELAY_LEVEL", "TIMER_DEL_UNIQKEY", "__CRC32#",
        "__RMQ.TRANSIENT.TOPIC_SYS_FLAG", "__RMQ.TRANSIENT.GROUP_SYS_FLAG", ORIGIN_GROUP, "__LITE_TOPIC",
        "_SYS_MSG_PRIORITY_", "TIMER_ROLL_LABEL", "TRANS_OFFSET",
    }
)  # fmt: skip
"""Names that users may not set themselves; the client or the broker owns them."""

_NAME_END = "\x01"
_PROPERTY_END = "\x02"


def encode_properties(properties: Mapping[str, str]) -> str:
    """Join properties to the text of the wire; empty values are left out, as every reader drops them."""
    return "".join([f"{name}\x01{value}\x02" for name, value in properties.items() if value])


def decode_properties(data: bytes | str) -> dict[str, str]:
    """Split the text of the wire into properties; illegal pieces are dropped, as Java does. Never raises."""
    text = data if isinstance(data, str) else data.decode("utf-8", "surrogateescape")
    properties = {}
    for piece in text.split(_PROPERTY_END):
        name, _, value = piece.partition(_NAME_END)
        if name and value:
            properties[name] = value
    return properties
