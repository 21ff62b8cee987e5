"""One byte of a published log is another: its verification fails, and says where.

A log small enough to change everything in it, and one that has whole and partial tiles on three levels, written in
several runs so that there are older partial ones beside newer. The verdict names exactly the file that was changed,
except where two disagree and nothing above them says which is right.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.audit import exporting, reading, walking
from gateway.audit.folder import Folder
from gateway.audit.verdict import Verdict
from tests.madelog import MadeLog

SMALL, LARGE = [100, 300, 600], [70, 256, 65_600, 66_000]


def made(folder: Path, sizes: list[int]) -> Path:
    """A folder that was exported to after each checkpoint."""
    log = MadeLog(sizes)
    for number in range(1, len(sizes) + 1):
        asyncio.run(exporting.export(log.first(number), folder))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("small"), SMALL)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("large"), LARGE)


def verified(folder: Path) -> Verdict:
    at = Folder(folder)
    source = reading.Files(at.read, widths=at.widths)
    return asyncio.run(walking.verify(source, MadeLog([]).verifiers))


@contextmanager
def flipped(path: Path, at: int, bit: int = 1) -> Iterator[None]:
    kept = path.read_bytes()
    path.write_bytes(bytes([*kept[:at], kept[at] ^ bit, *kept[at + 1 :]]))
    try:
        yield
    finally:
        path.write_bytes(kept)


def files(folder: Path, under: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in (folder / under).rglob("*") if path.is_file())


def test_both_are_what_they_say_when_nothing_is_changed(small: Path, large: Path) -> None:
    assert verified(small).valid and verified(large).valid
    assert [path for path in files(large, "tile") if ".p/" in path] == [
        "tile/0/000.p/70", "tile/0/256.p/64", "tile/0/257.p/208",
        "tile/1/000.p/1", "tile/1/001.p/1", "tile/2/000.p/1",
        "tile/entries/000.p/70", "tile/entries/256.p/64", "tile/entries/257.p/208",
    ]  # fmt: skip


def test_every_tile_and_bundle_of_a_small_log_is_named_whichever_byte_is_another(small: Path) -> None:
    for path in files(small, "tile"):
        size = (small / path).stat().st_size
        for at in sorted({*range(0, size, max(1, size // 17)), size - 1}):
            with flipped(small / path, at):
                verdict = verified(small)
            assert {fault.place for fault in verdict.faults} == {path}, (path, at, verdict.faults)


def test_the_entry_that_is_another_is_named(small: Path) -> None:
    for entry in (0, 1, 255, 256, 500, 511, 512, 599):
        nr, index = divmod(entry, 256)
        path = reading.bundle_path(nr, 88 if nr == 2 else 256)
        before = reading.joined(reading.cut((small / path).read_bytes(), index))
        with flipped(small / path, len(before) + 2 + 10):
            [fault] = verified(small).faults
        assert (fault.place, fault.why.split(" is ")[0]) == (path, f"entry {entry}")


@pytest.mark.parametrize("under", ["tile/0/000", "tile/0/128", "tile/0/257.p/208", "tile/1/000", "tile/1/001.p/1",
                                   "tile/2/000.p/1", "tile/1/000.p/1", "tile/0/256.p/64", "tile/entries/000",
                                   "tile/entries/200", "tile/entries/257.p/208", "tile/entries/000.p/70"])  # fmt: skip
def test_a_tile_of_any_level_and_any_bundle_of_a_large_log_is_named(large: Path, under: str) -> None:
    size = (large / under).stat().st_size
    for at in (5, size - 1):
        with flipped(large / under, at, 0x80):
            verdict = verified(large)
        assert {fault.place for fault in verdict.faults} == {under}, (at, verdict.faults)


def test_no_byte_of_the_last_checkpoint_can_be_another(small: Path) -> None:
    """Three lines of text, an empty one, and those of three signatures: each byte of each."""
    for at in range((small / "checkpoint").stat().st_size):
        with flipped(small / "checkpoint", at):
            [fault] = verified(small).faults
        assert fault.place == "checkpoint", at


def test_no_byte_of_an_earlier_checkpoint_that_the_log_signed_can_be_another(small: Path) -> None:
    """Its text and the log's signatures; the witness's may be missing, so nobody can tell if its name is another."""
    for path in files(small, "checkpoints"):
        line = (small / path).read_bytes()
        end = line.index(b"mec01.sandbox.invalid/witness")
        for at in {*range(300), *range(300, end, 41)}:
            with flipped(small / path, at):
                verdict = verified(small)
            assert all(fault.place.startswith("checkpoint") for fault in verdict.faults), (path, at)
            assert not verdict.valid, (path, at)


def test_what_is_cut_short_or_goes_on_is_named(small: Path) -> None:
    for path in files(small, "tile"):
        kept = (small / path).read_bytes()
        for changed in (kept[:-1], kept + b"\0", b"", kept * 2):
            (small / path).write_bytes(changed)
            assert {fault.place for fault in verified(small).faults} == {path}, (path, len(changed))
        (small / path).write_bytes(kept)


def test_two_that_were_exchanged_are_named(small: Path) -> None:
    for one, other in (("tile/0/000", "tile/0/001"), ("tile/entries/000", "tile/entries/001")):
        first, second = (small / one).read_bytes(), (small / other).read_bytes()
        (small / one).write_bytes(second)
        (small / other).write_bytes(first)
        assert {fault.place for fault in verified(small).faults} >= {one, other}
        (small / one).write_bytes(first)
        (small / other).write_bytes(second)


def test_where_entry_tile_and_the_tile_above_are_all_another_the_log_is_not_valid(small: Path) -> None:
    with (
        flipped(small / "tile/0/001", 7),
        flipped(small / "tile/entries/001", 7),
        flipped(small / "tile/1/000.p/2", 40),
    ):
        verdict = verified(small)
    assert {"tile/entries/001", "tile/1/000.p/2", "checkpoint"} <= {fault.place for fault in verdict.faults}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_served_instead_of_a_file_ends_in_a_verdict(small: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(["checkpoint", "checkpoints/001", *files(small, "tile")]))
    kept = (small / path).read_bytes()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(kept))] * 2)))
    served = data.draw(st.sampled_from([kept[:start], b""])) + data.draw(st.binary(max_size=40)) + kept[end:]

    async def read(asked: str, most: int) -> bytes | None:
        return served[: most + 1] if asked == path else await Folder(small).read(asked, most)

    verdict = asyncio.run(walking.verify(reading.Files(read, widths=Folder(small).widths), MadeLog([]).verifiers))
    assert verdict.valid == (served == kept) or path == "checkpoints/001", verdict.faults
    assert all(fault.place.startswith("checkpoint" if path[0] == "c" else path) for fault in verdict.faults)
