"""Bits of the `sysFlag` fields of messages and pulls (Java: `MessageSysFlag`, `PullSysFlag`, `TopicSysFlag`)."""

from __future__ import annotations

from typing import Final


class MessageSysFlag:
    """Bits of a message's system flag."""

    COMPRESSED: Final = 0x1
    MULTI_TAGS: Final = 0x2
    TRANSACTION_NOT: Final = 0x0
    TRANSACTION_PREPARED: Final = 0x4
    TRANSACTION_COMMIT: Final = 0x8
    TRANSACTION_ROLLBACK: Final = 0xC
    TRANSACTION_MASK: Final = 0xC
    BORN_HOST_V6: Final = 0x10
    STORE_HOST_V6: Final = 0x20
    NEED_UNWRAP: Final = 0x40
    INNER_BATCH: Final = 0x80
    COMPRESSION_LZ4: Final = 0x100
    COMPRESSION_ZSTD: Final = 0x200
    COMPRESSION_ZLIB: Final = 0x300
    COMPRESSION_MASK: Final = 0x700

    @staticmethod
    def transaction_type(flag: int) -> int:
        """The transaction bits alone."""
        return flag & MessageSysFlag.TRANSACTION_MASK

    @staticmethod
    def with_transaction_type(flag: int, kind: int) -> int:
        """The flag with its transaction bits replaced by `kind`."""
        return (flag & ~MessageSysFlag.TRANSACTION_MASK) | kind

    @staticmethod
    def clear_compressed(flag: int) -> int:
        """The flag without the bit that says that the body is compressed."""
        return flag & ~MessageSysFlag.COMPRESSED


class PullSysFlag:
    """Bits of a pull request's system flag."""

    COMMIT_OFFSET: Final = 0x1
    SUSPEND: Final = 0x2
    SUBSCRIPTION: Final = 0x4
    CLASS_FILTER: Final = 0x8
    LITE_PULL: Final = 0x10

    @staticmethod
    def build(
        *,
        commit_offset: bool = False,
        suspend: bool = False,
        subscription: bool = False,
        class_filter: bool = False,
        lite_pull: bool = False,
    ) -> int:
        """Join the bits.

        Args:
            commit_offset: The request's `commitOffset` is to be stored.
            suspend: The broker may hold the request until a message comes (long polling).
            subscription: The request holds the subscription itself.
            class_filter: Obsolete.
            lite_pull: The request comes from a lite pull consumer.
        """
        return commit_offset | suspend << 1 | subscription << 2 | class_filter << 3 | lite_pull << 4

    @staticmethod
    def clear_commit_offset(flag: int) -> int:
        """The flag for a slave, which must not store offsets."""
        return flag & ~PullSysFlag.COMMIT_OFFSET


class TopicSysFlag:
    """Bits of a topic's system flag."""

    UNIT: Final = 0x1
    UNIT_SUB: Final = 0x2
