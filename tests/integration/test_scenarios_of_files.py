"""The acceptance scenarios that need no registry but real unit blocks: 14 and 15; the others: ``test_scenarios``."""

from pathlib import Path

import pytest

from gateway.demo import authorised, blocks
from gateway.errors import GatewayError
from tests import realblocks
from tests.unit import test_authorised_blocks as authorised_blocks


@realblocks.needs_real_file
async def test_scenario_14_the_real_blocks_load_without_overlap_and_a_planted_duplicate_is_found(
    tmp_path: Path,
) -> None:
    assert len(blocks.read(realblocks.REAL)) == realblocks.REAL_BLOCKS
    lines = realblocks.REAL.read_text("utf-8").splitlines()
    planted = tmp_path / "planted.csv"
    planted.write_text("\n".join([*lines, lines[-1]]) + "\n", "utf-8")
    with pytest.raises(GatewayError, match=str(realblocks.REAL_BLOCKS + 2)):
        blocks.read(planted)


@authorised_blocks.needs_real_file
async def test_scenario_15_of_the_real_credits_a_duplicate_and_missing_approaches_are_reported(tmp_path: Path) -> None:
    lines = authorised_blocks.REAL.read_text("utf-8").splitlines()
    planted = tmp_path / "planted.csv"
    planted.write_text("\n".join([*lines, lines[1]]) + "\n", "utf-8")
    loaded, faults = authorised.read(planted)
    missing = [fault.line for fault in faults if fault.code == 2012]
    assert missing == [nr for nr, line in enumerate(lines, 1) if ",NA," in line] and missing
    assert [fault.line for fault in faults if fault.code == 2008] == [len(lines) + 1]
    assert len(loaded) + len(missing) + 1 == len(lines)
