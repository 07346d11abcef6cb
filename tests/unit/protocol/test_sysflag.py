from __future__ import annotations

import pytest

from aiorocketmq.protocol.sysflag import MessageSysFlag, PullSysFlag


def test_transaction_bits() -> None:
    flag = MessageSysFlag.COMPRESSED | MessageSysFlag.TRANSACTION_PREPARED
    assert MessageSysFlag.transaction_type(flag) == 4
    assert MessageSysFlag.with_transaction_type(flag, MessageSysFlag.TRANSACTION_COMMIT) == 0x9
    assert MessageSysFlag.with_transaction_type(flag, MessageSysFlag.TRANSACTION_NOT) == 0x1
    assert MessageSysFlag.clear_compressed(flag) == 4


@pytest.mark.parametrize(
    ("fields", "flag"),
    [
        ({}, 0),
        ({"commit_offset": True}, 1),
        ({"suspend": True}, 2),
        ({"subscription": True}, 4),
        ({"class_filter": True}, 8),
        ({"lite_pull": True}, 16),
        ({"suspend": True, "subscription": True, "lite_pull": True}, 22),
        ({"commit_offset": True, "suspend": True}, 3),
    ],
)
def test_pull_bits(fields: dict[str, bool], flag: int) -> None:
    assert PullSysFlag.build(**fields) == flag
    assert PullSysFlag.clear_commit_offset(flag) == flag & ~1
