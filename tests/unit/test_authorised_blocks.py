"""A file of real authorised credits is read row by row; what is wrong with a row is named and left out.

Method: the real sample where it lies (``A6_DATA``), and a synthetic twin of it with each defect planted once.
"""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.demo import authorised
from gateway.demo.authorised import COLUMNS
from gateway.domain import integrity
from gateway.domain.authorisations import Definition
from gateway.domain.nomenclature import UnitType
from gateway.errors import GatewayError
from tests.realblocks import DATA

REAL = DATA / "a62_authorised_blocks_gs_sample65.csv"
needs_real_file = pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not there (A6_DATA names its folder)")


def row(first: int, last: int, **changes: str) -> dict[str, str]:
    """A synthetic row; its serial says what the row says, unless it is changed itself."""
    made = {
        "programme": "GS", "project_id": "99001", "host_alpha2": "TZ", "party": "Tanzania", "vintage": "2023",
        "batch": "90001", "first": str(first), "last": str(last), "volume": str(last - first + 1),
        "first_transfer_definition": "Authorisation", "authorisation_year": "2025", "issuance_date": "2025-02-13",
        "authorised_ndc": "0", "authorised_oimp": "1", "cooperative_approach": "CA0046", "on_carp": "1",
        "authorisation_url": "https://example.org/synthetic",
    } | changes  # fmt: skip
    serial = "GS1-1-{host_alpha2}-GS{project_id}-16-{vintage}-{batch}-{first}-{last}".format(**made)
    return {"serial": serial} | made


def twin(folder: Path, *rows: dict[str, str]) -> Path:
    path = folder / "authorised.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


@needs_real_file
def test_of_the_real_blocks_those_without_a_cooperative_approach_alone_are_refused() -> None:
    with REAL.open(newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [line for line, one in enumerate(rows, 2) if one["cooperative_approach"] == "NA"]
    loaded, faults = authorised.read(REAL)
    assert [(f.line, f.code) for f in faults] == [(line, 2012) for line in missing]
    assert (len(rows), len(missing), len(loaded)) == (65, 37, 28)
    kept = [one for one in rows if one["cooperative_approach"] != "NA"]
    assert sum(one.block.quantity for one in loaded) == sum(int(one["volume"]) for one in kept)
    assert {(one.terms.party, one.terms.cooperative_approach) for one in loaded} == {
        ("TZA", "CA0046"), ("MWI", "CA0013"),
    }  # fmt: skip
    assert integrity.block_findings([one.block for one in loaded]) == []


def test_a_sound_row_becomes_a_synthetic_issuance_over_the_real_credits(tmp_path: Path) -> None:
    [one], faults = authorised.read(twin(tmp_path, row(101, 200, authorised_ndc="1")))
    assert (one.line, faults) == (2, [])
    [position] = one.issuance.positions
    assert (one.issuance.synthetic, one.issuance.at) == (True, datetime(2025, 2, 13, tzinfo=UTC))
    assert (position.registry, position.party, str(position.account)) == ("TZA99", "TZA", "100-1")
    attributes = one.block.attributes
    assert (one.block.first, one.block.last, attributes.vintage, attributes.unit_type) == (101, 200, 2023, UnitType.MO)
    assert attributes.underlying is not None
    assert attributes.underlying.first == "GS1-1-TZ-GS99001-16-2023-90001-101"
    assert attributes.underlying.last == "GS1-1-TZ-GS99001-16-2023-90001-200"
    assert attributes.authorisation is not None and attributes.authorisation.id == one.terms.id
    assert one.terms.id.startswith("SYNTHETIC-")
    assert (one.terms.purposes, one.terms.definition) == ("NDC and OIMP", Definition.AUTHORISATION)
    assert integrity.block_findings([one.block]) == []


def test_blocks_of_one_project_share_their_authorisation(tmp_path: Path) -> None:
    loaded, _ = authorised.read(twin(tmp_path, row(1, 10), row(11, 20), row(1, 10, vintage="2024")))
    assert len({one.terms for one in loaded}) == 1


def test_an_ndc_alone_has_no_definition(tmp_path: Path) -> None:
    [one], _ = authorised.read(twin(tmp_path, row(1, 10, authorised_ndc="1", authorised_oimp="0")))
    assert (one.terms.purposes, one.terms.definition) == ("NDC", None)


DEFECTS = [
    (row(1, 100), 2008),
    (row(100, 101), 2008),
    (row(201, 300, cooperative_approach="NA"), 2012),
    (row(301, 400, volume="99"), 2009),
    (row(500, 401), 2007),
    (row(501, 600, vintage="2020"), 2013),
    (row(601, 700, serial="GS1-1-TZ-GS99001-16-2023-601-700"), 2017),
    (row(701, 800, serial="GS1-1-RW-GS99001-16-2023-90001-701-800"), 2017),
    (row(801, 900, programme="VCS"), 2017),
    (row(0, 0), 2006),
    (row(901, 1_000, host_alpha2="XX"), 2010),
    (row(1_001, 1_100, first_transfer_definition="First international transfer"), 2014),
    (row(1_101, 1_200, issuance_date="13/02/2025"), 2014),
    (row(1_201, 1_300, authorised_oimp="0"), 2015),
    (row(1_301, 1_400, volume="many"), 2001),
]


def test_each_defect_is_named_by_line_and_code_and_the_other_rows_are_loaded(tmp_path: Path) -> None:
    rows = [row(1, 100), *(defect for defect, _ in DEFECTS), row(2_001, 2_100)]
    loaded, faults = authorised.read(twin(tmp_path, *rows))
    assert [one.line for one in loaded] == [2, len(DEFECTS) + 3]
    found = {line: {f.code for f in faults if f.line == line} for line in range(3, len(DEFECTS) + 3)}
    expected = {line: {code} for line, (_, code) in enumerate(DEFECTS, 3)}
    assert found == expected | {len(DEFECTS) + 2: {2001, 2009}}  # a volume that is none is not that of the serials
    assert all(fault.detail for fault in faults)


def test_a_block_that_was_refused_is_no_less_a_duplicate(tmp_path: Path) -> None:
    loaded, faults = authorised.read(twin(tmp_path, row(1, 9, cooperative_approach="NA"), row(1, 9)))
    assert (loaded, [(f.line, f.code) for f in faults]) == ([], [(2, 2012), (3, 2008)])


def test_another_kind_of_file_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("serial_start,serial_end\n1,2\n")
    with pytest.raises(GatewayError, match="columns"):
        authorised.read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(GatewayError, match="UTF-8"):
        authorised.read(path)
    with pytest.raises(GatewayError, match="cannot read"):
        authorised.read(tmp_path / "none.csv")
