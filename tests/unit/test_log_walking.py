"""A whole log is verified: under which keys, what of it, and what is accepted although it is not all there."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.audit import exporting, reading, walking
from gateway.audit.folder import Folder
from gateway.audit.verdict import MAX_FAULTS, Verdict
from gateway.errors import GatewayError, Kind
from gateway.signing import notes
from gateway.signing.notes import Verifier
from tests import madelog
from tests.madelog import MadeLog

SIZES = [0, 1, 200, 255, 256, 257, 511, 512, 600]


async def exported(folder: Path, sizes: Sequence[int] = SIZES, **how: object) -> MadeLog:
    log = MadeLog(sizes, **how)  # type: ignore[arg-type]
    await exporting.export(log, folder)
    return log


async def verified(folder: Path, keys: Sequence[Verifier] | None = None) -> Verdict:
    at = Folder(folder)
    return await walking.verify(reading.Files(at.read, widths=at.widths), keys or MadeLog([]).verifiers)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 512, 65_535, 65_536, 65_537, 66_000])
async def test_a_log_of_any_size_is_what_it_says(tmp_path: Path, size: int) -> None:
    sizes = sorted({0, size // 2, size})
    log = await exported(tmp_path, sizes)
    verdict = await verified(tmp_path, log.verifiers)
    assert verdict.valid, verdict.faults
    assert (verdict.entries, verdict.checkpoints) == (size, len(sizes))
    assert verdict.tiles == sum(1 for path in (tmp_path / "tile").rglob("*") if path.is_file()) - -(-size // 256)


async def test_each_entry_and_each_tile_is_looked_at_once_and_progress_is_told(tmp_path: Path) -> None:
    log, asked, told = await exported(tmp_path), [], []
    folder = Folder(tmp_path)

    async def read(path: str, most: int) -> bytes | None:
        asked.append(path)
        return await folder.read(path, most)

    assert (await walking.verify(reading.Files(read), log.verifiers, lambda *how: told.append(how))).valid
    assert sorted(path for path in asked if path.startswith("tile/")) == [
        "tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2",
        "tile/entries/000", "tile/entries/001", "tile/entries/002.p/88",
    ]  # fmt: skip
    assert told == [(256, 600), (512, 600), (600, 600)]


async def test_one_key_of_the_log_is_enough_and_a_strangers_is_not(tmp_path: Path) -> None:
    log = await exported(tmp_path)
    for key in log.verifiers[:2]:
        assert (await verified(tmp_path, [key])).valid
    stranger = madelog.Signer(madelog.ORIGIN, notes.ED25519).verifier
    verdict = await verified(tmp_path, [stranger])
    assert [str(fault) for fault in verdict.faults] == ["checkpoint: no known key has signed this note"]
    verdict = await verified(tmp_path, log.verifiers[2:])
    assert [fault.why for fault in verdict.faults] == [f"is of the log {madelog.ORIGIN}, and none of the keys is"]


async def test_a_key_that_signs_no_more_and_its_successor_are_both_given(tmp_path: Path) -> None:
    log = await exported(tmp_path)
    former = madelog.Signer(madelog.ORIGIN, notes.ED25519).verifier
    assert (await verified(tmp_path, [former, *log.verifiers])).valid


@pytest.mark.parametrize(("line", "what"), [(0, "Ed25519 signature of gwy"), (1, "ML-DSA-44 signature of gwy"),
                                            (2, "Ed25519 cosignature signature of mec")])  # fmt: skip
async def test_a_line_of_each_kind_that_a_key_is_given_for_must_be_there(tmp_path: Path, line: int, what: str) -> None:
    log = await exported(tmp_path)
    note = notes.read(log.rows[-1].note)
    fewer = notes.Note(note.text, tuple(one for nr, one in enumerate(note.lines) if nr != line))
    (tmp_path / "checkpoint").write_text(fewer.whole)
    [fault] = (await verified(tmp_path)).faults
    assert fault.place == "checkpoint" and what in fault.why
    kept = [key for nr, key in enumerate(log.verifiers) if nr != line]
    assert (await verified(tmp_path, kept)).valid


async def test_history_that_was_written_anew_and_signed_is_not_that_of_the_earlier_checkpoints(tmp_path: Path) -> None:
    """The log's own keys sign a tree of which one old entry is another; everything else fits."""
    before = await exported(tmp_path / "before", [100, 300])
    await exported(tmp_path / "after", [300, 600], entry_at=lambda nr: madelog.entry(nr if nr != 200 else 9_999))
    lists = tmp_path / "after/checkpoints"
    (lists / "000").write_bytes((tmp_path / "before/checkpoints/000").read_bytes())
    verdict = await verified(tmp_path / "after", before.verifiers)
    assert [str(fault) for fault in verdict.faults] == [
        "checkpoint of size 300: its root is not that of the entries up to it"
    ]
    assert verdict.checkpoints == 2, "the one before the entry is consistent"


async def test_a_whole_tile_stands_for_partial_ones_that_have_gone(tmp_path: Path) -> None:
    log = await exported(tmp_path, [300])
    first = (tmp_path / "checkpoint").read_bytes()
    await exported(tmp_path, [300, 600])
    for gone in ("tile/0/001.p/44", "tile/entries/001.p/44"):
        (tmp_path / gone).unlink()
    (tmp_path / "checkpoint").write_bytes(first)
    assert (await verified(tmp_path, log.verifiers)).valid


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("checkpoint", "checkpoint: is not there"),
        ("tile/0/001", "tile/0/001: is not there"),
        ("tile/entries/002.p/88", "tile/entries/002.p/88: is not there"),
        ("tile/1/000.p/2", "tile/1/000.p/2: is not there"),
    ],
)
async def test_what_is_missing_is_named(tmp_path: Path, path: str, fault: str) -> None:
    await exported(tmp_path)
    (tmp_path / path).unlink()
    assert [str(found) for found in (await verified(tmp_path)).faults] == [fault]


async def test_nothing_to_go_on_with_ends_it(tmp_path: Path) -> None:
    await exported(tmp_path)
    for gone in ("tile/0/001", "tile/entries/001"):
        (tmp_path / gone).unlink()
    *_, last = (await verified(tmp_path)).faults
    assert str(last) == "tile/entries/001: neither it nor its tile can be read"


async def test_a_log_that_is_wrong_everywhere_is_not_looked_at_to_the_end(tmp_path: Path) -> None:
    await exported(tmp_path, [256 * (MAX_FAULTS + 10)])
    for path in (tmp_path / "tile/0").iterdir():
        path.write_bytes(bytes(32 * 256))
    verdict = await verified(tmp_path)
    assert len(verdict.faults) == MAX_FAULTS + 1 and "looked no further" in verdict.faults[-1].why
    assert verdict.entries < 256 * (MAX_FAULTS + 10)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (b"no JSON\n", "checkpoints: not JSON"),
        (b"[" * 100_000, "checkpoints: not JSON"),
        (b"[]\n", "checkpoints: a line of a list of checkpoints has no size and note"),
        (b'{"size": true, "note": ""}\n', "checkpoints: a line of a list of checkpoints has no size and note"),
        (b'{"size": 1, "note": "a\\n\\nb\\n"}\n', "checkpoint of size 1: not a signature line"),
        (b'{"size": 1, "note": "\\ud800"}\n', "checkpoint of size 1: is not UTF-8"),
        (b'{"size": -1, "note": ""}\n', "checkpoints: size -1 is listed after size -1"),
    ],
)  # fmt: skip
async def test_a_list_of_checkpoints_that_is_none_is_named(tmp_path: Path, lines: bytes, fault: str) -> None:
    await exported(tmp_path)
    (tmp_path / "checkpoints/000").write_bytes(lines)
    assert [str(found) for found in (await verified(tmp_path)).faults] == [fault]


async def test_checkpoints_under_a_wrong_size_or_out_of_order_are_named(tmp_path: Path) -> None:
    log = await exported(tmp_path)
    note = log.rows[3].note
    (tmp_path / "checkpoints/000").write_bytes(reading.listed(254, note) + reading.listed(255, note))
    [fault] = (await verified(tmp_path)).faults
    assert str(fault) == f"checkpoint of size 254: is of size 255 of the log {madelog.ORIGIN}"
    (tmp_path / "checkpoints/000").write_bytes(reading.listed(255, note) + reading.listed(255, note))
    [fault] = (await verified(tmp_path)).faults
    assert str(fault) == "checkpoints: size 255 is listed after size 255"


async def test_checkpoints_beyond_the_last_one_are_for_another_time(tmp_path: Path) -> None:
    log = await exported(tmp_path)
    (tmp_path / "checkpoint").write_text(log.rows[-2].note)
    verdict = await verified(tmp_path)
    assert verdict.valid and verdict.checkpoints == len(log.rows) - 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "no key in it"), (b"# none\n\n", "no key in it"), (b"{", "not JSON"), (b'{"keys": {}}', "list of vkeys"),
        (b'{"keys": []}', "no key in it"), (b'{"keys": [{"vkey": 1}]}', "list of vkeys"), (b"\xff", "not UTF-8"),
        (b'{"keys": ' + b"[" * 100_000, "not JSON"), (b"name+00000000+AAAA", "verifier key"),
        (b"x" * (1 << 20 | 1), "too many"),
    ],
)  # fmt: skip
def test_a_file_of_keys_that_is_none_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(GatewayError, match=why) as refused:
        reading.keys(text)
    assert refused.value.kind is Kind.MALFORMED


def test_keys_are_read_one_a_line_or_as_a_log_serves_them() -> None:
    log = MadeLog([])
    assert [key.vkey for key in reading.keys("\n".join(["# the log's", *log.vkeys]).encode())] == log.vkeys
