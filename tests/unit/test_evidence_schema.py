"""``openapi/evidence.schema.json`` is the form of a bundle.

``python -m tests.unit.test_evidence_schema`` writes it anew.
"""

import json
from pathlib import Path

import jsonschema

from gateway.evidence import form, rules, verify
from tests.evidence import KEPT

SCHEMA = Path(__file__).parents[2] / "openapi" / "evidence.schema.json"


def test_the_schema_is_the_one_published() -> None:
    assert json.loads(SCHEMA.read_text()) == form.schema()


def test_a_real_bundle_is_of_the_published_schema() -> None:
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(KEPT.read_text()))


def test_every_check_is_told_in_the_schema_and_made_under_its_number() -> None:
    told = json.loads(SCHEMA.read_text())["description"]
    report = verify.verify(KEPT.read_bytes())
    assert [result.check for result in report.results] == list(rules.CHECKS)
    for number, check in enumerate(rules.CHECKS, 1):
        assert f"\n{number}. {check.title} {check.how}" in told


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(form.schema(), indent=1, ensure_ascii=False) + "\n")
