"""A log is exported to a folder: again and again, to its end after any interruption, and never over something else."""

import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.audit import exporting, reading, walking
from gateway.audit.exporting import export
from gateway.audit.folder import Folder
from gateway.audit.store import Published
from gateway.errors import GatewayError, Kind
from tests import madelog
from tests.madelog import MadeLog

SIZES = [0, 1, 255, 256, 700, 20_000]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def valid(folder: Path) -> bool:
    at = Folder(folder)
    files = reading.Files(at.read, widths=at.widths)
    return (await walking.verify(files, MadeLog([]).verifiers)).valid


class Broken(MadeLog):
    """A log that answers so many times, and then is not there."""

    def __init__(self, sizes: Sequence[int], answers: int) -> None:
        super().__init__(sizes)
        self._answers = answers

    def _asked(self) -> None:
        self._answers -= 1
        if self._answers < 0:
            raise ConnectionError

    async def entries(self, first: int, number: int) -> Sequence[bytes]:
        self._asked()
        return await super().entries(first, number)

    async def published(self, above: int, limit: int) -> Sequence[Published]:
        self._asked()
        return await super().published(above, limit)

    async def keys(self) -> bytes:
        self._asked()
        return await super().keys()


async def test_what_is_added_in_steps_is_what_is_written_at_once(tmp_path: Path) -> None:
    log = MadeLog(SIZES)
    for number in range(1, len(SIZES) + 1):
        done = await export(log.first(number), tmp_path / "steps")
        assert (done.size, done.entries) == (SIZES[number - 1], SIZES[number - 1] - ([0, *SIZES])[number - 1])
    await export(log, tmp_path / "once")
    steps, once = content(tmp_path / "steps"), content(tmp_path / "once")
    assert {path: steps[path] for path in once if not path.startswith("checkpoints/")} == {
        path: data for path, data in once.items() if not path.startswith("checkpoints/")
    }
    assert all(".p/" in path for path in steps.keys() - once.keys() if path.startswith("tile/"))
    lists = [
        b"".join(data for path, data in sorted(of.items()) if path.startswith("checkpoints/")) for of in (steps, once)
    ]
    assert lists[0] == lists[1]
    assert await valid(tmp_path / "steps") and await valid(tmp_path / "once")


async def test_nothing_new_writes_no_file_of_the_log(tmp_path: Path) -> None:
    log = MadeLog(SIZES)
    first = await export(log, tmp_path)
    before = content(tmp_path)
    again = await export(log, tmp_path)
    assert (first.files > 0, again.files, again.entries, content(tmp_path)) == (True, 0, 0, before)


async def test_more_cosignatures_of_the_last_checkpoint_replace_it(tmp_path: Path) -> None:
    log, early = MadeLog([300]), MadeLog([])
    whole = log.rows[0]
    early.rows = [Published(300, "".join(whole.note.splitlines(keepends=True)[:-1]), whole.at)]
    await export(early, tmp_path)
    assert not await valid(tmp_path), "the witness's line is asked for"
    await export(log, tmp_path)
    assert (tmp_path / "checkpoint").read_text() == whole.note and await valid(tmp_path)


@pytest.mark.parametrize("answers", range(9))
async def test_an_export_that_was_interrupted_anywhere_is_finished_by_the_next(tmp_path: Path, answers: int) -> None:
    await export(MadeLog(SIZES[:5]), tmp_path)
    before = (tmp_path / "checkpoint").read_bytes()
    finished = answers >= 7  # 1 for what was published, 3 for entries, 2 for checkpoints, 1 for keys
    try:
        await export(Broken(SIZES, answers), tmp_path)
    except ConnectionError:
        assert not finished and (tmp_path / "checkpoint").read_bytes() == before
        assert await valid(tmp_path)
    else:
        assert finished
    await export(MadeLog(SIZES), tmp_path)
    assert await valid(tmp_path)
    assert {path for path in content(tmp_path) if path.endswith(".unfinished")} == set()


async def test_what_a_process_left_half_written_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "tile/entries").mkdir(parents=True)
    (tmp_path / "tile/entries/000.unfinished").write_bytes(b"half")
    (tmp_path / "keys.unfinished").write_bytes(b"half")
    await export(MadeLog(SIZES), tmp_path)
    assert await valid(tmp_path) and not [path for path in content(tmp_path) if "unfinished" in path]


async def refused(log: MadeLog, folder: Path, kind: Kind, why: str) -> None:
    """The export is refused, and the folder is as it was."""
    before = content(folder)
    with pytest.raises(GatewayError, match=why) as error:
        await export(log, folder)
    assert error.value.kind is kind
    assert content(folder) == before


async def test_another_log_and_another_past_are_never_written_over(tmp_path: Path) -> None:
    await export(MadeLog([300, 700]), tmp_path)
    await refused(MadeLog([900], origin="other.invalid/log"), tmp_path, Kind.CONFLICT, "another log, gwy01")
    fork = MadeLog([300, 700, 900], entry_at=lambda nr: madelog.entry(nr + (nr > 500)))
    await refused(fork, tmp_path, Kind.CONFLICT, "has not published")
    await refused(MadeLog([300, 900]), tmp_path, Kind.CONFLICT, "has not published")
    await refused(MadeLog([300]), tmp_path, Kind.CONFLICT, "holds 700 entries, and this log has 300")


async def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("dear")
    await refused(MadeLog([300]), tmp_path, Kind.CONFLICT, "holds no log")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("checkpoint", "a checkpoint that is none"),
        ("tile/0/002.p/188", "lacks tiles"),
        ("tile/1/000.p/2", "lacks tiles"),
        ("checkpoints/000", "a list of checkpoints that is none"),
    ],
)
async def test_a_folder_that_does_not_fit_together_is_not_added_to(tmp_path: Path, path: str, why: str) -> None:
    await export(MadeLog([700]), tmp_path)
    (tmp_path / path).write_bytes(b"not it")
    with pytest.raises(GatewayError, match=why):
        await export(MadeLog([700, 900]), tmp_path)
    assert b"\n900\n" not in (tmp_path / "checkpoint").read_bytes()


async def test_the_edge_of_the_folders_tree_must_have_its_root(tmp_path: Path) -> None:
    await export(MadeLog([700]), tmp_path)
    tile = tmp_path / "tile/0/002.p/188"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    await refused(MadeLog([700, 900]), tmp_path, Kind.CONFLICT, "not those of its checkpoint")


async def test_a_file_that_stays_is_not_replaced_by_another(tmp_path: Path) -> None:
    await export(MadeLog([700]), tmp_path)
    (tmp_path / "tile/entries/003").write_bytes(b"other")
    with pytest.raises(GatewayError, match="tile/entries/003 is there with another content"):
        await export(MadeLog([700, 1_100]), tmp_path)
    assert (tmp_path / "tile/entries/003").read_bytes() == b"other"


async def test_a_log_that_does_not_fit_together_gets_no_checkpoint(tmp_path: Path) -> None:
    await export(MadeLog([300]), tmp_path)
    before = (tmp_path / "checkpoint").read_bytes()
    wrong = MadeLog([300, 900])
    wrong._entry = lambda nr: madelog.entry(nr + (nr > 800))
    with pytest.raises(GatewayError, match="do not have the root") as error:
        await export(wrong, tmp_path)
    assert error.value.kind is Kind.INVARIANT
    lacking = MadeLog([300, 900])
    lacking.entries = lambda first, number: MadeLog([600]).entries(first, number)  # type: ignore[method-assign]
    with pytest.raises(GatewayError, match="lacks entries from 600"):
        await export(lacking, tmp_path)
    assert (tmp_path / "checkpoint").read_bytes() == before and await valid(tmp_path)


async def test_of_nothing_published_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="nothing is published") as error:
        await export(MadeLog([]), tmp_path / "new")
    assert error.value.kind is Kind.NOT_FOUND and not (tmp_path / "new").exists()


async def test_two_exports_do_not_write_at_once(tmp_path: Path) -> None:
    with Folder(tmp_path).alone():
        await refused(MadeLog([300]), tmp_path, Kind.CONFLICT, "another export")
    await export(MadeLog([300]), tmp_path)


async def test_of_a_folder_only_plain_files_of_it_are_read(tmp_path: Path) -> None:
    await export(MadeLog([300]), tmp_path / "log")
    folder = Folder(tmp_path / "log")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "log/link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "log/pipe")
    for path in ("link", "pipe", "tile"):
        with pytest.raises(GatewayError) as error:
            await folder.read(path, 10)
        assert error.value.kind is Kind.UNAVAILABLE and path in error.value.detail
    assert await folder.read("checkpoint/below", 10) is None
    assert await folder.read("checkpoint", 10) == (tmp_path / "log/checkpoint").read_bytes()[:11]


def test_only_widths_are_taken_for_widths(tmp_path: Path) -> None:
    for name in ("1", "07", "44", "255", "256", "0", "-1", "x", "²"):
        (tmp_path / "000.p" / name).mkdir(parents=True)
    assert Folder(tmp_path).widths("000.p") == [1, 44, 255]
    assert Folder(tmp_path).widths("001.p") == []


async def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    async def peak(size: int) -> int:
        log, folder = MadeLog([size]), tmp_path / str(size)
        tracemalloc.start()
        await exporting.export(log, folder)
        assert await valid(folder)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    await peak(300)  # what is loaded once
    assert await peak(60_000) < 1.5 * await peak(15_000)
