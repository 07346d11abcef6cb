"""Records of messages, made at once from what a test has."""

from __future__ import annotations

from collections.abc import Iterable

from aiorocketmq.protocol.message_codec import BatchEncoder, BatchItem


def encode_batch(items: Iterable[BatchItem]) -> bytes:
    """The body of a batch send; `decode_batch()` gives the same items."""
    encoder = BatchEncoder()
    for item in items:
        encoder.add(*item)
    return encoder.encoded()
