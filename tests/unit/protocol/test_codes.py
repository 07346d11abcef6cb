from __future__ import annotations

import pytest

from aiorocketmq.protocol.codes import CURRENT_VERSION, LanguageCode, RequestCode, ResponseCode, version_name


@pytest.mark.feature("O5")
@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "V3_0_0_SNAPSHOT"), (1, "V3_0_0_ALPHA1"), (15, "V3_0_0_FINAL"), (16, "V3_0_1_SNAPSHOT"), (28, "V3_0_7_SNAPSHOT"),
        (37, "V3_0_11"),
        (45, "V3_0_15"), (46, "V3_1_0_SNAPSHOT"), (62, "V3_1_8_SNAPSHOT"), (85, "V3_2_9"), (86, "V3_3_1_SNAPSHOT"), (121, "V3_4_9"),
        (211, "V3_9_9"), (213, "V4_0_0"), (232, "V4_1_0_SNAPSHOT"), (313, "V4_5_0"), (355, "V4_7_1"), (401, "V4_9_4"), (407, "V4_9_7"),
        (413, "V5_0_0"), (475, "V5_3_1"), (479, "V5_3_3"), (513, "V5_5_0"), (611, "V5_9_9"),
        (612, "HIGHER_VERSION"), (-1, "HIGHER_VERSION"),
    ],
)  # fmt: skip
def test_version_names_are_those_of_java(number: int, name: str) -> None:
    assert version_name(number) == name


def test_version_names_are_unique() -> None:
    names = [version_name(number) for number in range(612)]
    assert len(set(names)) == 612


def test_our_version_and_language() -> None:
    assert version_name(CURRENT_VERSION) == "V5_3_3"
    assert LanguageCode.PYTHON == 3


@pytest.mark.feature("P7", "P8")
def test_known_codes() -> None:
    assert RequestCode(310) is RequestCode.SEND_MESSAGE_V2
    assert RequestCode(200050) is RequestCode.POP_MESSAGE
    assert ResponseCode(1500) is ResponseCode.GO_AWAY
    assert ResponseCode(26) is ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST
