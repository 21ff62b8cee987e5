"""The actions of ``openapi/link.yaml``: each type with all its members, with one more, with one less."""

from typing import Any

import pytest

from tests.unit.test_link_contract import SCHEMAS, errors, samples_of_items


def samples_of_actions() -> dict[str, dict[str, Any]]:
    """One action of each type (synthetic), with every optional member."""
    issued = samples_of_items()["action"]
    heading = {name: issued[name] for name in ("kind", "action", "at", "registry")}
    blocks = [issued["positions"][0]["block"]]
    ranges = [{name: blocks[0][name] for name in ("origin", "first", "last")}]
    years, days = {"first": 2021, "last": 2030}, {"first": "2026-01-01", "last": None}
    moved = {"party": "MMR", "account": "100-1", "to_account": "200-1", "blocks": blocks}
    terms = {
        **{"id": "MMR-2025-1", "version": 2, "party": "MMR", "kinds": ["cooperative approach", "ITMOs", "entities"]},
        **{"date": "2026-01-01", "cooperative_approach": "CA0001", "purposes": "NDC and IMP", "oimp": "CORSIA"},
        **{"first_transfer_definition": "Use or Cancellation", "period": days, "use_period": days, "vintages": years},
        **{"quantity": 58428, "metric": "non-GHG", "gwp": "AR5", "non_ghg_metric": "MWh", "sectors": ["Waste"]},
        **{"activity_types": ["Solar"], "parties": ["JPN"], "entities": ["E-1"], "affects_first_transferred": False},
        **{"terms": "synthetic", "documentation": "synthetic", "initial_report": "2025-12-31", "ndc_period": years},
    }
    under = {"id": "MMR-2025-1", "version": 2}
    members: dict[str, dict[str, Any]] = {
        "issuance": {"positions": issued["positions"], "synthetic": True},
        "use": moved | {"year": 2024, "ndc_period": years, "entity": "E-1"},
        "cancellation": moved | {"to_account": "310-1", "purpose": "OP", "entity": "E-1"},
        "adaptation": moved | {"to_account": "410-1", "voluntary": True},
        "first_transfer": {"party": "MMR", "subtype": "Authorization", "blocks": blocks},
        "reversal": {"blocks": ranges, "resolved": False},
        "authorisation": {"authorisation": terms, "units": ranges, "synthetic": True},
        "revocation": {"party": "MMR", "authorisation": under, "reason": "synthetic"},
        "statement": {"party": "MMR", "activity": "PoA 10471", "says": "part", "transitioned_from": "CDM"},
    }
    return {kind: heading | {"type": kind} | own for kind, own in members.items()}


#: Members that an action of a type need not have.
OPTIONAL = {
    "issuance": {"synthetic"},
    "use": {"year", "ndc_period", "entity"},
    "cancellation": {"purpose", "entity"},
    "authorisation": {"units", "synthetic"},
    "statement": {"transitioned_from"},
}


def test_there_is_a_sample_of_every_type_of_action() -> None:
    assert set(samples_of_actions()) == set(SCHEMAS["Action"]["properties"]["type"]["enum"])
    shown = {reference["$ref"].rpartition(".")[2] for reference in SCHEMAS["Item.action"]["oneOf"]}
    assert set(samples_of_actions()) == shown


@pytest.mark.parametrize("kind", sorted(samples_of_actions()))
def test_action_with_all_its_members_is_taken_and_one_more_or_less_is_refused(kind: str) -> None:
    action = samples_of_actions()[kind]
    assert errors("Item.action", action) == []
    assert errors("Item.action", action | {"note": ""}) != []
    for name in action:
        without = {other: action[other] for other in action if other != name}
        assert bool(errors("Item.action", without)) is (name not in OPTIONAL.get(kind, set())), name
    # Each is of its own type alone.
    for other in samples_of_actions().keys() - {kind}:
        alike = {kind, other} == {"use", "cancellation"}
        assert alike or errors("Item.action", action | {"type": other}) != []


def test_terms_of_an_authorisation_have_no_members_but_those_listed() -> None:
    terms = samples_of_actions()["authorisation"]["authorisation"]
    assert set(terms) == set(SCHEMAS["AuthorisationTerms"]["properties"])
    assert errors("AuthorisationTerms", terms | {"note": ""}) != []
    for name in terms:
        without = {other: terms[other] for other in terms if other != name}
        assert bool(errors("AuthorisationTerms", without)) is (name in SCHEMAS["AuthorisationTerms"]["required"])
    for name, wrong in (("purposes", "GHG"), ("kinds", []), ("kinds", ["ITMOs", "ITMOs"]), ("version", 0)):
        assert errors("AuthorisationTerms", terms | {name: wrong}) != []
    for name in ("period", "use_period", "vintages", "ndc_period"):
        assert errors("AuthorisationTerms", terms | {name: {"first": None}}) != []


@pytest.mark.parametrize("action", ["use", "cancellation"])
def test_use_and_cancellation_name_both_accounts_and_no_positions(action: str) -> None:
    issued = samples_of_items()["action"]
    kept = {name: issued[name] for name in ("kind", "action", "at", "registry")}
    moved = kept | {"type": action, "party": "MMR", "account": "100-1", "to_account": "200-1"}
    moved |= {"blocks": [issued["positions"][0]["block"]]}
    assert errors("Item.action", moved) == []
    assert errors("Item.action", moved | {"positions": issued["positions"]}) != []
    assert errors("Item.action", {name: moved[name] for name in moved if name != "to_account"}) != []
