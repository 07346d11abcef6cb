"""The lanes of `make test` leave out what they say, and nothing by a name that is gone."""

from __future__ import annotations

from tools.run_tests import PHASES, QUICK, ROOT


def test_what_a_lane_leaves_out_exists() -> None:
    lanes = [lane for phase in (*PHASES, *QUICK) for lane in phase]
    left_out = {part.partition("=")[2] for lane in lanes for part in lane.arguments if part.startswith("--deselect=")}
    assert left_out
    for node in left_out:
        file, _, name = node.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), node
