"""Go's own sumdb/note and sumdb/tlog, unmodified, accept what is exported of a log, and refuse what is not it.

Each size is on one side of a boundary of tiles: one entry, a tile less one, one tile, one more; a whole tile of the
second level; and one that has whole and partial tiles on three.
"""

import asyncio
from pathlib import Path

import pytest

from gateway.audit import exporting, merkle
from tests.foreign import program
from tests.madelog import MadeLog
from tests.serving import served

SIZES = [1, 255, 256, 257, 65_536, 70_000]


def exported(folder: Path, size: int) -> MadeLog:
    """A log with checkpoints at some sizes on the way, written in two runs."""
    sizes = sorted({1, size // 3, size // 2, size // 256 * 256, size - 1, size} - {0})
    log = MadeLog(sizes)
    asyncio.run(exporting.export(log.first(len(sizes) // 2 + 1), folder))
    asyncio.run(exporting.export(log, folder))
    return log


@pytest.mark.parametrize("size", SIZES)
def test_go_accepts_the_exported_log_from_its_folder_and_over_http(size: int, verifier: Path, tmp_path: Path) -> None:
    log = exported(tmp_path, size)
    every = tmp_path / "every"
    every.write_bytes(b"".join(path.read_bytes() for path in sorted((tmp_path / "checkpoints").iterdir())))
    found = program.verified(verifier, tmp_path, log.vkeys[0], every)
    assert (found["size"], found["consistent"]) == (size, len(log.rows))
    samples = [min(merkle.TILE_WIDTH, size - first) for first in range(0, size, merkle.TILE_WIDTH)]
    assert found["included"] == sum(2 if width == 1 else 3 for width in samples)
    with served(tmp_path) as address:
        assert program.verified(verifier, address, log.vkeys[0], every) == found


def test_go_refuses_what_our_verifier_refuses(verifier: Path, tmp_path: Path) -> None:
    log = exported(tmp_path, 70_000)
    for path in ("checkpoint", "tile/0/100", "tile/1/000", "tile/2/000.p/1", "tile/entries/273.p/112"):
        kept = (tmp_path / path).read_bytes()
        (tmp_path / path).write_bytes(bytes([*kept[:40], kept[40] ^ 1, *kept[41:]]) if len(kept) > 40 else b"\0" * 32)
        with pytest.raises(program.Refused):
            program.verified(verifier, tmp_path, log.vkeys[0])
        (tmp_path / path).write_bytes(kept)
    assert program.verified(verifier, tmp_path, log.vkeys[0])["size"] == 70_000


def test_go_refuses_a_past_that_is_not_this_logs(verifier: Path, tmp_path: Path) -> None:
    log = exported(tmp_path / "log", 1_000)
    exported_other = MadeLog([500], entry_at=lambda nr: b"another %d" % nr)
    asyncio.run(exporting.export(exported_other, tmp_path / "other"))
    with pytest.raises(program.Refused, match="checkpoint of size 500"):
        program.verified(verifier, tmp_path / "log", log.vkeys[0], tmp_path / "other/checkpoints/000")
