"""The lists of the field are dated data, and what the logic branches on is what the data say."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.domain import nomenclature
from gateway.domain.editions import editions
from gateway.domain.identifiers import AccountType
from gateway.domain.nomenclature import Metric, MitigationType, UnitType, in_force
from gateway.domain.transfers import Purpose
from gateway.errors import GatewayError
from gateway.holdings.recording import Type

CONTRACT = yaml.safe_load((Path(__file__).parents[2] / "openapi" / "link.yaml").read_text("utf-8"))
SCHEMAS = CONTRACT["components"]["schemas"]


def test_the_newest_edition_is_in_force_and_every_file_is_named_by_its_date() -> None:
    folder = resources.files("gateway.domain").joinpath("nomenclatures")
    names = sorted(file.name for file in folder.iterdir())
    assert names == [f"{edition.date}.toml" for edition in nomenclature.EDITIONS]
    assert in_force.date == max(edition.date for edition in nomenclature.EDITIONS)
    assert in_force.source


def test_the_groups_of_hosts_bear_a_date_and_their_sources() -> None:
    for edition in editions("host_groups"):
        assert re.fullmatch(r"[0-9]{4}-[0-9]{2}", edition["date"])
        assert edition["least_developed"]["source"] and edition["small_islands"]["source"]


def test_what_the_logic_branches_on_is_what_the_data_say() -> None:
    assert [*UnitType] == [*in_force.unit_types]
    assert [*Metric] == [*in_force.metrics]
    assert [*MitigationType] == [*in_force.mitigation_types]
    assert [(t.value, t.standing) for t in AccountType] == [(t.code, t.standing) for t in in_force.account_types]
    assert {*Purpose} <= {*in_force.purposes}
    assert {*Type} <= {*in_force.action_types}


def test_what_is_synthetic_inferred_or_added_is_marked() -> None:
    assert {"A6.4ER", "MO", "CDM"} <= in_force.marks.keys()
    marked = {t.code: t.mark for t in in_force.account_types}
    assert [code for code, mark in marked.items() if mark == "synthetic"] == [110, 410, 420]
    assert [code for code, mark in marked.items() if not mark] == [200]


def test_every_mark_and_every_subtype_is_about_something_listed() -> None:
    lists: list[tuple[Any, ...]] = [value for raw in editions("nomenclatures") for value in raw.values()]
    values = {value for listed in lists if isinstance(listed, list) for value in listed if isinstance(value, str)}
    assert in_force.marks.keys() <= values
    assert all({*subtype.under} <= {*in_force.action_types} for subtype in in_force.action_subtypes)


def described(schema: dict[str, str]) -> tuple[str, ...]:
    """The list in the description of an open value."""
    return tuple(" ".join(schema["description"].split()).removesuffix(".").split("; "))


def test_the_contract_has_the_same_lists() -> None:
    properties = SCHEMAS["Attributes"]["properties"]
    for name, listed in (("unit_type", in_force.unit_types), ("metric", in_force.metrics),
                         ("mitigation_type", in_force.mitigation_types)):  # fmt: skip
        assert tuple(properties[name]["enum"]) == listed
    assert described(properties["sector"]) == in_force.sectors
    assert described(properties["activity_type"]) == in_force.activity_types
    assert described(properties["underlying"]["properties"]["registry"]) == in_force.underlying_registries
    terms = SCHEMAS["AuthorisationTerms"]["properties"]
    assert tuple(terms["purposes"]["enum"]) == in_force.purposes
    assert tuple(terms["first_transfer_definition"]["enum"]) == in_force.first_transfer_definitions


@pytest.mark.parametrize(
    ("read", "listed"),
    [
        (nomenclature.parse_unit_type, "MO"),
        (nomenclature.parse_metric, "GHG"),
        (nomenclature.parse_mitigation_type, "Removals"),
        (nomenclature.parse_sector, "Transportation"),
        (nomenclature.parse_activity_type, "C02 usage"),
        (nomenclature.parse_underlying_registry, "T-VER"),
    ],
)
def test_a_value_is_read_as_it_is_spelt_and_no_other_way(read: Any, listed: str) -> None:
    assert read(listed) == listed
    for other in (listed.lower(), f"{listed} ", "Space mirrors"):
        with pytest.raises(GatewayError) as refused:
            read(other)
        assert refused.value.code == 2014
